"""A model that has codes and makes no images: every page that shows runs says so, and none offers what cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from core.dataset import Dataset
from core.embed import embed
from core.errors import InvalidConfigError
from core.evaluate import evaluate
from core.latent import cached_projection, save_embedding
from core.runs import Run
from core.synthesis import load_run
from core.train import make_config, train
from core.workspace import Workspace
from tests.pages.driving import open_page, words
from ui.state import State

PAGES = Path(__file__).resolve().parents[2] / "pages"
QUICK = {"epochs": 1, "batch_size": 8}


@pytest.fixture
def run(workspace: Workspace, dataset: Dataset) -> Run:
    """A run of similarity learning on the phantoms, one short epoch."""
    made = Run.new(workspace, make_config(dataset, "contrastive", {"width": 4}, QUICK, seed=1))
    train(made, dataset, torch.device("cpu"))
    made.update(state="finished")
    return made


def test_it_trains_and_its_codes_are_those_of_all_modalities(run, workspace, dataset):
    assert run.has_weights and run.previews
    embedding = embed(load_run(workspace, run))
    assert set(embedding.modality.tolist()) == {"T1", "T2", "CT"}
    assert embedding.z.shape[1] == 64


def test_it_cannot_be_judged(run, workspace):
    with pytest.raises(InvalidConfigError, match="makes no images"):
        evaluate(load_run(workspace, run))


def test_evaluate_offers_nothing_for_it(run):
    page = open_page(str(PAGES / "evaluate.py"))
    assert not page.exception and not page.error
    assert "They make no images" in words(page)
    assert not any(button.label == "Evaluate" for button in page.button)


def test_compare_sends_to_latent(run):
    page = open_page(str(PAGES / "compare.py"))
    assert not page.exception and not page.error
    assert "make no images" in words(page)


def test_latent_shows_its_map(run, workspace):
    embedding = embed(load_run(workspace, run))
    save_embedding(embedding, run.embedding_path)
    cached_projection(run.folder, embedding, "pca")
    page = open_page(str(PAGES / "latent.py"), map="pca")
    assert not page.exception and not page.error
    assert page.selectbox(key=State.RUN).value == run.id
    assert "Pair lines" in [group.label for group in page.button_group]


def test_the_runs_page_says_why_it_cannot_be_evaluated(run):
    page = open_page(str(PAGES / "train.py"))
    page.button_group(key=State.TRAIN_VIEW).set_value("runs").run()
    assert not page.exception and not page.error
    buttons = {button.label: button for button in page.button}
    assert buttons["Evaluate"].disabled and not buttons["Embed"].disabled
