"""``deepal benchmark``: compare strategies over datasets and seeds."""

from __future__ import annotations

import logging
import shlex
import sys
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepal_autoal.cli.class_counts import format_classes
from deepal_autoal.cli.config_file import FILE_OPTIONS
from deepal_autoal.cli.help_groups import GroupedOption
from deepal_autoal.cli.listings import format_table
from deepal_autoal.cli.logging_setup import set_up_logging
from deepal_autoal.cli.plugin_options import CommandWithPluginOptions, pop_plugin_options
from deepal_autoal.cli.shared_options import UserPath, setting_options, switch_options
from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.experiment.protocols import default_dataset
from deepal_autoal.measuring.resources import format_seconds
from deepal_autoal.plugins.registry import is_oracle

if TYPE_CHECKING:
    from tqdm import tqdm

    from deepal_autoal.benchmark.cost.estimates import Estimates
    from deepal_autoal.benchmark.grid import Grid, GridRun
    from deepal_autoal.benchmark.runner import BenchmarkResult, Outcome

# A fixed folder without the date: the same command finds its runs again.
DEFAULT_OUT = Path("runs") / "benchmark"
FAILURES_REPORTED = 1
# With fewer, a bootstrap has too few values to show their spread.
FEW_SEEDS = 5
INTERRUPTED = 130


@click.command("benchmark", cls=CommandWithPluginOptions)
@click.option(
    "--strategies",
    cls=GroupedOption,
    group="strategy",
    metavar="A,B,...|all",
    help="NAME, NAME[KEY=VALUE,...] or LABEL=NAME[KEY=VALUE,...]; all: every installed one that can run.",
)
@click.option(
    "--candidates",
    cls=GroupedOption,
    group="strategy",
    metavar="A,B,C",
    help="Candidates of all selectors, as for run; for one selector: NAME[candidates=[A,B]].",
)
@click.option(
    "--oracle",
    cls=GroupedOption,
    group="strategy",
    metavar="best,boss,...",
    help="Also run oracles, which see hidden labels (best, boss, greedy, previous), and show regret to them.",
)
@click.option(
    "--datasets",
    "--dataset",
    cls=GroupedOption,
    group="data",
    metavar="A,B,...",
    help="Names or paths; default: the protocol's, or digits.",
)
@click.option(
    "--models",
    cls=GroupedOption,
    group="model",
    metavar="A,B,...",
    help="Compare on each of these models; --model: one for all.",
)
@click.option(
    "--protocols",
    cls=GroupedOption,
    group="studies",
    metavar="A,B,...",
    help="Compare by each of these protocols; --protocol: one for all.",
)
@click.option(
    "--seeds",
    cls=GroupedOption,
    group="budget",
    metavar="N|A,B,...",
    default="5",
    help="Seeds 0 to N - 1, or these seeds; default 5.",
)
@click.option(
    "--jobs",
    cls=GroupedOption,
    group="machine",
    type=int,
    metavar="J",
    help="Runs at a time; they share the cores. Default 1; on Ray, as many as fit.",
)
@click.option(
    "--backend",
    cls=GroupedOption,
    group="machine",
    metavar="local|ray|NAME",
    default="local",
    help="local: this machine; ray: the nodes of a Ray cluster; or NAME[KEY=VALUE,...] of another plugin.",
)
@click.option(
    "--address",
    cls=GroupedOption,
    group="machine",
    metavar="HOST:PORT|auto",
    help="A running Ray cluster; by default one is started and shut down.",
)
@click.option(
    "--cpus-per-run",
    cls=GroupedOption,
    group="machine",
    type=float,
    metavar="N",
    help="CPUs that Ray reserves for a run; default: its threads.",
)
@click.option(
    "--gpus-per-run",
    cls=GroupedOption,
    group="machine",
    type=float,
    metavar="N",
    help="GPUs likewise, such as 0.25; default 0.",
)
@setting_options(shared_only=True)
@click.option(
    "--out",
    cls=GroupedOption,
    group="output",
    type=UserPath(),
    metavar="DIR",
    default=DEFAULT_OUT,
    help=f"Default {DEFAULT_OUT}.",
)
@click.option(
    "--resume", cls=GroupedOption, group="output", is_flag=True, expose_value=False,
    help="Continue the benchmark in --out, which repeating its command does anyway; more --rounds extend it.",
)  # fmt: skip
@click.option(
    "--dry-run",
    cls=GroupedOption,
    group="diagnosis",
    is_flag=True,
    help="Only show the runs and what they will cost, by a short probe.",
)
@switch_options
def benchmark_command(
    strategies: str | None, candidates: str | None, oracle: str | None, datasets: str | None,
    models: str | None, protocols: str | None,
    seeds: str, jobs: int | None, out: Path, dry_run: bool, quiet: bool, verbose: bool, **settings: Any,
) -> int:  # fmt: skip
    """Compare strategies: each one on each dataset with each seed.

    Every run is a run folder DIR/<dataset>/<label>/seed-<s>; results.csv and summary.csv hold the tables. Repeating
    the command continues it; more strategies, datasets or seeds add to it. Exit status: 0 done, 1 some runs failed,
    2 wrong use, before any run.
    """
    from deepal_autoal.benchmark.backends.names import create_backend
    from deepal_autoal.benchmark.notation import read_oracles, read_seeds, read_strategies, read_tasks
    from deepal_autoal.datasets.files.image_size import read_image_size
    from deepal_autoal.training.scaling import check_scaling

    set_up_logging(verbose)
    _show_repeated_warnings_once()
    context = click.get_current_context()
    if context.meta.get(FILE_OPTIONS):
        raise InputError("options belong to a strategy: write LABEL=NAME[KEY=VALUE,...] in --strategies")
    plugin_options = pop_plugin_options(settings)
    command = ["deepal", *(context.obj or [])]
    display = _Display(quiet, jobs, dry_run)
    try:
        # Report typos before loading torch.
        read_strategies(strategies or "")
        read_oracles(oracle)
        read_seeds(seeds)
        if not protocols:
            datasets = datasets or default_dataset(settings["protocol"])
        read_tasks(datasets, models, protocols)
        check_scaling(settings["scaling"])
        read_image_size(settings["image_size"])
        create_backend(
            settings["backend"], **{name: settings[name] for name in ("address", "cpus_per_run", "gpus_per_run")}
        )
        from deepal_autoal.benchmark import run_benchmark

        result = run_benchmark(
            strategies or "", datasets, seeds, out, candidates=candidates, models=models,
            protocols=protocols, oracle=oracle, jobs=jobs, dry_run=dry_run, on_start=display.start,
            on_probe=display.probe,
            on_estimate=display.estimate if dry_run or not quiet else None,
            progress=display.phase, on_round=display.round, on_run=display.run, command=command,
            **settings, plugin_options=plugin_options,
        )  # fmt: skip
    except KeyboardInterrupt:
        display.close()  # before the message
        click.echo(f"\nInterrupted; finished rounds are kept. Continue with: {shlex.join(command)}", err=True)
        return INTERRUPTED
    finally:
        display.close()
    if dry_run:
        return 0
    display.finish(result)
    if result.tables.runs:
        from deepal_autoal.report import write_report

        try:
            page = write_report(out)
        except DeepALError as error:  # the runs are done and their tables are written
            click.echo(f"No report: {error}", err=True)
        else:
            if not quiet:
                click.echo(f"Report: {page}")
    return FAILURES_REPORTED if result.failures else 0


