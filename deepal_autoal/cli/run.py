"""``deepal run``: one strategy on one dataset."""

from __future__ import annotations

import datetime
import os
import re
import shlex
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from deepal_autoal.cli.config_file import FILE_OPTIONS
from deepal_autoal.cli.help_groups import GroupedOption
from deepal_autoal.cli.logging_setup import set_up_logging
from deepal_autoal.cli.plugin_options import CommandWithPluginOptions, pop_plugin_options
from deepal_autoal.cli.shared_options import UserPath, setting_options, split_option, switch_options
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.protocols import default_dataset
from deepal_autoal.models import read_model
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.references import name_in
from deepal_autoal.run_settings import split_names
from deepal_autoal.strategies.candidate_sets import check_names
from deepal_autoal.strategies.written import read_strategy
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    from deepal_autoal.plugins.run_view import ActiveRun

RUNS = Path("runs")
LONGEST_LABEL = 80


@click.command("run", cls=CommandWithPluginOptions)
@setting_options(shared_only=False)
@click.option(
    "-o",
    "--option",
    "options",
    cls=GroupedOption,
    group="strategy",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the strategy; NAME.KEY=VALUE addresses a candidate. Repeatable.",
)
@click.option(
    "--out",
    cls=GroupedOption,
    group="output",
    type=UserPath(),
    metavar="DIR",
    help="Run folder; default runs/<date>-...",
)
@click.option(
    "--resume",
    cls=GroupedOption,
    group="output",
    is_flag=True,
    help="Continue the run in --out; more --rounds extend it; or start it, given what to run.",
)
@click.option(
    "--profile",
    cls=GroupedOption,
    group="diagnosis",
    is_flag=True,
    help="Measure where the time goes: a table, profile.md and profile.json.",
)
@click.option(
    "--dry-run",
    cls=GroupedOption,
    group="diagnosis",
    is_flag=True,
    help="Show what the run will take, by a probe; do nothing.",
)
@switch_options
def run_command(
    candidates: str | None, options: tuple[str, ...], out: Path | None, resume: bool, profile: bool, dry_run: bool,
    quiet: bool, verbose: bool, **settings: Any,
) -> None:  # fmt: skip
    """Run one strategy on one dataset, with the dataset's labels as the person who labels.

    The run folder holds config.json, rounds.jsonl, queried.csv, summary.json and model.pt. A run that was interrupted,
    or killed, continues with --resume --out DIR.
    """
    from deepal_autoal.datasets.files.image_size import read_image_size
    from deepal_autoal.experiment.run_files import require_run
    from deepal_autoal.training.scaling import check_scaling

    set_up_logging(verbose)
    if resume and out is None:
        raise InputError("--resume needs --out DIR, the folder of the run to continue")
    if resume and out is not None:
        require_run(out, settings["strategy"], settings["dataset"], settings["protocol"])
    plugin_options = pop_plugin_options(settings)
    context = click.get_current_context()
    settings["strategy"], names, given_options = _read_strategy(context, settings["strategy"], candidates, options)
    command = ["deepal", *(context.obj or [])]
    is_new = out is None
    # Typos are reported before torch is loaded.
    if settings["strategy"] is not None:
        plugin_host().strategies.get(settings["strategy"])
    check_names(names if isinstance(names, list) else split_names(names or ""))
    check_scaling(settings["scaling"])
    read_image_size(settings["image_size"])
    default_dataset(settings["protocol"])
    if dry_run and resume:
        raise InputError("--dry-run estimates a whole run; leave --resume out")
    if settings["model"] is not None:
        read_model(settings["model"])
    if dry_run:
        from deepal_autoal.cli.run_cost import show_cost

        show_cost({**settings, "candidates": names, "options": given_options,
                   "plugin_options": plugin_options}, quiet)  # fmt: skip
        return
    try:
        if out is None:
            out = _new_folder(settings)
        _run(out, resume, profile, quiet, command, {
            **settings, "candidates": names, "options": given_options,
            "plugin_options": plugin_options,
        })  # fmt: skip
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted; finished rounds are kept. Resume with: {_resuming(command, out)}", err=True)
        sys.exit(130)
    except BaseException:
        if is_new and out is not None:
            _remove_if_unused(out)
        raise


