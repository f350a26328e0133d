"""``deepal strategies --advise`` and ``--plot``: which strategies suit, and what they choose on a toy set."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from deepal_autoal.errors import DeepALError, InputError, error_message
from deepal_autoal.measuring.resources import memory_size
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.strategies.advice import MEANINGS, VERDICTS, Advice, Situation, advise

if TYPE_CHECKING:
    from deepal_autoal.datasets import Dataset

_Command = TypeVar("_Command", bound=Callable[..., Any])

WIDTH = 80
# As `deepal run` without these options, and a pool and model that are neither small nor large.
_INITIAL, _BATCH_SIZE, _ROUNDS = 50, 20, 10
_POOL, _CLASSES, _DIM, _INPUTS = 10_000, 10, 128, 784
# So many samples are enough to build models and trainers on.
_ROWS_TRIED = 16
_FORMS = (".png", ".svg")

_OPTIONS = (
    click.option("--dataset", metavar="NAME|PATH", help="With --advise: the data, which are loaded."),
    click.option("--data-dir", metavar="DIR", help="With --advise: directory of named datasets."),
    click.option("--target", metavar="COLUMN", help="With --advise: the column of labels, of a table."),
    click.option("--image-size", metavar="N|HxW", help="With --advise: the size to bring image files to."),
    click.option("--model", metavar="NAME", help="With --advise: the task model; without --dataset not checked."),
    click.option("--initial", type=click.IntRange(1), metavar="M", help="With --advise: initial labels; default 50."),
    click.option("--batch-size", type=click.IntRange(1), metavar="B", help="With --advise: batch size; default 20."),
    click.option("--rounds", type=click.IntRange(0), metavar="R", help="With --advise: number of queries; default 10."),
    click.option("--device", metavar="NAME", help="With --advise: cpu or cuda; without --dataset by default cpu."),
)


def advice_options(command: _Command) -> _Command:
    """Add the options that describe the data, the model, the budget and the machine."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def show_advice(names: Sequence[str], as_json: bool, given: Mapping[str, Any]) -> None:
    """Print which strategies suit.

    Args:
        names: The strategies to speak about; all if there are none.
        as_json: Whether to print one JSON object.
        given: Values of `advice_options`.

    Raises:
        DeepALError: If a name is unknown, or the data or the model cannot be used.
    """
    registry = plugin_host().strategies
    for name in names:
        registry.get(name)
    situation = _situation(given)
    advice = [item for item in advise(registry.entries(), situation) if not names or item.name in names]
    if as_json:
        described = {**asdict(situation), "final": situation.final, "regime": situation.regime}
        described.pop("unable")
        described["memory"] = int(situation.memory) if situation.memory < float("inf") else None
        click.echo(json.dumps({"situation": described, "advice": [asdict(item) for item in advice]}, indent=2))
        return
    click.echo("\n".join([*_introduction(situation), *_lines(advice), *_closing(given)]))


def _situation(given: Mapping[str, Any]) -> Situation:
    defaults = {"initial": _INITIAL, "batch_size": _BATCH_SIZE, "rounds": _ROUNDS}
    budget: dict[str, int] = {
        name: default if given[name] is None else given[name] for name, default in defaults.items()
    }
    assumed = tuple(f"--{name.replace('_', '-')} {budget[name]}" for name in defaults if given[name] is None)
    if given["dataset"] is not None:
        return _situation_of_data(given, budget, assumed)
    device = "cpu" if given["device"] in (None, "auto") else given["device"].partition(":")[0]
    if device not in ("cpu", "cuda"):
        raise InputError(f"--device {given['device']}: give cpu or cuda")
    if given["model"] is not None and given["model"].partition("[")[0] != "auto":
        plugin_host().models.get(given["model"].partition("[")[0])
    return Situation(
        _POOL, _CLASSES, budget["initial"], budget["batch_size"], budget["rounds"], inputs=_INPUTS,
        dim=_DIM, device=device, memory=memory_size(),
        assumed=(f"a pool of {_POOL:,}", f"{_CLASSES} classes", *assumed),
    )  # fmt: skip


