"""The task model as scikit-activeml's classifier, and several models as its ensemble: fitted already, and looked up.

scikit-activeml passes rows of X to a classifier, not their numbers. How they are looked up: rows of which all come in
the order of the candidates or of the labeled samples, as most strategies pass them, are recognized as a whole; others
are found by their content. Rows that are no sample's, such as those that DropQuery sets to zero in part, are passed
through the model's last layer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from skactiveml.base import SkactivemlClassifier
from skactiveml.utils import MISSING_LABEL

from deepal_autoal.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# How much the probabilities of equal samples may differ, by rounding in different places of a matrix.
_ROUNDING = 1e-3


class KnownSamples:
    """The rows of X, looked up.

    Args:
        samples: All of them, (N, D).
        orders: Row numbers in the orders in which samples are usually passed.
    """

    def __init__(self, samples: NDArray[Any], orders: Sequence[NDArray[np.int64]]) -> None:
        self.samples = samples
        self._orders = orders
        self._by_content: dict[bytes, int] = {}
        self._first: NDArray[np.int64] | None = None

    def in_order(self, samples: NDArray[Any]) -> NDArray[np.int64] | None:
        """Return the numbers of rows that are passed in a usual order, (n,), or None if they are not."""
        for rows in self._orders:
            if len(rows) == len(samples) and np.array_equal(self.samples[rows], samples):
                return rows
        return None

    @property
    def first_equal(self) -> NDArray[np.int64]:
        """The number of the first row that is equal to each row, (N,)."""
        if self._first is None:
            contents = map(np.ndarray.tobytes, self.samples)
            self._first = np.array([self._by_content.setdefault(item, row) for row, item in enumerate(contents)])
        return self._first

    def by_content(self, samples: NDArray[Any]) -> NDArray[np.int64]:
        """Return the number of the first equal row for each, (n,); -1 where there is none."""
        assert len(self.first_equal) == len(self.samples)
        same_type = samples.astype(self.samples.dtype, copy=False)
        return np.array([self._by_content.get(row.tobytes(), -1) for row in same_type], dtype=np.int64)


class ModelClassifier(SkactivemlClassifier):  # type: ignore[misc]  # scikit-activeml is untyped
    """A fitted model whose probabilities are looked up.

    Args:
        known: The rows of X.
        probabilities: Their class probabilities, float64 (N, C).
        embeddings: Their embeddings, (N, D), for strategies that ask for these too; None if they are X.
        head: Returns probabilities (n, C) of rows that are no sample's, or raises a QueryError.
        missing_label: What an unknown label is.
    """

    def __init__(
        self,
        known: KnownSamples,
        probabilities: NDArray[np.float64],
        embeddings: NDArray[Any] | None = None,
        head: Callable[[NDArray[Any]], NDArray[np.float64]] | None = None,
        missing_label: Any = MISSING_LABEL,
    ) -> None:
        super().__init__(classes=np.arange(probabilities.shape[1]), missing_label=missing_label)
        self.known = known
        self.probabilities = probabilities
        self.embeddings = embeddings
        self.head = head
        self.classes_ = self.classes

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> ModelClassifier:
        """Refuse: the task model is trained by the run."""
        raise InputError("it trains its classifier during the query: give one of scikit-activeml's, as `clf=`")

    def predict_proba(self, X: Any, **flags: Any) -> Any:
        """Return probabilities (n, C), with embeddings (n, D) if a flag asks for them; copies."""
        samples = np.asarray(X)
        rows = self.known.in_order(samples)
        if rows is None:
            rows = self.known.by_content(samples)
            self._require_distinct(rows)
        found = self.probabilities[rows]
        is_unknown = rows < 0
        if is_unknown.any():
            if self.head is None:
                raise InputError("it changes samples and asks for their classes, which takes features='embeddings'")
            found[is_unknown] = self.head(samples[is_unknown])
        if not any(flags.values()):
            return found
        return found, samples.copy() if self.embeddings is None else self.embeddings[rows]

    def predict(self, X: Any, **flags: Any) -> Any:
        """Return the classes of the highest probability, (n,), and likewise embeddings."""
        found = self.predict_proba(X, **flags)
        if isinstance(found, tuple):
            return self.classes_[found[0].argmax(axis=1)], *found[1:]
        return self.classes_[found.argmax(axis=1)]

    def _require_distinct(self, rows: NDArray[np.int64]) -> None:
        """Raise an InputError if a row can be either of two samples of which the model thinks differently."""
        first = self.known.first_equal
        is_asked = np.zeros(len(first), dtype=bool)
        is_asked[rows[rows >= 0]] = True
        difference = np.abs(self.probabilities - self.probabilities[first]).max(axis=1, initial=0)
        wrong = np.flatnonzero(is_asked[first] & (difference > _ROUNDING))
        if len(wrong):
            raise InputError(
                f"samples {first[wrong[0]]} and {wrong[0]} of X have the same features and different probabilities, "
                "and it passes them to the classifier in an order of its own: leave one of them out"
            )


class ModelCommittee(ModelClassifier):
    """Fitted models as an ensemble.

    Args:
        known: The rows of X.
        members: Their class probabilities, float64 (members, N, C).
        missing_label: What an unknown label is.
    """

    def __init__(self, known: KnownSamples, members: NDArray[np.float64], missing_label: Any = MISSING_LABEL) -> None:
        super().__init__(known, members.mean(axis=0), missing_label=missing_label)
        self.members = members
        self.estimators_ = [ModelClassifier(known, member, missing_label=missing_label) for member in members]
        self.n_estimators = len(self.estimators_)
