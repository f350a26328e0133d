"""`select`: the next batch from embeddings and class probabilities of any model. Nothing is trained."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.datasets.user_data.labels import class_order, is_missing
from deepal_autoal.datasets.user_data.number_files import read_labeled, read_numbers
from deepal_autoal.errors import InputError
from deepal_autoal.experiment.capabilities import leave_out_candidates, require_classes
from deepal_autoal.experiment.saved_learner import load_strategy_state, strategy_state
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.numerics.arrays import as_array
from deepal_autoal.numerics.devices import resolve_device
from deepal_autoal.numerics.row_blocks import first_unusable_row, read_rows
from deepal_autoal.querying.asking import ask
from deepal_autoal.querying.context import UNKNOWN
from deepal_autoal.querying.given_outputs import given_context
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.run_settings import whole_number
from deepal_autoal.strategies.factory import create_strategy, create_with_options
from deepal_autoal.strategies.given import FunctionStrategy, StrategyLike
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    import torch
    from numpy.typing import ArrayLike, NDArray

    from deepal_autoal.querying.asking import Answer
    from deepal_autoal.querying.strategy import Requirement
    from deepal_autoal.strategies.candidate_selection import Candidates

# What each requirement is computed from; what is not here, outputs alone do not give.
_SOURCES: dict[str, tuple[str, ...]] = {
    "probabilities": ("probabilities",),
    "embeddings": ("embeddings",),
    "gradients": ("probabilities", "embeddings"),
}
# How they are given on the command line, for messages.
_WRITTEN = {"embeddings": "--embeddings", "probabilities": "--probabilities"}
_BEYOND: tuple[Requirement, ...] = ("mc_dropout", "ensemble", "inputs", "differentiable")
# How far a row of probabilities may be from 1, as rounded ones are; such rows are divided by their sum.
_TOLERANCE = 0.01

logger = logging.getLogger(__name__)


@engine_call()
def select(
    strategy: StrategyLike,
    batch_size: int,
    embeddings: ArrayLike | str | os.PathLike[str] | None = None,
    probabilities: ArrayLike | str | os.PathLike[str] | None = None,
    labeled: ArrayLike | str | os.PathLike[str] | None = None,
    labels: ArrayLike | None = None,
    seed: int = 0,
    *,
    candidates: str | Candidates | Iterable[Any] | None = None,
    options: Mapping[str, Any] | None = None,
    n_classes: int | None = None,
    device: str | torch.device = "auto",
) -> NDArray[np.int64]:
    """Return the rows to label next, int64 (batch_size,), in the strategy's order.

    Whatever the model is, only its outputs for all N samples of the pool are needed. A strategy that needs more, such
    as dropout passes or the training of models, is refused. Every call is a first round; what a strategy remembers
    stays in the instance that is given.

    Args:
        strategy: As for `ActiveLearner`.
        batch_size: Number of rows, at most those that are not labeled.
        embeddings: Numbers (N, D), or a file of them (see `read_numbers`). Used as they are, in float32.
        probabilities: Class probabilities (N, C), at least 0, rows summing to 1, up to rounding; or a file.
        labeled: The labeled rows: their numbers (M,), a mask of booleans (N,), or a ``.csv`` with a column ``index``
            and perhaps ``label``. By default none; their order does not matter.
        labels: Their classes, one for each: columns of ``probabilities``, by number or by name; without probabilities,
            any whole numbers from 0, or names. Only some strategies need them.
        seed: Seed of everything random.
        candidates: For selectors, as for `create_strategy`.
        options: The strategy's options by name.
        n_classes: C, where probabilities do not say it; by default the classes of ``labels``.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.

    Raises:
        InputError: If something that is given cannot be used, or does not suffice for the strategy.
        QueryError: If the strategy fails, or needs more than it says.
    """
    seed, batch_size = whole_number("seed", seed), whole_number("batch_size", batch_size)
    if seed < 0:
        raise InputError(f"seed {seed}: give a whole number of at least 0")
    made = create_with_options(strategy, candidates, options) if options else create_strategy(strategy, candidates)
    given = {"embeddings": embeddings, "probabilities": probabilities}
    made = require_given(made, {name for name, value in given.items() if value is not None})
    answer = answer_from_outputs(
        made, batch_size, embeddings, probabilities, labeled, labels, seed, n_classes, resolve_device(device)
    )
    if not isinstance(strategy, Strategy):
        warn_of_memory(made)
    return np.array(answer.indices)


def warn_of_memory(strategy: Strategy) -> None:
    """Warn that what a strategy remembers is lost with it, if it remembers anything."""
    if strategy_state(strategy):
        logger.warning(
            "%s remembers things from round to round, and forgets them after this query; in Python, give the same "
            "instance every time", strategy,
        )  # fmt: skip


def answer_from_outputs(
    strategy: Strategy,
    batch_size: int,
    embeddings: Any,
    probabilities: Any,
    labeled: Any,
    labels: Any,
    seed: int,
    n_classes: int | None,
    device: torch.device,
) -> Answer:
    """Return a strategy's answer from given outputs, as in `select`; scores are of the rows that have no label.

    If the strategy fails, it has the memory of before.

    Args:
        strategy: The strategy; `require_given` has returned it.
        batch_size, embeddings, probabilities, labeled, labels, seed, n_classes: As in `select`.
        device: Where.

    Raises:
        InputError: If something that is given cannot be used.
        QueryError: If the strategy fails, or needs more than it says.
    """
    vectors, shares, column_names = _read_outputs(embeddings, probabilities)
    n = len(vectors if vectors is not None else shares)  # type: ignore[arg-type]
    rows, written = _read_labeled(labeled, labels, n)
    if len(rows) == n:
        raise InputError("all rows are labeled; there is nothing left to choose")
    if not 1 <= batch_size <= n - len(rows):
        raise InputError(f"batch size {batch_size}: give 1 to {n - len(rows)}, the number of rows without a label")
    if n_classes is not None and whole_number("n_classes", n_classes) < 2:
        raise InputError(f"n_classes is {n_classes}; at least two are needed")
    if shares is not None:
        if n_classes not in (None, shares.shape[1]):
            raise InputError(f"n_classes is {n_classes}, but probabilities have {shares.shape[1]} columns")
        n_classes = shares.shape[1]
    classes = np.full(len(rows), UNKNOWN)
    if written is not None:
        classes, n_classes = _numbered(written, n_classes, column_names, shares is not None)
    if n_classes is not None:
        require_classes(strategy, n_classes)
    # Some strategies depend on the order, by rounding or random draws; a run's first labeled rows are in this one.
    order = np.argsort(rows)
    rows, classes = rows[order], classes[order]
    context = given_context(Strategy.__str__(strategy), vectors, shares, rows, classes, n_classes, seed, device)
    memory = strategy_state(strategy)
    try:
        return ask(strategy, context, batch_size)
    except BaseException:
        load_strategy_state(strategy, memory)
        raise


def require_given(strategy: Strategy, given: Collection[str], written: Mapping[str, str] = _WRITTEN) -> Strategy:
    """Return the strategy, without optional candidates that need more than is given.

    Args:
        strategy: The strategy.
        given: Which of ``embeddings`` and ``probabilities`` there are.
        written: How each is given, for messages.

    Raises:
        InputError: If the strategy itself does; the message says what to give or to choose.
    """
    if not given:
        raise InputError("give --embeddings, --probabilities or both: the outputs of your model, a row for each sample")
    lacks: dict[Requirement, str] = dict.fromkeys(_BEYOND, "outputs alone do not give that")
    for need, sources in _SOURCES.items():
        missing = [written[source] for source in sources if source not in given]
        if missing:
            lacks[need] = f"there are no {' and '.join(missing)}"  # type: ignore[index]
    strategy = leave_out_candidates(strategy, lacks)
    if strategy.changes_training:
        raise InputError(
            f"{strategy} changes how a model is trained, and a query from given outputs trains none: choose another, "
            "or use it in `deepal run`"
        )
    if isinstance(strategy, FunctionStrategy) and strategy.may_need_less:
        return strategy
    for need in lacks:
        if need in strategy.requires:
            raise InputError(f"{strategy} requires {need}{_advice(strategy, need, given, lacks, written)}")
    return strategy


def _advice(
    strategy: Strategy,
    need: Requirement,
    given: Collection[str],
    lacks: Collection[Requirement],
    written: Mapping[str, str],
) -> str:
    """Return the end of a message: whose requirement it is, and what to do."""
    sources = _SOURCES.get(need, ())
    missing = " and ".join(written[source] for source in sources if source not in given)
    if missing:
        return f": give {missing}" if sources == (need,) else f", computed from {' and '.join(sources)}: give {missing}"
    beyond = "which embeddings and probabilities do not give: "
    if not isinstance(strategy, SelectorStrategy) or need in strategy.own_requires:
        return f", {beyond}choose another strategy"
    needing = [name for name, candidate in strategy.candidates.items() if need in candidate.requires]
    able = [name for name, candidate in strategy.candidates.items() if not candidate.requires & set(lacks)]
    others = f"give --candidates {','.join(able)}" if able else "give other --candidates"
    return f" for {', '.join(needing)}, {beyond}{others}"


def _read_outputs(
    embeddings: Any, probabilities: Any
) -> tuple[NDArray[Any] | None, NDArray[Any] | None, list[str] | None]:
    """Return the checked embeddings and probabilities, and the names of the latter's columns if they have some."""
    vectors = shares = names = None
    if embeddings is not None:
        what, vectors, _ = _floats(embeddings, "embeddings")
        row = first_unusable_row(vectors)
        if row is not None:
            raise InputError(f"{what} holds NaN, infinite or beyond-float32 values, first in row {row}")
    if probabilities is not None:
        what, shares, names = _floats(probabilities, "probabilities")
        _check_probabilities(shares, what)
        if names is not None and len(set(names)) < len(names):
            raise InputError(f"{what}: two columns have the same name; name each by its class")
    if vectors is not None and shares is not None and len(vectors) != len(shares):
        raise InputError(
            f"embeddings has {len(vectors)} rows and probabilities {len(shares)}: give both for the same samples, in "
            "the same order"
        )
    return vectors, shares, names


