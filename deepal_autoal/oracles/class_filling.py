"""Strategies that choose by the true classes of unlabeled samples: only an oracle can have them as candidates."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.oracles.base import NeedsTrueLabels

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from deepal_autoal.querying.context import QueryContext

N_PASSES = 3


class TypiClass(NeedsTrueLabels):
    """The most central samples of the classes with the fewest labels (Huseljic et al. 2026, BoSS).

    Sample by sample, of the classes that have candidates left, the one with the fewest labels so far gives the
    candidate with the smallest sum of squared distances to the candidates of its class, that is, the one nearest to
    their mean. Of equal classes, the first.
    """

    name = "typiclass"
    requires = frozenset({"embeddings"})

    def query(self, context: QueryContext, batch_size: int) -> ArrayLike:
        """Return the batch, in the order of the choices."""
        return self.fill(context, np.arange(len(context.candidates)), batch_size)

    def fill(self, context: QueryContext, positions: NDArray[np.int64], batch_size: int) -> NDArray[np.int64]:
        """Return the pool indices of up to ``batch_size`` of the candidates at some positions."""
        import torch  # not at the top: a command reads its arguments without it

        view = context.candidates
        classes = self.judge.labels[view.indices[positions]]
        counts = torch.bincount(context.labeled.labels, minlength=context.n_classes).cpu().numpy()
        embeddings = view.embeddings()[torch.as_tensor(positions, device=context.device)].double()
        queues: dict[int, list[int]] = {}
        for number in np.unique(classes).tolist():
            own = np.flatnonzero(classes == number)
            rows = embeddings[torch.as_tensor(own, device=context.device)]
            distances = (rows - rows.mean(dim=0)).square().sum(dim=1)
            queues[number] = own[distances.argsort(stable=True).cpu().numpy()].tolist()[::-1]
        chosen: list[int] = []
        while queues and len(chosen) < batch_size:
            number = min(queues, key=lambda name: (counts[name], name))
            chosen.append(queues[number].pop())
            counts[number] += 1
            if not queues[number]:
                del queues[number]
        return view.indices[positions[np.array(chosen, dtype=np.int64)]]


class DropQueryClass(TypiClass):
    """The same among samples whose predicted class changes in more than half of three dropout passes.

    Where these are fewer than a batch, the other candidates fill it, chosen likewise.
    """

    name = "dropqueryclass"
    requires = frozenset({"embeddings", "probabilities", "mc_dropout"})

    def query(self, context: QueryContext, batch_size: int) -> ArrayLike:
        """Return the batch, in the order of the choices."""
        view = context.candidates
        predicted = view.log_probabilities().argmax(dim=1)
        changes = (view.mc_probabilities(N_PASSES).argmax(dim=2) != predicted).sum(dim=0)
        is_changing = (changes > N_PASSES // 2).cpu().numpy()
        chosen = self.fill(context, np.flatnonzero(is_changing), batch_size)
        if len(chosen) == batch_size:
            return chosen
        others = self.fill(context, np.flatnonzero(~is_changing), batch_size - len(chosen))
        return np.concatenate([chosen, others])


TRUE_LABEL_STRATEGIES: tuple[type[NeedsTrueLabels], ...] = (TypiClass, DropQueryClass)
