"""Stochastic batches of any score: samples drawn without replacement instead of the highest scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from deepal_autoal import (
    InputError,
    Query,
    QueryError,
    Requirement,
    ScoringStrategy,
    Strategy,
    create_strategy,
    top_scores,
)
from deepal_strategies.shared.inclusion import inclusion_probabilities
from deepal_strategies.shared.option_checks import check_choice, check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext

FORMS = ("power", "softmax", "softrank")


class Power(Strategy):
    """Candidates drawn without replacement, in proportion to a function of another strategy's scores s.

    Kirsch, Farquhar, Atighehchian, Jesson, Branchaud-Charron & Gal, "Stochastic batch acquisition" (TMLR 2023). The
    highest scores of a batch resemble each other; random ones among the high scores do not, at no cost. The draws are
    made at once: the b largest sums of a log-weight and Gumbel noise. Candidates of weight 0 come last, at random.

    The round's record has, for each sample in the order of the draws, the probability with which it was drawn from
    those that were left (``selection_probabilities``). `choice_probabilities` are those of being in the batch at all,
    exact up to rounding.

    Args:
        score: Name of the registered strategy that gives the scores, also with options: ``epig[n_passes=50]``.
        form: The weights: ``power``, s^β, for scores of which 0 means that there is nothing to learn, none below;
            ``softmax``, exp(β s); ``softrank``, r^-β with the rank r, 1 for the highest score. The last needs no
            particular scale.
        beta: β; higher is closer to the highest scores.

    Raises:
        InputError: If an option is out of range, or the strategy does not choose by scores alone or changes training.
    """

    def __init__(
        self, score: str = "bald", form: Literal["power", "softmax", "softrank"] = "power", beta: float = 1.0
    ) -> None:
        check_choice("form", form, FORMS)
        check_positive("beta", beta)
        scorer = create_strategy(score)
        if not isinstance(scorer, ScoringStrategy) or type(scorer).query is not ScoringStrategy.query:
            raise InputError(f"option score: {score!r} does not choose by scores alone; name one that does, like bald")
        if scorer.changes_training:
            raise InputError(f"option score: {score!r} changes how the task model is trained; name another")
        self.scorer = scorer
        self.form = form
        self.beta = beta

    @property
    def requires(self) -> frozenset[Requirement]:  # type: ignore[override]
        """What the scores need."""
        return self.scorer.requires

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order of the draws.

        Raises:
            QueryError: If the form has no weights for the scores.
        """
        weights = self._log_weights(self._scores(context), context.generator)
        positions = draw(weights, batch_size, context.generator)
        report = {"selection_probabilities": sequential_probabilities(weights, positions).tolist()}
        return Query(context.candidates.indices[positions.cpu().numpy()], report)

    def choice_probabilities(self, context: QueryContext, batch_size: int) -> Tensor:
        """Return each candidate's probability of being in the batch, float64 (N,), on the CPU."""
        scores = self._scores(context)
        found = inclusion_probabilities(self._log_weights(scores, context.generator), batch_size)
        # Chance decides the ranks of equal scores.
        _, groups, sizes = np.unique(scores.cpu().numpy(), return_inverse=True, return_counts=True)
        return torch.from_numpy((np.bincount(groups, found.numpy()) / sizes)[groups])

    def _scores(self, context: QueryContext) -> Tensor:
        scores = self.scorer.checked_scores(context)
        return scores if scores.device.type == "mps" else scores.double()

    def _log_weights(self, scores: Tensor, generator: torch.Generator) -> Tensor:
        """Return the logarithms of weights, (N,), -inf for a weight of 0."""
        if self.form == "softrank":
            order = top_scores(scores, len(scores), generator)
            ranks = torch.arange(1, len(scores) + 1, dtype=scores.dtype, device=scores.device)
            return torch.empty_like(scores).index_copy_(0, order, -self.beta * ranks.log())
        low, high = torch.aminmax(scores)
        if self.form == "power" and low < 0:
            raise QueryError(
                f"power: scores of {self.scorer.name!r} are below 0, down to {float(low):.3g}; use -o form=softrank or "
                "-o form=softmax"
            )
        if high == torch.inf:
            raise QueryError(f"power: scores of {self.scorer.name!r} are infinite; use -o form=softrank")
        return self.beta * (scores.log() if self.form == "power" else scores)

    def state_dict(self) -> dict[str, Any]:
        """Return what the scoring strategy remembers."""
        return self.scorer.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.scorer.load_state_dict(state)


def draw(log_weights: Tensor, n_draws: int, generator: torch.Generator) -> Tensor:
    """Return positions drawn without replacement in proportion to weights, in order, int64 (n_draws,).

    Args:
        log_weights: (N,), -inf for a weight of 0.
        n_draws: At most N.
        generator: On the weights' device.
    """
    # Gumbel noise: the logarithm of an exponential variate, negated.
    noise = torch.empty_like(log_weights).exponential_(generator=generator).log_().neg_()
    return top_scores(log_weights + noise, n_draws, generator)


def sequential_probabilities(log_weights: Tensor, positions: Tensor) -> Tensor:
    """Return the probability of each draw without replacement among those that were left, (b,).

    Args:
        log_weights: (N,), -inf for a weight of 0.
        positions: What was drawn, in order, int64 (b,). Where only weights of 0 are left, all are equally likely.
    """
    drawn = log_weights[positions]
    rest = log_weights.index_fill(0, positions, -torch.inf).logsumexp(dim=0, keepdim=True)
    left = torch.cat([drawn, rest]).flip(0).logcumsumexp(dim=0).flip(0)[:-1]
    n_left = len(log_weights) - torch.arange(len(positions), dtype=drawn.dtype, device=drawn.device)
    return torch.where(drawn > -torch.inf, (drawn - left).exp(), 1.0 / n_left)
