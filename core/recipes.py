"""Recipes: the settings of every preparing step, under names that people know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from core.config import Settings, build
from core.errors import InvalidConfigError
from core.preprocess.align import AlignConfig
from core.preprocess.bias import BiasConfig
from core.preprocess.crop import CropConfig
from core.preprocess.deface import DefaceConfig
from core.preprocess.intensity import NormaliseConfig
from core.preprocess.repair import RepairConfig
from core.preprocess.steps import CanonicalConfig, MaskConfig, ResampleConfig
from core.preprocess.tissue import TissueConfig


class PrepareConfig(Settings):
    """A recipe: the settings of every step, in the order in which they run."""

    canonical: CanonicalConfig = Field(default_factory=CanonicalConfig, description="Orientation")
    align: AlignConfig = Field(default_factory=AlignConfig, description="Alignment")
    resample: ResampleConfig = Field(default_factory=ResampleConfig, description="One grid")
    bias: BiasConfig = Field(default_factory=BiasConfig, description="Evenness")
    deface: DefaceConfig = Field(default_factory=DefaceConfig, description="Face")
    mask: MaskConfig = Field(default_factory=MaskConfig, description="Mask")
    tissue: TissueConfig = Field(default_factory=TissueConfig, description="Tissue")
    crop: CropConfig = Field(default_factory=CropConfig, description="Crop")
    repair: RepairConfig = Field(default_factory=RepairConfig, description="Outliers")
    normalise: NormaliseConfig = Field(default_factory=NormaliseConfig, description="Intensity")


RECIPES: dict[str, PrepareConfig] = {
    "brain-mr": PrepareConfig(resample=ResampleConfig(spacing_mm=2.0), mask=MaskConfig(method="brain")),
    "brain-mr-ct": PrepareConfig(resample=ResampleConfig(spacing_mm=2.0), mask=MaskConfig(method="foreground")),
    "generic": PrepareConfig(
        mask=MaskConfig(method="foreground", outside="keep"), normalise=NormaliseConfig(low=0.1, high=99.9, clip=False)
    ),
    "pictures-255": PrepareConfig(
        mask=MaskConfig(method="none", outside="keep"), normalise=NormaliseConfig(divide_by=255.0, clip=False)
    ),
}
RECIPE_SUMMARIES: dict[str, str] = {
    "brain-mr": "Brain-extracted MR: 2 mm grid, judged inside the brain, each image scaled by its own percentiles.",
    "brain-mr-ct": "Whole heads in MR, CT, PET, ultrasound: 2 mm grid, judged inside the head, fixed HU, SUV windows.",
    "generic": "Anything else: the finest modality's own grid, nothing cut off, nothing removed.",
    "pictures-255": "8-bit pictures divided by 255, for the dense autoencoder.",
}


def make_recipe(name: str, overrides: Mapping[str, Any] | None = None) -> PrepareConfig:
    """A named recipe with some settings changed: `{"resample": {"spacing_mm": 1}}` or, for short, `{"spacing_mm": 1}`.

    Raises:
        InvalidConfigError: No such recipe or setting.
    """
    if name not in RECIPES:
        raise InvalidConfigError(f"There is no recipe {name}. Recipes: {', '.join(RECIPES)}.", "RECIPE")
    values = RECIPES[name].model_dump()
    for key, value in (overrides or {}).items():
        step = next((step for step in values if key in values[step]), None)
        if isinstance(value, Mapping) and key in values:
            values[key] = {**values[key], **value}
        elif step is not None:
            values[step] = {**values[step], key: value}
        else:
            values[key] = value
    return build(PrepareConfig, values)
