"""GALAXY: the middle of the shortest stretch between labeled samples of different kinds, class by class."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import Query, Strategy
from deepal_strategies.shared.row_blocks import ORDERS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal import QueryContext

# How a sample was found, in the order of preference.
STRETCH, CUT, RANDOM = "stretch", "cut", "random"


class Galaxy(Strategy):
    """Graph-based active learning at the extreme (Zhang, Katz-Samuels & Nowak, ICML 2022), for imbalanced classes.

    For each class k all samples, labeled ones included, are in line by p_k - max_c p_c, and where that is equal, as
    for all samples predicted as k, by max_c p_c. For each pick a random class is drawn. Of the stretches between two
    labeled samples that follow each other, one of class k and one not, the shortest that holds unlabeled samples is
    halved: its middle is picked. Without such a stretch it is the unlabeled sample nearest to a cut, a place where
    samples of both kinds are next to each other; without a cut, a random one. Ties are broken at random.

    In the paper each label is known before the next pick, although the model is not trained in between. A batch here
    gets its labels together, so a picked sample is left out of all lines for the rest of the batch; with a batch size
    of 1 the picks are the paper's. Without labels all picks are random.

    The round's record has the numbers of picks by ``stretch``, ``cut`` and ``random``.
    """

    requires = frozenset({"probabilities"})

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen."""
        labels = context.labeled.labels.cpu().numpy()
        logs = torch.cat([context.candidates.log_probabilities(), context.labeled.log_probabilities()])
        lines = Lines(logs.cpu().numpy(), labels, context.rng)
        counts = dict.fromkeys((STRETCH, CUT, RANDOM), 0)
        chosen = []
        for number in range(batch_size):
            context.progress(number, batch_size)
            line = lines.of(int(context.rng.integers(lines.n_classes)))
            positions, how = next_positions(lines.kinds(line))
            pick = int(line[context.rng.choice(positions)])
            lines.is_taken[pick] = True
            counts[how] += 1
            chosen.append(pick)
        return Query(context.candidates.indices[chosen], counts)


class Lines:
    """The samples in line for each class: candidates 0 ... N - 1, then labeled ones.

    Args:
        log_probabilities: (N + L, C).
        labels: Of the labeled samples, (L,).
        rng: Orders samples with equal probabilities.

    Attributes:
        n_classes: C.
        is_taken: Whether a candidate was picked, (N + L,).
    """

    def __init__(
        self, log_probabilities: NDArray[np.float32], labels: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        n, self.n_classes = log_probabilities.shape
        self._logs = log_probabilities
        self._highest = log_probabilities.max(axis=1)
        self._priority = rng.permutation(n)
        self._labels = np.concatenate([np.full(n - len(labels), -1), labels])
        self.is_taken = np.zeros(n, dtype=bool)
        self._kept: dict[int, NDArray[np.int32]] = {}
        self._n_kept = ORDERS.rows(n)
        self._class = 0

    def of(self, number: int) -> NDArray[np.int32]:
        """Return a class's line without the taken samples, from the least to the most certain of the class."""
        self._class = number
        line = self._kept.get(number)
        if line is None:
            own = np.exp(self._logs[:, number].astype(np.float64)) - np.exp(self._highest.astype(np.float64))
            line = np.lexsort((self._priority, self._highest, own)).astype(np.int32)
        line = line[~self.is_taken[line]]
        if number in self._kept or len(self._kept) < self._n_kept:
            self._kept[number] = line
        return line

    def kinds(self, line: NDArray[np.int32]) -> NDArray[np.int8]:
        """Return for each sample of the last line 1 if it is of its class, 0 if it is not, and -1 if unlabeled."""
        labels = self._labels[line]
        return np.where(labels < 0, -1, labels == self._class).astype(np.int8)


def next_positions(kinds: NDArray[np.int8]) -> tuple[NDArray[np.int64], str]:
    """Return the positions in a line that may be picked next, equally good ones, and how they were found.

    Args:
        kinds: From `Lines.kinds`, (n,); at least one sample is unlabeled.
    """
    labeled, unlabeled = np.flatnonzero(kinds >= 0), np.flatnonzero(kinds < 0)
    starts, ends = labeled[:-1], labeled[1:]
    differ = kinds[starts] != kinds[ends]
    lengths = ends - starts
    halved = differ & (lengths > 1)
    if halved.any():
        shortest = halved & (lengths == lengths[halved].min())
        middles = (starts[shortest] + ends[shortest]) / 2
        return np.unique(np.concatenate([np.floor(middles), np.ceil(middles)])).astype(np.int64), STRETCH
    cuts = (starts[differ] + ends[differ]) / 2
    if len(cuts):
        place = np.searchsorted(cuts, unlabeled)
        below, above = cuts[np.maximum(place - 1, 0)], cuts[np.minimum(place, len(cuts) - 1)]
        distances = np.minimum(np.abs(unlabeled - below), np.abs(unlabeled - above))
        return unlabeled[distances == distances.min()], CUT
    return unlabeled, RANDOM
