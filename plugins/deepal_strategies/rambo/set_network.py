"""The utility model's network: a set of samples → its embedding φ, a ranking score and a transport distance.

Every form of pooling is a function of a sum over the set's members. So each sample passes through the encoder once,
many sets are one product of matrices, and a set grows by addition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Tensor

POOLINGS = ("mean", "sum", "transformer")
N_SEEDS, N_HEADS = 4, 4
# Attention scores are limited, so that no member's weight vanishes or overflows in float32.
_LARGEST_SCORE = 20.0


class SetNetwork(nn.Module):
    """An encoder of two layers, pooling, two layers to φ, and two heads (widths are not given in the paper).

    The encoder is the paper's for frozen features; it has another, of convolutions, for small images.

    Args:
        n_features: D.
        width: H, of all layers.
        pooling: ``mean``; ``sum``, in units of ``size``; or ``transformer``, the pooling by multi-head attention and
            the self-attention of its seeds of the Set Transformer (Lee et al. 2019), on samples encoded one by one.
        size: A typical size of sets.
    """

    def __init__(self, n_features: int, width: int, pooling: str, size: float) -> None:
        super().__init__()
        self.encoder = two_layers(n_features, width, width)
        self.pool = AttentionPool(width) if pooling == "transformer" else SumPool(None if pooling == "mean" else size)
        self.latent = two_layers(width, width, width)
        self.score_head = nn.Linear(width, 1)
        self.transport_head = two_layers(width, width, 1)

    def statistics(self, features: Tensor) -> Tensor:
        """Return what is summed over the members of a set, (n, F), of samples (n, D)."""
        return self.pool.statistics(self.encoder(features))

    def embed(self, sums: Tensor) -> Tensor:
        """Return φ, (S, H), of sums over sets, (S, F)."""
        return cast("Tensor", self.latent(self.pool(sums)))

    def score(self, sums: Tensor) -> Tensor:
        """Return the ranking score s, (S,), of sums over sets."""
        return cast("Tensor", self.score_head(self.embed(sums)).squeeze(1))

    def forward(self, features: Tensor, memberships: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return φ (S, H), s (S,) and ÔT (S,).

        Args:
            features: (n, D).
            memberships: Which samples are in each set, 0 or 1, (S, n).
        """
        embedded = self.embed(memberships @ self.statistics(features))
        return embedded, self.score_head(embedded).squeeze(1), self.transport_head(embedded).squeeze(1)


def two_layers(n_inputs: int, width: int, n_outputs: int) -> nn.Sequential:
    """Return FC - ReLU - FC."""
    return nn.Sequential(nn.Linear(n_inputs, width), nn.ReLU(), nn.Linear(width, n_outputs))


class SumPool(nn.Module):
    """Sum of a set's members (Deep Sets, Zaheer et al. 2017), divided by their number or by a constant.

    Args:
        size: The constant; None for the mean.
    """

    def __init__(self, size: float | None) -> None:
        super().__init__()
        self.size = size

    def statistics(self, encoded: Tensor) -> Tensor:
        """Return (n, H + 1): the members and 1."""
        return torch.cat([encoded, torch.ones_like(encoded[:, :1])], dim=1)

    def forward(self, sums: Tensor) -> Tensor:
        """Return the pooled sets, (S, H)."""
        return sums[:, :-1] / (sums[:, -1:] if self.size is None else self.size)


class AttentionPool(nn.Module):
    """Learned seeds attend to a set's members, then to each other; the mean over the seeds.

    Attention is a ratio of two sums over members, of exp(score)·value and of exp(score).

    Args:
        width: H, a multiple of the number of heads.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seeds = nn.Parameter(torch.randn(N_HEADS, N_SEEDS, width // N_HEADS))
        self.keys = nn.Linear(width, width)
        self.values = nn.Linear(width, width)
        self.queries_of_seeds, self.keys_of_seeds, self.values_of_seeds = (nn.Linear(width, width) for _ in range(3))
        self.norm, self.last_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.feed_forward = two_layers(width, width, width)

    def statistics(self, encoded: Tensor) -> Tensor:
        """Return (n, seeds·(H + heads))."""
        keys, values = (_heads(layer(encoded)) for layer in (self.keys, self.values))  # (n, heads, H/heads)
        scores = torch.einsum("nhd,hsd->nhs", keys, self.seeds) / keys.shape[2] ** 0.5
        weights = (_LARGEST_SCORE * torch.tanh(scores / _LARGEST_SCORE)).exp()
        weighted = torch.einsum("nhs,nhd->nshd", weights, values)
        return torch.cat([weighted.flatten(1), weights.transpose(1, 2).flatten(1)], dim=1)

    def forward(self, sums: Tensor) -> Tensor:
        """Return the pooled sets, (S, H)."""
        n_weights = N_SEEDS * N_HEADS
        weighted = sums[:, :-n_weights].reshape(len(sums), N_SEEDS, N_HEADS, -1)
        weights = sums[:, -n_weights:].reshape(len(sums), N_SEEDS, N_HEADS, 1)
        pooled = self.norm((weighted / weights).flatten(2))  # (S, seeds, H)
        layers = (self.queries_of_seeds, self.keys_of_seeds, self.values_of_seeds)
        queries, keys, values = (_heads(layer(pooled)) for layer in layers)  # (S, seeds, heads, H/heads)
        scores = torch.einsum("bqhd,bkhd->bhqk", queries, keys) / keys.shape[3] ** 0.5
        attended = pooled + torch.einsum("bhqk,bkhd->bqhd", scores.softmax(dim=3), values).flatten(2)
        seeds: Tensor = attended + self.feed_forward(self.last_norm(attended))
        return seeds.mean(dim=1)


def _heads(encoded: Tensor) -> Tensor:
    """Return the parts of vectors (..., H) that belong to the heads, (..., heads, H/heads)."""
    return encoded.view(*encoded.shape[:-1], N_HEADS, -1)
