"""Generated people with known truth: the template's anatomy, each one's own head, the physics of six modalities."""

from __future__ import annotations

import numpy as np

from core.phantom.fields import SPACING_MM, Field, grid_affine, grid_points
from core.phantom.head import Head, build_head
from core.phantom.person import LEVEL_SETTINGS, Person, draw_person
from core.phantom.physics import SEQUENCES, ct_image, mr_image, pet_image
from core.phantom.skull import TISSUES
from core.phantom.ultrasound import us_image
from core.types import LABEL_UNIT, Label, Volume

__all__ = ["LEVEL_SETTINGS", "Head", "Person", "build_head", "draw_person", "labels_of", "tissue_map", "volumes_of"]

TISSUE_CLASS = {
    "air": 0, "csf": 1, "dura": 1, "grey": 2, "white": 3, "cortical": 4, "marrow": 4, "fat": 5, "muscle": 5, "skin": 5,
}  # fmt: skip


def tissue_map(head: Head) -> Field:
    """0 air, 1 fluid, 2 grey, 3 white, 4 bone, 5 other soft tissue; under a lesion, what was there before."""
    shares = np.zeros((6, *head.lesion.shape), np.float32)
    for name, part in zip(TISSUES, head.tissue, strict=True):
        shares[TISSUE_CLASS[name]] += part
    return np.asarray(shares.argmax(axis=0), np.float32)


def volumes_of(head: Head) -> dict[str, Volume]:
    """Six modalities and three label maps on one grid."""
    images = {sequence: (mr_image(head, sequence), "a.u.") for sequence in SEQUENCES}
    picture, seen = us_image(head)
    images |= {"CT": (ct_image(head), "HU"), "PET": (pet_image(head), "SUV"), "US": (picture, "a.u.")}
    images |= {
        "tissue": (tissue_map(head), LABEL_UNIT),
        "lesion": (head.lesion_mask.astype(np.float32), LABEL_UNIT),
        "US_fov": (seen, LABEL_UNIT),
    }
    return {name: Volume(data, grid_affine(), name, unit) for name, (data, unit) in images.items()}


def labels_of(head: Head) -> dict[str, Label]:
    """The person's factors and what they came to: volumes in ml, the lesion's centre in mm."""
    millilitre = SPACING_MM**3 / 1000
    classes = tissue_map(head)
    mask = head.lesion_mask
    labels = head.person.labels()
    labels["ventricle_volume_ml"] = round(float((head.ventricle_mm < 0).sum() * millilitre), 3)
    labels["csf_volume_ml"] = round(float((classes == 1).sum() * millilitre), 3)
    labels["brain_volume_ml"] = round(float(((classes == 2) | (classes == 3)).sum() * millilitre), 3)
    labels["lesion_volume_ml"] = round(float(mask.sum() * millilitre), 3)
    if mask.any():
        for axis, value in zip("xyz", grid_points()[:, mask].mean(axis=1), strict=True):
            labels[f"lesion_{axis}_mm"] = round(float(value), 2)
    return labels
