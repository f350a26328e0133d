"""Papers' settings by name: dataset, model, initial set, batch, rounds and training, as defaults of a run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from deepal_autoal.datasets import DEFAULT_DATASET
from deepal_autoal.errors import InputError, UnknownNameError

DEEPAL = "Zhan et al. 2022, A Comparative Survey of Deep Active Learning, arXiv 2203.13450"
RAMBO = "Ding, Chen, Jia & Chen 2024, Learning to rank for active learning via multi-task bilevel optimization, UAI"
AUTOAL = "Wang, Zhan & Huang 2025, AutoAL, ICML, arXiv 2410.13853"

# DeepAL+ uses ResNet-18 with its standard stem for gray images and digits, and with CIFAR's stem elsewhere. Neither
# paper mentions the dropout in front of the classifier, which dropout passes need.
_STANDARD, _CIFAR = "resnet18[stem=imagenet,dropout=0.5]", "resnet18[stem=cifar,dropout=0.5]"

# The code's network for large images of tumors and chests, which keeps the max-pooling after the 3x3 stem.
_CIFAR_POOLED = "resnet18[stem=cifar,maxpool=true,dropout=0.5]"
_SGD: Mapping[str, Any] = {"optimizer": "sgd", "train_batch_size": 32}

# Options of strategies by paper; a variant takes its paper's sizes, epochs and the like.
_OF_DEEPAL: Mapping[str, Mapping[str, Any]] = {
    "coreset": {"pca": 32},
    "vaal": {"variant": "paper", "epochs": 30},
    "varratio": {"form": "confidence"},
}
_OF_AUTOAL: Mapping[str, Mapping[str, Any]] = {"autoal": {"variant": "paper"}, "vaal": {"variant": "paper"}}


@dataclass(frozen=True)
class Protocol:
    """A paper's settings for a dataset; a run's explicit settings take precedence.

    Attributes:
        name: ``paper/dataset``.
        dataset: A registered name.
        model: A registered name, with options.
        initial: Size of the initial labeled set.
        batch_size: Labels per round.
        rounds: Number of queries.
        recipe: Changes to the training recipe, by field name.
        strategies: Options of strategies, by name: what the paper uses where our defaults differ.
        chosen: Settings that we chose: neither paper nor code states them, or we could not check what they state.
        validation: Size of the set that is held out for validation, if the paper has one.
        validation_labels: Whether its labels are counted (see `RunSettings`).
        note: What of the paper's settings these are not.
        summary: One line.
        reference: The paper.
    """

    name: str
    dataset: str
    model: str
    initial: int
    batch_size: int
    rounds: int
    recipe: Mapping[str, Any]
    strategies: Mapping[str, Mapping[str, Any]]
    chosen: frozenset[str]
    summary: str
    reference: str
    validation: int | None = None
    validation_labels: str | None = None
    note: str = ""

    def defaults(self) -> dict[str, Any]:
        """Return the arguments of `run`, except for the recipe."""
        names = ("dataset", "model", "initial", "batch_size", "rounds", "validation", "validation_labels")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}

    def options_of(self, strategy: str, candidates: Iterable[str], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return a strategy's options, with those of the paper where none are given.

        Args:
            strategy: Its name.
            candidates: Names of its candidates, whose options are addressed as ``name.key``.
            given: Options that take precedence.
        """
        own = dict(self.strategies.get(strategy, {}))
        addressed = {
            f"{name}.{key}": value for name in candidates for key, value in self.strategies.get(name, {}).items()
        }
        return {**own, **addressed, **given}

    def describe(self) -> dict[str, Any]:
        """Return the protocol as a JSON-able dict, as the listing shows it."""
        return {
            "name": self.name,
            "summary": self.summary,
            **self.defaults(),
            "recipe": {key: list(value) if isinstance(value, tuple) else value for key, value in self.recipe.items()},
            "strategies": {name: dict(options) for name, options in self.strategies.items()},
            "chosen": sorted(self.chosen),
            **({"note": self.note} if self.note else {}),
            "reference": self.reference,
        }


