"""The settings of a run, each defined once: type, default, help, form on the command line, and where it is compared.

The command line, TOML files, `run`, `run_benchmark`, resuming and reports all read these definitions. Training
settings are the fields of `Recipe`, which are also defined with `setting`. This module imports nothing heavy.
"""

from __future__ import annotations

import dataclasses
import operator
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from deepal_autoal.errors import InputError

_KEY = "setting"
# The share of a GPU's memory that a process may use, where several share it: an environment variable of workers.
GPU_SHARE = "DEEPAL_GPU_SHARE"


@dataclass(frozen=True)
class Definition:
    """The definition of a setting, except for its name and default.

    Attributes:
        help: Help on the command line; empty if the setting has no option there.
        metavar: Placeholder for its value in the help.
        type: ``str``, ``int``, ``float`` or ``bool``, which is a switch.
        is_shared: Whether all runs of a benchmark share it.
        compared_as: The entry of ``config.json`` that must agree when a run is resumed and when runs are compared;
            empty if there is none.
        group: The group in which the help lists it.
    """

    help: str = ""
    metavar: str = ""
    type: type = str
    is_shared: bool = True
    compared_as: str = ""
    group: str = "training"


def setting(default: Any, **definition: Any) -> Any:
    """Return a dataclass field with its `Definition`."""
    return dataclasses.field(default=default, metadata={_KEY: Definition(**definition)})


def definitions(cls: type) -> dict[str, Definition]:
    """Return the definitions of a dataclass's settings by name, in the order of its fields."""
    return {item.name: item.metadata[_KEY] for item in fields(cls) if _KEY in item.metadata}


def split_names(text: str) -> list[str]:
    """Return the names in ``a, b,c``, without spaces and empty ones."""
    return [name.strip() for name in text.split(",") if name.strip()]


