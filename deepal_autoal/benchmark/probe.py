"""What runs on a dataset cost, from short measurements on parts of the data."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.benchmark.brief_training import BriefTrainer, TrainingCost
from deepal_autoal.benchmark.growth import Growth, Sample, bytes_at, seconds_at
from deepal_autoal.benchmark.ladder import climb
from deepal_autoal.benchmark.run_cost import Cost
from deepal_autoal.datasets.changes import PoolChanges
from deepal_autoal.inputs import Inputs
from deepal_autoal.learner import ActiveLearner
from deepal_autoal.loop import using_threads, usual_threads
from deepal_autoal.measure import PeakMemory, Stopwatch, give_back_memory, resident_bytes
from deepal_autoal.plugins import plugin_host
from deepal_autoal.pool import draw_members
from deepal_autoal.process import restored
from deepal_autoal.strategy import SelectorStrategy, Strategy

if TYPE_CHECKING:
    from deepal_autoal.benchmark.admission import Setup
    from deepal_autoal.datasets import Dataset

_FEWEST_CANDIDATES = 512
_FEW_STEPS = 8
_FEW_TEST_SAMPLES = 256
# What a model gives: strategies that require any of it need the pass over the pool.
_OUTPUTS = frozenset({"probabilities", "embeddings", "mc_dropout", "ensemble", "gradients"})


class _Enough(KeyboardInterrupt):
    """Ends a query that has told its progress and goes on for long; nobody takes it for a failure."""


@dataclass(frozen=True)
class _Trained:
    """A model to query with, and what it took.

    Attributes:
        cost: Of a training.
        state: The model, as `ActiveLearner.adopt` takes it; None if it is more than its weights.
        evaluate: Seconds of an evaluation.
        n_bytes: Peak memory of both, above what was in use before.
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
        settings: What they are called with, by the names of `run`'s arguments.
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
        # Of the middle round, which stands for all.
        self._n_labeled = setup.initial + max(0, setup.n_rounds - 1) * setup.batch_size // 2
        self._n_candidates = max(1, len(members) - self._n_labeled)
        with using_threads(self._threads), restored([]):
            self._learner(Strategy(), _FEWEST_CANDIDATES, _FEW_STEPS)[0].fit()  # what only the first training takes
            self._plain = self._train(Strategy)
            learner, _ = self._learner(Strategy(), _FEWEST_CANDIDATES, _FEW_STEPS, self._plain)
            self._pass, self.embedding_dim = self._pass_of(learner)
        give_back_memory()
        self._base = resident_bytes()

    def of(self, make: Callable[[], Strategy]) -> Cost:
        """Return what a run costs.

        Args:
            make: Makes its strategy, a new one in every call.
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
            # On an accelerator a query's memory is the device's.
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
        """Return a learner over a part of the pool, with the labels of a run's middle, and what trains for it."""
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
        """Return what a training and an evaluation take, from some steps."""
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
        """Return the seconds of a candidate's pass through the model, and the embeddings' dimensions."""
        model, rows = learner.fit(), learner.unlabeled_indices
        inputs = Inputs(self._data.x_train, learner.normalization, learner.device)
        model.sweep(inputs, rows)
        with Stopwatch(learner.device) as watch:
            _, embeddings = model.sweep(inputs, rows)
        return watch.seconds / len(rows), embeddings.shape[1]

    def _query(self, strategy: Strategy, trained: _Trained, n: int, batch_size: int) -> tuple[Sample, dict[str, float]]:
        """Return a query's measurements, and the seconds of its parts by the strategy's names."""
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
        """Return how a query's ``"time"`` or ``"memory"`` grows by the strategy's card."""
        data, registry = self._data, plugin_host().strategies
        formula = registry.get(strategy.name).details.get(what) if strategy.name in registry else None
        sizes = {"L": self._n_labeled, "C": data.n_classes, "D": self.embedding_dim}
        asked = strategy.candidates.values() if isinstance(strategy, SelectorStrategy) else ()
        candidates = [self._growth(candidate, what) for candidate in asked]
        return Growth(formula or "N", {**sizes, "P": int(np.prod(data.input_shape))}, candidates)


class _Limit:
    """Takes a query's progress, and ends it when it has gone on for long.

    Args:
        seconds: For how long.

    Attributes:
        wait: Seconds until the first progress, if the query was ended; else None.
        left: What it would have taken longer.
    """

    wait: float | None = None
    left: float = 0.0

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._first: tuple[float, int] | None = None
        self._total = 0

    def start(self) -> None:
        """Begin to count."""
        self._started = time.perf_counter()

    def __call__(self, done: int, total: int) -> None:
        """Take the steps done and the steps in all; a new count of steps begins where the total changes."""
        now = time.perf_counter()
        if self._first is None or total != self._total or done < self._first[1]:
            self._first, self._total = (now, done), total
        elif now - self._started > self._seconds and done > self._first[1]:
            since, before = self._first
            self.wait = since - self._started
            self.left = (now - since) / (done - before) * (total - done)
            raise _Enough
