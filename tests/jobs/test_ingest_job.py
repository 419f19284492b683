"""An import as a job: what stays on disk afterwards does not say whose images they were."""

from __future__ import annotations

import io

import nibabel as nib
import numpy as np

from core.jobs.worker import execute
from core.runs import new_job
from core.uploads import stage, take_labels
from core.workspace import Workspace

PERSON = "DOE_JANE_19700101"


def test_after_an_import_no_byte_names_the_person(workspace: Workspace) -> None:
    data = np.random.default_rng(0).integers(1, 900, (4, 5, 6)).astype(np.int16)
    content = nib.nifti1.Nifti1Image(data, np.diag([1.0, 2, 3, 1])).to_bytes()
    upload = stage(workspace, [(f"{PERSON}/T1.nii", io.BytesIO(content))])
    params = {
        "upload": upload,
        "cohort": "c",
        "layout": "auto",
        "corrections": {"0000": {"case": PERSON, "modality": "T2"}},
    }
    job = new_job(workspace, "ingest", params)
    report = execute(job, workspace)
    assert PERSON in report["files"][0]["label"]
    assert report["files"][0]["fate"] in ("accepted", "warned")
    assert PERSON in take_labels(job.folder)[0]
    assert take_labels(job.folder) == []
    for path in workspace.root.rglob("*"):
        assert PERSON not in str(path)
        assert path.is_dir() or PERSON.encode() not in path.read_bytes()
    assert job.result["files"][0]["label"] == "File 1"