def _read_strategy(
    context: click.Context, strategy: str | None, candidates: str | None, options: Iterable[str]
) -> tuple[str | None, str | list[str] | None, dict[str, str]]:
    """Return name, candidates and options of the strategy; what is typed replaces what the file of settings says."""
    in_file = dict(split_option(option) for option in context.meta.get(FILE_OPTIONS, []))
    typed = dict(split_option(option) for option in options)
    if strategy is None:
        return None, candidates, {**in_file, **typed}
    is_typed = {name: context.get_parameter_source(name) is ParameterSource.COMMANDLINE
                for name in ("strategy", "candidates")}  # fmt: skip
    # Those of one source with the strategy's name may not be given in brackets, too.
    is_beside = is_typed["strategy"] == is_typed["candidates"]
    name, names, given = read_strategy(
        strategy, candidates if is_beside else None, typed if is_typed["strategy"] else in_file
    )
    if names is None or (is_typed["candidates"] and not is_typed["strategy"]):
        names = candidates
    return name, names, {**in_file, **given} if is_typed["strategy"] else {**given, **typed}


def _run(
    out: Path, resume: bool, profile: bool, quiet: bool, command: list[str], settings: Mapping[str, Any]
) -> None:  # fmt: skip
    from deepal_autoal.cli.progress import RunDisplay
    from deepal_autoal.experiment.loop import run
    from deepal_autoal.experiment.run_files import CONFIG
    from deepal_autoal.measuring.profile import Profile

    display = RunDisplay(quiet)
    is_begun = resume and not (out / CONFIG).exists()

    def start(view: ActiveRun) -> None:
        if is_begun:
            click.echo(f"--resume: there is no run in {out} yet; this is a new one", err=True)
        display.start(view)

    measured = Profile.of_process() if profile else False
    try:
        result = run(
            **settings, out=out, resume=resume, progress=display.phase, on_start=start,
            on_round=display.round, command=command, profile=measured,
        )  # fmt: skip
    finally:
        display.close()
    display.finish(result)


def _resuming(command: list[str], out: Path | None) -> str:
    """Return the command that continues an interrupted run, or starts it where nothing was written yet."""
    if out is not None and (out / "config.json").exists():
        return shlex.join(["deepal", "run", "--resume", "--out", str(out)])
    more = [] if "--resume" in command else ["--resume"]
    if out is not None and not any(part == "--out" or part.startswith("--out=") for part in command):
        more += ["--out", str(out)]
    return shlex.join(command + (more if out is not None else []))


def _new_folder(settings: Mapping[str, Any]) -> Path:
    """Make the default run folder; a number is appended where it exists already."""
    path = user_path(settings["dataset"] or default_dataset(settings["protocol"]), "--dataset")
    name = path.stem if os.path.isfile(path) else path.name
    dataset = re.sub(r"[^\w.-]+", "-", name)[:LONGEST_LABEL].strip("-.") or "data"
    seed = settings["seed"] or 0
    strategy = re.sub(r"[^\w-]+", "-", name_in(settings["strategy"] or "random"))
    stem = f"{datetime.date.today().isoformat()}-{dataset}-{strategy}-s{seed}"
    number = 1
    while True:
        folder = RUNS / (stem if number == 1 else f"{stem}-{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            number += 1
        except OSError as error:
            raise RunFolderError(
                f"cannot create {folder}: {error.strerror}; choose another place with --out"
            ) from error


def _remove_if_unused(folder: Path) -> None:
    """Remove the folder of a run that never started, if it holds nothing but the lock."""
    try:
        names = [path.name for path in folder.iterdir()]
        if names in ([], [".lock"]):
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()
            folder.parent.rmdir()  # fails, as it should, unless it is empty
    except OSError:
        pass
