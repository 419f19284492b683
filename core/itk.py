"""Between arrays in RAS and SimpleITK's images (LPS, axes reversed): the only place where one becomes the other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from core.types import Affine, Array


def to_itk(data: NDArray[Any], affine: Affine) -> sitk.Image:
    """An array (I, J, K) with its matrix voxel -> RAS mm; the axes must be at right angles."""
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = sitk.GetImageFromArray(np.ascontiguousarray(data.transpose(2, 1, 0)))
    image.SetSpacing([float(value) for value in spacing])
    image.SetOrigin([float(value) for value in lps[:3, 3]])
    image.SetDirection([float(value) for value in (lps[:3, :3] / spacing).ravel()])
    return image


def from_itk(image: sitk.Image) -> Array:
    """The voxels as (I, J, K) float32, the first axis contiguous: as they lie there, so nothing is turned in memory."""
    return np.asarray(sitk.GetArrayFromImage(image), np.float32).transpose(2, 1, 0)


@contextmanager
def one_thread() -> Iterator[None]:
    """SimpleITK on one thread: sums run in one order, so that the same input gives the same bits."""
    usual = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(usual)
