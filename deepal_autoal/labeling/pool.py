"""The array of a project's samples that the engine learns from: pixels, given vectors, or embeddings.

Embeddings stay in the project, a file for each source of data, and so does the dictionary that ``patches`` learned
from the first source, by which the images of later ones are embedded.
"""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.datasets.files.array_cache import ArrayBlocks, cached_array
from deepal_autoal.datasets.files.decoding import MixedSizesError
from deepal_autoal.datasets.files.image_files import ImageFile, decoded_images, file_state
from deepal_autoal.datasets.files.image_size import USUAL_SIDE, read_image_size
from deepal_autoal.datasets.files.npz_members import member_names, read_members, verify_member
from deepal_autoal.datasets.files.npz_writer import write_npz
from deepal_autoal.datasets.user_data.preparation import TextVectors
from deepal_autoal.datasets.user_data.sentence_models import SentenceModel
from deepal_autoal.errors import InputError, error_message
from deepal_autoal.experiment.embedding import embed_samples, load_patches, write_patches
from deepal_autoal.files import checksum_of_file, checksum_of_value
from deepal_autoal.labeling.data import FILES, TEXTS
from deepal_autoal.labeling.project import Project, SourceRecord
from deepal_autoal.labeling.sources import check_alike, check_files, checked_source, files_folder
from deepal_autoal.models.names import PATCHES, SMALL_IMAGE
from deepal_autoal.models.patches import MOST_SIDE
from deepal_autoal.training.scaling import resolve_scaling

if TYPE_CHECKING:
    from numpy.typing import NDArray


EMBEDDINGS = "embeddings"
DICTIONARY = "patches.npz"
_TEXT_FORMAT = "tf-idf 1"

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Samples:
    """A project's samples in the form that the engine takes.

    Attributes:
        array: Images uint8 (N, H, W, C), or vectors (N, D), one a row of the project.
        scaling: Of vectors, by name; ``auto`` for images.
    """

    array: NDArray[Any]
    scaling: str

    @property
    def vectors(self) -> NDArray[Any]:
        """Vectors (N, D) of any samples: of images coarse pixels, float32."""
        if self.array.ndim == 2:
            return self.array
        return _coarse_pixels(self.array)


def samples_of(project: Project) -> Samples:
    """Return a project's samples, in order; what takes long was kept.

    Raises:
        InputError: If the data are not where they were, or changed.
    """
    form, sources, embed = project.settings.form, project.state.sources, project.settings.embed
    if form == FILES:
        for source in sources:
            check_files(project, source)
        if embed is None:
            files = [file for source in sources for file in _files(project, source)]
            return Samples(_decode(project.path, files, project.settings.image_size), "auto")
        parts = [_embedded(project, source, embed) for source in sources]
        return _as_embeddings(np.concatenate(parts))
    read = [checked_source(project, source) for source in sources]
    if form == TEXTS:
        texts = [text for source in read for text in source.texts]
        return _as_embeddings(text_vectors(project.path, texts, embed, project.settings.seed))
    arrays = [source.array for source in read if source.array is not None]
    check_alike(arrays, [project.locate(source) for source in sources])
    if embed is not None:
        return _as_embeddings(np.concatenate([_embedded(project, source, embed) for source in sources]))
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return Samples(array, resolve_scaling("auto", array).name if array.ndim == 2 else "auto")


def image_sizes(folder: Path, names: Sequence[str]) -> list[tuple[int, int]]:
    """Return width and height of image files."""
    from PIL import Image

    sizes = []
    for name in names:
        with Image.open(folder / name) as image:
            sizes.append(image.size)
    return sizes


def usual_size(sizes: Sequence[tuple[int, int]], embed: str | None) -> str | None:
    """Return the size to bring image files to where none is asked for; None if all have one small size.

    With an embedding model the usual one of published weights, else at most what ``patches`` use, or the small network
    for images.

    Args:
        sizes: Width and height of each file.
        embed: The embedding model.
    """
    if embed not in (None, PATCHES):
        return f"{USUAL_SIDE}x{USUAL_SIDE}"
    most = SMALL_IMAGE if embed is None else MOST_SIDE
    if len(set(sizes)) == 1 and max(sizes[0]) <= most:
        return None
    side = min(most, int(np.median([min(size) for size in sizes])))
    return f"{side}x{side}"


def text_vectors(folder: Path, texts: Sequence[str], embed: str | None, seed: int) -> NDArray[np.float32]:
    """Return vectors of texts, float32 (N, D): TF-IDF of words and pairs, reduced by a truncated SVD (LSA).

    With ``embed``, the embeddings of that model of sentence-transformers instead.

    Args:
        folder: For the cache.
        texts: At least one.
        embed: Name of the model, or None.
        seed: Of the SVD.

    Raises:
        InputError: If sentence-transformers is needed and not installed, or the texts have no words.
    """
    key = checksum_of_value([_TEXT_FORMAT, embed, seed, list(texts)])

    def make() -> ArrayBlocks:
        vectors = _tf_idf(texts, seed) if embed is None else _sentence_embeddings(texts, embed)
        return ArrayBlocks(vectors.shape, vectors.dtype, [vectors])

    return cached_array(folder, key, len(texts), make)


