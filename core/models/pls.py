"""Partial least squares in canonical mode (Wold 1975; Wegelin 2000), for two modalities or more (Tenenhaus & Tenenhaus
2011, doi:10.1007/s11336-011-9206-8)."""

from __future__ import annotations

from core.models.linear_sets import LinearSets, SetSettings


class PLS(LinearSets):
    title = "PLS (linear)"
    summary = (
        "Directions of each modality that vary most together; fitted in seconds. Blurred, on shrunken images, and "
        "sees only what is linear."
    )
    ridge = 1.0

    class Config(SetSettings):
        pass
