"""`embed`: a model's embeddings of a dataset, written as a dataset of feature vectors."""

from __future__ import annotations

import difflib
import logging
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

from deepal_autoal.datasets.files.array_cache import ArrayBlocks
from deepal_autoal.datasets.files.image_size import covering_size, read_image_size
from deepal_autoal.datasets.files.npz_writer import write_npz
from deepal_autoal.datasets.user_data.npz import EMBEDDINGS, PATCHES_PREFIX
from deepal_autoal.errors import InputError, UnknownNameError, format_error
from deepal_autoal.experiment.default_embedding import default_embedding
from deepal_autoal.experiment.saved_model import load_model
from deepal_autoal.files import check_output
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.models import AUTO, build_model, read_model
from deepal_autoal.models.names import PATCHES
from deepal_autoal.models.patches import PatchEmbedding, pixel_normalization
from deepal_autoal.numerics.devices import resolve_device
from deepal_autoal.numerics.precision import autocast, resolve_precision
from deepal_autoal.numerics.random_streams import global_torch_seed, stream_seed
from deepal_autoal.numerics.row_blocks import row_slices
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.training.fitted_model import FittedModel, samples_at_once
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.scaling import resolve_scaling
from deepal_autoal.training.task_model import TaskModel
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal.datasets import Dataset

DTYPES = ("float16", "float32")
# The arrays of a file of embeddings, in this order.
WRITTEN, SKIPPED = ("x", "y", "x_test", "y_test", "class_names", "ids", "ids_test", "kind"), "skipped"
_OF_PATCHES = tuple(f"{PATCHES_PREFIX}{name}" for name in PatchEmbedding.ARRAYS)
_LARGEST_HALF = float(np.finfo(np.float16).max)

logger = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Embedded:
    """What was written.

    Attributes:
        path: The file.
        n_train: Samples of the training split.
        n_test: Samples of the test split.
        embedding_dim: Embedding size of a sample.
        model: The model's full name.
    """

    path: Path
    n_train: int
    n_test: int
    embedding_dim: int
    model: str


