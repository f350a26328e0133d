"""Defines the study's grid: settings, and contenders in groups that each answer a question."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deepal_autoal import InputError, Strategy, create_strategy

# The candidates of the AutoAL paper.
SEVEN = ("entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd")
# Fig. 4: candidate pools of 1, 3 and 5; the fourth pool is all seven.
POOLS = {
    1: ("entropy",),
    3: ("entropy", "margin", "kmeans"),
    5: ("entropy", "margin", "kmeans", "leastconf", "bald"),
}
# The final stage of this study, the default until coverage took its place.
DIVERSE = {"final": "diverse"}
# One good candidate among poor ones, which a search should find and a vote cannot.
POOR = ("margin", "bald", "meanstd", "coreset", "random")
# The strategy that the others are compared to.
OURS = "autoal"
ORACLE = "hindsight"


@dataclass(frozen=True)
class Setting:
    """A dataset, model and budget on which strategies are compared.

    Attributes:
        name: Its name in result rows.
        dataset: Name of the embeddings in --data, or of the dataset in --images if ``is_images``.
        model: Task model.
        initial: Size of the initial labeled set.
        batch_size: Labels a round.
        rounds: Number of queries.
        pool_size: Size of a random subset of the pool, drawn by the seed; None for all of it.
        is_images: Whether the samples are images, not embeddings.
        is_imbalanced: Whether the embeddings' training classes are in proportion 1:2:....
        needs_gpu: Whether it takes days without a GPU; left out unless named.
        max_seeds: The most seeds to run, if more cost too much.
        recipe: Changes to the training recipe.
        groups: The default groups of contenders.
    """

    name: str
    dataset: str
    model: str
    initial: int
    batch_size: int
    rounds: int
    pool_size: int | None
    is_images: bool = False
    is_imbalanced: bool = False
    needs_gpu: bool = False
    max_seeds: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    groups: tuple[str, ...] = ("main", "poor", "pools", "oracle")


@dataclass(frozen=True)
class Contender:
    """A strategy as the study compares it.

    Attributes:
        label: Its name in result rows.
        strategy: A registered name; or `ORACLE` for the oracle, which is not registered.
        candidates: Names of its candidates; None for the strategy's default, or if it takes none.
        options: Constructor options.
        wants_backbone: Whether it differs from others only if the task model has a backbone: the model for vectors has
            none, so AutoAL's own networks start from the same embeddings there.
    """

    label: str
    strategy: str
    candidates: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    wants_backbone: bool = False

    @property
    def is_oracle(self) -> bool:
        """Whether it is the oracle, which sees data that no strategy may see (see `hindsight`)."""
        return self.strategy == ORACLE

    def create(self) -> Strategy:
        """Return the strategy; `study` creates the oracle, which needs the data."""
        return create_strategy(self.strategy, self.candidates, **self.options)


def _embedded(dataset: str) -> list[Setting]:
    return [
        Setting(f"{dataset}-low", dataset, "linear", 30, 30, 8, 5_000),
        Setting(
            f"{dataset}-medium", dataset, "linear", 200, 100, 8, 5_000,
            groups=("main", "poor", "pools", "figure3", "ablations", "oracle"),
        ),
        Setting(f"{dataset}-high", dataset, "linear", 1_000, 250, 6, 8_000),
        Setting(f"{dataset}-imbalanced", dataset, "linear", 100, 50, 8, 5_000, is_imbalanced=True),
    ]  # fmt: skip


SETTINGS = {
    setting.name: setting
    for setting in (
        *_embedded("mnist"),
        *_embedded("cifar10"),
        Setting(
            "mnist-cnn", "mnist", "cnn", 50, 50, 6, 3_000, is_images=True, max_seeds=5, groups=("core", "figure3"),
        ),
        # 30 epochs, crop and flip: DeepAL+'s training for CIFAR-10.
        Setting(
            "cifar10-resnet18", "cifar10", "resnet18", 1_000, 1_000, 10, None, is_images=True, needs_gpu=True,
            recipe={"epochs": 30, "train_batch_size": 128, "augmentation": ("crop", "flip")},
            groups=("core",),
        ),
    )
}  # fmt: skip


def _plain(name: str) -> Contender:
    return Contender(name, name)


def _diverse(name: str) -> Contender:
    """Return a strategy with AutoAL's final stage, as a vote of that single candidate."""
    return Contender(f"{name}+diverse", "vote", (name,), DIVERSE)


def _autoal(label: str, **options: Any) -> Contender:
    # The other variants have a stage of their own.
    given = options if "variant" in options else {**DIVERSE, **options}
    return Contender(label, OURS, SEVEN, given, options.get("networks") in ("trunk", "backbones"))


AUTOAL = _autoal(OURS)
VOTE = Contender("vote", "vote", SEVEN, DIVERSE)
FROZEN = _autoal("frozen", search="frozen")
DBAL = Contender("dbal", "dbal")
ALBL = Contender("albl", "albl", ("random", *SEVEN))


def _pool(strategy: str, size: int) -> Contender:
    return Contender(f"{strategy}-{size}", strategy, POOLS[size], DIVERSE)


