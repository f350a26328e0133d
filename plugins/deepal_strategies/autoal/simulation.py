"""One cycle of AutoAL: selection simulated inside the labeled set, whose labels are known."""

from __future__ import annotations

import copy
import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import Strategy
from deepal_strategies.autoal.threshold import shared_threshold
from deepal_strategies.shared.votes import Votes, collect_votes

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import FittedModel, PoolView, QueryContext, SelectorStrategy
    from deepal_strategies.autoal.settings import Settings

# With fewer labeled samples a half would not have two samples to compare.
MIN_LABELED = 4
# A share t = b/(M+N) of a half is often less than one sample; unless min_rate is 0, at least so many are selected.
MIN_SELECTED = 2


@dataclass(frozen=True)
class Half:
    """A random half of the labeled set, n samples.

    Attributes:
        rows: Its rows in the labeled set, int64 (n,).
        labels: int64 (n,).
        scores: S_κ(x_j), float32 (n, K) in [0, 1].
        view: The half as seen by the model of the cycle.
    """

    rows: Tensor
    labels: Tensor
    scores: Tensor
    view: PoolView

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Cycle:
    """A split of the labeled set, the model of its first half, and the candidates' votes on both halves.

    Attributes:
        seen: The half that acts as the labeled set; ``model`` was trained on it.
        held_out: The half that acts as the unlabeled pool; its labels are used only for SearchNet's losses.
        model: Fitted on ``seen``; with ``scorer="task"`` the task model, which has learned both halves.
        embeddings: ``model``'s embeddings of both halves, for feature statistics.
        rate: Share ρ of a half that is selected, the same for the candidates' picks, ϑ and L_re.
        threshold: ϑ.
    """

    seen: Half
    held_out: Half
    model: FittedModel
    embeddings: Tensor
    rate: float
    threshold: float


def selection_rate(n_half: int, n_pool: int, batch_size: int, min_rate: float) -> float:
    """Return ρ, the share of a half to select: t = b/(M+N), but at least a few samples and fewer than all.

    A few means two samples or the share ``min_rate`` of the half, whichever is more: picks of 1% of 50 samples would
    say nothing about a candidate. With ``min_rate=0``, ρ is t itself, as printed; candidates still pick one sample.

    Args:
        n_half: Samples in the half, at least 2.
        n_pool: M + N, labeled and unlabeled samples.
        batch_size: b.
        min_rate: Least share, in [0, 1].
    """
    if min_rate == 0:
        return min(batch_size / n_pool, (n_half - 1) / n_half)
    few = max(MIN_SELECTED, math.ceil(min_rate * n_half))
    return min(max(few, round(n_half * batch_size / n_pool)), n_half - 1) / n_half


def vote_scores_of(votes: Votes, scores: str) -> Tensor:
    """Return S, (n, K), from votes: ``"ranks"`` or, as printed, the binary ``"picks"``."""
    return (votes.ranks if scores == "ranks" else votes.picks).T.contiguous()


def simulate_cycle(
    selector: SelectorStrategy, context: QueryContext, batch_size: int, number: int, settings: Settings
) -> Cycle:
    """Split the labeled set, train a model on one half, and query every candidate once on each half.

    The candidates' votes, and later FitNet's losses, on the held-out half thus come from models that have not seen
    it. The votes on the other half, which only weight FitNet's samples in (7), come from the model trained on it:
    votes from a second model would double the cost of a cycle.

    Args:
        selector: Its candidates vote.
        context: The round's context, with at least `MIN_LABELED` labeled samples.
        batch_size: The round's batch size b.
        number: The cycle's number, from 0; part of the random streams' names.
        settings: The scores, threshold and networks to use.
    """
    n_labeled = len(context.labeled)
    order = context.rng.permutation(n_labeled)
    held_out_size = n_labeled // 2
    held_out, seen = np.sort(order[:held_out_size]), np.sort(order[held_out_size:])
    a, b = context.labeled.indices[seen], context.labeled.indices[held_out]
    with context.timed("training"):
        model = context.model if settings.scorer == "task" else _half_model(context, a, number, settings.half_effort)
    n_pool = n_labeled + len(context.candidates)
    rate = selection_rate(len(held_out), n_pool, batch_size, settings.min_rate)

    simulated = copy_for_simulation(selector)
    on_held_out = context.rebuild(candidates=b, labeled=a, model=model, purpose=f"cycle{number}-held-out")
    on_seen = context.rebuild(candidates=a, labeled=b, model=model, purpose=f"cycle{number}-seen")
    halves = []
    with context.timed("candidates"):
        for half, rebuilt in ((seen, on_seen), (held_out, on_held_out)):
            n_selected = min(max(1, round(rate * len(half))), len(half) - 1)
            scores = vote_scores_of(collect_votes(simulated, rebuilt, n_selected), settings.scores)
            rows = torch.as_tensor(half, device=context.device)
            halves.append(Half(rows, context.labeled.labels[rows], scores, rebuilt.candidates))
    with context.timed("search"):
        embeddings = torch.cat([half.view.embeddings() for half in halves])
        combined_scores = torch.cat([half.scores for half in halves]).cpu().double().mean(dim=1).numpy()
        n_components = settings.n_components or len(selector.candidates)
        threshold = shared_threshold(combined_scores, rate, context.rng, settings.threshold, n_components)
    return Cycle(halves[0], halves[1], model, embeddings, rate, threshold)


def _half_model(context: QueryContext, half: NDArray[np.int64], number: int, effort: float) -> FittedModel:
    """Return a model of a half.

    To rank samples it need not be fully trained. It is trained without augmentation, which would keep it from
    learning all labels and stopping early. With all of the effort it is trained as the task model is.
    """
    full = context.model.recipe
    if effort >= 1.0:
        return context.fit(half, purpose=f"cycle{number}")
    recipe = dataclasses.replace(
        full,
        epochs=math.ceil(effort * full.epochs),
        min_steps=math.ceil(effort * full.min_steps),
        stop_at_full_accuracy=True,
        augmentation=(),
    )
    return context.fit(half, purpose=f"cycle{number}", recipe=recipe)


def copy_for_simulation(selector: SelectorStrategy) -> SelectorStrategy:
    """Return the selector with copies of the candidates that have a memory, which simulations must not change."""
    simulated = copy.copy(selector)
    simulated.candidates = {
        name: copy.deepcopy(candidate) if type(candidate).state_dict is not Strategy.state_dict else candidate
        for name, candidate in selector.candidates.items()
    }
    return simulated
