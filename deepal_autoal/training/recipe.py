"""How a task model is trained: settings, and the number of steps that results from them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from numbers import Integral, Real
from typing import Any

from deepal_autoal.errors import InputError
from deepal_autoal.run_settings import setting, split_names

# Implemented in optimizers.py, augmentation.py and numerics/precision.py, which import torch.
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "onecycle")
AUGMENTATIONS = ("crop", "flip", "rotate", "affine", "jitter")
PRECISIONS = ("auto", "float32", "bfloat16")
# With stop_at_full_accuracy: a lucky first epoch is not enough.
FEWEST_EPOCHS = 5
# The default: it keeps the labels of nearly all images true.
OWN_AUGMENTATION = ("crop",)


@dataclass(frozen=True)
class Recipe:
    """Training settings.

    The number of optimizer steps for M labeled samples is ``max(epochs · batches, min_steps)``, rounded up to whole
    epochs, where an epoch's ``batches = ceil(M / train_batch_size)``: ``epochs`` governs large labeled sets, and
    ``min_steps`` ensures that a handful of samples is learned too.

    The field defaults are plain settings that must not change, because papers' and recorded recipes build on them;
    `for_data` has the defaults for images and for vectors.

    Every epoch visits every sample once, in batches that differ in size by at most one, so BatchNorm never gets a batch
    of one (with an odd number of samples in pairs, one batch has three).

    Attributes:
        epochs: Passes over the labeled samples, at least 1.
        min_steps: Fewest optimizer steps, whatever ``epochs`` says.
        train_batch_size: Samples in an optimizer step, at least 2.
        optimizer: ``adam``, ``adamw`` or ``sgd``.
        learning_rate: The schedule's highest learning rate.
        weight_decay: L2 penalty (adam, sgd), or decoupled decay (adamw).
        momentum: Nesterov momentum of sgd.
        schedule: ``constant``, ``cosine`` (down to zero) or ``onecycle`` (up over the first 30%, then down).
        augmentation: Applied to training images, in this order: some of ``crop``, ``flip``, ``rotate``, ``affine``,
            ``jitter``.
        stop_at_full_accuracy: Stop after an epoch, from the fifth, in which every sample was classified correctly
            during training, with dropout and augmentation. A schedule is then cut short.
        warm_start: Whether a round starts from the previous round's weights; otherwise from scratch.
        compile: Whether models are compiled (`torch.compile`): slow to start, faster afterwards.
        precision: ``float32``, ``bfloat16`` (autocast), or ``auto`` (see `resolve_precision`).
        averaging: Decay of the moving average of weights, which the trained model gets; 0 keeps the last step's.

    Raises:
        InputError: If a setting is out of range.
    """

    epochs: int = setting(
        20, help="Training epochs per round; default 20, more while labels are few (see --min-steps).", metavar="E",
        type=int,
    )  # fmt: skip
    min_steps: int = setting(
        100, help="Minimum optimizer steps, for tiny labeled sets; with --epochs, default 0.", metavar="N", type=int
    )
    train_batch_size: int = setting(64, help="Samples per optimizer step.", metavar="N", type=int)
    optimizer: str = setting("adam", help=f"{', '.join(OPTIMIZERS[:-1])} or {OPTIMIZERS[-1]}.", metavar="NAME")
    learning_rate: float = setting(1e-3, help="Highest learning rate.", metavar="X", type=float)
    weight_decay: float = setting(0.0, help="Weight decay.", metavar="X", type=float)
    momentum: float = setting(0.9, type=float)
    schedule: str = setting("constant", help="Learning-rate schedule: constant, cosine or onecycle.", metavar="NAME")
    augmentation: tuple[str, ...] = setting(
        (), help="Applied to training images in order: crop, flip, rotate, affine, jitter.", metavar="A,B|none"
    )
    stop_at_full_accuracy: bool = setting(False, help="Stop training once all labels are learned.", type=bool)
    warm_start: bool = setting(False, help="Continue training from the last round's weights.", type=bool)
    precision: str = setting("auto", help="auto, float32 or bfloat16.", metavar="NAME", group="machine")
    compile: bool = setting(False, help="Compile the model with torch.compile.", type=bool, group="machine")
    averaging: float = setting(0.0, help="Decay of a moving average of the weights; 0: none.", metavar="X", type=float)

    def __post_init__(self) -> None:
        object.__setattr__(self, "augmentation", tuple(self.augmentation))
        for item in fields(self):
            value, kind = getattr(self, item.name), type(item.default)
            # NumPy's numbers too; but True, an integer to Python, is none.
            is_bool = isinstance(value, bool)
            if kind is int and not is_bool and isinstance(value, Integral):
                object.__setattr__(self, item.name, int(value))
            elif kind is float and not is_bool and isinstance(value, Real):
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

    @staticmethod
    def changes(given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the given settings by field name, without those that are None.

        Args:
            given: Settings by name; ``augmentation`` may be text, as on the command line: ``crop,flip`` or ``none``.
        """
        found = {name: value for name, value in given.items() if value is not None}
        written = found.get("augmentation")
        if isinstance(written, str):
            names = split_names(written)
            found["augmentation"] = tuple(names if names != ["none"] else [])
        return found

    @classmethod
    def for_data(
        cls, input_shape: tuple[int, ...], augmentation: Iterable[str] = OWN_AUGMENTATION, /, **changes: Any
    ) -> Recipe:
        """Return the defaults for a kind of data: `IMAGE_DEFAULTS`, `TINY_IMAGE_DEFAULTS` or `VECTOR_DEFAULTS`.

        A change of ``epochs`` alone is obeyed however few labels there are: ``min_steps`` is then 0.

        Args:
            input_shape: (C, H, W) or (D,) of one input.
            augmentation: Augmentations that keep the images' labels true; by default small shifts.
            changes: Settings to use instead, by name.

        Raises:
            InputError: If a change is not the name of a setting, or a setting is out of range.
        """
        given: Any = input_shape
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise InputError(f"Recipe.for_data takes the shape of one input, such as (3, 32, 32), not {input_shape!r}")
        known = [item.name for item in fields(cls)]
        for name in changes:
            _require(name in known, "recipe", name, "some of " + ", ".join(known))
        is_image = len(input_shape) == 3
        if not is_image and changes.get("augmentation"):
            raise InputError(
                f"augmentation {', '.join(changes['augmentation'])} is for images, but these samples are vectors: "
                "give --augmentation none"
            )
        defaults = VECTOR_DEFAULTS
        if is_image:
            is_tiny = max(input_shape[1:]) < LEAST_SIDE
            defaults = {**(TINY_IMAGE_DEFAULTS if is_tiny else IMAGE_DEFAULTS), "augmentation": tuple(augmentation)}
            fitting = PIXELS_AT_ONCE // math.prod(input_shape[1:])
            defaults["train_batch_size"] = max(2, min(defaults["train_batch_size"], fitting))
        if "epochs" in changes:
            defaults = {**defaults, "min_steps": 0}
        return cls(**{**defaults, **changes})

    def n_batches(self, n_labeled: int) -> int:
        """Return the number of optimizer steps in an epoch."""
        return max(1, min(-(-n_labeled // self.train_batch_size), n_labeled // 2))

    def n_epochs(self, n_labeled: int) -> int:
        """Return the number of epochs: ``epochs``, or more if ``min_steps`` requires it."""
        return max(self.epochs, -(-self.min_steps // self.n_batches(n_labeled)))

    def describe_length(self, fewest: int, most: int) -> str:
        """Return how long training takes, in words.

        Args:
            fewest: Size of the labeled set in the first round.
            most: Size in the last round.
        """
        plural = "" if self.epochs == 1 else "s"
        first, last = self.n_epochs(fewest), self.n_epochs(most)
        if first == self.epochs:
            return f"{self.epochs} epoch{plural}"
        then = "" if last == first else f", {last} with {most}"
        return (
            f"{self.epochs} epoch{plural}, but at least {self.min_steps} steps: {first} epochs with {fewest} "
            f"label{'' if fewest == 1 else 's'}{then}"
        )


# Chosen at 5 to 20 labels a class on development splits of digits, MNIST and CIFAR-10 (docs/training.md). Small
# batches give more steps at the same cost: accuracy depends on the number of steps more than on their size. The
# schedule ends at zero, which did better than averaging weights at a constant rate.
IMAGE_DEFAULTS: dict[str, Any] = {
    "learning_rate": 2e-3, "min_steps": 600, "schedule": "cosine", "train_batch_size": 16,
}  # fmt: skip
# Images with shorter sides than this need fewer steps.
LEAST_SIDE = 16
# Pixels of a training batch by default, those of 16 images of 256x256, so that memory and the time of a step are
# bounded: networks keep about 500 bytes a pixel, and a step takes seconds on a CPU.
PIXELS_AT_ONCE = 16 * 256 * 256
TINY_IMAGE_DEFAULTS: dict[str, Any] = {**IMAGE_DEFAULTS, "min_steps": 250}
# For `mlp`, chosen at 1 to 30 labels a class on development parts of five datasets (benchmarks/models/recipes.md): more
# steps make probabilities worse without improving accuracy.
VECTOR_DEFAULTS: dict[str, Any] = {"learning_rate": 3e-3, "min_steps": 100, "schedule": "cosine"}


def _require(holds: bool, name: str, value: Any, allowed: str) -> None:
    if not holds:
        raise InputError(f"{name} {value!r}: give {allowed}")
