"""Several volumes at the same places in one series: told apart by what differs between them, evenly or not at all."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.readers.item import Item

SAME_PLACE_MM = 0.01
N_KINDS, GRADIENT = 5, 5  # the first traits make another kind of image, the last another frame of it
MAX_KINDS = 8  # more echoes, weightings or flip angles than that are frames of one image
COUNTED, TRIGGERED, CLOCKS = (0, 1, 2), 3, (4, 5)  # of `Item.times`: equal all over a volume, and otherwise

Group = list[int]


@dataclass(frozen=True)
class _Slices:
    """Slices of one geometry, and which of them lie at one place."""

    items: Sequence[Item]
    place: tuple[int, ...]

    def is_single(self, group: Group) -> bool:
        """Whether no two lie at one place."""
        return len({self.place[n] for n in group}) == len(group)

    def is_even(self, group: Group, parts: Sequence[Group]) -> bool:
        """Whether each part lies at all places of the group, at each as often as at the others."""
        places = {self.place[n] for n in group}
        counts = [Counter(self.place[n] for n in part) for part in parts]
        return all(set(count) == places and len(set(count.values())) == 1 for count in counts)


def divide(items: Sequence[Item]) -> list[list[Group]]:
    """The kinds of image that slices of one geometry make, each with its frames in order, as indexes of `items`.

    A group in which two slices lie at one place is one that nothing divides evenly.
    """
    slices = _Slices(items, _places(items))
    everything = list(range(len(items)))
    kinds = _refined(slices, [everything], range(N_KINDS))
    if len(kinds) > MAX_KINDS:
        return [_frames(slices, _refined(slices, [everything], range(N_KINDS + 1)))]
    return [_frames(slices, _refined(slices, [kind], (GRADIENT,))) for kind in kinds]


def by_kind(items: Sequence[Item]) -> list[Group]:
    """Slices by their kind alone, wherever they lie."""
    groups: dict[tuple[str, ...], Group] = defaultdict(list)
    for n, item in enumerate(items):
        groups[item.traits[:N_KINDS]].append(n)
    return list(groups.values())


def kind_words(kinds: Sequence[Item]) -> list[str]:
    """What tells each of these images from the others, such as "b800" or "TE80"; "" where no word does."""
    told = [n for n in range(1, N_KINDS) if len({item.traits[n] for item in kinds}) > 1]
    return ["-".join(item.traits[n] for n in told if item.traits[n]) for item in kinds]


def _places(items: Sequence[Item]) -> tuple[int, ...]:
    """Which slices lie at one place along the normal, by number."""
    normal = np.cross(items[0].axes[:3], items[0].axes[3:])
    heights = np.array([item.position for item in items]) @ normal
    order = np.argsort(heights, kind="stable")
    number = np.zeros(len(items), int)
    number[order[1:]] = np.cumsum(np.diff(heights[order]) >= SAME_PLACE_MM)
    return tuple(int(n) for n in number)


def _refined(slices: _Slices, groups: list[Group], traits: Sequence[int]) -> list[Group]:
    for trait in traits:
        words = [item.traits[trait] for item in slices.items]
        groups = [part for group in groups for part in _divided(slices, group, words)]
    return groups


def _divided(slices: _Slices, group: Group, values: Sequence[str | float | None]) -> list[Group]:
    """The group's parts by their values, in order; the group itself where that does not divide it evenly."""
    if slices.is_single(group):
        return [group]
    parts: dict[str | float | None, Group] = defaultdict(list)
    for n in group:
        parts[values[n]].append(n)
    if None in parts or len(parts) < 2 or not slices.is_even(group, list(parts.values())):
        return [group]
    return [parts[value] for value in sorted(parts, key=_in_order)]


def _in_order(value: str | float | None) -> tuple[float, str]:
    number = re.search(r"-?[\d.]+(e[+-]\d+)?$", str(value))
    return (float(number[0]) if number else 0.0, str(value))


def _frames(slices: _Slices, groups: list[Group]) -> list[Group]:
    """Groups divided further in time: by a count, else by the order of the slices at each place."""
    for n in COUNTED:
        counts = [item.times[n] for item in slices.items]
        groups = [part for group in groups for part in _divided(slices, group, counts)]
    for n in (TRIGGERED, *CLOCKS):
        groups = [part for group in groups for part in _in_turn(slices, group, n)]
    return groups


def _in_turn(slices: _Slices, group: Group, n: int) -> list[Group]:
    """The first, second ... slice of each place; by the clock only where one volume ends before the next begins."""
    if slices.is_single(group) or not slices.is_even(group, [group]):
        return [group]
    at: dict[int, list[tuple[float, int]]] = defaultdict(list)
    for i in group:
        time = slices.items[i].times[n]
        if time is None:
            return [group]
        at[slices.place[i]].append((time, i))
    if any(len({time for time, _ in found}) < len(found) for found in at.values()):
        return [group]
    turns = list(zip(*(sorted(found) for found in at.values()), strict=True))
    ends = [max(time for time, _ in turn) for turn in turns]
    begins = [min(time for time, _ in turn) for turn in turns]
    if n in CLOCKS and any(end >= begin for end, begin in zip(ends, begins[1:], strict=False)):
        return [group]
    return [[i for _, i in turn] for turn in turns]
