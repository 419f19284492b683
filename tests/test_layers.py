"""The architecture, enforced: imports point downwards, core never sees streamlit, light modules stay light."""

from __future__ import annotations

import ast
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

CORE = REPOSITORY / "core"
LAYERS = [  # from the top; modules on one line do not import each other
    {"__main__"},
    {"commands"},
    {"jobs", "showcase"},
    {"arena", "audit", "generate"},
    {"search", "archive", "usefulness", "misalignment", "memorisation", "realism"},
    {"made"},
    {"embed", "follower"},
    {"shared_space"},
    {"train", "evaluate", "latent", "uncertainty", "explain", "export", "report"},
    {"report_checks"},
    {"fit"},
    {"claims", "bar_scores", "invented"},
    {
        *("compare", "cost", "protocol", "transfer", "resume", "memory", "weights", "task_scores", "sharing"),
        *("error_bars", "measured_doubt"),
    },
    {"judging", "spread", "evidence", "cohort_plan"},
    {"team"},
    {"synthesis", "previews", "validation", "attribution", "frozen", "findings"},
    {"runs"},
    {"stage_files"},
    {"prepare", "demo", "ingest", "quarantine", "survey"},
    {"intake"},
    {"common_grid"},
    {"recipes", "assembly"},
    {"preprocess"},
    {"batches", "augment", "checkpoints", "schedule", "early_stop", "compute", "moving_average"},
    {"regions", "synthrad", "leaks", "predicted_tissue"},
    {"windows", "tasks"},
    {"quality", "labels"},
    {"dataset_writer", "display"},
    {"dataset"},
    {"cohort"},
    {
        *("readers", "register", "alignment", "models", "metrics", "render", "phantom", "statistics"),
        *("conformal", "sparsification", "expected_error", "structures"),
    },
    {"deidentify", "unpack", "uploads", "guests", "gist"},
    {"itk", "information", "structure", "result_files", "muon"},
    {
        *(
            "types",
            "report_figures",
            "remembered",
            "boxes",
            "config",
            "workspace",
            "progress",
            "disk",
            "shortage",
            "discreet",
            "versions",
        ),
        *("cluster", "processes"),
    },
    {"errors"},
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
NEIGHBOURS = {("jobs", "showcase")}
LIGHT = [
    "core.latent",
    "core.ingest",
    "core.runs",
    "core.dataset",
    "core.cohort",
    "core.jobs",
    "core.prepare",
    "core.demo",
    "core.quality.report",
    "core.cohort_plan",
]


def imports_of(path: str) -> set[str]:
    """Names of core's modules that a file imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse((CORE / path).read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("core."):
            found.add((node.module or "").split(".")[1])
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("core.")}
    return found


MODULES = sorted(str(path.relative_to(CORE)) for path in CORE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES)
def test_imports_point_downwards(path: str) -> None:
    own = path.split("/")[0].removesuffix(".py")
    if own == "__init__":
        return
    assert own in RANK, f"core/{path} is not in a layer yet: add it to LAYERS"
    for other in imports_of(path) - {own}:
        allowed = RANK[other] > RANK[own] or (own, other) in NEIGHBOURS
        assert allowed, f"core/{path} imports core.{other}, which is not below it"


@pytest.mark.parametrize("path", MODULES)
def test_core_never_imports_streamlit(path: str) -> None:
    tree = ast.parse((CORE / path).read_text())
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not any(name.split(".")[0] in ("streamlit", "ui", "pages") for name in names)


@pytest.mark.parametrize("module", LIGHT)
def test_what_should_be_light_imports_no_heavy_library(module: str) -> None:
    heavy = "{'torch', 'sklearn', 'umap', 'numba', 'monai', 'lightning_fabric'}"
    code = f"import sys, {module}; bad = {heavy} & set(sys.modules); sys.exit(','.join(bad) or 0)"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, f"importing {module} brings {result.stderr.strip()}"
