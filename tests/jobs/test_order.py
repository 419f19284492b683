"""Fair turns, slots and estimates, worked out by hand."""

from __future__ import annotations

import pytest

from core.jobs.devices import by_free_memory, is_allowed
from core.jobs.order import Entry, Limits, fair_order, free_slot, is_over_limit, is_ripe, place_of, usual_seconds

LIMITS = Limits()


def entry(seq: int, owner: str = "", kind: str = "train", **values: object) -> Entry:
    return Entry(seq, f"runs/{seq}", kind, owner, **values)  # type: ignore[arg-type]


def test_owners_take_turns_and_each_keeps_the_order_of_asking() -> None:
    waiting = [entry(1, "anna"), entry(2, "anna"), entry(3, "anna"), entry(4, "ben"), entry(5, "cleo"), entry(6, "ben")]
    assert [one.seq for one in fair_order(waiting, [])] == [1, 4, 5, 2, 6, 3]


def test_whoever_runs_or_was_served_last_comes_later() -> None:
    waiting = [entry(3, "anna"), entry(4, "ben"), entry(5, "cleo")]
    served = [
        entry(1, "anna", state="running", started=10),
        entry(0, "ben", state="finished", started=20),
    ]
    assert [one.owner for one in fair_order(waiting, served)] == ["cleo", "ben", "anna"]


def test_one_training_a_device_and_other_work_beside_it() -> None:
    running = [entry(1, state="running", slot="cpu")]
    assert free_slot(entry(2), running, [], LIMITS) == ""
    assert free_slot(entry(2), running, [], Limits(trainings=2)) == "cpu/1"
    assert free_slot(entry(2, kind="embed"), running, [], LIMITS) == "work:0"
    assert free_slot(entry(3), running, [1, 0], LIMITS) == "cuda:1"
    assert free_slot(entry(3, device="cpu"), [], [1, 0], LIMITS) == "cpu"
    assert free_slot(entry(4), [entry(3, state="running", slot="cuda:1")], [1, 0], LIMITS) == "cuda:0"


def test_a_cluster_takes_trainings_side_by_side_and_leaves_other_work_here() -> None:
    limits = Limits(cluster=2)
    first = entry(1, state="running", slot="ray:0")
    assert first.is_far and free_slot(entry(2), [first], [0, 1], limits) == "ray:1"
    assert free_slot(entry(2, kind="search"), [first], [], limits) == "ray:1"
    assert free_slot(entry(3), [first, entry(2, state="running", slot="ray:1")], [0], limits) == ""
    assert free_slot(entry(3, kind="prepare"), [first], [], limits) == "work:0"
    place = place_of(entry(3), [first, entry(3)], {first.key: 50.0}, limits)
    assert (place.position, place.wait_s) == (1, 0.0)


def test_a_training_on_two_gpus_waits_until_two_are_free_and_keeps_others_off_both() -> None:
    pair = entry(3, device="auto*2")
    assert free_slot(pair, [], [2, 0, 1], LIMITS) == "cuda:2,0"
    one = entry(1, state="running", slot="cuda:0")
    assert free_slot(pair, [one], [2, 0, 1], LIMITS) == "cuda:2,1"
    assert free_slot(pair, [one], [2, 0], LIMITS) == ""
    both = entry(1, state="running", slot="cuda:2,0")
    assert free_slot(entry(2), [both], [2, 0, 1], LIMITS) == "cuda:1"
    assert free_slot(entry(2), [both], [2, 0], LIMITS) == ""
    assert free_slot(pair, [both], [2, 0], Limits(trainings=2)) == "cuda:2,0/1"
    assert free_slot(pair, [], [0], LIMITS) == "cuda:0"
    assert free_slot(pair, [], [], LIMITS) == "cpu"
    assert free_slot(entry(4, device="cpu*2"), [], [2, 0], LIMITS) == "cpu"


def test_a_guest_runs_one_training_and_has_three_waiting() -> None:
    running = [entry(1, "anna", state="running", slot="cuda:0")]
    assert free_slot(entry(2, "anna"), running, [0, 1], LIMITS) == ""
    assert free_slot(entry(2, "ben"), running, [0, 1], LIMITS) == "cuda:1"
    assert free_slot(entry(2, "anna", kind="embed"), running, [0, 1], LIMITS) == "work:0"
    waiting = [entry(n, "anna") for n in (2, 3, 4)]
    assert is_over_limit("anna", waiting, LIMITS)
    assert not is_over_limit("anna", waiting[:2], LIMITS)
    assert not is_over_limit("ben", waiting, LIMITS)
    assert not is_over_limit("", [entry(n) for n in range(50)], LIMITS)


def test_the_wait_is_what_runs_plus_what_is_before() -> None:
    entries = [
        entry(1, state="finished", started=100, ended=160),
        entry(2, state="finished", started=200, ended=280),
        entry(3, state="running", started=300),
        entry(4),
        entry(5),
        entry(6, kind="embed"),
    ]
    place = place_of(entries[4], entries, {"runs/3": 25.0}, LIMITS)
    assert (place.position, place.wait_s) == (2, 25 + 70)
    assert place_of(entries[3], entries, {"runs/3": 25.0}, LIMITS).wait_s == 25
    assert place_of(entries[5], entries, {}, LIMITS).wait_s == 0


def test_what_died_often_waits_a_little_longer_each_time() -> None:
    waits = [next(s for s in range(100) if is_ripe(entry(1, deaths=n, ended=50.0), 50.0 + s)) for n in range(7)]
    assert waits == [0, 0, 0, 1, 2, 4, 8]


def test_before_anything_ended_the_usual_time_is_a_guess() -> None:
    assert usual_seconds("train", [entry(1, state="failed", started=1, ended=2)]) == 300


def test_limits_come_from_the_environment_and_nonsense_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CROSSMODAL_TRAININGS", "3")
    monkeypatch.setenv("CROSSMODAL_WORKERS", "many")
    assert Limits.of_environment() == Limits(trainings=3)


def test_the_gpu_with_most_free_memory_comes_first() -> None:
    assert by_free_memory("0, 1000\n1, 7000\n2, 7000\nFailed to initialise\n3, [N/A]\n") == (1, 2, 0)


def test_gpus_that_the_app_may_not_see_are_left_alone() -> None:
    assert is_allowed(3, None)
    assert is_allowed(3, "1, 3") and not is_allowed(0, "1,3")
    assert not is_allowed(0, "")
