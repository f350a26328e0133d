"""The contract of a query strategy: what the core calls, and what it accepts as an answer.

This module imports neither torch nor numpy when it is loaded, so that a plugin that only defines strategies
costs nothing in a listing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from deepal_autoal.errors import DeepALError, InputError, QueryError, is_users_own, message_of, spell
from deepal_autoal.plain import plain
from deepal_autoal.profile import section
from deepal_autoal.registry import BUILTIN_DISTRIBUTION, Provider

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from deepal_autoal.asking import Answer
    from deepal_autoal.context import QueryContext
    from deepal_autoal.training import Trainer, TrainerProtocol


Requirement = Literal["inputs", "probabilities", "embeddings", "mc_dropout", "ensemble", "gradients"]


@dataclass(frozen=True)
class Query:
    """A batch that a strategy chose.

    Attributes:
        indices: Pool indices (not positions in a view), distinct, exactly as many as were asked for.
        report: JSON-able values for the round's record, such as learned weights or losses.
    """

    indices: ArrayLike
    report: Mapping[str, Any] = field(default_factory=dict)


class Strategy:
    """Chooses the next batch to label.

    Constructor arguments are the strategy's options (``-o key=value``); check them there and annotate them, so
    that the command line can convert them.

    Attributes:
        requires: What the strategy needs of the model, a subset of ``{"inputs", "probabilities", "embeddings",
            "mc_dropout", "ensemble", "gradients"}``; what a model lacks is said before any training starts.
        name: The name it was created by, or the class's.
        options: Its constructor options, JSON-able.
        provider: The distribution that it comes from; None when it was constructed directly.
    """

    requires: frozenset[Requirement] = frozenset()
    name: str = ""
    options: Mapping[str, Any] = {}
    provider: Provider | None = None

    def query(self, context: QueryContext, batch_size: int) -> Query | ArrayLike:
        """Choose exactly ``batch_size`` distinct pool indices out of ``context.candidates.indices``."""
        raise TypeError(f"{type(self).__name__} does not implement query(context, batch_size)")

    def choice_probabilities(self, context: QueryContext, batch_size: int) -> Tensor | None:
        """Return each candidate's probability of being queried, (n_candidates,), summing to ``batch_size``.

        For strategies that draw at random; selectors that weigh by importance need it. None, the default, says that
        the batch is decided by what the context shows: the probability is 1 for its samples and 0 for others.
        """
        return None

    def describe_options(self) -> dict[str, Any]:
        """Return the options for the record; override it where an option's value only stands for others."""
        return dict(self.options)

    def wrap_trainer(self, trainer: Trainer) -> TrainerProtocol:
        """Return the trainer to use; override it to change how the task model is trained.

        A trainer's ``fit`` gets labelled data and label-free unlabelled data and returns a fitted model. For
        another loss, further networks or a changed network, return ``trainer.with_objective(...)`` (see
        `Objective`); ``context.model.objective`` is then the trained one. Runs of a strategy that overrides this
        are recorded as having changed training.
        """
        return trainer

    def state_dict(self) -> dict[str, Any]:
        """Return what the strategy remembers between rounds: numbers, strings, lists, dicts, arrays, tensors."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: If there is a state but the strategy has no memory.
        """
        if state:
            raise InputError(f"{self} has no memory, but a state with {sorted(state)} was given to it")

    @property
    def changes_training(self) -> bool:
        """Whether the strategy overrides `wrap_trainer`."""
        return type(self).wrap_trainer is not Strategy.wrap_trainer

    def __str__(self) -> str:
        origin = f" of {self.provider}" if self.provider is not None else ""
        return f"strategy {self.name or type(self).__name__!r}{origin}"