def _tf_idf(texts: Sequence[str], seed: int) -> NDArray[np.float32]:
    vectors = TextVectors(seed)
    try:
        return vectors.fit_transform(texts)
    except ValueError as error:
        raise InputError(f"the texts hold no words to learn from ({error_message(error)})") from error


def _sentence_embeddings(texts: Sequence[str], model: str) -> NDArray[np.float32]:
    try:
        return SentenceModel(model).embed(texts)
    except InputError as error:
        raise InputError(f"--embed {model}: {error}; or leave --embed out") from error


def _as_embeddings(array: NDArray[Any]) -> Samples:
    return Samples(array, resolve_scaling("auto", array, is_embeddings=True).name)


def _files(project: Project, source: SourceRecord) -> list[ImageFile]:
    folder = files_folder(project, source).resolve()
    return [ImageFile(str(folder / name), "", file_state((folder / name).stat())) for name in source.ids]


def _decode(origin: Path, files: Sequence[ImageFile], image_size: str | None) -> NDArray[Any]:
    """Return the pixels of image files, uint8 (N, H, W, C); their paths are absolute."""
    try:
        return decoded_images(origin, Path(), files, read_image_size(image_size))[0]
    except MixedSizesError as error:
        raise InputError(f"{error}; the size of a project is fixed by deepal label init") from error


def _embedded(project: Project, source: SourceRecord, embed: str) -> NDArray[np.float32]:
    """Return the embeddings of a source's samples, float32 (n, D)."""
    settings = project.settings
    key, model = [embed, settings.image_size, source.fingerprint], embed
    if embed == PATCHES:
        dictionary = _dictionary(project)
        key, model = [*key, checksum_of_file(dictionary)], str(dictionary)
    return _kept(project, str(source.number), checksum_of_value(key),
                 lambda: embed_samples(_to_embed(project, source), model, device=settings.device))  # fmt: skip


def _to_embed(project: Project, source: SourceRecord) -> NDArray[Any]:
    """Return what a source's embeddings are computed from: images uint8 (n, H, W, C), or vectors (n, D)."""
    if project.settings.form == FILES:
        origin = project.path / EMBEDDINGS / str(source.number)
        images = _decode(origin, _files(project, source), project.settings.image_size)
        # One model for all sources: it gets three channels.
        return np.broadcast_to(images, (*images.shape[:3], 3)) if images.shape[3] == 1 else images
    array = checked_source(project, source).array
    assert array is not None
    return array


def _dictionary(project: Project) -> Path:
    """Return the file of the project's patches, learned from the first source if there is none, or it is damaged."""
    path = project.path / EMBEDDINGS / DICTIONARY
    if path.exists():
        try:
            load_patches(path)
            return path
        except InputError:
            logger.warning("%s cannot be read: it is learned from the images again", path)
    write_patches(_to_embed(project, project.state.sources[0]), path, seed=project.settings.seed)
    return path


def _kept(
    project: Project, name: str, key: str, make: Callable[[], NDArray[np.float32]]
) -> NDArray[np.float32]:  # fmt: skip
    """Return the array that the project keeps under a name and key, made if there is none, or it is damaged."""
    path = project.path / EMBEDDINGS / f"{name}.npz"
    try:
        with zipfile.ZipFile(path) as archive:
            members = member_names(path, archive)
            arrays = read_members(path, archive, members)
            verify_member(archive, members["x"])
        if str(arrays["key"]) == key:
            return np.asarray(arrays["x"])
    except FileNotFoundError:
        pass
    except Exception as error:  # a damaged archive raises anything
        logger.warning("%s cannot be read (%s): it is computed again", path, error_message(error))
    made = make()
    write_npz(path, {"x": made, "key": np.array(key)})
    return made


def _coarse_pixels(images: NDArray[np.uint8], side: int = 8) -> NDArray[np.float32]:
    """Return images, uint8 (N, H, W, C), averaged over at most 8×8 blocks, as vectors in [0, 1]."""
    height, width = images.shape[1:3]
    rows, columns = min(side, height), min(side, width)
    starts = np.arange(rows) * height // rows, np.arange(columns) * width // columns
    areas = np.outer(np.diff([*starts[0], height]), np.diff([*starts[1], width]))
    sums = [np.add.reduceat(np.add.reduceat(image.astype(np.float32), starts[0], axis=0), starts[1], axis=1)
            for image in images]  # fmt: skip
    scale = (255 * areas[..., np.newaxis]).astype(np.float32)
    return np.stack([(block / scale).ravel() for block in sums]).astype(np.float32)
