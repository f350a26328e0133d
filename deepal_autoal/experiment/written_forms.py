"""How samples and classes are written where a learner is used, and what they are for the engine."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.datasets.user_data.given_data import labeled_parts
from deepal_autoal.datasets.user_data.labels import class_order, encode_integers
from deepal_autoal.datasets.user_data.preparation import Preparation
from deepal_autoal.datasets.user_data.raw_samples import (
    RawSamples,
    frame_samples,
    is_frame,
    is_torch_dataset,
    raw_samples,
)
from deepal_autoal.datasets.user_data.written_labels import is_usual_target
from deepal_autoal.errors import InputError
from deepal_autoal.numerics.arrays import as_array
from deepal_autoal.run_settings import whole_number
from deepal_autoal.training.samples import CheckedSamples, as_samples

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

logger = logging.getLogger(__name__)


class WrittenForms:
    """The forms of a learner's samples and labels.

    Args:
        pool: The pool as it was given: an array, a data frame, a sparse matrix, texts or a torch dataset, or samples
            with labels (see `labeled_parts`).
        n_classes: Number of classes; by default that of the names or labels.
        class_names: Their names, if labels are given and predicted by name; by default those of the labels.
        text_model: What embeds texts (see `resolve_text_model`).
        target: Of a data frame: the column that holds the labels.

    Attributes:
        samples: The pool's samples: images uint8 (N, H, W, C), or vectors (N, D).
        n_classes: Number of classes.
        class_names: Their names; empty without.
        preparation: How features are made of samples, JSON-able; empty if they are the features.
        is_embeddings: Whether the features are of one kind, as of texts.
        known: Labels of the pool as class numbers, int64 (N,); None if it was given without.
        test: The test part's samples as `prepare` takes them, and labels likewise; None without one.

    Raises:
        InputError: If the pool cannot be used, or the names are not one a class.
    """

    def __init__(
        self, pool: Any, n_classes: int | None, class_names: Sequence[str] | None, text_model: str | None = None,
        target: str | None = None,
    ) -> None:  # fmt: skip
        self._preparation: Preparation | None = None
        self._wanted_text_model = text_model
        self._left_out: frozenset[str] = frozenset()
        parts = None if isinstance(pool, CheckedSamples) else labeled_parts(pool, target, "pool")
        self.samples = self._read(pool) if parts is None else self._features_of(parts[0])
        self.class_names = () if class_names is None else tuple(map(str, class_names))
        labels: NDArray[Any] | None = None
        if parts is not None:
            if is_frame(pool):
                self._left_out = frozenset(map(str, pool.columns)) - frozenset(parts[0].values)
            labels = self._take_names(parts[1], parts[3], n_classes)
        if n_classes is None and not self.class_names and labels is None:
            raise InputError("give n_classes, the number of classes, or class_names")
        # Class numbers by name, if all names are whole numbers.
        self._whole_names = _whole_names(self.class_names)
        if n_classes is not None:
            self.n_classes = whole_number("n_classes", n_classes)
        else:
            self.n_classes = len(self.class_names) or int(labels.max()) + 1  # type: ignore[union-attr]
        if self.n_classes < 2:
            raise InputError(f"n_classes is {self.n_classes}; at least two are needed")
        if self.class_names and len(set(self.class_names)) != self.n_classes:
            raise InputError(
                f"class_names holds {len(set(self.class_names))} different names for {self.n_classes} classes"
            )
        self.known: NDArray[np.int64] | None = None
        self.test: tuple[Any, Any] | None = None
        if parts is not None and labels is not None:
            is_torch = is_torch_dataset(pool)
            self.known = self._class_numbers(labels, "pool: y", may_fail=is_torch)
            if parts[2] is not None:
                x_test, y_test = parts[2]
                found = self._class_numbers(self._in_own_names(y_test, parts[3]), "pool: y_test")
                preparation: Any = self._preparation
                self.test = CheckedSamples(as_samples(preparation.transform(x_test), "pool: X_test")), found

    def _take_names(self, y: NDArray[Any], names: Sequence[str] | None, n_classes: int | None) -> NDArray[Any]:
        """Take class names from labels or data if none are given, and return the labels as `numbers` takes them.

        Args:
            y: As `written_labels` returns them.
            names: Of the data, by number.
            n_classes: As given.
        """
        if not self.class_names and names is not None and (n_classes is None or n_classes == len(names)):
            self.class_names = tuple(map(str, names))
        if not self.class_names and y.dtype == object:
            self.class_names = class_order(y.tolist())
        elif not self.class_names and n_classes is None:
            names_of_numbers = encode_integers(y, y, "pool: y")[2]
            if names_of_numbers == tuple(map(str, range(len(names_of_numbers)))):
                return y
            self.class_names = names_of_numbers
        return self._in_own_names(y, names)

    def _in_own_names(self, y: NDArray[Any], names: Sequence[str] | None) -> NDArray[Any]:
        """Return labels by name where they are numbers of the data's names: numbers could be names too."""
        if names is None or tuple(map(str, names)) != self.class_names or y.dtype == object:
            return y
        inside = (y >= 0) & (y < len(names))
        return np.array([self.class_names[row] if ok else row for row, ok in zip(y.tolist(), inside, strict=True)],
                        dtype=object)  # fmt: skip

    def _class_numbers(self, labels: NDArray[Any], what: str, may_fail: bool = False) -> NDArray[np.int64] | None:
        """Return labels as class numbers; None where labels that belong to none may be left out of account."""
        try:
            found = np.asarray(self.numbers(labels.tolist() if labels.dtype == object else labels), dtype=np.int64)
            outside = np.flatnonzero((found < 0) | (found >= self.n_classes))
            if len(outside):
                row = int(outside[0])
                raise InputError(f"label {found[row]} in row {row} is none of 0 to {self.n_classes - 1}")
        except InputError as error:
            if may_fail:
                return None
            raise InputError(f"{what}: {error}") from None
        return found

    @property
    def preparation(self) -> dict[str, Any]:
        """How features are made of samples, JSON-able."""
        return {} if self._preparation is None else self._preparation.description

    @property
    def is_embeddings(self) -> bool:
        """Whether the features are of one kind, which must not be scaled individually."""
        return self._preparation is not None and self._preparation.is_embeddings

    @property
    def text_model(self) -> str:
        """What made vectors of texts; empty without texts."""
        return "" if self._preparation is None else self._preparation.text_model

    def _read(self, pool: Any) -> NDArray[Any]:
        if isinstance(pool, CheckedSamples):
            return pool.array
        if is_frame(pool):
            for column in filter(is_usual_target, map(str, pool.columns)):
                logger.warning("pool: column %r is taken as a feature; if it holds the labels, give target=%r", column,
                               column)  # fmt: skip
        return self._features_of(raw_samples(pool, "pool"))

    def _features_of(self, raw: RawSamples) -> NDArray[Any]:
        self._preparation = Preparation(raw, "pool", self._wanted_text_model)
        return as_samples(self._preparation.transform(raw, is_kept=True), "pool")

    def prepare(self, samples: Any) -> Any:
        """Return features of samples in the pool's form.

        Raises:
            InputError: If they have another form.
        """
        if self._preparation is None or isinstance(samples, CheckedSamples):
            return samples
        if is_frame(samples):
            left_out = [column for column in samples.columns if str(column) in self._left_out]
            return self._preparation.transform(frame_samples(samples, "samples", left_out))
        return self._preparation.transform(raw_samples(samples, "samples"))

    def numbers(self, labels: Any) -> ArrayLike:
        """Return labels as class numbers; those that are no names are returned as they are.

        A whole number is a name where all names are whole numbers or their texts, else a class number.

        Raises:
            InputError: If a label is a name, but no class has it.
        """
        if self._whole_names:
            labels = np.atleast_1d(as_array(labels, "labels")).tolist()
        # A tensor has no texts, and not every one of them becomes an array.
        is_tensor = hasattr(labels, "is_sparse")
        written = [] if is_tensor or not hasattr(labels, "__iter__") else list(labels)
        if not self._whole_names and not any(isinstance(label, str) for label in written):
            return labels  # type: ignore[no-any-return]
        known: dict[Any, int] = {name: number for number, name in enumerate(self.class_names)}
        known.update(self._whole_names)
        unknown = [
            label for label in written if type(label) is bool or not isinstance(label, str | int) or label not in known
        ]
        if unknown:
            shown = ", ".join(self.class_names[:10]) if known else "none: create the learner with class_names=[...]"
            raise InputError(f"the label {unknown[0]!r} is the name of no class; the names are {shown}")
        return [known[label] for label in written]

    def written(self, classes: NDArray[np.int64]) -> NDArray[Any]:
        """Return classes by name, str (n,), if they have names, else as they are."""
        return np.array(self.class_names)[classes] if self.class_names else classes


def _whole_names(names: Sequence[str]) -> dict[int, int]:
    try:
        found = {int(name): number for number, name in enumerate(names)}
    except ValueError:
        return {}
    return found if len(found) == len(names) else {}
