"""Observe one query, and record what it changes in the process, the model, the context and the views' outputs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.isolation.process_state import changed
from deepal_autoal.testing.observation import (
    context_state,
    model_state,
    process_state,
    reseed_globals,
    restore_process,
)
from deepal_autoal.testing.subject import BATCH

if TYPE_CHECKING:
    from deepal_autoal.querying.context import PoolView, QueryContext
    from deepal_autoal.testing.observation import ViewCall
    from deepal_autoal.testing.subject import MeasuredAnswer, Subject

_MOST_PARTS = 3


@dataclass(frozen=True)
class Traces:
    """The side effects of an observed query.

    Attributes:
        answer: The answer of a new strategy, after another instance and with other global random states.
        process: What it changed in the process.
        model: What it changed in the model and the context.
        outputs: What it changed in the views' results, indices and labels, and in the pool.
    """

    answer: MeasuredAnswer
    process: list[str]
    model: list[str]
    outputs: list[str]


def watch(subject: Subject, *, sharp: bool = False) -> Traces:
    """Query a new strategy, and compare everything before and after.

    Args:
        subject: Creates the strategy.
        sharp: See `Subject.learner`.
    """
    asked = subject.reference.calls.calls  # run first: imports may set filters and variables, once
    _ = subject.other_seed
    strategy = subject.create()
    pool = subject.problem.pool.copy()
    context = subject.context(subject.problem, strategy=strategy, sharp=sharp)
    handed_out = _tensors(context, asked)
    versions = {name: (value.clone(), value._version) for name, value in handed_out.items()}
    indices = {name: _view(context, name).indices.copy() for name in ("candidates", "labeled")}
    model = {**model_state(context.model), **context_state(context)}
    reseed_globals(1)
    before = process_state()
    try:
        answer = subject.ask_in(context, BATCH, strategy=strategy)
    finally:
        process = restore_process(before)
        pool_changed = not np.array_equal(pool, subject.problem.pool)
        subject.problem.pool[...] = pool
    lines = _changed_parts(model, {**model_state(context.model), **context_state(context)})
    # The tensors themselves, and what the next strategy would get instead of them.
    again = _tensors(context, asked)
    outputs = [
        name
        for name, value in handed_out.items()
        if value.requires_grad
        or value._version != versions[name][1]
        or not _equal(value, versions[name][0])
        or not _equal(again[name], versions[name][0])
    ]
    outputs += [
        f"{name}.indices" for name, old in indices.items() if not np.array_equal(old, _view(context, name).indices)
    ]
    outputs += ["the pool's samples"] * pool_changed
    return Traces(answer, process, lines, outputs)


def _changed_parts(before: dict[str, dict[str, Any]], after: dict[str, dict[str, Any]]) -> list[str]:
    lines = []
    for what in before:
        parts = changed(before[what], after[what])
        if parts:
            more = f" and {len(parts) - _MOST_PARTS} more" if len(parts) > _MOST_PARTS else ""
            lines.append(f"{what} of {', '.join(parts[:_MOST_PARTS])}{more}")
    return lines


def _tensors(context: QueryContext, asked: Iterable[ViewCall]) -> dict[str, torch.Tensor]:
    """Return, by name, the tensors that the strategy will ask for, and the cheap ones that it might ask for."""
    tensors = {"labeled.labels": context.labeled.labels}
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
                tensors[f"{name}.{method}()" + (f"[{number}]" if isinstance(parts, tuple) else "")] = tensor
    return tensors


def _view(context: QueryContext, name: str) -> PoolView:
    view: PoolView = getattr(context, name)
    return view


def _equal(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.dtype != other.dtype or one.shape != other.shape:
        return False
    return torch.equal(one.nan_to_num(), other.nan_to_num()) if one.is_floating_point() else torch.equal(one, other)
