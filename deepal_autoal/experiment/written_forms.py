"""How samples and classes are written where a learner is used, and what they are for the engine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.datasets.user_data.preparation import Preparation
from deepal_autoal.datasets.user_data.raw_samples import raw_samples
from deepal_autoal.errors import InputError
from deepal_autoal.numerics.arrays import as_array
from deepal_autoal.run_settings import whole_number
from deepal_autoal.training.samples import CheckedSamples, as_samples

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


class WrittenForms:
    """The forms of a learner's samples and labels.

    Args:
        pool: The pool as it was given: an array, a data frame, a sparse matrix, texts or a torch dataset.
        n_classes: Number of classes; by default that of the names.
        class_names: Their names, if labels are given and predicted by name.
        text_model: What embeds texts (see `resolve_text_model`).

    Attributes:
        samples: The pool's samples: images uint8 (N, H, W, C), or vectors (N, D).
        n_classes: Number of classes.
        class_names: Their names; empty without.
        preparation: How features are made of samples, JSON-able; empty if they are the features.
        is_embeddings: Whether the features are of one kind, as of texts.

    Raises:
        InputError: If the pool cannot be used, or the names are not one a class.
    """

    def __init__(
        self, pool: Any, n_classes: int | None, class_names: Sequence[str] | None, text_model: str | None = None
    ) -> None:
        self._preparation: Preparation | None = None
        self._wanted_text_model = text_model
        self.samples = self._read(pool)
        self.class_names = () if class_names is None else tuple(map(str, class_names))
        if n_classes is None and not self.class_names:
            raise InputError("give n_classes, the number of classes, or class_names")
        # Class numbers by name, if all names are whole numbers.
        self._whole_names = _whole_names(self.class_names)
        self.n_classes = len(self.class_names) if n_classes is None else whole_number("n_classes", n_classes)
        if self.n_classes < 2:
            raise InputError(f"n_classes is {self.n_classes}; at least two are needed")
        if self.class_names and len(set(self.class_names)) != self.n_classes:
            raise InputError(
                f"class_names holds {len(set(self.class_names))} different names for {self.n_classes} classes"
            )

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
        raw = raw_samples(pool, "pool")
        self._preparation = Preparation(raw, "pool", self._wanted_text_model)
        return as_samples(self._preparation.transform(raw, is_kept=True), "pool")

    def prepare(self, samples: Any) -> Any:
        """Return features of samples in the pool's form.

        Raises:
            InputError: If they have another form.
        """
        if self._preparation is None or isinstance(samples, CheckedSamples):
            return samples
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
