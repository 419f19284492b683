"""Regularised canonical correlation analysis (Hotelling 1936; Vinod 1976), for two modalities or more (Tenenhaus &
Tenenhaus 2011, doi:10.1007/s11336-011-9206-8)."""

from __future__ import annotations

from pydantic import Field

from core.models.base import Shapes
from core.models.linear_sets import LinearSets, SetSettings


class CCA(LinearSets):
    title = "CCA (linear)"
    summary = (
        "Directions of each modality that agree best, however little of the image they are; fitted in seconds. Its map "
        "shows what modalities have in common; its images are blurred and lack the rest."
    )

    class Config(SetSettings):
        ridge: float = Field(
            0.1,
            gt=0,
            le=1,
            description="Towards 1 large parts of the image count more, as in PLS; steadier with few cases",
        )

    def __init__(self, config: CCA.Config, shapes: Shapes) -> None:
        super().__init__(config, shapes)
        self.ridge = config.ridge
