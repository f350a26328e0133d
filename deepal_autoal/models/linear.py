"""Multinomial logistic regression, solved to the minimum, for vectors that are already embeddings."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import nn

from deepal_autoal.errors import InputError
from deepal_autoal.models.laplace import laplace
from deepal_autoal.models.prior_strength import choose_strength
from deepal_autoal.models.softmax_regression import Features, minimize
from deepal_autoal.numerics.dropout_masks import normal_noise
from deepal_autoal.training.solved import (
    FlatInput,
    SizedByData,
    SolvedModel,
    class_sample_weights,
    training_metrics,
    working_copy,
)

if TYPE_CHECKING:
    from torch import Tensor

_NEGLIGIBLE = 1e-10


class LinearPosterior(SizedByData):
    """State of the logits' posterior; empty before the model is solved.

    Attributes:
        center: (D,), mean of the labeled inputs.
        basis: (D, r), orthonormal columns that span the labeled inputs.
        variances, bias_variances, rotation, precision: As in `laplace.Posterior`.
    """

    center: Tensor
    basis: Tensor
    variances: Tensor
    bias_variances: Tensor
    rotation: Tensor
    precision: Tensor

    def __init__(self) -> None:
        super().__init__()
        for name in ("center", "basis", "variances", "bias_variances", "rotation", "precision"):
            self.register_buffer(name, torch.zeros(0))

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *arguments: Any) -> None:
        # Weights saved before this model had a posterior still predict.
        for name, buffer in self.named_buffers(recurse=False):
            state_dict.setdefault(prefix + name, buffer)
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class Linear(SolvedModel):
    """Softmax regression on the scaled inputs, which are also its embeddings.

    Args:
        n_features: Numbers per flattened input.
        n_classes: Number of outputs.
        l2: Factor of ``‖W‖²/2`` in addition to the summed cross-entropy, scikit-learn's 1/C; None chooses it by
            cross-validation (see `prior_strength`).
        class_weights: ``none`` or ``balanced``.
        dropout: Rate of the dropout passes; None draws passes from the posterior instead.
    """

    head: nn.Linear

    def __init__(
        self, n_features: int, n_classes: int, l2: float | None, class_weights: str, dropout: float | None
    ) -> None:
        super().__init__(FlatInput(), n_features, n_classes, 0.0 if dropout is None else dropout)
        self._l2 = l2
        self._class_weights = class_weights
        self.posterior = LinearPosterior()
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    @property
    def has_posterior(self) -> bool:
        """Whether passes are drawn from the posterior."""
        return self.dropout.p == 0.0

    def solve(
        self, inputs: Tensor, labels: Tensor, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Fit to the minimum; see `SolvedModel.solve`."""
        flat = inputs.flatten(1)
        rank = min(flat.shape)
        wide = working_copy(flat, len(flat) * rank * self.n_classes)
        labels = labels.to(wide.device)
        center = wide.mean(dim=0)
        centered = wide - center
        basis = _row_space(centered)
        features = Features(centered @ basis, labels, self.n_classes)
        sample_weights = class_sample_weights(labels, self.n_classes, self._class_weights, wide.dtype)
        start: Tensor | None = None
        steps, metrics = 0, {}
        if self._l2 is None:
            # Identical samples do not show the spread: scaled features have variance one.
            spread = float(centered.square().sum(dim=1).mean()) or float(flat.shape[1])
            chosen = choose_strength(features, wide, sample_weights, spread, seed)
            precision, start, steps = chosen.precision, chosen.start[None], chosen.steps
            if not math.isnan(chosen.held_out_loss):
                metrics["held_out_loss"] = chosen.held_out_loss
        else:
            precision = self._l2
        tolerance = 1e-9 if wide.dtype == torch.float64 else 1e-5
        solution, taken = minimize(features, sample_weights[None], precision, start, tolerance)
        weights = solution[0]
        if progress is not None:
            progress(1, 1)
        posterior = laplace(features, sample_weights, weights, precision)
        in_inputs = basis @ weights[:-1]
        with torch.no_grad():
            self.head.weight.copy_(in_inputs.T)
            self.head.bias.copy_(weights[-1] - center @ in_inputs)
        state = {"center": center, "basis": basis, "variances": posterior.variances,
                 "bias_variances": posterior.bias_variances, "rotation": posterior.rotation,
                 "precision": torch.tensor(precision)}  # fmt: skip
        for name, value in state.items():
            setattr(self.posterior, name, value.to(flat.device, torch.float32))
        everything = torch.arange(len(labels), device=labels.device)
        log_probabilities = features.log_probabilities(weights, everything)
        return {
            "steps": steps + taken,
            **training_metrics(log_probabilities, labels),
            "l2": float(precision),
            **metrics,
        }

    def shared_draws(self, passes: range, key: tuple[int | str, ...]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return logits (T, n, C) of draws of the weights as a function; see `SolvedModel.shared_draws`."""
        known = self._known_posterior()
        (n_features, rank), n_classes = known.basis.shape, self.n_classes
        one = torch.zeros(1, dtype=torch.int64, device=known.basis.device)
        noise = normal_noise(one, (rank + n_features + 1) * n_classes, passes, key)
        # All passes side by side in one matrix: products with the few columns of each are several times slower.
        noise = noise.view(len(passes), -1, n_classes).transpose(0, 1)
        inside = (noise[:rank] * known.variances.sqrt()[:, None]).flatten(1)
        outside = (noise[rank:-1] / known.precision.sqrt()).flatten(1)
        weights = outside + known.basis @ (inside - known.basis.T @ outside)
        weights = (weights.view(n_features, -1, n_classes) @ known.rotation.T).flatten(1)
        bias = (noise[-1] * known.bias_variances.sqrt()) @ known.rotation.T

        def logits(samples: Tensor, embeddings: Tensor) -> Tensor:
            deviations = (embeddings - known.center) @ weights
            drawn: Tensor = self.head(embeddings) + deviations.view(len(embeddings), -1, n_classes).transpose(0, 1)
            return drawn + bias[:, None]

        return logits

    def _known_posterior(self) -> LinearPosterior:
        if not len(self.posterior.rotation):
            raise InputError(
                "the model has no posterior, because a strategy trained it by gradient steps; give --model "
                "linear[passes=dropout]"
            )
        return self.posterior

    def logit_deviations(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return standard deviations (n, C) along directions (C, C); see `SolvedModel.logit_deviations`."""
        known = self._known_posterior()
        centered = embeddings - known.center
        squares = (centered @ known.basis).square_()
        rest = (centered.square().sum(dim=1) - squares.sum(dim=1)).clamp_min(0) / known.precision
        return (squares @ known.variances + rest[:, None] + known.bias_variances).sqrt(), known.rotation


def _row_space(centered: Tensor) -> Tensor:
    """Return the relevant right singular vectors (D, r) of (M, D), largest first, from the smaller Gram matrix."""
    is_wide = len(centered) < centered.shape[1]
    gram = centered @ centered.T if is_wide else centered.T @ centered
    values, vectors = torch.linalg.eigh(gram)
    least = _NEGLIGIBLE * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
    kept = (values > least).nonzero().squeeze(1).flip(0)
    basis: Tensor = vectors[:, kept]
    return (centered.T @ basis) * values[kept].rsqrt() if is_wide else basis


def build(
    input_shape: tuple[int, ...],
    n_classes: int,
    l2: float | None = None,
    class_weights: Literal["none", "balanced"] = "none",
    passes: Literal["posterior", "dropout"] = "posterior",
    dropout: float = 0.2,
) -> SolvedModel:
    """Return softmax regression on the scaled inputs, which are also its embeddings.

    Args:
        input_shape: (D,), or (C, H, W), which is flattened.
        n_classes: Number of outputs.
        l2: Strength of the penalty, ``l2/2 · ‖W‖²`` added to the summed cross-entropy (1/C of scikit-learn),
            positive; by default chosen by cross-validation on the labeled set in every round.
        class_weights: ``balanced`` gives each class the same weight, however many labels it has.
        passes: The passes that strategies such as ``bald`` get: draws from the posterior (Laplace's approximation), or
            ``dropout`` of features, at the rate ``dropout``, which does not affect the fit.
        dropout: Rate of that dropout.
    """
    if l2 is not None and not 0.0 < l2 < math.inf:
        raise InputError(f"l2 {l2}: give a positive number, or leave it out to have it chosen")
    if passes == "dropout" and dropout == 0.0:
        raise InputError("passes=dropout with dropout 0 makes all passes equal; give a rate above 0")
    return Linear(math.prod(input_shape), n_classes, l2, class_weights, dropout if passes == "dropout" else None)
