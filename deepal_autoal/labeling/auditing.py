"""A project's audit: in which order its samples are audited, and what the audit said last.

Every sample has a random number, drawn from the seed and its place in its source of data, and the order is that of the
numbers. So samples that are added take random places in it, and those that are skipped leave it, while all others stay
in order. Skipped samples are none that can be labeled, and whether a sample can be does not depend on the order: what
is left of a first part of it is a uniform sample of those that can. Labels that the data came with are not audited.
"""

from __future__ import annotations

import logging
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.audit.sampling import prefix_length
from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import checksum_of_value, read_json, write_json
from deepal_autoal.labeling.project import AUDIT
from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.audit.report import AuditEstimate
    from deepal_autoal.labeling.project import Project

INITIAL = "initial"
"""How a batch was chosen that is a first part of the order as a whole, all of it audited."""

logger = logging.getLogger(__name__)


def audit_order(project: Project) -> NDArray[np.int64]:
    """Return the rows in the order in which they are audited, int64 (n,)."""
    state, seed = project.state, project.settings.seed
    numbers = [numpy_stream(seed, source.number, "audit").random(source.size) for source in state.sources]
    given = {
        row for source in state.sources for row, label in enumerate(source.labels, source.start) if label is not None
    }
    order = np.argsort(np.concatenate(numbers), kind="stable").astype(np.int64)
    return order[~np.isin(order, np.array(sorted(given | state.skipped), dtype=np.int64))]


def audit_state(project: Project) -> dict[str, Any]:
    """Return the state of a learner's audit, from the journal alone."""
    initial = {row for batch in project.state.batches if batch.how == INITIAL for row in batch.rows}
    later = {row for batch in project.state.batches for row in batch.rows} - initial
    return {
        "n_drawn": 0, "n_initial": len(initial - project.state.skipped),
        "n_answered": len(later & project.state.labels.keys()), "asked": np.empty(0, dtype=np.int64), "round": -1,
        "predicted": None, "kappas": [], "order": audit_order(project),
    }  # fmt: skip


def due_rows(project: Project, size: int) -> list[int]:
    """Return the audited rows of the next batch.

    Args:
        project: Without labels, all of the batch is audited.
        size: Of the batch.
    """
    state = audit_state(project)
    order, labels = state["order"], project.state.labels
    if not labels:
        return [int(row) for row in order[:size]]
    n = prefix_length(len(order), state["n_initial"], state["n_answered"] + size, project.settings.audit)
    return [row for row in order[:n].tolist() if row not in labels][:size]


_KEYS = {"key", "labeled", "accuracy", "equivalent_random_labels", "rest", "verdict", "outlook"}


def state_key(project: Project) -> str:
    """Return what an estimate depends on, in short."""
    state = project.state
    return checksum_of_value([len(state.ids), len(state.batches), list(state.labels.items()), sorted(state.skipped)])


def write_estimate(project: Project, found: AuditEstimate | None) -> None:
    """Keep what the audit says about the present model, for `read_estimate`."""
    write_json(project.path / AUDIT, {
        "key": state_key(project), "labeled": len(project.state.labels), "accuracy": _accuracy(found),
        "equivalent_random_labels": None if found is None or found.payoff is None else asdict(found.payoff.equivalent),
        "rest": None if found is None or found.rest is None else asdict(found.rest),
        "verdict": "" if found is None else found.verdict, "outlook": _outlook(found, project.settings.batch_size),
    })  # fmt: skip


def read_estimate(project: Project) -> dict[str, Any] | None:
    """Return what `write_estimate` kept last; None if there is nothing, or it is damaged."""
    path = project.path / AUDIT
    if not os.path.lexists(path):
        return None
    try:
        found = read_json(path)
        if set(found) | {"rest"} == _KEYS:  # before 0.2.0, there was no rest
            return {"rest": None, **found}
    except (RunFolderError, TypeError) as error:
        logger.warning("%s", error)
    return None


def _outlook(found: AuditEstimate | None, batch_size: int) -> dict[str, Any] | None:
    """Return what `weigh` needs to advise on the next batch; None if nothing was estimated."""
    if found is None:
        return None
    gain = None if found.payoff is None else found.payoff.gain(batch_size)
    return {
        "batch_size": batch_size, "gain": None if gain is None else [gain.low, gain.estimate, gain.high],
        "stability": found.stability,
    }  # fmt: skip


def _accuracy(found: AuditEstimate | None) -> dict[str, Any] | None:
    if found is None:
        return None
    accuracy = found.accuracy
    return {"estimate": accuracy.estimate, "low": accuracy.low, "high": accuracy.high, "audited": accuracy.n}
