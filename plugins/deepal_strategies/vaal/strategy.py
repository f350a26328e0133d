"""The VAAL strategy: candidates that a discriminator gives the lowest probability of being labeled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.option_checks import check_choice
from deepal_strategies.vaal.sizes import PAPER_EPOCHS, PAPER_WIDTH
from deepal_strategies.vaal.training import Game, Settings

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class VAAL(ScoringStrategy):
    """Lowest probability of being labeled, by a discriminator on the latent means of a VAE.

    A VAE learns to reconstruct labeled and unlabeled samples alike; a discriminator learns to distinguish them by the
    latent mean μ, and the VAE learns to prevent that. The candidates with the lowest D(μ), the probability of being
    labeled, resemble the labeled set least. Both networks are new in every query and use only model inputs,
    neither labels nor the task model (Sinha, Ebrahimi & Darrell, ICCV 2019, Variational adversarial active
    learning).

    On each pool the VAE minimizes squared error + β·KL - λ·log D(μ), and the discriminator
    -log D(μ_labeled) - log(1 - D(μ_unlabeled)). Where paper and released code differ or leave something open:

    - The paper's equations contain the evidence lower bound, so here error and divergence are sums over a sample's
      dimensions and means over the batch. The code adds the *mean* squared error over pixels to the *sum* of
      the divergences over the batch, which at 32x32 pixels weighs the divergence almost 400,000 times as much.
    - A batch of labeled and one of unlabeled samples pass through the VAE together; see `Game`.
    - A pool smaller than a batch is used whole; of larger pools, each epoch's remainder is dropped.
    - Inputs come through the evaluation transform, without augmentation.
    - The depth depends on the image size; at 32x32 pixels it is the paper's. Vectors get two hidden layers.
    - The discriminator has three linear layers, as in the latest released code; earlier it had five.

    By default the size of the training follows the data. On images of at least as many pixels as 32x32, which the
    paper used, it is the paper's (width 128, 100 epochs) and needs a GPU. On smaller images the VAE is an eighth as
    wide, and there and on vectors ten epochs are enough, though at least 200 iterations, and at most 100 epochs. The
    report holds the width and the number of iterations. See `sizes`.

    Args:
        variant: ``"default"``, or ``"paper"``: the paper's width and epochs on all data.
        epochs: Epochs of ceil((labeled + candidates) / train_batch_size) iterations each; by default the variant's.
        train_batch_size: Samples of each pool in a step.
        latent_dim: Dimension z of the latent space.
        width: Channels of the VAE's first layer; they double with each of the next three. For vectors, the width
            of the hidden layers. By default the variant's.
        learning_rate: Learning rate of both Adam optimizers.
        beta: β, weight of the divergence.
        adversary_weight: λ, weight of the VAE's loss for not deceiving the discriminator.
        vae_steps: Steps of the VAE in an iteration, each on a batch of its own; the discriminator takes one.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"inputs"})

    def __init__(
        self,
        variant: Literal["default", "paper"] = "default",
        epochs: int | None = None,
        train_batch_size: int = 128,
        latent_dim: int = 32,
        width: int | None = None,
        learning_rate: float = 5e-4,
        beta: float = 1.0,
        adversary_weight: float = 1.0,
        vae_steps: int = 2,
    ) -> None:
        check_choice("variant", variant, ("default", "paper"))
        if variant == "paper":
            epochs = PAPER_EPOCHS if epochs is None else epochs
            width = PAPER_WIDTH if width is None else width
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

    def describe_options(self) -> dict[str, Any]:
        """Return the options, with the values that the variant sets."""
        return {**super().describe_options(), "epochs": self.settings.epochs, "width": self.settings.width}

    def score(self, context: QueryContext) -> Tensor:
        """Return the log odds of being unlabeled, -log D(μ)/(1 - D(μ)), float32 (N,).

        They rank as -D(μ) does, and still differ where D(μ) rounds to 0 or 1. Width, iterations, and the losses and the
        discriminator's accuracy in the last epoch go into the report.
        """
        game = Game(context, self.settings)
        context.report(width=game.width, iterations=game.n_iterations, **game.run())
        return -game.log_odds(context.candidates)