def _floats(given: Any, name: str) -> tuple[str, NDArray[Any], list[str] | None]:
    """Return a table's name in messages, its numbers, floating (N, width), and the names of its columns, if any."""
    what = name
    if isinstance(given, str | os.PathLike):
        path = user_path(given, f"--{name}")
        what = f"{path}: {name}"
        given, names = read_numbers(path)
    else:
        columns = getattr(given, "columns", None)
        names = None if columns is None else [str(column).strip() for column in columns]
    array = as_array(given, what)
    if array.ndim != 2 or array.dtype.kind not in "fiu" or not array.size:
        single = " (the probability of one of two classes: give both, 1 - p and p)" if name == "probabilities" else ""
        raise InputError(
            f"{what} has shape {array.shape} and type {array.dtype}; give numbers with a row for each sample"
            f"{single if array.ndim == 1 else ''}"
        )
    if array.dtype.kind != "f":
        array = array.astype(np.float32 if array.dtype.itemsize <= 2 else np.float64)
    native = array.dtype.newbyteorder("=") if array.dtype.itemsize <= 8 else np.dtype(np.float64)
    return what, array.astype(native, copy=False), names


def _check_probabilities(shares: NDArray[Any], what: str) -> None:
    if shares.shape[1] < 2:
        raise InputError(f"{what} has one column; give one for each class: for two classes, 1 - p and p")
    advice = "give class probabilities; of logits, their softmax (scipy.special.softmax(logits, axis=1))"
    start = 0
    for rows in read_rows(shares):
        wide = rows.astype(np.float64)
        with np.errstate(invalid="ignore"):
            sums = wide.sum(axis=1)
        wrong = ~((wide >= 0) & (wide <= 1 + _TOLERANCE)).all(axis=1) | ~(np.abs(sums - 1) <= _TOLERANCE)
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            values = wide[row]
            if not np.isfinite(values).all():
                raise InputError(f"{what} holds NaN or infinite values, first in row {start + row}")
            if values.min() < 0 or values.max() > 1 + _TOLERANCE:
                outside = values.min() if values.min() < 0 else values.max()
                raise InputError(f"{what} holds {outside:.6g} in row {start + row}, outside 0 to 1: {advice}")
            raise InputError(f"{what}: row {start + row} sums to {sums[row]:.6g}, not 1: {advice}")
        start += len(rows)


