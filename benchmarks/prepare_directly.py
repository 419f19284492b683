"""Preparing a patient as a researcher's script does it: SimpleITK, deepbet, scikit-learn, numpy, no code of ours.

The settings are those of the recipes in `benchmarks.prepare`: axes turned to RAS; rigid registration by Mattes mutual
information (same bins, points, levels, optimiser, gradients); one interpolation onto the reference's grid at 1 mm; N4
on a coarse copy; the brain (what is not 0; in a whole head, by deepbet); three tissues; a box; outliers cut; 0 to 1 by
percentiles; one file.

What ours does beyond that, and is charged for: the check of each image's alignment before and after registration; where
an image has data at all; scales, units, warnings and findings kept; a checksum and an index; a case that fails is left
out and named, one that was finished before an interruption is found again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.mixture import GaussianMixture

POINTS_MM, LEVELS = 2.0, ((4, 3.0), (2, 1.5), (1, 0.0))  # of the finest level; (shrink factor, smoothing in mm)
SAMPLES = 60_000
N4_MM, N4_ITERATIONS = 4.0, [40, 40, 30]
TISSUE_SAMPLES, TISSUE_SMOOTH, FLAT_SHARE = 40_000, 0.6, 0.4
REACH = 2.0
Array = NDArray[Any]


@dataclass(frozen=True)
class Prepared:
    """What the script makes of a patient.

    Attributes:
        images: (modality, z, y, x) float32, 0 to 1.
        mask, tissue: (z, y, x); tissue is 1 to 3 from dark to bright.
        affine: (4, 4) voxel (x, y, z) -> RAS mm.
        moves: modality -> the rigid transform, fixed to moving points.
    """

    images: Array
    mask: Array
    tissue: Array
    affine: Array
    moves: Mapping[str, sitk.Transform]


def prepare_directly(files: Mapping[str, Path], out: Path, box_mm: int, is_head: bool) -> Prepared:
    """Prepare one patient's files, the first of which is the reference, and save the arrays."""
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    read = {name: sitk.ReadImage(str(path), sitk.sitkFloat32) for name, path in files.items()}
    images = {name: sitk.DICOMOrient(image, "RAS") for name, image in read.items()}
    reference, *others = images
    moves = {name: register(images[reference], images[name]) for name in others}
    grid = empty_over(images[reference], np.ones(3))
    for name, image in images.items():
        if name in moves or image.GetSize() != grid.GetSize():
            move = moves.get(name, sitk.Transform())
            images[name] = sitk.Resample(image, grid, move, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    images = {name: without_bias(image, is_head) for name, image in images.items()}
    inside = brain(images[reference]) if is_head else foreground(images[reference], is_head)
    mask = sitk.GetArrayFromImage(inside).astype(bool)
    arrays = {name: np.where(mask, sitk.GetArrayFromImage(image), 0) for name, image in images.items()}
    labels = tissue(arrays[reference], mask)
    start = box(mask, box_mm)
    mask, labels = cut(mask, start, box_mm), cut(labels, start, box_mm)
    stack = np.stack([scaled(repaired(cut(arrays[name], start, box_mm), mask), mask) for name in files])
    np.savez(out, images=stack, mask=mask, tissue=labels)
    affine = affine_of(grid)
    affine[:3, 3] += affine[:3, :3] @ start[::-1]
    return Prepared(stack, mask, labels, affine, moves)


def register(fixed: sitk.Image, moving: sitk.Image) -> sitk.Transform:
    """The rigid transform from points of `fixed` to points of `moving`."""
    length_mm = np.array(fixed.GetSize()) * fixed.GetSpacing()
    points = empty_over(fixed, length_mm / np.round(length_mm / POINTS_MM))
    start = sitk.Euler3DTransform()
    start.SetCenter(fixed.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in fixed.GetSize()]))
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.MetricUseFixedImageGradientFilterOff()
    method.MetricUseMovingImageGradientFilterOff()
    method.SetVirtualDomainFromImage(points)
    method.SetMetricSamplingStrategy(method.RANDOM)
    shares = [min(1.0, SAMPLES * factor**3 / points.GetNumberOfPixels()) for factor, _ in LEVELS]
    method.SetMetricSamplingPercentagePerLevel(shares, 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel([factor for factor, _ in LEVELS])
    method.SetSmoothingSigmasPerLevel([sigma for _, sigma in LEVELS])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 5e-3, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(start, inPlace=False)
    return method.Execute(fixed, moving)


def empty_over(image: sitk.Image, spacing_mm: Array) -> sitk.Image:
    """An empty image over the same place in voxels of another size."""
    old = np.array(image.GetSpacing())
    result = sitk.Image(np.round(image.GetSize() * old / spacing_mm).astype(int).tolist(), sitk.sitkUInt8)
    result.SetSpacing(spacing_mm.tolist())
    result.SetDirection(image.GetDirection())
    result.SetOrigin(image.TransformContinuousIndexToPhysicalPoint(((spacing_mm / old - 1) / 2).tolist()))
    return result


def foreground(image: sitk.Image, is_head: bool) -> sitk.Image:
    """The largest connected part that is not 0 (of a head: not air, by half of Otsu's threshold), without holes."""
    above = image > 1e-6
    if is_head:
        otsu = sitk.OtsuThresholdImageFilter()
        smooth = sitk.SmoothingRecursiveGaussian(image, 1.0)
        otsu.Execute(smooth)
        above = sitk.BinaryMorphologicalClosing(smooth > otsu.GetThreshold() / 2, [2, 2, 2])
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(above), sortByObjectSize=True)
    return sitk.BinaryFillhole(sitk.Cast(parts == 1, sitk.sitkUInt8))


