"""What is searched, and how: the settings of a search."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from core.config import Settings


class SearchOptions(Settings):
    """How the points of a grid are judged."""

    n_folds: int = Field(
        5, ge=2, le=20, description="Parts into which the cases are divided; each setting is trained once per part"
    )
    metric: Literal["mae", "psnr", "ssim", "ms_ssim", "nmi", "gradient_correlation", "rmse", "mse"] = Field(
        "mae", description="What is compared, on the 0-1 scale inside the mask, as on Evaluate"
    )
    judged: str = Field("", description="Modality whose synthesis is judged; empty: all that the model makes")
    stratify: str = Field(
        "", description="A label that every fold gets its share of; the modalities that a case has always count"
    )
    halving: bool = Field(
        False, description="Stop early: after 1, 2, 4 folds only the better half of the settings goes on"
    )
    nested: bool = Field(
        False, description="Choose anew without each fold in turn, to see how much the best score flatters; takes long"
    )
    inner_folds: int = Field(3, ge=2, le=10, description="Folds of each choice in a nested search")
    seed: int = Field(0, ge=0, le=2**31 - 1, description="Seed of the test cases, the folds and every training")


UNSAID = {"optimiser": "adamw", "lr": 2e-3}  # what searches meant that were made before models said otherwise


class SearchConfig(SearchOptions):
    """All that decides what a search finds."""

    dataset: str = Field(description="Name of the dataset")
    dataset_fingerprint: str = Field("", description="Hash of the dataset the search was made for")
    model: str = Field(description="Name in the registry of models")
    model_settings: dict[str, Any] = Field(default_factory=dict, description="Settings of the model that do not vary")
    train: dict[str, Any] = Field(default_factory=dict, description="Settings of the training that do not vary")
    grid: dict[str, tuple[Any, ...]] = Field(description="Setting, such as model.latent_dim or train.lr -> its values")
