"""How a grid is written: strategies with labels and options, seeds, and what to compare on. Imports nothing heavy."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from deepal_autoal.candidates import ALL, check_words
from deepal_autoal.errors import InputError
from deepal_autoal.models import read_model
from deepal_autoal.notation import Notation
from deepal_autoal.plugins import plugin_host
from deepal_autoal.protocols import find_protocol

CANDIDATES = "candidates"
LONGEST_LABEL = 80

_STRATEGIES = Notation("--strategies", "write it as NAME, NAME[KEY=VALUE,...] or LABEL=NAME[KEY=VALUE,...]")
_MODELS = Notation("--models", "write it as NAME or NAME[KEY=VALUE,...]")
_PROTOCOLS = Notation("--protocols", "write it as NAME")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")


@dataclass(frozen=True)
class Contender:
    """A strategy as a grid compares it.

    Attributes:
        label: Names its folders and rows.
        strategy: A registered name.
        options: Constructor options, as text; ``name.key`` addresses a candidate.
        is_optional: Whether it came by ``all``, and is left out where it cannot run.
        candidates: Its candidates, by names and sets such as ``all-cheap``, if it is a selector and they were given.
    """

    label: str
    strategy: str
    options: Mapping[str, str] = field(default_factory=dict)
    is_optional: bool = False
    candidates: tuple[str, ...] | None = None


def read_strategies(written: str | Sequence[str]) -> list[Contender]:
    """Return the contenders of ``a,label=b[key=value,...],all``, in that order.

    Where no label is given it is made of name and options: ``vote[oversample=5]`` becomes ``vote-oversample-5``.
    A selector's own candidates are written as an option: ``vote[candidates=[entropy,kmeans]]``. ``all`` stands for
    every registered strategy whose name is no label yet.

    Raises:
        UnknownNameError: If a strategy or a candidate does not exist; the nearest names are offered.
        InputError: If something is of another form, or a label is no folder's name, misleads, or comes twice.
    """
    items = [item for text in _texts(written) for item in _STRATEGIES.split(text)]
    if not items:
        raise InputError("no strategies given: name some, such as --strategies random,margin, or all")
    contenders = [_read_strategy(item) for item in items if item != ALL]
    labels: set[str] = set()
    for contender in contenders:
        # Some systems' folders do not tell A from a.
        if contender.label.casefold() in labels:
            raise InputError(f"two strategies are labelled {contender.label!r}: write LABEL=NAME to tell them apart")
        labels.add(contender.label.casefold())
    if ALL in items:
        names = [name for name in plugin_host().strategies.names() if name.casefold() not in labels]
        contenders += [Contender(name, name, is_optional=True) for name in names]
    return contenders


def read_seeds(written: int | str | Sequence[int]) -> list[int]:
    """Return the seeds: 0 … N - 1 of a number N, those listed of ``0,3,7``; ``3,`` is seed 3 alone.

    Raises:
        InputError: If there is none, one is negative or no whole number, or comes twice.
    """
    if isinstance(written, int) or (isinstance(written, str) and "," not in written):
        try:
            number = int(written)
        except ValueError:
            number = 0
        if number < 1:
            raise InputError(f"--seeds {written}: give how many, at least 1, or a list such as 0,3,7")
        return list(range(number))
    try:
        if isinstance(written, str):
            seeds = [int(part) for part in written.split(",") if part.strip()]
        else:
            seeds = [operator.index(part) for part in written]
    except (TypeError, ValueError):
        seeds = []
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        shown = written if isinstance(written, str) else ",".join(map(str, written))
        raise InputError(f"--seeds {shown}: give distinct whole numbers of at least 0, such as 0,3,7")
    return seeds


@dataclass(frozen=True)
class Task:
    """What strategies are compared on: a dataset, and where they vary a model and a protocol.

    Attributes:
        dataset: A registered name or a path.
        model: A model's name with its options, or None for the one that all tasks share.
        protocol: A protocol's name, or None for the one that all tasks share.
    """

    dataset: str
    model: str | None = None
    protocol: str | None = None


def read_tasks(
    datasets: str | Sequence[str | Path] | None,
    models: str | Sequence[str] | None = None,
    protocols: str | Sequence[str] | None = None,
) -> dict[str, Task]:
    """Return what strategies are compared on, by the labels that name folders and rows.

    A label is the dataset's, followed by the model's where models vary; where protocols do and no datasets are
    given, it begins with the protocol's name, which has its dataset in it.

    Args:
        datasets: Names and paths, in a sequence or separated by commas; the protocols' own where there is none.
        models: Models that vary, likewise.
        protocols: Protocols that vary, likewise.

    Raises:
        UnknownNameError: If there is no such model or protocol.
        InputError: If there is no dataset, or two tasks would share a folder.
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
            name = f"{label}-{_slug(model)}" if model else label
            if name.casefold() in {other.casefold() for other in tasks}:
                raise InputError(f"two of the tasks would share the folder {name!r}: leave one out, or rename its data")
            tasks[name] = replace(task, model=model or None)
    return tasks


