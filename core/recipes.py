"""Recipes: the settings of every preparing step, under names that people know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import Field

from core.config import Settings, build
from core.errors import InvalidConfigError
from core.preprocess.align import AlignConfig
from core.preprocess.bias import BiasConfig
from core.preprocess.compress import CompressConfig
from core.preprocess.crop import CropConfig
from core.preprocess.deface import DefaceConfig
from core.preprocess.intensity import NormaliseConfig
from core.preprocess.repair import RepairConfig
from core.preprocess.steps import CanonicalConfig, MaskConfig, ResampleConfig
from core.preprocess.tissue import TissueConfig


class PrepareConfig(Settings):
    """A recipe: the settings of every step, in the order in which they run."""

    canonical: CanonicalConfig = Field(default_factory=CanonicalConfig, description="Orientation")
    compress: CompressConfig = Field(default_factory=CompressConfig, description="Decibels")
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
    "brain-mr": PrepareConfig(resample=ResampleConfig(spacing_mm=(2.0,)), mask=MaskConfig(method="brain")),
    "brain-mr-ct": PrepareConfig(resample=ResampleConfig(spacing_mm=(2.0,)), mask=MaskConfig(method="foreground")),
    "brain-whole": PrepareConfig(
        align=AlignConfig(mode="auto"),
        resample=ResampleConfig(spacing_mm=(1.0,)),
        bias=BiasConfig(enabled=True),
        mask=MaskConfig(method="brain", extract=True),
        tissue=TissueConfig(enabled=True),
        repair=RepairConfig(enabled=True),
    ),
    "pet-mr": PrepareConfig(
        align=AlignConfig(mode="auto"),
        resample=ResampleConfig(spacing_mm=(2.0,), reference="T1"),
        mask=MaskConfig(method="foreground"),
    ),
    "prostate": PrepareConfig(
        align=AlignConfig(mode="auto"),
        resample=ResampleConfig(reference="T2W"),
        mask=MaskConfig(method="foreground", outside="keep"),
        crop=CropConfig(size_mm=100.0),
    ),
    "ultrasound": PrepareConfig(
        compress=CompressConfig(to_db="auto"),
        mask=MaskConfig(method="none", outside="keep"),
        repair=RepairConfig(enabled=True),
    ),
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
    "brain-whole": "Heads as scanned: aligned, 1 mm, evened out, brain found in T1, tissues labelled for evaluation.",
    "pet-mr": "PET with MR: laid over T1 at 2 mm, uptake in SUV, judged inside the body.",
    "prostate": "Prostate MR: ADC and high b-value laid over T2 and onto its grid, a 100 mm box around the middle.",
    "ultrasound": "Ultrasound: pictures as displayed (0 to 255), raw echoes in decibels; hot pixels cut.",
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
    return changed(RECIPES[name], overrides or {})


def changed(config: PrepareConfig, overrides: Mapping[str, Any]) -> PrepareConfig:
    """A recipe with some settings changed, named as for `make_recipe`.

    Raises:
        InvalidConfigError: No such setting, or several steps have one of that name.
    """
    values = config.model_dump()
    for key, value in overrides.items():
        steps = [step for step in values if key in values[step]]
        if isinstance(value, Mapping) and key in values:
            values[key] = {**values[key], **value}
        elif len(steps) > 1:
            raise InvalidConfigError(f"Several steps have {key}: write {', '.join(f'{s}.{key}' for s in steps)}.")
        elif steps:
            values[steps[0]] = {**values[steps[0]], key: value}
        else:
            values[key] = value
    return build(PrepareConfig, values)


VERSION = 1  # of the file; raised when old files would mean something else


def recipe_to_text(name: str, config: PrepareConfig) -> str:
    """A recipe as a JSON file that can be saved, mailed and loaded."""
    return json.dumps({"crossmodal_recipe": VERSION, "name": name, "steps": config.model_dump()}, indent=1)


def recipe_from_text(text: str) -> tuple[str, PrepareConfig]:
    """Name and settings of a recipe's file.

    Raises:
        InvalidConfigError: It is no recipe, of another version, or a setting is off.
    """
    try:
        values = json.loads(text)
        version, name, steps = values["crossmodal_recipe"], str(values["name"])[:64], dict(values["steps"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidConfigError(
            "The file is no recipe. Save one on the Prepare page to see its form.", "RECIPE"
        ) from error
    if version != VERSION:
        raise InvalidConfigError(f"The recipe is of version {version}; version {VERSION} can be read.", "RECIPE")
    return name, build(PrepareConfig, steps)
