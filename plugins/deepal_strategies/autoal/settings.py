"""AutoAL's settings, and those of its variants."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from deepal_autoal import InputError
from deepal_strategies.shared.option_checks import check_at_least, check_choice, check_positive, check_share

SCORES = ("ranks", "picks")
OBJECTIVES = ("ranked", "centred", "alignment", "loss")
REGULARIZERS = ("relative", "printed")
FIT_WEIGHTS = ("softmax", "printed")
THRESHOLDS = ("mixture", "quantile")
POOL_THRESHOLDS = ("own", "labeled")
WEIGHTS = ("softmax", "sigmoid")
SEARCHES = ("trained", "frozen", "random")
SCORERS = ("half", "task")
NETWORKS = ("votes", "heads", "half-heads", "trunk", "backbones", "own")
COUNTS = ("soft", "exact")
# SearchNet is new in every cycle, and the cycles' scores are averaged.
PER_CYCLE = ("votes", "half-heads", "trunk")
# Networks that start from raw inputs.
OF_INPUTS = ("trunk", "backbones", "own")
# Cheap where votes or embeddings already exist: the whole pool is scored, and the weights are means over it.
OF_OUTPUTS = ("votes", "heads")
MEMORIES = ("fresh", "warm")

# Where the equations leave something open or fail as printed; see the functions of `equations`, and docs/autoal.md.
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {
        "half_effort": 0.5,
        "warmup_epochs": 0,
        "search_epochs": 0,
        "scores": "ranks",
        "min_rate": 0.1,
        "n_components": 3,
        "objective": "ranked",
        "regularizer": "relative",
        "count": "soft",
        "fit_weights": "softmax",
        "pool_threshold": "own",
        "networks": "votes",
        "search_learning_rate": 0.03,
        "momentum": 0.9,
        "weight_decay": 0.1,
        "shrinkage": 400.0,
        "carry": 0.5,
        "final": "coverage",
    },
    # The equations as printed, on small heads and with the default's number of steps.
    "printed": {
        "half_effort": 0.5,
        "warmup_epochs": 0,
        "search_epochs": 0,
        "scores": "picks",
        "min_rate": 0.1,
        "n_components": 3,
        "objective": "loss",
        "regularizer": "printed",
        "count": "soft",
        "fit_weights": "printed",
        "pool_threshold": "labeled",
        "networks": "heads",
        "search_learning_rate": 0.005,
        "momentum": 0.9,
        "weight_decay": 0.0,
        "shrinkage": 0.0,
        "carry": 0.0,
        "final": "top",
    },
    # The paper's method as far as its text goes.
    "paper": {
        "half_effort": 1.0,
        "warmup_epochs": 200,
        "search_epochs": 400,
        "scores": "picks",
        "min_rate": 0.0,
        "n_components": 0,
        "objective": "loss",
        "regularizer": "printed",
        "count": "exact",
        "fit_weights": "printed",
        "pool_threshold": "labeled",
        "networks": "own",
        "search_learning_rate": 0.005,
        "momentum": 0.0,
        "weight_decay": 0.0,
        "shrinkage": 0.0,
        "carry": 0.0,
        "final": "top",
    },
}


@dataclass(frozen=True)
class Settings:
    """Everything the search needs besides the data; `AutoAL` describes the options.

    Raises:
        InputError: If a value is out of range.
    """

    n_cycles: int
    half_effort: float
    warmup_steps: int
    steps: int
    warmup_epochs: int
    search_epochs: int
    learning_rate: float
    search_learning_rate: float
    momentum: float
    weight_decay: float
    regularizer_weight: float
    train_batch_size: int
    loss_module: bool
    search: str
    scorer: str
    scores: str
    min_rate: float
    n_components: int
    objective: str
    regularizer: str
    count: str
    fit_weights: str
    threshold: str
    pool_threshold: str
    weights: str
    networks: str
    memory: str
    shrinkage: float
    carry: float

    def __post_init__(self) -> None:
        check_at_least("n_cycles", self.n_cycles, 1)
        check_positive("half_effort", self.half_effort)
        check_at_least("warmup_steps", self.warmup_steps, 0)
        check_at_least("steps", self.steps, 1)
        check_positive("learning_rate", self.learning_rate)
        check_positive("search_learning_rate", self.search_learning_rate)
        for name in ("warmup_epochs", "search_epochs", "n_components", "momentum", "weight_decay"):
            check_at_least(name, getattr(self, name), 0)
        if self.momentum >= 1:
            raise InputError(f"option momentum is {self.momentum}; it must be below 1")
        check_share("min_rate", self.min_rate)
        check_at_least("regularizer_weight", self.regularizer_weight, 0)
        # A single sample cannot be compared with others.
        check_at_least("train_batch_size", self.train_batch_size, 2)
        check_at_least("shrinkage", self.shrinkage, 0)
        check_share("carry", self.carry)
        for name, choices in (
            ("search", SEARCHES), ("scorer", SCORERS), ("scores", SCORES), ("objective", OBJECTIVES),
            ("regularizer", REGULARIZERS), ("count", COUNTS), ("fit_weights", FIT_WEIGHTS), ("threshold", THRESHOLDS),
            ("pool_threshold", POOL_THRESHOLDS), ("weights", WEIGHTS), ("networks", NETWORKS), ("memory", MEMORIES),
        ):  # fmt: skip
            check_choice(name, getattr(self, name), choices)
