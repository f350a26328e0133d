"""``deepal label``: a labeling project, step by step."""

from __future__ import annotations

import json
import threading
import webbrowser
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from deepal_autoal.cli.help_groups import SuggestingGroup
from deepal_autoal.cli.logging_setup import set_up_logging
from deepal_autoal.cli.shared_options import UserPath, split_option
from deepal_autoal.errors import DeepALError, InputError, UnknownNameError, counted, error_message
from deepal_autoal.run_settings import split_names

if TYPE_CHECKING:
    from deepal_autoal.labeling.project import Project
    from deepal_autoal.labeling.submission import Taken

FAILURES = 1

_project = click.argument("project", type=UserPath(), metavar="PROJECT")
_new_class = click.option(
    "--new-class", "new_classes", multiple=True, metavar="NAME",
    help="A label in the file that is a new class, not a mistake. Repeatable.",
)  # fmt: skip
_skip_bad = click.option("--skip-bad", is_flag=True, help="Go on without image files that cannot be used.")


class _LabelGroup(SuggestingGroup):
    """The group; says after an interruption that nothing is lost."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nInterrupted; what was taken is kept. Repeat the command to go on.", err=True)
            raise


@click.group("label", cls=_LabelGroup, epilog="Start with: deepal label init my-project --data my-images/")
def label_group() -> None:
    """Label your own data, batch by batch; the most useful samples come first.

    PROJECT is a folder. Every answer is kept in it at once and for good: a command can be interrupted at any moment
    and repeated.
    """
    set_up_logging(verbose=False)


@label_group.command("init")
@_project
@click.option(
    "--data", type=UserPath(), metavar="PATH", required=True,
    help="A folder of images; a .csv or .parquet with path, text or feature columns; .npz, .npy or .txt.",
)  # fmt: skip
@click.option("--classes", metavar="A,B,C", help="Their names; by default classes appear while you label.")
@click.option("--strategy", metavar="NAME", help="Query strategy; by default the one that is advised for the data.")
@click.option("--candidates", metavar="A,B,C", help="Candidates, for selectors such as autoal.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the strategy. Repeatable."
)
@click.option(
    "--embed", metavar="MODEL|auto|none",
    help="Learn from this model's embeddings, such as 'torchvision/resnet50[weights=imagenet]'. Default auto, for "
    "images: a published network whose weights are on this machine, else patches, learned from the images; with "
    "--model, default none: the model learns from the images themselves.",
)  # fmt: skip
@click.option("--model", metavar="NAME", default="auto", help="Task model; default auto.")
@click.option(
    "--image-size", metavar="N|HxW", help="Bring images to this size; default small, or 224 for a network of --embed."
)
@click.option("--batch-size", type=int, default=20, metavar="B", help="Samples in a batch; default 20.")
@click.option("--seed", type=int, default=0, metavar="S", help="Seed of everything random; default 0.")
@click.option("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="Default auto: CUDA if available.")
@click.option(
    "--audit", type=float, default=0.1, metavar="SHARE",
    help="Part of each batch that is drawn at random, to estimate accuracy from; default 0.1, 0 for none.",
)  # fmt: skip
@_skip_bad
def label_init(
    project: Path, data: Path, classes: str | None, strategy: str | None, candidates: str | None,
    options: tuple[str, ...], embed: str | None, model: str, image_size: str | None, batch_size: int, seed: int,
    device: str, audit: float, skip_bad: bool,
) -> None:  # fmt: skip
    """Start a project on your data, or tell it where its data are now."""
    given_options = dict(map(split_option, options))
    if strategy is not None:
        from deepal_autoal.strategies.written import read_strategy

        strategy, names, given_options = read_strategy(strategy, candidates, given_options)
        candidates = ",".join(names) if isinstance(names, list) else names
    given: dict[str, Any] = {
        "strategy": strategy, "candidates": candidates, "options": given_options, "model": model,
        "embed": embed, "image_size": image_size, "batch_size": batch_size, "seed": seed, "device": device,
        "audit": audit, "skip_bad": skip_bad,
        "classes": None if classes is None else tuple(split_names(classes)),
    }  # fmt: skip
    _check_names(given)
    from deepal_autoal.labeling.project import Project, command, is_begun

    if is_begun(project):
        from deepal_autoal.labeling.start import find_data

        known = Project(project)
        with known.changing():
            if not find_data(known, data):
                raise InputError(
                    f"{project} is a labeling project on these data already; go on with: {command('next', project)}"
                )
        click.echo(f"{project} finds its data in {data} from now on; its settings and labels are as they were.")
        return
    from deepal_autoal.labeling.data import FILES
    from deepal_autoal.labeling.start import start_project

    started, reason = start_project(project, data, **given)
    state, settings = started.state, started.settings
    size = f", brought to {settings.image_size} pixels" if settings.image_size else ""
    click.echo(f"{project}: {counted(len(state.ids), _noun(settings.form))}{size}; strategy {settings.strategy}")
    if reason:
        click.echo(f"Embedding: {reason}")
    if state.labels:
        counts = Counter(state.labels.values())
        shown = ", ".join(f"{name} {counts[name]}" for name in started.classes)
        click.echo(f"Labels that are there already: {shown}")
        if settings.form == FILES and settings.classes is None and data.is_dir():
            click.echo(
                f"Warning: these are names of folders. If they are no classes, remove {project}, and start it again "
                "with --classes and the names of the classes", err=True,
            )  # fmt: skip
    click.echo(f"Now ask for the first batch: {command('next', project)}")


def _check_names(given: Mapping[str, Any]) -> None:
    """Report typos before anything heavy is loaded."""
    from deepal_autoal.datasets.files.image_size import read_image_size
    from deepal_autoal.models import read_model
    from deepal_autoal.plugins.host import plugin_host
    from deepal_autoal.strategies.candidate_sets import check_names

    if given["strategy"] is not None:
        plugin_host().strategies.get(given["strategy"])
    elif given["candidates"] is not None or given["options"]:
        raise InputError("--candidates and -o belong to a strategy; name it with --strategy")
    check_names(split_names(given["candidates"] or ""))
    read_model(given["model"])
    read_image_size(given["image_size"])
    if given["seed"] < 0:
        raise InputError(f"--seed {given['seed']}: give a whole number of at least 0")


@label_group.command("next")
@_project
@click.option("-n", "--batch-size", "size", type=int, metavar="B", help="Size of a new batch; default the project's.")
def label_next(project: Path, size: int | None) -> None:
    """Print the CSV file of the batch to label.

    It is to be filled in; an .html file beside it shows the samples.

    As long as the batch has open labels, it stays the same.
    """
    opened = _opened(project)
    from deepal_autoal.labeling.batches import next_batch
    from deepal_autoal.labeling.project import command

    with opened.changing():
        waiting = len(opened.state.open_rows)
        path = next_batch(opened, size)
    if path is None:
        click.echo(f"Every sample has an answer; export the labels with: {command('export', project)} --out labels.csv")
        return
    if waiting and size is not None and size != len(opened.state.batches[-1].rows):
        click.echo(
            f"Batch {len(opened.state.batches)} still has {counted(waiting, 'open label')}; -n holds for new batches",
            err=True,
        )
    click.echo(path)


@label_group.command("submit")
@_project
@click.argument("file", type=UserPath(), metavar="FILE.csv")
@_new_class
def label_submit(project: Path, file: Path, new_classes: tuple[str, ...]) -> int:
    """Take labels from a CSV file.

    Its columns are id and label.

    An empty label means later, skip means that nobody can tell. A label of a sample that has one already corrects it.
    Of a file with a mistake nothing is taken.
    """
    opened = _opened(project)
    from deepal_autoal.labeling.submission import read_answers, take

    with opened.changing():
        taken = take(opened, read_answers(opened, file, new_classes), "csv", new_classes)
        return _after(opened, taken)


@label_group.command("serve")
@_project
@click.option("--port", type=int, default=8808, metavar="P", help="Default 8808; 0 for any that is free.")
@click.option(
    "--host", default="127.0.0.1", metavar="H",
    help="Address to listen on, by default for this computer only; with its address in your network, for a phone.",
)  # fmt: skip
@click.option("--no-browser", is_flag=True, help="Do not open the page.")
def label_serve(project: Path, port: int, host: str, no_browser: bool) -> None:
    """Label in the browser, by keyboard.

    Every answer is kept at once; the next batch is prepared while you label. Until you end it with Ctrl+C, the project
    is in use.
    """
    opened = _opened(project)
    from deepal_autoal.labeling.server.http_server import LabelServer
    from deepal_autoal.labeling.server.session import Session
    from deepal_autoal.labeling.sources import check_sources
    from deepal_autoal.labeling.status import estimate_hint

    with opened.changing():
        check_sources(opened)
        session = Session(opened)
        with LabelServer(session, host, port) as server:
            click.echo(f"Label at {server.url} (Ctrl+C ends it)")
            if not no_browser:
                threading.Thread(target=webbrowser.open, args=(server.url,), daemon=True).start()
            session.start()
            with suppress(KeyboardInterrupt):
                server.serve_forever()
        if session.stop():
            click.echo("\nThe next batch is still being chosen; Ctrl+C again not to wait for it", err=True)
            with suppress(KeyboardInterrupt):
                session.join()
        click.echo(_progress_of(len(opened.state.labels), len(opened.state.ids)))
        if hint := estimate_hint(opened):
            click.echo(hint)


@label_group.command("status")
@_project
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.option(
    "--estimate", is_flag=True, help="First estimate accuracy from the labels so far; trains up to 22 models."
)
@click.option("--label-cost", type=float, metavar="C", help="Cost of a label: with it, the advice is to go on or stop.")
@click.option(
    "--value-per-point", type=float, metavar="V", help="What a percentage point of accuracy is worth, in that currency."
)
def label_status(
    project: Path, as_json: bool, estimate: bool, label_cost: float | None, value_per_point: float | None
) -> None:
    """Show how far the project is, and what to do next.

    Accuracy is what the audit said when it was estimated last: after each batch if the model learns from vectors, such
    as embeddings, otherwise when you ask for it.
    """
    from deepal_autoal.labeling.status import audit_text, status_of

    opened = _opened(project)
    if estimate:
        from deepal_autoal.labeling.learning import Learning

        with opened.changing(), _bar("audit") as progress:
            Learning(opened).estimate(progress)
    status = status_of(opened, label_cost, value_per_point)
    if as_json:
        click.echo(json.dumps(status, indent=2))
        return
    click.echo(f"{_progress_of(status['labeled'], status['pool'])}, {status['skipped']} skipped")
    _show_classes(status["by_class"])
    click.echo(f"Strategy {status['strategy']}, model {status['model']}")
    if text := audit_text(opened):
        click.echo(text)
    click.echo(status["advice"])


@label_group.command("add")
@_project
@click.argument("data", type=UserPath(), metavar="PATH")
@_skip_bad
def label_add(project: Path, data: Path, skip_bad: bool) -> None:
    """Add samples: new images, or another file.

    Images may be in the same folder or another; texts and vectors are in a file of their own.
    """
    opened = _opened(project)
    from deepal_autoal.labeling.start import add_data

    with opened.changing():
        number = add_data(opened, data, skip_bad)
    click.echo(f"{counted(number, 'sample')} added; {len(opened.state.ids)} in all")


@label_group.command("classes")
@_project
@click.option(
    "--rename", nargs=2, metavar="OLD NEW",
    help="Give a class another name; with the name of another class, the two become one.",
)  # fmt: skip
@click.option("--remove", metavar="NAME", help="Remove a class that no sample has.")
def label_classes(project: Path, rename: tuple[str, str] | None, remove: str | None) -> None:
    """Show the classes, or correct them.

    Answers that were given stay in the project's history, under the names that they had.
    """
    opened = _opened(project)
    from deepal_autoal.labeling.class_names import remove_class, rename_class
    from deepal_autoal.labeling.status import status_of

    if rename is not None and remove is not None:
        raise InputError("--rename and --remove are two steps; give one of them")
    if rename is not None:
        with opened.changing():
            number = rename_class(opened, *rename)
        click.echo(f"{rename[0]} is called {rename[1]} from now on; {counted(number, 'label')} changed")
    elif remove is not None:
        with opened.changing():
            remove_class(opened, remove)
        click.echo(f"{remove} is no class any more")
    _show_classes(status_of(opened)["by_class"])


@label_group.command("review")
@_project
def label_review(project: Path) -> None:
    """List labels that are likely wrong.

    They, and samples with different answers, are in a CSV file to correct and submit.

    A label is listed if models trained without it are confident of another class.
    """
    opened = _opened(project)
    from deepal_autoal.labeling.project import command
    from deepal_autoal.labeling.review import write_review

    with opened.changing():
        path, number, agreement = write_review(opened)
    click.echo(f"{counted(number, 'label')} to look at again" if number else "No label looks wrong")
    if number:
        click.echo(
            f"The models agree with {agreement:.0%} of all labels: the lower this is, the more of their doubts are "
            "mistaken. The strongest come first"
        )
        click.echo(f"{path} (pictures: {path.with_suffix('.html')}): correct them there, then:")
        click.echo(command("submit", project, path))


@label_group.command("export")
@_project
@click.option("--out", type=UserPath(), metavar="FILE|DIR", required=True, help="The file, or new folder, to write.")
@click.option(
    "--format", "form", metavar="NAME",
    help="csv, folder (a tree of class folders), npz, label-studio or cvat; default by the file's suffix.",
)  # fmt: skip
@click.option("--predictions", is_flag=True, help="Add a model's labels for all other samples, with its confidence.")
def label_export(project: Path, out: Path, form: str | None, predictions: bool) -> None:
    """Write the labels, for other programs or a run."""
    opened = _opened(project)
    from deepal_autoal.labeling.export import FORMATS, export_project

    if form is not None and form not in FORMATS:
        raise UnknownNameError("format", form, FORMATS)
    with opened.changing() if predictions else nullcontext():
        number = export_project(opened, out, form, predictions)
    click.echo(f"{counted(number, 'sample')} written to {out}")
    if form == "label-studio" or (form is None and out.suffix.lower() == ".json"):
        from deepal_autoal.labeling.label_studio import labeling_interface

        click.echo(f"Labeling interface for Label Studio: {labeling_interface(opened)}")


@label_group.command("import")
@_project
@click.argument("file", type=UserPath(), metavar="FILE")
@_new_class
def label_import(project: Path, file: Path, new_classes: tuple[str, ...]) -> int:
    """Take labels from Label Studio or CVAT.

    FILE is an export in the format JSON of Label Studio, or CVAT for images 1.1 or ImageNet 1.0 of CVAT.
    """
    opened = _opened(project)
    from deepal_autoal.labeling.exchange import read_exchange
    from deepal_autoal.labeling.submission import take

    with opened.changing():
        answers, tool = read_exchange(opened, file, new_classes)
        return _after(opened, take(opened, answers, tool, new_classes))


def _opened(path: Path) -> Project:
    from deepal_autoal.labeling.project import Project

    return Project(path)


@contextmanager
def _bar(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar, from the first call of the function that the block gets, if somebody can see it."""
    from deepal_autoal.experiment.progress_bar import is_watched

    bar: Any = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        if bar is None and is_watched():
            from tqdm import tqdm

            bar = tqdm(desc=title, total=total, unit="model", leave=False)
        if bar is not None:
            bar.update(done - bar.n)

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()


