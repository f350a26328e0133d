"""``deepal run``: one strategy on one dataset."""

from __future__ import annotations

import datetime
import logging
import re
import shlex
import sys
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

from deepal_autoal.candidates import check_words
from deepal_autoal.cli.plugin_options import CommandWithPluginOptions, pop_plugin_options
from deepal_autoal.datasets import DEFAULT_DATASET
from deepal_autoal.errors import InputError, RunFolderError, UnknownNameError
from deepal_autoal.models import read_model
from deepal_autoal.plugins import plugin_host
from deepal_autoal.protocols import find_protocol

RUNS = Path("runs")
LOGGERS = ("deepal_autoal", "deepal_events", "deepal_strategies")
FILE_OPTIONS = "deepal.options"
_Command = TypeVar("_Command", bound=Callable[..., Any])
RECIPE_OPTIONS = (
    "optimizer", "learning_rate", "weight_decay", "schedule", "augmentation", "train_batch_size", "min_steps",
    "stop_at_full_accuracy", "warm_start", "precision", "compile", "averaging",
)  # fmt: skip


def _read_config(context: click.Context, parameter: click.Parameter, path: Path | None) -> None:
    """Make the file's settings the defaults, so that the command line wins."""
    if path is None:
        return
    options = context.command.get_params(context)
    known = {str(option.name) for option in options if option.name not in ("config", "resume")}
    defaults = _defaults_of(path, known)
    context.meta[FILE_OPTIONS] = defaults.pop("options", [])  # -o adds to them, option by option
    context.default_map = {**(context.default_map or {}), **defaults}


def _defaults_of(path: Path, known: set[str]) -> dict[str, Any]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        content = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    defaults: dict[str, Any] = {}
    flags = {"stop_at_full_accuracy", "warm_start", "compile", "quiet", "verbose", "dry_run", "profile"}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name in ("option", "options"):
            if not isinstance(value, Mapping):
                raise InputError(f"{path}: {key} must be a table, such as [options] with oversample = 5")
            defaults["options"] = [f"{option}={item}" for option, item in _flat(value)]
        elif name == "strategies" and name in known and isinstance(value, Mapping):
            for label, written in value.items():
                if not isinstance(written, str):
                    raise InputError(f'{path}: {key}: write {label} = "NAME" or "NAME[KEY=VALUE,...]"')
            defaults[name] = ",".join(f"{label}={written}" for label, written in value.items())
        elif name in flags and not isinstance(value, bool):
            raise InputError(f"{path}: {key} must be true or false, not {value!r}")
        elif isinstance(value, Mapping):
            raise InputError(f"{path}: {key} must be a single value, not a table")
        elif name not in known:
            raise UnknownNameError("setting", key, known, f"It stands in {path}.")
        elif isinstance(value, list):
            # A comma also after a single one: a list of one seed is not a number of seeds.
            defaults[name] = ",".join(map(str, value)) + ("," if len(value) == 1 else "")
        else:
            defaults[name] = value if name in flags else str(value)  # as if typed
    return defaults