class ScoringStrategy(Strategy):
    """Scores every candidate and queries the highest scores; ties are broken by the context's generator."""

    def score(self, context: QueryContext) -> Tensor:
        """Return one score a candidate, shape (n_candidates,), higher = more informative; no NaN."""
        raise TypeError(f"{type(self).__name__} does not implement score(context)")

    def query(self, context: QueryContext, batch_size: int) -> Query | ArrayLike:
        """Return the ``batch_size`` candidates of the highest score."""
        return self.highest(context, self.checked_scores(context), batch_size)

    def highest(self, context: QueryContext, scores: Tensor, batch_size: int) -> NDArray[np.int64]:
        """Return the pool indices of the highest scores, int64 (batch_size,)."""
        from deepal_autoal.selection import top_scores

        positions: NDArray[np.int64] = top_scores(scores, batch_size, context.generator).cpu().numpy()
        return context.candidates.indices[positions]

    def checked_scores(self, context: QueryContext) -> Tensor:
        """Return `score` after checking its shape.

        Raises:
            QueryError: If it is not one number for each candidate, or any of them is NaN.
        """
        import torch

        scores = torch.as_tensor(self.score(context), device=context.device).detach()
        expected = (len(context.candidates),)
        if tuple(scores.shape) != expected:
            raise QueryError(f"{self}: score() returned shape {tuple(scores.shape)}; expected {expected}")
        # The maximum is NaN if any score is; much faster than asking each.
        if len(scores) and scores.amax().isnan():
            raise QueryError(
                f"{self}: score() returned NaN for {int(scores.isnan().sum())} of {expected[0]} candidates"
            )
        return scores


