"""Count the work of one torch operation from the shapes of its arguments and its result.

Matrix products, convolutions and decompositions count their multiplications; other operations count the numbers that
they read and write; views and allocations are free.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch

# Matrix products: the position of the left matrix among the arguments; the right one follows it.
_PRODUCTS = {
    "mm": 0, "bmm": 0, "mv": 0, "dot": 0, "vdot": 0, "addmm": 1, "addbmm": 1, "addmv": 1, "baddbmm": 1,
    "_addmm_activation": 1,
}  # fmt: skip
# These multiply the left matrix by the rows of the right one.
_TRANSPOSED = {"linear", "cdist", "_cdist_forward", "_euclidean_dist"}
_CONVOLUTIONS = {"convolution", "_convolution", "mkldnn_convolution"}
# These read as many numbers as they return, not their whole source.
_GATHERS = {"index", "index_select", "gather", "take", "embedding"}
# In place, these write as many numbers as they are given, not their whole target.
_SCATTERS = {
    "index_put", "_index_put_impl", "index_fill", "index_copy", "index_add", "index_reduce", "scatter", "scatter_add",
    "scatter_reduce",
}  # fmt: skip
# Matrix decompositions and solvers: a dimension times the size of the largest matrix.
_DECOMPOSITION = re.compile("_?linalg_(cholesky|eig|inv|ldl|lstsq|lu|qr|solve|svd)|cholesky|triangular_solve")
_SEARCHES = {"searchsorted", "bucketize"}
# Steps of a binary search among a million numbers.
_SEARCH_STEPS = 20
_ALLOCATIONS = {"empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided", "resize"}


def work_of(operation: Any, arguments: Sequence[Any], named: Mapping[str, Any], result: Any) -> int:
    """Return the work of an operation, in multiplications and in numbers read or written; views are free.

    It depends on shapes alone, so it is the same on every machine. Factors between kinds of operations mean nothing:
    compare the work of one piece of code at several sizes.

    Args:
        operation: The operation, as passed to a `TorchDispatchMode`.
        arguments: Its positional arguments.
        named: Its keyword arguments.
        result: What it returned.
    """
    if operation.is_view:
        return 0
    name = operation._schema.name.removeprefix("aten::").removesuffix("_")
    if name in _ALLOCATIONS:
        return 0
    given = list(_tensors((*arguments, *named.values())))
    if name in _PRODUCTS:
        left, right = arguments[_PRODUCTS[name]], arguments[_PRODUCTS[name] + 1]
        return int(left.numel()) * (int(right.shape[-1]) if right.ndim > 1 else 1)
    if name == "matmul":
        return int(result.numel()) * int(arguments[0].shape[-1])
    if name in _TRANSPOSED:
        return int(given[0].numel()) * int(given[1].shape[-2])
    if name in _CONVOLUTIONS:
        return int(result.numel()) * int(given[1][0].numel())
    if name == "convolution_backward":
        return 2 * int(given[0].numel()) * int(given[2][0].numel())
    if _DECOMPOSITION.match(name) and given[0].ndim > 1:
        return max(part.numel() for part in given) * int(given[0].shape[-2])
    if name in _SEARCHES:
        return _SEARCH_STEPS * sum(part.numel() for part in _tensors((result,)))
    if name in _GATHERS:
        return sum(part.numel() for part in (*given[1:], *_tensors((result,))))
    if name in _SCATTERS and operation._schema.is_mutable:
        return sum(part.numel() for part in given[1:])
    written = list(_tensors((result,)))
    if not operation._schema.is_mutable and given and _is_same(given[0], written):
        return 0  # a view in disguise, for example _unsafe_view
    return sum(part.numel() for part in (*given, *written))


def _tensors(values: Iterable[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _tensors(value)


def _is_same(given: torch.Tensor, written: Sequence[torch.Tensor]) -> bool:
    """Return whether all results share the memory of the argument."""
    return bool(written) and all(
        part.untyped_storage().data_ptr() == given.untyped_storage().data_ptr() for part in written
    )
