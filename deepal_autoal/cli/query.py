"""``deepal query``: the next batch from files of embeddings and probabilities of any model."""

from __future__ import annotations

import os
from pathlib import Path

import click

from deepal_autoal.cli.logging_setup import set_up_logging
from deepal_autoal.cli.shared_options import UserPath, split_option
from deepal_autoal.errors import InputError, counted
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.run_settings import split_names
from deepal_autoal.strategies.candidate_sets import check_names
from deepal_autoal.strategies.written import read_strategy
from deepal_autoal.user_paths import why_not_created

_HEADER = b"index\n"


@click.command("query")
@click.option("--strategy", metavar="NAME[KEY=VALUE,...]", required=True, help="`deepal strategies`.")
@click.option("-n", "--batch-size", type=int, metavar="B", required=True, help="How many rows to choose.")
@click.option(
    "--embeddings",
    type=UserPath(),
    metavar="FILE",
    help="Numbers (N, D): .npy, .npz, .csv or .parquet; a row a sample.",
)
@click.option("--probabilities", type=UserPath(), metavar="FILE", help="Class probabilities (N, C), likewise.")
@click.option("--labeled", type=UserPath(), metavar="FILE.csv", help="Labeled rows: index[,label]; default none.")
@click.option("--candidates", metavar="A,B,C", help="Candidates of a selector, as for run.")
@click.option(
    "-o", "--option", "options", multiple=True, metavar="KEY=VALUE", help="Option of the strategy. Repeatable."
)
@click.option("--n-classes", type=int, metavar="C", help="Number of classes, if neither file says it.")
@click.option("--seed", type=int, default=0, metavar="S", help="Seed of everything random; default 0.")
@click.option("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="Default auto: CUDA if available.")
@click.option("--threads", type=int, metavar="N", help="CPU threads.")
@click.option("--out", type=UserPath(), metavar="FILE.csv", required=True, help="The file to write: index, best first.")
@click.option("--quiet", is_flag=True, help="Print only the file and warnings.")
@click.option("--verbose", is_flag=True, help="Print log messages.")
def query_command(
    strategy: str, batch_size: int, embeddings: Path | None, probabilities: Path | None, labeled: Path | None,
    candidates: str | None, options: tuple[str, ...], n_classes: int | None, seed: int, device: str,
    threads: int | None, out: Path, quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Choose which rows to label next, by the outputs of any model.

    Nothing is trained. A strategy that needs more than embeddings and probabilities is refused.
    """
    set_up_logging(verbose)
    given_options = dict(split_option(option) for option in options)
    # Typos are reported before torch is loaded.
    strategy, names, given_options = read_strategy(strategy, candidates, given_options)
    plugin_host().strategies.get(strategy)
    check_names(names if isinstance(names, list) else split_names(names or ""))
    from deepal_autoal.files import check_output

    check_output(out, _is_own, [path for path in (embeddings, probabilities, labeled) if path is not None])
    _check_folder(out)
    from deepal_autoal.experiment.loop import using_threads
    from deepal_autoal.experiment.selection import select

    with using_threads(threads):
        chosen = select(
            strategy, batch_size, embeddings, probabilities, labeled, seed=seed, candidates=names,
            options=given_options, n_classes=n_classes, device=device,
        )  # fmt: skip
    _write(out, chosen.tolist())
    if not quiet:
        click.echo(f"{counted(len(chosen), 'row')} to label, best first")
    click.echo(f"{'' if quiet else 'File: '}{out}")


def _check_folder(out: Path) -> None:
    """Refuse a file whose folder cannot be created, before anything is computed; missing folders are created later."""
    for place in out.parents:
        if os.path.lexists(place):
            if not place.is_dir():
                raise InputError(f"--out {out}: {place} is not a folder; name another file")
            return


def _is_own(path: Path) -> bool:
    """Return whether a file has a column ``index`` of row numbers and nothing else."""
    with open(path, "rb") as file:
        return file.readline(len(_HEADER)) == _HEADER and all(line.rstrip(b"\n").isdigit() for line in file)


def _write(out: Path, rows: list[int]) -> None:
    from deepal_autoal.files import replacing

    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as file:
            file.write(_HEADER + b"".join(b"%d\n" % row for row in rows))
    except OSError as error:
        reason = why_not_created(out.parent, error)
        raise InputError(f"--out {out} cannot be written ({reason}); name another file") from error