@dataclass(frozen=True)
class RunSettings:
    """The requested settings of a run; None leaves a setting at its default.

    Attributes:
        strategy: A registered name.
        candidates: Names, for selectors; for a run with sets of candidates, the names in each set, by set.
        options: Constructor options of the strategy; ``name.key`` addresses a candidate.
        dataset: A registered name or a path.
        data_dir: Directory of named datasets.
        target: Of a table of features: the column that holds the labels (see `load_dataset` and `dataset_of`).
        text_model: What makes vectors of texts: the name or folder of a model of sentence-transformers, ``tf-idf``, or
            ``auto`` (see `resolve_text_model`); for a recorded run, what did.
        model: A model's name, with options as in ``resnet18[stem=cifar]``.
        initial: Size of the initial labeled set (M).
        batch_size: Samples per round (B).
        rounds: Number of queries (R).
        single_round: Whether all R·B labels are asked for at once, in one query.
        pool_size: Size of a random subset of the pool.
        imbalance: Proportions of the classes in the pool (see `class_proportions`).
        label_noise: Probability that the oracle errs.
        duplicates: Copies of every sample in the pool.
        plain_accuracy: Whether rounds also record the accuracy of the task model as it is trained without the strategy,
            on the same labels: another training a round if the strategy changes training, else the same model.
        scaling: How vectors are scaled (see `resolve_scaling`); for a recorded run, how they were.
        image_size: What image files are brought to, ``N`` or ``HxW`` (see `load_dataset`).
        skip_bad: Whether to go on without image files that cannot be used; those left out are part of the dataset's
            record, and it is they that are compared.
        protocol: Name of a paper's settings, which are used as defaults.
        seed: Seed of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        validation: Size of a set of labeled samples that are not trained on, for strategies that judge models (V).
        validation_labels: Whether their labels are ``counted`` among the labeled ones, the default, or ``free``.
        audit: Share of each batch that is drawn uniformly, for an estimate of the accuracy without test labels.
        audit_folds: Number of models that the estimate trains a round without a part of the labels each; 0 for none:
            it is then made from what models predicted before they were trained on a batch.
        threads: CPU threads; None: see `loop.usual_threads`.
        recipe: Changes to the training recipe, by field name.
        plugin_options: Options that plugins registered, by name.
    """

    strategy: str | None = setting(
        None, group="strategy", metavar="NAME", is_shared=False,
        help="Query strategy (`deepal strategies`) or file.py:Class, with options as NAME[KEY=VALUE,...]; default "
        "random.",
        compared_as="strategy",
    )  # fmt: skip
    candidates: Mapping[str, Sequence[str]] | Sequence[str] | None = setting(
        None, group="strategy", metavar="A,B,C", is_shared=False,
        help="Candidates of a selector such as autoal or vote; all, all-cheap and all-FAMILY are sets of "
        "strategies.",
    )  # fmt: skip
    options: Mapping[str, Any] | None = setting(None, group="strategy", is_shared=False)
    dataset: str | None = setting(
        None, group="data", metavar="NAME|PATH", is_shared=False, compared_as="dataset",
        help="`deepal datasets`, or your data: a folder of class folders, a CSV manifest, a .csv or .parquet of "
        "features or an .npz file; default digits.",
    )  # fmt: skip
    data_dir: str | None = setting(
        None, group="data", help="Directory of named datasets; default $DEEPAL_DATA, else data.", metavar="DIR"
    )
    target: str | None = setting(
        None, group="data", metavar="COLUMN",
        help="Of a .csv or .parquet of features: the column of labels; default label, target or y.",
    )  # fmt: skip
    text_model: str | None = setting(
        None, group="data", metavar="NAME",
        help="Of texts: a model of sentence-transformers, or tf-idf; default auto, a model on this machine or tf-idf.",
    )  # fmt: skip
    model: str | None = setting(
        None,
        group="model",
        help="Task model (`deepal models`), or file.py:Net or module:Net; default auto, from the data.",
        metavar="NAME",
        compared_as="model",
    )
    initial: int | None = setting(
        None,
        group="budget",
        help="Size of the initial labeled set; default 50.",
        metavar="M",
        type=int,
        compared_as="initial",
    )
    batch_size: int | None = setting(
        None,
        group="budget",
        help="Samples labeled per round; default 20.",
        metavar="B",
        type=int,
        compared_as="batch_size",
    )
    rounds: int | None = setting(
        None, group="budget", help="Number of queries; default 10.", metavar="R", type=int, compared_as="rounds"
    )
    single_round: bool | None = setting(
        None, group="budget", type=bool, compared_as="single_round",
        help="Ask for all labels at once: one round of R x B samples.",
    )  # fmt: skip
    validation: int | None = setting(
        None, group="budget", metavar="V", type=int, compared_as="validation",
        help="Hold out V labeled samples, on which strategies may judge models; default 0.",
    )  # fmt: skip
    validation_labels: str | None = setting(
        None, group="budget", metavar="counted|free", compared_as="validation_labels",
        help="Whether their labels are counted as labels (default), or free.",
    )  # fmt: skip
    audit: float | None = setting(
        None, group="budget", metavar="SHARE", type=float, compared_as="audit",
        help="Draw this share of each batch uniformly, to estimate the accuracy without test labels, such as 0.1.",
    )  # fmt: skip
    audit_folds: int | None = setting(
        None, group="budget", metavar="K", type=int, compared_as="audit_folds",
        help="With --audit: train K models a round without a part of the labels each; default 10; 0 for none.",
    )  # fmt: skip
    pool_size: int | None = setting(
        None, group="data", help="Use a random subset of the pool, for quick studies.", metavar="N", type=int,
        compared_as="pool_size",
    )  # fmt: skip
    imbalance: str | None = setting(
        None,
        group="studies",
        help="Thin out the pool's classes: 1:10, step:1:10, linear:1:10 or one number per class.",
        metavar="1:R",
    )
    label_noise: float | None = setting(
        None, group="studies", help="Probability that the oracle errs.", metavar="P", type=float
    )
    duplicates: int | None = setting(
        None, group="studies", help="Put every sample into the pool N times.", metavar="N", type=int
    )
    plain_accuracy: bool | None = setting(
        None, group="studies", type=bool, compared_as="plain_accuracy",
        help="Where a strategy changes training, also train the unchanged model on each round's labels.",
    )  # fmt: skip
    scaling: str | None = setting(
        None, group="data", metavar="NAME",
        help="Scaling of vectors: auto (default, by the data), global, feature, l2 or none.",
        compared_as="scaling",
    )  # fmt: skip
    image_size: str | None = setting(
        None, group="data", metavar="N|HxW",
        help="Bring images of any sizes to NxN pixels: shorter side to N, center crop.",
        compared_as="image_size",
    )  # fmt: skip
    skip_bad: bool | None = setting(
        None, group="data", help="Go on without image files that cannot be used, and record which.", type=bool
    )
    protocol: str | None = setting(
        None,
        group="studies",
        help="A paper's settings as defaults (`deepal protocols`).",
        metavar="NAME",
        compared_as="protocol",
    )
    seed: int | None = setting(
        None,
        group="budget",
        help="Seed of everything random; default 0.",
        metavar="S",
        type=int,
        is_shared=False,
        compared_as="seed",
    )
    device: str | None = setting(
        None,
        group="machine",
        help="Default auto: CUDA if available.",
        metavar="auto|cpu|cuda[:i]",
        compared_as="device",
    )
    threads: int | None = setting(
        None, group="machine", metavar="N",
        help="CPU threads; recorded, and reused on resume. Default: torch's; for tiny images 1.",
        type=int, compared_as="threads",
    )  # fmt: skip
    recipe: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, metadata={_KEY: Definition(compared_as="recipe")}
    )
    plugin_options: Mapping[str, Any] = dataclasses.field(
        default_factory=dict, metadata={_KEY: Definition(compared_as="plugin_options")}
    )


