"""Features of columns, texts and sparse matrices, by scikit-learn's own transformers.

They are fitted on the pool without its labels, and applied to it, to test data and to samples that are predicted
later. What was done is part of the run's record.

- *Numbers*: missing ones become the median of the pool, and an indicator is added if the pool lacks some, as by
  `SimpleImputer`.
- *Categories*, columns of few texts: one-hot; a missing value is a category, and one that the pool lacks is all zeros
  (`OneHotEncoder`). Of more than 100 values, the rarest share one.
- *Texts*, columns of many different texts of several words, and one called ``text``: TF-IDF of words and pairs of
  words, reduced to at most 128 dimensions by a truncated SVD (LSA), or the embeddings of a model of
  sentence-transformers (see `sentence_models`).
- *Sparse matrices*: dense up to 4096 columns, else reduced by the same SVD.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.datasets.user_data.raw_samples import (
    ARRAY,
    COLUMNS,
    SPARSE,
    TEXTS,
    RawSamples,
    frame_samples,
    is_frame,
    value_text,
)
from deepal_autoal.datasets.user_data.sentence_models import TF_IDF, SentenceModel, resolve_text_model
from deepal_autoal.errors import InputError, error_message

if TYPE_CHECKING:
    from numpy.typing import NDArray

TEXT = "text"
MOST_CATEGORIES = 100
TEXT_DIMENSIONS = 128
MOST_DENSE_COLUMNS = 4096
_FITTED_ON, _NUMBER = "fitted on", "number"
_LEAST_WORDS = 3.0
_VOCABULARY = 50_000


class Preparation:
    """What makes features of raw samples; fitted on a pool.

    Args:
        pool: The pool's samples.
        what: Their name in messages.
        text_model: What embeds texts (see `resolve_text_model`).

    Attributes:
        form: The form of samples that it takes.
        text_model: Its name, or `TF_IDF`; empty if there are no texts.
        description: What is done, JSON-able; empty if nothing is.
        is_embeddings: Whether its features are of one kind, which must not be scaled individually.

    Raises:
        InputError: If a column or the texts hold nothing to learn from.
    """

    def __init__(self, pool: RawSamples, what: str, text_model: str | None = None) -> None:
        self.form = pool.form
        self.text_model = ""
        self._what = what
        self._columns: dict[str, _Column] = {}
        self._dtype: np.dtype[Any] = np.dtype(pool.dtype)
        self._sentence_model: SentenceModel | None = None
        self.is_embeddings = False
        self.description: dict[str, Any] = {}
        if pool.form == ARRAY:
            self._dtype = _dtype_of_features(pool.values)
            if self._dtype != pool.values.dtype:
                self.description = {"array": f"{pool.values.dtype} as {self._dtype}"}
            return
        if pool.form == TEXTS:
            self._columns = {"text": self._texts(text_model)(np.array(pool.values, dtype=object), what)}
        elif pool.form == SPARSE:
            self._columns = {"matrix": _Sparse(pool.values)}
        else:
            for name, values in pool.values.items():
                kind = _kind_of(name, values, name in pool.is_category)
                made = self._texts(text_model) if kind is _Texts else kind
                self._columns[name] = made(values, f"{what}: column {name!r}")
        self.is_embeddings = all(isinstance(column, _Texts | _Sentences) for column in self._columns.values())
        self.description = {
            _FITTED_ON: "the pool, without labels",
            **{name: column.description for name, column in self._columns.items()},
        }

    def _texts(self, text_model: str | None) -> Callable[[NDArray[Any], str], _Column]:
        """Return what makes features of a column of texts, and note what it is."""
        self.text_model = self.text_model or resolve_text_model(text_model)
        if self.text_model == TF_IDF:
            return _Texts
        if self._sentence_model is None:
            self._sentence_model = SentenceModel(self.text_model)
        return partial(_Sentences, self._sentence_model)

    def transform(self, samples: RawSamples, is_kept: bool = False) -> NDArray[Any]:
        """Return features, float (N, D); of an array of images, the array.

        Columns are matched by name, in the pool's order. Where only one of pool and samples has names and all are
        numbers, they are matched by position.

        Args:
            samples: In the pool's form.
            is_kept: Whether embeddings of texts are kept in the cache folder.

        Raises:
            InputError: If the samples have another form or other columns than the pool.
        """
        samples = self._in_the_pools_form(samples)
        if samples.form != self.form:
            raise InputError(
                f"{self._what}: the pool is {_FORMS[self.form]}, but these samples are {_FORMS[samples.form]}"
            )
        if samples.form == ARRAY:
            is_number = samples.values.ndim == 2 and samples.values.dtype.kind in "iufb"
            with np.errstate(over="ignore"):  # what is infinite then is refused later
                return np.asarray(samples.values, dtype=self._dtype if is_number else None)
        values: Mapping[str, Any] = (
            samples.values if samples.form == COLUMNS else {next(iter(self._columns)): samples.values}
        )
        _check_columns(list(self._columns), values, self._what)
        parts = []
        for name, column in self._columns.items():
            try:
                parts.append(column.transform(values[name], is_kept))
            except InputError:
                raise
            except (TypeError, ValueError) as error:
                raise InputError(f"{self._what}: {name} does not fit the pool's ({error_message(error)})") from error
        return np.concatenate(parts, axis=1).astype(self._dtype)

    def _in_the_pools_form(self, samples: RawSamples) -> RawSamples:
        if samples.form == self.form:
            return samples
        if self.form == ARRAY and samples.form == COLUMNS and not samples.is_category:
            columns = list(samples.values.values())
            if all(column.dtype != object for column in columns):
                return RawSamples(ARRAY, np.stack(columns, axis=1))
        is_table = samples.form == ARRAY and samples.values.ndim == 2 and samples.values.dtype.kind in "iufb"
        if is_table and self.form == COLUMNS and all(isinstance(column, _Numbers) for column in self._columns.values()):
            if samples.values.shape[1] != len(self._columns):
                raise InputError(
                    f"{self._what}: these samples have {samples.values.shape[1]} columns, the pool has "
                    f"{len(self._columns)}; give the columns of the pool"
                )
            return RawSamples(COLUMNS, dict(zip(self._columns, samples.values.T.astype(np.float64), strict=True)))
        return samples


def features_as_recorded(samples: Any, recorded: Mapping[str, Any]) -> Any:
    """Return samples for a model of which only the description of its `Preparation` is at hand.

    The columns of a frame are matched by name if all are numbers that were used as they are; anything but a frame is
    returned.

    Raises:
        InputError: If it is a frame with other columns, or if features were made of some.
    """
    if _FITTED_ON not in recorded or not is_frame(samples):
        return samples
    names = [name for name in recorded if name != _FITTED_ON]
    columns = frame_samples(samples, "samples").values
    _check_columns(names, columns, "samples")
    made = next((name for name in names if recorded[name] != _NUMBER or columns[name].dtype == object), None)
    if made is not None:
        raise InputError(
            f"samples: features were made of the column {made!r} ({recorded[made]}), which a run folder cannot repeat; "
            "give the features as an array, or predict with an ActiveLearner"
        )
    return np.stack([columns[name] for name in names], axis=1)


def _check_columns(expected: Sequence[str], given: Mapping[str, Any], what: str) -> None:
    known = set(expected)
    both = (
        ([name for name in expected if name not in given], "missing"),
        ([name for name in given if name not in known], "additional"),
    )
    found = " and ".join(f"{_listed(names)} {how}" for names, how in both if names)
    if found:
        raise InputError(f"{what}: {found}; give the columns of the pool")


def _listed(names: Sequence[str]) -> str:
    if len(names) == 1:
        return f"the column {names[0]!r} is"
    return f"the columns {', '.join(map(repr, names[:10]))}{', ...' if len(names) > 10 else ''} are"


def _dtype_of_features(array: NDArray[Any]) -> np.dtype[Any]:
    """Return float32 for vectors of whole numbers; images have more axes."""
    return np.dtype(np.float32) if array.ndim == 2 and array.dtype.kind in "iub" else array.dtype


_FORMS = {ARRAY: "an array", COLUMNS: "a table", SPARSE: "a sparse matrix", TEXTS: "texts"}


class _Column:
    """Makes features of one column."""

    description: str

    def transform(self, values: Any, is_kept: bool = False) -> NDArray[Any]:
        """Return features (N, d)."""
        raise NotImplementedError


def _kind_of(name: str, values: NDArray[Any], is_category: bool) -> Callable[[NDArray[Any], str], _Column]:
    if values.dtype != object:
        return _Numbers
    present = [value for value in values if value is not None]
    words = np.mean([len(value.split()) for value in present]) if present else 0.0
    is_varied = words >= _LEAST_WORDS and len(set(present)) > max(20, len(present) // 20)
    is_text = not is_category and (is_varied or name.lower() == TEXT)
    return _Texts if is_text else _Categories


class _Numbers(_Column):
    def __init__(self, values: NDArray[np.float64], what: str) -> None:
        self._what = what
        is_missing = np.isnan(values)
        self._median = float(np.median(values[~is_missing])) if not is_missing.all() else 0.0
        self._is_marked = bool(is_missing.any())
        self.description = _NUMBER
        if self._is_marked:
            self.description += f"; {is_missing.sum()} missing ones are {self._median:g}, the median, and marked"

    def transform(self, values: Any, is_kept: bool = False) -> NDArray[Any]:
        values = np.asarray(values, dtype=np.float64)
        if (np.abs(values) > np.finfo(np.float32).max).any():  # infinite ones too; missing ones are not
            raise InputError(f"{self._what} holds infinite or beyond-float32 values; remove or replace them")
        is_missing = np.isnan(values)
        filled = np.where(is_missing, self._median, values)
        return np.stack([filled, is_missing] if self._is_marked else [filled], axis=1)


class _Categories(_Column):
    def __init__(self, values: NDArray[Any], what: str) -> None:
        from sklearn.preprocessing import OneHotEncoder

        texts = _filled(values)
        number = len(set(texts.ravel().tolist()))
        self._encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES, sparse_output=False, dtype=np.float32
        )
        self._encoder.fit(texts)
        rare = f", the rarest {number - MOST_CATEGORIES + 1} as one" if number > MOST_CATEGORIES else ""
        self.description = f"category; one-hot of {number} values{rare}"
        if None in values.tolist():
            self.description += ", of which one is missing"

    def transform(self, values: Any, is_kept: bool = False) -> NDArray[Any]:
        return np.asarray(self._encoder.transform(_filled(values)))


def _filled(values: NDArray[Any]) -> NDArray[Any]:
    """Return texts (N, 1), numbers written out and missing values empty."""
    if values.dtype != object:
        values = np.array([None if np.isnan(value) else value_text(value) for value in values], dtype=object)
    return np.array([["" if value is None else value] for value in values], dtype=object)


class _Texts(_Column):
    def __init__(self, values: NDArray[Any], what: str) -> None:
        self._vectors = TextVectors()
        try:
            n_features = self._vectors.fit_transform([value or "" for value in values]).shape[1]
        except ValueError as error:
            raise InputError(f"{what}: the texts hold no words to learn from ({error_message(error)})") from error
        self.description = f"text; TF-IDF of words and pairs, a truncated SVD of {n_features} dimensions"

    def transform(self, values: Any, is_kept: bool = False) -> NDArray[Any]:
        return self._vectors.transform([value or "" for value in values])


class _Sentences(_Column):
    def __init__(self, model: SentenceModel, values: NDArray[Any], what: str) -> None:
        self._model = model
        # Computed here, so that a model that cannot be loaded is an error of the pool.
        n_features = self.transform(values, is_kept=True).shape[1]
        self.description = f"text; embeddings of {model.name} (sentence-transformers), {n_features} dimensions"

    def transform(self, values: Any, is_kept: bool = False) -> NDArray[Any]:
        return self._model.embed([value or "" for value in values], is_kept)


class TextVectors:
    """TF-IDF of words and pairs of words, reduced by a truncated SVD (LSA).

    Args:
        seed: Of the SVD.
    """

    def __init__(self, seed: int = 0) -> None:
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._seed = seed
        self._tf_idf = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=_VOCABULARY)
        self._svd: Any = None

    def fit_transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Fit it to texts, and return their vectors, float32 (N, D).

        Raises:
            ValueError: If they hold no words.
        """
        counts = self._tf_idf.fit_transform(texts)
        self._svd = _unfitted_svd(counts.shape, self._seed)
        return np.asarray(counts.toarray() if self._svd is None else self._svd.fit_transform(counts), dtype=np.float32)

    def transform(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return vectors of other texts, float32 (N, D)."""
        return _reduced(self._tf_idf.transform(texts), self._svd)


class _Sparse(_Column):
    def __init__(self, matrix: Any) -> None:
        self._svd, dimensions = None, matrix.shape[1]
        if dimensions > MOST_DENSE_COLUMNS:
            self._svd = _unfitted_svd(matrix.shape, 0)
            if self._svd is not None:
                dimensions = self._svd.fit(matrix).n_components
        how = "made dense" if self._svd is None else f"a truncated SVD of {dimensions} dimensions"
        self.description = f"sparse matrix of {matrix.shape[1]} columns; {how}"
        self._n_columns = matrix.shape[1]

    def transform(self, values: Any, is_kept: bool = False) -> NDArray[Any]:
        if values.shape[1] != self._n_columns:
            raise ValueError(f"{values.shape[1]} columns, not {self._n_columns}")
        return _reduced(values, self._svd)


def _unfitted_svd(shape: tuple[int, int], seed: int) -> Any:
    """Return a truncated SVD for a matrix, or None where it has too few rows or columns."""
    from sklearn.decomposition import TruncatedSVD

    dimensions = min(TEXT_DIMENSIONS, shape[1] - 1, shape[0] - 1)
    return TruncatedSVD(dimensions, random_state=seed) if dimensions >= 1 else None


def _reduced(matrix: Any, svd: Any) -> NDArray[np.float32]:
    return np.asarray(matrix.toarray() if svd is None else svd.transform(matrix), dtype=np.float32)
