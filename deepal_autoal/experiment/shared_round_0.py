"""Round 0's model, which runs that differ only in their selection share: trained once, kept in a file."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.run_config import RunConfig
from deepal_autoal.files import read_tensors, write_tensors

logger = logging.getLogger(__name__)

# The settings that determine round 0's model and its accuracy.
_DECIDING = ("dataset", "pool_size", "initial", "model", "recipe", "scaling", "seed", "device", "threads", "versions")


@dataclass(frozen=True)
class InitialModel:
    """Round 0's model in a file.

    Attributes:
        path: The file; it need not exist yet.
    """

    path: Path

    def read(self, config: RunConfig) -> dict[str, Any] | None:
        """Return what `write` stored, or None if the file does not hold it for a run with these settings.

        Args:
            config: The run's resolved settings.
        """
        if not self.path.exists():
            return None
        try:
            found = read_tensors(self.path)
        except RunFolderError as error:
            logger.warning("%s; the model is trained again", error)
            return None
        return found if found.get("settings") == _deciding(config) else None

    def write(
        self, config: RunConfig, state: Mapping[str, Any], scores: Mapping[str, Any], seconds: Mapping[str, float]
    ) -> None:
        """Store a model with its accuracy and timings; a failure is logged and ignored.

        Args:
            config: The run's resolved settings.
            state: The argument of `ActiveLearner.adopt`.
            scores: Those of the test split (see `round_scores`).
            seconds: Seconds by phase.
        """
        content = {**state, "settings": _deciding(config), **scores, "seconds": dict(seconds)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_tensors(self.path, content)
        except (OSError, RunFolderError) as error:  # it only saves time
            logger.warning("round 0 is not shared: %s", error)


def _deciding(config: RunConfig) -> str:
    found = config.to_json()
    return json.dumps({key: found[key] for key in _DECIDING}, sort_keys=True)