class SelectorStrategy(Strategy):
    """Composes other registered strategies, its candidates.

    Args:
        candidates: Strategies by name, in the order in which they are reported.

    Attributes:
        default_candidates: The names, or sets such as ``all-cheap``, used where none are given.
        candidates: The candidate strategies by name.
        candidate_words: Where a set such as ``all-cheap`` was given, all words that were, each with the names that it
            stands for; else empty.
    """

    default_candidates: ClassVar[tuple[str, ...]] = ()
    own_requires: ClassVar[frozenset[Requirement]] = frozenset()
    candidate_words: Mapping[str, Sequence[str]] = {}

    def __init__(self, candidates: Mapping[str, Strategy]) -> None:
        if not candidates:
            raise InputError(f"{type(self).__name__} needs at least one candidate strategy")
        self.candidates = dict(candidates)

    @property
    def requires(self) -> frozenset[Requirement]:  # type: ignore[override]
        """The union of the candidates' requirements and the selector's own (``own_requires``)."""
        return self.own_requires.union(*(candidate.requires for candidate in self.candidates.values()))

    def ask_candidate(self, name: str, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return a candidate's checked batch, int64 (batch_size,) (see `consult_candidate`)."""
        return self.consult_candidate(name, context, batch_size).indices

    def consult_candidate(self, name: str, context: QueryContext, batch_size: int) -> Answer:
        """Return a candidate's checked answer: its batch, its report and, if it does nothing but score, its scores.

        Its random streams depend on its name, not on the order of calls. What it reports over the selector's own
        context enters the record under ``candidates``.

        Args:
            name: Of the candidate.
            context: The selector's own, or one that it rebuilt.
            batch_size: How many samples to ask for.

        Raises:
            QueryError: If the candidate fails; names it, with its distribution.
        """
        from deepal_autoal.asking import ask

        with section(f"candidate {name}"):
            answer = ask(self.candidates[name], context.for_candidate(name), batch_size)
        if answer.report:
            # Asked over a rebuilt context, this stays there, as it tells nothing of the round's own query.
            context.reported.setdefault("candidates", {})[name] = dict(answer.report)
        return answer

    def candidate_probabilities(self, name: str, context: QueryContext, batch_size: int) -> Tensor | None:
        """Return a candidate's checked ``choice_probabilities``, (n_candidates,), or None.

        Raises:
            QueryError: If they are not one probability for each candidate sample; names the candidate.
        """
        from deepal_autoal.asking import ask_probabilities

        with section(f"candidate {name}"):
            return ask_probabilities(self.candidates[name], context, batch_size)

    def state_dict(self) -> dict[str, Any]:
        """Return the candidates' memories by name; a selector with a memory of its own adds to it."""
        states = {}
        for name, candidate in self.candidates.items():
            with blaming(candidate, "state_dict"):
                states[name] = candidate.state_dict()
        return {"candidates": states} if any(states.values()) else {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for name, candidate_state in state.get("candidates", {}).items():
            with blaming(self.candidates[name], "load_state_dict"):
                self.candidates[name].load_state_dict(candidate_state)


def check_query(strategy: Strategy, answer: Query | ArrayLike, allowed: NDArray[np.int64], batch_size: int) -> Query:
    """Check a strategy's answer, once, at the core's boundary.

    Args:
        strategy: Who answered; named in the message, with its distribution and version.
        answer: What it returned.
        allowed: The pool indices that may be queried.
        batch_size: How many were asked for.

    Returns:
        The query with indices as int64 array of shape (batch_size,).

    Raises:
        QueryError: If they are not exactly ``batch_size`` distinct integers out of ``allowed``.
    """
    import numpy as np
    import torch

    query = answer if isinstance(answer, Query) else Query(answer)
    raw = query.indices
    expected = f"; expected {batch_size} distinct pool indices of unlabelled candidates"
    try:
        values = raw.detach().cpu().numpy() if isinstance(raw, torch.Tensor) else np.asarray(raw)
    except ValueError as error:
        raise QueryError(f"{strategy} returned what is no array ({error}){expected}") from error
    if values.ndim == 1 and len(values) != batch_size:
        raise QueryError(f"{strategy} returned {len(values)} indices{expected}")
    if values.ndim != 1 or values.dtype.kind not in "iuf":
        raise QueryError(f"{strategy} returned an array of shape {values.shape} and type {values.dtype}{expected}")
    if values.dtype.kind == "f":
        problem = "NaN" if np.isnan(values).any() else f"numbers of type {values.dtype}"
        raise QueryError(f"{strategy} returned {problem}{expected}")
    indices = values.astype(np.int64)
    distinct, counts = np.unique(indices, return_counts=True)
    if len(distinct) < len(indices):
        repeated = distinct[counts > 1]
        raise QueryError(f"{strategy} returned duplicates (index {repeated[0]}, for one){expected}")
    outside = indices[~np.isin(indices, allowed)]
    if len(outside):
        raise QueryError(
            f"{strategy} returned {len(outside)} indices that are labelled or not in the pool "
            f"(index {outside[0]}, for one){expected}"
        )
    if not isinstance(query.report, Mapping):
        raise QueryError(f"{strategy} returned a report of type {type(query.report).__name__}; expected a mapping")
    try:
        report = plain(query.report)
    except ValueError as error:
        raise QueryError(f"{strategy} returned a report that JSON cannot hold: {error}") from None
    indices.setflags(write=False)
    return Query(indices, report)


def _is_raised_here(error: BaseException) -> bool:
    """Return whether it is this package's code, not a plugin's, that raised an error."""
    frame = error.__traceback__
    while frame is not None and frame.tb_next is not None:
        frame = frame.tb_next
    return frame is not None and os.path.dirname(frame.tb_frame.f_code.co_filename) == os.path.dirname(__file__)


@contextmanager
def blaming(culprit: object, doing: str = "query", own_errors: bool = False) -> Iterator[None]:
    """Turn what somebody's code raises inside the block into an error that names it, with the cause chained.

    Args:
        culprit: Whose code it is.
        doing: What it does.
        own_errors: Whether a `DeepALError`, which says how to go on, keeps its kind; a third party is named in it.
    """
    try:
        yield
    except DeepALError as error:
        # Ours name their culprit already; a plugin may raise the class too.
        if isinstance(error, QueryError) and _is_raised_here(error):
            raise
        if own_errors:
            if f"of {BUILTIN_DISTRIBUTION} " in str(culprit):
                raise
            kind = InputError if isinstance(error, InputError) else DeepALError
            raise kind(f"{culprit}: {message_of(error)}") from None
        raise QueryError(f"{culprit} failed in {doing}: {message_of(error)}") from None
    except BaseException as error:
        if is_users_own(error):
            raise
        raise QueryError(f"{culprit} failed in {doing}: {spell(error)}") from error


def describe_strategy(strategy: Strategy) -> dict[str, Any]:
    """Return name, options, distribution and candidates of a strategy as a JSON-able dict, for the record."""
    described: dict[str, Any] = {
        "name": strategy.name or type(strategy).__name__,
        "options": {str(key): plain(value, strict=False) for key, value in strategy.describe_options().items()},
        "requires": sorted(strategy.requires),
        "changes_training": strategy.changes_training,
    }
    if strategy.provider is not None:
        described["distribution"] = strategy.provider.distribution
        described["version"] = strategy.provider.version
    if isinstance(strategy, SelectorStrategy):
        described["candidates"] = [describe_strategy(candidate) for candidate in strategy.candidates.values()]
    return described


def providers_of(strategy: Strategy) -> Sequence[Provider]:
    """Return the distributions of a strategy and of its candidates."""
    own = [strategy.provider] if strategy.provider is not None else []
    if isinstance(strategy, SelectorStrategy):
        for candidate in strategy.candidates.values():
            own.extend(providers_of(candidate))
    return own
