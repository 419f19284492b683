"""Numbers and codes as a person says them."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from core.quality.flags import Flag
from core.readers.proposals import DUPLICATE, TWICE
from core.readers.values import WARNINGS

NOTES = WARNINGS | {  # what the table before an import and preparing may add
    DUPLICATE: TWICE,
    "BRAIN-NOT-EXTRACTED": "The image still has a head around the brain, so the whole head is judged.",
    "BRAIN-NOT-FROM-T1": "The brain was found in an image that is no T1; look at its outline.",
    "NO-FOREGROUND": "No foreground was found, so the whole image is judged.",
    "ALIGNMENT-DOUBTFUL": "It is not sure that this image lies on the reference; look at them together.",
    "NOT-ALIGNED": "This image does not lie on the reference: its place in the patient is another one.",
    "LOG-DOUBTFUL": "Whether this ultrasound is raw or a picture already could not be told, so it was left as it is.",
    "LOG-TWICE": "This ultrasound looks like a picture already; its logarithm may have been taken twice.",
    "NOT-SCALED": "Values lie outside 0 to 1 and were not scaled, as the recipe says.",
    "NOT-DISPLAY-SCALE": "Values lie outside 0 to 255, so this image was scaled by its own percentiles.",
    "OUTLIERS-CUT": "A few voxels far brighter than all others were cut.",
    "LITTLE-OVERLAP": "This image shows less than half of what is judged; it is judged only where it shows something.",
    "NO-OVERLAP": "Another image of this case lies elsewhere, shows nothing of this one, and was left out.",
}
THERE, NOTED, ABSENT = "\N{BLACK CIRCLE}", "\N{BLACK UP-POINTING TRIANGLE}", ""  # in a table of cases
TIMES = " \N{MULTIPLICATION SIGN} "
STATES = {
    "queued": "Waiting",
    "running": "Running",
    "finished": "Finished",
    "failed": "Failed",
    "cancelled": "Stopped",
    "lost": "Lost",
    "paused": "Paused",
}
FATES = {  # in the order in which a report lists them
    "quarantined": "Held back",
    "rejected": "Refused",
    "warned": "Imported with a note",
    "ignored": "Left out",
    "accepted": "Imported",
}
FATES_BEFORE = {
    "quarantined": "Held back",
    "rejected": "Refused",
    "ignored": "Left out",
    "warned": "Ready with a note",
    "accepted": "Ready",
}
FATE_HELP = {
    "quarantined": "May show a patient's name in the picture itself, so it was not stored.",
    "rejected": "Could not be used; the reason stands beside each file.",
    "ignored": "No image, there already, or left out by you.",
}


def size_words(shape: Sequence[int]) -> str:
    """Such as "91 × 109 × 91"; a picture without its third axis."""
    sides = [*shape]
    if len(sides) == 3 and sides[2] == 1:
        sides = sides[:2]
    return TIMES.join(str(side) for side in sides)


def in_plane_words(shape: Sequence[int]) -> str:
    """Such as "384 × 384": the first two sides."""
    return TIMES.join(str(side) for side in shape[:2])


def orientation_words(letters: str) -> str:
    """Such as "Axial, LPS": the plane of the slices by where the last axis runs to; "" where it is not known."""
    planes = {"S": "Axial", "I": "Axial", "A": "Coronal", "P": "Coronal", "R": "Sagittal", "L": "Sagittal"}
    return f"{planes[letters[2]]}, {letters}" if len(letters) == 3 and letters[2] in planes else letters


def spacing_words(spacing_mm: Sequence[float]) -> str:
    """Such as "2 mm" where all are equal, else "0.5 × 0.5 × 3 mm"."""
    if not spacing_mm:
        return ""
    said = [f"{value:.3g}" for value in spacing_mm]
    return f"{said[0]} mm" if len(set(said)) == 1 else f"{TIMES.join(said)} mm"


def value_words(value: float, unit: str) -> str:
    """A voxel's value with its unit; arbitrary units are not spelled out."""
    said = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return said if unit in ("a.u.", "label", "") else f"{said} {unit}"


def size_of_words(n_bytes: float) -> str:
    """Such as "40 kB", "120 MB" or "1.5 GB"."""
    if 0 < n_bytes < 0.95e6:
        return f"{max(1, n_bytes / 1e3):.0f} kB"
    if n_bytes < 999.5e6:
        return f"{n_bytes / 1e6:.0f} MB"
    return f"{n_bytes / 1e9:.3g} GB"


def count_words(n: int, one: str, many: str = "") -> str:
    """Such as "1 case", "3 cases"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def notes_of(volumes: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(modality, code) for every warning that stays with a case."""
    return [(modality, code) for modality, facts in volumes.items() for code in facts["warnings"]]


def code_words(code: str) -> str:
    """What a warning means; a code that is not known here is shown as it is."""
    return NOTES.get(code, code)


def tail_words(label: str, length: int = 44) -> str:
    """A long place by its end, such as "…/ADC/1-01.dcm": what tells files apart stands there."""
    if len(label) <= length:
        return label
    pieces = label.split("/")
    kept = pieces.pop()
    while pieces and len(pieces[-1]) + len(kept) + 3 <= length:
        kept = f"{pieces.pop()}/{kept}"
    return f"\N{HORIZONTAL ELLIPSIS}/{kept}" if pieces else kept


def flag_words(flag: Flag) -> str:
    """What a flag says, after the modalities that it is about."""
    if flag.words:
        return flag.words
    return f"{', '.join(flag.modalities)}: {code_words(flag.code)}"


def ago_words(moment: float) -> str:
    """How long ago a time stamp was, roughly."""
    seconds = max(0.0, time.time() - moment)
    for length, one in ((86_400, "day"), (3_600, "hour"), (60, "minute")):
        if seconds >= length:
            return f"{count_words(int(seconds // length), one)} ago"
    return "just now"
