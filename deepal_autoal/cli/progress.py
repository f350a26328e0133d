"""The display of a run: a progress bar on a terminal, a line per round and in long ones, a table at the end."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from tqdm import tqdm

from deepal_autoal.cli.class_counts import format_classes
from deepal_autoal.cli.listings import format_table
from deepal_autoal.datasets.files.image_files import FOLDER, MANIFEST
from deepal_autoal.datasets.user_data.sentence_models import TF_IDF
from deepal_autoal.experiment.progress_bar import PhaseText
from deepal_autoal.experiment.settings import DEFAULT_BATCH_SIZE, DEFAULT_INITIAL, DEFAULT_ROUNDS
from deepal_autoal.measuring.profile_tables import PROFILE_TEXT, remarks, total_rows
from deepal_autoal.measuring.resources import format_seconds

if TYPE_CHECKING:
    from deepal_autoal.experiment.records import RunResult
    from deepal_autoal.measuring.profile import Profile
    from deepal_autoal.plugins.run_view import ActiveRun


# Without a terminal: seconds without a line before one is printed within a round, doubled after each up to the second.
_SILENT, _LONGEST_SILENT = 3.0, 60.0


# Pixels of images that take long to train on.
_LARGE_IMAGE = 256 * 256


class RunDisplay:
    """Shows one run on the terminal; progress goes to standard error, results to standard output.

    Args:
        quiet: Show only the run folder at the end.
    """

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet
        self._bar: tqdm[Any] | None = None
        self._is_terminal = sys.stderr.isatty()
        self._text = PhaseText()
        self._shown_at = 0.0
        self._silent = _SILENT
        self._round = 0
        self._phase = ("", 0, 0.0)

    def start(self, run: ActiveRun) -> None:
        """Print what will run, and open the bar."""
        if self._quiet:
            return
        config = run.config
        strategy = config["strategy"]
        candidates = ", ".join(candidate["name"] for candidate in strategy.get("candidates", []))
        dataset = config["dataset"]
        counts = dataset.get("changes", dataset).get("class_counts", dataset["class_counts"])
        classes = format_classes(zip(dataset["class_names"], counts, strict=True))
        _say(f"{strategy['name']}{f' over {candidates}' if candidates else ''} on {dataset['name']}: "
             f"pool {config['pool_size']}, test {dataset['n_test']}, {classes}; "
             f"model {config['model']['name']}, {config['device']}, seed {config['seed']}")  # fmt: skip
        if config.get("validation_set"):
            _say(f"validation: {len(config['validation_set']):,} samples, whose labels are "
                 f"{config['validation_labels']}")  # fmt: skip
        if _is_shrunk(config):
            _say(f"small pool: {len(config['initial'])} labels to begin with, then {config['rounds']} x "
                 f"{config['batch_size']}; the usual budget does not fit")  # fmt: skip
        if config.get("single_round"):
            _say(f"single round: all {config['rounds'] * config['batch_size']:,} labels are asked for at once")
        if config["settings"].get("image_size"):
            _say(f"images brought to {config['settings']['image_size']} pixels (height x width)")
        elif _could_be_smaller(dataset) and config["device"] == "cpu":
            height, width = dataset["input_shape"][1:]
            _say(f"images of {height}x{width} pixels take long on a CPU: --dry-run shows how long, and what a smaller "
                 "--image-size saves")  # fmt: skip
        if config["settings"].get("text_model"):
            _say(f"texts: {_texts_by(config['settings']['text_model'])}")
        if dataset["kind"] == "vectors":
            reason = config.get("scaling_reason")
            _say(f"scaling {config['scaling']}{f' ({reason})' if reason else ''}")
        if _is_trained_in_steps(run):
            last = len(config["initial"]) + config["rounds"] * config["batch_size"]
            _say(f"training: {run.learner.recipe.describe_length(len(config['initial']), last)}")
        unused = _unused(run)
        if unused:
            _say(f"not used, since {config['model']['name']} is solved and not trained in steps: {', '.join(unused)}")
        if run.records:
            _say(f"continuing after round {run.records[-1]['round']}")
        self._round, self._shown_at = len(run.records), time.monotonic()
        self._bar = tqdm(
            total=config["rounds"] + 1, initial=len(run.records), unit="round", file=sys.stderr, dynamic_ncols=True,
            leave=False, disable=not self._is_terminal,
        )  # fmt: skip

    def phase(self, phase: str, done: int, total: int) -> None:
        """Show the phase within the round."""
        if self._bar is None:
            return
        if not self._is_terminal:
            self._say_if_long(phase, done, total, time.monotonic())
        elif (text := self._text.of(phase, done, total)) is not None:
            self._bar.set_postfix_str(text)

    def _say_if_long(self, phase: str, done: int, total: int, now: float) -> None:
        """Print a line about the phase if none was printed for a while."""
        name, before, began = self._phase
        if name != phase or done < before:
            began = now
        self._phase = (phase, done, began)
        if not 0 < done < total or now - self._shown_at < self._silent:
            return
        left = (now - began) * (total - done) / done
        about = f", about {format_seconds(left)} left" if began < now else ""
        _say(f"round {self._round}: {phase} {100 * done // total}% ({done} of {total}){about}")
        self._shown_at, self._silent = now, min(2 * self._silent, _LONGEST_SILENT)

    def round(self, run: ActiveRun, record: dict[str, Any]) -> None:
        """Show a finished round."""
        if self._bar is None:
            return
        line = (f"round {record['round']}/{run.n_rounds}: {record['n_labeled']} labeled, "
                f"accuracy {record['accuracy']:.4f}")  # fmt: skip
        if record.get("audit"):
            line += f", audit {_of_audit(record['audit'])}"
        if self._is_terminal:
            self._bar.write(line, file=sys.stderr)
        else:
            _say(line)
        self._round, self._shown_at = record["round"] + 1, time.monotonic()
        self._bar.update()

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def finish(self, result: RunResult) -> None:
        """Print the table of rounds and the run folder."""
        self.close()
        if not self._quiet:
            head, rows = _table(result)
            click.echo("\n".join(format_table(head, rows)))
            if result.profile is not None:
                _show_profile(result.profile)
            click.echo(f"\nAUBC {result.aubc:.4f}   final accuracy {result.accuracy:.4f}"
                       + (f"   stopped: {result.stop_reason}" if result.stop_reason else ""))  # fmt: skip
        click.echo(f"{'' if self._quiet else 'Run folder: '}{result.folder}")


def _texts_by(model: str) -> str:
    if model == TF_IDF:
        return "TF-IDF of words and pairs; --text-model NAME takes embeddings of sentence-transformers"
    return f"embeddings of {model} (sentence-transformers); --text-model {TF_IDF} does without"


def _is_shrunk(config: Mapping[str, Any]) -> bool:
    """Return whether a default of the budget was made smaller for the pool."""
    usual = {"initial": DEFAULT_INITIAL, "batch_size": DEFAULT_BATCH_SIZE, "rounds": DEFAULT_ROUNDS}
    given = {name: value for name in usual if (value := config["settings"].get(name)) is not None}
    wanted = {**usual, **given}
    needed: int = wanted["initial"] + wanted["rounds"] * wanted["batch_size"]
    n_samples: int = config["pool_size"] - len(config.get("validation_set") or ())
    return needed > n_samples and not config.get("protocol")


def _could_be_smaller(dataset: Mapping[str, Any]) -> bool:
    """Return whether a dataset, as it is recorded, consists of large images that ``--image-size`` applies to."""
    are_files = dataset["source"].get("kind") in (FOLDER, MANIFEST)
    return are_files and math.prod(dataset["input_shape"][1:]) >= _LARGE_IMAGE


def _unused(run: ActiveRun) -> list[str]:
    """Return the given options that do not affect this model's training."""
    given = sorted(set(run.config["settings"]["recipe"]) - {"precision", "warm_start"})
    if not given or _is_trained_in_steps(run):
        return []
    return [f"--{name.replace('_', '-')}" for name in given]


