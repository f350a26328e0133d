"""Checks that a query leaves everything as it was."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.testing.observation import changed, model_state, process_state, restore_process
from deepal_autoal.testing.report import CheckFailedError
from deepal_autoal.testing.subject import BATCH

if TYPE_CHECKING:
    from deepal_autoal.context import PoolView, QueryContext
    from deepal_autoal.testing.observation import ViewCall
    from deepal_autoal.testing.subject import Subject

_REMEDY = {
    "random's": "draw from context.rng",
    "numpy's": "draw from context.rng, and use numpy.errstate for error handling",
    "torch's": "draw from context.generator; where torch has the global one only (new layers, dropout), use "
    "deepal_autoal.global_torch_seed; set modes with torch's context managers",
    "the warnings": "use warnings.catch_warnings",
}


def process_is_untouched(subject: Subject) -> None:
    """Global generators, torch's modes and threads, warnings filters and environment are as before the query."""
    before = process_state()
    try:
        _ = subject.reference  # its imports may set filters and variables, once
    finally:
        restore_process(before)
    strategy = subject.create()
    context = subject.context(subject.problem, strategy=strategy)
    before = process_state()
    try:
        subject.ask_in(context, BATCH, strategy=strategy)
    finally:
        different = restore_process(before)
    if different:
        remedies = {remedy for name in different for start, remedy in _REMEDY.items() if name.startswith(start)}
        raise CheckFailedError(
            "the process as it was before the query",
            f"changed: {', '.join(different)}",
            "; ".join(sorted(remedies)) or "restore it before query returns",
        )


def model_is_untouched(subject: Subject) -> None:
    """Weights, BatchNorm statistics, train/eval mode, requires_grad flags, gradients and hooks are as before."""
    strategy = subject.create()
    context = subject.context(subject.problem, strategy=strategy)
    before = model_state(context.model)
    subject.ask_in(context, BATCH, strategy=strategy)
    after = model_state(context.model)
    lines = []
    for what in before:
        parts = changed(before[what], after[what])
        if parts:
            shown = ", ".join(parts[:3]) + (f" and {len(parts) - 3} more" if len(parts) > 3 else "")
            lines.append(f"{what} of {shown}")
    if lines:
        raise CheckFailedError(
            "context.model as it was before the query",
            f"changed: {'; '.join(lines)}",
            "work on copy.deepcopy(context.model.module), or use the views' methods, which change nothing",
        )


def outputs_are_untouched(subject: Subject) -> None:
    """Tensors and indices that views hand out, which all strategies of a round share, are as before; so is the pool."""
    asked = subject.reference.calls.calls
    for sharp in (False,) if subject.is_slow else (False, True):
        strategy = subject.create()
        pool = subject.problem.pool.copy()
        context = subject.context(subject.problem, strategy=strategy, sharp=sharp)
        shared = _shared_tensors(context, asked)
        before = {name: (value.clone(), value._version) for name, value in shared.items()}
        indices = {name: _view(context, name).indices.copy() for name in ("candidates", "labeled")}
        try:
            subject.ask_in(context, BATCH, strategy=strategy)
        except CheckFailedError:
            if not sharp:
                raise
            return  # a matter of `certain_predictions_work`
        lines = [
            name
            for name, value in shared.items()
            if value.requires_grad or value._version != before[name][1] or not _equal(value, before[name][0])
        ]
        lines += [
            f"{name}.indices" for name, old in indices.items() if not np.array_equal(old, _view(context, name).indices)
        ]
        if not np.array_equal(pool, subject.problem.pool):
            subject.problem.pool[...] = pool
            lines.append("the pool's samples")
        if lines:
            raise CheckFailedError(
                "what the context hands out as it was before the query",
                f"changed in place: {', '.join(lines)}",
                "clone() a tensor before operations that end in _ or assign to its elements (also through .numpy())",
            )


def _shared_tensors(context: QueryContext, asked: Iterable[ViewCall]) -> dict[str, torch.Tensor]:
    """Return the tensors that the strategy is going to ask for, and the cheap ones that it might, by name."""
    shared = {"labeled.labels": context.labeled.labels}
    for name in ("candidates", "labeled"):
        view = _view(context, name)
        calls: dict[str, Any] = {
            method: partial(getattr(view, method))
            for method in ("logits", "probabilities", "log_probabilities", "embeddings", "gradient_factors")
        }
        for call in asked:
            if call.method in ("mc_probabilities", "ensemble_probabilities"):
                counts = () if call.count is None else (call.count,)
                calls[call.method] = partial(getattr(view, call.method), *counts)
        for method, get in calls.items():
            parts = get()
            for number, tensor in enumerate(parts if isinstance(parts, tuple) else (parts,)):
                shared[f"{name}.{method}()" + (f"[{number}]" if isinstance(parts, tuple) else "")] = tensor
    return shared


def _view(context: QueryContext, name: str) -> PoolView:
    view: PoolView = getattr(context, name)
    return view


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.equal(one.nan_to_num(), other.nan_to_num()) if one.is_floating_point() else torch.equal(one, other)
