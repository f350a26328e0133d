"""Checks on data that real labelling meets: an exact batch, a finite report, no error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.testing.batches import check_report
from deepal_autoal.testing.problems import Problem, blobs, repeated
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
    """Candidates that are all alike, with equal or other labelled samples: an exact batch nonetheless."""
    for everywhere in (True,) if subject.is_slow else (False, True):
        _answers(subject, repeated(subject.kind, everywhere))


def certain_predictions_work(subject: Subject) -> None:
    """Probabilities of exactly 0 and 1 give an exact batch: no NaN from 0 · log 0."""
    _answers(subject, subject.problem, sharp=True)


def two_classes_work(subject: Subject) -> None:
    """Two classes are enough, and labels may come interactively, with no number of rounds known."""
    _answers(subject, blobs(subject.kind, n_classes=2, n_rounds=None))


def many_classes_work(subject: Subject) -> None:
    """Thirty classes of which only ten have a label, with one sample each."""
    _answers(subject, blobs(subject.kind, n_labeled=10, n_classes=30))


def missing_class_works(subject: Subject) -> None:
    """No labelled sample of one of three classes."""
    _answers(subject, blobs(subject.kind, missing_class=True))


def single_label_works(subject: Subject) -> None:
    """A labelled set of one sample."""
    _answers(subject, blobs(subject.kind, n_labeled=1))


def tiny_pool_works(subject: Subject) -> None:
    """One candidate, and three candidates."""
    for n_candidates, sizes in ((1, (1,)), (3, (2,) if subject.is_slow else (1, 2, 3))):
        for size in sizes:
            _answers(subject, blobs(subject.kind, n=12 + n_candidates, n_labeled=12), size)


def _kind_works(subject: Subject, kind: str) -> None:
    subject.require(kind)
    if kind == subject.kind and subject.is_slow:
        check_report(subject.reference.report)
        return
    # Own networks on images may take seconds a sample.
    _answers(subject, blobs(kind, n=20, n_labeled=8))


def _answers(subject: Subject, problem: Problem, batch_size: int = BATCH, *, sharp: bool = False) -> None:
    check_report(subject.ask(problem, batch_size, sharp=sharp).report)
    if batch_size == BATCH and not subject.is_slow:
        subject.ask(problem, problem.n_candidates, sharp=sharp)
