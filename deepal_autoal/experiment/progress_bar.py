"""The progress bar of a run that is started from Python."""

from __future__ import annotations

import sys
import time
from typing import Any

# Seconds between two changes of the text within a round.
_INTERVAL = 0.2


def is_watched() -> bool:
    """Return whether somebody can see a progress bar: on a terminal or in a notebook."""
    return "ipykernel" in sys.modules or (sys.stderr is not None and sys.stderr.isatty())


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
        self._shown_at = -float("inf")

    def phase(self, phase: str, done: int, total: int) -> None:
        """Show the phase within the round."""
        now = time.monotonic()
        if total <= 1 or now - self._shown_at > _INTERVAL:
            self._shown_at = now
            self._bar.set_postfix_str(self._accuracy + (f"{phase} {100 * done // total}%" if total > 1 else phase))

    def round(self, record: dict[str, Any]) -> None:
        """Show that a round is finished."""
        self._accuracy = f"{record['n_labeled']} labeled, accuracy {record['accuracy']:.4f}, "
        self._bar.set_postfix_str(self._accuracy.removesuffix(", "), refresh=False)
        self._bar.update()

    def close(self) -> None:
        """Leave the bar as it is."""
        self._bar.close()
