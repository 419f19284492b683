"""What is said of a search: nothing that its intervals do not carry."""

from __future__ import annotations

from typing import Any

from ui.search_charts import _best_cells, comparable, pair_chart
from ui.search_words import behind_words, sentences, verdict_words

KEYS = ("model.latent_dim", "train.lr")


def row(
    point: int, mean: float | None, state: str = "done", apart: bool | None = True, folds: int = 4
) -> dict[str, Any]:
    values = {"model.latent_dim": (8, 16)[(point - 1) // 2], "train.lr": (0.1, 0.2)[(point - 1) % 2]}
    interval = {
        "mean": mean,
        "low": None if mean is None else mean - 0.01,
        "high": None if mean is None else mean + 0.01,
    }
    return {
        **interval, "point": point, "values": values, "n": 16, "state": state, "folds": folds, "is_told_apart": apart,
        "cut": 0, "seconds": 30.0, "error": "It broke.", "code": "BROKE",
    }  # fmt: skip


def table(points: list[dict[str, Any]], **changes: Any) -> dict[str, Any]:
    grid = {"model.latent_dim": [8, 16], "train.lr": [0.1, 0.2]}
    return {
        "metric": "mae", "better": "low", "grid": grid, "folds": [[]] * 4, "best": points[0]["point"], "nested": None,
        "points": points, "seconds": 7200.0, "trainings": 16, "target": "", **changes,
    }  # fmt: skip


def test_a_clear_winner_is_said_to_be_one():
    said = " ".join(sentences(table([row(3, 0.1), row(1, 0.2), row(2, 0.3), row(4, 0.4)])))
    assert (
        "**Best: latent size 16, learning rate 0.1.** MAE 0.1000 (95 % interval 0.0900 to 0.1100) over 16 cases."
        in said
    )
    assert "better than each of the others" in said
    assert "Cost: 16 trainings, 2.0 h of work in all." in said


def test_what_chance_explains_is_not_called_worse():
    mixed = table([row(3, 0.1), row(1, 0.101, apart=False), row(2, 0.3), row(4, 0.4)])
    assert "1 of the other 3 cannot be told apart from it; the rest are worse." in sentences(mixed)
    assert [verdict_words(mixed, point) for point in mixed["points"]] == [
        "best",
        "no clear difference",
        "worse",
        "worse",
    ]
    level = table([row(3, 0.1), row(1, 0.101, apart=False)])
    assert any("No other setting can be told apart" in sentence for sentence in sentences(level))
    few = table([{**row(3, 0.1), "n": 4, "low": None}, row(1, 0.2, apart=None)])
    assert any("cannot be said: 4 cases are too few" in sentence for sentence in sentences(few))


def test_how_far_a_setting_is_behind_reads_the_same_for_errors_and_for_gains():
    behind = {"mean": 0.012, "low": 0.004, "high": 0.021, "n": 16}
    assert behind_words("mae", {"behind": behind}) == "0.0120 (0.0040 to 0.0210)"
    turned = {"mean": -0.012, "low": -0.021, "high": -0.004, "n": 16}
    assert behind_words("ssim", {"behind": turned}) == "0.0120 (0.0040 to 0.0210)"
    assert behind_words("mae", {"behind": {**behind, "low": None, "high": None}}) == "0.0120"
    assert behind_words("mae", {"behind": None}) == ""


def test_what_was_stopped_or_failed_is_named_and_never_ranked_with_the_rest():
    found = table([row(3, 0.1), row(1, 0.2), row(2, 0.05, "stopped", None, 1), row(4, None, "failed", None, 1)])
    said = " ".join(sentences(found))
    assert "1 setting stopped early, after 1 of 4 folds." in said
    assert "1 setting could not be trained. The first one: It broke." in said
    assert "better than each of the others" in said
    assert [point["point"] for point in comparable(found)] == [3, 1]  # 0.05 on one fold is no record
    assert _best_cells(found, *KEYS) == {(1, 0): 0.1, (0, 0): 0.2}
    frame = pair_chart(found, *KEYS, "#000").layout.shapes[0]
    assert (frame.x0, frame.y0) == (0.5, -0.5)


def test_the_nested_estimate_says_how_much_the_best_score_flatters():
    optimism = {"mean": 0.004, "low": 0.001, "high": 0.007, "n": 16}
    nested = {"folds": 4, "of": 4, "chosen": [3, 3, 1, 3], "mean": 0.104, "low": 0.09, "high": 0.12, "n": 16}
    found = table([row(3, 0.1), row(1, 0.2)], nested={**nested, "flat": 0.1, "optimism": optimism})
    said = sentences(found)[-1]
    assert "0.1040 (95 % interval 0.0900 to 0.1200); the best score above flatters by 0.0040" in said
    assert "0.0010 to 0.0070" in said and "4 choices took 2 different settings" in said
    other = {**nested, "flat": 0.1, "optimism": {**optimism, "mean": -0.004}}
    higher = table([row(3, 0.1), row(1, 0.2)], nested=other, metric="ssim", better="high")
    assert "flatters by 0.0040" in sentences(higher)[-1]
    assert "0 of 4 folds done" in sentences(table([row(3, 0.1)], nested={**nested, "folds": 0, "optimism": None}))[-1]
