"""What of a table is shown: given and made modalities, and the score with its place."""

from __future__ import annotations

from core.metrics import METRICS, metric_of
from core.types import PLACE
from ui.evaluate_view import place_words, scores_of
from ui.judged_table import Table
from ui.pickers import choose
from ui.results import Pair, pair_id, pair_words, pairs_of
from ui.state import State
from ui.switch import switch

KINDS = {"synthesis": "Synthesis", "reconstruction": "Reconstruction"}


def choose_metric(table: Table, pair: Pair) -> str:
    """A score of the whole mask, of a region, or by SynthRAD's protocol."""
    from core.synthrad import limits_words

    places = scores_of(table, pair)
    tip = (
        "The voxels that are judged. A whole image can look right while a lesion is wrong. Regions come from the "
        f"label maps. {limits_words()}"
    )
    place = choose("Where", list(places), State.PLACE, place_words, tip) if len(places) > 1 else ""
    scores = {metric_of(name).name: name for name in places[place or ""]}
    said = "  \n".join(f"**{name}**: {metric_of(score).help}" for name, score in scores.items())
    by_metric = {score.partition(PLACE)[0]: score for score in scores.values()}
    chosen = choose("Metric", list(by_metric), State.METRIC, lambda name: METRICS[name].name, said)
    return by_metric[chosen or "mae"]


def choose_pair(table: Table) -> tuple[Pair, list[Pair]]:
    """What is given and what is made, among what the runs were judged on."""
    kinds = {kind: said for kind, said in KINDS.items() if pairs_of(table.entries, kind == "reconstruction")}
    tip = "Synthesis: another modality is made. Reconstruction: the same one is given back, which is much easier."
    kind = switch("Task", kinds, State.TASK, tip) if len(kinds) > 1 else next(iter(kinds))
    pairs = pairs_of(table.entries, kind == "reconstruction")
    by_id = {pair_id(pair): pair for pair in pairs}
    tip = "The table and the dots show this pair. A click on the map below changes it."
    return by_id[choose("Given → made", list(by_id), State.PAIR, lambda key: pair_words(by_id[key]), tip) or ""], pairs