def without_bias(image: sitk.Image, is_head: bool) -> sitk.Image:
    """The image divided by the field that N4 finds on a coarse copy."""
    mask = foreground(image, is_head)
    positive = sitk.Maximum(image, 0.0) + 1e-3
    factors = [max(1, round(N4_MM / mm)) for mm in image.GetSpacing()]
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(N4_ITERATIONS)
    n4.Execute(sitk.Shrink(positive, factors), sitk.Shrink(mask, factors))
    field = sitk.GetArrayFromImage(sitk.Exp(n4.GetLogBiasFieldAsImage(positive)))
    field /= field[sitk.GetArrayViewFromImage(mask) > 0].mean()
    even = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(image) / field)
    even.CopyInformation(image)
    return even


def brain(image: sitk.Image) -> sitk.Image:
    """The brain in a head, by deepbet."""
    head = nib.nifti1.Nifti1Image(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine_of(image))
    found = np.asarray(load_network().run(head)[1].dataobj).transpose(2, 1, 0)
    result = sitk.GetImageFromArray((found > 0).astype(np.uint8))
    result.CopyInformation(image)
    return result


def affine_of(image: sitk.Image) -> Array:
    """(4, 4) voxel (x, y, z) -> RAS mm."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    affine[:2] *= -1  # SimpleITK counts to the left and to the back
    return affine


@lru_cache(1)
def load_network() -> Any:
    """deepbet's, once a process."""
    from deepbet.bet import BrainExtraction

    return BrainExtraction(no_gpu=True)


def tissue(values: Array, mask: Array) -> Array:
    """Fluid, grey and white matter of a T1 (1 to 3): fluid by all voxels, the others by their flattest places."""
    inside = ndimage.gaussian_filter(values, TISSUE_SMOOTH)[mask]
    inside = np.clip(inside, *np.percentile(inside, [1, 99]).tolist())
    fluid, middle, _ = means(inside, 3)
    solid = inside > (fluid + middle) / 2
    slope = ndimage.gaussian_gradient_magnitude(values, 1.0)[mask][solid]
    grey, white = means(inside[solid][slope <= np.quantile(slope, FLAT_SHARE)], 2)
    labels = np.zeros(mask.shape, np.uint8)
    labels[mask] = 1 + np.digitize(inside, [(fluid + grey) / 2, (grey + white) / 2])
    return labels


def means(values: Array, n: int) -> list[float]:
    """Of a mixture of Gaussians, from dark to bright."""
    sample = np.random.default_rng(0).choice(values, TISSUE_SAMPLES, replace=False).astype(float)[:, None]
    return sorted(GaussianMixture(n, random_state=0, max_iter=200).fit(sample).means_[:, 0].tolist())


def box(mask: Array, size: int) -> Array:
    """Where a box of `size` voxels an axis begins, around the middle of the mask."""
    inside = np.argwhere(mask)
    return np.floor((inside.min(axis=0) + inside.max(axis=0) + 1 - size) / 2).astype(int)


def cut(values: Array, start: Array, size: int) -> Array:
    """The box; what of it lies outside the image is 0."""
    result = np.zeros((size,) * 3, values.dtype)
    low, high = np.maximum(start, 0), np.minimum(start + size, values.shape)
    there = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
    result[there] = values[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    return result


def repaired(values: Array, mask: Array) -> Array:
    """Without single voxels far beyond all others."""
    middle, high = np.percentile(values[mask], [50, 99.9]).tolist()
    return np.minimum(values, high + REACH * (high - middle))


def scaled(values: Array, mask: Array) -> Array:
    """0 to 1 between two percentiles inside the mask, 0 outside."""
    low, high = np.percentile(values[mask], [0.5, 99.5]).tolist()
    return np.where(mask, np.clip((values - low) / (high - low), 0, 1), 0).astype(np.float32)
