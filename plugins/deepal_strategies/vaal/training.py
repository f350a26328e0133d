"""VAAL's adversarial training: a VAE hides which samples are labeled, and a discriminator tries to find out."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from deepal_autoal import DeepALError, global_torch_seed, without_compiler
from deepal_strategies.shared.option_checks import check_at_least, check_positive
from deepal_strategies.shared.row_blocks import INPUTS
from deepal_strategies.vaal.networks import Discriminator, build_vae
from deepal_strategies.vaal.sizes import epoch_length, iterations_for, width_for

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from deepal_autoal import PoolView, QueryContext

REPORTED = ("vae_loss", "discriminator_loss", "discriminator_accuracy")


@dataclass(frozen=True)
class Settings:
    """Everything the training needs besides the data; `VAAL` describes the options.

    ``epochs`` and ``width`` may be None: then they follow the data (see `sizes`).

    Raises:
        InputError: If a value is out of range.
    """

    epochs: int | None
    train_batch_size: int
    latent_dim: int
    width: int | None
    learning_rate: float
    beta: float
    adversary_weight: float
    vae_steps: int

    def __post_init__(self) -> None:
        for name in ("epochs", "train_batch_size", "latent_dim", "width", "vae_steps"):
            if getattr(self, name) is not None:
                check_at_least(name, getattr(self, name), 1)
        for name in ("beta", "adversary_weight"):
            check_at_least(name, getattr(self, name), 0)
        check_positive("learning_rate", self.learning_rate)


class Game:
    """Both networks, new in every query, and their alternating training.

    A batch holds samples of both pools, so BatchNorm sees the mixture both in training and in its running
    statistics, and never a single sample. (The authors' code normalizes each pool separately in training, which
    hides differences from the discriminator that exist in scoring.) Losses are means over each pool, added.

    Args:
        context: The round; its generators seed networks, batches and noise.
        settings: See `VAAL`.

    Attributes:
        width: Width of the VAE.
        epoch: Iterations of an epoch.
        n_iterations: Iterations of the whole training.
        vae: The variational autoencoder.
        discriminator: Returns the log odds of being labeled.
        weights: 1/(size of its pool's part) for each sample of a batch, (n,); labeled samples come first.
        is_labeled: 1 for the labeled samples of a batch, 0 for the others, float32 (n,).

    Raises:
        DeepALError: If there is no labeled sample.
    """

    def __init__(self, context: QueryContext, settings: Settings) -> None:
        labeled, candidates, device = context.labeled, context.candidates, context.device
        if not len(labeled):
            raise DeepALError("vaal compares candidates with labeled samples: label at least one sample first")
        self.settings = settings
        self.context = context
        input_shape = tuple(labeled.inputs([0]).shape[1:])
        self.width = settings.width or width_for(input_shape)
        self.epoch = epoch_length(len(labeled) + len(candidates), settings.train_batch_size)
        self.n_iterations = settings.epochs * self.epoch if settings.epochs else iterations_for(input_shape, self.epoch)
        # Created on the CPU, so all devices start from the same networks.
        with global_torch_seed(int(context.rng.integers(2**63))):
            self.vae = build_vae(input_shape, settings.latent_dim, self.width)
            self.discriminator = Discriminator(settings.latent_dim)
        # Channels last, as the inputs of images are.
        self.vae.to(device).to(memory_format=torch.channels_last)
        self.discriminator.to(device)
        self._vae_parameters = list(self.vae.parameters())
        self._vae_optimizer = _adam(self.vae, settings, device)
        self._discriminator_optimizer = _adam(self.discriminator, settings, device)
        parts = [min(settings.train_batch_size, len(pool)) for pool in (labeled, candidates)]
        self.is_labeled = torch.tensor([1.0] * parts[0] + [0.0] * parts[1], device=device)
        self.weights = torch.tensor([1 / parts[0]] * parts[0] + [1 / parts[1]] * parts[1], device=device)
        self._labeled_batches = _batches(len(labeled), parts[0], context.rng)
        self._candidate_batches = _batches(len(candidates), parts[1], context.rng)

    def run(self) -> dict[str, float]:
        """Train both networks, and return the means of the last epoch's iterations by name (`REPORTED`).

        ``vae_loss`` and ``discriminator_loss`` are what the networks minimize; ``discriminator_accuracy`` is the
        mean of the shares of labeled and of unlabeled samples that the discriminator recognizes, in [0, 1]: at
        1/2 it distinguishes nothing, and the query is no better than a random one.

        Raises:
            DeepALError: If a loss is not finite.
        """
        totals = torch.zeros(len(REPORTED), device=self.context.device)
        self.vae.train()
        self.discriminator.train()
        with torch.enable_grad():
            for iteration in range(self.n_iterations):
                for _ in range(self.settings.vae_steps):
                    inputs = self.next_batch()
                    vae_loss = self.vae_step(inputs)
                # On the batch of the last VAE step, as the authors' code does.
                discriminator_loss, accuracy = self.discriminator_step(inputs)
                self.context.progress(iteration + 1, self.n_iterations)
                if iteration >= self.n_iterations - self.epoch:
                    totals += torch.stack([vae_loss, discriminator_loss, accuracy])
        report = dict(zip(REPORTED, (totals / self.epoch).tolist(), strict=True))
        broken = [name for name, value in report.items() if not math.isfinite(value)]
        if broken:
            raise DeepALError(
                f"vaal's training diverged ({broken[0]} is {report[broken[0]]}): use a lower learning_rate"
            )
        return report

    def next_batch(self) -> Tensor:
        """Return model inputs of both pools, the labeled ones first, (n, ...)."""
        labeled = self.context.labeled.inputs(next(self._labeled_batches))
        return torch.cat([labeled, self.context.candidates.inputs(next(self._candidate_batches))])

    def vae_step(self, inputs: Tensor) -> Tensor:
        """Update only the VAE, to reconstruct both pools and make both look labeled, and return its loss."""
        mean, log_variance = self.vae.encode(inputs)
        generator = self.context.generator
        noise = torch.randn(mean.shape, generator=generator, device=generator.device)
        reconstructions = self.vae.decode(mean + noise * (0.5 * log_variance).exp())
        losses = negative_elbo(inputs, reconstructions, mean, log_variance, self.settings.beta)
        # -log D(μ), for samples of both pools.
        unlike_labeled = F.softplus(-self.discriminator(mean))
        loss = self.weights @ (losses + self.settings.adversary_weight * unlike_labeled)
        self._vae_optimizer.zero_grad()
        torch.autograd.backward(loss, inputs=self._vae_parameters)
        self._vae_optimizer.step()
        return loss.detach()

    def discriminator_step(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Update only the discriminator, and return its loss and its accuracy before the step, in [0, 1]."""
        with torch.no_grad():
            mean, _ = self.vae.encode(inputs)
        logits = self.discriminator(mean)
        loss = F.binary_cross_entropy_with_logits(logits, self.is_labeled, self.weights, reduction="sum")
        self._discriminator_optimizer.zero_grad()
        torch.autograd.backward(loss)
        self._discriminator_optimizer.step()
        accuracy = self.weights @ ((logits.detach() > 0) == (self.is_labeled > 0)).float() / 2
        return loss.detach(), accuracy

    @torch.no_grad()
    def log_odds(self, view: PoolView) -> Tensor:
        """Return the log odds of being labeled of a view's samples, log D(μ)/(1 - D(μ)), float32 (N,).

        Raises:
            DeepALError: If one is not finite.
        """
        self.vae.eval()
        self.discriminator.eval()
        batches = view.batches(INPUTS.rows())
        result = torch.cat([self.discriminator(self.vae.encode(inputs)[0]) for inputs in batches])
        if not result.isfinite().all():
            raise DeepALError("vaal's discriminator returned values that are not finite: use a lower learning_rate")
        return result


def negative_elbo(
    inputs: Tensor, reconstructions: Tensor, mean: Tensor, log_variance: Tensor, beta: float
) -> Tensor:  # fmt: skip
    """Return the squared error plus β times the KL divergence from the standard normal prior, (n,).

    Both are sums over a sample's dimensions, in nats: the negative evidence lower bound of a Gaussian decoder of
    variance 1/2, up to a constant.

    Args:
        inputs: Shape (n, ...).
        reconstructions: Like ``inputs``.
        mean: μ, (n, z).
        log_variance: log σ², (n, z).
        beta: β.
    """
    squared_error = (reconstructions - inputs).square().flatten(1).sum(dim=1)
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1)
    return squared_error + beta * divergence


def _adam(network: nn.Module, settings: Settings, device: torch.device) -> torch.optim.Adam:
    # Fused where torch supports it: otherwise small networks spend most of a step in the optimizer's calls.
    adam = without_compiler(torch.optim.Adam)
    return adam(network.parameters(), settings.learning_rate, fused=device.type in ("cpu", "cuda"))


def _batches(n_samples: int, size: int, rng: np.random.Generator) -> Iterator[NDArray[np.int64]]:
    """Yield ``size`` positions at a time, without end; each epoch has a new order, and its remainder is dropped."""
    while True:
        order = rng.permutation(n_samples)
        for start in range(0, n_samples - size + 1, size):
            yield order[start : start + size]
