"""Bringing one image of a case into place on another: rigid or affine, by mutual information, coarse to fine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import SimpleITK as sitk

from core.errors import InvalidConfigError
from core.itk import one_thread, to_itk
from core.types import Affine, Volume

BINS = 32
SAMPLES = 60_000  # voxels that the metric looks at on each level; more made no pair of brains more exact
FINEST_MM = 2.0  # distance of the points that are looked at on the last level; less made no pair more exact
LEVELS = ((4, 3.0), (2, 1.5), (1, 0.0))  # times that distance; smoothing in mm
MAX_SHIFT_MM, MAX_TURN_DEGREES, MAX_STRETCH = 60.0, 45.0, 1.2
STEPS, FIRST_STEP_MM, LAST_STEP_MM, RELAXATION = 100, 1.0, 5e-3, 0.6
Kind = Literal["rigid", "affine"]
_FLIP = np.diag([-1.0, -1.0, 1.0, 1.0])  # RAS <-> LPS


@dataclass(frozen=True, eq=False)
class Alignment:
    """Where the moving image belongs.

    Attributes:
        matrix: (4, 4) RAS mm -> RAS mm: from where the moving image lies to where it belongs.
        score: mutual information at the end, in nats; higher is better.
        shift_mm: how far the centre of the fixed image's grid moves.
        turn_degrees: the angle of the rotation.
    """

    matrix: Affine
    score: float
    shift_mm: float
    turn_degrees: float

    def moved(self, volume: Volume) -> Volume:
        """The volume in its place: another matrix, the same voxels."""
        return volume.with_data(volume.data, self.matrix @ volume.affine)


def register(moving: Volume, fixed: Volume, kind: Kind = "rigid") -> Alignment:
    """The transform that lays `moving` over `fixed`. The same images give the same answer each time.

    Raises:
        InvalidConfigError: The images do not overlap, or the search ran astray (over 60 mm or 45 degrees).

    Source:
        Mattes et al. 2003, PET-CT image registration in the chest using free-form deformations, IEEE TMI 22(1).
    """
    images = (_image(fixed), _image(moving))
    centre = fixed.affine @ [*((np.array(fixed.data.shape) - 1) / 2), 1.0]
    start = sitk.Euler3DTransform()
    start.SetCenter([float(value) for value in (_FLIP @ centre)[:3]])
    found, score = _search(images, start)
    if kind == "affine":
        wider = sitk.AffineTransform(3)
        wider.SetCenter(start.GetCenter())
        rigid = sitk.Euler3DTransform(found)
        wider.SetMatrix(rigid.GetMatrix())
        wider.SetTranslation(rigid.GetTranslation())
        found, score = _search(images, wider)
    return _plausible(np.asarray(np.linalg.inv(_matrix(found)), np.float64), score, centre)


def shifted(by_mm: tuple[float, float, float]) -> Alignment:
    """An alignment that another search found: a shift (R, A, S)."""
    matrix = np.eye(4)
    matrix[:3, 3] = by_mm
    return Alignment(matrix, 0.0, float(np.linalg.norm(by_mm)), 0.0)


def _image(volume: Volume) -> sitk.Image:
    image: sitk.Image = sitk.Cast(to_itk(volume.data, volume.affine), sitk.sitkFloat32)
    return image


def _search(images: tuple[sitk.Image, sitk.Image], start: sitk.Transform) -> tuple[sitk.Transform, float]:
    fixed, moving = images
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetInterpolator(sitk.sitkLinear)
    method.MetricUseFixedImageGradientFilterOff()  # slopes only where they are asked for: half the time, as exact
    method.MetricUseMovingImageGradientFilterOff()
    counts = _look_at(method, fixed)
    method.SetMetricSamplingStrategy(method.RANDOM)
    shares = [min(1.0, SAMPLES * factor**3 / counts) for factor, _ in LEVELS]
    method.SetMetricSamplingPercentagePerLevel(shares, 1)
    method.SetShrinkFactorsPerLevel([factor for factor, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(FIRST_STEP_MM, LAST_STEP_MM, STEPS, RELAXATION)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    try:
        with one_thread():
            found = method.Execute(fixed, moving)
    except RuntimeError as error:
        raise InvalidConfigError(
            "Two images of the case do not overlap, so one cannot be laid over the other.", "REGISTER-APART"
        ) from error
    return _single(found), -float(method.GetMetricValue())


def _look_at(method: sitk.ImageRegistrationMethod, fixed: sitk.Image) -> float:
    """Spread the points evenly in millimetres over the fixed image; how many there are on the last level."""
    length_mm = np.array(fixed.GetSize()) * fixed.GetSpacing()
    counts = np.maximum(1, np.round(length_mm / FINEST_MM)).astype(int)
    spacing_mm = length_mm / counts
    turn = np.array(fixed.GetDirection()).reshape(3, 3)
    corner = np.array(fixed.GetOrigin()) + turn @ (0.5 * (spacing_mm - fixed.GetSpacing()))
    method.SetVirtualDomain(counts.tolist(), corner.tolist(), spacing_mm.tolist(), fixed.GetDirection())
    return float(np.prod(counts))


def _single(transform: Any) -> sitk.Transform:
    """The transform itself, taken out of the composite that newer versions return."""
    single: sitk.Transform = transform
    while single.GetName() == "CompositeTransform":
        single = sitk.CompositeTransform(single).GetNthTransform(0)
    return single


def _matrix(transform: sitk.Transform) -> Affine:
    """(4, 4) RAS mm -> RAS mm, of a linear transform between LPS points."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    for axis in range(3):
        matrix[:3, axis] = np.array(transform.TransformPoint(tuple(np.eye(3)[axis].tolist()))) - origin
    return np.asarray(_FLIP @ matrix @ _FLIP)


def _plausible(matrix: Affine, score: float, centre: Affine) -> Alignment:
    shift_mm = float(np.linalg.norm((matrix @ centre - centre)[:3]))
    left, stretch, right = np.linalg.svd(matrix[:3, :3])
    cosine = (np.trace(left @ right) - 1) / 2
    turn = float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))
    stretched = max(stretch.max(), 1 / stretch.min())
    if shift_mm > MAX_SHIFT_MM or turn > MAX_TURN_DEGREES or stretched > MAX_STRETCH:
        raise InvalidConfigError(
            "The search for the place of an image ran astray; register the case elsewhere or leave the image out.",
            "REGISTER-ASTRAY",
        )
    return Alignment(matrix, score, shift_mm, turn)
