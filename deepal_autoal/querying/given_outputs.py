"""A round over given outputs: embeddings and class probabilities of the pool, from any model, looked up by index.

There are no samples and no model behind them: what would need one is refused, in the name of the strategy that asks.
Rows are read when they are asked for, so that arrays may be memory-mapped files larger than memory.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import numpy as np
import torch
from torch import nn

from deepal_autoal.errors import QueryError
from deepal_autoal.numerics.row_blocks import READING
from deepal_autoal.querying.context import QueryContext
from deepal_autoal.querying.outputs import ModelOutputs, OutputCache, RowStore
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.task_model import TaskModel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

_Change: TypeAlias = Callable[["NDArray[Any]"], "NDArray[Any]"]

logger = logging.getLogger(__name__)


def given_context(
    asking: str,
    embeddings: NDArray[Any] | None,
    probabilities: NDArray[Any] | None,
    labeled: NDArray[np.int64],
    labels: NDArray[np.int64],
    n_classes: int | None,
    seed: int,
    device: torch.device,
) -> QueryContext:
    """Return the first round's context over given outputs, with the random streams of an `ActiveLearner`.

    Args:
        asking: The strategy that will be asked, for messages.
        embeddings: Floating (N, D), finite; or None.
        probabilities: Floating (N, C), in [0, 1], rows summing to about 1; or None. At least one of both is given.
        labeled: Pool indices of the labeled samples, (M,), distinct.
        labels: Their classes, (M,); or `UNKNOWN` for all.
        n_classes: C, or None if it is not known.
        seed: Seed of everything random.
        device: Device of the views' tensors.
    """
    known = [array for array in (embeddings, probabilities) if array is not None]
    candidates = np.setdiff1d(np.arange(len(known[0])), labeled, assume_unique=True)
    refusal = _Refusal(asking)
    width = 1 if embeddings is None else embeddings.shape[1]
    model = FittedModel(_UnknownModel(refusal, width, n_classes or 2), device=device, recipe=Recipe(), seed=seed)
    inputs = _UnknownInputs(refusal, len(known[0]), device)
    key = (seed, 0)
    cache = OutputCache(inputs, refusal, key)
    cache.keep(_GivenOutputs(refusal, model, inputs, key, embeddings, probabilities))
    return QueryContext(
        candidates=candidates,
        labeled=labeled,
        labels=labels,
        model=model,
        cache=cache,
        n_classes=n_classes,
        round=0,
        n_rounds=None,
        key=(*key, "query"),
    )


class _Refusal:
    """Raises an error in the name of a strategy; also stands for the trainer that there is not."""

    def __init__(self, asking: str) -> None:
        self.asking = asking

    def __call__(self, what: str) -> NoReturn:
        raise QueryError(
            f"{self.asking} needs {what}, which a query from given outputs cannot provide: use `deepal run` or "
            "`ActiveLearner`, or choose another strategy"
        )

    def fit(self, *data: Any, **settings: Any) -> NoReturn:
        self("models that are trained during the query")


class _UnknownInputs(Inputs):
    """Samples of which only the number is known."""

    def __init__(self, refusal: _Refusal, n_samples: int, device: torch.device) -> None:
        self._refusal = refusal
        self._n_samples = n_samples
        self.device = device
        self.normalization = Normalization(torch.zeros(1), torch.ones(1))

    def __len__(self) -> int:
        return self._n_samples

    @property
    def input_shape(self) -> tuple[int, ...]:
        self._refusal("the samples themselves")

    def raw(self, indices: NDArray[np.int64] | Tensor) -> Tensor:
        self._refusal("the samples themselves")


class _UnknownModel(TaskModel):
    """A model of which only the widths are known."""

    def __init__(self, refusal: _Refusal, embedding_dim: int, n_classes: int) -> None:
        nn.Module.__init__(self)  # a layer's initial weights would be drawn from the global generator
        self.embedding_dim = embedding_dim
        self.n_classes = n_classes
        self.backbone = _UnknownLayer(refusal)
        self.dropout = nn.Dropout(0.0)
        self.head = _UnknownLayer(refusal)

    @property
    def is_differentiable(self) -> bool:
        return False


class _UnknownLayer(nn.Module):
    def __init__(self, refusal: _Refusal) -> None:
        super().__init__()
        self._refusal = refusal

    def forward(self, inputs: Tensor) -> Tensor:
        self._refusal("passes through the model")


class _GivenOutputs(ModelOutputs):
    """Looks up the outputs, each on its own."""

    def __init__(
        self,
        refusal: _Refusal,
        model: FittedModel,
        inputs: Inputs,
        key: tuple[int | str, ...],
        embeddings: NDArray[Any] | None,
        probabilities: NDArray[Any] | None,
    ) -> None:
        def uncalibrated() -> tuple[Tensor, Tensor]:
            logger.warning(
                "%s calibrates probabilities by models trained without some of the labels; here nothing is trained, "
                "and they are taken as they are: give calibrated ones",
                refusal.asking,
            )
            return torch.empty((0, model.module.n_classes)), torch.empty(0, dtype=torch.int64)

        super().__init__(model, inputs, key, fit_member=refusal.fit, held_out=uncalibrated)

        def looked_up(array: NDArray[Any] | None, what: str, change: _Change) -> RowStore:
            def rows(indices: NDArray[np.int64]) -> tuple[Tensor]:
                if array is None:
                    raise QueryError(f"{refusal.asking} needs {what}, which are not given: give --{what}")
                return (_rows(array, indices, change, model.device),)

            return RowStore(len(inputs), rows)

        self._embeddings = looked_up(embeddings, "embeddings", _unchanged)
        self._rows = looked_up(probabilities, "probabilities", _logs)


def _unchanged(rows: NDArray[Any]) -> NDArray[Any]:
    return rows


def _logs(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return finite logarithms: 0 counts as the smallest number above it that its type has."""
    smallest = np.nextafter(probabilities.dtype.type(0), probabilities.dtype.type(1))
    logs: NDArray[np.float64] = np.log(np.maximum(probabilities, smallest), dtype=np.float64)
    return logs


def _rows(array: NDArray[Any], indices: NDArray[np.int64], change: _Change, device: torch.device) -> Tensor:
    """Return changed rows of an array, float32 (n, width), on the device; nothing is copied that need not be.

    Consecutive rows of a private memory map (mode ``c``) are views of it. Other arrays may be read-only, where a write
    would end the process, or the caller's own.
    """
    first, n = (int(indices[0]) if len(indices) else 0), len(indices)
    is_range = np.array_equal(indices, np.arange(first, first + n))
    is_private = isinstance(array, np.memmap) and array.mode == "c" and array.flags.writeable
    if is_range and is_private and change is _unchanged and array.dtype == np.float32 and array.flags.c_contiguous:
        return torch.from_numpy(array[first : first + n]).to(device)
    result = torch.empty((n, array.shape[1]), device=device)
    for block in READING.blocks(n, array[:1].nbytes):
        rows = array[first + block.start : first + block.stop] if is_range else array[indices[block]]
        result[block] = torch.from_numpy(np.array(change(rows), dtype=np.float32))
    return result
