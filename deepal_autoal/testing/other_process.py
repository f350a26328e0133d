"""A second Python process that creates the same strategy and runs the same queries.

It is started early and read late, so it runs beside the other checks.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import weakref
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.registry import IN_PROCESS
from deepal_autoal.testing.failure_text import format_failure
from deepal_autoal.testing.report import CheckFailedError, CheckSkippedError
from deepal_autoal.testing.subject import OTHER_SIZE
from deepal_autoal.testing.time_limit import OutOfTimeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepal_autoal.testing.subject import Subject

# Odd: a memory that alternates between rounds would otherwise end where it began.
ROUNDS = 3
TIMEOUT = 120.0
_POLL = 0.01


class OtherProcess:
    """Runs queries in a process without CUDA and with another hash order, and continues a saved learner there.

    Args:
        subject: The strategy. Its memory comes from some rounds in this process.

    Attributes:
        expected: The batch of this process's undisturbed learner after the last round, int64 (b,).
        first_batch: Its batch in the first round, int64 (b,); for slow strategies, after a batch of another size.
        n_rounds: Number of rounds before it was saved.
    """

    expected: NDArray[np.int64]
    first_batch: NDArray[np.int64]

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._path = Path(tempfile.mkdtemp(prefix="deepal-check-"))
        # Under pytest, it is unknown which check is the last.
        self._clean = weakref.finalize(self, shutil.rmtree, self._path, ignore_errors=True)
        self.n_rounds = ROUNDS
        self._saving_error: Exception | OutOfTimeError | None = None
        self._why_not = ""
        self._helper: Helper | None = None
        try:
            maker = describe_maker(subject)
            self._helper = Helper.current()  # it imports torch while this process trains
        except CheckSkippedError as reason:
            self._why_not = str(reason)
        try:
            self._save()
        except (Exception, OutOfTimeError) as error:  # raised by the check that reads it
            self._saving_error = error
        if self._helper is not None:
            job = {"maker": maker, "saved": self._saving_error is None, "kind": subject.kind, "path": _import_path()}
            (self._path / "job.json").write_text(json.dumps(job))
            self._helper.send(self._path)

    @property
    def saved(self) -> Path:
        """The file of the learner saved after the rounds."""
        return self._path / "learner.pt"

    def require_saved(self) -> None:
        """Raise the reason if the learner could not run its rounds and be saved."""
        error = self._saving_error
        if error is None:
            return
        if isinstance(error, CheckFailedError | CheckSkippedError | OutOfTimeError):
            raise error
        raise CheckFailedError(
            f"{self.n_rounds} rounds, ActiveLearner.save, and one more round",
            format_failure(error, self._subject.home),
            "make query work in later rounds too, and keep only numbers, strings, lists, dicts, arrays and tensors "
            "in state_dict()",
        ) from error

    @cached_property
    def answers(self) -> dict[str, Any]:
        """The answers of the other process; ``first`` and ``continued`` contain ``indices`` or ``error``.

        Raises:
            CheckSkippedError: If the strategy cannot be created in another process.
            CheckFailedError: If that process died or did not answer in time.
            OutOfTimeError: If the time for all checks is up.
        """
        if self._helper is None:
            raise CheckSkippedError(self._why_not)
        answer = self._answer
        deadline = time.monotonic() + TIMEOUT
        while not answer.exists():
            expected = "an answer from another Python process"
            if self._helper.has_ended and not answer.exists():
                raise CheckFailedError(expected, self._helper.last_words(), "do not end the process")
            self._subject.limit.require()
            if time.monotonic() > deadline:
                self._helper.end()
                raise CheckFailedError(expected, f"none in {TIMEOUT:.0f} s", "make import and query faster")
            time.sleep(_POLL)
        answers: dict[str, Any] = json.loads(answer.read_text())
        if "impossible" in answers:
            raise CheckSkippedError(f"it cannot be created in another process: {answers['impossible']}")
        return answers

    def close(self) -> None:
        """Remove the files, and end the process if time is up while it is busy with them."""
        if self._helper is not None and not self._subject.limit.left and not self._answer.exists():
            self._helper.end()
        self._clean()

    @property
    def _answer(self) -> Path:
        return self._path / "answer.json"

    def _save(self) -> None:
        subject = self._subject
        learner = subject.learner(subject.problem)
        if subject.is_slow:
            self.n_rounds = 1
            subject.ask_learner(learner, OTHER_SIZE)  # for `asking_again_changes_nothing`
        for number in range(self.n_rounds):
            batch = subject.ask_learner(learner)
            if number == 0:
                self.first_batch = batch
            learner.tell(batch, subject.problem.labels[batch])
        learner.save(self.saved)
        self.expected = subject.ask_learner(learner)


class Helper:
    """The process itself. It imports torch once for all checked strategies, and ends with this process."""

    _current: Helper | None = None

    def __init__(self) -> None:
        folder = tempfile.mkdtemp(prefix="deepal-check-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._errors = Path(folder) / "stderr"
        hash_seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
        own = {"PYTHONHASHSEED": hash_seed, "CUDA_VISIBLE_DEVICES": "", "PYTHONPATH": os.pathsep.join(_import_path())}
        with open(self._errors, "wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deepal_autoal.testing.child"],
                cwd=folder,  # not here, where a file may have a module's name
                env={**os.environ, **own}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=errors,
            )  # fmt: skip
        weakref.finalize(self, _kill, self._process)

    @classmethod
    def current(cls) -> Helper:
        """Return the process, a new one if there is none or it has ended."""
        if cls._current is None or cls._current.has_ended:
            cls._current = cls()
        return cls._current

    def send(self, folder: Path) -> None:
        """Send it the folder of a job; it runs jobs one after the other."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{folder}\n".encode())
        self._process.stdin.flush()

    @property
    def has_ended(self) -> bool:
        """Whether the process has ended."""
        return self._process.poll() is not None

    def last_words(self) -> str:
        """Return its exit status and the last line of its standard error."""
        lines = self._errors.read_text(errors="replace").strip().splitlines()
        return f"exit status {self._process.returncode}: {lines[-1] if lines else 'no message'}"

    def end(self) -> None:
        """Kill the process."""
        _kill(self._process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()
    if process.poll() is None:
        process.kill()
        process.wait()


def _import_path() -> list[str]:
    return [os.path.abspath(entry) for entry in sys.path]


def describe_maker(subject: Subject) -> dict[str, Any]:
    """Return how another process creates the subject, as a JSON-able dict.

    Raises:
        CheckSkippedError: If it cannot be created there.
    """
    try:
        options = json.loads(json.dumps(subject.options))
    except (TypeError, ValueError) as error:
        raise CheckSkippedError(f"the options given cannot be sent to another process: {error}") from None
    registered = {
        entry.name: entry.target if isinstance(entry.target, str) else address(entry.target)
        for entry in plugin_host().strategies.entries()
        if entry.provider == IN_PROCESS and (entry is subject.entry or entry.name in (subject.candidates or ()))
    }
    return {
        "name": subject.target if isinstance(subject.target, str) else None,
        "target": None if isinstance(subject.target, str) else address(subject.target),
        "registered": registered,
        "candidates": None if subject.candidates is None else list(subject.candidates),
        "options": options,
    }


def address(target: Any) -> str:
    """Return ``"module:qualname"`` of a class or function.

    Raises:
        CheckSkippedError: If it cannot be found by that name.
    """
    module, name = getattr(target, "__module__", None), getattr(target, "__qualname__", None)
    if module is None or name is None or module == "__main__" or "<" in name:
        raise CheckSkippedError(f"another process cannot import {module}.{name}: define it at the top of a module")
    if find(f"{module}:{name}") is not target:
        raise CheckSkippedError(f"another process cannot import {module}.{name}: that name refers to something else")
    return f"{module}:{name}"


def find(target: str) -> Any:
    """Return the object that `address` describes; None if it does not exist."""
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
