"""A classifier with scikit-learn's interface as a task model: its probabilities, and its input as embeddings.

A fitted classifier is never written to a file, as that would take a pickle. The state is what it was fitted to, the
labeled inputs, their labels and the seed, from which it is fitted again when the state is loaded.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deepal_autoal.errors import InputError, format_error, is_interrupt
from deepal_autoal.numerics.random_streams import global_torch_seed
from deepal_autoal.training.solved import FlatInput, SizedByData, SolvedModel, training_metrics

# Of a class that the classifier rules out: its logarithm is finite.
_LEAST = 1e-12
_TOLERANCE = 1e-3


class ClassifierHead(SizedByData):
    """Log probabilities of a classifier, fitted to what the buffers hold.

    Attributes:
        inputs: float32 (M, D); empty before it is fitted.
        labels: int64 (M,).
        seed: int64 scalar.
    """

    inputs: Tensor
    labels: Tensor
    seed: Tensor

    def __init__(self, estimator: Any, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__()
        self._estimator = estimator
        self._input_shape = input_shape
        self._n_classes = n_classes
        self._fitted: Any = None
        self.register_buffer("inputs", torch.zeros((0, math.prod(input_shape))))
        self.register_buffer("labels", torch.zeros(0, dtype=torch.int64))
        self.register_buffer("seed", torch.zeros((), dtype=torch.int64))

    def fit(self, inputs: Tensor, labels: Tensor, seed: int) -> None:
        """Fit a new classifier."""
        self.inputs, self.labels = inputs.clone(), labels.clone()
        self.seed = torch.tensor(seed, dtype=torch.int64, device=labels.device)
        self._fitted = None

    def forward(self, vectors: Tensor) -> Tensor:
        """Return log probabilities (n, C) of vectors (n, D)."""
        found = np.full((len(vectors), self._n_classes), _LEAST, dtype=np.float64)
        classes = np.unique(self.labels.cpu().numpy())
        if len(classes) == 0:
            found[:] = 1 / self._n_classes
        elif len(classes) == 1:  # which most classifiers refuse
            found[:, classes] = 1.0
        elif len(vectors):
            if self._fitted is None:
                self._fitted = self._refit()
            with _own_streams(int(self.seed)):  # a net of skorch draws from torch's when it predicts
                given = np.asarray(self._fitted.predict_proba(vectors.detach().cpu().numpy().astype(np.float32)))
            # A network has outputs for all classes; those without a label are the last ones, and stay ruled out.
            if given.shape not in ((len(vectors), len(classes)), (len(vectors), self._n_classes)):
                raise ValueError(f"predict_proba returned {given.shape}, expected ({len(vectors)}, {len(classes)})")
            if not (given.min() >= -_TOLERANCE and given.max() <= 1 + _TOLERANCE):  # also of NaN
                raise ValueError(
                    f"predict_proba returned {given.min():.3g} to {given.max():.3g}, not probabilities (of a net of "
                    "skorch that returns logits: criterion=nn.CrossEntropyLoss)"
                )
            found[:, classes] = np.maximum(given[:, : len(classes)], _LEAST)
        log_probabilities = np.log(found) - np.log(found.sum(axis=1, keepdims=True))
        return torch.from_numpy(log_probabilities.astype(np.float32)).to(vectors.device)

    def _refit(self) -> Any:
        from sklearn.base import clone

        estimator = clone(self._estimator)
        seed = int(self.seed)
        names = [name for name in estimator.get_params() if name == "random_state" or name.endswith("__random_state")]
        estimator.set_params(**dict.fromkeys(names, seed % 2**32))
        # Classes without a label in between are left out: nets take labels for column numbers.
        classes, labels = np.unique(self.labels.cpu().numpy(), return_inverse=True)
        labels = labels.reshape(-1).astype(np.int64)
        weights = {
            name: {
                **_other_keys(value, self._n_classes),
                **{position: value[number] for position, number in enumerate(classes.tolist()) if number in value},
            }
            for name, value in estimator.get_params().items()
            if name.rpartition("__")[2] == "class_weight" and isinstance(value, dict)
        }
        # Of a network with outputs for all classes, those without a label come last.
        order = np.concatenate([classes, np.setdiff1d(np.arange(self._n_classes), classes)])
        losses = {
            name: value[torch.from_numpy(order).to(value.device)]
            for name, value in estimator.get_params().items()
            if name.endswith("criterion__weight") and isinstance(value, Tensor) and value.shape == order.shape
        }
        estimator.set_params(**weights, **losses)
        for name, value in estimator.get_params().items():
            weight = getattr(value, "weight", None) if isinstance(value, torch.nn.Module) else None
            if name.rpartition("__")[2] == "criterion" and weight is not None and weight.shape == order.shape:
                value.weight = weight[torch.from_numpy(order).to(weight.device)]  # the clone's own
        try:
            with _own_streams(seed), torch.enable_grad():
                estimator.fit(self.inputs.cpu().numpy().astype(np.float32), labels)
        except Exception as error:
            hint = self._hint(estimator)
            if not hint or is_interrupt(error):
                raise
            raise InputError(f"{format_error(error).rstrip('.')}; {hint}") from error
        return estimator

    def _hint(self, estimator: Any) -> str:
        """Return what may help a net of skorch, or a pipeline that ends in one, that cannot be fitted."""
        net, skorch = estimator, sys.modules.get("skorch")
        while hasattr(net, "steps"):
            net = net.steps[-1][1]
        if skorch is None or not isinstance(net, skorch.NeuralNet):
            return ""
        hints = []
        if net.train_split is not None:
            hints.append("with few labels, hold out none of them: train_split=None")
        if len(self._input_shape) > 1:
            shape, size = ", ".join(map(str, self._input_shape)), math.prod(self._input_shape)
            hints.append(f"its module gets images flattened, (n, {size}): let it begin with nn.Unflatten(1, ({shape}))")
        return "; ".join(hints)

    def __deepcopy__(self, memo: dict[int, Any]) -> ClassifierHead:
        copied = ClassifierHead(self._estimator, self._input_shape, self._n_classes)
        copied.fit(self.inputs, self.labels, int(self.seed))
        return copied

    def _load_from_state_dict(self, *arguments: Any, **named: Any) -> None:
        super()._load_from_state_dict(*arguments, **named)
        self._fitted = None


@contextmanager
def _own_streams(seed: int) -> Iterator[None]:
    """Seed the global generators of NumPy and torch inside the block and restore them after it."""
    before = np.random.get_state()
    try:
        np.random.seed(seed % 2**32)
        with global_torch_seed(seed):
            yield
    finally:
        np.random.set_state(before)


def _check_no_column_names(estimator: Any) -> None:
    """Refuse a pipeline that chooses columns of a frame.

    Raises:
        InputError: If it has such a part.
    """
    from sklearn.compose import ColumnTransformer, make_column_selector

    for part in (estimator, *estimator.get_params().values()):
        for _, _, columns in part.transformers if isinstance(part, ColumnTransformer) else ():
            chosen = (columns.start, columns.stop) if isinstance(columns, slice) else np.atleast_1d(columns)
            # Other functions may choose by number.
            if isinstance(columns, make_column_selector) or any(isinstance(column, str) for column in chosen):
                raise InputError(
                    "its ColumnTransformer chooses columns by name, but a classifier gets numbers (n, D), which are "
                    "made of a frame's columns already; leave it out, or apply it first: (columns.fit_transform(X), y)"
                )


def _other_keys(weights: dict[Any, Any], n_classes: int) -> dict[Any, Any]:
    """Return the weights of what is no class number, which the classifier refuses."""
    return {key: weight for key, weight in weights.items() if key not in range(n_classes)}


class Classifier(SolvedModel):
    """A classifier with ``fit`` and ``predict_proba`` on the scaled inputs, which are also its embeddings.

    Args:
        estimator: Cloned before every fit; its parameters called ``random_state`` are set from the run's seed.
        input_shape: (D,), or (C, H, W), which is flattened.
        n_classes: Number of outputs.
    """

    is_differentiable = False
    head: ClassifierHead

    def __init__(self, estimator: Any, input_shape: tuple[int, ...], n_classes: int) -> None:
        super().__init__(FlatInput(), math.prod(input_shape), n_classes, 0.0)
        self.head = ClassifierHead(estimator, input_shape, n_classes)
        if not callable(getattr(estimator, "predict_proba", None)):
            raise InputError(f"{estimator} has no predict_proba; choose another classifier")
        _check_no_column_names(estimator)

    def solve(
        self, inputs: Tensor, labels: Tensor, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Fit the classifier; see `SolvedModel.solve`."""
        flat = inputs.flatten(1).float()
        self.head.fit(flat, labels, seed)
        log_probabilities = self.head(flat)
        if progress is not None:
            progress(1, 1)
        return {"steps": 1, **training_metrics(log_probabilities, labels)}
