"""Reading beside SimpleITK in one process: a series of 300 slices, and a volume of 256 x 256 x 256.

Ours is the whole way of an import: scan, grouping, isolation, the check for names, all checks, and every page of the
voxels touched in this process. SimpleITK's is GetGDCMSeriesFileNames and its reader. The decoding process is warm
(started, its libraries loaded) but has not seen these files; both read what the system has cached.

Our two processes can work at the same time, and so use a second core where SimpleITK, as it reads, uses one: `one_core`
are the same rounds with everything tied to a single core.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence as DicomSequence

from benchmarks import Figures, Targets
from benchmarks.timing import Duel, duel
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
        _write_series(root / "ct", N_SLICES)
        _write_series(root / "small" / "ct", 3)
        for folder, size in ((root, CUBE), (root / "small", 8)):
            volume = np.random.default_rng(0).integers(0, 900, (size,) * 3).astype("i2")
            for name in ("T1.nii", "T1.nii.gz"):
                nib.save(nib.nifti1.Nifti1Image(volume, np.eye(4)), folder / name)
        figures: Figures = {}
        for label, name, theirs in WAYS:
            figures |= _duel(workspace, root, name, theirs).figures(label, "sitk")
        with _one_core():
            figures |= _duel(workspace, root, "ct", _read_series).figures("one_core_dicom", "sitk")
        return figures


def _duel(workspace: Workspace, root: Path, name: str, theirs: Callable[[Path], None]) -> Duel:
    ours = _Import(workspace, root / "small" / name, root / name)
    try:
        return duel(ours.once, partial(theirs, root / name), ROUNDS, before=ours.warm)
    finally:
        ours.stop()


@dataclass
class _Import:
    """Reads `path`; before each round anew by a decoding process that has read `warm_up`, but never this image."""

    workspace: Workspace
    warm_up: Path
    path: Path
    decoder: Decoder | None = None

    def warm(self) -> None:
        self.stop()
        self.decoder = Decoder(self.workspace).__enter__()
        self._read(self.warm_up)

    def stop(self) -> None:
        if self.decoder is not None:
            self.decoder.__exit__(None, None, None)

    def once(self) -> None:
        self._read(self.path)

    def _read(self, path: Path) -> None:
        assert self.decoder is not None
        with collected(self.workspace, [path]) as sources:
            rows = propose(sources, self.decoder, "auto", lambda name: name, silent)
            (row,) = [row for row in rows if row.parts]
            modality = row.proposal.modality
            self.decoder.check([sources[n].path for n, _ in row.parts], [row.case_id, modality])
            volume = self.decoder.read([(sources[n].path, item) for n, item in row.parts], modality)
            volume.data.ravel(order="K")[::PAGE_VOXELS].sum()


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


def _read_series(folder: Path) -> None:
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    sitk.GetArrayFromImage(reader.Execute())


def _read_image(path: Path) -> None:
    sitk.GetArrayFromImage(sitk.ReadImage(str(path)))


WAYS = (("dicom", "ct", _read_series), ("nifti", "T1.nii", _read_image), ("nifti_gz", "T1.nii.gz", _read_image))


def _write_series(folder: Path, n_slices: int) -> None:
    """CT slices with the header of a scanner: some ninety elements, some of them private, some sequences."""
    folder.mkdir(parents=True)
    series, study, frame = uid.generate_uid(), uid.generate_uid(), uid.generate_uid()
    rng = np.random.default_rng(0)
    for k in range(n_slices):
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
        block.add_new(n + 1, "OB", bytes(6000))
        ds.ReferencedStudySequence, ds.ReferencedImageSequence = _references(1, study), _references(3, series)
        ds.ProcedureCodeSequence = _references(2, study)
        ds["ReferencedImageSequence"].is_undefined_length = True
        ds.PixelData = rng.integers(0, 3000, (SIZE, SIZE)).astype("<u2").tobytes()
        pydicom.dcmwrite(folder / f"{k:04d}.dcm", ds, enforce_file_format=True)


def _references(n: int, name: str) -> DicomSequence:
    items = []
    for _ in range(n):
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = uid.CTImageStorage, name
        items.append(item)
    return DicomSequence(items)
