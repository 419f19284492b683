"""From the template's anatomy to one person's: deformed brain, skull, scalp and face, as fractions of tissue per voxel."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from core.phantom.fields import SPACING_MM, Field, grid_points, random_field, soft
from core.phantom.person import Person
from core.phantom.skull import TISSUES, paint_head

ASSET = Path(__file__).resolve().parents[2] / "assets" / "anatomy" / "icbm152.npz"
CSF_T1, GREY_T1, WHITE_T1 = 67.0, 165.0, 223.0  # medians of the template's T1 in voxels of one tissue
WARP, FOLDS, LESION_PLACE, LESION_SHAPE, SKULL = 1, 2, 3, 4, 5  # purposes of random streams


@dataclass(frozen=True)
class Template:
    """The asset, ready to be sampled. Arrays on the asset's grid, splines prefiltered."""

    maps: dict[str, Field]
    envelope_mm: Field
    ventricle_mm: Field
    outward: Field  # (3, I, J, K), the flow that widens the ventricles, mm per mm
    first_mm: NDArray[np.float64]
    spacing_mm: float

    def at(self, field: Field, points: Field, order: int = 1) -> Field:
        """`field` sampled at (3, ...) millimetres; beyond the edge the nearest value holds."""
        voxels = (points - self.first_mm.reshape(3, 1, 1, 1).astype(np.float32)) / np.float32(self.spacing_mm)
        out: Field = ndimage.map_coordinates(field, voxels, order=order, mode="nearest", prefilter=False)
        return out


@dataclass(frozen=True)
class Head:
    """One person's anatomy on the demo's grid.

    Attributes:
        tissue: (len(TISSUES), I, J, K), fractions that sum to 1, without the lesion.
        myelin: (I, J, K), how much whiter (+) or greyer (-) the template's T1 is than its tissue's median.
        lesion, oedema: (I, J, K), 0 to 1.
        source_mm: (3, I, J, K), where in the template each voxel comes from.
        envelope_mm, ventricle_mm: (I, J, K), signed distance to the brain's hull and the ventricles; negative inside.
    """

    person: Person
    tissue: Field
    myelin: Field
    lesion: Field
    oedema: Field
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
    spacing = float(arrays["spacing_mm"].item())
    brain, ventricles = arrays["brain"] > 0, arrays["ventricles"] > 0
    margin = 24
    first = arrays["first_mm"] - margin * spacing
    wide = {name: np.pad(arrays[name], margin) for name in ("t1", "grey", "white")}
    # the spinal cord ends at the template's last slice; the head goes on below it
    for data in wide.values():
        data[:, :, :margin] = data[:, :, margin : margin + 1]
    maps = {n: ndimage.spline_filter(d.astype(np.float32), order=3, output=np.float32) for n, d in wide.items()}
    hull = np.pad(brain, margin)
    hull[:, :, :margin] = hull[:, :, margin : margin + 1]
    hull = ndimage.distance_transform_edt(~hull) * spacing <= 9.0
    envelope = _signed_distance(hull, spacing) + 9.0
    ventricle = _signed_distance(np.pad(ventricles, margin), spacing)
    direction = np.stack(np.gradient(ventricle, spacing))
    outward = -direction * np.exp(-ventricle.clip(0) / 20.0)
    return Template(maps, envelope, ventricle, outward.astype(np.float32), first, spacing)


def _signed_distance(mask: NDArray[np.bool_], spacing: float) -> Field:
    outside = ndimage.distance_transform_edt(~mask)
    inside = ndimage.distance_transform_edt(mask)
    smooth: Field = ndimage.gaussian_filter((outside - inside).astype(np.float32) * np.float32(spacing), 1.0)
    return smooth


def build_head(person: Person) -> Head:
    """The person's anatomy, lesion included."""
    template = load_template()
    points = grid_points()
    source = _warp(template, points, person)
    envelope = template.at(template.envelope_mm, source)
    ventricle = template.at(template.ventricle_mm, source)
    t1, grey, white = (template.at(template.maps[name], source, order=3) for name in ("t1", "grey", "white"))
    brain, myelin = _brain(t1, grey / 255, white / 255, envelope, person.atrophy)
    tissue = paint_head(brain, source, envelope, person.rng(SKULL))
    lesion, oedema = _lesion(person, points, tissue, envelope, ventricle)
    return Head(person, tissue, myelin, lesion, oedema, source, envelope, ventricle)


