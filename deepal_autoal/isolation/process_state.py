"""State that all code of a process shares: read, compared, restored.

How it works: `SHARED` lists the items, each with a function that reads it and one that sets it. `process_state` reads
them all; `restore_process` reads them again and sets those that differ to their old values.

Nothing is imported for this, since listings load plugins without numpy or torch: their state is read only once they are
loaded. For a module that is loaded in between, the known initial values are restored.
"""

from __future__ import annotations

import logging
import os
import random
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

_warned: set[tuple[str, str, str]] = set()


def _torch() -> Any:
    return sys.modules["torch"]


def _numpy() -> Any:
    return sys.modules["numpy"]


@dataclass(frozen=True)
class Shared:
    """Something that all code of a process shares.

    Attributes:
        name: Its name in messages.
        get: Reads it.
        put: Sets it.
        module: The module that it belongs to; empty if it always exists.
        initial: Its value when the module has just been loaded; None where that differs between machines.
        is_reported: Whether a change is reported; not for items that ordinary imports change.
    """

    name: str
    get: Callable[[], Any]
    put: Callable[[Any], Any]
    module: str = ""
    initial: Any = None
    is_reported: bool = True


# Whether matrix multiplications and convolutions round their inputs; torch has had two ways to set this. The older one
# comes first: it sets all of cuDNN's, and cannot be read while they were set otherwise.
_PRECISIONS = ("cudnn.allow_tf32", "fp32_precision", "cuda.matmul.fp32_precision", "cudnn.conv.fp32_precision",
               "cudnn.rnn.fp32_precision", "mkldnn.matmul.fp32_precision", "mkldnn.conv.fp32_precision")  # fmt: skip


def read_precisions() -> dict[str, Any]:
    """Return torch's settings for rounding the inputs of float32 operations, by their paths in ``torch.backends``."""
    found = {}
    for path in _PRECISIONS:
        with suppress(AttributeError, RuntimeError):
            found[path] = _attribute(_torch().backends, path)
    is_new = any(path.endswith("fp32_precision") for path in found)
    return found if is_new else {**found, "": _torch().get_float32_matmul_precision()}


def put_precisions(values: Mapping[str, Any]) -> None:
    """Set what `read_precisions` returned, or a part of it."""
    for path, value in values.items():
        if not path:
            _torch().set_float32_matmul_precision(value)
        elif read_precisions().get(path) != value:
            *owner, name = path.split(".")
            setattr(_attribute(_torch().backends, ".".join(owner)), name, value)


def _attribute(owner: Any, path: str) -> Any:
    for name in path.split(".") if path else ():
        owner = getattr(owner, name)
    return owner


def _cuda_generators() -> list[Any]:
    cuda = _torch().cuda
    return list(cuda.get_rng_state_all()) if cuda.is_initialized() else []


def _put_cuda_generators(states: list[Any]) -> None:
    if states:  # else CUDA was not in use
        _torch().cuda.set_rng_state_all(states)


def _get_cudnn() -> dict[str, bool]:
    return {name: getattr(_torch().backends.cudnn, name) for name in ("enabled", "deterministic", "benchmark")}


def _put_cudnn(flags: Mapping[str, bool]) -> None:
    for name, value in flags.items():
        setattr(_torch().backends.cudnn, name, value)


def _get_deterministic() -> tuple[bool, bool]:
    torch = _torch()
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _put_deterministic(modes: tuple[bool, bool]) -> None:
    _torch().use_deterministic_algorithms(modes[0], warn_only=modes[1])


def _get_autocast() -> dict[str, bool]:
    return {device: _torch().is_autocast_enabled(device) for device in ("cpu", "cuda")}


def _put_autocast(modes: Mapping[str, bool]) -> None:
    for device, mode in modes.items():
        _torch().set_autocast_enabled(device, mode)


def put_filters(filters: list[Any]) -> None:
    """Replace all warnings filters."""
    warnings.resetwarnings()
    warnings.filters[:] = filters  # type: ignore[index]


def _put_streams(streams: tuple[Any, Any]) -> None:
    sys.stdout, sys.stderr = streams


GLOBAL_HOOKS = tuple(f"_global_{kind}_hooks" for kind in ("forward", "forward_pre", "backward", "backward_pre"))


def _get_hooks() -> tuple[tuple[str, int], ...]:
    """Return the keys of the callbacks that all modules of torch call."""
    module = sys.modules["torch.nn.modules.module"]
    return tuple((name, key) for name in GLOBAL_HOOKS for key in getattr(module, name, ()))


def _put_hooks(keys: tuple[tuple[str, int], ...]) -> None:
    for name, key in set(_get_hooks()) - set(keys):
        del getattr(sys.modules["torch.nn.modules.module"], name)[key]


def _get_numpy_generator() -> tuple[Any, Any]:
    generator = _numpy().random.get_bit_generator()
    return generator, _numpy().random.get_state() if type(generator).__name__ == "MT19937" else None


def _put_numpy_generator(state: tuple[Any, Any]) -> None:
    if _numpy().random.get_bit_generator() is not state[0]:
        _numpy().random.set_bit_generator(state[0])
    if state[1] is not None:
        _numpy().random.set_state(state[1])


