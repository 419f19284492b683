"""Train: the form of a new run: model, settings, split, device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import streamlit as st
from pydantic import Field

from core.config import Names, Settings, TrainConfig
from core.dataset import Dataset, Split
from core.errors import UserError
from core.runs import Run, list_runs
from core.tasks import task_names
from ui.jobs_banner import begin
from ui.settings_form import settings_form
from ui.state import State, workspace
from ui.style import table_height
from ui.words import count_words

FIRST_MODEL = "hemis"
FIRST_FIELDS = ("epochs", "max_minutes", "batch_size", "lr")
PARTS = {"train": "Learn from", "val": "Watch", "test": "Held out"}
PART_HELP = "Learn from: the model sees these. Watch: only to follow the training. Held out: only to judge it, later."


@dataclass(frozen=True)
class ModelCard:
    """What the page needs of a model, so that it need not import torch itself."""

    title: str
    summary: str
    Config: type[Settings]
    train_defaults: Mapping[str, Any]
    is_baseline: bool
    is_fitted: bool
    makes_images: bool


class FittedTraining(Settings):
    """What of a training's settings counts for a model that is fitted once."""

    modalities: Names = Field((), description=TrainConfig.model_fields["modalities"].description)


@st.cache_resource(show_spinner="Loading the models")
def model_cards() -> dict[str, ModelCard]:
    """Every model in the registry, baselines last."""
    from core.models import MODELS

    cards = {
        name: ModelCard(
            kind.title,
            kind.summary,
            kind.Config,
            kind.train_defaults,
            not kind.can_embed,
            kind.is_fitted,
            kind.makes_images,
        )
        for name, kind in MODELS.items()
    }
    return dict(sorted(cards.items(), key=lambda item: item[1].is_baseline))


def makes_images(run: Run) -> bool:
    """Whether the run's model makes images, so that there is something to compare and to judge."""
    card = model_cards().get(run.config.model)
    return card is None or card.makes_images


@st.cache_resource(show_spinner=False)
def device_words() -> tuple[tuple[str, ...], str]:
    """(choices, what "auto" will take)."""
    import torch

    if torch.cuda.is_available():
        return ("auto", "cuda", "cpu"), f"GPU: {torch.cuda.get_device_name()}"
    return ("auto",), f"This machine's processor ({count_words(torch.get_num_threads(), 'thread')}); no GPU was found."


@dataclass(frozen=True)
class SplitChoice:
    """Which cases are held out."""

    seed: int = 0
    fold: int | None = None
    n_folds: int | None = None


@dataclass(frozen=True)
class Preset:
    """Settings that the form starts with: those that a search found best."""

    search: str
    model: str
    of_model: Mapping[str, Any]
    of_training: Mapping[str, Any]
    seed: int

    def key(self, name: str) -> str:
        """A widget's key: another preset, a widget that starts anew."""
        return f"{name}-{self.search}" if self.search else name


NO_PRESET = Preset("", FIRST_MODEL, {}, {}, 0)


def preset() -> Preset:
    """What the form starts with in this session."""
    found = st.session_state.get(State.PRESET)
    return found if isinstance(found, Preset) else NO_PRESET


def preset_notice() -> None:
    """Where the settings are from, and a way back."""
    if not preset().search:
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption(":material/grid_on: Filled in with the best settings of a search.")
        tip = "Fill in the usual settings again"
        if st.button("Usual settings", key="preset-off", icon=":material/undo:", help=tip):
            del st.session_state[State.PRESET]
            st.rerun()


def model_choice() -> str:
    """A list of models with what each is for."""
    cards = model_cards()
    names = list(cards)
    first = preset().model
    chosen = st.radio(
        "Model",
        names,
        index=names.index(first) if first in names else 0,
        format_func=lambda name: cards[name].title,
        captions=[cards[name].summary for name in names],
        key=preset().key("train-model"),
        help="Baselines are fitted in seconds and tell what a model must beat.",
    )
    return str(chosen)


