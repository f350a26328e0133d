"""Checks that a batch does not depend on what the strategy must not use: hidden labels and order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepal_autoal.datasets.base import Dataset
from deepal_autoal.experiment.loop import run
from deepal_autoal.testing.failure_text import failing
from deepal_autoal.testing.problems import QUICK, blobs
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.subject import BATCH, KEYS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.testing.subject import Subject


def hidden_labels_do_not_matter(subject: Subject) -> None:
    """In a run, scrambling the hidden labels of the pool and of the test set changes no pick."""
    problem, test = blobs(subject.kind), blobs(subject.kind, n=24, n_labeled=3)
    rounds = 1 if subject.is_slow else 2

    def queried(labels: NDArray[np.int64], test_labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[list[int]]]:
        subject.limit.require()
        data = Dataset("blobs", problem.pool, labels, test.pool, test_labels, ("a", "b", "c"))
        with failing("a run without an error", "see where it was raised", subject.home), subject.calls.record():
            result = run(
                subject.create(), data, initial=18, batch_size=BATCH, rounds=rounds, device="cpu", threads=1,
                recipe=QUICK, seed=0, progress=False,
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
                f"the batch {one} of round {number}, whatever the hidden labels are",
                f"{other} with other hidden labels",
                "use the labels in context.labeled.labels only",
            )


def order_does_not_matter(subject: Subject) -> None:
    """Listing candidates or labeled samples in another order changes no pick, unless the picks are random."""
    if subject.is_random:
        raise CheckSkippedError("its picks are random: they change with the context's random key")
    context = subject.context(subject.problem)
    candidates, labeled = context.candidates.indices, context.labeled.indices
    # What `is_random` got with the same random key and everything in its usual order.
    expected = set(subject.reference.indices.tolist())
    rng = np.random.default_rng(0)
    orders = [
        ("candidates", rng.permutation(candidates), labeled),
        ("labeled samples", candidates, rng.permutation(labeled)),
        ("candidates", candidates[::-1].copy(), labeled),
    ]
    for what, one, other in orders[:2] if subject.is_slow else orders:
        there = context.rebuild(candidates=one, labeled=other, purpose=KEYS[0])
        given = set(subject.ask_in(there, BATCH).indices.tolist())
        if given != expected:
            raise CheckFailedError(
                f"the picks {sorted(expected)}, in whatever order the {what} are listed",
                f"{sorted(given)} with the same {what} in another order",
                "decide by the samples' outputs, never by their positions; break ties with context.generator"
                if what == "candidates"
                else "take rows of context.labeled and its labels in the same order, that of context.labeled.indices",
            )
