"""A trained task model as a function of raw samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_autoal.training.samples import as_samples

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from deepal_autoal.training.fitted_model import FittedModel


class Predictor:
    """Predicts the classes of samples that have the same form as the pool the model was trained on.

    Args:
        model: The fitted model.
        normalization: The pool's statistics.
        input_shape: (C, H, W) of the pool's images, or (D,) of its vectors.
        class_names: Names of the classes, if known.
        prepare: Makes model inputs of samples as they are written.

    Attributes:
        module: The torch module; it takes normalized inputs.
    """

    def __init__(
        self,
        model: FittedModel,
        normalization: Normalization,
        input_shape: tuple[int, ...],
        class_names: tuple[str, ...] = (),
        prepare: Callable[[Any], Any] = lambda samples: samples,
    ) -> None:
        self.model = model
        self.module = model.module
        self.normalization = normalization
        self.input_shape = input_shape
        self.class_names = class_names
        self._prepare = prepare

    @engine_call()
    def predict(self, samples: ArrayLike) -> NDArray[np.int64]:
        """Return the numbers of the predicted classes, int64 (n,); their names are ``class_names[number]``."""
        return self.logits(samples).argmax(dim=1).cpu().numpy()

    @engine_call()
    def predict_proba(self, samples: ArrayLike) -> NDArray[np.float32]:
        """Return class probabilities, float32 (n, C)."""
        return self.logits(samples).softmax(dim=1).cpu().numpy()

    def accuracy(
        self, inputs: Inputs, labels: NDArray[np.int64], progress: Callable[[int, int], None] | None = None
    ) -> float:
        """Return the share of samples whose predicted class is their label, in [0, 1]; arguments as in `correct`."""
        return float(self.correct(inputs, labels, progress).mean())

    @engine_call()
    def correct(
        self, inputs: Inputs, labels: NDArray[np.int64], progress: Callable[[int, int], None] | None = None
    ) -> NDArray[np.bool_]:
        """Return whether each sample's predicted class is its label, bool (n,).

        Args:
            inputs: Source of the samples.
            labels: Their classes, int64 (n,).
            progress: Called with the number of samples passed and their total.
        """
        logits, _ = self.model.sweep(inputs, np.arange(len(inputs)), progress=progress)
        return np.asarray(logits.argmax(dim=1).cpu().numpy() == labels)

    @engine_call()
    def logits(self, samples: ArrayLike) -> Tensor:
        """Return logits, float32 (n, C), on the model's device."""
        inputs = Inputs(as_samples(self._prepare(samples), "samples"), self.normalization, self.model.device)
        if inputs.input_shape != self.input_shape:
            raise InputError(f"samples have input shape {inputs.input_shape}; the model takes {self.input_shape}")
        return self.model.sweep(inputs, np.arange(len(inputs)))[0]
