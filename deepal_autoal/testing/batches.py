"""Checks of the batch, the report and the scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.errors import InputError
from deepal_autoal.jsonable import to_jsonable
from deepal_autoal.querying.strategy import ScoringStrategy
from deepal_autoal.testing.failure_text import failing
from deepal_autoal.testing.problems import Problem, blobs
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.subject import BATCH
from deepal_autoal.testing.time_limit import OutOfTimeError

if TYPE_CHECKING:
    from deepal_autoal.testing.subject import Subject

# Seconds of one query on the small pool above which the note suggests cheaper options.
LONG_QUERY = 0.8
# Pool size at which a strategy that works in batches has several of them.
LARGER = 700


def batch_is_exact(subject: Subject) -> str | None:
    """A batch has exactly b distinct unlabeled pool indices: for b = 1, 7 and the whole pool."""
    try:
        seconds = subject.reference.seconds
    except OutOfTimeError:
        raise CheckFailedError(
            f"{BATCH} distinct pool indices of the {subject.problem.n_candidates} candidates",
            "no answer to the first query within the time limit",
            "make query faster, or check it with cheaper options (-o) or more time (--seconds)",
        ) from None
    if not subject.is_slow:  # else `tiny_pool_works` covers 1 and `color_images_work` the whole pool
        subject.ask(subject.problem, subject.problem.n_candidates)
        subject.ask(subject.problem, 1)
        return None
    advice = "; cheaper options (-o) make the check faster" if seconds > LONG_QUERY else ""
    return f"slow, {seconds:.1f} s per query on {subject.problem.n_candidates} candidates: asked less often{advice}"


def too_large_batch_is_refused(subject: Subject) -> None:
    """If asked for too many samples, the learner raises an InputError, and the next batch is not affected."""
    learner = subject.learner(subject.problem)
    too_many = subject.problem.n_candidates + 1
    try:
        learner.ask(too_many)
    except InputError:
        pass
    else:
        raise CheckFailedError(f"an InputError for a batch of {too_many}", "an answer", "do not replace ask or query")
    if subject.is_slow:
        return
    with failing("a batch from the learner after it refused one", "see where it was raised", subject.home):
        batch = subject.ask_learner(learner)
    fresh = subject.reference.indices
    if set(batch.tolist()) != set(fresh.tolist()):
        raise CheckFailedError(
            f"{fresh.tolist()}, as from a learner that was never asked for too much",
            f"{batch.tolist()}",
            "use nothing but the context, and draw only from context.rng and context.generator",
        )


def report_is_json(subject: Subject) -> None:
    """The report is a mapping that JSON can store: no NaN, no infinity, no objects."""
    check_report(subject.reference.report)


def check_report(report: Any) -> None:
    """Fail unless a report is a mapping that JSON can store."""
    advice = "report numbers, strings, lists and dicts; leave out NaN and infinity"
    if not isinstance(report, Mapping):
        raise CheckFailedError("a mapping as Query.report", f"{type(report).__name__}: {report!r}", advice)
    for key, value in report.items():
        try:
            json.dumps(to_jsonable(value), allow_nan=False)
        except (ValueError, TypeError) as error:
            raise CheckFailedError("a report that JSON can store", f"report[{key!r}]: {error}", advice) from error


def scores_are_numbers(subject: Subject) -> str | None:
    """A scoring strategy gives each candidate one real number (perhaps infinite, not NaN) on the context's device."""
    if not isinstance(subject.create(), ScoringStrategy):
        raise CheckSkippedError("it gives no scores (it is not a ScoringStrategy)")
    _check_scores(subject, subject.problem)
    if subject.is_slow:
        return "checked on small pools only, because it is slow"
    _check_scores(subject, blobs(subject.kind, LARGER))  # more than one batch, if it works in batches
    return None


def _check_scores(subject: Subject, problem: Problem) -> None:
    strategy = subject.create()
    context = subject.context(problem, strategy=strategy)
    expected = f"one real number for each of {len(context.candidates)} candidates, as a tensor on {context.device}"
    with failing(expected, "see where it was raised", subject.home):
        scores = strategy.score(context)  # type: ignore[attr-defined]
    advice = "return a tensor of shape (n_candidates,) computed from the context's views"
    if not isinstance(scores, torch.Tensor):
        raise CheckFailedError(expected, f"{type(scores).__name__}", advice)
    if scores.shape != (len(context.candidates),) or scores.is_complex() or scores.dtype == torch.bool:
        raise CheckFailedError(expected, f"{scores.dtype} of shape {tuple(scores.shape)}", advice)
    if scores.device.type != context.device.type:
        raise CheckFailedError(expected, f"a tensor on {scores.device}", advice)
    if scores.isnan().any():
        got = f"NaN for {int(scores.isnan().sum())} candidates"
        raise CheckFailedError(expected, got, "avoid 0·log 0, 0/0, logarithms of negative numbers, diverging training")


def cuda_gives_a_batch(subject: Subject) -> None:
    """On a CUDA device, if there is one, it gives the same exact batch twice."""
    if not torch.cuda.is_available():
        raise CheckSkippedError("there is no CUDA device")
    device = torch.device("cuda", 0)
    batches = []
    for _ in range(2):
        strategy = subject.create()
        context = subject.context(subject.problem, strategy=strategy, device=device)
        batches.append(subject.ask_in(context, BATCH, strategy=strategy).indices)
    if not np.array_equal(batches[0], batches[1]):
        raise CheckFailedError(
            f"{batches[0].tolist()}, as before", str(batches[1].tolist()), "draw from context.generator on its device"
        )
