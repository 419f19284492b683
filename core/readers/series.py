"""Which slices make one volume, and in which order: by where they lie, never by their numbers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from core.errors import UnreadableImageError, UserError
from core.readers.geometry import lps_to_ras, orientation
from core.readers.item import Item, check_size
from core.readers.naming import safe_modality
from core.readers.splitting import by_kind, divide, kind_words

Found = tuple[int, Item]  # index of the file, what is in it

SPACING_TOLERANCE_MM, SPACING_TOLERANCE = 0.01, 0.01  # the larger of the two: absolute, share of the spacing
TWO_PEOPLE = "The slices of this series name different patients; export each patient apart."
PICTURES = ("US", "SC", "XA", "NM")  # each file is a picture or a film of its own where it has no place
DRIFT_VOXELS = 0.1  # how far slices may wander within their plane, over the whole stack


@dataclass(frozen=True)
class Series:
    """Slices that belong together.

    Attributes:
        members: all its slices, in the order found.
        parts: those that are read, along the normal.
        item: the whole: shape, geometry, modality, fate.
    """

    members: tuple[Found, ...]
    parts: tuple[Found, ...]
    item: Item


def arrange(found: Sequence[Found]) -> list[Series]:
    """Sort slices into volumes: by patient and series, then by what makes several volumes of one series."""
    groups: dict[tuple[str, str, str], list[Found]] = defaultdict(list)
    for one in found:
        groups[one[1].series, one[1].fate, one[1].code].append(one)
    broken = {series for series, fate, _ in groups if fate == "rejected"}
    result: list[Series] = []
    for (name, fate, _), group in groups.items():
        if fate not in ("accepted", "quarantined"):
            result.append(Series(tuple(group), (), group[0][1]))
        elif len({item.person for _, item in group}) > 1:
            refused = replace(group[0][1], fate="rejected", code="DICOM-PATIENTS", message=TWO_PEOPLE)
            result.append(Series(tuple(group), (), refused))
        else:
            result += [_warned(volume, "INCOMPLETE") if name in broken else volume for volume in _volumes(group)]
    return result


def _warned(series: Series, code: str) -> Series:
    return replace(series, item=replace(series.item, warnings=(*series.item.warnings, code)))


def _volumes(group: list[Found]) -> list[Series]:
    unique, copies = _without_copies(group)
    result = []
    if copies:
        item = replace(
            copies[0][1], fate="ignored", code="DUPLICATE-FILE", message="The same slice again; one is used."
        )
        result.append(Series(tuple(copies), (), item))
    if unique[0][1].modality in PICTURES and not any(item.position for _, item in unique):
        return [*(_volume([one]) for one in unique), *result]
    return [*_by_geometry(unique), *result]


def _by_geometry(slices: list[Found]) -> list[Series]:
    """The volumes of each size and orientation; where one of these is a single slice or none, all are refused."""
    groups: list[list[Found]] = []
    for one in slices:
        same = next((group for group in groups if _is_alike(one[1], group[0][1])), None)
        groups.append([one]) if same is None else same.append(one)
    if len(groups) == 1:
        return _by_kind(slices)
    found = [series for group in groups for series in _by_kind(group)]
    if any(len(series.parts) < 2 for series in found) or not all(item.position for _, item in slices):
        return [_volume(slices)]
    return [_told_apart(series, "") for series in found]


def _by_kind(slices: list[Found]) -> list[Series]:
    """One volume where the slices make one; else one for each kind of image, with its frames in time."""
    whole = _volume(slices)
    items = [item for _, item in slices]
    if whole.item.fate != "rejected":
        return [_doubted(whole)]
    if not all(item.position and item.traits for item in items):
        return [whole]
    found = [_in_time([[slices[n] for n in frame] for frame in kind]) for kind in divide(items)]
    if any(series.item.fate == "rejected" for series in found):
        found = [_volume([slices[n] for n in group]) for group in by_kind(items)]
        if any(len(series.parts) < 2 for series in found):
            return [whole]
    if len(found) == 1:
        return found
    words = kind_words([series.item for series in found])
    return [_told_apart(series, word) for series, word in zip(found, words, strict=True)]


def _told_apart(series: Series, word: str) -> Series:
    """A volume of a series that holds several, with the word that names it."""
    name = safe_modality(f"{series.item.modality}-{word}") if word else series.item.modality
    return replace(series, item=replace(series.item, modality=name, warnings=(*series.item.warnings, "SPLIT-SERIES")))


def _doubted(series: Series) -> Series:
    """A volume whose slices lie well, but are not of one kind."""
    told = {item.traits[1:3] for _, item in series.parts} | {item.modality for _, item in series.parts}
    if len(told) <= 2:
        return series
    return _warned(series, "MIXED-KINDS")


def _in_time(frames: list[list[Found]]) -> Series:
    """One image of several frames, all of them good volumes of one size."""
    volumes = [_volume(frame) for frame in frames]
    members = tuple(one for frame in frames for one in frame)
    first = next((volume for volume in volumes if volume.item.fate == "rejected"), volumes[0])
    if len(volumes) == 1 or first.item.fate == "rejected":
        return replace(first, members=members)
    parts = tuple(
        (n, replace(item, moment=k, frames=len(volumes)))
        for k, volume in enumerate(volumes)
        for n, item in volume.parts
    )
    codes = dict.fromkeys(code for volume in volumes for code in volume.item.warnings)
    return Series(members, parts, replace(first.item, frames=len(volumes), warnings=(*codes, "TIME-POINTS")))


def _without_copies(group: list[Found]) -> tuple[list[Found], list[Found]]:
    seen: set[tuple[object, ...]] = set()
    unique: list[Found] = []
    copies: list[Found] = []
    for one in group:
        item = one[1]
        key = (item.instance, item.part, item.position, item.traits, item.times, item.shape, item.frames)
        (copies if key in seen else unique).append(one)
        seen.add(key)
    return unique, copies


def _volume(slices: list[Found]) -> Series:
    """One volume, or the reason why these slices make none."""
    items = [item for _, item in slices]
    try:
        order, warnings = _order(items)
        parts = tuple(slices[n] for n in order)
        item = _whole([part for _, part in parts], warnings)
        check_size(item.shape, 4, "DICOM-SIZE")
    except UserError as error:
        item = replace(
            items[0], shape=(*items[0].shape, len(items)), fate="rejected", code=error.code, message=str(error)
        )
        return Series(tuple(slices), (), item)
    return Series(tuple(slices), parts, item)


def _whole(items: list[Item], warnings: Sequence[str]) -> Item:
    first = items[0]
    every = dict.fromkeys(code for item in items for code in item.warnings)
    step_mm = first.spacing_mm[2] or 1.0
    if len(items) > 1:
        step_mm = float(np.linalg.norm(np.subtract(items[-1].position, first.position))) / (len(items) - 1)
    turn = ""
    if first.axes:
        affine = np.eye(4)
        affine[:3, :3] = np.column_stack([first.axes[:3], first.axes[3:], np.cross(first.axes[:3], first.axes[3:])])
        turn = orientation(lps_to_ras(affine))
    return replace(
        first,
        shape=(*first.shape, len(items)),
        spacing_mm=(*first.spacing_mm[:2], step_mm),
        orientation=turn,
        unit=first.unit if len({item.unit for item in items}) == 1 else "a.u.",
        warnings=(*every, *warnings),
    )


def _order(items: Sequence[Item]) -> tuple[list[int], list[str]]:
    """The slices' order along their normal, and what is doubtful.

    Raises:
        UnreadableImageError: They do not make a volume: mixed, double, with gaps, unevenly spaced, without a place.
    """
    if len(items) == 1 and not items[0].position:
        return [0], ["NO-ORIENTATION"] if items[0].modality in PICTURES else ["ONE-SLICE", "NO-ORIENTATION"]
    if not all(item.position for item in items):
        raise UnreadableImageError(
            "The slices do not say where they lie, so they cannot be stacked.", "DICOM-NO-POSITION"
        )
    _check_alike(items)
    across, down = _axes(items[0])
    if len(items) == 1:
        return [0], ["ONE-SLICE"]
    positions = np.array([item.position for item in items])
    heights = positions @ np.cross(across, down)
    order = np.argsort(heights, kind="stable")
    _check_steps(np.diff(heights[order]))
    return [int(n) for n in order], _drift(positions[order], (across, down), items[0].spacing_mm)


def _check_alike(items: Sequence[Item]) -> None:
    if not all(_is_alike(item, items[0]) for item in items):
        raise UnreadableImageError(
            "The slices of this series differ in orientation, size or place of reference; export the parts apart.",
            "DICOM-MIXED",
        )


def _is_alike(item: Item, first: Item) -> bool:
    """Whether two slices have one size, orientation and frame of reference."""
    if item.shape != first.shape or item.frame != first.frame or len(item.axes) != len(first.axes):
        return False
    if (item.axes, item.spacing_mm[:2]) == (first.axes, first.spacing_mm[:2]):
        return True
    alike = np.allclose(item.axes, first.axes, atol=1e-3)
    return bool(alike and np.allclose(item.spacing_mm[:2], first.spacing_mm[:2], rtol=1e-3))


def _axes(item: Item) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    across, down = np.asarray(item.axes[:3]), np.asarray(item.axes[3:])
    lengths = np.linalg.norm(across), np.linalg.norm(down)
    if not np.allclose(lengths, 1, atol=0.01) or abs(across @ down) > 0.01:
        raise UnreadableImageError("The slices' orientation in the header is impossible.", "DICOM-ORIENTATION")
    return across, down


def _check_steps(steps: NDArray[np.float64]) -> None:
    """Even distances between neighbours."""
    typical = float(np.median(steps))
    if steps.min() < SPACING_TOLERANCE_MM:
        raise UnreadableImageError(
            "Several slices lie at the same place: slices are double, or the series holds several volumes. "
            "Export one volume.",
            "DICOM-DUPLICATES",
        )
    tolerance = max(SPACING_TOLERANCE_MM, SPACING_TOLERANCE * typical)
    if np.abs(steps - typical).max() <= tolerance:
        return
    if steps.max() > 1.5 * typical:
        raise UnreadableImageError("Slices are missing: there is a gap in the series. Export all of it.", "DICOM-GAP")
    raise UnreadableImageError("The distance between slices is not the same everywhere.", "DICOM-SPACING")


def _drift(
    positions: NDArray[np.float64], axes: tuple[NDArray[np.float64], NDArray[np.float64]], spacing: tuple[float, ...]
) -> list[str]:
    """Whether the slices lie above each other, or evenly beside (a tilted gantry)."""
    in_plane = np.column_stack([(positions - positions[0]) @ axes[n] / spacing[n] for n in (0, 1)])  # voxels
    even = np.linspace(0, 1, len(positions))[:, None] * in_plane[-1]
    if np.abs(in_plane - even).max() > DRIFT_VOXELS:
        raise UnreadableImageError("The slices do not lie on one straight line.", "DICOM-POSITIONS")
    return ["GANTRY-TILT"] if np.abs(in_plane[-1]).max() > DRIFT_VOXELS else []