SHARED: tuple[Shared, ...] = (
    Shared("random's global generator", random.getstate, random.setstate),
    Shared("numpy's global generator", _get_numpy_generator, _put_numpy_generator, "numpy.random"),
    Shared("numpy's error handling", lambda: _numpy().geterr(), lambda v: _numpy().seterr(**v), "numpy",
           {"divide": "warn", "over": "warn", "under": "ignore", "invalid": "warn"}),
    Shared("torch's global generator", lambda: _torch().get_rng_state(), lambda v: _torch().set_rng_state(v), "torch"),
    Shared("torch's CUDA generators", _cuda_generators, _put_cuda_generators, "torch"),
    Shared("torch's default dtype", lambda: _torch().get_default_dtype(), lambda v: _torch().set_default_dtype(v),
           "torch", "torch.float32"),
    Shared("torch's default device", lambda: _torch().get_default_device(), lambda v: _torch().set_default_device(v),
           "torch", "cpu"),
    Shared("torch's grad mode", lambda: _torch().is_grad_enabled(), lambda v: _torch().set_grad_enabled(v), "torch",
           True),
    Shared("torch's autocast mode", _get_autocast, _put_autocast, "torch", {"cpu": False, "cuda": False}),
    Shared("torch's anomaly detection", lambda: _torch().is_anomaly_enabled(),
           lambda v: _torch().autograd.set_detect_anomaly(v), "torch", False),
    Shared("torch's number of threads", lambda: _torch().get_num_threads(), lambda v: _torch().set_num_threads(v),
           "torch"),
    Shared("torch's deterministic algorithms", _get_deterministic, _put_deterministic, "torch", (False, False)),
    Shared("torch's cuDNN flags", _get_cudnn, _put_cudnn, "torch",
           {"enabled": True, "deterministic": False, "benchmark": False}),
    Shared("torch's global module hooks", _get_hooks, _put_hooks, "torch.nn.modules.module", ()),
    Shared("torch's float32 precision", read_precisions, put_precisions, "torch"),
    # Imports of other packages set filters too; filters that turn warnings into errors must not remain.
    Shared("the warnings filters", lambda: list(warnings.filters), put_filters, is_reported=False),
    Shared("the working directory", os.getcwd, os.chdir),
    Shared("the recursion limit", sys.getrecursionlimit, sys.setrecursionlimit),
    Shared("sys.stdout and sys.stderr", lambda: (sys.stdout, sys.stderr), _put_streams),
)  # fmt: skip

# A model is initialized from torch's generators, which its creator seeds and restores.
ALL_BUT_TORCH_GENERATORS = tuple(
    item for item in SHARED if not item.name.startswith(("torch's global g", "torch's CUDA g"))
)


def process_state(shared: Sequence[Shared] = SHARED) -> dict[str, Any]:
    """Return the shared state by name, without items that cannot be read."""
    state = {}
    for item in shared:
        if not item.module or item.module in sys.modules:
            with suppress(Exception):
                state[item.name] = item.get()
    return state


def restore_process(state: Mapping[str, Any], shared: Sequence[Shared] = SHARED) -> list[str]:
    """Restore a `process_state`, and return the names of what was different and is to be reported."""
    now = process_state(shared)
    different = []
    for item in shared:
        before = state.get(item.name, item.initial)
        if item.name not in now or before is None or before == []:
            continue
        seen = now[item.name]
        if item.name not in state and isinstance(before, str):  # torch's own objects, given by name
            is_kept = str(seen) == before
            before = _attribute(_torch(), before.removeprefix("torch.")) if before.startswith("torch.") else before
        else:
            is_kept = is_same(before, seen)
        if not is_kept:
            with suppress(Exception):
                item.put(before)
            if item.is_reported:
                different.append(item.name)
    return different


@contextmanager
def restored(different: list[str], shared: Sequence[Shared] = SHARED) -> Iterator[None]:
    """Restore the process after the block, even if it raises, and append what was different to the list."""
    state = process_state(shared)
    try:
        yield
    finally:
        different += restore_process(state, shared)


def warn_restored(culprit: object, doing: str, different: Iterable[str]) -> None:
    """Warn about changes by the culprit that were undone, each the first time."""
    for what in different:
        key = (str(culprit), doing, what)
        level = logging.DEBUG if key in _warned else logging.WARNING
        _warned.add(key)
        advice = " (draw from context.rng or context.generator)" if "generator" in what else ""
        logger.log(level, "%s changed %s in %s; this was undone%s", culprit, what, doing, advice)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the keys whose values differ, including those that only one of the two has."""
    return [key for key in {**before, **after} if not is_same(before.get(key), after.get(key))]


def is_same(one: Any, other: Any) -> bool:
    """Return whether two values are equal; values that cannot be compared are not."""
    try:
        return _equal(one, other)
    except Exception:
        return False


def _equal(one: Any, other: Any) -> bool:
    if one is other:
        return True
    torch, numpy = sys.modules.get("torch"), sys.modules.get("numpy")
    if torch is not None and isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return bool(one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other))
    if numpy is not None and isinstance(one, numpy.ndarray):
        return bool(numpy.array_equal(one, other))
    if isinstance(one, tuple | list) and isinstance(other, tuple | list):
        if one and type(one[0]) is int and type(one[-1]) is int:  # a generator's state: hundreds of numbers
            return bool(one == other)
        return len(one) == len(other) and all(is_same(*pair) for pair in zip(one, other, strict=True))
    return bool(one == other)


@contextmanager
def global_seed(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed the global generators of Python, numpy and torch inside the block and restore them after it."""
    import numpy as np

    from deepal_autoal.numerics.random_streams import global_torch_seed

    generators = [item for item in SHARED if item.name in ("random's global generator", "numpy's global generator")]
    with restored([], generators):
        random.seed(seed)
        np.random.seed(seed % 2**32)
        with global_torch_seed(seed, device):
            yield
