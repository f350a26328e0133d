"""The progress bar of a run that is started from Python, and what every bar of a run shows of a phase."""

from __future__ import annotations

import sys
import time
from typing import Any

# Seconds between two changes of the text within a round.
_INTERVAL = 0.2


def is_watched() -> bool:
    """Return whether somebody can see a progress bar: on a terminal or in a notebook."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


class PhaseText:
    """What a bar shows of the phase within a round, and when: not more often than somebody can read."""

    def __init__(self) -> None:
        self._shown_at = -float("inf")

    def of(self, phase: str, done: int, total: int) -> str | None:
        """Return the text to show now, or None to leave what is there."""
        now = time.monotonic()
        if total > 1 and now - self._shown_at <= _INTERVAL:
            return None
        self._shown_at = now
        return f"{phase} {100 * done // total}%" if total > 1 else phase


class RunBar:
    """A bar over a run's rounds, with the phase and the last accuracy; on standard error, or in a notebook's cell.

    Args:
        title: What is running.
        n_rounds: Number of queries.
        n_done: Rounds that are finished already.
    """

    def __init__(self, title: str, n_rounds: int, n_done: int = 0) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(total=n_rounds + 1, initial=n_done, desc=title, unit="round", dynamic_ncols=True)
        self._accuracy = ""
        self._phase = PhaseText()

    def phase(self, phase: str, done: int, total: int) -> None:
        """Show the phase within the round."""
        text = self._phase.of(phase, done, total)
        if text is not None:
            self._bar.set_postfix_str(self._accuracy + text)

    def round(self, record: dict[str, Any]) -> None:
        """Show that a round is finished."""
        self._accuracy = f"{record['n_labeled']} labeled, accuracy {record['accuracy']:.4f}, "
        self._bar.set_postfix_str(self._accuracy.removesuffix(", "), refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
