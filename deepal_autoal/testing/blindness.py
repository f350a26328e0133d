"""Checks that a batch does not depend on what the strategy must not know: hidden labels, and order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.loop import run
from deepal_autoal.testing.faults import failing
from deepal_autoal.testing.problems import QUICK, blobs
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.subject import BATCH

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.testing.subject import Subject

_KEYS = ("again", "and again", "once more")


def hidden_labels_do_not_matter(subject: Subject) -> None:
    """In a run, scrambling the labels that were not bought, and those of the test set, changes no pick."""
    problem, test = blobs(subject.kind), blobs(subject.kind, n=24, n_labeled=3)
    rounds = 1 if subject.is_slow else 2

    def queried(labels: NDArray[np.int64], test_labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[list[int]]]:
        data = Dataset("blobs", problem.pool, labels, test.pool, test_labels, ("a", "b", "c"))
        with failing("a run without an error", "see where it was raised", subject.home):
            result = run(
                subject.create(), data, initial=18, batch_size=BATCH, rounds=rounds, device="cpu", threads=1,
                recipe=QUICK, seed=0,
            )  # fmt: skip
        batches = [record["queried"] for record in result.rounds[:-1]]
        return np.concatenate([result.config["initial"], *batches]).astype(np.int64), batches

    bought, expected = queried(problem.labels, test.labels)
    scrambled = (problem.labels + 1) % problem.n_classes
    scrambled[bought] = problem.labels[bought]
    _, given = queried(scrambled, (test.labels + 1) % problem.n_classes)
    for number, (one, other) in enumerate(zip(expected, given, strict=True)):
        if one != other:
            raise CheckFailedError(
                f"the batch {one} of round {number}, whatever the labels are that were not bought",
                f"{other} with other hidden labels",
                "use the labels in context.labeled.labels only",
            )


def order_does_not_matter(subject: Subject) -> None:
    """Listing the candidates in another order permutes the picks; for strategies whose picks are not random."""
    strategy = subject.create()
    context = subject.context(subject.problem, strategy=strategy)
    candidates = context.candidates.indices

    def picks(order: NDArray[np.int64], purpose: str) -> set[int]:
        there = context.rebuild(candidates=order, purpose=purpose)
        return set(subject.ask_in(there, BATCH).indices.tolist())

    expected = picks(candidates, "order")
    for key in _KEYS:
        if picks(candidates, key) != expected:
            raise CheckSkippedError("its picks are random: they change with the context's random key")
    rng = np.random.default_rng(0)
    for order in (candidates[::-1].copy(), rng.permutation(candidates)):
        given = picks(order, "order")
        if given != expected:
            raise CheckFailedError(
                f"the picks {sorted(expected)}, in whatever order the candidates are listed",
                f"{sorted(given)} with the same candidates in another order",
                "decide by the samples' outputs, never by their position; break ties with context.generator",
            )
