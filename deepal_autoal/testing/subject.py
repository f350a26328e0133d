"""The strategy under test: makes fresh ones, and the learners and contexts to ask them in."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.candidates import names_of, resolve_words
from deepal_autoal.errors import InputError, QueryError
from deepal_autoal.factory import create_strategy
from deepal_autoal.learner import ActiveLearner
from deepal_autoal.models import AUTO, choose_model
from deepal_autoal.options import resolve_options
from deepal_autoal.plugins import plugin_host
from deepal_autoal.strategy import Query, ScoringStrategy, SelectorStrategy, Strategy, check_query
from deepal_autoal.testing.faults import spell_error
from deepal_autoal.testing.observation import ViewCalls, process_state, restore_process
from deepal_autoal.testing.problems import QUICK, Problem, blobs
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.context import QueryContext
    from deepal_autoal.fitted import FittedModel
    from deepal_autoal.registry import Entry
    from deepal_autoal.testing.large_pool import LargeQuery
    from deepal_autoal.testing.other_process import OtherProcess
    from deepal_autoal.testing.traces import Traces
    from deepal_autoal.training import TrainerProtocol

BATCH = 7
# For a batch that is asked for before the one that counts.
OTHER_SIZE = 4
# Seconds of the processor for one query above which checks make fewer of them.
SLOW = 0.15
# Names of random streams of rebuilt contexts.
KEYS = ("again", "and again", "once more")
CPU = torch.device("cpu")

# States of learners that plain training made; all subjects share them.
_plain_states: dict[tuple[Problem, int], dict[str, Any]] = {}


@dataclass(frozen=True)
class Answer:
    """A strategy's checked answer.

    Attributes:
        indices: Pool indices, int64 (b,).
        report: As the strategy gave it, unchecked.
        seconds: How long the query took.
        cpu_seconds: Of the processor, which do not depend on what else the machine does.
        calls: The outputs that it asked for.
    """

    indices: NDArray[np.int64]
    report: Any
    seconds: float
    cpu_seconds: float
    calls: ViewCalls


class Subject:
    """A strategy under test.

    Args:
        strategy: A registered name, a `Strategy` class, or a function without arguments that returns a new strategy.
        candidates: Names of a selector's candidates; its defaults otherwise.
        options: Constructor options.

    Attributes:
        name: The registered name, or the class's.
        entry: The registered entry, or None.
        calls: The outputs that it asked for in all queries so far.
        large_queries: What was measured of queries on large pools, by their sizes.

    Raises:
        DeepALError: If the strategy cannot be made (see `create_strategy`).
    """

    def __init__(
        self,
        strategy: str | Callable[..., Strategy],
        candidates: Sequence[str] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if not callable(strategy) and not isinstance(strategy, str):
            raise InputError(
                f"{strategy!r} is checked many times over, each time anew: give its name, its class or a function "
                "that makes one"
            )
        self.target = strategy
        self.candidates = candidates.split(",") if isinstance(candidates, str) else candidates
        self.options = dict(options or {})
        self.entry: Entry | None = plugin_host().strategies.get(strategy) if isinstance(strategy, str) else None
        made = self.create()
        self.name = made.name or type(made).__name__
        self.origin = str(self.entry.provider) if self.entry is not None else ""
        self.is_selector = isinstance(made, SelectorStrategy)
        if isinstance(made, SelectorStrategy) and made.candidate_words:
            self.candidates = list(made.candidates)  # the other process may know others
        self.changes_training = made.changes_training
        self.home = _file_of(type(made))
        self.calls = ViewCalls()
        self.large_queries: dict[tuple[int, ...], LargeQuery] = {}
        self._answers: dict[tuple[Problem, int], Answer] = {}
        self._states: dict[tuple[Problem, int], dict[str, Any]] = {}
        self._refusals: dict[str, str | None] = {}
        self._other_process: OtherProcess | None = None

    def create(self) -> Strategy:
        """Return a new strategy."""
        if isinstance(self.target, str):
            return create_strategy(self.target, self.candidates, **self.options)
        arguments = dict(self.options)
        if isinstance(self.target, type):
            arguments = resolve_options(self.target.__name__, self.target, arguments)
            if issubclass(self.target, SelectorStrategy):
                given = self.candidates or self.target.default_candidates
                names = names_of(resolve_words(self.target.__name__, given))
                arguments["candidates"] = {name: create_strategy(name) for name in names}
        made = self.target(**arguments)
        if not isinstance(made, Strategy):
            raise InputError(f"{self.target!r} gives {type(made).__name__}, no Strategy")
        return made

    @cached_property
    def kind(self) -> str:
        """The kind of data that checks use where it does not matter: vectors, or images if it takes no vectors."""
        for kind in ("vectors", "images"):
            if self.refusal(kind) is None:
                return kind
        raise CheckFailedError(
            "a strategy that takes vectors or images with the built-in models",
            f"both were refused: {self.refusal('vectors')}",
            "say in wrap_trainer's InputError what model it needs, or take plain ones",
        )

    @cached_property
    def problem(self) -> Problem:
        """The pool that checks use where it does not matter."""
        return blobs(self.kind)

    @cached_property
    def reference(self) -> Answer:
        """The answer of a new strategy on `problem` with seed 0."""
        return self.answer(self.problem)

    @property
    def other_seed(self) -> Answer:
        """The answer of a new strategy on `problem` with seed 1; always after `reference`."""
        _ = self.reference
        return self.answer(self.problem, seed=1)

    @cached_property
    def is_slow(self) -> bool:
        """Whether checks should make as few queries as they can."""
        try:
            # A first query may have imports of its own.
            return self.reference.cpu_seconds > SLOW and self.other_seed.cpu_seconds > SLOW
        except CheckFailedError:
            return False

    @cached_property
    def is_random(self) -> bool:
        """Whether its picks on `problem` change with the context's random key."""
        expected = set(self.reference.indices.tolist())
        context = self.context(self.problem)
        return any(set(self.ask_in(context.rebuild(purpose=key), BATCH).indices.tolist()) != expected for key in KEYS)

    @cached_property
    def traces(self) -> Traces:
        """What a query on `problem` leaves behind."""
        from deepal_autoal.testing.traces import watch

        return watch(self)

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
        words = self.refusal(kind)
        if words is not None:
            raise CheckSkippedError(f"the strategy refuses {kind}: {words}")

    def learner(
        self,
        problem: Problem,
        *,
        seed: int = 0,
        strategy: Strategy | None = None,
        device: torch.device = CPU,
        sharp: bool = False,
    ) -> ActiveLearner:
        """Return a learner that has been told the problem's labels and whose model is trained.

        Models are trained once and loaded from then on, so that nobody's changes reach the next check.

        Args:
            problem: The pool.
            seed: Of everything random.
            strategy: A new one by default.
            device: Where it computes.
            sharp: Whether to scale the classifier, so that probabilities are exactly 0 and 1.
        """
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

    def answer(self, problem: Problem, *, seed: int = 0) -> Answer:
        """Return the answer of a new strategy; asked for once, for checks that need it to compare with."""
        if (problem, seed) not in self._answers:
            before = process_state()  # what it changes there must not reach the next one
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
    ) -> Answer:
        """Ask a strategy, a new one by default, in a new context; fails unless the batch is exact."""
        strategy = strategy or self.create()
        context = self.context(problem, seed=seed, strategy=strategy, sharp=sharp)
        return self.ask_in(context, batch_size, strategy=strategy)

    def ask_in(self, context: QueryContext, batch_size: int, *, strategy: Strategy | None = None) -> Answer:
        """Ask a strategy, a new one by default, in a context; fails unless the batch is exact."""
        strategy = strategy or self.create()
        size = len(context.candidates)
        expected = f"{batch_size} distinct pool indices of the {size} candidates"
        calls = ViewCalls()
        start, cpu_start = time.perf_counter(), time.process_time()
        try:
            with calls.record():
                given = strategy.query(context, batch_size)
        except Exception as error:
            advice = "make query work in the case that the check is named after"
            if isinstance(error, QueryError) and isinstance(strategy, ScoringStrategy):
                advice = "return one number, no NaN, for each candidate from score"
            raise CheckFailedError(expected, spell_error(error, self.home), advice) from error
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
        return Answer(np.asarray(checked.indices), report, seconds, cpu_seconds, calls)

    def ask_learner(self, learner: ActiveLearner, batch_size: int = BATCH) -> NDArray[np.int64]:
        """Ask a learner; its own errors come through."""
        with self.calls.record():
            return learner.ask(batch_size)

    def start_other_process(self) -> OtherProcess:
        """Return the process that asks the same questions; started once."""
        if self._other_process is None:
            from deepal_autoal.testing.other_process import OtherProcess

            self._other_process = OtherProcess(self)
        return self._other_process

    def close(self) -> None:
        """End the other process, if it still runs."""
        if self._other_process is not None:
            self._other_process.close()
            self._other_process = None

    def _new_learner(self, problem: Problem, strategy: Strategy, seed: int, device: torch.device) -> ActiveLearner:
        # A network, whatever fits the data best: checks look at its weights, modes and statistics.
        shape = problem.pool.shape[1:] if problem.pool.ndim == 2 else problem.pool.transpose(0, 3, 1, 2).shape[1:]
        model = choose_model(shape, by_gradient=True) if problem.model == AUTO else problem.model
        return ActiveLearner(
            problem.pool, strategy, problem.n_classes, model=model, recipe=QUICK, seed=seed, device=device,
            n_rounds=problem.n_rounds,
        )  # fmt: skip


class _SharpTrainer:
    """Trains as another trainer does, then makes the model's probabilities exactly 0 and 1."""

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
    except TypeError:  # a class typed into an interpreter
        return None
