"""Tensors and generators that say they are on a CUDA device, and the rules that CUDA enforces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

from tests.pretended_cuda.devices import active

CPU = torch.device("cpu")
_Generator = torch._C.Generator
_WAITING = {
    "_local_scalar_dense": "read", "nonzero": "size", "masked_select": "size", "_unique2": "size",
    "unique_dim": "size", "unique_consecutive": "size", "bincount": "size", "equal": "read",
    "_linalg_check_errors": "check", "_linalg_svd": "check", "_linalg_eigh": "check",
}  # fmt: skip
# Functions, by name without underscores, in which a CPU tensor without dimensions stands for a number.
_ELEMENTWISE = frozenset({
    "add", "sub", "rsub", "mul", "div", "truediv", "rtruediv", "true_divide", "floor_divide", "floordiv", "pow", "rpow",
    "radd", "rmul", "iadd", "isub", "imul", "itruediv", "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "iand",
    "ior", "ixor", "where", "masked_fill", "fill", "clamp", "clamp_min", "clamp_max", "minimum", "maximum", "lerp",
    "fmod", "remainder", "mod", "atan2", "logaddexp", "isclose", "bitwise_and", "bitwise_or", "logical_and",
    "logical_or", "index_fill",
})  # fmt: skip


class PretendedTensor(torch.Tensor):
    """A tensor with the memory of a CPU tensor, which says that it is on a CUDA device."""

    __torch_function__ = torch._C._disabled_torch_function_impl  # see `Rules`
    pretended: torch.device

    device = property(lambda self: self.pretended)
    is_cuda = property(lambda self: True)
    is_cpu = property(lambda self: False)

    def get_device(self) -> int:
        return self.pretended.index

    @classmethod
    def __torch_dispatch__(cls, func: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
        devices = active[0]
        devices.check()
        leaves = list(_leaves((args, kwargs)))
        device = next(leaf.device for leaf in leaves if isinstance(leaf, PretendedTensor))
        name = func.overloadpacket.__name__
        if name in _WAITING:
            devices.wait(_WAITING[name], name)
        elif name in ("index", "index_put_", "_index_put_impl_") and isinstance(args[0], PretendedTensor):
            is_mask = any(one is not None and one.dtype in (torch.bool, torch.uint8) for one in args[1])
            if is_mask and (name == "index" or args[2].numel() > 1):  # else it is a masked_fill
                devices.wait("size", "mask")
        draws = torch.Tag.nondeterministic_seeded in func.tags and not any(isinstance(x, _Generator) for x in leaves)
        try:
            with torch._C._DisableTorchDispatch(), _stream_of(device) if draws else ExitStack():
                return _wrapped(func(*args, **(kwargs or {})), device, leaves)
        except IndexError:  # a kernel's assert
            devices.fail()


class _AnyGenerator(type(_Generator)):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _Generator)


class PretendedGenerator(_Generator, metaclass=_AnyGenerator):
    """A CPU generator that says which device it is of; `torch.Generator` in the block."""

    def __new__(cls, device: Any = "cpu") -> PretendedGenerator:
        self = super().__new__(cls, "cpu")
        of = torch.device(device)
        self.pretended = torch.device("cuda", of.index or 0) if of.type == "cuda" else of
        return self

    device = property(lambda self: self.pretended)


@contextmanager
def _stream_of(device: torch.device) -> Iterator[None]:
    """Let the CPU's default generator continue the device's, and restore it."""
    own, host = active[0].generators[device.index], torch.default_generator.get_state()
    torch.default_generator.set_state(own.get_state())
    try:
        yield
    finally:
        own.set_state(torch.default_generator.get_state())
        torch.default_generator.set_state(host)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, dict | slice):
        value = tuple(value.values()) if isinstance(value, dict) else (value.start, value.stop, value.step)
    if isinstance(value, tuple | list):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _on_device(plain: torch.Tensor, device: torch.device) -> PretendedTensor:
    """Return a plain tensor's memory as a tensor on the device, without gradients."""
    made = torch.Tensor._make_subclass(PretendedTensor, plain)
    made.pretended = device
    active[0].own(made)
    return made


def _wrapped(out: Any, device: torch.device, given: list[Any]) -> Any:
    """Return what a function returned, with new plain tensors on the device."""
    if isinstance(out, tuple | list):
        return tree_map(lambda value: _wrapped(value, device, given), out)
    is_plain = isinstance(out, torch.Tensor) and not isinstance(out, PretendedTensor)
    return _on_device(out, device) if is_plain and not any(out is one for one in given) else out


