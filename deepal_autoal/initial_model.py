"""Round 0's model, which runs that differ only in how they select have in common: trained once, kept in a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import read_tensors, write_tensors

logger = logging.getLogger(__name__)

# What decides round 0's model and its accuracy.
_DECIDING = ("dataset", "pool_size", "initial", "model", "recipe", "scaling", "seed", "device", "threads", "versions")


@dataclass(frozen=True)
class InitialModel:
    """Round 0's model in a file.

    Attributes:
        path: The file; it need not exist yet.
    """

    path: Path

    def read(self, config: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return what `write` was given, or None if the file does not hold it for a run of these settings.

        Args:
            config: The run's resolved settings.
        """
        if not self.path.exists():
            return None
        try:
            found = read_tensors(self.path)
        except RunFolderError as error:
            logger.warning("%s; the model is trained anew", error)
            return None
        return found if found.get("settings") == _deciding(config) else None

    def write(
        self, config: Mapping[str, Any], state: Mapping[str, Any], accuracy: float, seconds: Mapping[str, float]
    ) -> None:
        """Keep a model, what it was measured to do, and how long that took; failing that, say so and go on.

        Args:
            config: The run's resolved settings.
            state: What `ActiveLearner.adopt` takes.
            accuracy: On the test split.
            seconds: By phase.
        """
        content = {**state, "settings": _deciding(config), "accuracy": accuracy, "seconds": dict(seconds)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(self.path, content)
        except (OSError, RunFolderError) as error:  # it only saves time
            logger.warning("round 0 is not shared: %s", error)


def _deciding(config: Mapping[str, Any]) -> str:
    return json.dumps({key: config[key] for key in _DECIDING}, sort_keys=True)
