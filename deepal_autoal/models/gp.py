"""A Gaussian-process classifier: hard to beat with few labels, and as good as a linear model on linear data.

The latent functions of the classes have a Gaussian-process prior whose kernel is half linear, half squared
exponential; the likelihood is the softmax. The model is the mode of the posterior (Williams & Barber 1998; Rasmussen &
Williams 2006, section 3.5), which is softmax regression in the kernel's eigenvectors; Laplace's approximation gives
the variance of the logits. The kernel is chosen from a grid, by the marginal likelihood of Gaussian-process regression
of the one-hot labels, which has a closed form (the same, equation 5.8), and by cross-validation (see `_choose_kernel`);
the variance is chosen by cross-validation (see `prior_strength`). More than `MOST_ANCHORS` labels are projected onto
that many of them (Nyström's approximation).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch.nn import functional as F

from deepal_autoal.errors import InputError
from deepal_autoal.models.laplace import laplace
from deepal_autoal.models.prior_strength import HeldOut, choose_strength, copies_of, held_out_score
from deepal_autoal.models.softmax_regression import Features, minimize
from deepal_autoal.numerics.dropout_masks import normal_noise
from deepal_autoal.numerics.random_streams import torch_stream
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

# Squared length scales to try, in units of the labeled inputs' spread.
LENGTHS = (0.1, 0.3, 1.0, 3.0, 10.0)
# Shares of the linear part to try, each with the negative log of its prior.
SHARES = {0.5: 0.0, 0.0: 0.7}
# Kernels that are cross-validated in addition to the one with the highest marginal likelihood, which is sometimes far
# too smooth if classes are shells or rings: squared length scale and share.
_RIVALS = ((0.1, 0.5), (0.3, 0.0), (1.0, 0.0))
# Weight of the marginal likelihood of regression relative to the held-out likelihood of classification.
_MARGINAL_WEIGHT = 0.3
# Most labels used by the marginal likelihood, the cross-validation of kernels, and that of the variance.
_MOST_COMPARED, _MOST_VALIDATED, _MOST_WEIGHED = 400, 100, 300
# Most labels that span the kernel.
MOST_ANCHORS = 1000
_RIDGES = tuple(10.0**power for power in range(-5, 2))
_NEGLIGIBLE = 1e-7


@dataclass(frozen=True)
class Kernel:
    """``share · x·z / spread + (1 − share) · exp(−‖x − z‖² / (2 · length · spread))`` of centered vectors.

    Attributes:
        length: Squared length scale over the spread.
        share: Share of the linear part, in [0, 1].
        spread: Mean squared length of the centered vectors, positive; if they are scaled, about the number of
            features that vary.
    """

    length: float
    share: float
    spread: float

    def __call__(self, one: Tensor, other: Tensor) -> Tensor:
        """Return the kernel's values (n, m) of rows (n, D) and (m, D)."""
        products = one @ other.T
        distances = (one.square().sum(dim=1)[:, None] + other.square().sum(dim=1) - 2 * products).clamp_min_(0)
        near = distances.div_(-2 * self.length * self.spread).exp_()
        return products.mul_(self.share / self.spread).add_(near, alpha=1 - self.share)

    def diagonal(self, rows: Tensor) -> Tensor:
        """Return the kernel value of each row (n, D) with itself, (n,)."""
        return rows.square().sum(dim=1) * (self.share / self.spread) + (1 - self.share)


