"""Preparing one patient as a researcher's script does it: SimpleITK, scikit-learn and numpy, none of our own code.

The settings are those of our recipe in `benchmarks.prepare`: rigid registration by Mattes mutual information, N4, one
grid, a brain mask, three tissues, intensities scaled by percentiles. No check of what came in or out.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from sklearn.mixture import GaussianMixture

POINTS_MM, LEVELS = 2.0, ((4, 3.0), (2, 1.5), (1, 0.0))  # of the finest level; (shrink factor, smoothing in mm)
SAMPLES = 60_000
N4_SHRINK, N4_ITERATIONS = 4, [40, 40, 30]
TISSUE_SAMPLES, TISSUE_SMOOTH = 40_000, 0.6


@dataclass(frozen=True)
class Prepared:
    """What the script makes of a patient.

    Attributes:
        images: (modality, z, y, x) float32, 0 to 1.
        mask, tissue: (z, y, x); tissue is 1 to 3 from dark to bright.
        moves: modality -> the rigid transform, fixed to moving points.
    """

    images: NDArray[np.float32]
    mask: NDArray[np.bool_]
    tissue: NDArray[np.uint8]
    moves: dict[str, sitk.Transform]


def prepare_directly(files: dict[str, Path], out: Path) -> Prepared:
    """Prepare one patient's files, the first of which is the reference, and save the arrays."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    images = {name: sitk.ReadImage(str(path), sitk.sitkFloat32) for name, path in files.items()}
    reference, *others = images
    fixed = images[reference]
    moves = {name: register(fixed, images[name]) for name in others}
    for name in others:
        images[name] = sitk.Resample(images[name], fixed, moves[name], sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    images = {name: without_bias(image) for name, image in images.items()}
    mask = sitk.GetArrayFromImage(foreground(images[reference])).astype(bool)
    arrays = {name: sitk.GetArrayFromImage(image) for name, image in images.items()}
    labels = tissue(arrays[reference], mask)
    stack = np.stack([scaled(arrays[name], mask) for name in files])
    np.savez(out, images=stack, mask=mask, tissue=labels)
    return Prepared(stack, mask, labels, moves)


def register(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """The rigid transform from points of `fixed` to points of `moving`."""
    size = np.array(fixed.GetSize())
    counts = np.round(size * fixed.GetSpacing() / POINTS_MM).astype(int)
    spacing = size * fixed.GetSpacing() / counts
    direction = np.array(fixed.GetDirection()).reshape(3, 3)
    origin = np.array(fixed.GetOrigin()) + direction @ ((spacing - fixed.GetSpacing()) / 2)
    start = sitk.Euler3DTransform()
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint(((size - 1) / 2).tolist()))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetVirtualDomain(counts.tolist(), origin.tolist(), spacing.tolist(), fixed.GetDirection())
    method.SetMetricSamplingStrategy(method.RANDOM)
    shares = [min(1.0, SAMPLES * factor**3 / float(np.prod(counts))) for factor, _ in LEVELS]
    method.SetMetricSamplingPercentagePerLevel(shares, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([factor for factor, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 5e-3, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def foreground(image: sitk.Image) -> sitk.Image:
    """The largest connected part that is not 0, without holes."""
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(image > 1e-6), sortByObjectSize=True)
    return sitk.BinaryFillhole(sitk.Cast(parts == 1, sitk.sitkUInt8))


def without_bias(image: sitk.Image) -> sitk.Image:
    """The image divided by the field that N4 finds on a coarse copy."""
    mask = foreground(image)
    positive = image + 1e-3
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(N4_ITERATIONS)
    n4.Execute(sitk.Shrink(positive, [N4_SHRINK] * 3), sitk.Shrink(mask, [N4_SHRINK] * 3))
    field = sitk.GetArrayFromImage(sitk.Exp(n4.GetLogBiasFieldAsImage(positive)))
    field /= field[sitk.GetArrayViewFromImage(mask) > 0].mean()
    even = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(image) / field.astype(np.float32))
    even.CopyInformation(image)
    return even


def tissue(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Three classes by a mixture of Gaussians, 1 to 3 from dark to bright."""
    smooth = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(values), TISSUE_SMOOTH)
    inside = sitk.GetArrayFromImage(smooth)[mask].astype(float)
    inside = np.clip(inside, *np.percentile(inside, [1, 99]))[:, None]
    sample = np.random.default_rng(0).choice(inside, TISSUE_SAMPLES, replace=False)
    mixture = GaussianMixture(3, random_state=0, max_iter=200).fit(sample)
    order = np.argsort(np.argsort(mixture.means_[:, 0]))
    labels = np.zeros(mask.shape, np.uint8)
    labels[mask] = order[mixture.predict(inside)] + 1
    return labels


def scaled(values: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[Any]:
    """0 to 1 between two percentiles inside the mask, 0 outside."""
    low, high = np.percentile(values[mask], [0.5, 99.5])
    return np.where(mask, np.clip((values - low) / (high - low), 0, 1), 0).astype(np.float32)
