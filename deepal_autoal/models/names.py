"""Names of task models: registered names, architectures of families, options. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import InputError
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.models.given import given_model
from deepal_autoal.plugins.contract import call_arguments
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.notation import Notation
from deepal_autoal.plugins.options import call_options, fill_options
from deepal_autoal.plugins.references import absolute_reference, is_reference

if TYPE_CHECKING:
    import inspect

    from deepal_autoal.plugins.registry import Entry

AUTO = "auto"
# No task model, but an embedding that `deepal embed` learns.
PATCHES = "patches"
SMALL_IMAGE = 32

_NOTATION = Notation("--model", "write it as NAME or NAME[KEY=VALUE,...]")


@dataclass(frozen=True)
class ModelChoice:
    """Which task model to build.

    Attributes:
        name: A registered name; for a family with the architecture, such as ``torchvision/resnet50``.
        options: By name; complete once the choice is resolved.
        entry: Of a model that is given as an object or by where it is defined: what builds it, once it is resolved.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    entry: Entry | None = field(default=None, compare=False, repr=False)

    @classmethod
    def recorded(cls, model: Mapping[str, Any]) -> ModelChoice:
        """Return the choice in a record such as ``config.json``'s ``model``."""
        return cls(model["name"], model.get("options") or {})

    def describe(self) -> dict[str, Any]:
        """Return the choice as a JSON-able dict."""
        given = {} if self.entry is None else dict(self.entry.details)
        return {"name": self.name, "options": to_jsonable(dict(self.options), strict=False), **given}


def choose_model(input_shape: tuple[int, ...], *, scaling: str = "global", by_gradient: bool = False) -> str:
    """Return the name of the model that fits a kind of data.

    For vectors this is ``gp``, or ``tabular`` if features are scaled one by one, as for mixed units; for images of at
    most 32 pixels a side ``cnn``; for larger ones ``resnet18``.

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
    """Parse ``name``, ``family/architecture`` or either with ``[key=value,...]``; options stay text.

    Raises:
        UnknownNameError: If the name is neither registered nor ``auto``.
        PluginError: If its plugin failed to load.
        InputError: If the text has another form.
    """
    if not isinstance(written, str):
        raise InputError(f"model {written!r}: give a name, such as cnn")
    name, options = _NOTATION.read(absolute_reference(written))
    if name != AUTO:
        _find(name)
    return ModelChoice(name, options)


def resolve_model(
    model: Any, input_shape: tuple[int, ...], *, scaling: str = "global", by_gradient: bool = False
) -> ModelChoice:
    """Return the requested model, with all its options.

    Args:
        model: As users write it, including ``auto``, or a choice; or a model as an object (see `given_model`).
        input_shape: (C, H, W) or (D,) of one input; used by ``auto``.
        scaling, by_gradient: Also used by ``auto`` (see `choose_model`).

    Raises:
        UnknownNameError: If there is no such model or option.
        PluginError: If the model's plugin failed to load.
        InputError: If an option's value does not fit.
    """
    if not isinstance(model, str | ModelChoice):
        model = own_model(model)
    choice = model if isinstance(model, ModelChoice) else read_model(model)
    name = choose_model(input_shape, scaling=scaling, by_gradient=by_gradient) if choice.name == AUTO else choice.name
    entry = choice.entry or _find(name)[0]
    parameters = model_options(entry)
    # A record may hold a default in another form: a tuple as a list.
    given = {
        key: value
        for key, value in choice.options.items()
        if key not in parameters or value != to_jsonable(parameters[key].default, strict=False)
    }
    options = fill_options("model", name, entry.load(), parameters, given)
    return ModelChoice(name, options, choice.entry or (entry if is_reference(name) else None))


def own_model(given: Any) -> ModelChoice:
    """Return the choice of a model that is given as an object.

    Raises:
        InputError: If it is no model; the message says what to give.
    """
    entry = given_model(given)
    return ModelChoice(entry.name, {}, entry)


def same_model(given: Any, recorded: Mapping[str, Any], where: object) -> ModelChoice:
    """Return the choice of a model that is given as an object again.

    Args:
        given: The object.
        recorded: What `ModelChoice.describe` returned.
        where: What that was recorded in, for messages.

    Raises:
        InputError: If it is no model, or another one.
    """
    choice = own_model(given)
    now = choice.describe()
    key = "code" if recorded.get("code") else "name"
    if now[key] != recorded[key]:
        raise InputError(f"{where} is of another model than the given {choice.name}: give the one it began with")
    return choice


def recorded_model(written: str, model: Mapping[str, Any]) -> str:
    """Return a model as users write it, with ``auto`` replaced by the model it selected in a recorded run.

    Args:
        written: As users write it.
        model: The recorded model, with its ``name``.
    """
    if read_model(written).name != AUTO:
        return written
    return str(model["name"]) + written.strip()[len(AUTO) :]


def arguments_of(choice: ModelChoice) -> tuple[Entry, tuple[str, ...]]:
    """Return a choice's entry, and its function's arguments after shape and class count: the architecture, if any."""
    if choice.entry is not None:
        return choice.entry, ()
    entry, architecture = _find(choice.name)
    return entry, (architecture,) if entry.is_family else ()


def model_options(entry: Entry) -> dict[str, inspect.Parameter]:
    """Import a registered model and return its options: its function's other parameters."""
    return call_options(entry.load(), len(call_arguments("model", entry.is_family)))


def _find(name: str) -> tuple[Entry, str]:
    """Return the entry of a name, and the architecture if the entry is a family."""
    entry = plugin_host().models.get(name)
    if is_reference(name):
        return given_model(entry.target, entry.name), ""
    architecture = name.partition("/")[2]
    if entry.is_family and not architecture:
        raise InputError(
            f"model {entry.name!r} is a family of models: name one, as {entry.name}/ARCHITECTURE ({entry.summary})"
        )
    return entry, architecture