def _copied(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    with torch._C._DisableTorchDispatch():
        copy = tensor.detach().as_subclass(torch.Tensor).clone()
    return copy if device.type == "cpu" else _on_device(copy, device)


def _cuda_of(device: Any) -> torch.device | None:
    """Return a CUDA device with its number; None for any other device."""
    if device is None or (isinstance(device, torch.device) and device.type != "cuda"):
        return None
    of = torch.device("cuda", device) if isinstance(device, int) else torch.device(device)
    return torch.device("cuda", active[0].index(of)) if of.type == "cuda" else None


def _to(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    if args and isinstance(args[0], torch.Tensor):
        args = (args[0].device, args[0].dtype, *args[1:])
    copy = bool(kwargs.pop("copy", len(args) > 3 and args[3]))
    device, dtype, non_blocking, memory_format = torch._C._nn._parse_to(*args[:3], **kwargs)
    target = tensor.device if device is None else _cuda_of(device) or device
    settings = {"dtype": dtype or tensor.dtype} | ({"memory_format": memory_format} if memory_format else {})
    result = torch.Tensor.to(tensor, copy=copy and target == tensor.device, **settings)
    return result if target == tensor.device else _moved(result, target, non_blocking)


def _moved(tensor: torch.Tensor, target: torch.device, non_blocking: bool = False) -> torch.Tensor:
    how = " without waiting" if non_blocking else ""
    kind, what = ("read", "copy to the CPU") if target.type == "cpu" else ("copy", "to the device")
    active[0].wait(kind, what + how)
    if tensor.requires_grad and torch.is_grad_enabled():
        raise NotImplementedError("gradients across pretended devices")
    return _copied(tensor, target)


def _numpy(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
    if isinstance(tensor, PretendedTensor) and not kwargs.get("force"):
        raise TypeError(f"can't convert {tensor.device} device type tensor to numpy. Use Tensor.cpu() first.")
    return torch.Tensor.numpy(_to(tensor, CPU), *args, **kwargs)


def _tolist(tensor: torch.Tensor) -> Any:
    if isinstance(tensor, PretendedTensor):
        active[0].wait("read", "tolist")
    return torch.Tensor.tolist(_copied(tensor, CPU))


def _pin_memory(tensor: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
    if tensor.is_cpu:
        active[0].initialize("pinned memory")
        return tensor
    raise RuntimeError("cannot pin 'torch.cuda.FloatTensor' only dense CPU tensors can be pinned")


def _from_data(func: Any, args: Any, kwargs: Any) -> torch.Tensor:
    """Do what `torch.tensor`, `torch.as_tensor` and `torch.asarray` do."""
    data, target = args[0] if args else kwargs["data"], _cuda_of(kwargs.get("device"))
    if not isinstance(data, torch.Tensor):
        made = func(*args, **kwargs | ({"device": CPU} if target else {}))
        return made if target is None else _moved(made, target)
    made = _to(data, target or kwargs.get("device", data.device), kwargs.get("dtype") or data.dtype)
    return made.clone() if func is torch.tensor and made is data else made


_SPECIAL = {
    torch.Tensor.to: _to, torch.Tensor.numpy: _numpy, torch.Tensor.tolist: _tolist,
    torch.Tensor.pin_memory: _pin_memory, torch.Tensor.cpu: lambda tensor, **_: _to(tensor, CPU),
    torch.Tensor.__array__: lambda tensor, dtype=None, **_: np.asarray(_numpy(tensor), dtype),
    torch.Tensor.cuda: lambda tensor, device=None, non_blocking=False, **_: _to(
        tensor, torch.device("cuda", active[0].index(device)), non_blocking=non_blocking
    ),
    torch.Tensor.new_tensor: lambda tensor, data, **given: _from_data(
        torch.tensor, (data,), {"device": tensor.device, "dtype": tensor.dtype} | given
    ),
}  # fmt: skip


class Rules(TorchFunctionMode):
    """What every call of torch from Python passes through."""

    def __torch_function__(self, func: Any, types_: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if func in _SPECIAL:
            return _SPECIAL[func](*args, **kwargs)
        if func in (torch.tensor, torch.as_tensor, torch.asarray):
            return _from_data(func, args, kwargs)
        leaves = list(_leaves((args, kwargs)))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        ours = [tensor for tensor in tensors if isinstance(tensor, PretendedTensor)]
        target = _cuda_of(kwargs.get("device"))
        if target is not None:
            active[0].check()
            kwargs["device"] = CPU
        device = target or (ours[0].device if ours else CPU)
        generators = [leaf for leaf in leaves if isinstance(leaf, _Generator)]
        if generators and generators[0].device != device:
            raise RuntimeError(f"Expected a '{device}' device type for generator but found '{generators[0].device}'")
        if ours:
            _check_devices(func, args, tensors, ours[0].device)
        draws = target is not None and not generators and "rand" in getattr(func, "__name__", "")
        with _stream_of(device) if draws else ExitStack():
            out = func(*args, **kwargs)
        return _wrapped(out, device, leaves) if device.type == "cuda" else out


def _check_devices(func: Any, args: Any, tensors: list[torch.Tensor], device: torch.device) -> None:
    """Raise where CUDA would, for tensors of several devices in one call."""
    name = getattr(func, "__name__", "").strip("_")
    own = args[0] if args and isinstance(args[0], torch.Tensor) else None
    others = [tensor for tensor in tensors if tensor.device != device]
    if name == "copy" and own is not None:
        if own.device.type != args[1].device.type:
            active[0].wait("read" if own.device.type == "cpu" else "copy", "copy_")
        return
    if name in ("getitem", "setitem", "index_put", "index") and own is not None:
        indices = [one for one in _leaves(args[1]) if isinstance(one, torch.Tensor | np.ndarray)]
        for one in indices:
            at = one.device if isinstance(one, torch.Tensor) else CPU
            if at.type == "cpu" and own.device.type == "cuda":
                active[0].wait("copy", "index")
            elif at != own.device and (one.ndim or one.dtype.is_floating_point):
                raise RuntimeError(f"indices should be either on cpu or on the indexed tensor's device ({own.device})")
        value = args[2] if len(args) > 2 and indices else None
        others = [value] if isinstance(value, torch.Tensor) and value.ndim and value.device != own.device else []
    elif name in _ELEMENTWISE:
        others = [tensor for tensor in others if tensor.ndim or tensor.device.type == "cuda"]
    if others and name != "has_compatible_shallow_copy_type":
        both = f"{device} and {others[0].device}"
        raise RuntimeError(f"Expected all tensors to be on the same device, but found {both} (when calling {name})")
