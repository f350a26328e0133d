"""How a project stands. Reads the journal and what the audit said last: neither data nor models."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from deepal_autoal.audit.advice import check_costs, weigh
from deepal_autoal.errors import counted
from deepal_autoal.labeling.auditing import read_estimate
from deepal_autoal.labeling.project import BATCHES, Project, command


def status_of(
    project: Project, label_cost: float | None = None, value_per_point: float | None = None
) -> dict[str, Any]:
    """Return how a project stands, JSON-able.

    ``open_batch`` is the number of samples of the last batch that wait for an answer. ``accuracy`` and
    ``equivalent_random_labels`` are what the audit said when it was estimated last; None before that, or if it could
    not tell; ``advice`` says so where many labels came since.

    Args:
        project: An opened project.
        label_cost: Cost of a label, for advice on whether to go on.
        value_per_point: What a percentage point of accuracy is worth, in the same currency.

    Raises:
        InputError: If only one of the amounts is given, or one is negative.
    """
    check_costs(label_cost, value_per_point)
    state, settings = project.state, project.settings
    counts = Counter(state.labels.values())
    audit = read_estimate(project) or {}
    said = audit.get("outlook")
    outlook = None if said is None else weigh(said["gain"], said["stability"], said["batch_size"], label_cost,
                                              value_per_point)  # fmt: skip
    advice = [estimate_hint(project), advice_for(project)]
    if outlook is not None:
        if outlook.should_stop and not state.open_rows:
            advice[-1] = f"To go on all the same: {command('next', project.path)}"
        advice.insert(0, outlook.text)
    model = next((batch.model for batch in reversed(state.batches) if batch.model), settings.model)
    return {
        "pool": len(state.ids),
        "labeled": len(state.labels),
        "skipped": len(state.skipped),
        "open_batch": len(state.open_rows),
        "by_class": {name: counts[name] for name in project.classes},
        "strategy": settings.strategy,
        "model": model,
        "accuracy": audit.get("accuracy"),
        "equivalent_random_labels": audit.get("equivalent_random_labels"),
        "advice": " ".join(filter(None, advice)),
    }


def audit_text(project: Project) -> str:
    """Return what the audit said last, in sentences; empty if it said nothing."""
    audit = read_estimate(project)
    if audit is None or audit["accuracy"] is None:
        return ""
    rest = f"; on those without a label {_percent(audit['rest'])}" if audit["rest"] else ""
    return (
        f"Accuracy with {counted(audit['labeled'], 'label')}: "
        f"{_percent(audit['accuracy'])}, from {counted(audit['accuracy']['audited'], 'audited sample')}{rest}. "
        f"{audit['verdict']}"
    )


def _percent(estimate: Mapping[str, float]) -> str:
    value, low, high = (f"{100 * estimate[name]:.1f}%" for name in ("estimate", "low", "high"))
    return f"{value} ({low} to {high})"


def estimate_hint(project: Project) -> str:
    """Return how to learn the accuracy if many labels came since it was estimated last, or it never was; else empty."""
    state, settings = project.state, project.settings
    audit = read_estimate(project)
    new = len(state.labels) - (audit["labeled"] if audit else 0)
    if not settings.audit or new < settings.batch_size or len(set(state.labels.values())) < 2:
        return ""
    why = f"{counted(new, 'label')} came since accuracy was estimated" if audit else "Accuracy is not estimated yet"
    return f"{why}; do it now: {command('status', project.path, '--estimate')}."


def advice_for(project: Project) -> str:
    """Return what to do next, in a sentence or two."""
    state, path = project.state, project.path
    if state.open_rows:
        file = path / BATCHES / f"{state.batches[-1].number}.csv"
        return (
            f"Fill in the {counted(len(state.open_rows), 'open label')} in {file}, looking at "
            f"{file.with_suffix('.html').name} beside it, then: {command('submit', path, file)}"
        )
    if not state.unlabeled:
        return f"Every sample has an answer. Look at likely mistakes: {command('review', path)}"
    few = [name for name in project.classes if not any(label == name for label in state.labels.values())]
    first = f"No sample of {', '.join(few[:5])} has turned up yet. " if few and state.labels else ""
    return f"{first}Ask for the next batch: {command('next', path)}"