def _situation_of_data(given: Mapping[str, Any], budget: Mapping[str, int], assumed: tuple[str, ...]) -> Situation:
    """Return the situation of a dataset, on which every strategy is created with the model, but not trained."""
    import math

    from deepal_autoal.datasets import load_dataset
    from deepal_autoal.experiment.learner import ActiveLearner
    from deepal_autoal.numerics.devices import resolve_device
    from deepal_autoal.training.scaling import resolve_scaling

    device = resolve_device(given["device"] or "auto").type
    data: Dataset = load_dataset(given["dataset"], given["data_dir"], given["image_size"], target=given["target"])
    if budget["initial"] >= len(data.x_train):
        raise InputError(f"--initial {budget['initial']}: the pool has {len(data.x_train)} samples; give fewer")
    scaling = resolve_scaling("auto", data.x_train, data.is_embeddings).name
    rows = data.x_train[:_ROWS_TRIED].copy()

    def learner(strategy: str) -> ActiveLearner:
        return ActiveLearner(
            rows, strategy, data.n_classes, model=given["model"] or "auto", device="cpu",
            scaling="auto" if data.is_image else scaling,
        )  # fmt: skip

    plain = learner("random")
    dim = plain.new_module().embedding_dim
    unable: dict[str, str] = {}
    for name in plugin_host().strategies.names():
        try:
            learner(name)
        except DeepALError as error:
            unable[name] = " ".join(error_message(error).split()).rstrip(".") + "."
    return Situation(
        len(data.x_train), data.n_classes, **budget, inputs=math.prod(data.input_shape), dim=dim,
        device="cuda" if device == "cuda" else "cpu", memory=memory_size(), data=data.name, model=plain.model_name,
        assumed=assumed, unable=unable,
    )  # fmt: skip


def _introduction(situation: Situation) -> list[str]:
    low, high = situation.initial / situation.classes, situation.final / situation.classes
    on = f"{situation.data} with the model {situation.model}" if situation.data else "Data"
    text = (
        f"{on} on {situation.device}: a pool of {situation.pool:,}, {situation.classes} classes, {situation.initial} + "
        f"{situation.rounds} x {situation.batch_size} labels, which are {low:.3g} to {high:.3g} a class: "
        f"{situation.regime}."
    )
    if situation.assumed:
        text += f" Assumed: {', '.join(situation.assumed)}."
    return textwrap.wrap(text, WIDTH)


def _lines(advice: Sequence[Advice]) -> list[str]:
    lines: list[str] = []
    for verdict in VERDICTS:
        found = [item for item in advice if item.verdict == verdict]
        if found:
            meaning = f": {MEANINGS[verdict]}" if MEANINGS[verdict] else ""
            lines += ["", *textwrap.wrap(verdict.capitalize() + meaning, WIDTH)]
        width = max((len(item.name) for item in found), default=0)
        for item in found:
            lines += textwrap.wrap(
                " ".join(item.reasons), WIDTH, initial_indent=f"  {item.name:<{width}}  ",
                subsequent_indent=" " * (width + 4), break_on_hyphens=False,
            )  # fmt: skip
    return lines


def _closing(given: Mapping[str, Any]) -> list[str]:
    hints = "With --dataset (and --model), what cannot run is found out. " if given["dataset"] is None else ""
    text = (
        f"{hints}Our studies are few: digits, MNIST and CIFAR-10, images and embeddings, none of them yours. What is "
        "best here, only a benchmark of your own says: deepal benchmark --strategies A,B,random. Seconds and memory: "
        "deepal run --dry-run. The evidence: docs/which-strategy.md."
    )
    return ["", *textwrap.wrap(text, WIDTH)]


def plot_choices(names: Sequence[str], path: Path) -> Path:
    """Draw what strategies choose on a toy set, and return the file.

    Raises:
        InputError: If there is no name, the file's form is unknown, or a file there was not written by this command.
        DeepALError: If a name is unknown, or the file cannot be written.
    """
    form = path.suffix.lower()
    if not names:
        raise InputError("--plot draws named strategies: deepal strategies NAME --plot FILE.png")
    if form not in _FORMS:
        raise InputError(f"--plot {path}: name a file ending in {' or '.join(_FORMS)}")
    from deepal_autoal.files import check_output, is_marked
    from deepal_autoal.report.figures.output import PNG_MARK, SVG_MARK

    mark = PNG_MARK if form == ".png" else SVG_MARK
    check_output(path, partial(is_marked, mark=mark), option="--plot")
    for name in names:
        plugin_host().strategies.load(name)
    from deepal_autoal.experiment.toy_choice import toy_choice
    from deepal_autoal.report.figures.choices import choices
    from deepal_autoal.report.figures.output import to_png, to_svg_file

    figure = choices({name: toy_choice(name) for name in dict.fromkeys(names)})
    if form == ".png":
        to_png(figure, path)
    else:
        to_svg_file(figure, path, "What strategies choose", f"The samples that {', '.join(names)} choose on a toy set.")
    return path