def _noun(form: str) -> str:
    return {"array": "sample"}.get(form, form.removesuffix("s"))


def _progress_of(labeled: int, pool: int) -> str:
    return f"{labeled} of {counted(pool, 'sample')} {'is' if labeled == 1 else 'are'} labeled"


def _show_classes(counts: Mapping[str, int]) -> None:
    width = max((len(name) for name in counts), default=0)
    for name, count in counts.items():
        click.echo(f"  {name:<{width}}  {count}")


def _after(project: Project, taken: Taken) -> int:
    """Say what was taken, choose the next batch, and return the exit status."""
    from deepal_autoal.labeling.project import command

    parts = [f"{taken.new} new"]
    parts += [f"{taken.corrected} corrected"] if taken.corrected else []
    parts += [f"{taken.skipped} skipped"] if taken.skipped else []
    parts += [f"{taken.unchanged} known already"] if taken.unchanged else []
    if not taken.is_change and not taken.unchanged:
        click.echo("No label is filled in yet; there is nothing to take")
        return 0
    click.echo(f"Labels taken: {', '.join(parts)}")
    if taken.classes:
        click.echo(f"New classes: {', '.join(taken.classes)}")
    for name, other in taken.alike:
        click.echo(
            f"Warning: {name!r} is a new class, much like {other!r}; if it is a mistake: "
            f"{command('classes', project.path, '--rename', name, other)}", err=True,
        )  # fmt: skip
    # Also where all is known already: the command may have been interrupted before.
    if taken.is_change or taken.unchanged:
        from deepal_autoal.labeling.batches import prepare_next

        try:
            with _bar("audit") as progress:
                prepare_next(project, progress)
        except DeepALError as error:
            click.echo(
                f"Warning: the labels are taken, but the next batch cannot be chosen: {error_message(error)}", err=True
            )
            return FAILURES
    state = project.state
    n_open = len(state.open_rows)
    waiting = f"; {n_open} of batch {len(state.batches)} {'is' if n_open == 1 else 'are'} open" if n_open else ""
    click.echo(f"{_progress_of(len(state.labels), len(state.ids))}{waiting}")
    return 0
