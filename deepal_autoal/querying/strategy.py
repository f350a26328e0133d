"""The contract of a query strategy: what the core calls, and what it accepts as an answer.

Loading this module imports neither torch nor numpy, so a plugin that only defines strategies costs a listing
nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from deepal_autoal.errors import InputError, QueryError
from deepal_autoal.isolation.blame import Provider
from deepal_autoal.jsonable import to_jsonable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from deepal_autoal.querying.context import QueryContext
    from deepal_autoal.training.trainer import Trainer, TrainerProtocol


Requirement = Literal["inputs", "probabilities", "embeddings", "mc_dropout", "ensemble", "gradients", "differentiable"]


@dataclass(frozen=True)
class Query:
    """A batch that a strategy chose.

    Attributes:
        indices: Pool indices (not positions in a view), distinct, exactly as many as requested.
        report: JSON-able values for the round's record, such as learned weights or losses.
    """

    indices: ArrayLike
    report: Mapping[str, Any] = field(default_factory=dict)


class Strategy:
    """Chooses the next batch to label.

    Constructor arguments are the strategy's options (``-o key=value``); check them there and annotate them so the
    command line can convert them.

    Attributes:
        requires: What the strategy needs from the model, a subset of ``{"inputs", "probabilities", "embeddings",
            "mc_dropout", "ensemble", "gradients", "differentiable"}``; anything a model lacks is reported before
            training starts. All but the last are outputs; ``differentiable``: gradients of the logits with respect
            to the model's inputs and embeddings.
        name: The name it was created by, or the class's name.
        options: Its constructor options, JSON-able.
        provider: The distribution that provides it; None if it was constructed directly.
    """

    requires: frozenset[Requirement] = frozenset()
    name: str = ""
    options: Mapping[str, Any] = {}
    provider: Provider | None = None
    # Digest of what it does, if it was given as an object: then no version says that it has changed.
    _code: str = ""
    # Digest of the attributes with its constructor's arguments, when `_code` was computed.
    _code_of_arguments: str = ""
    # Where it is defined, as ``file.py:Name``, if it was asked for so.
    _source: str = ""

    def query(self, context: QueryContext, batch_size: int) -> Query | ArrayLike:
        """Choose exactly ``batch_size`` distinct pool indices from ``context.candidates.indices``."""
        raise TypeError(f"{type(self).__name__} does not implement query(context, batch_size)")

    def choice_probabilities(self, context: QueryContext, batch_size: int) -> Tensor | None:
        """Return each candidate's probability of being queried, (n_candidates,), summing to ``batch_size``.

        For strategies that draw at random; selectors that use importance weighting need it. None, the default, means
        that the context determines the batch: the probability is 1 for its samples and 0 for others.
        """
        return None

    def picks_in_turn(self, context: QueryContext, batch_size: int, taken: Sequence[int]) -> Iterator[int]:
        """Yield one pick at a time, given what others took in between, for selectors that mix their candidates' picks.

        By default the batch of one `query` in its order, without what others took: it lasts, as each sample of it is
        taken by this strategy or by another. Override it where a choice can take account of what others took, as in
        greedy strategies, at about the cost of one query. If nobody else takes anything, the picks are the samples
        that `query` returns in the same context. Torch's modes must not differ at a ``yield``.

        Args:
            context: The round; values given to its `report` are recorded.
            batch_size: How many samples will be taken in all. The generator may end once they are.
            taken: The pool indices taken so far, in order, including this strategy's own picks; it grows while the
                generator waits. Read only; ``index in taken`` takes constant time.

        Yields:
            Pool indices of candidates that are not in ``taken``.
        """
        query = check_query(self, self.query(context, batch_size), context.candidates.indices, batch_size)
        context.report(**query.report)
        for index in query.indices.tolist():  # type: ignore[union-attr]
            if index not in taken:
                yield index

    def describe_options(self) -> dict[str, Any]:
        """Return the options for the record; override it if an option's value is shorthand for others."""
        return dict(self.options)

    def wrap_trainer(self, trainer: Trainer) -> TrainerProtocol:
        """Return the trainer to use; override it to change how the task model is trained.

        A trainer's ``fit`` gets labeled data and unlabeled data without labels, and returns a fitted model. For
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
            InputError: If there is a state but the strategy keeps none.
        """
        if state:
            raise InputError(f"{self} keeps no state, but was given a state with {sorted(state)}")

    def _check_classes(self, n_classes: int) -> None:
        """Raise an InputError if the strategy cannot choose among samples of so many classes."""

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
        """Return one score per candidate, shape (n_candidates,), higher = more informative; no NaN."""
        raise TypeError(f"{type(self).__name__} does not implement score(context)")

    def query(self, context: QueryContext, batch_size: int) -> Query | ArrayLike:
        """Return the ``batch_size`` candidates with the highest scores."""
        return self.highest(context, self.checked_scores(context), batch_size)

    def highest(self, context: QueryContext, scores: Tensor, batch_size: int) -> NDArray[np.int64]:
        """Return the pool indices of the highest scores, int64 (batch_size,)."""
        from deepal_autoal.numerics.top_scores import top_scores

        positions: NDArray[np.int64] = top_scores(scores, batch_size, context.generator).cpu().numpy()
        return context.candidates.indices[positions]

    def checked_scores(self, context: QueryContext) -> Tensor:
        """Return `score` after checking its shape.

        Raises:
            QueryError: If it is not one number per candidate, or any of them is NaN.
        """
        import torch

        expected = (len(context.candidates),)
        given = self.score(context)
        try:
            scores = torch.as_tensor(given, device=context.device).detach()
        except (TypeError, ValueError, RuntimeError):
            raise QueryError(
                f"{self}: score() returned {type(given).__name__}; expected one number for each of {expected[0]} "
                "candidates, higher = more informative"
            ) from None
        if tuple(scores.shape) != expected:
            raise QueryError(f"{self}: score() returned shape {tuple(scores.shape)}; expected {expected}")
        if scores.is_complex():
            raise QueryError(f"{self}: score() returned complex numbers; expected real ones")
        # The maximum is NaN if any score is; much faster than checking each.
        if len(scores) and scores.amax().isnan():
            raise QueryError(
                f"{self}: score() returned NaN for {int(scores.isnan().sum())} of {expected[0]} candidates"
            )
        return scores