def _read_labeled(labeled: Any, labels: Any, n: int) -> tuple[NDArray[np.int64], list[str] | None]:
    """Return the labeled rows, and their labels as they are written if they are known."""
    what, written = "labeled", None if labels is None else _texts(labels)
    if labeled is None:
        if labels is not None:
            raise InputError("labels are given, but not of which rows: give their numbers as `labeled`")
        return np.empty(0, dtype=np.int64), None
    if isinstance(labeled, str | os.PathLike):
        path = user_path(labeled, "--labeled")
        rows, in_file = read_labeled(path)
        if labels is not None and in_file is not None:
            raise InputError(f"{path} has a column label, and `labels` are given too: leave one of them out")
        what, written = str(path), in_file if labels is None else written
    else:
        array = as_array(labeled, what)
        if array.ndim != 1 or (array.size and array.dtype.kind not in "iub"):
            raise InputError(f"labeled has shape {array.shape} and type {array.dtype}; give row numbers, or a mask")
        if array.dtype.kind == "b":
            if len(array) != n:
                raise InputError(f"labeled is a mask of {len(array)} rows; there are {n}")
            if written is not None and len(written) == n:
                written = [label for label, is_labeled in zip(written, array.tolist(), strict=True) if is_labeled]
            array = np.flatnonzero(array)
        rows = array
    outside = rows[(rows < 0) | (rows >= n)]
    if len(outside):
        raise InputError(f"{what}: there is no row {outside[0]}; there are {n}, counted from 0")
    rows = rows.astype(np.int64)
    values, counts = np.unique(rows, return_counts=True)
    if len(values) < len(rows):
        raise InputError(f"{what}: row {values[counts > 1][0]} is given twice; give each labeled row once")
    if written is not None:
        if len(written) != len(rows):
            raise InputError(f"{len(rows)} labeled rows but {len(written)} labels; give one label for each")
        missing = [row for row, label in zip(rows.tolist(), written, strict=True) if not label or is_missing(label)]
        if missing:
            raise InputError(f"{what}: the label of row {missing[0]} is missing; leave out rows without a label")
    return rows, written


