"""The VAAL strategy: candidates that a discriminator tells most surely from the labelled set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import ScoringStrategy
from deepal_strategies.vaal.training import Game, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class VAAL(ScoringStrategy):
    """What a discriminator, on the latent means of a VAE, tells most surely from the labelled set.

    A VAE learns to describe labelled and unlabelled samples alike; a discriminator learns to tell the two by the
    latent mean μ, and the VAE to prevent that. The candidates of the lowest D(μ), the probability of being
    labelled, resemble the labelled set least. Both networks are new in every query and use model inputs alone;
    neither labels nor the task model matter (Sinha, Ebrahimi & Darrell, ICCV 2019, Variational adversarial active
    learning).

    The VAE minimises, on each pool, squared error + β·KL - λ·log D(μ); the discriminator
    -log D(μ_labelled) - log(1 - D(μ_unlabelled)). Where paper and released code differ or are silent:

    - The paper's equations hold the evidence lower bound; so error and divergence are sums over a sample's
      dimensions and means over the batch here. The code adds the *mean* squared error over pixels to the *sum* of
      the divergences over the batch, which at 32x32 pixels weighs the divergence almost 400,000 times as much.
    - A batch of labelled and one of unlabelled samples pass through the VAE together; see `Game`.
    - Pools of fewer samples than a batch give all they have; of larger pools, each epoch's rest is left out.
    - Inputs come through the evaluation transform, without augmentation.
    - Depth fits the image size; at 32x32 pixels it is the paper's. Vectors get two hidden layers.
    - The discriminator has three linear layers, as in the latest released code; it had five before.

    Args:
        epochs: Of ceil((labelled + candidates) / train_batch_size) iterations each.
        train_batch_size: Samples of each pool in a step.
        latent_dim: Dimension z of the latent space.
        width: Channels of the VAE's first layer; they double with each of the next three. For vectors, the width
            of the hidden layers. The paper's costs a GPU: a CPU wants about 16 on images.
        learning_rate: Of both Adam optimisers.
        beta: β, weight of the divergence.
        adversary_weight: λ, how much the VAE cares to deceive the discriminator.
        vae_steps: Steps of the VAE in an iteration, each on a batch of its own; the discriminator takes one.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"inputs"})

    def __init__(
        self,
        epochs: int = 100,
        train_batch_size: int = 128,
        latent_dim: int = 32,
        width: int = 128,
        learning_rate: float = 5e-4,
        beta: float = 1.0,
        adversary_weight: float = 1.0,
        vae_steps: int = 2,
    ) -> None:
        self.settings = Settings(
            epochs=epochs,
            train_batch_size=train_batch_size,
            latent_dim=latent_dim,
            width=width,
            learning_rate=learning_rate,
            beta=beta,
            adversary_weight=adversary_weight,
            vae_steps=vae_steps,
        )

    def score(self, context: QueryContext) -> Tensor:
        """Return the log odds of being unlabelled, -log D(μ)/(1 - D(μ)), float32 (N,).

        They rank as -D(μ) does, and still tell samples apart where D(μ) rounds to 0 or 1. Losses and the
        discriminator's accuracy in the last epoch go into the report.
        """
        game = Game(context, self.settings)
        context.report(**game.run())
        return -game.log_odds(context.candidates)