# Varied one at a time; default values are the same as AUTOAL and left out. Heads and own backbones are in "figure3".
ALTERNATIVES: dict[str, tuple[Any, ...]] = {
    "n_cycles": (1, 3),
    "half_effort": (0.5, 1.0),
    "warmup_steps": (0, 50, 200),
    "steps": (50, 100, 400),
    "search_learning_rate": (0.005, 0.03, 0.1),
    "weight_decay": (0.0, 0.1, 1.0),
    "scorer": ("half", "task"),
    "scores": ("ranks", "picks"),
    "threshold": ("mixture", "quantile"),
    "pool_threshold": ("own", "labeled"),
    "weights": ("softmax", "sigmoid"),
    "objective": ("ranked", "centred", "alignment", "loss"),
    "regularizer": ("relative", "printed"),
    "regularizer_weight": (0.0, 0.1, 1.0),
    "fit_weights": ("softmax", "printed"),
    "networks": ("votes", "half-heads", "trunk"),
    "memory": ("fresh", "warm"),
    "shrinkage": (0.0, 100.0, 400.0, 1600.0),
    "carry": (0.0, 0.5, 0.9),
    "loss_module": (True, False),
    "oversample": (5, 10, 20),
}

GROUPS: dict[str, tuple[Contender, ...]] = {
    # The contenders that decide the claim; for expensive settings.
    "core": (
        _plain("random"), _plain("entropy"), _plain("margin"), _plain("kmeans"), _diverse("margin"), DBAL, ALBL, VOTE,
        FROZEN, AUTOAL,
    ),
    "main": (
        _plain("random"),
        _diverse("random"),
        *(_plain(name) for name in SEVEN),
        *(_diverse(name) for name in SEVEN),
        VOTE,
        Contender("vote-top", "vote", SEVEN, {"final": "top"}),
        DBAL,
        ALBL,
        AUTOAL,
        _autoal("autoal-top", final="top"),
        FROZEN,
        _autoal("frozen-top", search="frozen", final="top"),
        _autoal("random-weights", search="random"),
        _autoal("printed", variant="printed"),
        _autoal("printed+diverse", variant="printed", final="diverse"),
    ),
    # Fig. 4; a vote of one candidate is that candidate with the diverse stage.
    "pools": (
        *(_diverse(name) for name in POOLS[1]), _pool("vote", 3), _pool("vote", 5), VOTE,
        _pool(OURS, 1), _pool(OURS, 3), _pool(OURS, 5), AUTOAL,
    ),
    "poor": (
        Contender("vote-poor", "vote", POOR, DIVERSE),
        Contender("autoal-poor", OURS, POOR, DIVERSE),
        Contender("frozen-poor", OURS, POOR, {**DIVERSE, "search": "frozen"}),
    ),
    # Fig. 3: own backbones, the loss module, both, neither.
    "figure3": (
        AUTOAL,
        *(_autoal(f"autoal[networks={networks},loss_module={module}]", networks=networks, loss_module=module)
          for networks in ("heads", "backbones") for module in (False, True)),
    ),
    "ablations": (
        AUTOAL,
        *(_autoal(f"autoal[{option}={value}]", **{option: value})
          for option, values in ALTERNATIVES.items() for value in values),
    ),
    "oracle": (AUTOAL, VOTE, Contender(ORACLE, ORACLE, SEVEN)),
}  # fmt: skip


def ours_of(group: str) -> str:
    """Return the label that a group's differences are taken from: AutoAL over that group's candidates."""
    return "autoal-poor" if group == "poor" else OURS


def contenders(groups: Iterable[str], has_backbone: bool = True) -> list[Contender]:
    """Return the contenders of some groups, each once; those identical to AUTOAL appear only under its label.

    Args:
        groups: Names of groups.
        has_backbone: Whether the task model has one; see `Contender.wants_backbone`.

    Raises:
        InputError: If there is no such group, strategy or option.
    """
    usual = described(AUTOAL.create())
    chosen: dict[str, Contender] = {}
    for group in groups:
        if group not in GROUPS:
            raise InputError(f"there is no group {group!r}; choose from {', '.join(GROUPS)}")
        for contender in GROUPS[group]:
            if contender.wants_backbone and not has_backbone:
                continue
            if contender != AUTOAL and not contender.is_oracle and described(contender.create()) == usual:
                contender = AUTOAL
            chosen[contender.label] = contender
    return list(chosen.values())


def described(strategy: Strategy) -> dict[str, Any]:
    """Return everything that distinguishes two strategies: all options, and the candidates with theirs."""
    return {
        "name": strategy.name,
        "options": strategy.describe_options(),
        "candidates": [described(candidate) for candidate in getattr(strategy, "candidates", {}).values()],
    }


def key_of(setting: Setting, contender: Contender, *further: str) -> str:
    """Return a hash of everything that determines a run's numbers, except code and the data's content.

    Args:
        setting: The run's setting.
        contender: The run's contender.
        further: What else matters, such as the data's file name.
    """
    what = asdict(contender) if contender.is_oracle else described(contender.create())
    where = {name: value for name, value in asdict(setting).items() if name not in ("groups", "max_seeds", "needs_gpu")}
    text = json.dumps([where, what, *further], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
