"""Checks on difficult data as in real labeling: an exact batch, a finite report, no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.testing.batches import check_report
from deepal_autoal.testing.problems import Problem, blobs, repeated
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.subject import BATCH

if TYPE_CHECKING:
    from deepal_autoal.testing.subject import Subject


def vectors_work(subject: Subject) -> None:
    """It accepts feature vectors."""
    _kind_works(subject, "vectors")


def images_work(subject: Subject) -> None:
    """It accepts gray images (8x8)."""
    _kind_works(subject, "images")


def color_images_work(subject: Subject) -> None:
    """It accepts color images that are not square (9x7x3)."""
    _kind_works(subject, "color images")


def identical_candidates_work(subject: Subject) -> None:
    """Identical candidates, with equal or different labeled samples: the same exact batch twice."""
    if not subject.is_slow:
        _answers(subject, repeated(subject.kind, everywhere=False))
    problem = repeated(subject.kind, everywhere=True)
    expected = subject.answer(problem)
    check_report(expected.report)
    again = subject.ask(problem).indices
    if expected.indices.tolist() != again.tolist():
        raise CheckFailedError(
            f"the batch {expected.indices.tolist()} again from identical candidates",
            f"{again.tolist()} from a new instance with the same seed",
            "draw from context.rng and context.generator only, even to break ties",
        )
    if not subject.is_slow:
        subject.ask(problem, problem.n_candidates)


def ties_are_broken_at_random(subject: Subject) -> None:
    """Among identical candidates, other seeds pick others."""
    if subject.is_slow and subject.is_random:
        raise CheckSkippedError("it is slow, and its picks are random anyway")
    problem = repeated(subject.kind, everywhere=True)
    expected = set(subject.answer(problem).indices.tolist())
    if all(set(subject.answer(problem, seed=seed).indices.tolist()) == expected for seed in (1, 2)):
        raise CheckFailedError(
            "other picks with other seeds when all candidates are identical",
            f"{sorted(expected)} with seeds 0, 1 and 2: ties are broken by position",
            "use context.generator or context.rng, or deepal_autoal.top_scores",
        )


def certain_predictions_work(subject: Subject) -> None:
    """Probabilities of exactly 0 and 1 give an exact batch: no NaN from 0 · log 0."""
    _answers(subject, subject.problem, sharp=True)


def two_classes_work(subject: Subject) -> None:
    """Two classes are enough, and labels may be given interactively, with an unknown number of rounds."""
    if subject.is_slow:
        raise CheckSkippedError("slow: covered by tiny-pool-works")
    _answers(subject, blobs(subject.kind, n_classes=2, n_rounds=None))


def many_classes_work(subject: Subject) -> None:
    """It works with thirty classes of which only ten have a labeled sample, one each."""
    if subject.is_slow:
        raise CheckSkippedError("slow: covered by single-label-works")
    _answers(subject, blobs(subject.kind, n_labeled=10, n_classes=30))


def missing_class_works(subject: Subject) -> None:
    """It works when one of three classes has no labeled sample."""
    if subject.is_slow:
        raise CheckSkippedError("slow: covered by single-label-works")
    _answers(subject, blobs(subject.kind, missing_class=True))


def single_label_works(subject: Subject) -> None:
    """It works with a single labeled sample (for slow strategies, with thirty classes)."""
    _answers(subject, blobs(subject.kind, n_labeled=1, n_classes=30 if subject.is_slow else 3))


def tiny_pool_works(subject: Subject) -> None:
    """It works with one candidate and with three (for slow strategies only one, with two classes)."""
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
    if kind == "images" and subject.is_slow and subject.refusal("color images") is None:
        raise CheckSkippedError("slow: covered by color-images-work")
    # A strategy's own networks may take seconds per image.
    problem = blobs(kind, n=20, n_labeled=8)
    # For slow strategies, this also covers the whole pool for `batch_is_exact`.
    _answers(subject, problem, problem.n_candidates if subject.is_slow else BATCH)


def _answers(subject: Subject, problem: Problem, batch_size: int = BATCH, *, sharp: bool = False) -> None:
    check_report(subject.ask(problem, batch_size, sharp=sharp).report)
    if batch_size == BATCH and not subject.is_slow:
        subject.ask(problem, problem.n_candidates, sharp=sharp)
