"""Parse a grid as it is written: strategies with labels and options, seeds, and tasks. Imports nothing heavy."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from deepal_autoal.errors import InputError
from deepal_autoal.experiment.protocols import find_protocol
from deepal_autoal.models import read_model
from deepal_autoal.oracles.creation import check_candidates, oracle_class
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.plugins.notation import Notation
from deepal_autoal.plugins.references import name_in
from deepal_autoal.plugins.registry import ORACLE_PREFIX, is_oracle
from deepal_autoal.run_settings import split_names
from deepal_autoal.strategies.candidate_sets import ALL, check_names
from deepal_autoal.strategies.factory import name_of
from deepal_autoal.strategies.given import StrategyLike, check_given, is_registered_as
from deepal_autoal.strategies.written import CANDIDATES, read_candidate_names
from deepal_autoal.user_paths import user_path

LONGEST_LABEL = 80
MOST_SEEDS = 10_000

_STRATEGIES = Notation("--strategies", "write it as NAME, NAME[KEY=VALUE,...] or LABEL=NAME[KEY=VALUE,...]")
_ORACLES = Notation("--oracle", "write it as NAME, NAME[KEY=VALUE,...] or LABEL=NAME[KEY=VALUE,...]")
_MODELS = Notation("--models", "write it as NAME or NAME[KEY=VALUE,...]")
_PROTOCOLS = Notation("--protocols", "write it as NAME")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Contender:
    """A strategy as it is compared in a grid.

    Attributes:
        label: The name of its folders and rows.
        strategy: A registered name, or an oracle's such as ``oracle-boss``; from Python also a strategy, a class or a
            function of the context.
        options: Constructor options, as text; ``name.key`` addresses a candidate.
        is_optional: Whether it was added by ``all``, and is left out where it cannot run.
        candidates: Names and sets such as ``all-cheap``, if it is a selector and its candidates were given; from
            Python also objects.
    """

    label: str
    strategy: StrategyLike
    options: Mapping[str, Any] = field(default_factory=dict)
    is_optional: bool = False
    candidates: tuple[Any, ...] | None = None


def read_strategies(
    written: StrategyLike | Sequence[StrategyLike] | Mapping[str, StrategyLike],
) -> list[Contender]:
    """Return the contenders of ``a,label=b[key=value,...],all``, in that order.

    Without a label, one is formed from name and options: ``vote[power=5]`` becomes ``vote-power-5``.
    A selector's own candidates are written as an option: ``vote[candidates=[entropy,kmeans]]``. ``all`` adds every
    registered strategy whose name is not yet a label.

    From Python, items may also be strategies, classes and functions of the context, which are labeled by their names,
    or all of it may be a mapping from labels to items.

    Raises:
        UnknownNameError: If a strategy or a candidate does not exist; the nearest names are suggested.
        InputError: If an item is malformed or no strategy, or a label is not a valid folder name, is misleading, or is
            used twice.
    """
    items: list[Any]
    if isinstance(written, Mapping):
        items = list(written)
        contenders = [_labeled(label, given) for label, given in written.items()]
    else:
        items = []
        for given in [written] if isinstance(written, str) or not isinstance(written, Iterable) else written:
            items += _STRATEGIES.split(given) if isinstance(given, str) else [given]
        contenders = [_read_strategy(item) if isinstance(item, str) else _of_object(item)
                      for item in items if not _is_all(item)]  # fmt: skip
    if not items:
        raise InputError("no strategies given: name some, such as --strategies random,margin, or all")
    labels: set[str] = set()
    for contender in contenders:
        # Some file systems ignore case.
        if contender.label.casefold() in labels:
            raise InputError(f"two strategies are labeled {contender.label!r}: write LABEL=NAME to distinguish them")
        labels.add(contender.label.casefold())
    if any(map(_is_all, items)):
        names = [name for name in plugin_host().strategies.names() if name.casefold() not in labels]
        contenders += [Contender(name, name, is_optional=True) for name in names]
    return contenders


def read_oracles(written: str | Sequence[str] | None) -> list[Contender]:
    """Return the oracles of ``best,few=boss[batches=30]``, labeled ``oracle-best`` and ``oracle-few``.

    Raises:
        UnknownNameError: If there is no such oracle, or a candidate does not exist.
        InputError: If an item is malformed, or a label is not a valid folder name or is used twice.
    """
    contenders: dict[str, Contender] = {}
    for item in (item for text in _texts(written or []) for item in _ORACLES.split(text)):
        label, name, options, candidates = _parse(_ORACLES, item)
        label, name = (text if is_oracle(text) else f"{ORACLE_PREFIX}{text}" for text in (label, name))
        oracle_class(name)
        if candidates is not None:
            check_candidates(candidates)
        _check_form(label, item, "--oracle")
        if label.endswith(("_low", "_high")):  # of the columns regret_<label>_low and regret_<label>_high
            raise InputError(f"--oracle {item}: labels that end in _low or _high name columns; choose another")
        if label.casefold() in contenders:
            raise InputError(f"--oracle: two are labeled {label!r}: write LABEL=NAME to distinguish them")
        contenders[label.casefold()] = Contender(label, name, options, candidates=candidates)
    return list(contenders.values())


def _is_all(item: object) -> bool:
    return isinstance(item, str) and item == ALL


def _labeled(label: object, given: Any) -> Contender:
    """Return the contender that a mapping gives a label."""
    if not isinstance(label, str):
        raise InputError(f"strategies: the label {label!r} is no text; write {{'mine': Mine(), 'margin': 'margin'}}")
    if isinstance(given, str) and _LABEL.fullmatch(label):
        return _read_strategy(f"{label}={given}")
    # What is registered in this process under the very label, and given as well, is one strategy.
    own = label if is_registered_as(label, given) else ""
    _check_label(label, own, label, plugin_host().strategies.names(), "strategies:")
    check_given(given, f"strategies: {label}")
    return Contender(label, given)


def _of_object(given: Any) -> Contender:
    check_given(given, "strategies: an item")
    return _labeled(_slug(name_of(given)), given)


def read_seeds(written: int | str | Sequence[int]) -> list[int]:
    """Return the seeds: 0 … N - 1 for a number N, or those listed, as in ``0,3,7``; ``3,`` is seed 3 alone.

    Raises:
        InputError: If there are none, or one is negative, not a whole number, or given twice.
    """
    if isinstance(written, int | np.integer) or (isinstance(written, str) and "," not in written):
        try:
            number = 0 if isinstance(written, bool) else int(written)
        except ValueError:
            number = 0
        if number < 1:
            raise InputError(f"--seeds {written}: give a number of seeds, at least 1, or a list such as 0,3,7")
        if number > MOST_SEEDS:
            raise InputError(
                f"--seeds {number} is a number of seeds, {MOST_SEEDS} at most; for seed {number} alone write {number},"
            )
        return list(range(number))
    try:
        if isinstance(written, str):
            seeds = [int(part) for part in split_names(written)]
        else:
            seeds = [-1 if isinstance(part, bool) else operator.index(part) for part in written]
    except (TypeError, ValueError):
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        shown = ",".join(map(str, written)) if isinstance(written, list | tuple) else written
        raise InputError(f"--seeds {shown}: give distinct whole numbers of at least 0, such as 0,3,7")
    return seeds


@dataclass(frozen=True)
class Task:
    """What strategies are compared on: a dataset and, where they vary, a model and a protocol.

    Attributes:
        dataset: A registered name or a path.
        model: A model's name with its options, or None for the one shared by all tasks.
        protocol: A protocol's name, or None for the one shared by all tasks.
    """

    dataset: str
    model: str | None = None
    protocol: str | None = None


def read_tasks(
    datasets: str | Path | Sequence[str | Path] | None,
    models: str | Sequence[str] | None = None,
    protocols: str | Sequence[str] | None = None,
) -> dict[str, Task]:
    """Return the tasks that strategies are compared on, by the labels of their folders and rows.

    A label is the dataset's, followed by the model's where models vary. Where protocols vary and no datasets are
    given, it begins with the protocol's name, which includes its dataset.

    Args:
        datasets: Names and paths, in a sequence or separated by commas; without any, the protocols' own.
        models: Models that vary, likewise.
        protocols: Protocols that vary, likewise.

    Raises:
        UnknownNameError: If a model or protocol does not exist.
        InputError: If no dataset is given, or two tasks would share a folder.
    """
    variants = _distinct("--models", _MODELS, models)
    papers = _distinct("--protocols", _PROTOCOLS, protocols)
    for model in variants:
        read_model(model)
    places: list[tuple[str, Task]] = []
    if datasets or not papers:
        for label, name in read_datasets(datasets or "").items():
            places += [(f"{label}-{_slug(paper)}" if paper else label, Task(name, protocol=paper or None))
                       for paper in papers or [""]]  # fmt: skip
    else:
        places = [(_slug(paper), Task(find_protocol(paper).dataset, protocol=paper)) for paper in papers]
    for _, task in places:
        if task.protocol is not None:
            find_protocol(task.protocol)
    tasks: dict[str, Task] = {}
    for label, task in places:
        for model in variants or [""]:
            name = f"{label}-{_slug(_without_place(model))}" if model else label
            if name.casefold() in {other.casefold() for other in tasks}:
                raise InputError(f"two tasks would share the folder {name!r}: leave one out, or rename its data")
            tasks[name] = replace(task, model=model or None)
    return tasks


def _distinct(option: str, notation: Notation, written: str | Sequence[str] | None) -> list[str]:
    names = [name for text in _texts(written or []) for name in notation.split(text)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{option}: {twice[0]} is given twice; name each once")
    return names


def _without_place(model: str) -> str:
    """Return a model as it is written, without the file or module that defines it."""
    head, bracket, options = model.partition("[")
    return name_in(head) + bracket + options


def _slug(name: str) -> str:
    """Return a name as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", name).strip("-.")


