"""From the template's anatomy to one person's head: brain, skull, scalp and face, as tissue fractions per voxel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.phantom.fields import SPACING_MM, Field, grid_points, joined, random_field, soft
from core.phantom.person import Person
from core.phantom.skull import TISSUES, paint_head

ASSET = Path(__file__).resolve().parents[2] / "assets" / "anatomy" / "icbm152.npz"
VENTRICLE_REACH_MM = 20.0
CSF_T1, GREY_T1, WHITE_T1 = 67.0, 165.0, 223.0  # medians of the template's T1 in voxels of one tissue
WARP, FOLDS, LESION_PLACE, LESION_SHAPE, SKULL, TEXTURE = 1, 2, 3, 4, 5, 6  # purposes of random streams


@dataclass(frozen=True)
class Grid:
    """A field of the template with its place in millimetres."""

    data: Field
    first_mm: NDArray[np.float64]
    spacing_mm: float

    def at(self, points: Field, order: int = 1) -> Field:
        """Values at (3, ...) millimetres; beyond the edge the nearest value holds. Cubic needs prefiltered data."""
        first = self.first_mm.reshape(3, *([1] * (points.ndim - 1))).astype(np.float32)
        voxels = (points - first) / np.float32(self.spacing_mm)
        return np.asarray(ndimage.map_coordinates(self.data, voxels, order=order, mode="nearest", prefilter=False))


@dataclass(frozen=True)
class Template:
    """The asset, ready to be sampled.

    Attributes:
        t1, grey, white: 0 to 255, as spline coefficients.
        hull: signed distance in mm to the smooth surface that the skull follows; negative inside.
        ventricle: signed distance in mm to the lateral ventricles.
        outward: along each axis, the flow that widens the ventricles, mm per mm.
    """

    t1: Grid
    grey: Grid
    white: Grid
    hull: Grid
    ventricle: Grid
    outward: tuple[Grid, Grid, Grid]


@dataclass(frozen=True)
class Head:
    """One person's anatomy on the demo's grid.

    Attributes:
        tissue: (len(TISSUES), I, J, K), fractions that sum to 1, without the lesion.
        myelin: (I, J, K), how much whiter (+) or greyer (-) the template's T1 is than its tissue's median.
        lesion, oedema: (I, J, K), 0 to 1.
        lesion_mask: (I, J, K) bool, the lesion that labels and tests speak of.
        texture: (I, J, K), small random variation of the tissue, mean 0 and deviation 1.
        source_mm: (3, I, J, K), where in the template each voxel comes from.
        envelope_mm, ventricle_mm: (I, J, K), signed distance to the brain's hull and the lateral ventricles.
    """

    person: Person
    tissue: Field
    myelin: Field
    lesion: Field
    oedema: Field
    lesion_mask: NDArray[np.bool_]
    texture: Field
    source_mm: Field
    envelope_mm: Field
    ventricle_mm: Field

    def fraction(self, name: str) -> Field:
        out: Field = self.tissue[TISSUES.index(name)]
        return out


@lru_cache(maxsize=1)
def load_template() -> Template:
    """Read the asset once per process and derive the distances."""
    with np.load(ASSET, allow_pickle=False) as asset:
        arrays = {name: asset[name] for name in asset.files}
    first, spacing = arrays["first_mm"], float(arrays["spacing_mm"].item())
    t1, grey, white = (
        Grid(ndimage.spline_filter(arrays[name].astype(np.float32), output=np.float32), first, spacing)
        for name in ("t1", "grey", "white")
    )
    ventricle = _signed_distance(arrays["ventricles"] > 0, spacing, 1.0)
    flow = [-part * np.exp(-ventricle.clip(0) / VENTRICLE_REACH_MM) for part in np.gradient(ventricle, spacing)]
    x, y, z = (Grid(part.astype(np.float32), first, spacing) for part in flow)
    hull = _hull(arrays["brain"] > 0, first, spacing)
    return Template(t1, grey, white, hull, Grid(ventricle, first, spacing), (x, y, z))


def _hull(brain: NDArray[np.bool_], first: NDArray[np.float64], spacing: float) -> Grid:
    """The brain with its furrows closed and its surface smoothed, on every second voxel of a wider grid."""
    margin, closing, spacing = 16, 13.0, 2 * spacing
    wide = np.pad(brain[::2, ::2, ::2], margin)
    wide[:, :, :margin] = wide[:, :, margin : margin + 1]  # the spinal cord goes on below the template's last slice
    swollen = ndimage.distance_transform_edt(~wide) * spacing <= closing
    smooth = _signed_distance(swollen, spacing, 1.7) + closing
    tight = _signed_distance(wide, spacing, 0.5)
    return Grid(joined(smooth, tight, 3.0), first - margin * spacing, spacing)


def _signed_distance(mask: NDArray[np.bool_], spacing: float, blur: float) -> Field:
    outside = ndimage.distance_transform_edt(~mask)
    inside = ndimage.distance_transform_edt(mask)
    return np.asarray(ndimage.gaussian_filter((outside - inside).astype(np.float32) * np.float32(spacing), blur))


def build_head(person: Person) -> Head:
    """The person's anatomy, lesion included."""
    template, points = load_template(), grid_points()
    source = _pose(points, person)
    hull = template.hull.at(source)
    inside = hull < 2.5
    source[:, inside] = at = _fold(template, source[:, inside], inside, person)
    t1, grey, white = (grid.at(at, order=3) for grid in (template.t1, template.grey, template.white))
    ventricle = np.full(hull.shape, 99.0, np.float32)
    ventricle[inside] = template.ventricle.at(at)
    maps = np.zeros((3, *hull.shape), np.float32)
    maps[:, inside] = t1, grey / 255, white / 255
    brain, myelin = _brain(maps, hull, person.atrophy)
    tissue = paint_head(brain, source, hull, person.rng(SKULL))
    texture = random_field(person.rng(TEXTURE), 3.0)
    lesion, oedema, mask = _lesion(person, points, tissue, hull, ventricle)
    return Head(person, tissue, myelin, lesion, oedema, mask, texture, source, hull, ventricle)


