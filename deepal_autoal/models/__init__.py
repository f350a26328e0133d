"""Task models by name: built in or registered by plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepal_autoal.models.names import (
    AUTO,
    ModelChoice,
    choose_model,
    own_model,
    read_model,
    recorded_model,
    resolve_model,
    same_model,
)
from deepal_autoal.run_settings import whole_number

if TYPE_CHECKING:
    from deepal_autoal.training.task_model import TaskModel


def build_model(model: str | ModelChoice, input_shape: tuple[int, ...], n_classes: int) -> TaskModel:
    """Return a new model, initialized from torch's global generator.

    Args:
        model: A registered name, ``family/architecture`` or ``auto``, with options as in
            ``resnet18[stem=cifar]``; or a choice.
        input_shape: (C, H, W) of images, or (D,) of vectors.
        n_classes: Number of outputs.

    Raises:
        InputError: If there is no such model or option, the model cannot take such inputs, or ``n_classes`` is not a
            whole number.
        PluginError: If its plugin failed to load, or its factory does not return such a `TaskModel`.
    """
    from deepal_autoal.errors import PluginError
    from deepal_autoal.models.names import arguments_of
    from deepal_autoal.training.task_model import TaskModel

    n_classes = whole_number("n_classes", n_classes)
    choice = resolve_model(model, input_shape)
    entry, architecture = arguments_of(choice)
    built = entry.call(tuple(input_shape), n_classes, *architecture, **choice.options)
    if not isinstance(built, TaskModel) or built.n_classes != n_classes:
        raise PluginError(
            f"model {choice.name!r} of {entry.provider}: its factory must return a TaskModel of {n_classes} classes, "
            f"not {type(built).__name__}"
        )
    built.input_shape = tuple(input_shape)
    if not entry.provider.builtin:
        built.origin = f"model {choice.name!r} of {entry.provider}"
    return built


def __getattr__(name: str) -> Any:
    # The registration module is in this package, so names that need torch are imported on first use.
    if name == "TaskModel":
        from deepal_autoal.training.task_model import TaskModel

        return TaskModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "AUTO",
    "ModelChoice",
    "TaskModel",
    "build_model",
    "choose_model",
    "own_model",
    "read_model",
    "recorded_model",
    "resolve_model",
    "same_model",
]