def _deepal(
    dataset: str, model: str, initial: int, batch_size: int, quota: int, epochs: int,
    augmentation: tuple[str, ...] = (), *, chosen: Iterable[str] = (), **recipe: Any,
) -> Protocol:  # fmt: skip
    """Return a DeepAL+ protocol: Adam at 1e-3 from scratch in every round, batches of 128, except for ``recipe``."""
    rounds = quota // batch_size
    return Protocol(
        f"deepal+/{dataset}", dataset, model, initial, batch_size, rounds,
        {"epochs": epochs, "min_steps": 0, "train_batch_size": 128, "optimizer": "adam", "learning_rate": 1e-3,
         "weight_decay": 0.0, "schedule": "constant", "averaging": 0.0, "augmentation": augmentation, **recipe},
        _OF_DEEPAL,
        frozenset({"initial", "batch_size", "rounds", "dropout", "train_batch_size", *chosen}),
        f"{initial:,} + {rounds} x {batch_size:,} labels, ResNet-18, {epochs} epochs of "
        f"{'SGD' if recipe.get('optimizer') == 'sgd' else 'Adam'}",
        DEEPAL,
    )  # fmt: skip


def _autoal(
    dataset: str, initial: int, batch_size: int, rounds: int, epochs: int, optimizer: str, weight_decay: float,
    augmentation: tuple[str, ...], chosen: Iterable[str],
) -> Protocol:  # fmt: skip
    """Return a protocol of AutoAL's published code: ResNet-18, batches of 128, a learning rate of 1e-3."""
    return Protocol(
        f"autoal/{dataset}", dataset, _CIFAR, initial, batch_size, rounds,
        {"epochs": epochs, "min_steps": 0, "train_batch_size": 128, "optimizer": optimizer, "learning_rate": 1e-3,
         **({"momentum": 0.9} if optimizer == "sgd" else {}),
         "weight_decay": weight_decay, "schedule": "constant", "averaging": 0.0,
         "augmentation": augmentation},
        _OF_AUTOAL,
        frozenset({"model", "dropout", "schedule", "train_batch_size", *chosen}),
        f"{initial:,} + {rounds} x {batch_size:,} labels, ResNet-18, {epochs} epochs of {optimizer}",
        AUTOAL,
    )  # fmt: skip


_RAMBO_NOTE = (
    "The paper trains until 99% of the labels are learned, or for 100 epochs; here until all are. Its accuracy is "
    "that on the validation set, which also trained the utility model; here it is that on the test split. rambo has 20 "
    "pairs of trained subsets here, 500 in the paper (-o pairs=500)."
)
_RAMBO_PARTS = " The paper splits the labels into 500 and two chunks of 1,000; here the three parts are equal."


def _rambo(
    dataset: str, model: str, initial: int, batch_size: int, train_batch_size: int, options: Mapping[str, Any],
    note: str = _RAMBO_NOTE, chosen: Iterable[str] = (),
) -> Protocol:  # fmt: skip
    """Return a protocol of RAMBO: all labels at once, Adam at 1e-3 until they are learned, a free validation set."""
    return Protocol(
        f"rambo/{dataset}", dataset, model, initial, batch_size, 1,
        {"epochs": 100, "min_steps": 0, "stop_at_full_accuracy": True, "train_batch_size": train_batch_size,
         "optimizer": "adam", "learning_rate": 1e-3, "weight_decay": 0.0, "schedule": "constant", "averaging": 0.0,
         "augmentation": ()},
        {"rambo": options},
        frozenset({"train_batch_size", "weight_decay", "pairs", *chosen}),
        f"{initial:,} + {batch_size:,} labels at once, {'ResNet-18' if 'resnet' in model else 'LeNet'}, 1,000 that "
        "validate",
        RAMBO,
        1_000,
        "free",
        note,
    )  # fmt: skip


_BUDGET = ("initial", "batch_size", "rounds")

