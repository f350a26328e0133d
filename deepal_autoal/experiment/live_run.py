"""A run under way: its rounds of train, evaluate, query, label, and what event hooks see of it."""

from __future__ import annotations

import copy
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.experiment.records import RunFolder, RunResult
from deepal_autoal.experiment.run_config import RunConfig
from deepal_autoal.experiment.scores import ACCURACY, BY_GROUP, PLAIN, round_scores, scores_in
from deepal_autoal.experiment.shared_round_0 import InitialModel
from deepal_autoal.isolation.guards import guarded
from deepal_autoal.isolation.watchdog import watched
from deepal_autoal.measuring.profile import active_profile, section
from deepal_autoal.measuring.resources import PeakMemory, Stopwatch
from deepal_autoal.numerics.precision import clean_autograd_state
from deepal_autoal.plugins.host import PluginHost, plugin_host
from deepal_autoal.querying.strategy import Query
from deepal_autoal.training.inputs import Inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.datasets import Dataset
    from deepal_autoal.isolation.blame import Provider
    from deepal_autoal.training.fitted_model import FittedModel

Progress = Callable[[str, int, int], None]

SLOW_HOOK = 10.0


class LiveRun:
    """A run under way.

    Attributes:
        config: The resolved settings, as in ``config.json``.
        learner: The learner, with strategy, labels so far and trained model.
        records: One record for each finished round.
        metrics: Of the model trained last; empty before.
        stop_reason: A plugin's reason to stop, or None.
    """

    def __init__(
        self,
        config: RunConfig,
        learner: ActiveLearner,
        dataset: Dataset,
        folder: RunFolder | None,
        progress: Progress,
        initial_model: InitialModel | None = None,
        names: NDArray[Any] | None = None,
    ) -> None:
        self.config = config
        self.learner = learner
        self.records: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}
        self.stop_reason: str | None = None
        self.folder = folder
        self.host: PluginHost = plugin_host()
        self._view: weakref.ref[RunView] | None = None
        self._labels = dataset.y_train
        self._class_names = dataset.class_names
        self._names = names
        self._test_labels = dataset.y_test
        self._test_groups = dataset.groups_test, dataset.group_names
        self._test = Inputs(dataset.x_test, learner.normalization, learner.device)
        self._progress = section("display")(progress)
        # Compiled and plain models differ in the last bits, and what is read from a file is not compiled.
        is_common = not learner.strategy.changes_training and not learner.recipe.compile
        self._initial_model = initial_model if is_common else None

    @property
    def view(self) -> RunView:
        """What event hooks and callbacks see of it: one object as long as anything keeps it."""
        view = self._view() if self._view is not None else None
        if view is None:
            view = RunView(self)
            self._view = weakref.ref(view)  # the view keeps the run
        return view

    @property
    def n_rounds(self) -> int:
        """How many queries were asked for."""
        return self.config.rounds

    @section("set-up")
    def start(self) -> None:
        """Label the initial set, or continue from the state in the run folder."""
        records, state = self.folder.read_progress(self.config) if self.folder is not None else ([], None)
        if state is not None:
            self.records = records
            self.stop_reason = state["stop_reason"]
            self.learner.load_state_dict(state["learner"])
            self.learner.uses_n_rounds = state.get("uses_n_rounds", True)
            self._write_queried()  # a kill may have come before it was done
        else:
            initial = np.asarray(self.config.initial, dtype=np.int64)
            self.learner.tell(initial, self._labels[initial])
        self._notify("deepal_run_started")

    def rounds(self) -> Iterator[dict[str, Any]]:
        """Do the remaining rounds; yields each one's record once it is written."""
        while not self._is_complete:
            number = len(self.records)
            begin_phase(f"round {number}")
            record = self._round(number)
            self._notify("deepal_round_finished", record=copy.deepcopy(record))
            yield record

    @property
    def _is_complete(self) -> bool:
        return self.stop_reason is not None or len(self.records) > self.n_rounds

    def _round(self, number: int) -> dict[str, Any]:
        learner = self.learner
        n_labeled = len(learner.labeled_indices) + self.config.n_counted_for_validation
        shared = self._initial_model if number == 0 else None
        found = None
        if shared is not None:
            with section("records"):
                found = shared.read(self.config)
        if found is not None:
            model, scores = learner.adopt(found), scores_in(found)
            seconds = {**found["seconds"], **{f"{phase}.shared": spent for phase, spent in found["seconds"].items()}}
        else:
            model, scores, seconds = self._train_and_evaluate()
            if shared is not None:
                with section("records"):
                    state = learner.adoptable_state()
                    if state is not None:
                        shared.write(self.config, state, scores, seconds)
        if self.config.settings.get("plain_accuracy"):
            is_plain = not learner.strategy.changes_training
            scores = {**scores, PLAIN: scores[ACCURACY] if is_plain else self._plain_accuracy()}
        audit: dict[str, Any] = {}
        if self.config.settings.get("audit"):
            audited, seconds["audit"] = self._audit()
            audit = {"audit": audited}
        single = {name: value for name, value in scores.items() if name != BY_GROUP}
        self.metrics = {**model.metrics, **single, **audit}
        self._notify("deepal_model_trained", model=model, metrics=copy.deepcopy(self.metrics))
        reason = self._notify("deepal_should_stop")
        self.stop_reason = None if reason is None else str(reason)
        is_last = number == self.n_rounds or self.stop_reason is not None
        queried: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        report: Mapping[str, Any] = {}
        parts: Mapping[str, float] = {}
        peak = PeakMemory(learner.device)
        with Stopwatch() as ask:
            if not is_last:
                self._progress("query", 0, 1)
                with peak:
                    query = learner.query(
                        self.config.batch_size, lambda done, total: self._progress("query", done, total)
                    )
                queried, report, parts = np.asarray(query.indices), query.report, learner.query_seconds
        if is_last:
            if self.folder is not None:
                with section("records"):
                    self.folder.write_model(learner)
        else:
            shown = np.array(queried)  # a copy, which hooks may keep
            shown.setflags(write=False)
            self._notify("deepal_batch_queried", query=Query(shown, copy.deepcopy(query.report)))
            learner.tell(queried, self._labels[queried])
        record = {
            "round": number,
            "n_labeled": n_labeled,
            **scores,
            **audit,
            "queried": queried.tolist(),
            "seconds": {
                **seconds,
                "query": 0.0 if is_last else ask.seconds,
                **{f"query.{part}": seconds for part, seconds in parts.items()},
            },
            "query_peak_bytes": peak.n_bytes,
            "strategy": dict(report),
        }
        self.records.append(record)
        if self.folder is not None:
            with section("records"):
                state = learner.state_dict()
                if not learner.recipe.warm_start:
                    state["model"] = None
                self.folder.write_round(
                    self.records,
                    {"learner": state, "stop_reason": self.stop_reason, "uses_n_rounds": learner.uses_n_rounds},
                )
                self._write_queried()
        return record

    def _write_queried(self) -> None:
        if self.folder is None:
            return
        self.folder.write_queried(
            (record["round"], index, self._sample_name(index), self._class_names[self._labels[index]])
            for record in self.records
            for index in record["queried"]
        )

    def _sample_name(self, index: int) -> str:
        """Return a sample's own name, such as its path or its row in the user's array; copies of it have the same."""
        if self._names is None:
            return f"train/{index % self.config.dataset['n_train']}"
        return str(self._names[index % len(self._names)])

    def _train_and_evaluate(self) -> tuple[FittedModel, dict[str, Any], dict[str, float]]:
        """Return the round's model, its `round_scores` on the test split, and the seconds of both phases."""
        learner = self.learner
        self._progress("train", 0, 1)
        with section("train") as train:
            model = learner.fit(lambda done, total: self._progress("train", done, total))
        self._progress("evaluate", 0, 1)
        with (
            section("evaluate") as evaluate,
            learner.blaming_for("evaluation"),
            clean_autograd_state(learner.device),
        ):
            correct = learner.predictor().correct(
                self._test, self._test_labels, lambda done, total: self._progress("evaluate", done, total)
            )
        return model, round_scores(correct, *self._test_groups), {"train": train.seconds, "evaluate": evaluate.seconds}

    def _audit(self) -> tuple[dict[str, Any] | None, float]:
        """Return what the audit says, for the record, and the seconds that it took."""
        self._progress("audit", 0, 1)
        with Stopwatch() as watch:
            found = self.learner.estimate(lambda done, total: self._progress("audit", done, total))
        return None if found is None else found.to_json(self.config.batch_size), watch.seconds

    def _plain_accuracy(self) -> float:
        """Return the test accuracy of a plain model on the round's labels, whose seconds are not the strategy's."""
        self._progress("train", 0, 1)
        with section("plain model"):
            plain = self.learner.plain_predictor(lambda done, total: self._progress("train", done, total))
            self._progress("evaluate", 0, 1)
            with clean_autograd_state(self.learner.device):
                correct = plain.correct(
                    self._test, self._test_labels, lambda done, total: self._progress("evaluate", done, total)
                )
        return float(correct.mean())

    def finish(self) -> RunResult:
        """Write the summary and return the result."""
        status = "finished" if self.stop_reason is None else "stopped"
        result = RunResult(self.records, self.config.to_json(), status, self.stop_reason, self.view.folder)
        if self.folder is not None:
            with section("records"):
                self.folder.write_summary(result.summary())
        self._notify("deepal_run_finished")
        return result

    def _notify(self, hook: str, **arguments: Any) -> Any:
        """Call an event hook, so that no plugin's traces reach the run's numbers."""

        @contextmanager
        def around(provider: Provider, hook: str) -> Iterator[None]:
            culprit = f"plugin of {provider}"
            thorough = not provider.builtin
            with (
                section("plugins"),
                watched(f"{culprit} has been in {hook}", SLOW_HOOK),
                guarded(culprit, hook, self.learner.fitted, thorough=thorough),
            ):
                yield

        return self.host.notify(hook, around=around, run=self.view, **arguments)