class RunArguments(TypedDict, total=False):
    """The same settings and those of training as keyword arguments, for type checkers; a test compares them."""

    candidates: Mapping[str, Sequence[str]] | Iterable[Any] | str | None
    options: Mapping[str, Any] | None
    data_dir: str | Path | None
    target: str | None
    text_model: str | None
    model: Any
    initial: int | None
    batch_size: int | None
    rounds: int | None
    single_round: bool | None
    validation: int | None
    validation_labels: str | None
    audit: float | None
    audit_folds: int | None
    pool_size: int | None
    imbalance: str | None
    label_noise: float | None
    duplicates: int | None
    plain_accuracy: bool | None
    scaling: str | None
    image_size: int | str | Sequence[int] | None
    skip_bad: bool | None
    protocol: str | None
    seed: int | None
    device: str | None
    threads: int | None
    recipe: Mapping[str, Any] | None
    plugin_options: Mapping[str, Any] | None
    epochs: int | None
    min_steps: int | None
    train_batch_size: int | None
    optimizer: str | None
    learning_rate: float | None
    weight_decay: float | None
    momentum: float | None
    schedule: str | None
    augmentation: str | Sequence[str] | None
    stop_at_full_accuracy: bool | None
    warm_start: bool | None
    precision: str | None
    compile: bool | None
    averaging: float | None


def whole_number(name: str, value: Any) -> int:
    """Return a whole number as Python's own, whatever integer type it comes in.

    Raises:
        InputError: If it is of another type; ``name`` says what it is, and 2 is suggested for 2.0 and ``"2"``.
    """
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    advice = ""
    with suppress(TypeError, ValueError, OverflowError):
        if not isinstance(value, bool) and float(value).is_integer():
            advice = f"; write {int(float(value))}"
    raise InputError(f"{name} must be a whole number, not {value!r}{advice}")


def whole_numbers(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings of a run by name, those that are whole numbers as Python's own; None stays.

    Raises:
        InputError: If one of them, or of those that are true or false, is of another type.
    """
    for name, found in definitions(RunSettings).items():
        if found.type is bool and not isinstance(settings.get(name), bool | None):
            raise InputError(f"{name} is {settings[name]!r}; give True or False")
    names = [name for name, found in definitions(RunSettings).items() if found.type is int]
    return {name: whole_number(name, value) if name in names and value is not None else value
            for name, value in settings.items()}  # fmt: skip


# Entries of config.json that must agree when a run is resumed. Other entries only describe the run.
COMPARED = tuple(found.compared_as for found in definitions(RunSettings).values() if found.compared_as)
# Settings that all runs of a benchmark share, except those of training.
SHARED = tuple(name for name, found in definitions(RunSettings).items() if found.is_shared)
