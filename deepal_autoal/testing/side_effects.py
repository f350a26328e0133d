"""Checks that a query has no side effects; all read one observed query."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.testing.evidence import traces_of
from deepal_autoal.testing.report import CheckFailedError
from deepal_autoal.testing.traces import watch

if TYPE_CHECKING:
    from deepal_autoal.testing.subject import Subject

_REMEDY = {
    "random's": "draw from context.rng",
    "numpy's": "draw from context.rng, and use numpy.errstate for error handling",
    "torch's": "draw from context.generator; where torch has only the global one (new layers, dropout), use "
    "deepal_autoal.global_torch_seed; set modes with torch's context managers",
    "the warnings": "use warnings.catch_warnings",
}


def process_is_untouched(subject: Subject) -> None:
    """Global generators, torch's modes and threads, warnings filters and environment are unchanged by the query."""
    different = traces_of(subject).process
    if different:
        remedies = {remedy for name in different for start, remedy in _REMEDY.items() if name.startswith(start)}
        raise CheckFailedError(
            "the process as it was before the query",
            f"changed: {', '.join(different)}",
            "; ".join(sorted(remedies)) or "restore it before query returns",
        )


def model_is_untouched(subject: Subject) -> None:
    """The model's weights, statistics, modes, flags, gradients, hooks and settings, and the context, are unchanged."""
    if traces_of(subject).model:
        raise CheckFailedError(
            "context and context.model as they were before the query",
            f"changed: {'; '.join(traces_of(subject).model)}",
            "work on copy.deepcopy(context.model.module), or use the views' methods, which change nothing",
        )


def outputs_are_untouched(subject: Subject) -> None:
    """The tensors, labels and indices that views return to all strategies of a round, and the pool, are unchanged."""
    lines = traces_of(subject).outputs
    if not lines and not subject.is_slow:
        try:
            lines = watch(subject, sharp=True).outputs
        except CheckFailedError:
            return  # reported by `certain_predictions_work`
    if lines:
        raise CheckFailedError(
            "the context's outputs as they were before the query",
            f"changed: {', '.join(lines)}",
            "clone() a tensor before operations that end in _ or assign to its elements (also through .numpy()), "
            "and set nothing on the context or its views",
        )