class _Display:
    """Shows a benchmark: a bar on a terminal, otherwise a line for each run; a table at the end.

    Args:
        quiet: Show only failures, and the folder at the end.
        n_jobs: How many runs are executed at a time; None if that varies.
        is_dry: Whether only the estimate is shown.
    """

    def __init__(self, quiet: bool, n_jobs: int | None, is_dry: bool = False) -> None:
        self._quiet = quiet
        self._is_dry = is_dry
        self._n_jobs = n_jobs
        self._bar: tqdm[Any] | None = None
        self._grid: Grid | None = None
        self._estimates: Estimates | None = None
        self._ended: set[GridRun] = set()
        self._shares: dict[GridRun, float] = {}
        self._shown_at = 0.0
        self._shown_left: float | None = None
        self._phase = ""

    def start(self, grid: Grid) -> None:
        """Print what will run, and open the bar."""
        from deepal_autoal.oracles.third_split import n_scored

        self._grid = grid
        self._ended = {run for run in grid.runs if run.is_finished}
        if self._quiet:
            return
        finished = f", {len(self._ended)} finished already" if self._ended else ""
        self._say(f"{self._n_runs} runs{finished}; folder {grid.out}")
        for dataset, counts in {run.dataset: run.setup.class_counts for run in grid.runs}.items():
            self._say(f"{dataset}: {format_classes(counts)}")
        for line in grid.left_out:
            self._say(str(line))
        for dataset, run in {run.dataset: run for run in grid.runs if is_oracle(run.strategy)}.items():
            n_samples, n_copies = sum(count for _, count in run.setup.class_counts), run.settings.get("duplicates") or 1
            n_others = n_scored(n_samples, run.setup.pool_size, n_copies)
            self._say(
                f"{dataset}: a pool of {run.setup.pool_size} for all; the oracles score batches on "
                f"{n_others} other training samples, not on the test set"
            )
        for dataset, setup in {run.dataset: run.setup for run in grid.runs}.items():
            if not setup.is_solved:
                last = setup.initial + setup.n_rounds * setup.batch_size
                self._say(f"training on {dataset}: {setup.recipe.describe_length(setup.initial, last)}")
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(
                total=self._n_runs, initial=len(self._ended), file=sys.stderr, dynamic_ncols=True, leave=False,
                smoothing=0, bar_format="{desc} |{bar}| {elapsed}{postfix}",
            )  # fmt: skip

    def probe(self, done: int, total: int) -> None:
        """Show the progress of the estimate."""
        if self._bar is not None:
            self._bar.set_description_str(f"estimate {done} of {total}")

    def estimate(self, estimates: Estimates) -> None:
        """Print how long it will take; in a dry run, also for each strategy."""
        self._estimates = estimates
        left = self._left()
        if self._is_dry and self._grid is not None:
            self.close()
            click.echo("\n".join(_cost_table(self._grid, estimates)) + "\n")
        if left is None or not self._waiting:
            return
        costs = [estimates.of(run) for run in self._waiting]
        sizes = [cost.n_bytes for cost in costs if cost is not None and cost.n_bytes is not None]
        memory = f", at most {max(sizes) / 2**30:.1f} GiB each" if sizes else ""
        on_gpu = [cost.gpu_bytes for cost in costs if cost is not None and cost.gpu_bytes is not None]
        memory += f" and {max(on_gpu) / 2**30:.1f} GiB of the GPU" if sizes and on_gpu else ""
        probed = "" if estimates.n_known == estimates.n_kinds else (
            f" (from {estimates.n_known} of {estimates.n_kinds} strategies)"
        )  # fmt: skip
        at_a_time = f", {self._n_jobs} at a time" if (self._n_jobs or 1) > 1 else ""
        self._say(f"estimate: about {format_seconds(left)} for {len(self._waiting)} runs{at_a_time}{memory}{probed}")

    def phase(self, run: GridRun, phase: str, done: int, total: int) -> None:
        """Show the current run and its phase."""
        now = time.monotonic()
        self._shares.setdefault(run, 0.0)
        is_due = now - self._shown_at > 0.2
        if self._bar is not None and (is_due or phase != self._phase):
            self._phase = phase
            if is_due:  # adding up a large grid takes a while
                self._shown_at, self._shown_left = now, self._left()
            left = self._shown_left
            share = f" {100 * done // total}%" if total > 1 else ""
            others = f" and {len(self._shares) - 1} more" if len(self._shares) > 1 else ""
            self._bar.set_description_str(f"run {len(self._ended) + 1} of {self._n_runs}", refresh=False)
            self._bar.set_postfix_str(
                ("" if left is None else f"about {format_seconds(left)} left: ") + f"{run}{others}: {phase}{share}"
            )

    def round(self, run: GridRun, record: dict[str, Any]) -> None:
        """Advance the bar by a round."""
        self._shares[run] = (record["round"] + 1) / (run.n_rounds + 1)
        self._move()

    def run(self, outcome: Outcome) -> None:
        """Show a run that finished or failed."""
        self._shares.pop(outcome.run, None)
        self._ended.add(outcome.run)
        self._move()
        head = f"run {len(self._ended)} of {self._n_runs}: {outcome.run}"
        found = outcome.summary
        if found is None:
            self._say(f"{head}: failed: {outcome.failure}")
        elif self._bar is None and not self._quiet:
            left = self._left()
            more = f"; about {format_seconds(left)} left" if left and self._waiting else ""
            self._say(
                f"{head}: AUBC {found['aubc']:.4f}, final accuracy {found['final_accuracy']:.4f}, "
                f"{found['seconds']['total']:.1f} s{more}"
            )

    @property
    def _n_runs(self) -> int:
        return len(self._grid.runs) if self._grid is not None else 0

    @property
    def _waiting(self) -> list[GridRun]:
        """The runs that have not ended."""
        return [run for run in self._grid.runs if run not in self._ended] if self._grid is not None else []

    def _left(self) -> float | None:
        """Return the seconds that are left, or None if unknown."""
        if self._estimates is None:
            return None
        n_slots = self._n_jobs or max(1, len(self._shares))
        return self._estimates.seconds(self._waiting, n_slots, self._shares)

    def _move(self) -> None:
        if self._bar is not None:
            self._bar.update(len(self._ended) + sum(self._shares.values()) - self._bar.n)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def finish(self, result: BenchmarkResult) -> None:
        """Print the table, best first, and the folder."""
        self.close()
        if not self._quiet:
            click.echo("\n".join(_table(result)) + "\n")
            fewest = min(Counter((run.dataset, run.strategy) for run in result.tables.runs).values(), default=FEW_SEEDS)
            if fewest < FEW_SEEDS:
                seeds = "1 seed" if fewest == 1 else f"{fewest} seeds"
                self._say(f"only {seeds}: intervals from fewer than {FEW_SEEDS} are too narrow.")
        if result.failures:
            n = len(result.failures)
            self._say(
                f"{n} of {self._n_runs} runs failed: {', '.join(str(outcome.run) for outcome in result.failures)}. "
                "Repeat the command to try again, with --verbose to see tracebacks"
            )
        click.echo(f"{'' if self._quiet else 'Benchmark folder: '}{result.grid.out}")

    def _say(self, line: str) -> None:
        if self._bar is not None:
            self._bar.write(line, file=sys.stderr)
        else:
            click.echo(line, err=True)


