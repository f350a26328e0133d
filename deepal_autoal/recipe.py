"""How a task model is trained: settings, and the number of steps that follows from them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from deepal_autoal.augmentation import AUGMENTATIONS
from deepal_autoal.errors import InputError
from deepal_autoal.optimization import OPTIMIZERS, SCHEDULES
from deepal_autoal.placement import PRECISIONS

# With stop_at_full_accuracy: a lucky first epoch is no training.
FEWEST_EPOCHS = 5
# What leaves the label of nearly any image true, where nobody says what does.
OWN_AUGMENTATION = ("crop",)


@dataclass(frozen=True)
class Recipe:
    """Training settings.

    The number of optimiser steps for M labelled samples is ``max(epochs · batches, min_steps)``, rounded up to whole
    epochs, where an epoch's ``batches = ceil(M / train_batch_size)``: ``epochs`` governs large labelled sets, and
    ``min_steps`` sees to it that a handful of samples is learnt too.

    The defaults of the fields are plain settings, which papers' and recorded recipes build on and which therefore stay
    as they are; `for_data` has the defaults for images and for vectors.

    Every epoch visits every sample once, in batches that differ in size by at most one, so that BatchNorm never meets
    a batch of one (of an odd number of samples in pairs, one batch holds three).

    Attributes:
        epochs: Passes over the labelled samples, at least 1.
        min_steps: Fewest optimiser steps, whatever ``epochs`` says.
        train_batch_size: Samples in an optimiser step, at least 2.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        learning_rate: The schedule's highest.
        weight_decay: L2 penalty (adam, sgd), or decoupled decay (adamw).
        momentum: Of sgd (Nesterov's).
        schedule: ``constant``, ``cosine`` (down to zero) or ``onecycle`` (up over the first 30 %, then down).
        augmentation: Of training images, in this order: some of ``crop``, ``flip``, ``rotate``, ``affine``,
            ``jitter``.
        stop_at_full_accuracy: Stop after an epoch, from the fifth, in which every sample was classified correctly in
            the course of training, with dropout and augmentation. A schedule is then cut short.
        warm_start: Whether a round starts from the previous round's weights; otherwise every round starts anew.
        compile: Whether models are compiled (`torch.compile`): slow to start, faster afterwards.
        precision: ``float32``, ``bfloat16`` (autocast), or ``auto`` (see `resolve_precision`).
        averaging: Decay of the moving average of the weights that the trained model gets; 0 keeps the last step's.

    Raises:
        InputError: If a setting is out of range.
    """

    epochs: int = 20
    min_steps: int = 100
    train_batch_size: int = 64
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    momentum: float = 0.9
    schedule: str = "constant"
    augmentation: tuple[str, ...] = ()
    stop_at_full_accuracy: bool = False
    warm_start: bool = False
    precision: str = "auto"
    compile: bool = False
    averaging: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
        for item in fields(self):
            value, kind = getattr(self, item.name), type(item.default)
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                object.__setattr__(self, item.name, float(value))
            elif kind is not tuple:
                _require(type(value) is kind, item.name, value, f"a value of type {kind.__name__}")
        for name, least in (("epochs", 1), ("min_steps", 0), ("train_batch_size", 2)):
            _require(getattr(self, name) >= least, name, getattr(self, name), f"at least {least}")
        _require(0 < self.learning_rate < math.inf, "learning_rate", self.learning_rate, "a positive number")
        _require(0 <= self.weight_decay < math.inf, "weight_decay", self.weight_decay, "0 or more")
        _require(0 <= self.averaging < 1, "averaging", self.averaging, "at least 0 and below 1")
        _require(0 <= self.momentum < 1, "momentum", self.momentum, "at least 0 and below 1")
        for name, known in (("optimizer", OPTIMIZERS), ("schedule", SCHEDULES), ("precision", PRECISIONS)):
            _require(getattr(self, name) in known, name, getattr(self, name), "one of " + ", ".join(known))
        for name in self.augmentation:
            _require(name in AUGMENTATIONS, "augmentation", name, "some of " + ", ".join(AUGMENTATIONS))

    @classmethod
    def for_data(
        cls, input_shape: tuple[int, ...], augmentation: Iterable[str] = OWN_AUGMENTATION, /, **changes: Any
    ) -> Recipe:
        """Return the defaults for a kind of data: `IMAGE_DEFAULTS`, `TINY_IMAGE_DEFAULTS` or `VECTOR_DEFAULTS`.

        Args:
            input_shape: (C, H, W) or (D,) of one input.
            augmentation: What leaves the images' labels true; by default small shifts.
            changes: Settings to use instead, by name.

        Raises:
            InputError: If a change names no setting, or a setting is out of range.
        """
        known = [item.name for item in fields(cls)]
        for name in changes:
            _require(name in known, "recipe", name, "some of " + ", ".join(known))
        is_image = len(input_shape) == 3
        if not is_image and changes.get("augmentation"):
            raise InputError(
                f"augmentation {', '.join(changes['augmentation'])} is for images, and these samples are vectors: "
                "give --augmentation none"
            )
        defaults = VECTOR_DEFAULTS
        if is_image:
            is_tiny = max(input_shape[1:]) < LEAST_SIDE
            defaults = {**(TINY_IMAGE_DEFAULTS if is_tiny else IMAGE_DEFAULTS), "augmentation": tuple(augmentation)}
        return cls(**{**defaults, **changes})

    def n_batches(self, n_labeled: int) -> int:
        """Return the number of optimiser steps in an epoch."""
        return max(1, min(-(-n_labeled // self.train_batch_size), n_labeled // 2))

    def n_epochs(self, n_labeled: int) -> int:
        """Return the number of epochs: ``epochs``, or as many more as ``min_steps`` needs."""
        return max(self.epochs, -(-self.min_steps // self.n_batches(n_labeled)))


# Chosen at 5 to 20 labels a class on development splits of digits, MNIST and CIFAR-10 (docs/training.md). Small
# batches buy steps at the same cost: accuracy goes with the number of steps more than with their size. The schedule
# ends at zero, which did better than to average weights at a constant rate.
IMAGE_DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-3, "min_steps": 600, "schedule": "cosine", "train_batch_size": 16,
}  # fmt: skip
# Images with shorter sides than this need fewer steps.
LEAST_SIDE = 16
TINY_IMAGE_DEFAULTS: dict[str, Any] = {**IMAGE_DEFAULTS, "min_steps": 250}
# For `mlp`, chosen at 1 to 30 labels a class on development parts of five datasets (benchmarks/models/recipes.md): more
# steps make probabilities worse, not accuracy better.
VECTOR_DEFAULTS: dict[str, Any] = {"learning_rate": 3e-3, "min_steps": 100, "schedule": "cosine"}


def _require(holds: bool, name: str, value: Any, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name} {value!r}: give {allowed}")
