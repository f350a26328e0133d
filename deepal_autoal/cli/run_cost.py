"""``deepal run --dry-run``: print the estimated cost of the run as a table."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import click
from tqdm import tqdm

from deepal_autoal.audit.payoff import LEAST_SAMPLES, N_PARTS
from deepal_autoal.benchmark.cost.dry_run import DryRun, Row, estimate_run
from deepal_autoal.cli.listings import format_table
from deepal_autoal.experiment.auditing import check_audit, most_models
from deepal_autoal.experiment.protocols import default_dataset
from deepal_autoal.measuring.resources import format_seconds, memory_size

HEAD = ("strategy", "training s", "evaluation s", "query s: first", "all", "total", "peak MiB")
GPU, QUERY, PART = "GPU MiB", "query MiB", "dominated by"
OTHERS = (
    "Another strategy: --strategy NAME. All of them, in a minute or more: deepal benchmark --strategies all --datasets "
    "DATASET --dry-run, with the same options."
)


def show_cost(settings: Mapping[str, Any], quiet: bool) -> None:
    """Print the cost of the run and, for a selector, that of each candidate's.

    Args:
        settings: The arguments of `run`, by name.
        quiet: Print only the table.
    """
    dataset = settings["dataset"] or default_dataset(settings["protocol"])
    with _bar(quiet) as bar:

        def progress(done: int, total: int, name: str) -> None:
            bar.total = total
            bar.n = done
            bar.set_postfix_str(name)

        found = estimate_run(settings, dataset, progress)
    known = [row for row in found.rows if row.cost is not None]
    head = [*HEAD, *([GPU] if found.setup.device.type == "cuda" else []), QUERY, PART]
    if known:
        click.echo("\n".join(line.rstrip() for line in format_table(head, [_cells(row, head) for row in known])))
    reasons: dict[str, list[str]] = {}
    for row in found.rows:
        if row.cost is None:
            reasons.setdefault(row.reason, []).append(row.strategy)
    for reason, names in reasons.items():
        click.echo(f"{', '.join(names)}: no estimate: {reason}")
    if not quiet:
        others = [] if settings.get("strategy") else [OTHERS]
        audit = _of_audit(settings)
        click.echo("\n" + "\n".join([*_notes(found), *audit, *others]))
    _warn(found)


@contextmanager
def _bar(quiet: bool) -> Iterator[tqdm[Any]]:
    with tqdm(
        total=1, file=sys.stderr, dynamic_ncols=True, leave=False, disable=quiet or not sys.stderr.isatty(),
        bar_format="estimate {n_fmt} of {total_fmt} |{bar}| {elapsed}{postfix}",
    ) as bar:  # fmt: skip
        yield bar


def _cells(row: Row, head: list[str]) -> list[str]:
    cost = row.cost
    assert cost is not None
    sizes = [cost.n_bytes, *([cost.gpu_bytes] if GPU in head else []), cost.query_bytes]
    numbers = [_digits(value) for value in (cost.train, cost.evaluate, cost.first_query, cost.query)]
    numbers += [format_seconds(cost.seconds), *("?" if size is None else f"{size / 2**20:,.0f}" for size in sizes)]
    name = f"  {row.strategy}" if row.selector else row.strategy
    return [name, *(number.rjust(len(above)) for number, above in zip(numbers, head[1:], strict=False)), cost.dominates]


def _digits(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < 10 else f"{seconds:,.0f}"


def _notes(found: DryRun) -> list[str]:
    """Return notes on what was estimated."""
    setup, data = found.setup, found.data
    last = setup.initial + setup.n_rounds * setup.batch_size
    labels = f"{setup.initial:,} + {setup.n_rounds} x {setup.batch_size:,} labels"
    labels += ", all asked for at once" if setup.n_rounds == 1 else ""
    if setup.n_validation:
        labels += f", {setup.n_validation:,} held out for validation"
    lines = [
        f"Pool {setup.pool_size:,}, test {len(data.x_test):,}, {data.n_classes} classes, embeddings of "
        f"{found.embedding_dim:,}; {labels}; model {setup.model.name}, {setup.device}.",
        *([] if setup.is_solved else [f"Training: {setup.recipe.describe_length(setup.initial, last)}."]),
        f"Times are of the rounds; add {_digits(found.load_seconds)} s for reading the data, as measured here, and "
        "the startup time.",
        "Peak: the process's highest resident memory, including libraries and mapped files.",
    ]
    if math.isfinite(memory_size()):
        lines[-1] += f" This machine has {memory_size() / 2**20:,.0f} MiB."
    if setup.device.type == "cuda":
        lines.append("GPU: the most memory that tensors take there; the query's is part of it. CUDA itself, and memory "
                     "kept for later, come on top.")  # fmt: skip
    cost = found.rows[0].cost if found.rows else None
    if found.smaller and cost is not None:
        times = ", ".join(f"{format_seconds(size.seconds(cost))} with --image-size {size.side}"
                          for size in found.smaller)  # fmt: skip
        height, width = data.input_shape[1:]
        lines.append(f"Smaller images than {height}x{width} take less time; for {found.rows[0].strategy}, by their "
                     f"pixels, about {times}.")  # fmt: skip
    if any(row.selector for row in found.rows):
        lines.append("Indented: a candidate alone, as if it were the strategy.")
    return lines


def _of_audit(settings: Mapping[str, Any]) -> list[str]:
    """Return how many models the audit trains."""
    share, n_folds = check_audit(settings.get("audit"), settings.get("audit_folds"))
    if not share:
        return []
    if not n_folds:
        return ["The audit trains no further models."]
    return [
        f"Training includes the audit's models, {most_models(share, n_folds)} a round: {n_folds} without a part of the "
        f"labels each, and {N_PARTS} on parts of the audited ones once there are {LEAST_SAMPLES}. With --audit-folds 0 "
        "it trains none."
    ]


def _warn(found: DryRun) -> None:
    """Warn about strategies that do not fit into memory."""
    large = [row.strategy for row in found.rows if row.cost is not None and (row.cost.n_bytes or 0) > memory_size()]
    if large:
        click.echo(
            f"Warning: {', '.join(large)}: more memory than this machine has ({memory_size() / 2**30:.1f} GiB); use a "
            "smaller --pool-size or another strategy",
            err=True,
        )