def _texts(labels: Any) -> list[str]:
    """Return labels as texts, whole numbers as digits."""
    array = as_array(labels, "labels")
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iubUOf"):
        raise InputError(f"labels has shape {array.shape} and type {array.dtype}; give a class for each labeled row")
    if array.dtype.kind == "f":
        fractions = array[np.isfinite(array) & (array != np.trunc(array))]
        if len(fractions):
            raise InputError(f"label {fractions[0]} is no class; give whole numbers or names")
        return [str(int(value)) if np.isfinite(value) else "" for value in array.tolist()]
    if array.dtype.kind == "b":
        array = array.astype(np.int64)
    return ["" if value is None else str(value).strip() for value in array.tolist()]


def _numbered(
    labels: list[str], n_classes: int | None, column_names: list[str] | None, are_columns: bool
) -> tuple[NDArray[np.int64], int]:
    """Return labels as class numbers, (M,), and the number of classes.

    Args:
        labels: As they are written.
        n_classes: C, if it is known.
        column_names: Names of the probabilities' columns, if they have some.
        are_columns: Whether there are probabilities, so that classes are their columns.
    """
    are_numbers = all(_is_number(label) for label in labels)
    names = column_names
    if names is not None and are_numbers and not all(map(_is_number, names)):
        names = None  # they number the columns
    if names is None and not are_numbers:
        if are_columns:
            name = next(label for label in labels if not _is_number(label))
            raise InputError(
                f"label {name!r} is a name, and the columns of probabilities have none: number classes by their "
                "column, from 0, or give a table whose columns are called as the classes"
            )
        names = list(class_order(labels))
        if n_classes is not None and len(names) > n_classes:
            raise InputError(f"labels have {len(names)} names, more than n_classes, {n_classes}")
    if names is not None:
        numbers = {name: number for number, name in enumerate(names)}
        unknown = [label for label in labels if label not in numbers]
        if unknown:
            shown = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
            raise InputError(f"label {unknown[0]!r} is no column of probabilities; they are {shown}")
        return np.array([numbers[label] for label in labels], dtype=np.int64), max(2, n_classes or len(names))
    known = n_classes or 2**31
    wrong = [label for label in labels if not 0 <= int(label) < known]
    if wrong:
        until = f" .. {n_classes - 1}" if n_classes else ""
        raise InputError(f"label {wrong[0]} is no class; they are numbered 0{until}: leave out rows without a label")
    classes = np.array([int(label) for label in labels], dtype=np.int64)
    return classes, n_classes or max(2, int(classes.max(initial=0)) + 1)


def _is_number(label: str) -> bool:
    return label.isascii() and label.removeprefix("-").isdigit() and len(label) < 19
