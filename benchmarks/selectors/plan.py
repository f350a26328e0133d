"""Defines the study: settings, candidate pools, and the contenders on each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

SEVEN = ("entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd")
# Candidates by the pool's name: the AutoAL paper's; those and two that cover; one good candidate among poor ones; and
# all whose query of vectors takes no longer than that of `uherding`.
POOLS: Mapping[str, tuple[str, ...]] = {
    "seven": SEVEN,
    "nine": (*SEVEN, "uherding", "typiclust"),
    "poor": ("margin", "bald", "meanstd", "coreset", "random"),
    "cheap": (
        *SEVEN, "uherding", "typiclust", "alfamix", "badge", "cluster-margin", "coreset", "dbal", "deepfool", "dpp",
        "dropquery", "galaxy", "gradnorm", "maxherding", "power", "probcover",
    ),
}  # fmt: skip
# What every selector has to beat: the candidate that would have been drawn.
CONTROL = "random-candidate"
SELECTORS = ("vote", "autoal", "albl", "tailor", "refine", "round-robin", CONTROL)
# `vote` with other final stages, by the ending of the label: AutoAL's own, the control for its search, and k-means.
STAGES: Mapping[str, str] = {"autoal-stage": "power=0.5,uncertainty=1.5", "diverse": "final=diverse"}
# Of its paper's 100 batches in each pass; a query takes a fifth of the time.
REFINE = "batches=20"
# Selectors with candidates by role.
FIXED: Mapping[str, str] = {"tcm": "tcm", "selectal": "selectal", "refine-own": f"refine[{REFINE}]"}
ORACLES = "best-nine=best[candidates=[{nine}]],previous-nine=previous[candidates=[{nine}]],boss=boss[batches=30]"


@dataclass(frozen=True)
class Setting:
    """A dataset and budget.

    Attributes:
        dataset: Name of the file in --data.
        initial: Size of the initial labeled set.
        batch_size: Labels a round.
        rounds: Number of queries.
        pool_size: Size of a random subset of the pool, drawn by the seed; None for all of it but the oracles' part.
        pools: The candidate pools that selectors are compared on.
        changes: Options of `deepal benchmark` that change the pool.
        sub_pool: Samples of a control of filters: the last strategy of one, on so many at random (see `sub_pools`).
    """

    dataset: str
    initial: int
    batch_size: int
    rounds: int
    pool_size: int | None = 5_000
    pools: tuple[str, ...] = ("nine",)
    changes: Mapping[str, str] = field(default_factory=dict)
    sub_pool: int = 1_000

    @property
    def sub_pools(self) -> tuple[int, ...]:
        """Sizes of random sub-pools: about what `refine` leaves, six batches, and `sub_pool`."""
        return 6 * self.batch_size, self.sub_pool


THREE_POOLS = ("seven", "nine", "poor")
SETTINGS: Mapping[str, Setting] = {
    "mnist-low": Setting("mnist", 10, 10, 10, pools=tuple(POOLS)),
    "cifar10-low": Setting("cifar10", 10, 10, 10, pools=tuple(POOLS)),
    "mnist-medium": Setting("mnist", 100, 50, 8, pools=THREE_POOLS),
    "cifar10-medium": Setting("cifar10", 100, 50, 8, pools=THREE_POOLS),
    "mnist-high": Setting("mnist", 500, 250, 8, 10_000),
    "cifar10-high": Setting("cifar10", 500, 250, 8, 10_000),
    "digits-low": Setting("digits8", 10, 10, 10, None),
    "digits-medium": Setting("digits8", 100, 25, 8, None),
    "breast-cancer": Setting("breast-cancer", 4, 4, 10, None, sub_pool=50),
    "wine": Setting("wine", 6, 3, 10, None, sub_pool=50),
    "mnist-imbalanced": Setting("mnist", 100, 50, 8, changes={"imbalance": "1:20"}),
    "cifar10-noisy": Setting("cifar10", 100, 50, 8, changes={"label-noise": "0.2"}),
    "mnist-duplicates": Setting("mnist", 50, 25, 8, 10_000, changes={"duplicates": "5"}),
}


def singles(setting: Setting) -> list[str]:
    """Return every strategy that is a candidate in a setting, and `random`."""
    return list(dict.fromkeys(("random", *(name for pool in setting.pools for name in POOLS[pool]))))


def contenders(setting: Setting) -> dict[str, str]:
    """Return the contenders of a setting as `deepal benchmark` writes them, by label."""
    found = {name: name for name in singles(setting)}
    for pool in setting.pools:
        for selector in SELECTORS:
            # The bandit needs an arm that may query any sample.
            own = ("random", *POOLS[pool]) if selector == "albl" and "random" not in POOLS[pool] else POOLS[pool]
            options = f",{REFINE}" if selector == "refine" else ""
            found[f"{selector}-{pool}"] = f"{selector}[candidates=[{','.join(own)}]{options}]"
        for ending, options in STAGES.items():
            found[f"vote-{pool}-{ending}"] = f"vote[candidates=[{','.join(POOLS[pool])}],{options}]"
    controls = {f"uherding-{n}": f"sub-pool[candidates=[uherding],size={n}]" for n in setting.sub_pools}
    return {**found, **FIXED, **controls}


def oracles() -> str:
    """Return the oracles as `deepal benchmark` writes them."""
    return ORACLES.format(nine=",".join(POOLS["nine"]))