def read_datasets(written: str | Path | Sequence[str | Path]) -> dict[str, str]:
    """Return the datasets by the labels of their folders and rows: a registered name, or a path's last part.

    Raises:
        InputError: If none is given, or two would share a folder.
    """
    given = [written] if isinstance(written, Path) else written
    parts: Sequence[str | Path] = split_names(given) if isinstance(given, str) else given
    names = [str(part).strip() for part in parts if str(part).strip()]
    if not names:
        raise InputError("no datasets given: name some, such as --datasets digits, or paths to your own data")
    datasets: dict[str, str] = {}
    for name in names:
        label = _dataset_label(name)
        for other in datasets:
            if label.casefold() == other.casefold():
                raise InputError(
                    f"datasets {datasets[other]!r} and {name!r} would share the folder {label!r}: "
                    "give each once, and rename one of two with the same name"
                )
        datasets[label] = name
    return datasets


def _dataset_label(name: str) -> str:
    if name in plugin_host().datasets:
        return name
    path = Path(os.path.abspath(user_path(name, "--datasets")))
    # No dots: no hidden folders, and none with the name of a table beside it.
    return re.sub(r"[^\w-]+", "-", path.name if path.is_dir() else path.stem).strip("-") or "data"


def _read_strategy(item: str) -> Contender:
    label, name, options, candidates = _parse(_STRATEGIES, item)
    if is_oracle(name):
        raise InputError(f"--strategies {item}: this is an oracle, which no real run can have; write --oracle NAME")
    plugin_host().strategies.get(name)
    if candidates is not None:
        check_names(candidates)
    _check_label(label, name, item, plugin_host().strategies.names())
    return Contender(label, name, options, candidates=candidates)


