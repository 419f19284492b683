from __future__ import annotations

import pytest

from core.config import RunConfig, TrainConfig, build, parse_overrides
from core.errors import InvalidConfigError


def test_overrides_nest_and_text_becomes_the_setting_s_type() -> None:
    values = parse_overrides(["train.epochs=3", "train.modalities=T1,T2", "model.beta=0.5"])
    assert values["model"] == {"beta": "0.5"}
    config = build(TrainConfig, values["train"])
    assert (config.epochs, config.modalities) == (3, ("T1", "T2"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, "epochs"),
        ({"epoch": 5}, "no such setting"),
        ({"lr": "fast"}, "lr"),
        ({"schedule": "x"}, "cosine"),
    ],
)
def test_a_wrong_setting_is_named_with_its_limit(values: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidConfigError, match=words):
        build(TrainConfig, values)


@pytest.mark.parametrize("pair", ["epochs", "=3", "model={broken"])
def test_a_pair_that_is_none_is_refused(pair: str) -> None:
    with pytest.raises(InvalidConfigError):
        parse_overrides([pair])


def test_a_key_cannot_be_a_value_and_a_group() -> None:
    with pytest.raises(InvalidConfigError):
        parse_overrides(["model=3", "model.beta=1"])


def test_a_run_s_config_survives_json() -> None:
    config = RunConfig(dataset="d", model="ae", model_settings={"latent_dim": 8}, fold=1, n_folds=3)
    assert build(RunConfig, config.model_dump(mode="json")) == config