def _is_trained_in_steps(run: ActiveRun) -> bool:
    from deepal_autoal.training.solved import SolvedModel

    return run.learner.strategy.changes_training or not isinstance(run.learner.new_module(), SolvedModel)


def _show_profile(profile: Profile) -> None:
    head, rows = total_rows(profile)
    width = max(len(row[0]) for row in rows)
    click.echo()
    click.echo(
        "\n".join(format_table(head, [[row[0].ljust(width), *(f"{cell:>8}" for cell in row[1:])] for row in rows]))
    )
    click.echo("\n".join(["", *remarks(profile), f"{PROFILE_TEXT} in the run folder has the details by round."]))


def _table(result: RunResult) -> tuple[list[str], list[list[str]]]:
    weighted = any(_weights(record) for record in result.rounds)
    is_audited = any("audit" in record for record in result.rounds)
    head = ["round", "labeled", "accuracy", *(["audit, 95% interval"] if is_audited else []), "train s", "query s"]
    head += ["weights"] if weighted else []
    rows = []
    for record in result.rounds:
        seconds = record["seconds"]
        row = [f"{record['round']:>5}", f"{record['n_labeled']:>8}", f"{record['accuracy']:>8.4f}"]
        if is_audited:
            row.append(_of_audit(record["audit"]) if record.get("audit") else "-")
        row += [f"{seconds['train']:>7.2f}", f"{seconds['query']:>7.2f}"]
        if weighted:
            row.append("  ".join(f"{name} {weight:.2f}" for name, weight in _weights(record).items()))
        rows.append(row)
    return head, rows


def _of_audit(found: Mapping[str, Any]) -> str:
    return f"{found['accuracy']:.4f} ({found['low']:.4f} to {found['high']:.4f})"


def _weights(record: dict[str, Any]) -> dict[str, float]:
    """Return the weights that a strategy reported, if they map names to numbers."""
    weights = record["strategy"].get("weights")
    if isinstance(weights, dict) and all(isinstance(weight, int | float) for weight in weights.values()):
        return weights
    return {}


def _say(line: str) -> None:
    click.echo(line, err=True)