@engine_call()
def embed(
    dataset: Dataset,
    model: str | Path,
    out: str | Path,
    *,
    device: str = "auto",
    dtype: str = "float16",
    image_size: int | str | Sequence[int] | None = None,
    seed: int = 0,
    precision: str = "float32",
    scaling: str = "auto",
    progress: Progress | None = None,
) -> Embedded:
    """Write a model's embeddings of a dataset as an ``.npz`` that is a dataset itself.

    It holds ``x`` and ``x_test``, the embeddings; ``y`` and ``y_test``, the class numbers; ``class_names``; ``ids``
    and ``ids_test``, the samples' own names, such as file paths, else ``train/<row>`` and ``test/<row>``; and
    ``kind``, which marks these as embeddings, so a run scales them as such; and ``skipped``, files of the data that
    were left out, if any. Rows keep their order, so pool indices
    are the same for both datasets. Embeddings by ``patches`` come with the dictionary, as arrays ``patches_…`` that
    `load_patches` reads.

    Images are normalized as the model's published weights require, else by the training split's own statistics, or
    by those that a run's model was trained with.

    Args:
        dataset: Images, or feature vectors.
        model: A model's name, with options such as ``torchvision/resnet50[weights=imagenet]``; a run folder, whose
            final model is used; ``patches``, learned from the images of the training split (see `PatchEmbedding`);
            an ``.npz`` of such embeddings, to embed further images by the same dictionary; or ``auto``, the choice of
            `default_embedding`.
        out: The file; an existing one is replaced only if it holds embeddings that this function wrote.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        dtype: ``float16`` or ``float32``.
        image_size: The size of the images that the model gets, ``N`` for N×N pixels or height and width: scaled,
            sides in proportion, until they just cover it, bilinear and antialiased, and cropped to their center.
        seed: Seed of weights that are not published, and of what ``patches`` draws.
        precision: ``float32``, ``bfloat16`` or ``auto``, as in a recipe: faster where the hardware supports it, to
            two or three digits. A run's model computes as its run did, ``patches`` in float32.
        scaling: Scaling of feature vectors before the model sees them (see `resolve_scaling`). A run's model keeps its
            own.
        progress: Called with the number of samples done and the total; before that, for ``patches``, with the steps
            of learning done and their total.

    Raises:
        InputError: If the model cannot take the data, the embeddings do not fit the dtype, or the file cannot be
            written, is the dataset's or the model's own, or holds anything else than embeddings.
    """
    if dtype not in DTYPES:
        raise InputError(f"--dtype {dtype}: give {' or '.join(DTYPES)}")
    size = read_image_size(image_size)
    if size is not None and not dataset.is_image:
        raise InputError(f"--image-size {image_size}: dataset {dataset.name} holds vectors, not images: leave it out")
    chosen = resolve_scaling(scaling, dataset.x_train, dataset.is_embeddings).name
    if scaling != "auto" and _is_run(model):
        raise InputError(f"--scaling {scaling}: the model of {model} keeps the scaling of its run; leave it out")
    path = user_path(out, "--out")
    if path.suffix != ".npz":
        raise InputError(f"--out {path}: give a file name that ends in .npz")
    source = dataset.source.get("path") if dataset.source else None
    read = [source, os.path.expanduser(model)] if isinstance(source, str) else [os.path.expanduser(model)]
    check_output(path, _is_own, map(Path, read))
    shape = dataset.input_shape if size is None else (dataset.input_shape[0], *size)
    if str(model) == AUTO:
        model = default_embedding(dataset, size).model
    samples, n_classes = dataset.x_train, dataset.n_classes
    fitted, normalization, name = _model(
        model, samples, n_classes, shape, resolve_device(device), seed, precision, chosen, progress
    )
    total, done = len(dataset.x_train) + len(dataset.x_test), 0
    width = fitted.module.embedding_dim

    def blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
        nonlocal done
        inputs = Inputs(array, normalization, fitted.device)
        for block in row_slices(len(array), samples_at_once(shape, fitted.device)):
            rows = np.arange(block.start, block.stop)
            yield _fitting(_embeddings(fitted, inputs, rows, shape), dtype)
            done += len(rows)
            if progress is not None:
                progress(done, total)

    def lazy_embeddings(array: NDArray[Any]) -> ArrayBlocks:
        return ArrayBlocks((len(array), width), np.dtype(dtype), blocks(array))

    arrays: dict[str, ArrayBlocks | NDArray[Any]] = {
        "x": lazy_embeddings(dataset.x_train),
        "y": dataset.y_train,
        "x_test": lazy_embeddings(dataset.x_test),
        "y_test": dataset.y_test,
        "class_names": np.array(dataset.class_names),
        "ids": _ids(dataset.ids_train, "train", len(dataset.x_train)),
        "ids_test": _ids(dataset.ids_test, "test", len(dataset.x_test)),
        "kind": np.array(EMBEDDINGS),
    }
    assert tuple(arrays) == WRITTEN
    if dataset.skipped:
        arrays[SKIPPED] = np.array(dataset.skipped)
    if isinstance(fitted.module.backbone, PatchEmbedding):
        arrays |= {f"{PATCHES_PREFIX}{name}": array for name, array in fitted.module.backbone.arrays().items()}
    write_npz(path, arrays)
    return Embedded(path, len(dataset.x_train), len(dataset.x_test), width, name)


def load_patches(path: str | Path) -> PatchEmbedding:
    """Return the dictionary of patches in a file of embeddings, to embed further images.

    Raises:
        InputError: If the file cannot be read, or the embeddings in it are not those of ``patches``.
    """
    given = user_path(path, "--model")
    try:
        with np.load(given, allow_pickle=False) as file:
            found = {name: file[f"{PATCHES_PREFIX}{name}"] for name in PatchEmbedding.ARRAYS}
        return PatchEmbedding.from_arrays(found)
    except Exception as error:  # damaged files raise anything
        raise InputError(
            f"{given} holds no dictionary of patches that can be read ({format_error(error)}); give a file that "
            f"deepal embed --model {PATCHES} wrote"
        ) from error


