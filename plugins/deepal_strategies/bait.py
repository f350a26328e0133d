"""BAIT: a batch whose labels, with the known ones, leave the least uncertainty of the last layer's weights.

How it works: the Fisher information of a sample about the last layer's weights is VᵀV, where V has k rows; M is the
information of the labeled and chosen samples, F the mean over all. Adding a sample to M lowers tr(M⁻¹F) by
tr(N (I + K)⁻¹), with K = V M⁻¹ Vᵀ and N = V M⁻¹ F M⁻¹ Vᵀ of size k × k, and removing one raises it by tr(N (I - K)⁻¹)
(Woodbury's identity). These two small matrices are kept for every candidate. As V = A ⊗ hᵀ with A of k × k and the
embedding h, one product of all embeddings with a matrix of D × 2k² updates them after a choice.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch

from deepal_autoal import InputError, Query, QueryError, Strategy
from deepal_strategies.shared.option_checks import check_at_least, check_choice, check_positive
from deepal_strategies.shared.row_blocks import INFORMATION
from deepal_strategies.shared.scaling import unit_of

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import PoolView, QueryContext

# Largest number of weights, C·D, whose Fisher matrix the full form holds: 512 MiB each for three of them.
MOST_WEIGHTS = 8192


class BAIT(Strategy):
    """Greedy minimization of tr(M⁻¹F) over batches (Ash, Goel, Krishnamurthy & Kakade, NeurIPS 2021).

    M = λI + |L|/(|L| + b) F_L + b/(|L| + b) Σ_x F_x over the chosen x, where F_x is the Fisher information of a
    sample's label about the last layer's weights, under the model's own probabilities, F_L its mean over the labeled
    samples, and F its mean over labeled samples and candidates. As in the authors' code, 2b samples are added one by
    one, and then b of them removed, each time the one that changes the trace the most, or the least. Weights do not
    include the bias, as there. Works without labeled samples, of which M then has no part.

    The round's record has the form, how many samples were added, and the final trace.

    Args:
        form: ``binary`` takes the predicted class against the rest (Huseljic et al., "Fast Fishing", ECML-PKDD 2024):
            with its probability p, F_x is the rank-one p(1-p) hhᵀ of D × D. ``full`` is the paper's
            (diag(p) - ppᵀ) ⊗ hhᵀ, whose matrices have (C·D)² numbers; C·D can be 8,192 at most.
        regularization: λ.
        oversampling: How many batches are added before some are removed; 1 removes none.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"probabilities", "embeddings"})

    def __init__(
        self, form: Literal["binary", "full"] = "binary", regularization: float = 1.0, oversampling: float = 2.0
    ) -> None:
        check_choice("form", form, ("binary", "full"))
        check_positive("regularization", regularization)
        check_at_least("oversampling", oversampling, 1)
        self.form = form
        self.regularization = regularization
        self.oversampling = oversampling

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which its samples were added.

        Raises:
            InputError: If the full form would take too much memory.
            QueryError: If embeddings are not finite, or so large that M cannot be inverted.
        """
        n_weights = context.n_classes * context.candidates.embeddings().shape[1]
        if self.form == "full" and n_weights > MOST_WEIGHTS:
            raise InputError(
                f"bait: the full form would hold matrices of {n_weights:,} x {n_weights:,}, for {MOST_WEIGHTS:,} at "
                "most; use -o form=binary"
            )
        device = torch.device("cpu") if context.device.type == "mps" else context.device  # mps has no float64
        # In random order, so that of equal gains a random one comes first.
        order = torch.randperm(len(context.candidates), generator=context.generator, device=context.device).to(device)
        pool = _Samples.of(context.candidates, self.form, device).take(order)
        known = _Samples.of(context.labeled, self.form, device)
        of_known = known.information()
        fisher = (pool.information() + of_known) / (len(pool) + len(known))
        start = of_known / (len(known) + batch_size)
        start.diagonal().add_(self.regularization)
        pool.left.mul_((batch_size / (len(known) + batch_size)) ** 0.5)

        n_added = min(len(pool), max(batch_size, round(self.oversampling * batch_size)))
        added = _choose(_Greedy(pool, start, fisher, 1), n_added)
        batch = pool.take(added)
        removal = _Greedy(batch, start + batch.information(), fisher, -1)
        removed = _choose(removal, n_added - batch_size)
        kept = torch.ones_like(added, dtype=torch.bool).index_fill_(0, removed, False)
        trace = removal.trace()
        if not trace < float("inf"):
            raise QueryError("bait: the embeddings are too large for their Fisher information to be inverted")
        positions = order[added[kept]].cpu().numpy()
        report = {"form": self.form, "added": n_added, "trace": trace}
        return Query(context.candidates.indices[positions], report)


class _Samples:
    """Samples by the factors of their Fisher information VᵀV with V = A ⊗ hᵀ.

    Attributes:
        left: A, float64 (n, k, k): k is 1 in the binary form, C in the full form.
        right: h, float32 (n, D).
    """

    def __init__(self, left: Tensor, right: Tensor) -> None:
        self.left, self.right = left, right

    @classmethod
    def of(cls, view: PoolView, form: str, device: torch.device) -> _Samples:
        right = view.embeddings().to(device)
        unit_of(right)  # raises if they are not finite
        # In double precision, 1 - p keeps digits near certainty.
        probabilities = view.logits().to(device).double().softmax(dim=1)
        if form == "binary":
            likeliest = probabilities.amax(dim=1)
            return cls((likeliest * (1.0 - likeliest)).sqrt()[:, None, None], right)
        identity = torch.eye(probabilities.shape[1], dtype=torch.float64, device=device)
        # Rows √p_y (e_y - p).
        return cls(probabilities.sqrt()[:, :, None] * (identity - probabilities[:, None, :]), right)

    def __len__(self) -> int:
        return len(self.right)

    @property
    def n_weights(self) -> int:
        return self.left.shape[1] * self.right.shape[1]

    def take(self, rows: Tensor) -> _Samples:
        return _Samples(self.left[rows], self.right[rows])

    def blocks(self) -> list[slice]:
        return list(INFORMATION.blocks(len(self), self.left.shape[1] * self.n_weights, self.right.device))

    def factors(self, rows: slice | Tensor) -> Tensor:
        """Return V, (n, k, k·D)."""
        left, right = self.left[rows], self.right[rows].double()
        return (left[..., None] * right[:, None, None, :]).flatten(2)

    def information(self) -> Tensor:
        """Return Σ VᵀV, (k·D, k·D)."""
        total = self.left.new_zeros(self.n_weights, self.n_weights)
        for rows in self.blocks():
            factors = self.factors(rows).flatten(0, 1)
            total.addmm_(factors.T, factors)
        return total

    def forms(self, matrix: Tensor) -> Tensor:
        """Return V matrix Vᵀ, (n, k, k), of a matrix (k·D, k·D)."""
        forms = torch.empty_like(self.left)
        for rows in self.blocks():
            factors = self.factors(rows)
            forms[rows] = (factors.flatten(0, 1) @ matrix).view_as(factors) @ factors.mT
        return forms

    def projected(self, rows: slice, columns: Tensor) -> Tensor:
        """Return V columns, (n, k, m), of columns (k·D, m)."""
        k, n_columns = self.left.shape[1], columns.shape[1]
        by_dimension = columns.view(k, -1, n_columns).permute(1, 0, 2).flatten(1)
        return self.left[rows] @ (self.right[rows].double() @ by_dimension).view(-1, k, n_columns)


class _Greedy:
    """Adds samples to a matrix M, or removes them, and keeps what each other one would change.

    Args:
        samples: All that can be chosen.
        matrix: M, (k·D, k·D).
        fisher: F, likewise.
        sign: 1 to add samples, -1 to remove them.
    """

    def __init__(self, samples: _Samples, matrix: Tensor, fisher: Tensor, sign: int) -> None:
        self.samples, self.sign = samples, sign
        # Not the checked decomposition, which would wait for the device.
        self.inverse = torch.cholesky_inverse(torch.linalg.cholesky_ex(matrix)[0])
        self.spread = self.inverse @ fisher @ self.inverse
        self.fisher = fisher
        self.own, self.effect = samples.forms(self.inverse), samples.forms(self.spread)

    def changes(self) -> Tensor:
        """Return by how much choosing each sample would change the trace, (n,), at least 0."""
        if self.own.shape[1] == 1:
            return (self.effect / (1.0 + self.sign * self.own)).flatten()
        identity = torch.eye(self.own.shape[1], dtype=self.own.dtype, device=self.own.device)
        solved = torch.linalg.solve_ex(identity + self.sign * self.own, self.effect)[0]
        changes: Tensor = solved.diagonal(dim1=1, dim2=2).sum(dim=1)
        return changes

    def choose(self, row: Tensor) -> None:
        """Add or remove the sample at ``row``, (1,)."""
        sign, factor = self.sign, self.samples.factors(row)[0]
        columns, spread = self.inverse @ factor.T, self.spread @ factor.T
        identity = torch.eye(len(factor), dtype=factor.dtype, device=factor.device)
        middle = torch.linalg.inv_ex(identity + sign * factor @ columns)[0]
        effect = factor @ spread
        width = self.samples.right.shape[1] + 2 * len(factor) ** 2
        for rows in INFORMATION.blocks(len(self.samples), width, factor.device):
            of_columns, of_spread = self.samples.projected(rows, torch.cat([columns, spread], dim=1)).chunk(2, dim=2)
            weighted = of_columns @ middle
            crossed = weighted @ of_spread.mT
            self.own[rows] -= sign * weighted @ of_columns.mT
            self.effect[rows] += weighted @ effect @ weighted.mT - sign * (crossed + crossed.mT)
        # In place: with few samples, passes over these matrices take most of the time.
        weighted = columns @ middle
        self.inverse.addmm_(weighted, columns.T, alpha=-sign)
        self.spread.addmm_(weighted @ effect, weighted.T)
        self.spread.addmm_(weighted, spread.T, alpha=-sign).addmm_(spread, weighted.T, alpha=-sign)

    def trace(self) -> float:
        """Return tr(M⁻¹F)."""
        return float((self.inverse * self.fisher).sum())


def _choose(greedy: _Greedy, n_choices: int) -> Tensor:
    """Return the rows chosen one by one, int64 (n_choices,): the largest changes if added, the smallest if removed."""
    chosen = torch.empty(n_choices, dtype=torch.int64, device=greedy.own.device)
    is_left = torch.ones(len(greedy.samples), dtype=torch.bool, device=chosen.device)
    for number in range(n_choices):
        row = torch.where(is_left, greedy.sign * greedy.changes(), -torch.inf).argmax(dim=0, keepdim=True)
        chosen[number : number + 1] = row
        is_left.index_fill_(0, row, False)
        greedy.choose(row)
    return chosen