def _distinct(option: str, notation: Notation, written: str | Sequence[str] | None) -> list[str]:
    names = [name for text in _texts(written or []) for name in notation.split(text)]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(f"{option}: {twice[0]} is there twice; name each once")
    return names


def _slug(name: str) -> str:
    """Return a name as part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", name).strip("-.")


def read_datasets(written: str | Sequence[str | Path]) -> dict[str, str]:
    """Return the datasets by the labels that name their folders and rows: a registered name, or a path's last part.

    Raises:
        InputError: If there is none, or two would share a folder.
    """
    parts: Sequence[str | Path] = written.split(",") if isinstance(written, str) else written
    names = [str(part).strip() for part in parts if str(part).strip()]
    if not names:
        raise InputError("no datasets given: name some, such as --datasets digits, or paths to own data")
    datasets: dict[str, str] = {}
    for name in names:
        label = _dataset_label(name)
        for other in datasets:
            if label.casefold() == other.casefold():
                raise InputError(
                    f"datasets {datasets[other]!r} and {name!r} would share the folder {label!r}: "
                    "give each once, and rename one of two that are called alike"
                )
        datasets[label] = name
    return datasets


def _dataset_label(name: str) -> str:
    if name in plugin_host().datasets:
        return name
    path = Path(os.path.abspath(os.path.expanduser(name)))
    # No dots: neither hidden folders, nor one that bears the name of a table beside it.
    return re.sub(r"[^\w-]+", "-", path.name if path.is_dir() else path.stem).strip("-") or "data"


def _read_strategy(item: str) -> Contender:
    head, options = _STRATEGIES.read(item)
    label, equals, name = (part.strip() for part in head.rpartition("="))
    if not name or (equals and not label):
        raise _STRATEGIES.error(item, _STRATEGIES.form)
    plugin_host().strategies.get(name)
    candidates = None
    if CANDIDATES in options:
        candidates = _read_candidates(item, options[CANDIDATES])
        options[CANDIDATES] = "-".join(candidates)  # for the label
    if not equals:
        label = re.sub(
            r"[^A-Za-z0-9._+-]+", "-", "-".join([name, *(text for pair in options.items() for text in pair)])
        )
        label = label.strip("-.")
    options.pop(CANDIDATES, None)
    _check_label(label, name, item, plugin_host().strategies.names())
    return Contender(label, name, options, candidates=candidates)


def _read_candidates(item: str, written: str) -> tuple[str, ...]:
    """Return the words of ``[a,b]``, or of a single one without brackets."""
    names = tuple(_STRATEGIES.split(written[1:-1] if written.startswith("[") and written.endswith("]") else written))
    if not names:
        raise InputError(f"--strategies {item}: name candidates, such as {CANDIDATES}=[entropy,margin]")
    check_words(names)
    return names


def _check_label(label: str, name: str, item: str, taken: Collection[str]) -> None:
    if not _LABEL.fullmatch(label) or label.endswith(".") or len(label) > LONGEST_LABEL:
        raise InputError(
            f"--strategies {item}: the label {label!r} is no safe folder name; write LABEL=NAME[...] with a label of "
            f"letters, digits and . _ + -, starting with a letter or digit, of at most {LONGEST_LABEL}"
        )
    if label.casefold() in {other.casefold() for other in taken if other != name} | {ALL}:
        meaning = "stands for every strategy" if label.casefold() == ALL else "is the name of another strategy"
        raise InputError(f"--strategies {item}: the label {label!r} {meaning}; choose another")


def _texts(written: str | Sequence[str]) -> Sequence[str]:
    return [written] if isinstance(written, str) else written
