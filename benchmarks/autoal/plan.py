"""The study's grid as data: settings, and contenders in groups that answer a question each."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from deepal_autoal import InputError, Strategy, create_strategy

# The candidates of the AutoAL paper.
SEVEN = ("entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd")
# Fig. 4: pools of 1, 3 and 5; the fourth is all seven.
POOLS = {
    1: ("entropy",),
    3: ("entropy", "margin", "kmeans"),
    5: ("entropy", "margin", "kmeans", "leastconf", "bald"),
}
# One good candidate among poor ones: what a vote cannot tell, and a search should.
POOR = ("margin", "bald", "meanstd", "coreset", "random")
# What differences are taken to.
OURS = "autoal"
ORACLE = "hindsight"


@dataclass(frozen=True)
class Setting:
    """Where strategies are compared.

    Attributes:
        name: Names its rows.
        dataset: Name of the embeddings in --data, or of the dataset in --images if ``is_images``.
        model: Task model.
        initial: Size of the initial labelled set.
        batch_size: Labels a round.
        rounds: Number of queries.
        pool_size: Random subset of the pool, drawn by the seed; None for all of it.
        is_images: Whether the samples are images, not embeddings.
        is_imbalanced: Whether the embeddings' training classes are in proportion 1:2:....
        needs_gpu: Whether it takes days without one; left out unless named.
        max_seeds: Most seeds, where more cost too much.
        recipe: Changes to the training recipe.
        groups: What is compared there unless groups are named.
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
        label: Names its rows.
        strategy: A registered name; `ORACLE` stands for the oracle, which is none.
        candidates: Names of its candidates; None for its own, or where it takes none.
        options: Constructor options.
        wants_backbone: Whether it differs from others only where the task model has a backbone: the model of vectors
            has none, so that networks of AutoAL's own start from the same embeddings there.
    """

    label: str
    strategy: str
    candidates: tuple[str, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    wants_backbone: bool = False

    @property
    def is_oracle(self) -> bool:
        """Whether it is the oracle, which sees what no strategy may see (see `hindsight`)."""
        return self.strategy == ORACLE

    def create(self) -> Strategy:
        """Return the strategy; the oracle is made by `study`, as it wants the data."""
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
    """Return a strategy with AutoAL's final stage: a vote of that one candidate."""
    return Contender(f"{name}+diverse", "vote", (name,))


def _autoal(label: str, **options: Any) -> Contender:
    return Contender(label, OURS, SEVEN, options, options.get("networks") in ("trunk", "backbones"))


AUTOAL = _autoal(OURS)
VOTE = Contender("vote", "vote", SEVEN)
FROZEN = _autoal("frozen", search="frozen")
DBAL = Contender("dbal", "dbal")
ALBL = Contender("albl", "albl", ("random", *SEVEN))


def _pool(strategy: str, size: int) -> Contender:
    return Contender(f"{strategy}-{size}", strategy, POOLS[size])


# One at a time; a value that is the default is AUTOAL itself and is left out. Heads and own backbones are in "figure3".
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
    # What the claim stands or falls with; for settings that cost much.
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
        _autoal("paper", variant="paper"),
        _autoal("paper+diverse", variant="paper", final="diverse"),
    ),
    # Fig. 4; a vote of one is that one with the diverse stage.
    "pools": (
        *(_diverse(name) for name in POOLS[1]), _pool("vote", 3), _pool("vote", 5), VOTE,
        _pool(OURS, 1), _pool(OURS, 3), _pool(OURS, 5), AUTOAL,
    ),
    "poor": (
        Contender("vote-poor", "vote", POOR),
        Contender("autoal-poor", OURS, POOR),
        Contender("frozen-poor", OURS, POOR, {"search": "frozen"}),
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
    """Return the contenders of some groups, each once; what is the same as AUTOAL goes by that label alone.

    Args:
        groups: Names.
        has_backbone: Whether the task model has one; see `Contender.wants_backbone`.

    Raises:
        InputError: If there is no such group, or a strategy or an option is not there.
    """
    usual = described(AUTOAL.create())
    chosen: dict[str, Contender] = {}
    for group in groups:
        if group not in GROUPS:
            raise InputError(f"there is no group {group!r}; choose of {', '.join(GROUPS)}")
        for contender in GROUPS[group]:
            if contender.wants_backbone and not has_backbone:
                continue
            if contender != AUTOAL and not contender.is_oracle and described(contender.create()) == usual:
                contender = AUTOAL
            chosen[contender.label] = contender
    return list(chosen.values())


def described(strategy: Strategy) -> dict[str, Any]:
    """Return everything that tells two strategies apart: options, given or not, and candidates with theirs."""
    return {
        "name": strategy.name,
        "options": strategy.describe_options(),
        "candidates": [described(candidate) for candidate in getattr(strategy, "candidates", {}).values()],
    }


def key_of(setting: Setting, contender: Contender, *further: str) -> str:
    """Return a short text that changes with whatever a run's numbers follow from, but for code and the data's content.

    Args:
        setting: Where.
        contender: Who.
        further: What else counts, such as the data's file name.
    """
    what = asdict(contender) if contender.is_oracle else described(contender.create())
    where = {name: value for name, value in asdict(setting).items() if name not in ("groups", "max_seeds", "needs_gpu")}
    text = json.dumps([where, what, *further], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
