"""Estimate what runs on a dataset cost, from short measurements on parts of the data.

How it works: the task model is trained twice, for a few steps and for more, which gives the seconds of one step and
the constant part; all trainings of a run follow from their step counts. Evaluation is timed on a part of the test
split. A query is timed on ever larger parts of the pool, and extrapolated to the whole pool along the line through the
two largest of one batch size, or by the strategy's card if there is only one. Trainings inside a query are cut short
and counted by their steps; a query that takes too long is ended at one of its progress reports and extrapolated from
its steps. One query, in the middle of the run, represents those of all rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.benchmark.cost.brief_training import BriefTrainer, TrainingCost
from deepal_autoal.benchmark.cost.extrapolation import Growth, Sample, bytes_at, seconds_at
from deepal_autoal.benchmark.cost.probe_sizes import climb
from deepal_autoal.benchmark.cost.run_cost import Cost
from deepal_autoal.datasets.changes import PoolChanges
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.experiment.loop import using_threads, usual_threads
from deepal_autoal.experiment.pool import draw_members
from deepal_autoal.isolation.process_state import restored
from deepal_autoal.measuring.resources import PeakMemory, Stopwatch, give_back_memory, resident_bytes
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.training.inputs import Inputs

if TYPE_CHECKING:
    from deepal_autoal.benchmark.checks import Setup
    from deepal_autoal.datasets import Dataset

_FEWEST_CANDIDATES = 512
_FEW_STEPS = 8
_FEW_TEST_SAMPLES = 256
# Outputs of the model: strategies that require any of them need the pass over the pool.
_OUTPUTS = frozenset({"probabilities", "embeddings", "mc_dropout", "ensemble", "gradients"})


class _Enough(KeyboardInterrupt):
    """Ends a query that reports progress but takes too long; as an interrupt, it is not handled as a failure."""


@dataclass(frozen=True)
class _Trained:
    """A model to query with, and its cost.

    Attributes:
        cost: The cost of a training.
        state: The model for `ActiveLearner.adopt`; None if it holds state outside its state_dict.
        evaluate: Seconds of an evaluation.
        n_bytes: Peak memory of both, beyond what was in use before.
    """

    cost: TrainingCost
    state: Mapping[str, Any] | None
    evaluate: float
    n_bytes: int


class Probe:
    """Short measurements on one dataset.

    Args:
        data: The dataset.
        setup: What its runs have in common.
        settings: Their settings, by the names of `run`'s arguments.
        seconds: About how long to measure one strategy's queries. A training and an evaluation take up to a third.

    Attributes:
        embedding_dim: Dimensions of the task model's embeddings.
    """

    def __init__(self, data: Dataset, setup: Setup, settings: Mapping[str, Any], seconds: float) -> None:
        self._setup = setup
        self._seconds = seconds
        self._threads = settings.get("threads") or usual_threads(data.input_shape)
        seed = settings.get("seed") or 0
        changes = PoolChanges(*(settings.get(name) for name in ("imbalance", "label_noise", "duplicates")))
        self._data, in_play = changes.apply(data, seed)
        members = in_play[draw_members(len(in_play), seed, settings.get("pool_size"))]
        self._order = np.random.default_rng(seed).permutation(members)
        # Of the middle round, which represents all.
        self._n_labeled = setup.initial + max(0, setup.n_rounds - 1) * setup.batch_size // 2
        self._n_candidates = max(1, len(members) - self._n_labeled)
        with using_threads(self._threads), restored([]):
            self._learner(Strategy(), _FEWEST_CANDIDATES, _FEW_STEPS)[0].fit()  # one-time costs of the first training
            self._plain = self._train(Strategy)
            learner, _ = self._learner(Strategy(), _FEWEST_CANDIDATES, _FEW_STEPS, self._plain)
            self._pass, self.embedding_dim = self._pass_of(learner)
        give_back_memory()
        self._base = resident_bytes()

    def of(self, make: Callable[[], Strategy]) -> Cost:
        """Return the cost of a run.

        Args:
            make: Creates its strategy, a new one in every call.
        """
        setup, recipe = self._setup, self._setup.recipe
        samples: list[Sample] = []
        parts: dict[str, float] = {}
        with using_threads(self._threads), restored([]):
            strategy = make()
            growth, memory_growth = (self._growth(strategy, what) for what in ("time", "memory"))
            trained = self._train(make) if strategy.changes_training else self._plain
            if setup.n_rounds:

                def measure(n: int, batch_size: int) -> Sample:
                    sample, named = self._query(make(), trained, n, batch_size)
                    parts.update(named)
                    return sample

                samples = climb(
                    measure, _FEWEST_CANDIDATES, self._n_candidates, setup.batch_size, growth, self._seconds
                )
        counts = [setup.initial + number * setup.batch_size for number in range(setup.n_rounds + 1)]
        trainings = [trained.cost.of(recipe.n_batches(n) * recipe.n_epochs(n)) for n in counts]
        own, further, first, n_query_bytes, passes = 0.0, 0.0, 0.0, 0, 0.0
        if samples:
            n_first = len(self._order) - setup.initial
            needs_pass = bool(_OUTPUTS & strategy.requires)
            further = samples[-1].training
            own = seconds_at(samples, self._n_candidates, setup.batch_size, growth)
            first = seconds_at(samples, n_first, setup.batch_size, growth) + further
            least = 4 * n_first * (self._data.n_classes + self.embedding_dim) if needs_pass else 0
            n_query_bytes = max(bytes_at(samples, n_first, setup.batch_size, memory_growth), least)
            passes = min(own, self._pass * self._n_candidates) if needs_pass else 0.0
        n_bytes = None
        if self._base is not None:
            # On an accelerator, a query's memory is the device's.
            in_process = 0 if setup.device.type == "cuda" else n_query_bytes
            n_bytes = self._base + max(in_process, trained.n_bytes)
        name = max(parts, key=lambda part: parts[part], default="selection")
        return Cost(
            train=sum(trainings),
            evaluate=(setup.n_rounds + 1) * trained.evaluate,
            query=setup.n_rounds * (own + further),
            shared=0.0 if strategy.changes_training else trainings[0] + trained.evaluate,
            n_bytes=n_bytes,
            first_query=first,
            query_bytes=n_query_bytes,
            query_parts={
                "query: pass over the pool": setup.n_rounds * passes,
                f"query: {name}": setup.n_rounds * (own - passes),
                "query: further trainings": setup.n_rounds * further,
            },
        )

    def _learner(
        self, strategy: Strategy, n_candidates: int, n_steps: int, trained: _Trained | None = None
    ) -> tuple[ActiveLearner, BriefTrainer]:
        """Return a learner over a part of the pool, labeled as in the middle of a run, and its trainer."""
        setup, data = self._setup, self._data
        rows = self._order[: self._n_labeled + min(n_candidates, self._n_candidates)]
        learner = ActiveLearner(
            data.x_train, strategy, data.n_classes, model=setup.model, recipe=setup.recipe, device=setup.device,
            members=np.sort(rows), n_rounds=max(1, setup.n_rounds), scaling=setup.scaling,
        )  # fmt: skip
        labeled = rows[: self._n_labeled]
        learner.tell(labeled, data.y_train[labeled])
        brief: list[BriefTrainer] = []

        def shortened(trainer: Any) -> BriefTrainer:
            brief.append(BriefTrainer(trainer, learner.recipe, n_steps))
            return brief[0]

        learner.wrap_trainer(shortened)
        if trained is not None and trained.state is not None:
            learner.adopt(trained.state)
        return learner, brief[0]

    def _train(self, make: Callable[[], Strategy]) -> _Trained:
        """Return a trained model and the cost of training and evaluation, measured on a few steps."""
        give_back_memory()
        peak = PeakMemory(self._setup.device)
        with peak:
            learner, trainer = self._learner(make(), _FEWEST_CANDIDATES, _FEW_STEPS)
            learner.fit()
            few = trainer.trainings[-1]
            per_step = max(few.seconds / few.done, 1e-6)
            n_steps = max(3 * _FEW_STEPS, int(self._seconds / 3 / per_step))
            learner, trainer = self._learner(make(), _FEWEST_CANDIDATES, n_steps)
            learner.fit()
            many = trainer.trainings[-1]
            step = many.seconds / many.done
            if many.done > few.done:
                step = min(step, max(0.0, (many.seconds - few.seconds) / (many.done - few.done)))
            cost = TrainingCost(max(0.0, many.seconds - step * many.done), step)
            evaluate = self._evaluation(learner)
        return _Trained(cost, learner.adoptable_state(), evaluate, peak.n_bytes or 0)

    def _evaluation(self, learner: ActiveLearner) -> float:
        """Return the seconds of one evaluation on the whole test split."""
        predictor = learner.predictor()
        whole = len(self._data.x_test)
        seconds, n = 0.0, 0
        for n in (min(_FEW_TEST_SAMPLES, whole),) * 2:
            seconds = self._seconds_of_test(learner, predictor, n)
        more = min(whole, int(n * self._seconds / 3 / max(seconds, 1e-9)))
        if more > n:
            seconds, n = self._seconds_of_test(learner, predictor, more), more
        return seconds * whole / n

    def _seconds_of_test(self, learner: ActiveLearner, predictor: Any, n: int) -> float:
        test = Inputs(self._data.x_test[:n], learner.normalization, learner.device)
        with Stopwatch(learner.device) as watch:
            predictor.accuracy(test, self._data.y_test[:n])
        return watch.seconds

    def _pass_of(self, learner: ActiveLearner) -> tuple[float, int]:
        """Return the seconds of the model's pass per candidate, and the embedding dimensions."""
        model, rows = learner.fit(), learner.unlabeled_indices
        inputs = Inputs(self._data.x_train, learner.normalization, learner.device)
        model.sweep(inputs, rows)
        with Stopwatch(learner.device) as watch:
            _, embeddings = model.sweep(inputs, rows)
        return watch.seconds / len(rows), embeddings.shape[1]

    def _query(self, strategy: Strategy, trained: _Trained, n: int, batch_size: int) -> tuple[Sample, dict[str, float]]:
        """Return a query's measurements, and the seconds of its parts, by the names that the strategy gives them."""
        n_steps = max(_FEW_STEPS, int(self._seconds / 10 / max(trained.cost.step, 1e-9)))
        learner, trainer = self._learner(strategy, n, n_steps, trained)
        learner.fit()
        trainer.trainings.clear()
        give_back_memory()
        limit = _Limit(self._seconds / 2)
        peak = PeakMemory(learner.device)
        with Stopwatch(learner.device) as watch, peak, suppress(_Enough):
            limit.start()
            learner.query(batch_size, limit)
        spent = sum(training.seconds for training in trainer.trainings)
        sample = Sample(
            n, batch_size, max(0.0, watch.seconds - spent) + limit.left,
            sum(training.whole(trained.cost) for training in trainer.trainings), peak.n_bytes or 0, limit.wait,
        )  # fmt: skip
        return sample, {part: seconds for part, seconds in learner.query_seconds.items() if part != "training"}

    def _growth(self, strategy: Strategy, what: str) -> Growth:
        """Return the growth of a query's ``"time"`` or ``"memory"`` by the strategy's card."""
        data, registry = self._data, plugin_host().strategies
        formula = registry.get(strategy.name).details.get(what) if strategy.name in registry else None
        sizes = {"L": self._n_labeled, "C": data.n_classes, "D": self.embedding_dim}
        asked = strategy.candidates.values() if isinstance(strategy, SelectorStrategy) else ()
        candidates = [self._growth(candidate, what) for candidate in asked]
        return Growth(formula or "N", {**sizes, "P": int(np.prod(data.input_shape))}, candidates)


class _Limit:
    """Receives a query's progress, and ends the query after a time limit.

    Args:
        seconds: The time limit.

    Attributes:
        wait: Seconds until the first progress report, if the query was ended; otherwise None.
        left: The seconds that it would have taken longer.
    """

    wait: float | None = None
    left: float = 0.0

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._first: tuple[float, int] | None = None
        self._total = 0

    def start(self) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        """Receive the steps done and their total; a new count begins when the total changes."""
        now = time.perf_counter()
        if self._first is None or total != self._total or done < self._first[1]:
            self._first, self._total = (now, done), total
        elif now - self._started > self._seconds and done > self._first[1]:
            since, before = self._first
            self.wait = since - self._started
            self.left = (now - since) / (done - before) * (total - done)
            raise _Enough
