"""One run of a benchmark as data, and doing it: the same in this process, in another one, and on another machine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepal_autoal.errors import DeepALError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """What it takes to do a run. All of it is plain data.

    Attributes:
        title: What it is called in messages.
        folder: The run folder.
        settings: What `run` is called with.
        initial_model: The file of a shared round 0, or None.
        command: The command line, for the record.
    """

    title: str
    folder: str
    settings: Mapping[str, Any]
    initial_model: str | None = None
    command: tuple[str, ...] | None = None


def do(job: Job, progress: Callable[[str, int, int], None], on_round: Callable[[dict[str, Any]], None]) -> str | None:
    """Do or continue a run. Whatever it raises is its own failure, but for an interrupt.

    Args:
        job: The run.
        progress: Called as ``progress(phase, done, total)``.
        on_round: Called after each round with its record.

    Returns:
        Why it failed, in a line; None if it has finished.
    """
    from deepal_autoal.loop import run
    from deepal_autoal.process import restored

    try:
        with restored([]):  # no run's code reaches the next one's numbers
            run(
                **job.settings, out=Path(job.folder), resume=True, command=job.command,
                initial_model=job.initial_model, progress=progress, on_round=lambda _, record: on_round(record),
            )  # fmt: skip
    except (Exception, SystemExit) as error:  # a plugin's code may do anything
        logger.debug("%s failed", job.title, exc_info=True)
        text = " ".join(str(error).split())
        return text if isinstance(error, DeepALError) else f"{type(error).__name__}: {text}"
    return None
