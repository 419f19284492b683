"""Who competes in an arena, and under which conditions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from core.config import Names, Settings, build
from core.dataset import Dataset
from core.errors import InvalidConfigError

ALWAYS = ("unet", "pix2pix", "linear", "mean_image")  # no claim without these beside it
REFERENCE = "unet"  # the one to beat: every other is told as a difference from it


class ArenaOptions(Settings):
    """What can be chosen."""

    models: Names = Field(
        ("mvae", "hemis"),
        description="Models that compete; U-Net, pix2pix, the linear and the mean image baseline always do",
    )
    n_folds: int = Field(
        3, ge=2, le=50, description="Parts into which the cases are divided; each is judged by models that never saw it"
    )
    minutes: float = Field(
        8.0, gt=0, le=10_000, description="Longest time of each training, in minutes, the same for every model"
    )
    modalities: Names = Field((), description="Modalities that all learn and make; empty means all in the dataset")
    subsets: Literal["small", "all"] = Field(
        "small", description="What is given: single modalities and all others together (small), or every combination"
    )
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the folds and of every training")


class ArenaConfig(ArenaOptions):
    """All that decides what an arena finds, but for the speed of the machine."""

    dataset: str = Field(description="Name of the dataset")
    dataset_fingerprint: str = Field("", description="Hash of the dataset the arena was made for")

    @property
    def entrants(self) -> tuple[str, ...]:
        """Every model that competes, the chosen ones first."""
        return tuple(dict.fromkeys((*self.models, *ALWAYS)))


def make_arena_config(dataset: Dataset, options: ArenaOptions) -> ArenaConfig:
    """All that decides an arena, checked as far as it can be without training.

    Raises:
        InvalidConfigError: An unknown model, one that makes no images or does not fit the dataset, or too few cases.
    """
    from core.assembly import kind_of

    config = build(
        ArenaConfig,
        {**options.model_dump(), "dataset": dataset.name, "dataset_fingerprint": dataset.fingerprint},
    )
    dataset.split(config.seed, 0, config.n_folds)
    check_modalities(dataset, config)
    for model in config.entrants:
        if not kind_of(model).makes_images:
            raise InvalidConfigError(
                f"{kind_of(model).title} makes no images that could be judged. Leave it out.", "NO-IMAGES"
            )
        run_settings(dataset, config, model, 0)
    return config


def check_modalities(dataset: Dataset, options: ArenaOptions) -> None:
    """Refuse modalities that the dataset lacks (NO-MODALITY), or fewer than two (FEW-MODALITIES)."""
    unknown = [m for m in options.modalities if m not in dataset.modalities]
    if unknown:
        known = ", ".join(dataset.modalities)
        raise InvalidConfigError(f"The dataset has no {unknown[0][:40]}. Modalities here: {known}.", "NO-MODALITY")
    if options.modalities and len(set(options.modalities)) < 2:
        raise InvalidConfigError(
            "One modality has nothing to be made from. Choose two at least, or leave the choice empty for all.",
            "FEW-MODALITIES",
        )


def run_settings(dataset: Dataset, config: ArenaConfig, model: str, fold: int) -> Any:
    """What one entrant is trained with on one fold: its own defaults within the common time."""
    from core.train import make_config

    training: Mapping[str, Any] = {
        "max_minutes": config.minutes,
        "modalities": config.modalities,
        "preview_every": 100_000,
    }
    return make_config(dataset, model, {}, training, config.seed, fold, config.n_folds)
