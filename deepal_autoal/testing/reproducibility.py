"""Checks that a batch depends only on seed, round and labels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.testing.evidence import other_process_of, traces_of
from deepal_autoal.testing.failure_text import failing
from deepal_autoal.testing.observation import reseed_globals
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.subject import BATCH, OTHER_SIZE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepal_autoal.testing.subject import Subject

DRAW = "draw from context.rng and context.generator only; do not iterate over unordered things such as sets of strings"


def same_seed_same_batch(subject: Subject) -> None:
    """The same seed gives the same batch in the same order, whatever the state of the global generators."""
    expected = subject.reference.indices
    where = "with other global random states"
    if subject.is_slow:
        _compare(expected, traces_of(subject).answer.indices, where, DRAW)
        return
    for seed in (1, 2):
        reseed_globals(seed)
        _compare(expected, subject.ask(subject.problem).indices, where, DRAW)


def instances_share_nothing(subject: Subject) -> None:
    """A new instance picks the same batch as the first one, whatever other instances did in between."""
    expected = subject.reference.indices
    if subject.is_slow:
        again = traces_of(subject).answer.indices  # another instance ran with another seed before it
    else:
        learner = subject.learner(subject.problem, seed=1)
        with failing("rounds without an error", "see where it was raised", subject.home):
            for _ in range(2):
                batch = subject.ask_learner(learner)
                learner.tell(batch, subject.problem.labels[batch])
        again = subject.ask(subject.problem).indices
    advice = "set what changes on self in __init__, not on the class, in a module's global or in a default argument"
    _compare(expected, again, "from a new instance after another one's rounds", advice)


def other_process_same_batch(subject: Subject) -> None:
    """Another Python process, without CUDA and with another hash order, gives the same batch."""
    answers = other_process_of(subject).answers
    # There the second seed runs first, which reveals state that one seed leaves to the other on a class.
    for expected, key in ((subject.reference, "first"), (subject.other_seed, "other_seed")):
        given = _indices(answers[key], "a batch in another process")
        where = "in another process" if key == "first" else "in another process, with seed 1, which ran first"
        _compare(expected.indices, given, where, f"{DRAW}; keep nothing on the class or in a module's global")


def memory_survives_saving(subject: Subject) -> str | None:
    """After three rounds (one if slow) and saving, another process loads the file and picks the same batch."""
    other = other_process_of(subject)
    other.require_saved()
    advice = (
        "return everything that query remembers between rounds from state_dict(), as copies, and restore it in "
        "load_state_dict()"
    )
    note = None
    try:
        given = _indices(other.answers["continued"], "a batch from the loaded learner")
    except CheckSkippedError as reason:
        note = f"loaded in this process: {reason}"
        strategy = None if isinstance(subject.target, str) else subject.create()
        with failing("a batch from the loaded learner", advice, subject.home):
            pool = subject.problem.pool
            given = ActiveLearner.load(other.saved, pool, strategy=strategy, device="cpu").ask(BATCH).tolist()
    _compare(other.expected, given, f"from the learner that was saved after round {other.n_rounds} and loaded", advice)
    return note


def asking_again_changes_nothing(subject: Subject) -> None:
    """A batch of another size, asked for before labels are given, leaves no trace in the strategy's memory."""
    if subject.is_slow:
        other = other_process_of(subject)
        other.require_saved()
        batch = other.first_batch
    else:
        learner = subject.learner(subject.problem)
        with failing("batches of two sizes in one round", "see where it was raised", subject.home):
            subject.ask_learner(learner, OTHER_SIZE)
            batch = subject.ask_learner(learner)
    advice = "put everything that query changes on the strategy into state_dict(), and restore it in load_state_dict()"
    _compare(subject.reference.indices, batch, f"after a batch of {OTHER_SIZE} in the same round", advice)


def _indices(answer: dict[str, Any], expected: str) -> list[int]:
    if "error" in answer:
        raise CheckFailedError(
            expected, answer["error"], "make it work in a new process without CUDA, with memory from load_state_dict"
        )
    indices: list[int] = answer["indices"]
    return indices


def _compare(expected: NDArray[np.int64], given: NDArray[np.int64] | list[int], where: str, do: str) -> None:
    listed = given if isinstance(given, list) else given.tolist()
    if listed != expected.tolist():
        n_common = len(set(listed) & set(expected.tolist()))
        same = "in another order" if n_common == len(listed) else f"{n_common} of {len(listed)} in common"
        raise CheckFailedError(f"the batch {expected.tolist()} again", f"{listed} {where} ({same})", do)
