"""The strategy under test: creates new instances, and learners and contexts to query them."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.errors import InputError, QueryError
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.models import AUTO, choose_model
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.options import resolve_options
from deepal_autoal.plugins.references import absolute_reference, is_reference
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.querying.strategy import Query, ScoringStrategy, Strategy, check_query
from deepal_autoal.strategies.candidate_selection import CandidateSelection
from deepal_autoal.strategies.candidate_sets import read_names
from deepal_autoal.strategies.factory import create_strategy, create_with_options
from deepal_autoal.testing.failure_text import format_failure
from deepal_autoal.testing.observation import ViewCalls, process_state, restore_process
from deepal_autoal.testing.problems import QUICK, Problem, blobs
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.time_limit import TimeLimit

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.plugins.registry import Entry
    from deepal_autoal.querying.context import QueryContext
    from deepal_autoal.training.fitted_model import FittedModel
    from deepal_autoal.training.trainer import TrainerProtocol

BATCH = 7
# Size of a batch that is asked for before the one that counts.
OTHER_SIZE = 4
# CPU seconds for one query above which checks run fewer of them.
SLOW = 0.15
# The same for a query that waits rather than computes; on a busy machine, quick ones take a while too.
SLOW_WAIT = 1.0
# Names of random streams of rebuilt contexts.
KEYS = ("again", "and again", "once more")
CPU = torch.device("cpu")

# States of learners after plain training; all subjects share them.
_plain_states: dict[tuple[Problem, int], dict[str, Any]] = {}


@dataclass(frozen=True)
class MeasuredAnswer:
    """A strategy's checked answer, and what it took.

    Attributes:
        indices: Pool indices, int64 (b,).
        report: The report as the strategy gave it, unchecked.
        seconds: How long the query took.
        cpu_seconds: Its CPU time, which does not depend on what else the machine does.
        calls: The outputs that it asked for.
    """

    indices: NDArray[np.int64]
    report: Any
    seconds: float
    cpu_seconds: float
    calls: ViewCalls

    @property
    def is_slow(self) -> bool:
        """Whether the query took so long that it should be repeated as little as possible."""
        return self.cpu_seconds > SLOW or self.seconds > SLOW_WAIT


class Subject:
    """A strategy under test.

    Args:
        strategy: A registered name, a `Strategy` class, or a function without arguments that returns a new strategy.
        candidates: Names of a selector's candidates; its defaults if None.
        options: Constructor options.
        limit: The time for all queries together; by default unlimited.

    Attributes:
        name: The registered name, or the name of the class.
        entry: The registered entry, or None.
        calls: The outputs that it asked for in all queries so far.

    Raises:
        DeepALError: If the strategy cannot be created (see `create_strategy`).
    """

    def __init__(
        self,
        strategy: str | Callable[..., Strategy],
        candidates: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
        limit: TimeLimit | None = None,
    ) -> None:
        if not callable(strategy) and not isinstance(strategy, str):
            raise InputError(
                f"{strategy!r} is an instance, but each check needs a new one: give its name, its class or a function "
                "that returns one"
            )
        self.target = strategy
        self.limit = limit or TimeLimit()
        self.candidates = read_names(candidates) if isinstance(candidates, str) else candidates
        self.options = dict(options or {})
        self.entry: Entry | None = plugin_host().strategies.get(strategy) if isinstance(strategy, str) else None
        if self.entry is not None and is_reference(strategy):
            self.target = absolute_reference(str(strategy))  # the other process has another folder
            # By that it is created; a function and an instance have no options.
            self.entry = replace(self.entry, name=self.target) if isinstance(self.entry.target, type) else None
        first = self.create()
        self.name = first.name or type(first).__name__
        self.origin = str(self.entry.provider) if self.entry is not None else ""
        self.is_selector = isinstance(first, SelectorStrategy)
        if isinstance(first, SelectorStrategy) and first.candidate_words:
            self.candidates = list(first.candidates)  # the other process may know others
        self.changes_training = first.changes_training
        self.home = _file_of(type(first))
        self.calls = ViewCalls()
        self._measured: dict[object, Any] = {}
        self._answers: dict[tuple[Problem, int], MeasuredAnswer] = {}
        self._states: dict[tuple[Problem, int], dict[str, Any]] = {}
        self._refusals: dict[str, str | None] = {}

    def create(self) -> Strategy:
        """Return a new strategy."""
        if isinstance(self.target, str):
            return create_with_options(self.target, self.candidates, self.options)
        arguments = dict(self.options)
        if isinstance(self.target, type):
            arguments = resolve_options(self.target.__name__, self.target, arguments)
            if issubclass(self.target, SelectorStrategy):
                given = self.candidates or self.target.default_candidates
                selection = CandidateSelection.parse(given, self.target.__name__)
                arguments["candidates"] = {name: create_strategy(name) for name in selection.names}
        strategy = self.target(**arguments)
        if not isinstance(strategy, Strategy):
            raise InputError(f"{self.target!r} returns {type(strategy).__name__}, not a Strategy")
        return strategy

    @cached_property
    def kind(self) -> str:
        """The kind of data that checks use by default: vectors, or images if the strategy refuses vectors."""
        for kind in ("vectors", "images"):
            if self.refusal(kind) is None:
                return kind
        raise CheckFailedError(
            "a strategy that accepts vectors or images with the built-in models",
            f"both were refused: {self.refusal('vectors')}",
            "say in wrap_trainer's InputError which model it needs, or accept the built-in ones",
        )

    @cached_property
    def problem(self) -> Problem:
        """The pool that checks use by default."""
        return blobs(self.kind)

    @cached_property
    def reference(self) -> MeasuredAnswer:
        """The answer of a new strategy on `problem` with seed 0."""
        return self.answer(self.problem)

    @property
    def other_seed(self) -> MeasuredAnswer:
        """The answer of a new strategy on `problem` with seed 1; always after `reference`."""
        _ = self.reference
        return self.answer(self.problem, seed=1)

    @cached_property
    def is_slow(self) -> bool:
        """Whether checks should run as few queries as possible."""
        try:
            # The first query may include imports.
            return self.reference.is_slow and self.other_seed.is_slow
        except CheckFailedError:
            return False

    @cached_property
    def is_random(self) -> bool:
        """Whether its picks on `problem` change with the context's random key."""
        expected = set(self.reference.indices.tolist())
        context = self.context(self.problem)
        return any(set(self.ask_in(context.rebuild(purpose=key), BATCH).indices.tolist()) != expected for key in KEYS)

    def measured(self, what: object, measure: Callable[[], Any]) -> Any:
        """Return the measurement of this name, which is made when it is first asked for."""
        if what not in self._measured:
            self._measured[what] = measure()
        return self._measured[what]

    def forget(self, what: object) -> Any:
        """Remove and return the measurement of this name; None if there is none."""
        return self._measured.pop(what, None)

    def refusal(self, kind: str) -> str | None:
        """Return why a learner with this strategy refuses a kind of data before any training, or None."""
        if kind not in self._refusals:
            try:
                self._new_learner(blobs(kind), self.create(), 0, CPU)
                self._refusals[kind] = None
            except InputError as error:
                self._refusals[kind] = str(error)
        return self._refusals[kind]

    def require(self, kind: str) -> None:
        """Skip the check if the strategy refuses a kind of data."""
        reason = self.refusal(kind)
        if reason is not None:
            raise CheckSkippedError(f"the strategy refuses {kind}: {reason}")

    def learner(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        strategy: Strategy | None = None,
        device: torch.device = CPU,
        sharp: bool = False,
    ) -> ActiveLearner:
        """Return a learner that has the problem's labels and a trained model.

        Models are trained once and loaded afterwards, so a strategy's changes do not reach the next check.

        Args:
            problem: The pool.
            seed: Seed of everything random.
            strategy: The strategy; by default a new one.
            device: The device for computing.
            sharp: Whether to scale the classifier so that probabilities are exactly 0 and 1.
        """
        self.limit.require()
        known = self._states if self.changes_training else _plain_states
        key = (problem, seed)
        if key not in known:
            trained = self._new_learner(problem, self.create() if self.changes_training else Strategy(), seed, CPU)
            trained.tell(problem.labeled, problem.labels[problem.labeled])
            trained.fit()
            known[key] = {**trained.state_dict(), "strategy": {}}
        learner = self._new_learner(problem, strategy or self.create(), seed, device)
        learner.load_state_dict(known[key])
        if sharp:
            _sharpen(learner.fit())
            learner._trainer = _SharpTrainer(learner._trainer)
        return learner

    def context(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        strategy: Strategy | None = None,
        device: torch.device = CPU,
        sharp: bool = False,
    ) -> QueryContext:
        """Return the first round's context (see `learner`)."""
        learner = self.learner(problem, seed=seed, strategy=strategy, device=device, sharp=sharp)
        return learner._context(learner.fit(), learner.unlabeled_indices)

    def answer(self, problem: Problem, *, seed: int = 0) -> MeasuredAnswer:
        """Return the answer of a new strategy; it is queried once, and checks compare with the result."""
        if (problem, seed) not in self._answers:
            before = process_state()  # its changes must not reach the next query
            try:
                self._answers[problem, seed] = self.ask(problem, seed=seed)
            finally:
                restore_process(before)
        return self._answers[problem, seed]

    def ask(
        self,
        problem: Problem,
        batch_size: int = BATCH,
        *,
        seed: int = 0,
        strategy: Strategy | None = None,
        sharp: bool = False,
    ) -> MeasuredAnswer:
        """Query a strategy, by default a new one, in a new context; fail unless the batch is exact."""
        strategy = strategy or self.create()
        context = self.context(problem, seed=seed, strategy=strategy, sharp=sharp)
        return self.ask_in(context, batch_size, strategy=strategy)

    def ask_in(self, context: QueryContext, batch_size: int, *, strategy: Strategy | None = None) -> MeasuredAnswer:
        """Query a strategy, by default a new one, in a context; fail unless the batch is exact."""
        self.limit.require()
        strategy = strategy or self.create()
        size = len(context.candidates)
        expected = f"{batch_size} distinct pool indices of the {size} candidates"
        calls = ViewCalls()
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            with calls.record():
                given = strategy.query(context, batch_size)
        except Exception as error:
            advice = "make query work in the case that gives the check its name"
            if isinstance(error, QueryError) and isinstance(strategy, ScoringStrategy):
                advice = "return one number for each candidate from score, and no NaN"
            raise CheckFailedError(expected, format_failure(error, self.home), advice) from error
        finally:
            self.calls.calls.update(calls.calls)
        seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu_start
        answer = given if isinstance(given, Query) else Query(given)
        try:
            checked = check_query(strategy, Query(answer.indices), context.candidates.indices, batch_size)
        except QueryError as error:
            raise CheckFailedError(
                expected,
                str(error).partition("; expected")[0].removeprefix(f"{strategy} "),
                "return context.candidates.indices[positions] with batch_size distinct positions",
            ) from error
        report = answer.report
        if isinstance(report, Mapping):
            report = {**context.reported, **report}
        return MeasuredAnswer(np.asarray(checked.indices), report, seconds, cpu_seconds, calls)

    def ask_learner(self, learner: ActiveLearner, batch_size: int = BATCH) -> NDArray[np.int64]:
        """Ask a learner for a batch; its errors are not caught."""
        self.limit.require()
        with self.calls.record():
            return learner.ask(batch_size)

    def _new_learner(self, problem: Problem, strategy: Strategy, seed: int, device: torch.device) -> ActiveLearner:
        # Always a network: checks look at its weights, modes and statistics.
        shape = problem.pool.shape[1:] if problem.pool.ndim == 2 else problem.pool.transpose(0, 3, 1, 2).shape[1:]
        model = choose_model(shape, by_gradient=True) if problem.model == AUTO else problem.model
        return ActiveLearner(
            problem.pool, strategy, problem.n_classes, model=model, recipe=QUICK, seed=seed, device=device,
            n_rounds=problem.n_rounds,
        )  # fmt: skip


class _SharpTrainer:
    """Trains like another trainer, then makes the model's probabilities exactly 0 and 1."""

    def __init__(self, trainer: TrainerProtocol) -> None:
        self._trainer = trainer

    def fit(self, *data: Any, **settings: Any) -> FittedModel:
        """Return a trained model whose probabilities are 0 and 1."""
        return _sharpen(self._trainer.fit(*data, **settings))


def _sharpen(model: FittedModel) -> FittedModel:
    with torch.no_grad():
        for weights in model.module.head.parameters():
            weights.mul_(1e6)
    return model


def _file_of(cls: type) -> str | None:
    try:
        return inspect.getsourcefile(cls)
    except (OSError, TypeError):  # a class defined in an interactive session
        return None