def _warp(template: Template, points: Field, person: Person) -> Field:
    """For every voxel, the template's millimetres that it shows."""
    rng = person.rng(WARP)
    scale = person.head_scale * (1 + rng.normal(0, 0.015, 3))
    angles = rng.normal(0, 0.03, 3)
    centre = np.array([0.0, -18.0, 10.0])
    shift = rng.normal(0, 1.0, 3)
    around = points - (centre + shift).reshape(3, 1, 1, 1).astype(np.float32)
    matrix = (_rotation(angles) / scale[:, None]).astype(np.float32)
    source = np.tensordot(matrix, around, 1) + centre.reshape(3, 1, 1, 1).astype(np.float32)
    folds = person.rng(FOLDS)
    for axis in range(3):
        source[axis] += np.float32(person.settings.deformation_mm) * random_field(rng, 26.0)
        source[axis] += np.float32(person.settings.folding_mm) * random_field(folds, 7.0)
    steps = max(1, int(np.ceil(abs(person.ventricle_growth_mm) / 1.3)))
    for _ in range(steps):
        push = np.float32(person.ventricle_growth_mm / steps)
        source = source + push * np.stack([template.at(part, source) for part in template.outward])
    return source.astype(np.float32)


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


def _brain(t1: Field, grey: Field, white: Field, envelope: Field, atrophy: float) -> tuple[Field, Field]:
    """(csf, grey, white) that sum to 1, meaningful inside the hull, and the template's own texture (see `Head`)."""
    inside = soft(envelope, 1.0)
    from_t1 = ((145.0 - t1) / (145.0 - CSF_T1)).clip(0, 1)
    fluid = _crisp(np.maximum(1 - (grey + white).clip(0, 1), from_t1), 1.5)
    wear = ndimage.gaussian_filter(np.maximum(fluid, 1 - inside), 1.1)
    fluid = fluid + (1 - fluid) * (1.7 * atrophy * wear * (1 - white)).clip(0, 1)
    share = _crisp(white / np.maximum(grey + white, 1e-3), 1.6)
    solid = 1 - fluid
    parts = np.stack([fluid, solid * (1 - share), solid * share]).astype(np.float32)
    expected = np.tensordot(np.array([CSF_T1, GREY_T1, WHITE_T1], np.float32), parts, 1)
    myelin = ((t1 - expected) / (WHITE_T1 - GREY_T1)).clip(-0.6, 0.6) * solid * inside
    return parts, myelin.astype(np.float32)


def _lesion(person: Person, points: Field, tissue: Field, envelope: Field, ventricle: Field) -> tuple[Field, Field]:
    """Lesion and oedema as fractions; the lesion's label volume is what `Lesion.target_ml` asks for."""
    nothing = np.zeros(envelope.shape, np.float32)
    if person.lesion is None:
        return nothing, nothing
    fluid, grey, white = (tissue[TISSUES.index(name)] for name in ("csf", "grey", "white"))
    rng = person.rng(LESION_PLACE)
    fitting = (white > 0.8) & (envelope < -14) & (ventricle > 9) & (points[2] > -8)
    places = np.argwhere(fitting)
    at = places[rng.integers(len(places))]
    centre = points[:, at[0], at[1], at[2]]
    stretch = np.exp(rng.normal(0, 0.18, 3))
    offset = (points - centre.reshape(3, 1, 1, 1)) / stretch.reshape(3, 1, 1, 1).astype(np.float32)
    radius = np.sqrt((offset * offset).sum(axis=0))
    uneven = random_field(person.rng(LESION_SHAPE), 5.0)
    spread = radius * (1 + 0.22 * uneven.clip(-2.5, 2.5)) + 4.0 * fluid
    room = (grey + white) > 0.6
    voxels = round(person.lesion.target_ml * 1000 / SPACING_MM**3)
    edge = np.partition(spread[room], voxels)[voxels]
    solid = grey + white
    lesion = soft(spread - edge, 1.6) * solid
    halo = soft(spread - edge - person.lesion.oedema_mm, 3.0) * white * (1 - lesion)
    return lesion.astype(np.float32), (0.7 * halo * (person.lesion.oedema_mm > 2)).astype(np.float32)
