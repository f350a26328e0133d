"""Detects side effects of plugin code and undoes them, or stops the run.

How it works: `guarded` records the process's state (see `process_state`) and the model's settings before a plugin call,
and afterwards restores whatever differs. Weights and shared outputs are too large to copy: torch's count of writes to
each tensor, and on request a sum over all weights, show changes to them, and these are errors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import nn

from deepal_autoal.errors import QueryError
from deepal_autoal.isolation.process_state import is_same, process_state, restore_process, warn_restored
from deepal_autoal.measuring.profile import section

# A module's dicts of callbacks.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
# Integer types by element size: the sum of numbers read as integers shows whether they changed.
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class GuardedModel(Protocol):
    """A model whose modules and parameters are watched, such as `FittedModel`."""

    @property
    def objective(self) -> nn.Module: ...  # noqa: D102


@contextmanager
def guarded(
    culprit: object,
    doing: str,
    model: GuardedModel | None = None,
    damage: Callable[[], list[str]] = list,
    thorough: bool = False,
) -> Iterator[None]:
    """Compare shared state before and after the block.

    State that can be restored is restored, with a warning that names the culprit the first time: global random
    generators, torch's modes and threads, the model's modes, flags, settings and callbacks. Weights, statistics and
    outputs are not copied, so a change to them is an error, as far as torch counts the writes to a tensor.

    Args:
        culprit: The plugin or object whose code runs in the block.
        doing: What it does, for messages.
        model: The model it has access to.
        damage: Returns the names of shared results that were changed in place.
        thorough: Whether to sum the model's weights too, which shows writes that torch does not count, such as those
            through ``.data`` and ``.numpy()``.

    Raises:
        QueryError: If weights, statistics or outputs were changed, or torch's inference mode was left on.
    """
    with section("guards"):
        settings = _settings(model)
        weights = _weights(model, thorough)
        damaged_before = damage()
        in_inference_mode = torch.is_inference_mode_enabled()
        state = process_state()
    try:
        yield
    finally:
        with section("guards"):
            different = restore_process(state)
            different += _restore_settings(settings)
            warn_restored(culprit, doing, different)
    # Not if the block raised: its own error says more.
    with section("guards"):
        _refuse_changes(culprit, doing, model, thorough, weights, damage, damaged_before, in_inference_mode)


def _refuse_changes(
    culprit: object,
    doing: str,
    model: GuardedModel | None,
    thorough: bool,
    weights: list[tuple[int, int]],
    damage: Callable[[], list[str]],
    damaged_before: list[str],
    in_inference_mode: bool,
) -> None:
    if torch.is_inference_mode_enabled() != in_inference_mode:
        raise QueryError(f"{culprit} left torch's inference mode on in {doing}; use it in a `with` statement")
    if _weights(model, thorough) != weights:
        raise QueryError(
            f"{culprit} changed weights or statistics of the task model in {doing}, so the round's results are "
            "invalid; change copy.deepcopy(context.model.module) instead"
        )
    damaged = damage()
    if damaged != damaged_before:
        raise QueryError(
            f"{culprit} changed {', '.join(damaged)} in place in {doing}, which all strategies of the round share; "
            "clone() them first"
        )


def _settings(model: GuardedModel | None) -> list[tuple[Any, dict[str, Any], dict[str, list[int]]]]:
    """Return each part of the model with its plain attributes and the keys of its callbacks."""
    if model is None:
        return []
    parts: list[Any] = [model, *model.objective.modules(), *model.objective.parameters()]
    return [
        (
            part,
            {"requires_grad": part.requires_grad}
            if isinstance(part, torch.Tensor)
            else {key: value for key, value in vars(part).items() if _is_plain(value) and _is_known(part)},
            {name: list(vars(part)[name]) for name in _HOOKS if name in vars(part)},
        )
        for part in parts
    ]


def _is_known(part: Any) -> bool:
    # Third-party modules may record counts and shapes as they compute.
    return type(part).__module__.partition(".")[0] in ("torch", "deepal_autoal")


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, bool | int | float | str | tuple)


def _restore_settings(settings: Sequence[tuple[Any, dict[str, Any], dict[str, list[int]]]]) -> list[str]:
    """Restore attributes and callbacks, and return what was different."""
    different: dict[str, None] = {}
    for part, attributes, callbacks in settings:
        for key, value in attributes.items():
            if isinstance(part, torch.Tensor):
                if part.requires_grad != value:
                    part.requires_grad_(value)
                    different["the task model's requires_grad flags"] = None
            elif not is_same(vars(part).get(key), value):
                vars(part)[key] = value
                what = "train/eval mode" if key == "training" else f"setting {key!r}"
                different[f"the task model's {what}"] = None
        for name, keys in callbacks.items():
            for key in set(vars(part).get(name, ())) - set(keys):
                del vars(part)[name][key]
                different["the task model's hooks"] = None
    return list(different)


def _weights(model: GuardedModel | None, thorough: bool) -> list[tuple[int, int]]:
    """Return the identity and write count of every weight and statistic and, if thorough, a sum over all."""
    if model is None:
        return []
    tensors = [*model.objective.parameters(), *model.objective.buffers()]
    seen = [(id(tensor), tensor._version) for tensor in tensors]
    if thorough and tensors:
        with torch.no_grad():
            dense = [
                tensor.detach() for tensor in tensors if tensor.layout is torch.strided and not tensor.is_complex()
            ]
            sums = [tensor.view(_INTEGERS[tensor.element_size()]).sum(dtype=torch.int64) for tensor in dense]
            seen.append((0, sum(int(each) for each in sums)))
    return seen