def run_settings(
    dataset: Dataset, model: str, start: Preset = NO_PRESET, prefix: str = ""
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings of the model and of the training, as filled in; those of `start` count for its own model.

    prefix: of the widgets' keys.
    """
    card = model_cards()[model]
    start = start if start.model == model else NO_PRESET
    modalities = dataset.modalities
    if card.is_baseline:
        st.caption("A baseline is fitted once, in seconds. There is nothing to set.")
        return {}, dict(card.train_defaults)
    if card.is_fitted:
        st.caption("Fitted once over the training cases, in seconds to a minute.")
        training = settings_form(
            FittedTraining, start.key(f"{prefix}train-{model}"), choices={"modalities": modalities}
        )
    else:
        values = {**card.train_defaults, **start.of_training}
        training = _training_settings(model, dataset, values, start.key(f"{prefix}train-{model}"))
    st.markdown(f"**{card.title}**", help=card.summary)
    of_model = settings_form(
        card.Config,
        start.key(f"{prefix}model-{model}"),
        start.of_model,
        choices=dict.fromkeys(("given", "source", "target"), modalities),
    )
    return of_model, training


def _training_settings(model: str, dataset: Dataset, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    st.markdown("**Training**", help="How long and how the model learns")
    choices = {
        "modalities": dataset.modalities,
        "tasks": task_names(dataset),
        "init_from": ("", *(run.id for run in list_runs(workspace()) if run.has_weights and run.config.model == model)),
        "freeze": ("encoders", "decoders", *dataset.modalities),
    }
    return settings_form(TrainConfig, key, values, FIRST_FIELDS, choices)


def split_choice(dataset: Dataset) -> tuple[SplitChoice, Split | None]:
    """How the cases are divided, and into what; None where they cannot be."""
    n = len(dataset.case_ids)
    by_fold = st.segmented_control(
        "Hold out",
        ("fifth", "fold"),
        default="fifth",
        format_func={"fifth": "A fifth of the cases", "fold": "One fold"}.__getitem__,
        key="split-kind",
        required=True,
        help="Held-out cases are never learnt from. Folds hold out each case once, over several runs.",
    )
    fold, n_folds = None, None
    left, middle, right = st.columns(3)
    with left:
        tip = "Another seed, other cases held out, other first weights"
        seed = st.number_input("Seed", 0, 2**31 - 1, preset().seed, help=tip)
    if by_fold == "fold" and n >= 2:
        with middle:
            n_folds = st.number_input(
                "Folds", 2, n, min(n, 5), key=f"folds-{n}", help=f"2 to {n}; {n} is one case each"
            )
        with right:
            tip = "Which of the folds this run holds out"
            fold = st.number_input("Fold", 1, int(n_folds), 1, key=f"fold-{n}", help=tip) - 1
    choice = SplitChoice(int(seed), fold, n_folds)
    try:
        return choice, dataset.split(choice.seed, choice.fold, choice.n_folds)
    except UserError as error:
        st.warning(str(error))
        return choice, None


def split_table(split: Split) -> None:
    """Which case goes where."""
    counts = [f"{words.lower()} {len(getattr(split, part))}" for part, words in PARTS.items() if getattr(split, part)]
    st.caption(f"Cases: {', '.join(counts)}", help=PART_HELP)
    rows = [{"Case": case_id, "Use": words} for part, words in PARTS.items() for case_id in getattr(split, part)]
    rows.sort(key=lambda row: row["Case"])
    st.dataframe(rows, hide_index=True, width="stretch", height=table_height(len(rows), 250), alt="Use of each case")


def start_run(
    dataset: Dataset, model: str, settings: tuple[Mapping[str, Any], Mapping[str, Any]], split: SplitChoice, device: str
) -> Run:
    """Make the run's folder and start its worker.

    Raises:
        UserError: A setting does not fit.
    """
    from core.train import make_config

    config = make_config(dataset, model, settings[0], settings[1], split.seed, split.fold, split.n_folds)
    run = Run.new(workspace(), config, device)
    begin(run)
    return run
