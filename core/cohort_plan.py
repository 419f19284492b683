"""What a generated cohort shall hold (`core.generate`), and whether its run may make one; read without torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from core.config import Names, Settings
from core.dataset import Dataset, Split
from core.errors import InvalidConfigError
from core.findings import finding, fingerprint_of
from core.runs import Run

CHECK = "memorisation"  # among AUDITS of core.audit
SAME = 0.02  # of real cases, between block means: the very same image, seen through rounding
LeftOut = dict[str, str]  # case, target, why


class GenerateConfig(Settings):
    """From what, what, and for whom."""

    given: Names = Field(min_length=1, description="Modalities that the images are made from")
    targets: Names = Field(min_length=1, description="Modalities to make")
    cases: Literal["held-out", "lacking"] = Field(
        "held-out", description="held-out: the cases that the run is judged on; lacking: all that lack what is made"
    )


@dataclass(frozen=True)
class Plan:
    """Case -> what is made of it, and what was wanted and cannot be."""

    wanted: Mapping[str, tuple[str, ...]]
    left_out: Sequence[LeftOut]


def plan(dataset: Dataset, split: Split, config: GenerateConfig) -> Plan:
    """Never a training case for a target that it has: the model was shown that image.

    Raises:
        InvalidConfigError: A modality is both given and made, or unknown; or no case is left (NO-CASES).
    """
    _check_modalities(dataset, config)
    is_judged = config.cases == "held-out"
    wanted: dict[str, tuple[str, ...]] = {}
    left_out: list[LeftOut] = []
    for case_id in split.test if is_judged else dataset.case_ids:
        has = dataset.record(case_id)["modalities"]
        targets = tuple(t for t in dict.fromkeys(config.targets) if is_judged or t not in has)
        missing = [m for m in config.given if m not in has]
        if targets and not missing:
            wanted[case_id] = targets
        elif is_judged:
            left_out += [{"case": case_id, "target": t, "why": f"has no {', '.join(missing)}"} for t in targets]
    if not wanted:
        which = "held-out case has" if is_judged else f"case lacks {' or '.join(config.targets)} and has"
        raise InvalidConfigError(
            f"No {which} {' and '.join(config.given)}. Choose other cases, or give other modalities.", "NO-CASES"
        )
    return Plan(wanted, left_out)


def _check_modalities(dataset: Dataset, config: GenerateConfig) -> None:
    if set(config.given) & set(config.targets):
        raise InvalidConfigError("What is given is not made too: choose other targets.", "UNSUPPORTED")
    if not {*config.given, *config.targets} <= set(dataset.modalities):
        raise InvalidConfigError(f"The dataset of this run has {', '.join(dataset.modalities)} and no others.")


def copy_check(run: Run, dataset: Dataset, split: Split) -> dict[str, Any]:
    """What the check for copies found of these very weights and data. Without it no image leaves.

    Raises:
        InvalidConfigError: It was not done, or not of these (AUDIT-NEEDED).
    """
    known = finding(run, CHECK)
    if "error" in known:
        why = f"It could not be checked for copies of training images, so nothing may leave. {known['error']}"
    elif "result" not in known:
        why = f"This run has not been checked for copies of training images yet. {HOW}"
    elif known.get("fingerprint") != fingerprint_of(run, dataset, split, CHECK):
        why = f"Since this run was checked for copies, its weights or data have become others. {HOW}"
    else:
        return dict(known["result"])
    raise InvalidConfigError(why, "AUDIT-NEEDED")


HOW = "First press “Check” under “Copies?” (Evaluate, Further checks), or use the verb `audit`."


def limits_for(found: Mapping[str, Any], target: str) -> dict[str, float]:
    """What a synthesis of this target is held against.

    Raises:
        InvalidConfigError: There is nothing, so a copy could not be told.
    """
    known = found["limits"].get(target)
    if known is None:
        raise InvalidConfigError(
            f"Too few training cases have {target} to tell a copy of one, so no {target} may leave.", "AUDIT-NEEDED"
        )
    if known["distance_image"] < SAME:
        raise InvalidConfigError(
            f"Two cases have the very same {target}, so a copy cannot be told. Leave one out and train again.",
            "SAME-IMAGES",
        )
    return dict(known)