def _cost_table(grid: Grid, estimates: Estimates) -> list[str]:
    """Return the lines of a table of what a run of each strategy will cost."""
    kinds = {(run.dataset, run.strategy): run for run in reversed(grid.runs)}
    on_gpu = any(run.setup.device.type == "cuda" for run in grid.runs)
    lines = []
    for (dataset, strategy), run in reversed(kinds.items()):
        runs = [other for other in grid.runs if (other.dataset, other.strategy) == (dataset, strategy)]
        n_left = sum(not other.is_finished for other in runs)
        cost = estimates.of(run)
        known = estimates.is_known(run)
        cells = [dataset, strategy, f"{len(runs)}", f"{n_left}"]
        if cost is None or not known:
            cells += ["?", "", "", "", *([""] if on_gpu else []), estimates.failures.get((dataset, strategy), "")]
        else:
            sizes = [cost.n_bytes, *([cost.gpu_bytes] if on_gpu else [])]
            cells += [f"{value:.1f}" for value in (cost.seconds, cost.train, cost.query)]
            cells += ["" if size is None else f"{size / 2**30:.1f}" for size in sizes] + [""]
        lines.append(cells)
    gpu = ["GPU GiB"] if on_gpu else []
    head = ["dataset", "strategy", "runs", "to do", "s a run", "train", "query", "GiB", *gpu, ""]
    return [line.rstrip() for line in format_table(head, lines)]


