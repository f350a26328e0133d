"""The RAMBO strategy: the utility of training sets, learned in the labeled set, ranks chunks of uncertain samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from deepal_autoal import DeepALError, Query, Strategy, top_scores
from deepal_strategies.rambo import equations
from deepal_strategies.rambo.acquisition import greedy_margin, n_considered
from deepal_strategies.rambo.samples import Judge, UtilitySamples, draw_pairs
from deepal_strategies.rambo.transport import TransportToValidation
from deepal_strategies.rambo.utility_model import Training, UtilityModel
from deepal_strategies.shared.option_checks import check_at_least, check_choice
from deepal_strategies.shared.scaling import scaled, unit_of
from deepal_strategies.shared.standardize import Standardize
from deepal_strategies.shared.uncertainty import negative_margin
from deepal_strategies.shared.validation import MIN_LABELED, judges, labels_of, positions_of, split_labeled

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext
    from deepal_strategies.rambo.acquisition import Score

    Numbers = NDArray[np.int64]
    Masks = NDArray[np.bool_]


class RAMBO(Strategy):
    """Ranks chunks of uncertain samples by a learned utility of training sets (Ding, Chen, Jia & Chen, UAI 2024).

    Meant to ask for all labels at once (``--rounds 1``). In a query, a set network û learns to rank training sets by
    the accuracy that a model trained on them has on validation samples (algorithm 1): first from pairs of random
    subsets of the labeled set, of which models are trained; then chunk by chunk of the labeled set S₀, from pairs
    whose utilities are interpolated between the accuracies before and after the chunk. Then the batch is chosen in
    chunks, each the best by û of several random chunks of the smallest margins (algorithm 2). No code is public.

    Open in the paper, and chosen here (see also `equations`, `transport` and `acquisition`):

    - Validation: the run's validation set (``--validation``), of which the task model has learned nothing. Without one,
      ``validation`` random labeled samples, which count as labels like all others; the paper's 1,000 are in addition to
      the budget. They are not in S₀, but the task model, whose margins and embeddings are used, learned them too.
      Accuracy on few samples is coarse: with 25, two models differ by 0.04 or not at all. After the first
      round, labeled samples are those that a strategy chose, on which accuracies are not those of the pool.
    - û's features are the task model's embeddings, standardized; the paper trains an encoder of images, or takes
      frozen features. Embeddings of labeled samples, which a network has learned, differ from those of candidates, but
      not those of a ``linear`` model, which are the inputs.
    - The paper's 500 pairs of trained subsets are 1,000 trainings. They are drawn from S₀ and stay in û's data.
    - S₀ is split into equal parts, a start and the chunks, as in the paper's settings for MNIST. Interpolated
      utilities lie between two accuracies: they only say which subset is nearer to the larger set, and the other way
      around where a chunk lowered the accuracy.
    - Ω_λ is an L2 penalty with a weight for each layer (see `equations.regularizer`).
    - û is learned anew in each query, from the labels of that round.

    Each query trains ``2·pairs + chunks + 1`` models. With fewer than eight labels, or with ``choice="random"``, none
    is trained, and the chunks are random ones of the same filter: the control.

    Args:
        validation: Number of labeled samples that judge, V; None for a quarter of them, or the run's validation set.
        pairs: Pairs of subsets that models are trained on.
        chunks: τ₁, parts of S₀ that are added to the start; fewer if S₀ is small.
        interpolated: Pairs with interpolated utilities for each of them, the paper's n; 0 for none.
        parts: τ₂, chunks of the batch.
        alternatives: How many chunks are compared for each, which sets the margin filter.
        choice: ``utility``, or the control ``random``.
        pooling: ``mean``, ``sum`` or ``transformer``; see `SetNetwork`. With ``mean``, a chunk counts less the larger
            the set is that it is added to.
        width: Of the network's layers.
        ranking: Whether û learns by L_rank; otherwise by squared errors of the utilities.
        transport: λ_OT, weight of the second task; 0 for none.
        bilevel: Whether the larger half of the pairs trains the regularizer's weights; otherwise all train û, with
            fixed weights.
        hypergradient: ``unrolled`` through all inner steps, or through the ``last-step`` only, which is cheaper.
        epochs: Updates of the regularizer in each training of û.
        steps: Inner steps for each.
        learning_rate: Of the inner steps.

    Raises:
        InputError: If an option is out of range, or ``validation`` leaves too few labeled samples, or is given beside
            the run's validation set.
    """

    requires = frozenset({"probabilities", "embeddings"})

    def __init__(
        self,
        validation: int | None = None,
        pairs: int = 10,
        chunks: int = 3,
        interpolated: int = 30,
        parts: int = 10,
        alternatives: int = 10,
        choice: Literal["utility", "random"] = "utility",
        pooling: Literal["mean", "sum", "transformer"] = "mean",
        width: int = 64,
        ranking: bool = True,
        transport: float = 1.0,
        bilevel: bool = True,
        hypergradient: Literal["unrolled", "last-step"] = "unrolled",
        epochs: int = 20,
        steps: int = 5,
        learning_rate: float = 0.003,
    ) -> None:
        if validation is not None:
            check_at_least("validation", validation, 1)
        for name, value in (("pairs", pairs), ("chunks", chunks), ("parts", parts), ("alternatives", alternatives)):
            check_at_least(name, value, 1)
        check_at_least("interpolated", interpolated, 0)
        check_choice("choice", choice, ("utility", "random"))
        self.validation = validation
        self.pairs = pairs
        self.chunks = chunks
        self.interpolated = interpolated
        self.parts = parts
        self.alternatives = alternatives
        self.choice = choice
        self.training = Training(
            width, pooling, ranking, transport, bilevel, hypergradient, epochs, steps, learning_rate
        )

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen.

        The report has whether û was ``learned``, and if so the ``trainings``, the ``accuracies`` of the start and after
        each chunk, û's ``losses`` and ``log_weights`` λ, and ``ranking_accuracy``, the share of the trained pairs of
        different utility that û orders correctly (it has been trained on some of them); and the pool indices of the
        ``validation`` samples unless they are the run's.
        """
        n = n_considered(len(context.candidates), batch_size, self.parts, self.alternatives)
        margins = negative_margin(context.candidates.log_probabilities())
        # In the order of margins; ties are broken at random.
        considered = top_scores(margins, n, context.generator)
        learned = self.choice == "utility" and len(context.labeled) >= MIN_LABELED
        score, report = self.learn(context, considered) if learned else (None, {})
        with context.timed("selection"):
            places = greedy_margin(n, batch_size, self.parts, self.alternatives, score, context.rng)
        positions = considered.cpu().numpy()[places]
        return Query(context.candidates.indices[positions], {"learned": learned, **report})

    def learn(self, context: QueryContext, considered: Tensor) -> tuple[Score, dict[str, Any]]:
        """Return û as a function that scores chunks of the considered candidates, and the report."""
        known, validation = split_labeled(context, self.validation)
        features, features_v, features_u = embeddings_of(context, known, validation, considered)
        transport = None
        if self.training.transport:
            labels, labels_v = labels_of(context.labeled, known), labels_of(judges(context), validation)
            with context.timed("transport"):
                transport = TransportToValidation(features, labels, features_v, labels_v)

        def samples_of(memberships: Masks, utilities: NDArray[np.float64]) -> UtilitySamples:
            if transport is None:
                return UtilitySamples(memberships, utilities, np.zeros(len(utilities)))
            with context.timed("transport"):
                distances = transport.distances(torch.as_tensor(memberships)).numpy()
            return UtilitySamples(memberships, utilities, distances)

        parts = np.array_split(context.rng.permutation(len(known)), 1 + min(self.chunks, len(known) // 2 - 1))
        judge = Judge(context, known, validation, 2 * self.pairs + len(parts))
        drawn = draw_pairs(np.arange(len(known)), len(known), self.pairs, context.rng)
        trained = samples_of(drawn, judge.measure_all(drawn))
        model = UtilityModel(features, self.training, context.stream_seed("utility model"))
        with context.timed("utility model"):
            model.train(trained)
        data = [trained]
        before = mask_of(parts[0], len(known))
        accuracies = [judge.measure(before, "start")]
        for number in range(1, len(parts)):
            after = before | mask_of(parts[number], len(known))
            accuracies.append(judge.measure(after, f"chunk {number}"))
            if self.interpolated:
                drawn = draw_pairs(np.flatnonzero(before), len(known), self.interpolated, context.rng)
                alpha = _nearness(model, drawn, before, after)
                data.append(samples_of(drawn, equations.interpolated_utility(alpha, *accuracies[-2:]).numpy()))
                with context.timed("utility model"):
                    model.train(UtilitySamples.joined(data))
            before = after
        return score_of(model, features, features_u), {
            **({"validation": validation} if context.validation is None else {}),
            "trainings": judge.n_trained,
            "accuracies": accuracies,
            "losses": model.losses,
            "log_weights": model.log_weights,
            "ranking_accuracy": ranking_accuracy(model, trained),
        }


def mask_of(members: Numbers, n_samples: int) -> Masks:
    """Return a mask, bool (n_samples,), of positions."""
    mask = np.zeros(n_samples, dtype=bool)
    mask[members] = True
    return mask


def _nearness(model: UtilityModel, memberships: Masks, before: Masks, after: Masks) -> Tensor:
    """Return α of subsets, float64 (S,), by the embeddings of û as it is now."""
    embedded = model.embed(memberships).cpu().double()
    ends = model.embed(np.stack([before, after])).cpu().double()
    to_before, to_after = ((embedded - end).norm(dim=1) for end in ends)
    return equations.nearness(to_before, to_after)


def embeddings_of(
    context: QueryContext, known: Numbers, validation: Numbers, considered: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return standardized embeddings of S₀ (k, D), of the validation set (V, D) and of candidates (n, D).

    Args:
        context: The round.
        known: Pool indices of S₀.
        validation: Pool indices of the validation set.
        considered: Positions of candidates, (n,).
    """
    labeled, judging, candidates = context.labeled, judges(context), context.candidates.embeddings()
    parts = (
        labeled.embeddings()[positions_of(labeled, known)],
        judging.embeddings()[positions_of(judging, validation)],
        candidates[considered.to(candidates.device)],
    )
    unit = unit_of(*parts)
    scaled_parts = [scaled(part, unit) for part in parts]
    standardize = Standardize(*scaled_parts)
    one, two, three = (standardize(part) for part in scaled_parts)
    return one, two, three


def score_of(model: UtilityModel, features: Tensor, others: Tensor) -> Score:
    """Return the function û(S₀ ∪ chosen ∪ chunk) of chunks of candidates; ``chosen`` may only grow.

    Args:
        model: û.
        features: Of S₀, (k, D).
        others: Of the candidates, (n, D).
    """
    base = model.statistics(features).sum(dim=0)
    statistics = model.statistics(others)
    n_added = 0

    def score(chosen: Numbers, chunks: Numbers) -> NDArray[np.floating]:
        nonlocal base, n_added
        rows, new = (torch.as_tensor(places, device=base.device) for places in (chunks, chosen[n_added:]))
        base, n_added = base + statistics[new].sum(dim=0), len(chosen)
        with torch.no_grad():
            scores = model.network.score(base + statistics[rows].sum(dim=1))
        if not scores.isfinite().all():
            raise DeepALError("the utility model's scores are not finite: use a lower learning_rate")
        found: NDArray[np.floating] = scores.cpu().numpy()
        return found

    return score


def ranking_accuracy(model: UtilityModel, samples: UtilitySamples) -> float | None:
    """Return the share of pairs of different utility that û orders correctly; None if all are equal."""
    scores = model.score(samples.memberships).cpu().numpy()
    differences = samples.utilities[::2] - samples.utilities[1::2]
    is_different = differences != 0
    if not is_different.any():
        return None
    return float(((scores[::2] - scores[1::2]) * differences > 0)[is_different].mean())
