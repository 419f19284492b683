"""Which case, and which modality of it, a file is by its name and folder; DICOM says so itself."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count

from core.readers.naming import known_modality, plain_name, safe_modality, strip_extension, take_apart

UNNAMED = "image"  # an unknown name may be a person's, so it is not kept


@dataclass(frozen=True)
class Place:
    """Where an image stands among the files that were given.

    Attributes:
        parts: folder and file names, the outermost first.
        member: the array's name inside its file, if it has one.
    """

    parts: tuple[str, ...]
    member: str = ""


@dataclass(frozen=True)
class Pair:
    """The case's name (as found; shown, never stored) and the modality's."""

    case: str
    modality: str


@dataclass(frozen=True)
class _Guess:
    folders: tuple[str, ...]
    stem: str
    pair: Pair

    @property
    def parent(self) -> str:
        return self.folders[-1] if self.folders else ""


def pair_up(places: Sequence[Place]) -> list[Pair]:
    """Case and modality of each place.

    Understood: `<case>/<modality>`, `<modality>/<case>`, `<case>_<modality>`, `<modality>_<case>`, BIDS, a folder with
    one case, arrays of a file. A word of the vocabulary decides. Without one, a name with a number is a case's and
    any other a modality's; it is kept where several cases share it or it is made of common words, else it becomes
    "image": it may be a person's.
    """
    guesses = [_guess(place) for place in places]
    pairs = _apart(guesses)
    return _named(pairs, [guess.stem for guess in guesses])


def _guess(place: Place) -> _Guess:
    folders, name = place.parts[:-1], place.parts[-1]
    parent = folders[-1] if folders else ""
    stem = strip_extension(name)
    if place.member:
        modality = take_apart(place.member).modality
        return _Guess(folders, place.member, Pair(take_apart(stem).case or _own(stem, parent), modality))
    found = take_apart(stem)
    if found.modality:
        return _Guess(folders, stem, Pair(found.case or parent, found.modality))
    of_folder = known_modality(parent)
    if of_folder:
        return _Guess(folders, stem, Pair(stem, of_folder))
    return _Guess(folders, stem, Pair("", ""))


def _own(stem: str, parent: str) -> str:
    """An archive of arrays is one case by itself; `case1/data.npz` is named by its folder."""
    return parent if plain_name(stem) and parent else stem


def _apart(guesses: list[_Guess]) -> list[Pair]:
    """Fill what no word decided, and part cases of the same name from different folders."""
    stems: dict[str, set[str]] = defaultdict(set)
    for guess in guesses:
        if not guess.pair.modality:
            stems[guess.parent].add(guess.stem)
    folders = len(stems) > 1 and all(_all_numbered(names) and plain_name(parent) for parent, names in stems.items())
    pairs = [_one(guess, stems, folders) for guess in guesses]
    spans = _telling_folders(guesses, pairs)
    return [_with_folders(guess, pair, spans.get(pair.case)) for guess, pair in zip(guesses, pairs, strict=True)]


def _one(guess: _Guess, stems: dict[str, set[str]], folders_are_modalities: bool) -> Pair:
    pair = guess.pair
    if pair.modality or pair.case:
        return pair
    if folders_are_modalities:
        return Pair(guess.stem, safe_modality(guess.parent))
    if len(stems[guess.parent]) > 1 and _all_numbered(stems[guess.parent]):
        return Pair(guess.stem if len(stems) == 1 else f"{guess.parent}/{guess.stem}", UNNAMED)
    return Pair(guess.parent, "")


def _telling_folders(guesses: list[_Guess], pairs: list[Pair]) -> dict[str, slice]:
    """Of a case's name that several folders use for the same image: which folders tell the cases apart."""
    places: dict[tuple[str, str], set[tuple[str, ...]]] = defaultdict(set)
    for guess, pair in zip(guesses, pairs, strict=True):
        places[pair.case, pair.modality or guess.stem].add(guess.folders)
    spans: dict[str, slice] = {}
    for (case, _), found in places.items():
        if len(found) > 1:
            start = next(n for n in count() if len({folders[: n + 1] for folders in found}) > 1)
            stop = next(n for n in count(start) if len({folders[:n] for folders in found}) == len(found))
            old = spans.get(case, slice(start, stop))
            spans[case] = slice(min(start, old.start), max(stop, old.stop))
    return spans


def _with_folders(guess: _Guess, pair: Pair, span: slice | None) -> Pair:
    if span is None:
        return pair
    above = [name for name in guess.folders[span] if name != pair.case]
    return replace(pair, case="/".join([*above, pair.case]))


def _all_numbered(stems: set[str]) -> bool:
    """Whether the names look like `case_07`, `0012`, `img3`: cases, not modalities."""
    return all(stem[-1:].isdigit() for stem in stems)


def _named(pairs: list[Pair], stems: list[str]) -> list[Pair]:
    """Give modalities that no vocabulary knows a name, and number those that would collide."""
    cases: dict[str, set[str]] = defaultdict(set)
    for pair, stem in zip(pairs, stems, strict=True):
        cases[safe_modality(stem)].add(pair.case)
    taken: set[tuple[str, str]] = set()
    named = []
    for pair, stem in zip(pairs, stems, strict=True):
        name = pair.modality or plain_name(stem)
        if not name:
            shared = safe_modality(stem) if len(cases[safe_modality(stem)]) > 1 else ""
            name = _free(shared or UNNAMED, pair.case, taken)
        taken.add((pair.case, name))
        named.append(replace(pair, modality=name))
    return named


def _free(name: str, case: str, taken: set[tuple[str, str]]) -> str:
    candidate, n = name, 1
    while (case, candidate) in taken:
        n += 1
        candidate = f"{name}-{n}"
    return candidate