def _parse(notation: Notation, item: str) -> tuple[str, str, dict[str, Any], tuple[str, ...] | None]:
    """Return the label, the name, the options and the candidates of an item."""
    head, options = notation.read(item)
    label, equals, name = (part.strip() for part in head.rpartition("="))
    if not name or (equals and not label):
        raise notation.error(item, notation.form)
    candidates = None
    if CANDIDATES in options:
        candidates = read_candidate_names(notation, item, options[CANDIDATES])
        options[CANDIDATES] = "-".join(map(name_in, candidates))  # for the label
    if not equals:
        label = re.sub(
            r"[^A-Za-z0-9._+-]+", "-", "-".join([name_in(name), *(text for pair in options.items() for text in pair)])
        )
        label = label.strip("-.")
    options.pop(CANDIDATES, None)
    return label, name, options, candidates


def _check_form(label: str, item: str, option: str) -> None:
    if not _LABEL.fullmatch(label) or label.endswith(".") or len(label) > LONGEST_LABEL:
        raise InputError(
            f"{option} {item}: the label {label!r} is not a safe folder name; write LABEL=NAME[...] with a label "
            f"of letters, digits and . _ + -, starting with a letter or digit, at most {LONGEST_LABEL} characters long"
        )


def _check_label(label: str, name: str, item: str, taken: Collection[str], option: str = "--strategies") -> None:
    _check_form(label, item, option)
    if is_oracle(label):
        raise InputError(
            f"{option} {item}: labels starting with {ORACLE_PREFIX} are those of oracles (--oracle); choose another"
        )
    if label.casefold() in {other.casefold() for other in taken if other != name} | {ALL}:
        meaning = "means every strategy" if label.casefold() == ALL else "is the name of another strategy"
        raise InputError(f"{option} {item}: the label {label!r} {meaning}; choose another")


def _texts(written: str | Sequence[str]) -> Sequence[str]:
    return [written] if isinstance(written, str) else written
