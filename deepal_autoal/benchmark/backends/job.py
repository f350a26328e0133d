"""One run of a benchmark as plain data, and its execution: in this process, in another, or on another machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepal_autoal.errors import DeepALError
from deepal_autoal.files import LOCK

Message = dict[str, Any]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """Everything that is needed to execute a run, as plain data: ``Job(**json.loads(json.dumps(vars(job))))`` works.

    Attributes:
        title: Its name in messages.
        folder: The run folder.
        settings: The arguments of `run`.
        initial_model: The file of the shared round 0, or None.
        command: The command line, for the record.
        log_level: The level from which log messages are wanted.
    """

    title: str
    folder: str
    settings: Mapping[str, Any]
    initial_model: str | None = None
    command: tuple[str, ...] | None = None
    log_level: int = logging.WARNING

    @property
    def lock(self) -> Path:
        """The file that is locked, as by `filelock.FileLock`, while a process writes the run folder."""
        return Path(self.folder, LOCK)

    def execute(self, report: Callable[[Message], None]) -> None:
        """Execute or continue the run in this process. Any exception but an interrupt is reported as its failure.

        Args:
            report: Called with each message: ``{"kind": "phase", "phase": ..., "done": ..., "total": ...}`` very often,
                ``{"kind": "round", "record": {...}}`` after each round and, as the last one, ``{"kind": "end",
                "failure": ...}`` with the reason in one line, or None for success; with ``"is_unusable": True`` if CUDA
                has failed, so that this process can execute no other job. A `WorkerProcess` also reports
                ``{"kind": "log", "name": ..., "level": ..., "text": ...}``.
        """
        from deepal_autoal.benchmark.backends.objects import unpack
        from deepal_autoal.experiment.loop import run
        from deepal_autoal.isolation.engine_calls import engine_call
        from deepal_autoal.isolation.process_state import restored
        from deepal_autoal.numerics.devices import empty_gpu_cache, has_failed

        failure = None
        try:
            with engine_call(), restored([]):  # one run's code must not affect the next one's numbers
                run(
                    **unpack(self.settings), out=Path(self.folder), resume=True, command=self.command,
                    initial_model=self.initial_model,
                    progress=lambda phase, done, total: report(
                        {"kind": "phase", "phase": phase, "done": done, "total": total}
                    ),
                    on_round=lambda _, record: report({"kind": "round", "record": record}),
                )  # fmt: skip
        except (Exception, SystemExit) as error:  # plugin code may raise anything
            logger.debug("%s failed", self.title, exc_info=True)
            text = " ".join(str(error).split())
            failure = text if isinstance(error, DeepALError) else f"{type(error).__name__}: {text}"
        end: Message = {"kind": "end", "failure": failure}
        if has_failed():
            end["is_unusable"] = True
        else:
            empty_gpu_cache()
        report(end)


def forward_log(message: Mapping[str, Any]) -> None:
    """Log in this process what a job's process logged, by its message of kind ``log``."""
    source = logging.getLogger(message["name"])
    if source.isEnabledFor(message["level"]):
        source.log(message["level"], "%s", message["text"])