class KernelHead(SizedByData):
    """Logits of vectors by their kernel values with the anchors; empty before the model is solved.

    Attributes:
        center: (D,), subtracted from vectors: far from zero, distances would be lost to rounding.
        anchors: (m, D), labeled samples minus the center.
        coefficients: (m, C).
        bias: (C,).
        length, share, spread: Parameters of the `Kernel`.
        projection: (m, r), maps kernel values to the features of the posterior.
        row_means: (m,), means of the kernel's rows over the anchors.
        variances, bias_variances, rotation, precision: As in `laplace.Posterior`.
    """

    center: Tensor
    anchors: Tensor
    coefficients: Tensor
    bias: Tensor
    length: Tensor
    share: Tensor
    spread: Tensor
    projection: Tensor
    row_means: Tensor
    variances: Tensor
    bias_variances: Tensor
    rotation: Tensor
    precision: Tensor

    def __init__(self, n_features: int, n_classes: int) -> None:
        super().__init__()
        self.register_buffer("center", torch.zeros(n_features))
        self.register_buffer("anchors", torch.zeros(1, n_features))
        self.register_buffer("coefficients", torch.zeros(1, n_classes))
        self.register_buffer("bias", torch.zeros(n_classes))
        for name in ("length", "share", "spread"):
            self.register_buffer(name, torch.ones(()))
        for name in ("projection", "row_means", "variances", "bias_variances", "rotation", "precision"):
            self.register_buffer(name, torch.zeros(0))

    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        return Kernel(float(self.length), float(self.share), float(self.spread))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return logits (n, C) of vectors (n, D)."""
        return torch.addmm(self.bias, self.kernel(vectors - self.center, self.anchors), self.coefficients)


class GaussianProcess(SolvedModel):
    """The classifier on the scaled inputs, which are also its embeddings.

    Args:
        n_features: Numbers per flattened input.
        n_classes: Number of outputs.
        length: Squared length scale over the spread of the labeled inputs; None chooses it.
        class_weights: ``none`` or ``balanced``.

    Attributes:
        held_out: Predictions of the cross-validation of the last `solve`.
    """

    has_posterior = True
    head: KernelHead

    def __init__(self, n_features: int, n_classes: int, length: float | None, class_weights: str) -> None:
        super().__init__(FlatInput(), n_features, n_classes, 0.0)
        self._length = length
        self._class_weights = class_weights
        self.head = KernelHead(n_features, n_classes)
        self.held_out: HeldOut | None = None

    def solve(
        self, inputs: Tensor, labels: Tensor, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Find the mode of the posterior; see `SolvedModel.solve`."""
        flat = inputs.flatten(1)
        n_anchors = min(len(flat), MOST_ANCHORS)
        wide = working_copy(flat, len(flat) * n_anchors * self.n_classes)
        center = wide.mean(dim=0)
        wide = wide - center
        labels = labels.to(wide.device)
        order = torch.randperm(len(wide), generator=torch_stream(seed, "anchors")).to(wide.device)
        compared = order[:_MOST_COMPARED]
        lengths = LENGTHS if self._length is None else (self._length,)
        # Without Bessel's correction, two samples would appear to be half as far apart as they are.
        variance = float(wide.square().sum(dim=1).mean()) * len(wide) / max(len(wide) - 1, 1)
        spread = variance or float(flat.shape[1])
        kernel = _choose_kernel(
            wide[compared], labels[compared], self.n_classes, self._class_weights, lengths, spread, seed
        )
        anchors = wide if len(wide) == n_anchors else wide[order[:n_anchors]]
        span = _Span.of(kernel, anchors)
        # Anchors have mean zero; if they are not all of the samples, the samples may not.
        features = Features(span.features(kernel(wide, anchors)), labels, self.n_classes)
        sample_weights = class_sample_weights(labels, self.n_classes, self._class_weights, wide.dtype)
        # In the span of all samples, the time of a cross-validation would grow with the square of their number.
        weighed = order[:_MOST_WEIGHED] if len(wide) > _MOST_WEIGHED else torch.arange(len(wide), device=wide.device)
        own = features if len(weighed) == n_anchors else self._features(kernel, wide[weighed], labels[weighed])
        amplitude = float(own.rows.square().sum(dim=1).mean()) or 1.0
        chosen = choose_strength(own, wide[weighed], sample_weights[weighed], amplitude, seed)
        self.held_out = HeldOut(weighed[chosen.held_out.positions], chosen.held_out.log_probabilities)
        start = chosen.start[None] if own is features else None
        # Probabilities are exact to about 0.001; two more decades would take 50% more steps.
        tolerance = 1e-7 if wide.dtype == torch.float64 else 1e-5
        solution, taken = minimize(features, sample_weights[None], chosen.precision, start, tolerance)
        weights = solution[0]
        if progress is not None:
            progress(1, 1)
        posterior = laplace(features, sample_weights, weights, chosen.precision)
        coefficients = span.projection @ weights[:-1]
        state = {
            "center": center, "anchors": anchors, "coefficients": coefficients,
            "bias": weights[-1] - span.row_means @ coefficients,
            "length": torch.tensor(kernel.length), "share": torch.tensor(kernel.share),
            "spread": torch.tensor(kernel.spread),
            "projection": span.projection, "row_means": span.row_means, "variances": posterior.variances,
            "bias_variances": posterior.bias_variances, "rotation": posterior.rotation,
            "precision": torch.tensor(chosen.precision),
        }  # fmt: skip
        for name, value in state.items():
            setattr(self.head, name, value.to(flat.device, torch.float32))
        # By the head, as for predictions, so these metrics include its rounding errors.
        log_probabilities = self.head(flat).log_softmax(dim=1)
        metrics = {
            "steps": chosen.steps + taken,
            **training_metrics(log_probabilities, labels.to(flat.device)),
            "length": kernel.length,
            "variance": float(features.rows.square().sum(dim=1).mean()) / chosen.precision,
        }
        return metrics if math.isnan(chosen.held_out_loss) else {**metrics, "held_out_loss": chosen.held_out_loss}

    def _features(self, kernel: Kernel, rows: Tensor, labels: Tensor) -> Features:
        """Return the features of some samples in their own span."""
        return Features(_Span.of(kernel, rows).features(kernel(rows, rows)), labels, self.n_classes)

    def shared_draws(self, passes: range, key: tuple[int | str, ...]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return logits (T, n, C) of draws of the latent functions as a function; see `SolvedModel.shared_draws`.

        A draw is shared in what the labeled samples span; the rest, whose covariance would take a matrix of all pairs
        of samples, is drawn for each sample on its own (as in the FITC approximation, Snelson & Ghahramani 2006).
        """
        head, n_classes = self.head, self.n_classes
        one = torch.zeros(1, dtype=torch.int64, device=head.center.device)
        noise = normal_noise(one, (len(head.variances) + 1) * n_classes, passes, (*key, "shared"))
        noise = noise.view(len(passes), -1, n_classes)
        weights = noise[:, :-1] * head.variances.sqrt()
        bias = noise[:, -1:] * head.bias_variances.sqrt()

        def logits(samples: Tensor, embeddings: Tensor) -> Tensor:
            features, rest = self._posterior_features(embeddings)
            own = normal_noise(samples, n_classes, passes, key) * rest.sqrt()[:, None]
            drawn: Tensor = head(embeddings) + (features @ weights + bias + own) @ head.rotation.T
            return drawn

        return logits

    def logit_deviations(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return standard deviations (n, C) along directions (C, C); see `SolvedModel.logit_deviations`."""
        features, rest = self._posterior_features(embeddings)
        squares = features.square_() @ self.head.variances
        return (squares + rest[:, None] + self.head.bias_variances).sqrt(), self.head.rotation

    def _posterior_features(self, embeddings: Tensor) -> tuple[Tensor, Tensor]:
        """Return features (n, r) in the span of the anchors, and the variance (n,) of what they omit."""
        head = self.head
        centered = embeddings - head.center
        values = head.kernel(centered, head.anchors)
        lengths = head.kernel.diagonal(centered) - 2 * values.mean(dim=1) + head.row_means.mean()
        features = (values - head.row_means) @ head.projection
        return features, (lengths - features.square().sum(dim=1)).clamp_min(0) / head.precision


@dataclass(frozen=True)
class _Span:
    """The directions that the anchors span in the kernel's feature space, around the anchors' mean.

    Attributes:
        projection: (m, r): features are kernel values with the anchors, minus `row_means`, times this.
        row_means: (m,).
    """

    projection: Tensor
    row_means: Tensor

    @classmethod
    def of(cls, kernel: Kernel, anchors: Tensor) -> _Span:
        values, vectors, row_means = _eigen(kernel(anchors, anchors))
        kept = (values > _NEGLIGIBLE * values[-1].clamp_min(_NEGLIGIBLE)).nonzero().squeeze(1).flip(0)
        vectors = vectors[:, kept]
        vectors = vectors - vectors.mean(dim=0)  # centers the projections
        return cls(vectors * values[kept].rsqrt(), row_means)

    def features(self, kernel_values: Tensor) -> Tensor:
        """Return features (n, r) from kernel values (n, m)."""
        return (kernel_values - self.row_means) @ self.projection


def _choose_kernel(
    rows: Tensor,
    labels: Tensor,
    n_classes: int,
    class_weights: str,
    lengths: tuple[float, ...],
    spread: float,
    seed: int,
) -> Kernel:
    """Return the kernel that explains the labels best, of those with the given length scales.

    The kernel under which regression of the one-hot labels has the highest marginal likelihood, and `_RIVALS`, are
    compared by the negative log-likelihood of held-out labels, minus a part of the marginal likelihood. Both steps have
    weak priors: on the length scale, log-normal around 1, and on the linear part's share. Copies of a sample count
    once, since they would look like labels without noise.
    """
    first = torch.from_numpy(np.sort(np.unique(copies_of(rows), return_index=True)[1])).to(rows.device)
    rows, labels = rows[first], labels[first]
    targets = F.one_hot(labels, n_classes).to(rows.dtype)
    targets = targets - targets.mean(dim=0)
    n_targets = max(int((torch.bincount(labels) > 0).sum()) - 1, 1)  # one-hot labels of C classes vary in C - 1 ways
    marginal: dict[Kernel, float] = {}
    prior: dict[Kernel, float] = {}
    for length, (share, surprise) in itertools.product(lengths, SHARES.items()):
        kernel = Kernel(length, share, spread)
        values, vectors, _ = _eigen(kernel(rows, rows))
        powers = (vectors.T @ targets).square().sum(dim=1)
        # The first direction is that of the mean, which was removed.
        marginal[kernel] = _marginal_likelihood(values[1:].clamp_min(0), powers[1:], n_targets)
        prior[kernel] = 0.5 * math.log10(length) ** 2 + surprise
    likeliest = min(marginal, key=lambda kernel: prior[kernel] - marginal[kernel])
    rivals = [kernel for kernel in marginal if (kernel.length, kernel.share) in _RIVALS and kernel != likeliest]
    if not rivals:
        return likeliest
    validated, validated_labels = rows[:_MOST_VALIDATED], labels[:_MOST_VALIDATED]
    sample_weights = class_sample_weights(validated_labels, n_classes, class_weights, rows.dtype)
    scores = {}
    for kernel in (likeliest, *rivals):
        span = _Span.of(kernel, validated)
        features = Features(span.features(kernel(validated, validated)), validated_labels, n_classes)
        amplitude = float(features.rows.square().sum(dim=1).mean()) or 1.0
        held_out = held_out_score(features, validated, sample_weights, amplitude, seed)
        scores[kernel] = held_out * len(rows) / len(validated) - _MARGINAL_WEIGHT * marginal[kernel] + prior[kernel]
    return min(scores, key=lambda kernel: scores[kernel])


def _marginal_likelihood(values: Tensor, powers: Tensor, n_targets: int) -> float:
    """Return the log marginal likelihood of Gaussian-process regression, up to a constant.

    The kernel's amplitude is the best one, in closed form; the noise, relative to it, is the best of several.

    Args:
        values: Eigenvalues of the kernel matrix, (n,).
        powers: Squared length of the targets in each eigenvector, (n,).
        n_targets: Independent columns of the targets.
    """
    n_numbers = n_targets * len(values)
    if not n_numbers:
        return 0.0
    mean = float(values.mean()) or 1.0
    likelihoods = []
    for ridge in _RIDGES:
        variances = values + ridge * mean
        amplitude = max(float((powers / variances).sum()) / n_numbers, 1e-300)
        likelihoods.append(-0.5 * n_numbers * math.log(amplitude) - 0.5 * n_targets * float(variances.log().sum()))
    return max(likelihoods)


def _eigen(kernel_values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return ascending eigenvalues and eigenvectors of the centered kernel, and the means of its rows."""
    row_means = kernel_values.mean(dim=0)
    centered = kernel_values - row_means - row_means[:, None] + row_means.mean()
    values, vectors = torch.linalg.eigh(centered)
    return values, vectors, row_means


def build(
    input_shape: tuple[int, ...],
    n_classes: int,
    length: float | None = None,
    class_weights: Literal["none", "balanced"] = "none",
) -> SolvedModel:
    """Return a Gaussian-process classifier on the scaled inputs, which are also its embeddings.

    Args:
        input_shape: (D,), or (C, H, W), which is flattened.
        n_classes: Number of outputs.
        length: Squared length scale of the kernel, in units of the labeled inputs' mean squared distance from their
            mean; by default chosen in every round.
        class_weights: ``balanced`` gives each class the same weight, however many labels it has.
    """
    if length is not None and not 0.0 < length < math.inf:
        raise InputError(f"length {length}: give a positive number, or leave it out to have it chosen")
    return GaussianProcess(math.prod(input_shape), n_classes, length, class_weights)
