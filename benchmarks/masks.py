"""How well do masks, brains, tissues and the removal of faces fit the truth? Generated heads, whose anatomy is known.

Each image alone, at its own 2 mm: "body" is the foreground mask, "brain" what is found in the whole head. Tissues are
judged inside the brain (in CT, the body) that was found, without lesions, whose tissue has no one name. All is Dice but
the last two: the share of the eyes that goes with the face, and of grey and white matter that stays. `MASKS_CASES` (3)
says how many people.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from statistics import median

import numpy as np
from scipy import ndimage

from benchmarks import Figures, Targets, is_quick_try
from core.phantom import Head, build_head, draw_person, tissue_map, volumes_of
from core.phantom.fields import ellipsoid
from core.preprocess.bias import BiasConfig, correct_case
from core.preprocess.brain import BRAIN_SOURCES, find_brain
from core.preprocess.deface import DefaceConfig, face_of, margin_after
from core.preprocess.grids import Grid, Mask
from core.preprocess.masks import make_mask
from core.preprocess.piece import Piece
from core.preprocess.tissue import TissueConfig, label_case
from core.types import Volume

TARGETS: Targets = {
    **{f"body.{source}.min": (">=", 0.95) for source in ("T1", "T2", "FLAIR", "CT")},
    **{f"brain.{source}.min": (">=", 0.95) for source in ("T1", "T2", "FLAIR", "CT")},
    **{f"{tissue}.{source}.median": (">=", 0.8) for tissue in ("CSF", "grey", "white") for source in ("T1", "T2")},
    **{f"{tissue}.CT.median": (">=", limit) for tissue, limit in (("air", 0.85), ("soft", 0.95), ("bone", 0.85))},
    **{f"brain kept.{source}.min": (">=", 0.9999) for source in ("T1", "T2", "FLAIR", "CT")},
    "eyes removed.T1.min": (">=", 0.99),
}
SOURCES = tuple(name for name in BRAIN_SOURCES if name not in ("T1POST", "PD"))  # what generated people have
MR_TISSUES = {"CSF": (1,), "grey": (2,), "white": (3,)}  # classes of the truth, in the step's own order
CT_TISSUES = {"air": (0,), "soft": (1, 2, 3, 5), "bone": (4,)}


def measure_masks() -> Figures:
    """WHAT.SOURCE.median and .min over the people."""
    scores: dict[str, list[float]] = defaultdict(list)
    for number in range(int(os.environ.get("MASKS_CASES", "1" if is_quick_try() else "3"))):
        head = build_head(draw_person(0, number, "medium"))
        volumes = volumes_of(head)
        for source in SOURCES:
            for name, score in _scores(head, volumes[source]):
                scores[f"{name}.{source}"].append(score)
    return {
        f"{name}.{end}": of(found) for name, found in scores.items() for end, of in (("median", median), ("min", min))
    }


def _scores(head: Head, volume: Volume) -> Iterator[tuple[str, float]]:
    classes, inside, source = tissue_map(head), head.envelope_mm < 0, volume.modality
    body, _ = make_mask(volume, "foreground")
    yield "body", dice(body, np.asarray(ndimage.binary_fill_holes(classes > 0)))
    found = find_brain({source: volume})
    brain = np.zeros_like(body) if found is None else found[1]
    yield "brain", dice(brain, inside)
    yield from _tissues(head, volume, body if volume.unit == "HU" else brain & inside)
    face = face_of(brain, volume.affine, margin_after(source, DefaceConfig()))
    yield "eyes removed", float(face[eyes_of(head)].mean())
    yield "brain kept", 1 - float(face[np.isin(classes, (2, 3))].mean())


def _tissues(head: Head, volume: Volume, mask: Mask) -> Iterator[tuple[str, float]]:
    """Of the step "tissue", after the step "bias", inside the mask without the lesion."""
    source = volume.modality
    i, j, k = volume.data.shape
    piece = Piece(source, {source: volume}, Grid((i, j, k), volume.affine), mask=mask)
    done = label_case(correct_case(piece, BiasConfig(enabled=True)), TissueConfig(enabled=True)).volumes
    judged, truth = mask & ~head.lesion_mask, tissue_map(head)
    for step, groups in (("tissue", MR_TISSUES), ("tissue_ct", CT_TISSUES)):
        for n, (name, those) in enumerate(groups.items(), 1):
            if step in done:
                yield name, dice((done[step].data == n) & judged, np.isin(truth, those) & judged)


def eyes_of(head: Head) -> Mask:
    """(I, J, K) both globes, as far as they are no air."""
    globes = [ellipsoid(head.source_mm, (side * 32, 60, -38), (12, 12, 12)) < 0 for side in (-1, 1)]
    return np.asarray((globes[0] | globes[1]) & (head.fraction("air") < 0.5))


def dice(first: Mask, second: Mask) -> float:
    """Overlap: 1 is the same mask, 0 none in common (Dice 1945, Ecology 26)."""
    return 2 * float((first & second).sum()) / float(first.sum() + second.sum())


def table(figures: Figures) -> str:
    """What and from which image down; median, least and target across."""
    lines = [f"{'':<22}{'from':<8}{'median':>10}{'least':>10}"]
    for key in (key.removesuffix(".median") for key in figures if key.endswith(".median")):
        name, source = key.split(".")
        lines.append(f"{name:<22}{source:<8}{figures[f'{key}.median']:>10.4f}{figures[f'{key}.min']:>10.4f}")
    return "\n".join(lines) + "\n"
