"""Checks on data that real labelling meets: an exact batch, a finite report, no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.testing.batches import check_report
from deepal_autoal.testing.problems import Problem, blobs, repeated
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.subject import BATCH

if TYPE_CHECKING:
    from deepal_autoal.testing.subject import Subject


def vectors_work(subject: Subject) -> None:
    """It takes feature vectors."""
    _kind_works(subject, "vectors")


def images_work(subject: Subject) -> None:
    """It takes grey images (8x8)."""
    _kind_works(subject, "images")


def colour_images_work(subject: Subject) -> None:
    """It takes colour images that are not square (9x7x3)."""
    _kind_works(subject, "colour images")


def identical_candidates_work(subject: Subject) -> None:
    """Candidates that are all alike, with equal or other labelled samples: an exact batch, twice the same."""
    if not subject.is_slow:
        _answers(subject, repeated(subject.kind, everywhere=False))
    problem = repeated(subject.kind, everywhere=True)
    expected = subject.answer(problem)
    check_report(expected.report)
    again = subject.ask(problem).indices
    if expected.indices.tolist() != again.tolist():
        raise CheckFailedError(
            f"the batch {expected.indices.tolist()} again from candidates that are all alike",
            f"{again.tolist()} of a new instance with the same seed",
            "draw from context.rng and context.generator only, also where it is but to break ties",
        )
    if not subject.is_slow:
        subject.ask(problem, problem.n_candidates)


def ties_are_broken_at_random(subject: Subject) -> None:
    """Of candidates that are all alike, other seeds pick others."""
    if subject.is_slow and subject.is_random:
        raise CheckSkippedError("slow, and its picks are random anyway")
    problem = repeated(subject.kind, everywhere=True)
    expected = set(subject.answer(problem).indices.tolist())
    if all(set(subject.answer(problem, seed=seed).indices.tolist()) == expected for seed in (1, 2)):
        raise CheckFailedError(
            "other picks with other seeds where all candidates are alike",
            f"{sorted(expected)} with the seeds 0, 1 and 2: ties are broken by position",
            "use context.generator or context.rng, or deepal_autoal.top_scores",
        )


def certain_predictions_work(subject: Subject) -> None:
    """Probabilities of exactly 0 and 1 give an exact batch: no NaN from 0 · log 0."""
    _answers(subject, subject.problem, sharp=True)


def two_classes_work(subject: Subject) -> None:
    """Two classes are enough, and labels may come interactively, with no number of rounds known."""
    if subject.is_slow:
        raise CheckSkippedError("slow: left to tiny-pool-works")
    _answers(subject, blobs(subject.kind, n_classes=2, n_rounds=None))


def many_classes_work(subject: Subject) -> None:
    """Thirty classes of which only ten have a label, with one sample each."""
    if subject.is_slow:
        raise CheckSkippedError("slow: left to single-label-works")
    _answers(subject, blobs(subject.kind, n_labeled=10, n_classes=30))


def missing_class_works(subject: Subject) -> None:
    """No labelled sample of one of three classes."""
    if subject.is_slow:
        raise CheckSkippedError("slow: left to single-label-works")
    _answers(subject, blobs(subject.kind, missing_class=True))


def single_label_works(subject: Subject) -> None:
    """A labelled set of one sample (for slow strategies, of one in thirty classes)."""
    _answers(subject, blobs(subject.kind, n_labeled=1, n_classes=30 if subject.is_slow else 3))


def tiny_pool_works(subject: Subject) -> None:
    """One candidate, and three candidates (for slow strategies the one only, with two classes)."""
    if subject.is_slow:
        _answers(subject, blobs(subject.kind, n=13, n_labeled=12, n_classes=2, n_rounds=None), 1)
        return
    for n_candidates, sizes in ((1, (1,)), (3, (1, 2, 3))):
        for size in sizes:
            _answers(subject, blobs(subject.kind, n=12 + n_candidates, n_labeled=12), size)


def _kind_works(subject: Subject, kind: str) -> None:
    subject.require(kind)
    if kind == subject.kind and subject.is_slow:
        check_report(subject.reference.report)
        return
    if kind == "images" and subject.is_slow and subject.refusal("colour images") is None:
        raise CheckSkippedError("slow: left to colour-images-work")
    # Own networks on images may take seconds a sample.
    problem = blobs(kind, n=20, n_labeled=8)
    # Of slow ones, this is the whole pool of `batch_is_exact` too.
    _answers(subject, problem, problem.n_candidates if subject.is_slow else BATCH)


def _answers(subject: Subject, problem: Problem, batch_size: int = BATCH, *, sharp: bool = False) -> None:
    check_report(subject.ask(problem, batch_size, sharp=sharp).report)
    if batch_size == BATCH and not subject.is_slow:
        subject.ask(problem, problem.n_candidates, sharp=sharp)
