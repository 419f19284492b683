"""Under which conditions a number was measured. Numbers of two protocols are never compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from core.config import build
from core.dataset import Dataset, Split
from core.errors import InvalidConfigError
from core.metrics import DATA_RANGE, METRICS_VERSION
from core.preprocess.steps import STEPS
from core.recipes import PrepareConfig
from core.types import PHYSICAL_UNITS
from core.workspace import digest_of, plain


def protocol_of(dataset: Dataset, split: Split, cases: Sequence[str]) -> dict[str, Any]:
    """Data, split, mask, normaliser, range, crop and grid, with one `fingerprint` over all of them."""
    protocol = {
        "dataset": dataset.name,
        "dataset_fingerprint": dataset.fingerprint,
        "simulated": dataset.is_simulated,
        "cases": list(cases),
        "held_out": not set(cases) & {*split.train, *split.val},
        "n_train": len(split.train),
        "split": digest_of([split.train, split.val, split.test]),
        "mask": "the dataset's foreground mask, within the target's field of view where one is known",
        "normaliser": dataset.index["recipe"],
        "data_range": DATA_RANGE,
        "mae_units": {m: _mae_unit(dataset.unit(m)) for m in dataset.modalities},
        "crop": list(dataset.shape),
        "spacing_mm": list(dataset.spacing_mm),
        "metrics_version": METRICS_VERSION,
    }
    return {**protocol, "fingerprint": fingerprint_of(protocol)}


def fingerprint_of(protocol: Mapping[str, Any]) -> str:
    """Equal for numbers that may be compared, also of protocols that earlier versions wrote."""
    told = {name: value for name, value in protocol.items() if name != "fingerprint"}
    return digest_of({**told, "normaliser": _telling(protocol["normaliser"])})


DIFFERENCES = {  # part of a protocol -> what differs, in words
    "dataset": "another dataset",
    "dataset_fingerprint": "the dataset was prepared anew in between",
    "crop": "another grid",
    "spacing_mm": "another voxel size",
    "mask": "another mask",
    "data_range": "another range",
    "mae_units": "other units",
    "metrics_version": "an older version of the metrics",
    "cases": "other held-out cases",
    "split": "another split of the cases",
    "n_train": "another number of training cases",
}
STEP_WORDS = {
    "align": "registration",
    "normalise": "scale",
    "mask": "way to the mask",
    "left_out": "set of left-out cases",
}


def differences(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Why two protocols are not one, in words; steps of the preparation by name."""
    steps = [_telling(protocol["normaliser"]) for protocol in (one, other)]
    changed = sorted(step for step in {**steps[0], **steps[1]} if steps[0].get(step) != steps[1].get(step))
    recipe = [f"another {STEP_WORDS.get(step, step.replace('_', ' '))} in the preparation" for step in changed]
    return recipe + [words for name, words in DIFFERENCES.items() if plain(one.get(name)) != plain(other.get(name))]


def refuse_other(one: Mapping[str, Any], other: Mapping[str, Any]) -> None:
    """Numbers of two protocols are not compared.

    Raises:
        InvalidConfigError: What differs (OTHER-PROTOCOL).
    """
    if fingerprint_of(one) != fingerprint_of(other):
        why = "; ".join(differences(one, other)) or "another protocol"
        raise InvalidConfigError(
            f"These numbers cannot be compared: {why}. Evaluate both under the same conditions.", "OTHER-PROTOCOL"
        )


def _telling(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe without steps that are off and settings at their default.

    So a step or a setting that a later version brings leaves old numbers comparable.
    """
    usual = plain(PrepareConfig().model_dump())
    found = {}
    for step, values in plain(dict(recipe)).items():
        known = usual.get(step, {})
        if _is_on(step, values):
            found[step] = {name: value for name, value in values.items() if (name, value) not in known.items()}
    return {step: values for step, values in found.items() if values}


def _is_on(step: str, values: Mapping[str, Any]) -> bool:
    """Whether a step did anything; what is not understood today counts as if."""
    try:
        return step not in STEPS or STEPS[step].is_on(build(STEPS[step].Config, values))
    except InvalidConfigError:
        return True


def _mae_unit(unit: str) -> str:
    return unit if unit in PHYSICAL_UNITS else "0-1 scale"