class RunView:
    """What hooks and callbacks see of a run: an `ActiveRun`."""

    def __init__(self, live: LiveRun) -> None:
        self._live = live

    @property
    def config(self) -> dict[str, Any]:
        """See `ActiveRun.config`."""
        return self._live.config.to_json()

    @property
    def options(self) -> dict[str, Any]:
        """See `ActiveRun.options`."""
        given = self._live.config.plugin_options
        return {name: copy.deepcopy(given.get(name)) for name in self._live.host.options.names()}

    @property
    def learner(self) -> ActiveLearner:
        """See `ActiveRun.learner`."""
        return self._live.learner

    @property
    def records(self) -> list[dict[str, Any]]:
        """See `ActiveRun.records`."""
        return copy.deepcopy(self._live.records)

    @property
    def metrics(self) -> dict[str, Any]:
        """See `ActiveRun.metrics`."""
        return dict(self._live.metrics)

    @property
    def folder(self) -> Path | None:
        """See `ActiveRun.folder`."""
        return self._live.folder.path if self._live.folder is not None else None

    @property
    def stop_reason(self) -> str | None:
        """See `ActiveRun.stop_reason`."""
        return self._live.stop_reason

    @property
    def n_rounds(self) -> int:
        """See `ActiveRun.n_rounds`."""
        return self._live.n_rounds


def begin_phase(name: str) -> None:
    """Start a phase of the active profile, if there is one."""
    profile = active_profile()
    if profile is not None:
        profile.begin(name)