PROTOCOLS: dict[str, Protocol] = {
    protocol.name: protocol
    for protocol in (
        _deepal("mnist", _STANDARD, 500, 250, 10_000, 20),
        _deepal("fashionmnist", _STANDARD, 500, 250, 10_000, 20),
        _deepal("emnist", _STANDARD, 1_000, 500, 50_000, 20),
        _deepal("svhn", _STANDARD, 500, 250, 20_000, 20),
        _deepal("cifar10", _CIFAR, 1_000, 500, 40_000, 30, ("crop", "flip")),
        _deepal("cifar10-imb", _CIFAR, 1_000, 500, 20_000, 30, ("crop", "flip")),
        _deepal("cifar100", _CIFAR, 1_000, 500, 40_000, 30, ("crop", "flip")),
        _deepal("tinyimagenet", _CIFAR, 1_000, 500, 40_000, 40, ("rotate", "flip")),
        # Of the later version of the paper, from its code; the budgets are ours.
        _deepal("waterbirds", _STANDARD, 100, 100, 4_000, 30, ("flip",), **_SGD, learning_rate=1e-4,
                weight_decay=1e-5, momentum=0.9),
        _deepal("breakhis", _CIFAR_POOLED, 100, 100, 4_000, 10, ("rotate", "flip", "jitter"),
                chosen=["augmentation"], **_SGD, momentum=0.0),
        _deepal("chestxray", _CIFAR_POOLED, 100, 100, 4_000, 10, ("flip", "affine"), chosen=["augmentation"], **_SGD,
                momentum=0.0),
        *(_rambo(name, "lenet[dropout=0]", 200, 500, 32, {"pairs": 20, "chunks": 3, "interpolated": 50, "parts": 10})
          for name in ("mnist", "fashionmnist")),
        *(_rambo(name, "resnet18[stem=cifar,dropout=0]", 2_500, 5_000, 128,
                 {"pairs": 20, "chunks": 2, "interpolated": 30, "parts": 5},
                 _RAMBO_NOTE + _RAMBO_PARTS, ["model"]) for name in ("cifar10", "svhn")),
        _autoal("cifar10", 2_000, 1_000, 18, 200, "sgd", 5e-4, ("crop", "flip", "jitter"), (*_BUDGET, "momentum")),
        _autoal("cifar100", 2_000, 1_000, 18, 200, "adamw", 1e-2, ("crop", "flip"), ("weight_decay", "augmentation")),
        _autoal("svhn", 1_000, 1_000, 18, 200, "adamw", 5e-4, (), (*_BUDGET, "augmentation")),
        _autoal("tinyimagenet", 2_000, 1_000, 18, 40, "adamw", 1e-2, ("rotate", "flip"),
                (*_BUDGET, "optimizer", "learning_rate", "weight_decay", "augmentation")),
        _autoal("organcmnist", 500, 250, 18, 400, "sgd", 5e-4, (), (*_BUDGET, "momentum", "augmentation")),
        _autoal("pathmnist", 1_000, 1_000, 18, 400, "adamw", 1e-2, (), (*_BUDGET, "weight_decay", "augmentation")),
        _autoal("tissuemnist", 1_000, 1_000, 18, 400, "adamw", 5e-4, (), (*_BUDGET, "augmentation")),
    )
}  # fmt: skip


def find_protocol(name: str) -> Protocol:
    """Return the protocol of a name.

    Raises:
        UnknownNameError: If there is none; the message suggests the nearest names.
        InputError: If it is not a string.
    """
    if not isinstance(name, str):
        raise InputError(f"protocol {name!r}: give a name, such as deepal+/cifar10")
    if name not in PROTOCOLS:
        raise UnknownNameError("protocol", name, PROTOCOLS, "`deepal protocols` lists all.")
    return PROTOCOLS[name]


def default_dataset(protocol: str | None) -> str:
    """Return the dataset to use if none is named: the protocol's, or the bundled one.

    Raises:
        UnknownNameError: If there is no such protocol.
    """
    return DEFAULT_DATASET if protocol is None else find_protocol(protocol).dataset
