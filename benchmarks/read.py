"""Reading beside SimpleITK in one process: a series of 300 slices, and a volume of 256 x 256 x 256.

Ours is the whole way of an import: scan, grouping, isolation, the check for names, all checks, and every page of the
voxels touched in this process. SimpleITK's is GetGDCMSeriesFileNames and its reader. The decoding process is warm; both
read files that the system has cached.

Our two processes can work at the same time, and so use a second core where SimpleITK, as it reads, uses one: `one_core`
are the same rounds with everything tied to a single core.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

from benchmarks import Figures, Targets
from benchmarks.timing import duel
from core.progress import silent
from core.readers.decoder import Decoder
from core.readers.files import collected
from core.readers.proposals import propose
from core.workspace import Workspace

TARGETS: Targets = {"dicom_over_sitk": ("<=", 1.5), "nifti_gz_over_sitk": ("<=", 8.0), "nifti_over_sitk": ("<=", 8.0)}
N_SLICES, SIZE, CUBE, ROUNDS = 300, 512, 256, 7
PAGE_VOXELS = 1024  # float32 voxels in a page of memory


def measure_read() -> Figures:
    """Medians of seconds, and their ratios."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        workspace = Workspace(root / "workspace")
        _write_series(root / "ct")
        volume = np.random.default_rng(0).integers(0, 900, (CUBE,) * 3).astype("i2")
        for name in ("T1.nii", "T1.nii.gz"):
            nib.save(nib.nifti1.Nifti1Image(volume, np.eye(4)), root / name)
        pairs: dict[str, tuple[Path, Callable[[Path], None]]] = {
            "dicom": (root / "ct", _read_series),
            "nifti": (root / "T1.nii", _read_image),
            "nifti_gz": (root / "T1.nii.gz", _read_image),
        }
        figures = _duels(workspace, pairs)
        with _one_core():
            alone = _duels(workspace, {"dicom": pairs["dicom"]})
        return {**figures, **{f"one_core_{name}": value for name, value in alone.items()}}


def _duels(workspace: Workspace, pairs: dict[str, tuple[Path, Callable[[Path], None]]]) -> Figures:
    figures: Figures = {}
    with Decoder(workspace) as decoder:
        for name, (path, theirs) in pairs.items():
            times = duel(partial(_ours, workspace, decoder, path), partial(theirs, path), ROUNDS)
            figures |= times.figures(name, "sitk")
    return figures


@contextmanager
def _one_core() -> Iterator[None]:
    """This process and those that it starts on one core, where the system can do that."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(usual)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


def _ours(workspace: Workspace, decoder: Decoder, path: Path) -> None:
    with collected(workspace, [path]) as sources:
        rows = propose(sources, decoder, "auto", lambda name: name, silent)
        (row,) = [row for row in rows if row.parts]
        decoder.check([sources[n].path for n, _ in row.parts], [row.case_id, row.proposal.modality])
        volume = decoder.read([(sources[n].path, item) for n, item in row.parts], row.proposal.modality)
        volume.data.ravel(order="K")[::PAGE_VOXELS].sum()


def _read_series(folder: Path) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    sitk.GetArrayFromImage(reader.Execute())


def _read_image(path: Path) -> None:
    sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


def _write_series(folder: Path) -> None:
    """CT slices with the header of a scanner: some eighty elements, some of them private."""
    folder.mkdir()
    series, study, frame = uid.generate_uid(), uid.generate_uid(), uid.generate_uid()
    rng = np.random.default_rng(0)
    for k in range(N_SLICES):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID = uid.CTImageStorage
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID = uid.generate_uid()
        ds.SeriesInstanceUID, ds.StudyInstanceUID, ds.FrameOfReferenceUID = series, study, frame
        ds.Modality, ds.PatientID, ds.PatientName, ds.StudyDate = "CT", "id", "NAME^ANY", "20200101"
        ds.ImageType, ds.InstanceNumber = ["ORIGINAL", "PRIMARY", "AXIAL"], k + 1
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [0.0, 0.0, float(k)], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness, ds.RescaleSlope, ds.RescaleIntercept = [0.7, 0.7], 1.0, 1, -1024
        ds.Rows = ds.Columns = SIZE
        ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        block = ds.private_block(0x0019, "SCANNER", create=True)
        for n in range(50):
            block.add_new(n, "LO", f"value {n}")
        ds.PixelData = rng.integers(0, 3000, (SIZE, SIZE)).astype("<u2").tobytes()
        pydicom.dcmwrite(folder / f"{k:04d}.dcm", ds, enforce_file_format=True)