def check_query(strategy: Strategy, answer: Query | ArrayLike, allowed: NDArray[np.int64], batch_size: int) -> Query:
    """Check a strategy's answer, once, at the core's boundary.

    Args:
        strategy: The strategy; named in the message, with its distribution and version.
        answer: What it returned.
        allowed: The pool indices that may be queried.
        batch_size: How many were requested.

    Returns:
        The query, with indices as an int64 array of shape (batch_size,).

    Raises:
        QueryError: If they are not exactly ``batch_size`` distinct integers from ``allowed``.
    """
    import numpy as np
    import torch

    query = answer if isinstance(answer, Query) else Query(answer)
    raw = query.indices
    expected = f"; expected {batch_size} distinct pool indices of unlabeled candidates"
    try:
        values = raw.detach().cpu().numpy() if isinstance(raw, torch.Tensor) else np.asarray(raw)
    except ValueError as error:
        raise QueryError(f"{strategy} did not return an array ({error}){expected}") from error
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
        raise QueryError(f"{strategy} returned duplicates (for example index {repeated[0]}){expected}")
    outside = indices[~np.isin(indices, allowed)]
    if len(outside):
        raise QueryError(
            f"{strategy} returned {len(outside)} indices that are labeled or not in the pool "
            f"(for example index {outside[0]}){expected}"
        )
    report = check_report(strategy, query.report)
    indices.setflags(write=False)
    return Query(indices, report)


def check_report(strategy: Strategy, report: Mapping[str, Any]) -> dict[str, Any]:
    """Return a strategy's report as JSON-able values.

    Raises:
        QueryError: If it is not a mapping of values that JSON can hold.
    """
    if not isinstance(report, Mapping):
        raise QueryError(f"{strategy} returned a report of type {type(report).__name__}; expected a mapping")
    try:
        checked: dict[str, Any] = to_jsonable(report)
    except ValueError as error:
        raise QueryError(f"{strategy} returned a report that JSON cannot hold: {error}") from None
    return checked
