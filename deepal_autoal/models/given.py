"""Models given as Python objects: a factory, a class or an instance of `torch.nn.Module`, or a classifier.

A classifier is anything with scikit-learn's ``fit``, ``predict_proba`` and ``get_params``, such as a net of skorch.
This module imports nothing heavy: what is given belongs to a package that is imported already.
"""

from __future__ import annotations

import inspect
import re
import reprlib
import sys
from collections.abc import Callable
from typing import Any

from deepal_autoal.errors import InputError
from deepal_autoal.plugins.code_digest import code_digest
from deepal_autoal.plugins.registry import IN_PROCESS, Entry

WHAT_TO_GIVE = (
    "give a name such as 'cnn', where one is defined, as 'file.py:Net' or 'module:Net', a torch.nn.Module or a class "
    "or function that returns one, or a scikit-learn classifier with predict_proba"
)
# Names under which a factory's parameters are filled in.
_SHAPES = ("input_shape",)
_CLASSES = ("n_classes", "num_classes", "n_outputs")


def given_model(given: Any, name: str = "") -> Entry:
    """Return an entry for a model that is given as an object.

    Args:
        given: The object.
        name: Its name; by default that of the class or function.

    Raises:
        InputError: If it is no model; the message says what to give.
    """
    name = name or str(getattr(given, "__name__", type(given).__name__)).strip("<>")
    if _is_classifier(given):
        target = _classifier_factory(given)
    elif _is_module(given):
        target = _instance_factory(given, name)
    elif callable(given) and not isinstance(given, str):
        target = _network_factory(given, name)
    else:
        raise InputError(
            f"model is {' '.join(reprlib.repr(given).split())} of type {type(given).__name__}; {WHAT_TO_GIVE}"
        )
    details = {"given": _describe(given), "code": code_digest(given)}
    return Entry("model", name, target, IN_PROCESS, details=details)


def _is_module(given: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(given, torch.nn.Module)


def _is_classifier(given: Any) -> bool:
    methods = ("fit", "get_params", "set_params")
    if not all(callable(getattr(given, method, None)) for method in methods):
        return False
    if not hasattr(given, "predict_proba"):
        name = given.__name__ if inspect.isclass(given) else type(given).__name__
        raise InputError(
            f"model {name} has no predict_proba, from which strategies get probabilities: calibrate it "
            "(CalibratedClassifierCV), or choose another classifier"
        )
    return True


def _describe(given: Any) -> str:
    if inspect.isclass(given) or inspect.isroutine(given):
        return f"{given.__module__}.{given.__qualname__}"
    if not _is_classifier(given):
        return type(given).__qualname__
    text = re.sub(r" at 0x[0-9a-fA-F]+", "", repr(given))  # of functions, whose addresses differ in every process
    return " ".join(text.split())[:500]


def _classifier_factory(given: Any) -> Callable[..., Any]:
    def build(input_shape: tuple[int, ...], n_classes: int) -> Any:
        from deepal_autoal.models.estimator import Classifier

        return Classifier(given() if inspect.isclass(given) else given, input_shape, n_classes)

    return build


def _instance_factory(given: Any, name: str) -> Callable[..., Any]:
    def build(input_shape: tuple[int, ...], n_classes: int) -> Any:
        import copy

        from deepal_autoal.models.own_network import as_task_model

        return as_task_model(name, copy.deepcopy(given), input_shape, n_classes)

    return build


def _network_factory(given: Callable[..., Any], name: str) -> Callable[..., Any]:
    """Return a function (input_shape, n_classes, options) that fills in a factory's own parameters.

    Raises:
        InputError: If it needs others.
    """
    try:
        parameters = inspect.signature(given).parameters
    except (TypeError, ValueError):
        raise InputError(f"model {name}: {WHAT_TO_GIVE}") from None
    required = [key for key, item in parameters.items()
                if item.default is item.empty and item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]  # fmt: skip
    known = (*_SHAPES, *_CLASSES)
    unknown = [key for key in required if key not in known]
    if unknown:
        raise InputError(
            f"model {name} takes {', '.join(unknown)}: let it take input_shape, which is (C, H, W) or (D,), "
            "and n_classes, one of them, or nothing; give all others a default"
        )
    own = [item for key, item in parameters.items() if key not in (*required, *known)]
    options = [item.replace(kind=item.KEYWORD_ONLY) for item in own
               if item.kind not in (item.VAR_POSITIONAL, item.VAR_KEYWORD)]  # fmt: skip

    def build(input_shape: tuple[int, ...], n_classes: int, **chosen: Any) -> Any:
        from deepal_autoal.models.own_network import as_task_model

        named: dict[str, Any] = {key: input_shape for key in _SHAPES if key in parameters}
        named |= {key: n_classes for key in _CLASSES if key in parameters}
        return as_task_model(name, given(**named, **chosen), input_shape, n_classes)

    both = [inspect.Parameter(key, inspect.Parameter.POSITIONAL_OR_KEYWORD) for key in ("input_shape", "n_classes")]
    build.__signature__ = inspect.Signature([*both, *options])  # type: ignore[attr-defined]
    function = given.__init__ if inspect.isclass(given) else given
    build.__annotations__ = dict(getattr(function, "__annotations__", {}))
    return build