def _table(result: BenchmarkResult) -> list[str]:
    from deepal_autoal.benchmark.tables import REGRET

    n_seeds = Counter((run.dataset, run.strategy) for run in result.tables.runs)
    rows = sorted(result.tables.summary(), key=lambda row: (row["dataset"], -row["aubc_mean"], row["strategy"]))
    is_timed = any(row["relative_time"] is not None for row in rows)
    regrets = [name for name in rows[0] if name.startswith(REGRET) and name.endswith("_low")] if rows else []
    regrets = [name.removesuffix("_low") for name in regrets]
    head = ["dataset", "strategy", "seeds", "AUBC", "95%", "final", "wins/ties/losses",
            *(f"regret to {name.removeprefix(REGRET)}" for name in regrets)]  # fmt: skip
    lines = []
    for row in rows:
        spread, time_taken = row["aubc_std"], row["relative_time"]
        line = [
            row["dataset"], row["strategy"], f"{n_seeds[row['dataset'], row['strategy']]:>5}",
            f"{row['aubc_mean']:.4f}" + ("" if spread is None else f" ± {spread:.4f}"),
            "" if spread is None else f"{row['aubc_low']:.4f} to {row['aubc_high']:.4f}",
            f"{row['final_accuracy_mean']:.4f}",
            "" if row["wins"] is None else f"{row['wins']}/{row['ties']}/{row['losses']}",
            *("" if row[name] is None else f"{row[name]:.4f}" for name in regrets),
        ]  # fmt: skip
        lines.append([*line, "" if time_taken is None else f"{time_taken:.2f}"] if is_timed else line)
    return format_table([*head, "time / entropy's"] if is_timed else head, lines) if lines else ["No run has finished."]


def _show_repeated_warnings_once() -> None:
    """Drop warnings that runs repeat verbatim, such as missing classes in a shared initial set."""
    shown: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if record.levelno < logging.WARNING or message not in shown:
            shown.add(message)
            return True
        return False

    for handler in logging.getLogger("deepal_autoal").handlers:  # the other loggers share it
        handler.addFilter(is_new)
