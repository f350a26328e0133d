"""Task models by name: built in or registered by plugins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from deepal_autoal.models.base import TaskModel

AUTO = "auto"
SMALL_IMAGE = 32


def choose_model(input_shape: tuple[int, ...]) -> str:
    """Return the name of the model that fits a kind of data.

    Vectors: ``mlp``; images of at most 32 pixels a side: ``cnn``; larger ones: ``resnet18``.
    """
    if len(input_shape) == 1:
        return "mlp"
    return "cnn" if max(input_shape[1:]) <= SMALL_IMAGE else "resnet18"


def resolve_model(name: str, input_shape: tuple[int, ...]) -> str:
    """Return the registered name that ``name`` stands for: ``auto`` picks by the data.

    Raises:
        UnknownNameError: If nothing registered it.
        PluginError: If its plugin failed to load.
    """
    from deepal_autoal.plugins import plugin_host

    return plugin_host().models.get(choose_model(input_shape) if name == AUTO else name).name


def build_model(name: str, input_shape: tuple[int, ...], n_classes: int) -> TaskModel:
    """Return a new model, initialised from torch's global generator.

    Args:
        name: A registered name, or ``auto``.
        input_shape: (C, H, W) of images, or (D,) of vectors.
        n_classes: Number of outputs.

    Raises:
        InputError: If the name is unknown, or the model cannot take such inputs.
        PluginError: If its plugin failed to load, or its factory does not return such a `TaskModel`.
    """
    from deepal_autoal.errors import PluginError
    from deepal_autoal.models.base import TaskModel
    from deepal_autoal.plugins import plugin_host

    entry = plugin_host().models.get(resolve_model(name, input_shape))
    model = entry.call(tuple(input_shape), n_classes)
    if not isinstance(model, TaskModel) or model.n_classes != n_classes:
        raise PluginError(
            f"model {entry.name!r} of {entry.provider}: its factory must return a TaskModel of {n_classes} classes, "
            f"not {type(model).__name__}"
        )
    model.input_shape = tuple(input_shape)
    if not entry.provider.builtin:
        model.origin = f"model {entry.name!r} of {entry.provider}"
    return model


def __getattr__(name: str) -> Any:
    # The registration module lies in this package: what needs torch is imported when it is asked for.
    if name == "TaskModel":
        from deepal_autoal.models.base import TaskModel

        return TaskModel
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["TaskModel", "build_model", "choose_model", "resolve_model"]
