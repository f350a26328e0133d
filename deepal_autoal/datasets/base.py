"""`Dataset`: training and test arrays with their labels, checked once."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.numerics.arrays import as_array
from deepal_autoal.numerics.row_blocks import first_unusable_of_block, first_unusable_row, read_rows
from deepal_autoal.training.recipe import AUGMENTATIONS, OWN_AUGMENTATION
from deepal_autoal.training.samples import check_channels_last

FEATURE_DTYPES = ("float16", "float32", "float64")

logger = logging.getLogger(__name__)


class NonFiniteError(InputError):
    """A feature is NaN, infinite or outside float32's range.

    Attributes:
        array: The array's field name in `Dataset`, for example ``"x_train"``.
        row: The first such row.
    """

    def __init__(self, dataset: str, array: str, row: int) -> None:
        super().__init__(
            f"dataset {dataset!r}: {array} holds NaN, infinite or beyond-float32 values, first in row {row}; "
            "remove or replace them"
        )
        self.array = array
        self.row = row


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Images or feature vectors with labels, in a training split (the pool) and a test split.

    The arrays may be read-only memory maps; maps of ``.npz`` members may not be aligned to their item size. Copy rows
    (``array[indices]``) before passing them to torch.

    Attributes:
        name: Used in folder names and tables.
        x_train: Images, uint8 (N, H, W, C) with any number of channels (C = 1 for grayscale), or vectors,
            float16/32/64 (N, D), finite.
        y_train: int64 (N,) in 0..n_classes-1. Integer arrays of another width are converted.
        x_test: Like ``x_train``: same dtype, same shape except for N.
        y_test: Like ``y_train``.
        class_names: One per class, in the order of the labels.
        augmentation: What the default recipe applies, a subset of ``crop``, ``flip``, ``rotate``, ``affine`` and
            ``jitter``, in this order. By default images are shifted a little (``crop``): only their owner knows
            which other changes preserve the labels (a flipped digit is not a digit).
        source: Where the data came from, for the record.
        ids_train: The samples' original names, for example file paths, str (N,), distinct; None if they have none.
        ids_test: Likewise.
        groups_test: For data whose accuracy also counts group by group, such as Waterbirds: each test sample's group,
            int64 (N,) in 0..len(group_names)-1. Runs then record the accuracy of each group and of the worst one;
            strategies never see groups.
        group_names: Their names, distinct.
        rows_train: For training samples without names that were split off a larger array, their rows there, int (N,).
        is_embeddings: Whether the vectors are a model's embeddings: features of one kind, which must not be scaled
            individually.
        preparation: How the features were made of the data, by column, for the record; empty if they are the data.
        text_model: The name of what made vectors of texts, ``tf-idf`` or a model of sentence-transformers; empty
            without texts.
        skipped: Files of the data that could not be used and were left out on request.

    Raises:
        InputError: If an array does not have this form, or fewer than two classes occur in ``y_train``.
    """

    name: str
    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    class_names: tuple[str, ...]
    augmentation: tuple[str, ...] = None  # type: ignore[assignment]
    source: dict[str, str] = field(default_factory=dict)
    ids_train: np.ndarray | None = None
    ids_test: np.ndarray | None = None
    is_embeddings: bool = False
    skipped: tuple[str, ...] = ()
    rows_train: np.ndarray | None = None
    groups_test: np.ndarray | None = None
    group_names: tuple[str, ...] = ()
    preparation: Mapping[str, Any] = field(default_factory=dict)
    text_model: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_names", tuple(str(name) for name in self.class_names))
        if len(set(self.class_names)) != len(self.class_names):
            raise self._error("class_names contains a duplicate; give every class its own name")
        for split in ("train", "test"):
            self._check_inputs(f"x_{split}")
            self._check_labels(f"y_{split}", len(getattr(self, f"x_{split}")))
            self._check_ids(f"ids_{split}", len(getattr(self, f"x_{split}")))
        self._check_groups()
        if self.x_train.dtype != self.x_test.dtype or self.x_train.shape[1:] != self.x_test.shape[1:]:
            raise self._error(
                f"x_train is {_form(self.x_train)} but x_test is {_form(self.x_test)}; use one dtype and sample shape"
            )
        default = OWN_AUGMENTATION if self.is_image else ()
        object.__setattr__(self, "augmentation", default if self.augmentation is None else tuple(self.augmentation))
        if not set(self.augmentation) <= set(AUGMENTATIONS) or (self.augmentation and not self.is_image):
            raise self._error(f"augmentation must be a subset of {sorted(AUGMENTATIONS)}, for images only")
        if self.is_embeddings and self.is_image:
            raise self._error("is_embeddings is for vectors, and these samples are images; leave it out")
        if self.is_read_only and not self.is_image:
            _ = self.fingerprint  # the one pass over the vectors also checks them
        elif not self.is_image:
            for name in ("x_train", "x_test"):
                row = first_unusable_row(getattr(self, name))
                if row is not None:
                    raise NonFiniteError(self.name, name, row)
        counts = self.class_counts
        present = [name for name, count in zip(self.class_names, counts, strict=True) if count]
        if len(present) < 2:
            raise self._error(f"only one class ({present[0]}) occurs in the training labels; at least two are needed")
        if len(present) < self.n_classes:
            absent = [name for name, count in zip(self.class_names, counts, strict=True) if not count]
            logger.warning(
                "dataset %r: %d of %d classes have no training sample (%s)",
                self.name, len(absent), self.n_classes, ", ".join(absent[:5]) + (", ..." if len(absent) > 5 else ""),
            )  # fmt: skip

    @property
    def is_image(self) -> bool:
        """Whether the samples are images (else feature vectors)."""
        return self.x_train.ndim == 4

    @property
    def is_read_only(self) -> bool:
        """Whether the samples cannot be changed through these arrays, as in memory maps of files."""
        return not (self.x_train.flags.writeable or self.x_test.flags.writeable)

    @property
    def n_classes(self) -> int:
        """The number of classes, including those without samples."""
        return len(self.class_names)

    @property
    def input_shape(self) -> tuple[int, ...]:
        """The shape of one model input: (C, H, W) for images, (D,) for vectors."""
        if self.is_image:
            height, width, channels = self.x_train.shape[1:]
            return (channels, height, width)
        return (self.x_train.shape[1],)

    @property
    def class_counts(self) -> list[int]:
        """Training samples per class."""
        return [int(count) for count in np.bincount(self.y_train, minlength=self.n_classes)]

    @cached_property
    def fingerprint(self) -> str:
        """A hex digest of all four arrays and the class names; the same for a memory map and its copy.

        Vectors are checked in the same pass: they may be larger than memory, and slow to read. Of arrays that can be
        changed later, it is the digest of what they hold when it is first asked for.
        """
        digest = hashlib.blake2b(digest_size=16)
        for name in ("x_train", "y_train", "x_test", "y_test"):
            array: np.ndarray = getattr(self, name)
            digest.update(f"{name} {array.dtype.newbyteorder('<').str} {array.shape}\n".encode())
            start = 0
            for rows in read_rows(array):
                unusable = first_unusable_of_block(rows) if rows.dtype.kind == "f" else None
                if unusable is not None:
                    raise NonFiniteError(self.name, name, start + unusable)
                start += len(rows)
                little = np.ascontiguousarray(rows, dtype=rows.dtype.newbyteorder("<"))
                digest.update(little.reshape(-1).view(np.uint8).data)
        digest.update("\0".join(self.class_names).encode("utf-8", "surrogatepass"))
        if self.groups_test is not None:
            digest.update(self.groups_test.tobytes() + "\0".join(self.group_names).encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def describe(self) -> dict[str, Any]:
        """Return the description for a run's record, JSON-able."""
        return {
            "name": self.name,
            "kind": "images" if self.is_image else "vectors",
            "n_train": len(self.x_train),
            "n_test": len(self.x_test),
            "n_classes": self.n_classes,
            "class_names": list(self.class_names),
            "class_counts": self.class_counts,
            "input_shape": list(self.input_shape),
            "dtype": str(self.x_train.dtype),
            **({"is_embeddings": True} if self.is_embeddings else {}),
            **({} if self.groups_test is None else {"test_groups": self._group_counts()}),
            "augmentation": list(self.augmentation),
            **({"skipped": list(self.skipped)} if self.skipped else {}),
            "fingerprint": self.fingerprint,
            "source": dict(self.source),
            **({"preparation": dict(self.preparation)} if self.preparation else {}),
        }

    def __repr__(self) -> str:
        return (
            f"Dataset({self.name!r}, x_train={_form(self.x_train)}, x_test={_form(self.x_test)}, "
            f"n_classes={self.n_classes})"
        )

    def _check_inputs(self, name: str) -> None:
        array = getattr(self, name)
        if not isinstance(array, np.ndarray):
            raise self._error(f"{name} is {type(array).__name__}; give a numpy array")
        if isinstance(array, np.matrix | np.ma.MaskedArray):
            array = as_array(array, f"dataset {self.name!r}: {name}")
            object.__setattr__(self, name, array)
        images = array.ndim == 4 and array.dtype == np.uint8
        if not images and not (array.ndim == 2 and array.dtype.name in FEATURE_DTYPES):
            raise self._error(f"{name} is {_form(array)}; give images uint8 (N, H, W, C) or vectors float (N, D)")
        if array.size == 0:
            raise self._error(f"{name} is empty: {_form(array)}; give at least one sample")
        if images:
            check_channels_last(array, f"dataset {self.name!r}: {name}")
        elif not array.dtype.isnative:
            object.__setattr__(self, name, array.astype(array.dtype.newbyteorder("=")))

    def _check_labels(self, name: str, n_samples: int) -> None:
        labels = as_array(getattr(self, name), f"dataset {self.name!r}: {name}")
        if labels.dtype.kind not in "iu" or labels.ndim != 1:
            raise self._error(f"{name} is {_form(labels)}; give integer class numbers of shape (N,)")
        if len(labels) != n_samples:
            raise self._error(f"{name} has {len(labels)} labels for {n_samples} samples; give one per sample")
        lowest, highest = int(labels.min()), int(labels.max())
        if lowest < 0 or highest >= self.n_classes:
            raise self._error(f"{name} holds labels {lowest}..{highest}; give class numbers 0..{self.n_classes - 1}")
        object.__setattr__(self, name, labels.astype(np.int64, copy=False))

    def _check_ids(self, name: str, n_samples: int) -> None:
        ids = getattr(self, name)
        if ids is None:
            return
        if isinstance(ids, np.ma.MaskedArray):
            ids = as_array(ids, f"dataset {self.name!r}: {name}")
            object.__setattr__(self, name, ids)
        if not isinstance(ids, np.ndarray) or ids.shape != (n_samples,) or ids.dtype.kind != "U":
            raise self._error(f"{name} must be an array of {n_samples} strings, one per sample")
        if len(np.unique(ids)) < n_samples:
            raise self._error(f"{name} contains a duplicate; give every sample its own name")

    def _check_groups(self) -> None:
        object.__setattr__(self, "group_names", tuple(str(name) for name in self.group_names))
        if self.groups_test is None:
            return
        groups = as_array(self.groups_test, f"dataset {self.name!r}: groups_test")
        n_groups = len(set(self.group_names))
        if groups.dtype.kind not in "iu" or groups.shape != (len(self.x_test),):
            raise self._error(f"groups_test is {_form(groups)}; give one integer per test sample")
        if n_groups < len(self.group_names) or groups.min() < 0 or groups.max() >= n_groups:
            raise self._error(f"groups_test holds {groups.min()}..{groups.max()}; give as many distinct group_names")
        object.__setattr__(self, "groups_test", groups.astype(np.int64, copy=False))

    def _group_counts(self) -> dict[str, int]:
        counts = np.bincount(np.asarray(self.groups_test), minlength=len(self.group_names))
        return {name: int(count) for name, count in zip(self.group_names, counts, strict=True)}

    def _error(self, message: str) -> InputError:
        return InputError(f"dataset {self.name!r}: {message}")


def _form(array: np.ndarray) -> str:
    return f"{array.dtype} {array.shape}"
