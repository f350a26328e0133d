"""Record the side effects of a query, and the outputs that it asks for."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.isolation import process_state as shared_state
from deepal_autoal.isolation.process_state import Shared, changed
from deepal_autoal.querying.context import PoolView

if TYPE_CHECKING:
    from deepal_autoal.querying.context import QueryContext
    from deepal_autoal.training.fitted_model import FittedModel

# The need that each method of a view implies.
NEEDS = {
    "inputs": "inputs",
    "batches": "inputs",
    "logits": "probabilities",
    "probabilities": "probabilities",
    "log_probabilities": "probabilities",
    "calibrated_log_probabilities": "probabilities",
    "temperature": "probabilities",
    "embeddings": "embeddings",
    "mc_probabilities": "mc_dropout",
    "mc_batches": "mc_dropout",
    "shared_mc_probabilities": "mc_dropout",
    "ensemble_probabilities": "ensemble",
    "gradient_factors": "gradients",
}


# Methods whose one parameter sets how much is computed.
_COUNTED = ("mc_probabilities", "mc_batches", "shared_mc_probabilities", "ensemble_probabilities")
# Methods that return the same as another one, in another form.
_SAME = {"mc_batches": "mc_probabilities", "shared_mc_probabilities": "mc_probabilities"}


@dataclass(frozen=True)
class ViewCall:
    """A strategy's own call of a view's method.

    Attributes:
        method: The method's name.
        count: The number of passes or members asked for; None if left out, and for other methods.
    """

    method: str
    count: int | None = None

    @property
    def need(self) -> str:
        """The output that the call needs from the model."""
        return NEEDS[self.method]


@dataclass
class ViewCalls:
    """The calls of views' methods during a `record` block, without calls that views make themselves.

    Attributes:
        calls: Each kind of call once, in order of first occurrence.
        on_enter, on_exit: Called around each call, whose work is not the strategy's own.
    """

    calls: dict[ViewCall, None] = field(default_factory=dict)
    on_enter: Callable[[], None] = lambda: None
    on_exit: Callable[[], None] = lambda: None
    _depth: int = 0

    @property
    def needs(self) -> frozenset[str]:
        """The outputs that the calls need from the model."""
        return frozenset(call.need for call in self.calls)

    def largest(self, method: str, default: int) -> int:
        """Return the highest number that a method was called with."""
        counts = [call.count for call in self.calls if call.method == method and call.count is not None]
        return max(counts, default=default)

    @contextmanager
    def record(self) -> Iterator[None]:
        """Record inside the block."""
        originals = {name: getattr(PoolView, name) for name in NEEDS}
        for name, original in originals.items():
            setattr(PoolView, name, self._recording(name, original))
        try:
            yield
        finally:
            for name, original in originals.items():
                setattr(PoolView, name, original)

    def _recording(self, name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(original)
        def method(view: PoolView, *arguments: Any, **named: Any) -> Any:
            outermost = self._depth == 0
            if outermost:
                counts = [*arguments, *named.values()] if name in _COUNTED else []
                self.calls[ViewCall(_SAME.get(name, name), int(counts[0]) if counts else None)] = None
                self.on_enter()
            self._depth += 1
            try:
                return original(view, *arguments, **named)
            finally:
                self._depth -= 1
                if outermost:
                    self.on_exit()

        return method


def _set_environment(variables: dict[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


# All that a query must not change, including what the engine allows imports to change.
_SHARED: tuple[Shared, ...] = (
    *shared_state.SHARED,
    Shared("the environment variables", lambda: dict(os.environ), _set_environment),
)


def process_state() -> dict[str, Any]:
    """Return the state that all code in a process shares, by name."""
    return shared_state.process_state(_SHARED)


def restore_process(state: Mapping[str, Any]) -> list[str]:
    """Restore a `process_state`, and return the names of what was different."""
    different = changed(state, process_state())
    shared_state.restore_process(state, _SHARED)
    return different


def reseed_globals(seed: int) -> None:
    """Seed all global CPU generators, so strategies that draw from them are detected."""
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)


def model_state(model: FittedModel) -> dict[str, dict[str, Any]]:
    """Return what a query must not change in a fitted model: kind of state, then part, then value."""
    module = model.objective
    return {
        "weights and statistics": {name: value.detach().clone() for name, value in module.state_dict().items()},
        "train/eval mode": {name or "model": part.training for name, part in module.named_modules()},
        "requires_grad flags": {name: value.requires_grad for name, value in module.named_parameters()},
        "gradients": {name: value.grad is None for name, value in module.named_parameters()},
        "hooks": {
            name or "model": len(part._forward_hooks) + len(part._forward_pre_hooks) + len(part._backward_hooks)
            for name, part in module.named_modules()
        },
        "attributes": {
            f"{name or 'model'}.{key}": repr(value)
            for name, part in module.named_modules()
            for key, value in vars(part).items()
            if key != "training" and _is_plain(value)
        },
        "settings": {
            **{key: repr(getattr(model, key)) for key in ("precision", "seed", "device")},
            **{f"recipe.{entry.name}": repr(getattr(model.recipe, entry.name)) for entry in fields(model.recipe)},
            **{f"metrics[{key!r}]": repr(value) for key, value in model.metrics.items()},
            "module": id(model.module),
        },
    }


def context_state(context: QueryContext) -> dict[str, dict[str, Any]]:
    """Return what a query must not change in its context, in the form of `model_state`."""
    names = ("n_classes", "round", "n_rounds", "device")
    return {"values": {f"context.{name}": repr(getattr(context, name)) for name in names}}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return all(_is_plain(part) for part in value)
    return value is None or isinstance(value, bool | int | float | str)
