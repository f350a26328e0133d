"""How a task model is named: registered names, architectures of families, options. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import InputError
from deepal_autoal.notation import Notation
from deepal_autoal.options import call_options, fill_options
from deepal_autoal.plain import plain
from deepal_autoal.plugins import plugin_host
from deepal_autoal.registry import call_arguments

if TYPE_CHECKING:
    import inspect

    from deepal_autoal.registry import Entry

AUTO = "auto"
SMALL_IMAGE = 32

_NOTATION = Notation("--model", "write it as NAME or NAME[KEY=VALUE,...]")


@dataclass(frozen=True)
class ModelChoice:
    """Which task model to build.

    Attributes:
        name: A registered name; of a family with the architecture, such as ``torchvision/resnet50``.
        options: By name; all of them once it is resolved.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def recorded(cls, model: Mapping[str, Any]) -> ModelChoice:
        """Return the choice that a record such as ``config.json``'s ``model`` tells of."""
        return cls(model["name"], model.get("options") or {})

    def describe(self) -> dict[str, Any]:
        """Return it as a JSON-able dict."""
        return {"name": self.name, "options": plain(dict(self.options), strict=False)}


def choose_model(input_shape: tuple[int, ...], *, scaling: str = "global", by_gradient: bool = False) -> str:
    """Return the name of the model that fits a kind of data.

    Vectors: ``gp``, or ``tabular`` where features are scaled one by one, as those of mixed units are; images of at
    most 32 pixels a side: ``cnn``; larger ones: ``resnet18``.

    Args:
        input_shape: (C, H, W) or (D,) of one input.
        scaling: How vectors are scaled.
        by_gradient: Whether the model must be trained by gradient steps, for a strategy that changes training; for
            vectors that is ``mlp``.
    """
    if len(input_shape) == 1:
        if by_gradient:
            return "mlp"
        return "tabular" if scaling == "feature" else "gp"
    return "cnn" if max(input_shape[1:]) <= SMALL_IMAGE else "resnet18"


def read_model(written: str) -> ModelChoice:
    """Return what ``name``, ``family/architecture`` or either with ``[key=value,...]`` says; options as text.

    Raises:
        UnknownNameError: If nothing registered the name, which may also be ``auto``.
        PluginError: If its plugin failed to load.
        InputError: If it is of another form.
    """
    if not isinstance(written, str):
        raise InputError(f"model {written!r}: give a name, such as cnn")
    name, options = _NOTATION.read(written)
    if name != AUTO:
        _find(name)
    return ModelChoice(name, options)


def resolve_model(
    model: str | ModelChoice, input_shape: tuple[int, ...], *, scaling: str = "global", by_gradient: bool = False
) -> ModelChoice:
    """Return the registered model that is asked for, with all its options.

    Args:
        model: As users write it, ``auto`` included, or a choice.
        input_shape: (C, H, W) or (D,) of one input, by which ``auto`` picks.
        scaling, by_gradient: Likewise (see `choose_model`).

    Raises:
        UnknownNameError: If there is no such model or option.
        PluginError: If the model's plugin failed to load.
        InputError: If an option's value does not fit.
    """
    choice = model if isinstance(model, ModelChoice) else read_model(model)
    name = choose_model(input_shape, scaling=scaling, by_gradient=by_gradient) if choice.name == AUTO else choice.name
    entry, _ = _find(name)
    parameters = model_options(entry)
    # A record may hold a default in another form: a tuple as a list.
    given = {
        key: value
        for key, value in choice.options.items()
        if key not in parameters or value != plain(parameters[key].default, strict=False)
    }
    return ModelChoice(name, fill_options("model", name, entry.load(), parameters, given))


def recorded_model(written: str, config: Mapping[str, Any]) -> str:
    """Return a model as users write it, with ``auto`` as what it stood for in a recorded run.

    Args:
        written: As users write it.
        config: The run's resolved settings.
    """
    if read_model(written).name != AUTO:
        return written
    return str(config["model"]["name"]) + written.strip()[len(AUTO) :]


def arguments_of(choice: ModelChoice) -> tuple[Entry, tuple[str, ...]]:
    """Return a choice's entry, and what its function gets after shape and number of classes: an architecture, or
    nothing.
    """
    entry, architecture = _find(choice.name)
    return entry, (architecture,) if entry.is_family else ()


def model_options(entry: Entry) -> dict[str, inspect.Parameter]:
    """Return the options of a registered model, which takes importing it: its function's further parameters."""
    return call_options(entry.load(), len(call_arguments("model", entry.is_family)))


def _find(name: str) -> tuple[Entry, str]:
    """Return the entry of a name and the architecture, if it is of a family."""
    entry = plugin_host().models.get(name)
    architecture = name.partition("/")[2]
    if entry.is_family and not architecture:
        raise InputError(
            f"model {entry.name!r} stands for many: name one, as {entry.name}/ARCHITECTURE ({entry.summary})"
        )
    return entry, architecture
