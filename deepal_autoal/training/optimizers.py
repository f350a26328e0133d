"""Optimizers and learning-rate schedules by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch

if TYPE_CHECKING:
    from torch import nn

    from deepal_autoal.training.recipe import Recipe

AnyOptimizer = TypeVar("AnyOptimizer", bound=torch.optim.Optimizer)

# Optimizer methods, besides ``step``, that torch wraps to exclude them from its compiler.
_LEFT_ALONE = ("add_param_group", "load_state_dict", "state_dict", "zero_grad")

# When onecycle peaks, and its first and last learning rates relative to the highest.
_PEAK, _START, _END = 0.3, 1 / 25, 1e-5


def without_compiler(kind: type[AnyOptimizer]) -> type[AnyOptimizer]:
    """Return a subclass of a torch optimizer that computes the same without importing torch's compiler.

    Otherwise the first optimizer of a process imports ``torch._dynamo`` and, with it, about a thousand modules, which
    takes longer than importing torch, because its methods are wrapped to exclude them from the compiler. The returned
    class has the unwrapped methods. If a version of torch wraps them differently, they are unchanged, and the
    compiler is imported. Models may be compiled; code that is compiled together with its optimizer's steps needs
    torch's own class.

    Args:
        kind: The class, such as ``torch.optim.Adam``.
    """
    return cast("type[AnyOptimizer]", _without_compiler(cast("Any", kind)))


@cache
def _without_compiler(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    bare_step: Callable[..., Any] = inspect.unwrap(kind.step)

    def step(self: torch.optim.Optimizer, closure: Callable[[], float] | None = None) -> Any:
        with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
            return bare_step(self, closure)

    methods = {name: inspect.unwrap(getattr(kind, name)) for name in _LEFT_ALONE}
    return type(kind.__name__, (kind,), {**methods, "step": step, "__doc__": kind.__doc__})


def _adam(parameters: Iterable[nn.Parameter], recipe: Recipe, fused: bool) -> torch.optim.Optimizer:
    return without_compiler(torch.optim.Adam)(
        parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused
    )


def _adamw(parameters: Iterable[nn.Parameter], recipe: Recipe, fused: bool) -> torch.optim.Optimizer:
    return without_compiler(torch.optim.AdamW)(
        parameters, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=fused
    )


def _sgd(parameters: Iterable[nn.Parameter], recipe: Recipe, fused: bool) -> torch.optim.Optimizer:
    return without_compiler(torch.optim.SGD)(
        parameters, recipe.learning_rate, momentum=recipe.momentum, weight_decay=recipe.weight_decay,
        nesterov=recipe.momentum > 0, fused=fused,
    )  # fmt: skip


_OPTIMIZERS: dict[str, Callable[[Iterable[nn.Parameter], Recipe, bool], torch.optim.Optimizer]] = {
    "adam": _adam,
    "adamw": _adamw,
    "sgd": _sgd,
}


def make_optimizer(parameters: Iterable[nn.Parameter], recipe: Recipe, device: torch.device) -> torch.optim.Optimizer:
    """Return the recipe's optimizer, in torch's fused form where the device has one."""
    return _OPTIMIZERS[recipe.optimizer](parameters, recipe, device.type in ("cpu", "cuda"))


def _constant(progress: float) -> float:
    return 1.0


def _cosine(progress: float) -> float:
    return (1.0 + math.cos(math.pi * progress)) / 2.0


def _onecycle(progress: float) -> float:
    if progress < _PEAK:
        return _START + (1.0 - _START) * progress / _PEAK
    return _END + (1.0 - _END) * _cosine((progress - _PEAK) / (1.0 - _PEAK))


_SCHEDULES: dict[str, Callable[[float], float]] = {"constant": _constant, "cosine": _cosine, "onecycle": _onecycle}


def set_learning_rate(optimizer: torch.optim.Optimizer, recipe: Recipe, progress: float) -> None:
    """Set the schedule's learning rate for a step.

    Args:
        optimizer: Created by `make_optimizer`.
        recipe: Its recipe.
        progress: Share of the steps taken so far, in [0, 1).
    """
    for group in optimizer.param_groups:
        group["lr"] = recipe.learning_rate * _SCHEDULES[recipe.schedule](progress)
