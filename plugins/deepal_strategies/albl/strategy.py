"""The ALBL strategy: a bandit draws the candidate whose batch is queried, and learns from the outcome."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from deepal_autoal import InputError, Query, SelectorStrategy, Strategy
from deepal_strategies.albl.exp4p import (
    arm_credits,
    arm_probabilities,
    importance_weighted_accuracy,
    minimum_probability,
    query_probabilities,
    updated_log_weights,
)
from deepal_strategies.shared.default_candidates import DEFAULT_CANDIDATES
from deepal_strategies.shared.option_checks import check_at_least, check_positive

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext

# Rounds where neither the run nor the option horizon says how many labels there will be.
DEFAULT_ROUNDS = 10


@dataclass(frozen=True)
class Draw:
    """The last draw of an arm; its reward comes from the next round's task model.

    Attributes:
        batch: Queried pool indices, int64 (b,).
        probabilities: p of all arms, float64 (K,).
        credits: What one unit of reward adds to each arm's estimate, float64 (K,).
    """

    batch: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    credits: NDArray[np.float64]


class ALBL(SelectorStrategy):
    """Active learning by learning: a bandit over the candidates, rewarded by importance-weighted accuracy.

    Every candidate proposes a batch; EXP4.P draws the one that is queried. In the next round the reward is the
    accuracy of the new task model on the samples queried so far, each weighted by 1/q, the inverse of the
    probability with which it was queried, divided by the number of samples and by T, the number of labels that the
    run queries. Samples labeled in another way, such as the initial set, have no q and never count.
    Hsu & Lin, Active learning by learning, AAAI 2015, with the bandit of Beygelzimer et al., AISTATS 2011.

    The paper queries one sample per round. With batches, one arm is drawn per batch; ψ_κ is the distribution of one
    sample of the arm's batch: 1/N for ``random``, 1/b for each sample of a deterministic arm's (see
    `Strategy.choice_probabilities`). q(x) = Σ_κ p_κ ψ_κ(x), and the estimate of every arm, drawn or not, is the
    reward times the mean of ψ/q over the batch, whose expectation is the reward itself. Unlike the paper's, arms
    never propose labeled samples again. Without an arm that may query any sample, such as ``random``, which is not
    among the default candidates, the reward stays far below the accuracy on the pool, as q is 0 for samples that no
    batch holds.

    T is ``horizon``, or the number of rounds times the size of the first batch; where the number of rounds is not
    known, as with interactive labeling, 10 are assumed. If more labels are queried than that, T stays the same. Every
    batch is one step of the bandit, so that with few rounds the weights move little: a run of ten batches learns far
    less about its arms than ten times as many labels queried one by one.

    Labels may be missing. A queried sample counts once it has a label, with the q of the last query that contained
    it. An arm whose batch has no label yet at the next query, for example because the same round was queried again,
    has no outcome: the weights stay, and the new draw takes its place.

    As a candidate of another selector it cannot know whether its batch was queried: it counts the samples that got a
    label.

    Args:
        candidates: Strategies by name, the arms.
        delta: δ, the probability with which EXP4.P's regret bound may fail; between 0 and 1.
        horizon: T, the number of labels to be queried; by default rounds × batch size.

    Raises:
        InputError: If an option is out of range.
    """

    default_candidates: ClassVar[tuple[str, ...]] = DEFAULT_CANDIDATES
    own_requires = frozenset({"probabilities"})

    def __init__(self, candidates: Mapping[str, Strategy], delta: float = 0.1, horizon: int | None = None) -> None:
        super().__init__(candidates)
        check_positive("delta", delta)
        if delta >= 1:
            raise InputError(f"option delta is {delta}; it must be below 1")
        if horizon is not None:
            check_at_least("horizon", horizon, 1)
        self.delta = delta
        self.horizon = horizon
        self._log_weights = np.full(len(self.candidates), -np.log(len(self.candidates)))
        self._queried: dict[int, float] = {}
        self._last: Draw | None = None
        self._n_labels: int | None = horizon

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Apply the last arm's reward, draw an arm, and return its batch.

        The report holds the drawn ``arm``, the ``probabilities`` of the draw, the normalized ``weights``
        behind them, and the ``reward`` of the last round's arm, None if there is none.
        """
        names = list(self.candidates)
        # First, as a candidate may fail: a query that is then repeated must not count the reward twice.
        batches = [self.ask_candidate(name, context, batch_size) for name in names]
        if self._n_labels is None:
            self._n_labels = batch_size * (context.n_rounds or DEFAULT_ROUNDS)
        horizon = self._n_labels
        p_min = minimum_probability(len(names), horizon)
        reward = self._settle(context, p_min, horizon)
        probabilities = arm_probabilities(self._log_weights, p_min)
        drawn = int(context.rng.choice(len(names), p=probabilities))
        batch = batches[drawn]
        choices = np.stack(
            [self._choices(name, context, other, batch) for name, other in zip(names, batches, strict=True)]
        )
        q = query_probabilities(probabilities, choices)
        self._queried.update(zip(batch.tolist(), q.tolist(), strict=True))
        self._last = Draw(batch, probabilities, arm_credits(choices, q))
        weights = np.exp(self._log_weights)
        report = {
            "arm": names[drawn],
            "probabilities": dict(zip(names, probabilities.tolist(), strict=True)),
            "reward": reward,
            "weights": dict(zip(names, weights.tolist(), strict=True)),
        }
        return Query(batch, report)

    def _choices(
        self, name: str, context: QueryContext, own: NDArray[np.int64], batch: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return ψ_κ of a batch's samples, (b,), for the arm whose batch is ``own``."""
        # A strategy's own probabilities are those of being in its batch: they sum to b.
        drawn = self.candidate_probabilities(name, context, len(batch))
        if drawn is None:
            return np.isin(batch, own) / len(batch)
        order = np.argsort(context.candidates.indices)
        positions = order[np.searchsorted(context.candidates.indices, batch, sorter=order)]
        chosen: NDArray[np.float64] = drawn.detach().double().cpu().numpy()[positions] / len(batch)
        return chosen

    def state_dict(self) -> dict[str, Any]:
        """Return the bandit's memory and the candidates'; never empty, so the first query can be undone too."""
        bandit = {
            "arms": list(self.candidates),
            "n_labels": self._n_labels,
            "log_weights": self._log_weights.copy(),
            "queried": np.array(list(self._queried), dtype=np.int64),
            "q": np.array(list(self._queried.values()), dtype=np.float64),
            "last": {} if self._last is None else asdict(self._last),
        }
        return {**super().state_dict(), "bandit": bandit}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: If it does not belong to these arms, in this order, or is one of version 0.1.0.
        """
        bandit = state.get("bandit", {})
        if bandit.get("arms") != list(self.candidates):
            raise InputError(
                f"{self} has the arms {list(self.candidates)}, but the state has {bandit.get('arms')}; "
                "create it with the arms of the state, in that order"
            )
        if "n_labels" not in bandit:
            raise InputError(
                f"{self} counted rounds in version 0.1.0 and counts labels now, so its earlier weights cannot be "
                "continued; start the run again"
            )
        super().load_state_dict(state)
        self._n_labels = bandit["n_labels"]
        self._log_weights = np.array(bandit["log_weights"])
        self._queried = dict(zip(bandit["queried"].tolist(), bandit["q"].tolist(), strict=True))
        self._last = Draw(**bandit["last"]) if bandit["last"] else None

    def _settle(self, context: QueryContext, p_min: float, horizon: int) -> float | None:
        """Update the weights by the last draw's reward and return it; None without a draw or any of its labels."""
        last, labeled = self._last, context.labeled
        if last is None or not np.isin(last.batch, labeled.indices).any():
            return None
        rows = np.flatnonzero(np.isin(labeled.indices, list(self._queried)))
        q = np.array([self._queried[index] for index in labeled.indices[rows].tolist()])
        is_correct = labeled.probabilities().argmax(dim=1) == labeled.labels
        correct = is_correct[torch.as_tensor(rows, device=is_correct.device)].cpu().numpy()
        n_samples = len(labeled) + len(context.candidates)
        reward = importance_weighted_accuracy(correct, q, n_samples, horizon)
        self._log_weights = updated_log_weights(
            self._log_weights, reward * last.credits, last.probabilities, p_min, self.delta, horizon
        )
        return reward
