"""AutoAL's settings, and what the variants stand for."""

from __future__ import annotations

from dataclasses import dataclass

from deepal_strategies.options import check_at_least, check_choice, check_positive

SCORES = ("ranks", "picks")
OBJECTIVES = ("ranked", "centred", "loss")
REGULARIZERS = ("relative", "printed")
FIT_WEIGHTS = ("softmax", "printed")
THRESHOLDS = ("mixture", "quantile")
SEARCHES = ("trained", "frozen")
FINALS = ("diverse", "top")
NETWORKS = ("heads", "backbones")

# The equations leave these open or fail where taken literally; see the functions of `equations`.
VARIANTS: dict[str, dict[str, str]] = {
    "default": {
        "scores": "ranks",
        "objective": "ranked",
        "regularizer": "relative",
        "fit_weights": "softmax",
        "final": "diverse",
    },
    "paper": {
        "scores": "picks",
        "objective": "loss",
        "regularizer": "printed",
        "fit_weights": "printed",
        "final": "top",
    },
}


@dataclass(frozen=True)
class Settings:
    """Everything the search needs to know besides the data; `AutoAL` describes the options.

    Raises:
        InputError: If a value is out of range.
    """

    n_cycles: int
    half_effort: float
    warmup_steps: int
    steps: int
    learning_rate: float
    regularizer_weight: float
    train_batch_size: int
    loss_module: bool
    search: str
    scores: str
    objective: str
    regularizer: str
    fit_weights: str
    threshold: str
    networks: str

    def __post_init__(self) -> None:
        check_at_least("n_cycles", self.n_cycles, 1)
        check_positive("half_effort", self.half_effort)
        check_at_least("warmup_steps", self.warmup_steps, 0)
        check_at_least("steps", self.steps, 1)
        check_positive("learning_rate", self.learning_rate)
        check_at_least("regularizer_weight", self.regularizer_weight, 0)
        # A single sample cannot be compared with others.
        check_at_least("train_batch_size", self.train_batch_size, 2)
        check_choice("search", self.search, SEARCHES)
        check_choice("scores", self.scores, SCORES)
        check_choice("objective", self.objective, OBJECTIVES)
        check_choice("regularizer", self.regularizer, REGULARIZERS)
        check_choice("fit_weights", self.fit_weights, FIT_WEIGHTS)
        check_choice("threshold", self.threshold, THRESHOLDS)
        check_choice("networks", self.networks, NETWORKS)
