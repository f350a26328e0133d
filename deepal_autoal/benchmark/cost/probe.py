"""Estimate what runs on a dataset cost, from short measurements on parts of the data.

How it works: the task model is trained twice, for a few steps and for more, which gives the seconds of one step and
the constant part; all trainings of a run follow from their step counts. Evaluation is timed on a part of the test
split. A query is timed on ever larger parts of the pool, and extrapolated to the whole pool along the line through the
two largest of one batch size, or by the strategy's card if there is only one. Trainings inside a query are cut short
and counted by their steps; a query that takes too long is ended at one of its progress reports and extrapolated from
its steps. One query, in the middle of the run, represents those of all rounds.

On a CPU, a step on large images may take longer than the whole estimate should. Parts of the images are measured
instead, and the seconds of passes and steps scaled by their pixels.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.benchmark.cost.brief_training import BriefTrainer, TrainingCost
from deepal_autoal.benchmark.cost.extrapolation import Growth, Sample, bytes_at, seconds_at
from deepal_autoal.benchmark.cost.probe_sizes import climb
from deepal_autoal.benchmark.cost.run_cost import FURTHER_TRAININGS, PASSES, Cost
from deepal_autoal.datasets.changes import PoolChanges
from deepal_autoal.experiment.auditing import check_audit, most_models
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.experiment.loop import using_threads, usual_threads
from deepal_autoal.experiment.pool import draw_members
from deepal_autoal.isolation.process_state import restored
from deepal_autoal.measuring.resources import PeakMemory, Stopwatch, give_back_memory, resident_bytes
from deepal_autoal.oracles.base import Oracle
from deepal_autoal.oracles.judge import Judge
from deepal_autoal.oracles.third_split import MOST_SCORED
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.training.inputs import Inputs

if TYPE_CHECKING:
    from deepal_autoal.benchmark.checks import Setup
    from deepal_autoal.datasets import Dataset

_FEWEST_CANDIDATES = 512
_FEW_STEPS = 8
# Where passing them through the model would take too long, at least so many candidates and test samples.
_FEW_SAMPLES = 16
# On a CPU, images with several times as many pixels are probed by a part of so many, and training by a larger one too.
_PROBED_PIXELS, _LARGER_PART = 128 * 128, 4
_LEAST_REDUCTION = 3
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
        n_bytes: Peak of the process's resident memory in both, beyond what was in use before.
        gpu_bytes: Peak of the GPU's memory in both; None without one.
    """

    cost: TrainingCost
    state: Mapping[str, Any] | None
    evaluate: float
    n_bytes: int
    gpu_bytes: int | None


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
        self._with_plain = bool(settings.get("plain_accuracy"))
        share, n_folds = check_audit(settings.get("audit"), settings.get("audit_folds"))
        self._n_audit_models = most_models(share, n_folds)
        self._threads = settings.get("threads") or usual_threads(data.input_shape)
        seed = settings.get("seed") or 0
        changes = PoolChanges(*(settings.get(name) for name in ("imbalance", "label_noise", "duplicates")))
        self._data, in_play = changes.apply(data, seed)
        self._is_reduced = _are_reduced(data, setup)
        self._show_images(_PROBED_PIXELS if self._is_reduced else None)
        members = in_play[draw_members(len(in_play), seed, settings.get("pool_size"), settings.get("duplicates") or 1)]
        self._validation, self._order = np.split(np.random.default_rng(seed).permutation(members), [setup.n_validation])
        # Of the middle round, which represents all.
        self._n_labeled = setup.initial + max(0, setup.n_rounds - 1) * setup.batch_size // 2
        self._n_candidates = max(1, len(self._order) - self._n_labeled)
        with using_threads(self._threads), restored([]):
            self._few_steps = self._affordable_steps()
            self._plain = self._train(Strategy)
            learner, _ = self._learner(Strategy(), _FEWEST_CANDIDATES, self._few_steps, self._plain)
            self._pass, self.embedding_dim = self._pass_of(learner)
            self._step_ratio, self._bytes_ratio = self._ratios_of_training() if self._is_reduced else (1.0, 1.0)
        affordable = int(seconds / 3 / max(self._pass, 1e-9))
        self._fewest = min(_FEWEST_CANDIDATES, max(_FEW_SAMPLES, affordable))
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

                samples = climb(measure, self._fewest, self._n_candidates, setup.batch_size, growth, self._seconds)
        counts = [setup.initial + number * setup.batch_size for number in range(setup.n_rounds + 1)]
        ratio = self._ratio
        cost = TrainingCost(trained.cost.once, self._step_ratio * trained.cost.step)
        # A solved model's cost grows slowly with the labels: the middle round's stands for all.
        is_solved = _is_solved(setup, strategy)
        trainings = [cost.of(1 if is_solved else recipe.n_batches(n) * recipe.n_epochs(n)) for n in counts]
        evaluate = ratio * trained.evaluate
        # A plain model's training is taken to last as long as the changed one.
        models = 2 if self._with_plain and strategy.changes_training else 1
        # Those of an audit too, though they have fewer labels.
        audits = self._n_audit_models * sum(trainings)
        own, further, first, n_query_bytes, passes = 0.0, 0.0, 0.0, 0, 0.0
        if samples:
            n_first = len(self._order) - setup.initial
            needs_pass = bool(_OUTPUTS & strategy.requires)
            further = self._step_ratio * samples[-1].training
            per_pass = self._pass if needs_pass else 0.0
            own, first = (
                _of_whole_images(seconds_at(samples, n, setup.batch_size, growth), per_pass * n, ratio, growth)
                for n in (self._n_candidates, n_first)
            )
            first += further
            least = 4 * n_first * (self._data.n_classes + self.embedding_dim) if needs_pass else 0
            n_query_bytes = max(bytes_at(samples, n_first, setup.batch_size, memory_growth), least)
            passes = min(own, ratio * per_pass * self._n_candidates)
        n_bytes, gpu_bytes, in_process = None, trained.gpu_bytes, n_query_bytes
        if gpu_bytes is not None:
            in_process = max((sample.process_bytes for sample in samples), default=0)
            gpu_bytes = max([gpu_bytes, *(sample.before + n_query_bytes for sample in samples)])
        if self._base is not None:
            n_bytes = self._base + max(in_process, int(self._bytes_ratio * trained.n_bytes))
        name = max(parts, key=lambda part: parts[part], default="selection")
        return Cost(
            train=models * sum(trainings) + audits,
            evaluate=models * (setup.n_rounds + 1) * evaluate,
            query=setup.n_rounds * (own + further),
            shared=0.0 if strategy.changes_training else trainings[0] + evaluate,
            n_bytes=n_bytes,
            gpu_bytes=gpu_bytes,
            first_query=first,
            query_bytes=n_query_bytes,
            query_parts={
                PASSES: setup.n_rounds * passes,
                f"query: {name}": setup.n_rounds * (own - passes),
                FURTHER_TRAININGS: setup.n_rounds * further,
            },
        )

    def _learner(
        self, strategy: Strategy, n_candidates: int, n_steps: int, trained: _Trained | None = None
    ) -> tuple[ActiveLearner, BriefTrainer]:
        """Return a learner over a part of the pool, labeled as in the middle of a run, and its trainer."""
        setup, data = self._setup, self._data
        rows = self._order[: self._n_labeled + min(n_candidates, self._n_candidates)]
        learner = ActiveLearner(
            self._x_train, strategy, data.n_classes, model=setup.model, recipe=setup.recipe, device=setup.device,
            members=np.sort(np.concatenate([rows, self._validation])), n_rounds=max(1, setup.n_rounds),
            scaling=setup.scaling,
            validation=(self._validation, data.y_train[self._validation]) if len(self._validation) else None,
        )  # fmt: skip
        labeled = rows[: self._n_labeled]
        learner.tell(labeled, data.y_train[labeled])
        brief: list[BriefTrainer] = []

        def shortened(trainer: Any) -> BriefTrainer:
            brief.append(BriefTrainer(trainer, learner.recipe, n_steps, _is_solved(setup, strategy)))
            return brief[0]

        learner.wrap_trainer(shortened)
        if isinstance(learner.strategy, Oracle):
            scored = np.arange(min(MOST_SCORED, max(1, len(data.x_train) - len(self._order))))  # any samples cost alike
            inputs = Inputs(self._x_train[scored], learner.normalization, setup.device)
            learner.strategy.bind(Judge(learner.fit_with, data.y_train, inputs, data.y_train[scored], scored))
        if trained is not None and trained.state is not None:
            learner.adopt(trained.state)
        return learner, brief[0]

    def _train(self, make: Callable[[], Strategy]) -> _Trained:
        """Return a trained model and the cost of training and evaluation, measured on a few steps."""
        give_back_memory()
        peak = PeakMemory(self._setup.device)
        with peak:
            learner, trainer = self._learner(make(), _FEWEST_CANDIDATES, self._few_steps)
            learner.fit()
            few = many = trainer.trainings[-1]
            per_step = max(few.seconds / few.done, 1e-6)
            n_steps = int(self._seconds / 3 / per_step)
            if self._few_steps == _FEW_STEPS or n_steps >= 3 * self._few_steps:
                learner, trainer = self._learner(make(), _FEWEST_CANDIDATES, max(3 * self._few_steps, n_steps))
                learner.fit()
                many = trainer.trainings[-1]
            step = many.seconds / many.done
            if many.done > few.done:
                step = min(step, max(0.0, (many.seconds - few.seconds) / (many.done - few.done)))
            cost = TrainingCost(max(0.0, many.seconds - step * many.done), step)
            evaluate = self._evaluation(learner)
        gpu = (peak.before or 0) + (peak.n_bytes or 0) if self._setup.device.type == "cuda" else None
        return _Trained(cost, learner.adoptable_state(), evaluate, peak.process_bytes or 0, gpu)

    def _evaluation(self, learner: ActiveLearner) -> float:
        """Return the seconds of one evaluation on the whole test split."""
        predictor, whole = learner.predictor(), len(self._x_test)
        return whole * _seconds_each(lambda n: self._seconds_of_test(learner, predictor, n), whole, self._seconds / 3)

    def _seconds_of_test(self, learner: ActiveLearner, predictor: Any, n: int) -> float:
        test = Inputs(self._x_test[:n], learner.normalization, learner.device)
        with Stopwatch(learner.device) as watch:
            predictor.accuracy(test, self._data.y_test[:n])
        return watch.seconds

    def _pass_of(self, learner: ActiveLearner) -> tuple[float, int]:
        """Return the seconds of the model's pass per candidate, and the embedding dimensions."""
        model, rows = learner.fit(), learner.unlabeled_indices
        inputs = Inputs(self._x_train, learner.normalization, learner.device)

        def measure(n: int) -> float:
            with Stopwatch(learner.device) as watch:
                model.sweep(inputs, rows[:n])
            return watch.seconds

        return _seconds_each(measure, len(rows), self._seconds / 6), model.module.embedding_dim

    def _query(self, strategy: Strategy, trained: _Trained, n: int, batch_size: int) -> tuple[Sample, dict[str, float]]:
        """Return a query's measurements, and the seconds of its parts, by the names that the strategy gives them."""
        n_steps = max(self._few_steps, int(self._seconds / 10 / max(trained.cost.step, 1e-9)))
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
        own, whole = (
            max(0.0, watch.seconds - spent),
            sum(training.whole(trained.cost) for training in trainer.trainings),
        )
        if isinstance(strategy, Oracle):  # its steps are trainings: those to come are as long as those so far
            own, whole = (seconds * limit.steps for seconds in (own, whole))
        else:
            own += limit.left
        sample = Sample(
            n, batch_size, own, whole, peak.n_bytes or 0,
            peak.process_bytes or 0, peak.before or 0, limit.wait,
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

    def _show_images(self, n_pixels: int | None) -> None:
        """Probe the centers of the images, of about so many pixels; None for the whole images."""
        self._x_train, self._x_test = self._data.x_train, self._data.x_test
        if n_pixels is not None:
            height, width = self._data.input_shape[1:]
            share = math.sqrt(n_pixels / (height * width))
            rows, columns = (_middle(side, max(1, round(share * side))) for side in (height, width))
            self._x_train, self._x_test = self._x_train[:, rows, columns], self._x_test[:, rows, columns]
        self._ratio = self._data.x_train[:1].size / self._x_train[:1].size

    def _ratios_of_training(self) -> tuple[float, float]:
        """Return the ratios of a training step's seconds and peak bytes on whole images to those on their parts.

        Both are extrapolated along a line through two sizes, since a constant part does not grow with the pixels.
        """
        whole, small = self._data.x_train[:1].size, self._x_train[:1].size
        self._show_images(int(min(_LARGER_PART, self._ratio / 2) * _PROBED_PIXELS))
        large = self._x_train[:1].size
        self._learner(Strategy(), _FEW_SAMPLES, 1)[0].fit()  # one-time costs of this size
        give_back_memory()
        learner, trainer = self._learner(Strategy(), _FEW_SAMPLES, 1)
        peak = PeakMemory(self._setup.device)
        with peak:
            learner.fit()
        training = trainer.trainings[-1]
        self._show_images(_PROBED_PIXELS)

        def ratio(before: float, after: float) -> float:
            slope = max(0.0, after - before) / (large - small)
            return min(self._ratio, (before + slope * (whole - small)) / before) if before > 0 else self._ratio

        return (
            ratio(self._plain.cost.step, training.seconds / training.done),
            ratio(float(self._plain.n_bytes), float(peak.process_bytes or 0)),
        )

    def _affordable_steps(self) -> int:
        """Return how many steps of training to measure at least, after one with the one-time costs."""
        try:
            learner, _ = self._learner(Strategy(), _FEW_SAMPLES, 1)
            learner.fit()
            is_alike = self._setup.embedding_dim in (None, learner.new_module().embedding_dim)
        except Exception:
            if not self._is_reduced:
                raise
            is_alike = False
        if not is_alike:  # a model for images of one size, or of pixels
            self._is_reduced = False
            self._show_images(None)
            self._learner(Strategy(), _FEW_SAMPLES, 1)[0].fit()
        learner, trainer = self._learner(Strategy(), _FEW_SAMPLES, 1)
        learner.fit()
        step = trainer.trainings[-1]
        return max(1, min(_FEW_STEPS, int(self._seconds / 6 * step.done / max(step.seconds, 1e-9))))


def _is_solved(setup: Setup, strategy: Strategy) -> bool:
    """Return whether trainings have no steps: what a strategy changes in training needs steps."""
    return setup.is_solved and not strategy.changes_training


def _are_reduced(data: Dataset, setup: Setup) -> bool:
    """Return whether to probe parts of the images, because they are large and computed on a CPU."""
    if not data.is_image or setup.device.type != "cpu" or setup.is_solved:
        return False
    return math.prod(data.input_shape[1:]) >= _LEAST_REDUCTION * _PROBED_PIXELS


def _middle(whole: int, part: int) -> slice:
    return slice((whole - part) // 2, (whole - part) // 2 + part)


def _seconds_each(measure: Callable[[int], float], whole: int, seconds: float) -> float:
    """Return the seconds that each of ``whole`` samples takes, measured on as many as about ``seconds`` allow.

    Args:
        measure: Returns the seconds of some samples.
        whole: The number of samples.
        seconds: About how long this may take.
    """
    n = min(_FEW_SAMPLES, whole)
    measure(n)  # one-time costs
    taken = measure(n)
    more = min(whole, int(n * seconds / max(taken, 1e-9)))
    return measure(more) / more if more > n else taken / n


def _of_whole_images(seconds: float, passes: float, ratio: float, growth: Growth) -> float:
    """Return the seconds of a query on images that have ``ratio`` times the pixels.

    Args:
        seconds: Of the query on smaller images.
        passes: Of it, those of passes through the model.
        ratio: Of the pixels.
        growth: The query's; if it grows with the pixels, so does all of it.
    """
    return seconds * ratio if growth.uses_pixels else seconds + (ratio - 1) * min(seconds, passes)


class _Limit:
    """Receives a query's progress, and ends the query after a time limit.

    Args:
        seconds: The time limit.

    Attributes:
        wait: Seconds until the first progress report, if the query was ended; otherwise None.
        left: The seconds that it would have taken longer.
        steps: How many times as many steps it would have made as it made.
    """

    wait: float | None = None
    left: float = 0.0
    steps: float = 1.0

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
            self.steps = (total - before) / (done - before)
            raise _Enough
