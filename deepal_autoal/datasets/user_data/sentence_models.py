"""Texts as embeddings of a model of sentence-transformers, or the decision for TF-IDF; no download without a word.

What runs, benchmarks and learners are given as ``text_model`` is resolved once, where there are texts: a name is that
model's, `TF_IDF` is none, and `AUTO` is the first of `AT_HAND` whose weights are on this machine, else `TF_IDF`. The
result is recorded, and a run that is continued takes it from its record.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.datasets.files.array_cache import ArrayBlocks, cached_array
from deepal_autoal.errors import InputError, error_message
from deepal_autoal.files import checksum_of_value

if TYPE_CHECKING:
    from numpy.typing import NDArray

AUTO, TF_IDF = "auto", "tf-idf"
AT_HAND = ("all-mpnet-base-v2", "all-MiniLM-L6-v2", "paraphrase-multilingual-MiniLM-L12-v2")
"""Models that `AUTO` looks for, the most accurate first by their authors' table (https://sbert.net); the first two are
for English."""
_ORGANIZATION = "sentence-transformers"  # of models whose name does not say one
_MANIFEST = "modules.json"  # which every published model has
_CACHE_FORMAT = "sentence embeddings 1"

logger = logging.getLogger(__name__)


def resolve_text_model(wanted: str | None) -> str:
    """Return the name of the model that embeds texts, or `TF_IDF`; nothing is downloaded.

    Args:
        wanted: A model's name or folder, `TF_IDF`, or `AUTO` or None.

    Raises:
        InputError: If it is no text.
    """
    if wanted is not None and not (isinstance(wanted, str) and wanted.strip()):
        raise InputError(f"text_model is {wanted!r}; give the name of a model of sentence-transformers, or {TF_IDF!r}")
    if wanted not in (None, AUTO):
        return str(wanted)
    found = next((name for name in AT_HAND if is_on_this_machine(name)), None)
    if found is None:
        logger.info("texts become TF-IDF vectors; --text-model NAME takes embeddings of sentence-transformers")
        return TF_IDF
    logger.info("texts are embedded by %s, whose weights are on this machine; not with --text-model %s", found, TF_IDF)
    return found


def is_on_this_machine(model: str) -> bool:
    """Return whether a model of sentence-transformers can be loaded without a download."""
    try:
        if importlib.util.find_spec("sentence_transformers") is None:
            return False
        hub = importlib.import_module("huggingface_hub")
    except (ImportError, ValueError):  # the latter: a module without a spec
        return False
    if os.path.isdir(os.path.expanduser(model)):
        return True
    try:
        # A path, a mark that the hub has no such file, or None.
        return isinstance(hub.try_to_load_from_cache(_repository(model), _MANIFEST), str)
    except Exception:  # of another package: what is no name of a repository, for example
        return False


class SentenceModel:
    """A model of sentence-transformers; it is loaded when it is needed.

    It computes on the CPU: embeddings are kept, and then do not depend on the device of the run that came first.

    Args:
        name: Its name, with or without an organization, or a folder.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    @cached_property
    def _model(self) -> Any:
        try:
            package = importlib.import_module("sentence_transformers")
        except ImportError:
            raise InputError(
                f"text model {self.name}: embeddings of texts need sentence-transformers: pip install "
                f"'deepal_autoal[text]'; {TF_IDF} needs nothing"
            ) from None
        is_here = is_on_this_machine(self.name)
        if not is_here:
            logger.warning("text model %s is not on this machine, and is downloaded now", self.name)
        path = os.path.expanduser(self.name)
        try:
            return package.SentenceTransformer(
                path if os.path.isdir(path) else self.name, device="cpu", local_files_only=is_here
            )
        except Exception as error:  # of another package: anything
            raise InputError(
                f"text model {self.name} cannot be loaded ({error_message(error)[:200]}): give its name as on the "
                f"Hugging Face hub, or the folder of a downloaded one, or {TF_IDF}"
            ) from error

    def embed(self, texts: Sequence[str], is_kept: bool = False) -> NDArray[np.float32]:
        """Return embeddings, float32 (N, D).

        Args:
            texts: At least one.
            is_kept: Whether to keep them in the cache folder, and to take them from there: a run that is continued
                gets the same numbers, and does not wait again.

        Raises:
            InputError: If the model cannot be loaded or fails.
        """
        if not is_kept:
            return self._encode(texts)
        key = checksum_of_value([_CACHE_FORMAT, self.name, list(texts)])

        def make() -> ArrayBlocks:
            vectors = self._encode(texts)
            return ArrayBlocks(vectors.shape, vectors.dtype, [vectors])

        # An origin of its own: a file with other texts of this model is not an older one.
        return cached_array(Path("texts", key), key, len(texts), make)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        model = self._model
        is_shown = sys.stderr is not None and sys.stderr.isatty()
        try:
            vectors = np.asarray(model.encode(list(texts), show_progress_bar=is_shown), dtype=np.float32)
        except Exception as error:
            raise InputError(f"text model {self.name} failed: {error_message(error)[:200]}") from error
        if vectors.shape[:1] != (len(texts),) or vectors.ndim != 2:
            raise InputError(f"text model {self.name} returned {vectors.shape} for {len(texts)} texts; give another")
        return vectors


def _repository(model: str) -> str:
    return model if "/" in model else f"{_ORGANIZATION}/{model}"
