"""VAAL's two networks: a variational autoencoder for inputs of any shape, and the discriminator."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

DISCRIMINATOR_WIDTH = 512
# Maps wider than this are halved again.
_LARGEST_LAST_SIDE = 2
# Images with fewer pixels per side are treated as vectors: they cannot be halved twice.
_SMALLEST_SIDE = 4
# Channels double with every layer up to the width of the paper's fourth.
_LARGEST_FACTOR = 8
# exp(±30) and its square are finite, and far beyond any deviation that training reaches.
_LARGEST_LOG_VARIANCE = 30.0


class VAE(nn.Module):
    """A variational autoencoder with a diagonal Gaussian posterior and a standard normal prior.

    Args:
        encoder: Model inputs → features (n, F).
        n_features: F.
        decoder: Latents (n, z) → reconstructions in the shape of the inputs.
        latent_dim: z.
    """

    def __init__(self, encoder: nn.Module, n_features: int, decoder: nn.Module, latent_dim: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = nn.Linear(n_features, 2 * latent_dim)
        self.decoder = decoder

    def encode(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the posterior's mean μ and log variance log σ², (n, z) each."""
        mean, log_variance = self.heads(self.encoder(inputs)).chunk(2, dim=1)
        return mean, log_variance.clamp(-_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)

    def decode(self, latents: Tensor) -> Tensor:
        """Return reconstructions of latents (n, z), in the shape of the inputs."""
        return cast("Tensor", self.decoder(latents))


class Discriminator(nn.Module):
    """Distinguishes labeled from unlabeled samples by their latent mean: three linear layers, z → 512 → 512 → 1."""

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.layers = _he_initialized(
            nn.Sequential(
                nn.Linear(latent_dim, DISCRIMINATOR_WIDTH),
                nn.ReLU(),
                nn.Linear(DISCRIMINATOR_WIDTH, DISCRIMINATOR_WIDTH),
                nn.ReLU(),
                nn.Linear(DISCRIMINATOR_WIDTH, 1),
            )
        )

    def forward(self, latents: Tensor) -> Tensor:
        """Return the log odds of being labeled, (n,)."""
        return cast("Tensor", self.layers(latents).squeeze(1))


def build_vae(input_shape: tuple[int, ...], latent_dim: int, width: int) -> VAE:
    """Return a VAE for model inputs of one shape, initialized from torch's global generator.

    Args:
        input_shape: (C, H, W) of images, each at least 1, or (D,) of vectors.
        latent_dim: z.
        width: Channels of the first convolution, or width of both hidden layers where there are no convolutions: for
            vectors, and for images of at most 3 pixels per side.
    """
    if len(input_shape) == 1 or max(input_shape[1:]) < _SMALLEST_SIDE:
        return _dense_vae(input_shape, latent_dim, width)
    return _convolutional_vae(input_shape, latent_dim, width)


def _dense_vae(input_shape: tuple[int, ...], latent_dim: int, width: int) -> VAE:
    n_inputs = math.prod(input_shape)
    encoder = nn.Sequential(
        nn.Flatten(),
        nn.Linear(n_inputs, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
    )
    decoder = nn.Sequential(
        nn.Linear(latent_dim, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, n_inputs),
        nn.Unflatten(1, input_shape),
    )
    return VAE(_he_initialized(encoder), width, _he_initialized(decoder), latent_dim)


def _convolutional_vae(input_shape: tuple[int, ...], latent_dim: int, width: int) -> VAE:
    """Return the paper's network at 32x32 and width 128: 128, 256, 512, 1024 channels, down to 2x2 and back.

    At other sizes maps are halved until they have at most two pixels per side, at least twice. The decoder mirrors
    the encoder, but starts one size larger, as the authors' does.
    """
    sizes = [(input_shape[1], input_shape[2])]
    while max(sizes[-1]) > _LARGEST_LAST_SIDE or len(sizes) < 3:
        sizes.append((_halved(sizes[-1][0]), _halved(sizes[-1][1])))
    n_layers = len(sizes) - 1
    channels = [input_shape[0], *(width * min(2**layer, _LARGEST_FACTOR) for layer in range(n_layers))]

    down: list[nn.Module] = []
    for layer in range(n_layers):
        before, after = channels[layer : layer + 2]
        kernel, stride, padding = _window(sizes[layer])
        down += [nn.Conv2d(before, after, kernel, stride, padding, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    n_features = channels[-1] * math.prod(sizes[-1])

    up: list[nn.Module] = [
        nn.Linear(latent_dim, channels[-1] * math.prod(sizes[-2])),
        nn.Unflatten(1, (channels[-1], *sizes[-2])),
    ]
    for layer in range(n_layers - 1, 0, -1):
        before, after = channels[layer + 1], channels[layer]
        kernel, stride, padding = _window(sizes[layer - 1])
        # Odd sides need one pixel more than twice their half.
        missing = [
            side - times * half for side, half, times in zip(sizes[layer - 1], sizes[layer], stride, strict=True)
        ]
        up += [
            nn.ConvTranspose2d(before, after, kernel, stride, padding, (missing[0], missing[1]), bias=False),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    # The authors' transposed convolution with one pixel equals an ordinary one, which is faster on CPUs.
    up.append(nn.Conv2d(width, input_shape[0], 1))
    encoder = _he_initialized(nn.Sequential(*down, nn.Flatten()))
    return VAE(encoder, n_features, _he_initialized(nn.Sequential(*up)), latent_dim)


def _halved(side: int) -> int:
    return max(1, side // 2)


def _window(size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return kernel, stride and padding: 4, 2 and 1 as in the paper, but 1, 1 and 0 along a side of one pixel."""
    height, width = size
    return (
        (4 if height > 1 else 1, 4 if width > 1 else 1),
        (2 if height > 1 else 1, 2 if width > 1 else 1),
        (1 if height > 1 else 0, 1 if width > 1 else 0),
    )


def _he_initialized(network: nn.Sequential) -> nn.Sequential:
    """Initialize linear layers and convolutions as the authors' code does; all else keeps torch's initialization."""
    for layer in network:
        if isinstance(layer, (nn.Linear, nn.Conv2d)):
            nn.init.kaiming_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return network
