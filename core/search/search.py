"""The search itself: trains point after point, fold after fold, and writes its table as it goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from core.config import HoldOut
from core.dataset import Dataset
from core.errors import InvalidConfigError, UserError
from core.progress import Progress, silent
from core.runs import Job
from core.search.folds import Folds, searched_cases
from core.search.grid import points_of
from core.search.plan import count_trainings, folds_of, inner_folds
from core.search.rounds import Outcome, Verdict, best_of, n_trainings, race
from core.search.settings import SearchConfig
from core.search.table import Choice, Found, table_of
from core.search.trial import Crew, Trials


class Search:
    """A search under way. Its folder keeps a score for each training that is done: those are not done again.

    runs/run-KEY/   a training, an ordinary run      scores/KEY.json   what it came to
    results.json    the table so far
    """

    def __init__(
        self,
        job: Job,
        config: SearchConfig,
        dataset: Dataset,
        device: torch.device,
        progress: Progress = silent,
        crew: Crew | None = None,
    ) -> None:
        """crew: trains in place of this process, several at once."""
        if config.dataset_fingerprint and config.dataset_fingerprint != dataset.fingerprint:
            raise InvalidConfigError(
                "The dataset has changed since this search was made. Make a new search.", "DATASET-CHANGED"
            )
        self.job, self.config, self.dataset, self.progress = job, config, dataset, progress
        self.trials = Trials(job.folder, config, dataset, device, crew)
        self.cases, self.test = searched_cases(dataset, config.seed)
        self.folds = folds_of(dataset, config)
        self.points = points_of(config.grid)
        self.outcomes = [Outcome(point) for point in self.points]
        self.choices: list[Choice] = []
        self.n_known = len(list((job.folder / "scores").glob("*.json")))
        self.n_seen, self.total = 0, count_trainings(len(self.points), config)

    def run(self) -> dict[str, Any]:
        """All trainings that are not done yet; returns the table.

        Raises:
            UserError: No training succeeded, or none could go on.
            Cancelled: `progress` raised it; what is done is kept.
        """
        self._race(self.outcomes, self.folds, self.test, self._write)
        self._write()
        if best_of(self.outcomes, self.config.metric) is None:
            raise self._failure()
        if self.config.nested:
            for number in range(len(self.folds)):
                self.choices += self._choose_without(number)
                self._write()
        return self._write()

    def _failure(self) -> UserError:
        """Why no point could be judged."""
        failures = [failure for outcome in self.outcomes if (failure := outcome.failure)]
        if not failures:
            return UserError("No score is a finite number. Choose another metric or target.", "NOTHING-JUDGED")
        return UserError(f"No setting could be trained. The first one: {failures[0].error}", failures[0].code)

    def _choose_without(self, number: int) -> list[Choice]:
        """Choose a point by cases outside of this fold alone, then judge it on the fold."""
        fold, metric = self.folds[number], self.config.metric
        others = [case_id for case_id in self.cases if case_id not in fold]
        outcomes = [Outcome(point) for point in self.points]
        self._race(outcomes, inner_folds(self.dataset, self.config, others), (*self.test, *fold), lambda: None)
        chosen = best_of(outcomes, metric)
        if chosen is None:
            return []
        whole = Outcome(chosen.point)
        whole.verdicts[number] = self._judge(chosen, HoldOut(judged=fold, unseen=self.test))
        self.n_seen -= not self.config.halving  # then it was trained before
        is_new = number not in self.outcomes[chosen.point.number - 1].verdicts
        extra = [*outcomes, *([whole] if is_new else [])]
        n, seconds = sum(len(o.verdicts) for o in extra), sum(o.seconds for o in extra)
        return [Choice(number, chosen.point.number, whole.values(metric), n, seconds)]

    def _race(self, outcomes: Sequence[Outcome], folds: Folds, unseen: Sequence[str], tell: Callable[[], Any]) -> None:
        end = self.n_seen + n_trainings(len(outcomes), len(folds), self.config.halving)

        def held_out(fold: int) -> HoldOut:
            return HoldOut(judged=folds[fold], unseen=tuple(unseen))

        def judge(outcome: Outcome, fold: int) -> Verdict:
            tell()
            return self._judge(outcome, held_out(fold))

        def foretell(outcome: Outcome, fold: int) -> None:
            self.trials.begin(outcome.point, held_out(fold))

        race(outcomes, len(folds), self.config.metric, self.config.halving, judge, foretell)
        self.n_seen = end  # failed points leave out folds

    def _judge(self, outcome: Outcome, hold_out: HoldOut) -> Verdict:
        place = min(max(self.n_seen, self.n_known), self.total - 1)

        said = f"Training {place + 1} of {self.total}: {outcome.point.words}"

        def report(done: float, total: float, message: str = "") -> None:
            self.progress(place + min(done / max(total, 1e-9), 0.999), self.total, said)

        report(0, 1)
        verdict = self.trials.judge(outcome.point, hold_out, report)
        self.n_seen += 1
        return verdict

    def _write(self) -> dict[str, Any]:
        table = table_of(self.config, Found(self.folds, self.test, self.outcomes, self.choices))
        self.job.write_result(table)
        return table
