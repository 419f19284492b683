"""Intra-operative ultrasound: beams from a probe on the dura, through a window in the bone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.phantom.fields import FIRST_MM, SPACING_MM, Field, grid_points, soft
from core.phantom.head import Head
from core.phantom.skull import TISSUES

PROBE, SPECKLE = 21, 22  # purposes of random streams
DEPTH_MM, HALF_WIDTH, HALF_SWEEP = 92.0, 0.74, 0.66  # radians, seen from the apex
FOOTPRINT_MM = 14.0  # the apex lies this far behind the probe's face
SCATTER = {
    "air": 0.0, "csf": 0.006, "grey": 0.09, "white": 0.15, "cortical": 0.8, "marrow": 0.5,
    "fat": 0.3, "muscle": 0.2, "skin": 0.3, "dura": 1.6,
}  # fmt: skip
IMPEDANCE = {
    "air": 0.0, "csf": 1.52, "grey": 1.60, "white": 1.63, "cortical": 6.0, "marrow": 3.0,
    "fat": 1.38, "muscle": 1.68, "skin": 1.7, "dura": 1.75,
}  # fmt: skip
LOSS_DB_PER_MM = {"csf": 0.01, "grey": 0.28, "white": 0.36}
RANGE_DB = 48.0


@dataclass(frozen=True)
class Probe:
    """Where the apex of the fan lies (mm), and the three directions: down the middle beam, along and across the fan."""

    apex_mm: NDArray[np.float64]
    axes: NDArray[np.float64]


def us_image(head: Head) -> tuple[Field, Field]:
    """(image 0 to 255 in whole numbers, field of view 0 or 1); the image is 0 outside the field of view."""
    probe = place_probe(head)
    offset = grid_points() - probe.apex_mm.reshape(3, 1, 1, 1).astype(np.float32)
    depth, along, across = np.tensordot(probe.axes.astype(np.float32), offset, 1)
    radius = np.sqrt((offset * offset).sum(axis=0))
    angle, sweep = np.arctan2(along, depth), np.arctan2(across, depth)
    seen = ((angle / HALF_WIDTH) ** 2 + (sweep / HALF_SWEEP) ** 2 < 1) & (depth > 0)
    seen &= (radius > FOOTPRINT_MM) & (radius < FOOTPRINT_MM + DEPTH_MM) & (head.envelope_mm < 1.0)
    echo = _beams(head, probe)
    steps = [(radius - FOOTPRINT_MM) / 1.0, (angle / HALF_WIDTH + 1) * 32, (sweep / HALF_SWEEP + 1) * 28]
    image = ndimage.map_coordinates(echo, np.stack(steps)[:, seen], order=1, mode="nearest")
    picture = np.zeros(radius.shape, np.float32)
    picture[seen] = np.rint(image)
    return picture, seen.astype(np.float32)


def place_probe(head: Head) -> Probe:
    """On the side of the lesion (or of a ventricle), looking at it from the nearest convexity."""
    rng = head.person.rng(PROBE)
    points = grid_points()
    if head.lesion_mask.any():
        target = points[:, head.lesion_mask].mean(axis=1).astype(float)
    else:
        target = np.array([rng.choice([-1.0, 1.0]) * 14.0, rng.uniform(-25, 15), 14.0])
    centre = np.array([0.0, -18.0, 0.0])
    outward = target - centre
    outward[2] = abs(outward[2]) + 22.0
    outward = outward / np.linalg.norm(outward) + rng.normal(0, 0.08, 3)
    outward /= np.linalg.norm(outward)
    reach = np.arange(0.0, 130.0, 0.5)
    line = target[:, None] + outward[:, None] * reach
    depth = ndimage.map_coordinates(head.envelope_mm, _voxels(line), order=1, mode="nearest")
    face = target + outward * reach[int(np.argmax(depth > -1.0))]
    forward = -outward
    across = np.cross(forward, [0.0, 1.0, 0.2])
    across /= np.linalg.norm(across)
    along = np.cross(across, forward)
    return Probe(face - forward * FOOTPRINT_MM, np.stack([forward, along, across]))


def _voxels(points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    first = np.asarray(FIRST_MM).reshape(3, *([1] * (points_mm.ndim - 1)))
    return np.asarray((points_mm - first) / SPACING_MM)


def _beams(head: Head, probe: Probe) -> Field:
    """(depth, angle, sweep) log-compressed echo, 0 to 255, one sample per millimetre of depth."""
    radius = FOOTPRINT_MM + np.arange(int(DEPTH_MM) + 1)
    angle = HALF_WIDTH * (np.arange(65) / 32 - 1)
    sweep = HALF_SWEEP * (np.arange(57) / 28 - 1)
    r, a, s = np.meshgrid(radius, angle, sweep, indexing="ij")
    direction = np.stack([np.ones_like(r), np.tan(a), np.tan(s)])
    direction /= np.sqrt((direction**2).sum(axis=0))
    places = _voxels(np.tensordot(probe.axes.T, direction * r, 1) + probe.apex_mm.reshape(3, 1, 1, 1))

    def sampled(field: Field) -> Field:
        return np.asarray(ndimage.map_coordinates(field, places, order=1, mode="nearest"))

    def mixed(values: dict[str, float]) -> Field:
        weights = np.array([values.get(name, 0.3) for name in TISSUES], np.float32)
        return np.asarray(np.tensordot(weights, head.tissue, 1))

    lesion = sampled(head.lesion) * (head.person.lesion.contrast if head.person.lesion else 0.0)
    scatter = sampled(mixed(SCATTER) * (1 - 0.3 * head.myelin)) * (1 - lesion) + 0.75 * lesion
    impedance = sampled(mixed(IMPEDANCE)) + 0.06 * lesion
    folds = sampled(4.0 * head.fraction("csf") * (1 - head.fraction("csf")) * soft(3.0 - head.ventricle_mm, 2.0))
    edges = sum(np.gradient(impedance, axis=axis) ** 2 * w for axis, w in ((0, 1.0), (1, 0.35), (2, 0.35)))
    loss = np.cumsum(sampled(mixed(LOSS_DB_PER_MM)), axis=0)
    compensated = 10 ** ((-loss + 0.22 * (r - FOOTPRINT_MM)) / 20)
    return _compressed(head, (scatter + 0.8 * folds + 12.0 * np.sqrt(edges)) * compensated, r)


def _compressed(head: Head, amplitude: Field, radius: NDArray[np.float64]) -> Field:
    """Speckle (Rayleigh, wider with depth), gain and logarithm."""
    rng = head.person.rng(SPECKLE)
    waves = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    waves = np.stack([ndimage.gaussian_filter(wave, (0.6, 0.9, 0.9)) for wave in waves])
    rayleigh = np.hypot(waves[0], waves[1])
    rayleigh /= np.sqrt((rayleigh**2).mean())
    speckle = rayleigh ** np.float32(head.person.us_speckle)
    shown = 20 * np.log10(amplitude * speckle + 1e-3) + head.person.us_gain_db
    shown -= 6.0 * (radius - FOOTPRINT_MM) / DEPTH_MM
    return np.asarray((255 * (shown + RANGE_DB - 8.0) / RANGE_DB).clip(1, 255), np.float32)