@engine_call()
def write_patches(images: NDArray[np.uint8], path: Path, *, seed: int = 0) -> None:
    """Learn a dictionary of patches from images, and write it as an ``.npz`` that `embed_samples` takes as a model.

    Args:
        images: uint8 (N, H, W, C), possibly memory-mapped.
        path: The file.
        seed: As of `PatchEmbedding.fit`.

    Raises:
        InputError: If nothing can be learned from the images, or the file cannot be written.
    """
    arrays = PatchEmbedding.fit(images, seed=seed).arrays()
    write_npz(path, {f"{PATCHES_PREFIX}{name}": array for name, array in arrays.items()})


@engine_call()
def embed_samples(
    samples: NDArray[Any], model: str, *, device: str = "auto", seed: int = 0, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return a model's embeddings of samples without labels, float32 (N, D), normalized and computed as by `embed`.

    Args:
        samples: Images uint8 (N, H, W, C) of the size that the model gets, or vectors (N, D).
        model: As for `embed`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        seed: Seed of weights that are not published.
        progress: Called with the number of samples done and the total.

    Raises:
        InputError: If the model cannot take the samples, or its embeddings are not finite.
    """
    is_image = samples.ndim == 4
    shape = (samples.shape[3], *samples.shape[1:3]) if is_image else samples.shape[1:]
    scaling = resolve_scaling("auto", samples).name
    fitted, normalization, _ = _model(
        model, samples, 2, shape, resolve_device(device), seed, "float32", scaling, progress
    )
    inputs = Inputs(samples, normalization, fitted.device)
    embeddings = np.empty((len(samples), fitted.module.embedding_dim), dtype=np.float32)
    for block in row_slices(len(samples), samples_at_once(shape, fitted.device)):
        rows = np.arange(block.start, block.stop)
        embeddings[block] = _fitting(_embeddings(fitted, inputs, rows, shape), "float32")
        if progress is not None:
            progress(block.stop, len(samples))
    return embeddings


def _is_own(path: Path) -> bool:
    """Return whether a file holds embeddings that `embed` wrote."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.removesuffix(".npy") for name in archive.namelist()]
            first, others = names[: len(WRITTEN)], names[len(WRITTEN) :]
            return first == [*WRITTEN] and set(others) <= {SKIPPED, *_OF_PATCHES}
    except zipfile.BadZipFile:
        return False


def _is_run(model: str | Path) -> bool:
    """Return whether ``model`` is a run folder; a registered name takes precedence, as for datasets."""
    known = str(model).partition("[")[0].partition("/")[0] in plugin_host().models
    return os.path.isdir(os.path.expanduser(model)) and (isinstance(model, Path) or not known)


def _model(
    model: str | Path,
    samples: NDArray[Any],
    n_classes: int,
    shape: tuple[int, ...],
    device: torch.device,
    seed: int,
    precision: str,
    scaling: str,
    progress: Progress | None,
) -> tuple[FittedModel, Normalization, str]:
    """Return the model, the normalization of its inputs, and its name."""
    if _is_run(model):
        predictor = load_model(model, str(device))
        if predictor.input_shape != shape:
            raise InputError(
                f"the model of {model} takes samples of shape {predictor.input_shape}, but these have {shape}; choose "
                "the data it was trained on, or --image-size"
            )
        return predictor.model, predictor.normalization, str(model)
    if str(model) == PATCHES or Path(model).suffix == ".npz":
        if samples.ndim != 4:
            raise InputError(f"--model {model}: the samples are vectors, not images; use them as they are")
        patches = _patches(str(model), samples, shape, seed, progress)
        module = TaskModel(patches, patches.embedding_dim, n_classes)
        fitted = FittedModel(module, device=device, recipe=Recipe.for_data(shape), seed=seed)
        return fitted, pixel_normalization(shape[0]), str(model)
    _check_name(str(model))
    with global_torch_seed(stream_seed(seed, "init"), device):
        module = build_model(str(model), shape, n_classes)
    if module.published is None and any(True for _ in module.backbone.parameters()):
        logger.warning(
            "%s has random weights, so its embeddings carry little information: choose published weights, such as "
            "resnet18[weights=imagenet], or the folder of a run", model,
        )  # fmt: skip
    normalization = None
    if module.published is not None:
        if samples.ndim == 4 and module.published.side > 2 * min(shape[1:]):
            logger.warning(
                "the weights of %s were trained at %d pixels per side, but these images have %d: --image-size %d "
                "usually gives better embeddings but takes longer", model, module.published.side, min(shape[1:]),
                module.published.side,
            )  # fmt: skip
        normalization = module.published.normalization(shape[0])
    recipe = Recipe.for_data(shape, precision=precision)
    precision = resolve_precision(recipe.precision, device, shape)
    fitted = FittedModel(module, device=device, recipe=recipe, seed=seed, precision=precision)
    return fitted, normalization or Normalization.fit(samples, scaling=scaling), str(model)


def _check_name(model: str) -> None:
    """Raise an `UnknownNameError` for a name that is near to one of the names that only embeddings have."""
    try:
        read_model(model)
    except UnknownNameError as error:
        if difflib.get_close_matches(model, (AUTO, PATCHES)):
            raise UnknownNameError("model", model, (AUTO, PATCHES)) from error
        raise


def _patches(model: str, samples: Any, shape: tuple[int, ...], seed: int, progress: Progress | None) -> PatchEmbedding:
    """Return the patch embedding of a file, or a new one that is learned from the samples."""
    if model == PATCHES:
        return PatchEmbedding.fit(samples, resize=lambda images: _of_shape(images, shape), seed=seed, progress=progress)
    patches = load_patches(model)
    if patches.input_shape != shape:
        channels, height, width = patches.input_shape
        raise InputError(
            f"the patches of {model} are of images with {channels} channels and {height}x{width} pixels, but these "
            f"have {shape[0]} channels and {shape[1]}x{shape[2]} pixels; give --image-size {height}x{width}, or images "
            "of the same kind"
        )
    return patches


def _embeddings(
    fitted: FittedModel, inputs: Inputs, rows: NDArray[np.int64], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return embeddings, float32 (n, D)."""
    with torch.no_grad():
        batch = _of_shape(inputs.batch(rows), shape)
        with autocast(fitted.precision, fitted.device):
            features = fitted.module.features(batch)
    embeddings: NDArray[np.float32] = features.float().cpu().numpy()
    return embeddings


def _of_shape(inputs: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return inputs of a shape; images (n, C, H, W) are scaled to just cover it, and cropped to their center."""
    if inputs.shape[1:] == shape:
        return inputs
    return _brought_to(inputs, (shape[1], shape[2]))


def _brought_to(images: Tensor, size: tuple[int, int]) -> Tensor:
    covering = covering_size(images.shape[2], images.shape[3], size)
    scaled = F.interpolate(images, covering, mode="bilinear", antialias=True)
    top, left = (round((whole - side) / 2) for whole, side in zip(covering, size, strict=True))
    return scaled[:, :, top : top + size[0], left : left + size[1]]


def _fitting(embeddings: NDArray[np.float32], dtype: str) -> NDArray[Any]:
    if not np.isfinite(embeddings).all():
        raise InputError("the model's embeddings are not finite; choose another model")
    if dtype == "float16" and np.abs(embeddings).max(initial=0.0) > _LARGEST_HALF:
        raise InputError(f"embeddings exceed float16's {_LARGEST_HALF:g}; write them with --dtype float32")
    return embeddings.astype(dtype)


def _ids(given: NDArray[np.str_] | None, split: str, n: int) -> NDArray[np.str_]:
    return given if given is not None else np.array([f"{split}/{row}" for row in range(n)])
