"""Bayesian active learning by disagreement, over dropout passes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.uncertainty import entropy_of_probabilities, mean_of_passes, score_passes

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class BALD(ScoringStrategy):
    """Highest mutual information H(mean_t p_t) - mean_t H(p_t) between prediction and weights.

    High where the mean is uncertain but each single pass is certain. The objective of Houlsby et al. 2011, estimated
    by dropout passes as in Gal, Islam & Ghahramani 2017, whose number of passes varies; DeepAL+ uses 10.

    Args:
        n_passes: Dropout passes T, at least 2: a single one cannot disagree.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"mc_dropout"})

    def __init__(self, n_passes: int = 10) -> None:
        check_at_least("n_passes", n_passes, 2)
        self.n_passes = n_passes

    def score(self, context: QueryContext) -> Tensor:
        """Return the mutual information in nats, in [0, log min(T, C)], float32 (N,).

        It is exactly 0 where all passes are equal. Elsewhere rounding can give -1e-7, which is raised to 0.
        """
        return score_passes(mutual_information, context.candidates, self.n_passes)


def mutual_information(passes: Tensor) -> Tensor:
    """Return H(mean_t p_t) - mean_t H(p_t) in nats, (n,), at least 0, of passes (T, n, C)."""
    entropies = torch.stack([entropy_of_probabilities(one) for one in passes])
    return (entropy_of_probabilities(mean_of_passes(passes)) - mean_of_passes(entropies)).clamp(min=0.0)
