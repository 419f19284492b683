"""What surrounds the brain: dura, skull, scalp, and enough of face and neck to look like a head."""

from __future__ import annotations

import numpy as np

from core.phantom.fields import Field, ellipsoid, joined, random_field, soft

FACE_SLICES = 42  # what is painted by `_face` lies below
TISSUES = ("air", "csf", "grey", "white", "cortical", "marrow", "fat", "muscle", "skin", "dura")


class Canvas:
    """Fractions of tissue per voxel that always sum to 1; a tissue is laid over what is there."""

    def __init__(self, tissue: Field) -> None:
        self.tissue = tissue

    @staticmethod
    def of_air(shape: tuple[int, ...]) -> Canvas:
        tissue = np.zeros((len(TISSUES), *shape), np.float32)
        tissue[0] = 1
        return Canvas(tissue)

    def lay(self, name: str, cover: Field) -> None:
        """`cover` (0 to 1) of each voxel becomes `name`. Only the box around it is touched, for speed."""
        touched = [np.flatnonzero(cover.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1))]
        if all(len(along) for along in touched):
            box = tuple(slice(int(along[0]), int(along[-1]) + 1) for along in touched)
            part = self.tissue[(slice(None), *box)]
            part *= 1 - cover[box]
            part[TISSUES.index(name)] += cover[box]


def paint_head(brain: Field, source: Field, envelope: Field, rng: np.random.Generator) -> Field:
    """(len(TISSUES), I, J, K) fractions from the brain's (csf, grey, white) and its hull's signed distance."""
    x, y, z = source
    low = ((20.0 - z) / 60.0).clip(0, 1)  # 0 at the vault, 1 at the base
    gap = 1.6 + 0.5 * random_field(rng, 18.0).clip(-1.5, 1.5)
    temporal = np.exp(-((y / 30) ** 2)) * ((abs(x) - 45) / 12).clip(0, 1) * low
    bone = 6.0 + 1.1 * random_field(rng, 20.0).clip(-1.5, 1.5) + 1.8 * ((-70 - y) / 25).clip(0, 1) - 2.2 * temporal
    scalp = 5.0 + 0.8 * random_field(rng, 24.0).clip(-1.5, 1.5) + 4.0 * temporal
    outer = envelope - gap - bone - scalp
    body = ellipsoid(source, (0.0, -6.0, -46.0), (70.0, 88.0, 76.0))
    skin = joined(outer, body, 12.0)
    canvas = Canvas.of_air(envelope.shape)
    canvas.lay("skin", soft(skin))
    canvas.lay("fat", soft(skin + 1.8))
    face = Canvas(canvas.tissue[..., :FACE_SLICES])
    _face(face, source[..., :FACE_SLICES], skin[..., :FACE_SLICES], (outer + scalp)[..., :FACE_SLICES], rng)
    muscle = soft(skin + 4.0) * (temporal > 0.25) * soft(-(outer + scalp))
    canvas.lay("muscle", muscle.astype(np.float32))
    _vault(canvas, envelope - gap, bone, z, rng)
    _intracranial(canvas, brain, source, envelope, gap)
    return canvas.tissue


def _vault(canvas: Canvas, above_dura: Field, bone: Field, z: Field, rng: np.random.Generator) -> None:
    """Two tables of cortical bone with marrow between them."""
    canvas.lay("cortical", soft(above_dura - bone))
    marrow = soft(above_dura - bone + 1.7, 0.8) * soft(1.7 - above_dura, 0.8)
    patchy = (0.8 + 0.25 * random_field(rng, 5.0)).clip(0.2, 1.0)
    canvas.lay("marrow", (marrow * patchy * (z > -40)).astype(np.float32))


def _intracranial(canvas: Canvas, brain: Field, source: Field, envelope: Field, gap: Field) -> None:
    """Dura, fluid around the brain, the brain, and the falx in the midline's fluid."""
    canvas.lay("dura", soft(envelope - gap, 0.9))
    canvas.lay("csf", soft(envelope - gap + 1.0, 0.9))
    inside = soft(envelope, 1.0)
    canvas.tissue *= 1 - inside
    for name, part in zip(("csf", "grey", "white"), brain, strict=True):
        canvas.tissue[TISSUES.index(name)] += inside * part
    x, _, z = source
    falx = np.exp(-((x / 1.1) ** 2)) * soft(-(envelope + 30.0), 5.0) * soft(4.0 - z, 6.0) * brain[0]
    canvas.lay("dura", (0.7 * falx * inside).clip(0, 1).astype(np.float32))


def _face(canvas: Canvas, source: Field, skin: Field, above_bone: Field, rng: np.random.Generator) -> None:
    """Muscle and fat, orbits with globes, air-filled sinuses with thin walls, mastoids. All below the vault."""
    away = soft(-above_bone)  # 1 outside the skull's shell
    deep = soft(skin + 6.0, 1.5) * away
    planes = random_field(rng, 3.5)[..., :FACE_SLICES]
    canvas.lay("muscle", deep * (2.4 + 2.0 * planes).clip(0, 1))
    for side in (-1.0, 1.0):
        canvas.lay("cortical", away * soft(abs(ellipsoid(source, (side * 32, 50, -38), (20, 28, 19))) - 1.2))
        canvas.lay("fat", away * soft(ellipsoid(source, (side * 32, 50, -38), (19, 27, 18))))
        canvas.lay("muscle", away * soft(abs(ellipsoid(source, (side * 32, 60, -38), (12.8, 12.8, 12.8))) - 0.6))
        canvas.lay("csf", away * soft(ellipsoid(source, (side * 32, 60, -38), (12, 12, 12))))
        canvas.lay("cortical", away * soft(ellipsoid(source, (side * 50, -34, -46), (16, 20, 20))) * (planes > -0.2))
    cavities = [((30, 46, -68), (13, 17, 15)), ((-30, 46, -68), (13, 17, 15)), ((0, 48, -44), (10, 22, 12))]
    cavities += [((0, 50, -66), (11, 30, 16)), ((0, 14, -48), (12, 11, 10)), ((7, 76, -20), (9, 5, 8))]
    for centre, radii in cavities:
        place = ellipsoid(source, centre, radii) + planes
        canvas.lay("cortical", away * soft(place - 1.2))
        canvas.lay("air", away * soft(place + 0.4))
    for side in (-1.0, 1.0):
        cells = soft(ellipsoid(source, (side * 52, -36, -46), (12, 15, 15))) * (
            random_field(rng, 2.5)[..., :FACE_SLICES] > 0.3
        )
        canvas.lay("air", (away * cells).astype(np.float32))
