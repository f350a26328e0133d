"""One run of a benchmark as plain data, and its execution: in this process, in another, or on another machine."""

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
    """Everything that is needed to execute a run, as plain data.

    Attributes:
        title: Its name in messages.
        folder: The run folder.
        settings: The arguments of `run`.
        initial_model: The file of the shared round 0, or None.
        command: The command line, for the record.
    """

    title: str
    folder: str
    settings: Mapping[str, Any]
    initial_model: str | None = None
    command: tuple[str, ...] | None = None


def do(job: Job, progress: Callable[[str, int, int], None], on_round: Callable[[dict[str, Any]], None]) -> str | None:
    """Execute or continue a run. Any exception but an interrupt is returned as the run's failure.

    Args:
        job: The run.
        progress: Called as ``progress(phase, done, total)``.
        on_round: Called after each round with its record.

    Returns:
        Why it failed, in one line; None if it finished.
    """
    from deepal_autoal.experiment.loop import run
    from deepal_autoal.isolation.process_state import restored

    try:
        with restored([]):  # one run's code must not affect the next one's numbers
            run(
                **job.settings, out=Path(job.folder), resume=True, command=job.command,
                initial_model=job.initial_model, progress=progress, on_round=lambda _, record: on_round(record),
            )  # fmt: skip
    except (Exception, SystemExit) as error:  # plugin code may raise anything
        logger.debug("%s failed", job.title, exc_info=True)
        text = " ".join(str(error).split())
        return text if isinstance(error, DeepALError) else f"{type(error).__name__}: {text}"
    return None
