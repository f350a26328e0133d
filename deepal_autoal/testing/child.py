"""The other process: ``python -m deepal_autoal.testing.child`` (see `other_process`).

Each line of standard input is a folder with a ``job.json``; ``answer.json`` is written beside it. The process ends
with its input.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal.errors import RunFolderError
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.files import write_json
from deepal_autoal.plugins.hookspecs import hookimpl
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.testing.failure_text import format_failure
from deepal_autoal.testing.other_process import find
from deepal_autoal.testing.problems import blobs
from deepal_autoal.testing.run import quiet_process
from deepal_autoal.testing.subject import BATCH, Subject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from deepal_autoal.plugins.registry import Registrar


def main() -> None:
    """Run jobs until there are no more."""
    for line in sys.stdin:
        folder = Path(line.rstrip("\n"))
        # The check that asked may have been interrupted and its folder removed.
        with suppress(OSError, RunFolderError), quiet_process():
            write_json(folder / "answer.json", _answers(folder))


def _answers(folder: Path) -> dict[str, Any]:
    job = json.loads((folder / "job.json").read_text())
    sys.path += [entry for entry in job["path"] if entry not in sys.path]
    try:
        targets = {name: find(target) for name, target in job["maker"]["registered"].items()}
        with _registered(targets):
            return _asked(_make(job["maker"]), folder, job)
    except Exception as error:
        return {"impossible": format_failure(error)}


def _asked(subject: Subject, folder: Path, job: dict[str, Any]) -> dict[str, Any]:
    problem = blobs(job["kind"])

    def continued() -> NDArray[np.int64]:
        strategy = None if isinstance(subject.target, str) else subject.create()
        return ActiveLearner.load(folder / "learner.pt", problem.pool, strategy=strategy, device="cpu").ask(BATCH)

    answers = {
        name: _attempt(lambda seed=seed: subject.ask(problem, seed=seed).indices, subject)  # type: ignore[misc]
        for name, seed in (("other_seed", 1), ("first", 0))
    }
    if job["saved"]:
        answers["continued"] = _attempt(continued, subject)
    return answers


def _make(maker: dict[str, Any]) -> Subject:
    target = maker["name"] if maker["target"] is None else find(maker["target"])
    return Subject(target, maker["candidates"], maker["options"])


@contextmanager
def _registered(targets: dict[str, Any]) -> Iterator[None]:
    """Register, inside the block, the strategies that the asking process had registered itself."""

    class Plugin:
        @staticmethod
        @hookimpl
        def deepal_register_strategies(registry: Registrar) -> None:
            for name, target in targets.items():
                registry.add(name, target)

    if targets:
        plugin_host().register(Plugin, "checked")
    try:
        yield
    finally:
        if targets:
            plugin_host().unregister(Plugin)


def _attempt(ask: Callable[[], NDArray[np.int64]], subject: Subject) -> dict[str, Any]:
    try:
        return {"indices": ask().tolist()}
    except Exception as error:
        return {"error": format_failure(error, subject.home)}


if __name__ == "__main__":
    main()