def _flat(table: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Return a table's values with dotted keys, so that [options.kmeans] addresses the candidate kmeans."""
    flat = []
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat += _flat(value, f"{prefix}{key}.")
        else:
            flat.append((f"{prefix}{key}", value))
    return flat


_SETTINGS = (
    click.option("--data-dir", metavar="DIR", help="Where named datasets lie; default $DEEPAL_DATA, else data."),
    click.option("--model", metavar="NAME", help="Task model (`deepal models`); default auto, by the data."),
    click.option("--initial", type=int, metavar="M", help="Size of the initial labelled set; default 50."),
    click.option("--batch-size", type=int, metavar="B", help="Samples labelled a round; default 20."),
    click.option("--rounds", type=int, metavar="R", help="Number of queries; default 10."),
    click.option("--epochs", type=int, metavar="E", help="Training epochs a round."),
    click.option("--pool-size", type=int, metavar="N", help="Use a random subset of the pool, for quick studies."),
    click.option(
        "--imbalance",
        metavar="1:R",
        help="Thin the pool's classes out: 1:10, step:1:10, linear:1:10 or one number each.",
    ),
    click.option("--label-noise", type=float, metavar="P", help="Probability that the oracle errs."),
    click.option("--duplicates", type=int, metavar="N", help="Put every sample into the pool N times."),
    click.option(
        "--scaling", metavar="NAME", help="Of vectors: auto (default, by the data), global, feature, l2 or none."
    ),
    click.option("--protocol", metavar="NAME", help="A paper's settings as defaults (`deepal protocols`)."),
    click.option("--device", metavar="auto|cpu|cuda[:i]", help="Default auto: CUDA where there is one."),
    click.option(
        "--threads",
        type=int,
        metavar="N",
        help="CPU threads; recorded, and reused on resume. Default: torch's; for tiny images 1.",
    ),
    click.option("--optimizer", metavar="NAME", help="adam, adamw or sgd."),
    click.option("--learning-rate", type=float, metavar="X", help="Initial learning rate."),
    click.option("--weight-decay", type=float, metavar="X", help="Weight decay."),
    click.option(
        "--augmentation", metavar="A,B|none", help="Of training images, in order: crop, flip, rotate, affine, jitter."
    ),
    click.option("--schedule", metavar="NAME", help="Learning-rate schedule: constant, cosine or onecycle."),
    click.option("--averaging", type=float, metavar="X", help="Decay of a moving average of the weights; 0: none."),
    click.option("--train-batch-size", type=int, metavar="N", help="Samples an optimiser step."),
    click.option("--min-steps", type=int, metavar="N", help="Optimiser steps at least, for tiny labelled sets."),
    click.option("--precision", metavar="NAME", help="auto, float32 or bfloat16."),
    click.option("--compile", is_flag=True, default=None, help="Compile the model with torch.compile."),
    click.option(
        "--stop-at-full-accuracy", is_flag=True, default=None, help="Stop training once all labels are learnt."
    ),
    click.option("--warm-start", is_flag=True, default=None, help="Continue training from the last round's weights."),
)
_SWITCHES = (
    click.option(
        "--config",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE.toml",
        is_eager=True,
        expose_value=False,
        callback=_read_config,
        help="Settings by the long options' names; the command line wins.",
    ),
    click.option("--quiet", is_flag=True, help="Print the folder only, and warnings."),
    click.option("--verbose", is_flag=True, help="Print log messages."),
)


def setting_options(command: _Command) -> _Command:
    """Add the options for settings that a run shares with a grid of runs."""
    return _with(_SETTINGS, command)


def switch_options(command: _Command) -> _Command:
    """Add --config, --quiet and --verbose."""
    return _with(_SWITCHES, command)


def _with(options: Sequence[Callable[[_Command], _Command]], command: _Command) -> _Command:
    for option in reversed(options):
        command = option(command)
    return command


def pop_recipe(settings: MutableMapping[str, Any]) -> dict[str, Any]:
    """Take the changes to the training recipe out of a command's arguments."""
    recipe = {name: settings.pop(name) for name in RECIPE_OPTIONS}
    if recipe["augmentation"] is not None:
        names = split_names(recipe["augmentation"]) or []
        recipe["augmentation"] = tuple(names if names != ["none"] else [])
    return {name: value for name, value in recipe.items() if value is not None}


@click.command("run", cls=CommandWithPluginOptions)
@click.option("--strategy", metavar="NAME", help="Query strategy (`deepal strategies`); default random.")
@click.option(
    "--candidates",
    metavar="A,B,C",
    help="Candidates of a selector such as autoal or vote; all, all-cheap and all-FAMILY stand for sets of strategies.",
)
@click.option(
    "-o",
    "--option",
    "options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Option of the strategy; NAME.KEY=VALUE addresses a candidate. Repeatable.",
)
@click.option(
    "--dataset",
    metavar="NAME|PATH",
    help="`deepal datasets`, or own data: a folder of class folders, a CSV manifest or an .npz file; default digits.",
)
@click.option("--seed", type=int, metavar="S", help="Of everything random; default 0.")
@setting_options
@click.option("--out", type=click.Path(path_type=Path), metavar="DIR", help="Run folder; default runs/<date>-...")
@click.option("--resume", is_flag=True, help="Continue the run in --out, or start it where there is none.")
@click.option("--profile", is_flag=True, help="Measure where the time goes: a table, profile.md and profile.json.")
@click.option(
    "--dry-run", is_flag=True, help="Show what the run, or that of each strategy, will take, by a probe; do nothing."
)
@switch_options
def run_command(
    candidates: str | None, options: tuple[str, ...], out: Path | None, resume: bool, profile: bool, dry_run: bool,
    quiet: bool, verbose: bool, **settings: Any,
) -> None:  # fmt: skip
    """Run one strategy on one dataset, with the dataset's labels as the person who labels.

    The run folder holds config.json, rounds.jsonl, summary.json and model.pt. A run that was interrupted, or
    killed, continues with --resume --out DIR.
    """
    from deepal_autoal.scaling import check_scaling

    set_up_logging(verbose)
    if resume and out is None:
        raise InputError("--resume needs --out DIR, the folder of the run to continue")
    plugin_options = pop_plugin_options(settings)
    changes = pop_recipe(settings)
    context = click.get_current_context()
    given_options = dict(split_option(option) for option in [*context.meta.get(FILE_OPTIONS, []), *options])
    command = ["deepal", *(context.obj or [])]
    is_new = out is None
    names = split_names(candidates)
    # A typo is told before torch is loaded.
    if settings["strategy"] is not None:
        plugin_host().strategies.get(settings["strategy"])
    check_words(names or [])
    check_scaling(settings["scaling"])
    default_dataset(settings["protocol"])
    if dry_run and resume:
        raise InputError("--dry-run tells what a whole run takes; leave --resume out")
    if settings["model"] is not None:
        read_model(settings["model"])
    if dry_run:
        from deepal_autoal.cli.dry_run import show_cost

        show_cost({**settings, "candidates": names, "options": given_options, "recipe": changes,
                   "plugin_options": plugin_options}, quiet)  # fmt: skip
        return
    try:
        if out is None:
            out = _new_folder(settings)
        _run(out, resume, profile, quiet, command, {
            **settings, "candidates": names, "options": given_options, "recipe": changes,
            "plugin_options": plugin_options,
        })  # fmt: skip
    except KeyboardInterrupt:
        click.echo(f"\nInterrupted; finished rounds are kept. Resume with: {_resuming(command, out)}", err=True)
        sys.exit(130)
    except BaseException:
        if is_new and out is not None:
            _remove_if_unused(out)
        raise


def _run(
    out: Path, resume: bool, profile: bool, quiet: bool, command: list[str], settings: Mapping[str, Any]
) -> None:  # fmt: skip
    from deepal_autoal.cli.progress import RunDisplay
    from deepal_autoal.loop import run
    from deepal_autoal.profile import Profile

    display = RunDisplay(quiet)
    measured = Profile.of_process() if profile else False
    try:
        result = run(
            **settings, out=out, resume=resume, progress=display.phase, on_start=display.start,
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


def default_dataset(protocol: str | None) -> str:
    """Return the dataset where none is named: the protocol's, or the bundled one.

    Raises:
        UnknownNameError: If there is no such protocol.
    """
    return DEFAULT_DATASET if protocol is None else find_protocol(protocol).dataset


def split_names(text: str | None) -> list[str] | None:
    """Return names that are separated by commas; None where none are given."""
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def split_option(option: str) -> tuple[str, str]:
    """Return key and value of ``key=value``.

    Raises:
        InputError: If it is of another form.
    """
    key, equals, value = option.partition("=")
    if not equals or not key.strip():
        raise InputError(f"-o {option}: write it as KEY=VALUE")
    return key.strip(), value.strip()


def _new_folder(settings: Mapping[str, Any]) -> Path:
    """Make the default run folder; a number is appended where it exists already."""
    path = Path(settings["dataset"] or default_dataset(settings["protocol"]))
    dataset = re.sub(r"[^\w.-]+", "-", path.stem if path.is_file() else path.name).strip("-.") or "data"
    seed = settings["seed"] or 0
    strategy = re.sub(r"[^\w-]+", "-", settings["strategy"] or "random")
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
            raise RunFolderError(f"cannot make {folder}: {error.strerror}; choose another place with --out") from error


def _remove_if_unused(folder: Path) -> None:
    """Remove the folder of a run that never started, if nothing but the lock lies in it."""
    try:
        names = [path.name for path in folder.iterdir()]
        if names in ([], [".lock"]):
            (folder / ".lock").unlink(missing_ok=True)
            folder.rmdir()
            folder.parent.rmdir()  # fails, as it should, unless it is empty
    except OSError:
        pass


def set_up_logging(verbose: bool) -> None:
    """Show warnings on standard error, with ``verbose`` everything."""
    level = logging.DEBUG if verbose else logging.WARNING
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter(verbose))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.handlers = [handler]
        logger.propagate = False


class _Formatter(logging.Formatter):
    """One line a message, such as ``Warning: ...``; tracebacks with --verbose only."""

    def __init__(self, verbose: bool) -> None:
        super().__init__("%(message)s")
        self._verbose = verbose

    def format(self, record: logging.LogRecord) -> str:
        line = f"{record.levelname.capitalize()}: {record.getMessage()}"
        if self._verbose and record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line
