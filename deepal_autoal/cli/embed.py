"""``deepal embed``: save a model's embeddings of a dataset as a dataset."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from deepal_autoal.cli.logging_setup import set_up_logging
from deepal_autoal.cli.shared_options import UserPath


@click.command("embed")
@click.option("--dataset", metavar="NAME|PATH", required=True, help="`deepal datasets`, or a path to your own data.")
@click.option("--data-dir", metavar="DIR", help="Folder of named datasets; default $DEEPAL_DATA, or data.")
@click.option(
    "--model", metavar="NAME|RUN|FILE", default="auto",
    help="A model with published weights, such as 'torchvision/resnet50[weights=imagenet]'; a run folder; patches, "
    "learned from the images without labels; a file that patches wrote, for further images. Default auto: a published "
    "network whose weights are on this machine, else patches.",
)  # fmt: skip
@click.option("--out", type=UserPath(), metavar="FILE.npz", required=True, help="The file to write.")
@click.option(
    "--image-size", metavar="N|HxW", help="Bring images of any sizes to NxN pixels: shorter side to N, center crop."
)
@click.option("--skip-bad", is_flag=True, help="Go on without image files that cannot be used, and record which.")
@click.option("--dtype", default="float16", metavar="NAME", help="float16 (default) or float32.")
@click.option("--device", default="auto", metavar="auto|cpu|cuda[:i]", help="Default auto: CUDA if available.")
@click.option(
    "--precision",
    default="float32",
    metavar="NAME",
    help="float32 (default), bfloat16 or auto; a run's model keeps its own, patches float32.",
)
@click.option("--scaling", default="auto", metavar="NAME", help="Scaling of vectors, as for run; default auto.")
@click.option("--threads", type=int, metavar="N", help="CPU threads.")
@click.option(
    "--seed", type=int, default=0, metavar="S", help="Seed of weights that are not published, and of patches."
)
@click.option("--quiet", is_flag=True, help="Print only the file and warnings.")
@click.option("--verbose", is_flag=True, help="Print log messages.")
def embed_command(
    dataset: str, data_dir: str | None, model: str, out: Path, image_size: str | None, skip_bad: bool, dtype: str,
    device: str, precision: str, scaling: str, threads: int | None, seed: int, quiet: bool, verbose: bool,
) -> None:  # fmt: skip
    """Write a model's embeddings of a dataset, for runs with --dataset FILE.npz and the model linear or mlp.

    The file holds x, y, x_test, y_test, class_names, and the samples' names ids and ids_test, in the dataset's order.
    Its kind marks them as embeddings.
    """
    from tqdm import tqdm

    from deepal_autoal.datasets import are_image_files, load_dataset
    from deepal_autoal.datasets.files.image_size import read_image_size
    from deepal_autoal.experiment.default_embedding import default_embedding
    from deepal_autoal.experiment.embedding import embed
    from deepal_autoal.experiment.loop import using_threads
    from deepal_autoal.models import AUTO
    from deepal_autoal.training.scaling import check_scaling

    set_up_logging(verbose)
    check_scaling(scaling)
    # Files are read at this size; other images are brought to it on their way into the model.
    from_files = are_image_files(dataset)
    data = load_dataset(dataset, data_dir, image_size if from_files else None, skip_bad=skip_bad)
    if model == AUTO:
        chosen = default_embedding(data, None if from_files else read_image_size(image_size))
        model = chosen.model
        if not quiet:
            click.echo(f"Model: {chosen.reason}")
    hidden = quiet or not sys.stderr.isatty()
    with using_threads(threads), tqdm(desc="embedding", unit="sample", disable=hidden) as bar:

        def progress(done: int, total: int) -> None:
            if total != bar.total or done < bar.n:  # learning, then embedding
                bar.reset(total)
            bar.update(done - bar.n)

        written = embed(
            data,
            model,
            out,
            device=device,
            dtype=dtype,
            image_size=None if from_files else image_size,
            seed=seed,
            precision=precision,
            scaling=scaling,
            progress=progress,
        )
    if not quiet:
        click.echo(
            f"{written.n_train} training and {written.n_test} test embeddings of {written.embedding_dim} numbers"
        )
    click.echo(f"{'' if quiet else 'File: '}{written.path}")