def _pose(points: Field, person: Person) -> Field:
    """Where in the template each voxel of this head lies: size, pose and the smooth part of the shape."""
    rng = person.rng(WARP)
    scale = person.head_scale * (1 + rng.normal(0, 0.015, 3))
    matrix = (_rotation(rng.normal(0, 0.03, 3)) / scale[:, None]).astype(np.float32)
    centre = np.array([0.0, -18.0, 10.0])
    shift = rng.normal(0, 1.0, 3)
    around = points - (centre + shift).reshape(3, 1, 1, 1).astype(np.float32)
    source = np.tensordot(matrix, around, 1) + centre.reshape(3, 1, 1, 1).astype(np.float32)
    for axis in range(3):
        source[axis] += np.float32(person.settings.deformation_mm) * random_field(rng, 32.0)
    return np.asarray(source, np.float32)


def _fold(template: Template, source: Field, inside: NDArray[np.bool_], person: Person) -> Field:
    """The same for the brain alone, (3, n): the person's own gyri, then the flow that widens the ventricles."""
    rng = person.rng(FOLDS)
    amount = np.float32(person.settings.folding_mm)
    source = source + amount * np.stack([random_field(rng, 7.0)[inside] for _ in range(3)])
    steps = max(1, int(np.ceil(abs(person.ventricle_growth_mm) / 1.3)))
    push = np.float32(person.ventricle_growth_mm / steps)
    for _ in range(steps):
        source = source + push * np.stack([part.at(source) for part in template.outward])
    return source


def _rotation(angles: NDArray[np.float64]) -> NDArray[np.float64]:
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [other for other in range(3) if other != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def _crisp(share: Field, power: float) -> Field:
    """Undo some of the averaging over people: push shares towards 0 and 1."""
    share = share.clip(0, 1)
    high, low = share**power, (1 - share) ** power
    return (high / (high + low)).astype(np.float32)


def _brain(maps: Field, envelope: Field, atrophy: float) -> tuple[Field, Field]:
    """(csf, grey, white) that sum to 1, meaningful inside the hull, and the template's own texture (see `Head`)."""
    t1, grey, white = maps
    inside = soft(envelope, 1.0)
    from_t1 = ((145.0 - t1) / (145.0 - CSF_T1)).clip(0, 1)
    fluid = _crisp(np.maximum(1 - (grey + white).clip(0, 1), from_t1), 1.5)
    wear = ndimage.gaussian_filter(np.maximum(fluid, 1 - inside), 1.1)
    fluid = fluid + (1 - fluid) * (1.3 * atrophy * wear * (1 - white)).clip(0, 1)
    share = _crisp(white / np.maximum(grey + white, 1e-3), 1.6)
    solid = 1 - fluid
    parts = np.stack([fluid, solid * (1 - share), solid * share]).astype(np.float32)
    expected = np.tensordot(np.array([CSF_T1, GREY_T1, WHITE_T1], np.float32), parts, 1)
    myelin = ((t1 - expected) / (WHITE_T1 - GREY_T1)).clip(-0.6, 0.6) * solid * inside
    return parts, myelin.astype(np.float32)


def _lesion(
    person: Person, points: Field, tissue: Field, envelope: Field, ventricle: Field
) -> tuple[Field, Field, NDArray[np.bool_]]:
    """Lesion and oedema as fractions, and the lesion's mask, which has the volume that `Lesion.target_ml` asks for."""
    nothing = np.zeros(envelope.shape, np.float32)
    if person.lesion is None:
        return nothing, nothing, nothing > 0
    fluid, grey, white = (tissue[TISSUES.index(name)] for name in ("csf", "grey", "white"))
    rng = person.rng(LESION_PLACE)
    places = np.argwhere((white > 0.8) & (envelope < -14) & (ventricle > 9) & (points[2] > -8))
    centre = points[(slice(None), *places[rng.integers(len(places))])]
    stretch = np.exp(rng.normal(0, 0.18, 3)).astype(np.float32)
    radius = np.sqrt((((points - centre.reshape(3, 1, 1, 1)) / stretch.reshape(3, 1, 1, 1)) ** 2).sum(axis=0))
    shape = person.rng(LESION_SHAPE)
    uneven = 0.17 * random_field(shape, 7.0) + 0.13 * random_field(shape, 3.5)
    spread = radius * (1 + uneven.clip(-0.6, 0.6)) + 4.0 * fluid
    solid = grey + white
    voxels = round(person.lesion.target_ml * 1000 / SPACING_MM**3)
    edge = np.partition(spread[solid > 0.6], voxels)[voxels]
    mask = (spread < edge) & (solid > 0.6)
    inner = (1 - 0.35 * soft(spread - 0.5 * edge, 3.0) * (0.5 + 0.5 * random_field(shape, 4.0))).clip(0.5, 1)
    lesion = soft(spread - edge, 2.4) * solid * inner
    fingers = person.lesion.oedema_mm * (1 + 0.5 * random_field(shape, 5.0)) - 6.0 * (1 - white)
    halo = 0.75 * soft(spread - edge - fingers, 3.5) * white * (1 - lesion) * (person.lesion.oedema_mm > 2)
    return lesion.astype(np.float32), halo.astype(np.float32), mask
