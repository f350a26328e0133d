"""Policies of the simulator: random, margin, uncertainty herding, and the parametric coverage policy."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from simulator import State
from torch import Tensor

from deepal_strategies.shared.coverage import Similarity, choose_covering, gaussian, unit_rows
from deepal_strategies.shared.neighbors import nearest_distances
from deepal_strategies.shared.ranks import mid_ranks

N_REFERENCE = 1_000


def random(state: State, n: int) -> Tensor:
    """Return a uniform draw."""
    return torch.randperm(len(state.candidates), generator=state.generator)[:n]


def uncertainty(state: State) -> Tensor:
    """Return 1 - margin of the calibrated probabilities, (n,)."""
    top = (state.logits / state.temperature).softmax(dim=1).topk(2, dim=1).values
    return 1.0 - (top[:, 0] - top[:, 1])


def margin(state: State, n: int) -> Tensor:
    """Return the smallest margins."""
    return uncertainty(state).topk(n).indices


def nearest_radius(state: State) -> float:
    """Return the median distance of a labeled sample to the nearest other."""
    distances = nearest_distances(state.units[state.labeled])
    distances = distances[distances.isfinite()]
    return float(distances.median()) if len(distances) else 1.0


@dataclass(frozen=True)
class Coverage:
    """Greedy coverage of the pool, weighted by what each sample promises.

    The weight of a sample is rank(1 - margin)^power · (1 - margin)^alpha · rank(density)^delta · rarity^gamma with the
    rarity Σ_c p_c·(n_c + 1)^-1 of its predicted classes, relative to the mean; the radius is e^log_radius times the
    labeled samples' median distance to the nearest other.
    """

    power: float = 0.0
    alpha: float = 1.0
    delta: float = 0.0
    gamma: float = 0.0
    log_radius: float = 0.0

    def __call__(self, state: State, n: int) -> Tensor:
        """Return the greedy batch."""
        units = state.units[state.candidates]
        radius = nearest_radius(state) * math.exp(self.log_radius)
        drawn = torch.randperm(len(units), generator=state.generator)[:N_REFERENCE]
        similarity = Similarity(units[drawn], radius, gaussian)
        unc = uncertainty(state)
        weights = (unc + 1e-3) ** self.alpha
        if self.power:
            weights = weights * mid_ranks(unc).clamp(min=1e-3) ** self.power
        if self.delta:
            density = similarity(unit_rows(units, similarity.precise)).float().mean(dim=1)
            weights = weights * mid_ranks(density).clamp(min=1e-2) ** self.delta
        if self.gamma:
            counts = torch.bincount(state.labels, minlength=state.n_classes)
            rarity = (state.logits / state.temperature).softmax(dim=1) @ (1.0 / (counts + 1.0))
            weights = weights * (rarity / rarity.mean()) ** self.gamma
        covered = similarity.best(state.units[state.labeled])
        return choose_covering(similarity, units, covered, n, state.generator, weights[drawn])[0]


@dataclass(frozen=True)
class Scheduled:
    """The coverage policy with parameters that follow the number of labels per class.

    Attributes:
        knots: log10 of labels per class, rising.
        values: For each knot, alpha, delta, gamma and log_radius; between knots interpolated, outside the nearest.
    """

    knots: tuple[float, ...]
    values: tuple[tuple[float, ...], ...]

    def __call__(self, state: State, n: int) -> Tensor:
        """Return the greedy batch."""
        place = math.log10(max(1, len(state.labeled)) / state.n_classes)
        alpha, delta, gamma, log_radius = (
            float(np.interp(place, self.knots, own)) for own in np.transpose(self.values)
        )
        return Coverage(alpha=alpha, delta=delta, gamma=gamma, log_radius=log_radius)(state, n)
