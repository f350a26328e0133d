"""ProbCover: greedy coverage of the pool by balls of one radius."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import InputError, Query, Strategy
from deepal_strategies.shared.clustering import k_means
from deepal_strategies.shared.coverage import Similarity, ball, choose_covering, draw_reference, unit_rows
from deepal_strategies.shared.neighbors import distances_to_others
from deepal_strategies.shared.option_checks import check_at_least, check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext

# Samples whose balls are examined for the purity: the share of as many has a standard error of 0.2% at most at 95%.
PURITY_SAMPLES = 10_000
# Embeddings of length 1 are at most 2 apart, and closer than the least they are taken to coincide.
_LARGEST, _LEAST = 2.0, 1e-6


class ProbCover(Strategy):
    """Repeatedly the sample with the most uncovered samples within a distance δ (Yehuda et al., NeurIPS 2022).

    Embeddings are scaled to length 1. A sample covers all samples nearer than δ; those near labeled ones are covered
    from the start. The greedy choice is exact (see `coverage`).

    δ is the paper's: k-means gives pseudo-classes, as many as there are classes, of labeled and unlabeled samples
    together; the purity of δ is the share of samples whose ball holds a single pseudo-class, and δ is the largest with
    a purity of at least α. That is a quantile of the distances to the nearest sample of another pseudo-class, and
    needs no search; beyond 10,000 samples, that many random ones are examined. δ depends on the embeddings: published
    values for self-supervised features are 0.22 to 0.75.

    Where everything is covered before the batch is full, the rest of it is random and the record says how many; a
    smaller ``delta`` avoids that. (The authors' code then returns the same labeled sample again and again. It also
    ignores what the samples of its last, partial block cover.)

    Args:
        delta: δ, at most 2; by default from the purity.
        alpha: The least purity α, which determines δ.
        reference: Number of candidates, drawn at random in every round, whose coverage counts; by default all, as in
            the paper. Time grows with it.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings"})

    def __init__(self, delta: float | None = None, alpha: float = 0.95, reference: int | None = None) -> None:
        if delta is not None:
            check_positive("delta", delta)
        if not 0 < alpha <= 1:
            raise InputError(f"option alpha is {alpha}; it must be above 0 and at most 1")
        if reference is not None:
            check_at_least("reference", reference, 1)
        self.delta = delta
        self.alpha = alpha
        self.reference = reference

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen."""
        embeddings, labeled = context.candidates.embeddings(), context.labeled.embeddings()
        delta = self.delta
        if delta is None:
            delta, purity = purest_radius(
                torch.cat([embeddings, labeled]), context.n_classes, self.alpha, context.generator
            )
            context.report(purity=purity)
        reference = embeddings[draw_reference(context, self.reference)]
        similarity = Similarity(reference, delta, ball)
        covered = similarity.best(labeled)
        before = covered.mean()
        chosen, gains = choose_covering(
            similarity, embeddings, covered, batch_size, context.generator, progress=context.progress
        )
        numbers = torch.stack([before, covered.mean(), (gains == 0).sum()]).tolist()
        report = {
            "delta": delta,
            "coverage_before": numbers[0],
            "coverage_after": numbers[1],
            "random": int(numbers[2]),
        }
        return Query(context.candidates.indices[chosen.cpu().numpy()], report)


def purest_radius(embeddings: Tensor, n_classes: int, alpha: float, generator: torch.Generator) -> tuple[float, float]:
    """Return the largest δ with a purity of at least α, in (0, 2], and its purity (see `ProbCover`).

    Args:
        embeddings: Of all samples, (n, D), at least one.
        n_classes: Number of pseudo-classes.
        alpha: α.
        generator: On the embeddings' device.
    """
    n_samples = len(embeddings)
    seed = int(torch.randint(1 << 31, (1,), generator=generator, device=embeddings.device))
    rows = unit_rows(embeddings)
    if rows.device.type == "mps":  # lacks some of the operations
        rows = rows.cpu()
    own = torch.Generator(rows.device).manual_seed(seed)
    pseudo = k_means(rows, min(n_classes, n_samples), own).labels
    examined = torch.randperm(n_samples, generator=own, device=rows.device)[:PURITY_SAMPLES]
    # A ball of radius δ is pure if no sample of another pseudo-class is nearer than δ.
    free = distances_to_others(rows, pseudo, examined).clamp_(_LEAST, _LARGEST).sort().values
    delta = free[min(int((1.0 - alpha) * len(free) + 1e-9), len(free) - 1)]
    return float(delta), int((free >= delta).sum()) / len(free)
