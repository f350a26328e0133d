"""Calls scikit-activeml's query strategies as documented, for the rules that it implements too.

It requires a classifier. Ours looks up the given outputs, so only the rule is timed: samples are row numbers, except
for `CoreSet`, which computes on the samples themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from skactiveml.base import SkactivemlClassifier
from skactiveml.pool import Badge, CoreSet, GreedyBALD, QueryByCommittee, RandomSampling, UncertaintySampling

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from problem import Outputs

    Picks = NDArray[np.int64]


class LookUp(SkactivemlClassifier):
    """A classifier with precomputed answers, whose samples are row numbers, (n, 1)."""

    def __init__(self, answers: Any, members: Any = None, classes: Any = None, missing_label: float = np.nan) -> None:
        super().__init__(classes=classes, missing_label=missing_label)
        self.answers, self.members = answers, members
        self.classes_ = np.asarray(classes)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> LookUp:  # noqa: N803
        return self

    def predict_proba(self, X: Any) -> Any:  # noqa: N803
        # All candidates are requested at once, in order, so nothing is copied.
        assert len(X) == len(self.answers[0] if isinstance(self.answers, tuple) else self.answers)
        return self.answers

    def sample_proba(self, X: Any) -> Any:  # noqa: N803
        assert len(X) == self.members.shape[1]
        return self.members


def random(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return RandomSampling(random_state=seed(rng)).query(X=numbers(data), y=unknown(data), batch_size=b)


def entropy(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return uncertain("entropy", data.probabilities, data, b, rng)


def margin(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return uncertain("margin_sampling", data.probabilities, data, b, rng)


def leastconf(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return uncertain("least_confident", data.probabilities, data, b, rng)


def entropy_dropout(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return uncertain("entropy", data.passes.mean(axis=0), data, b, rng)


def margin_dropout(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return uncertain("margin_sampling", data.passes.mean(axis=0), data, b, rng)


def leastconf_dropout(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return uncertain("least_confident", data.passes.mean(axis=0), data, b, rng)


def bald(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    strategy = GreedyBALD(sample_predictions_method_name="sample_proba", random_state=seed(rng))
    return committee(strategy, data.passes, data, b)


def varratio(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return committee(by_votes(rng), data.passes, data, b)


def ensvarr(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    return committee(by_votes(rng), data.members, data, b)


def coreset(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    rows = np.concatenate([data.embeddings, data.labeled_embeddings])
    y = np.concatenate([unknown(data), data.labels.astype(float)])
    return CoreSet(random_state=seed(rng)).query(X=rows, y=y, batch_size=b)


def badge(data: Outputs, b: int, rng: np.random.Generator) -> Picks:
    model = LookUp((data.probabilities, data.embeddings), classes=classes(data))
    strategy = Badge(random_state=seed(rng))
    return strategy.query(X=numbers(data), y=unknown(data), clf=model, fit_clf=False, batch_size=b)


RULES: dict[str, Callable[[Outputs, int, np.random.Generator], Picks]] = {
    "random": random,
    "entropy": entropy,
    "margin": margin,
    "leastconf": leastconf,
    "entropy-dropout": entropy_dropout,
    "margin-dropout": margin_dropout,
    "leastconf-dropout": leastconf_dropout,
    "bald": bald,
    "varratio": varratio,
    "ensvarr": ensvarr,
    "coreset": coreset,
    "badge": badge,
}


def n_bytes(rule: str, n: int, b: int, classes: int, dims: int) -> int:
    """Return its approximate memory, for rules that need much: `Badge` and `CoreSet` keep (b, N) utilities."""
    if rule == "badge":
        return 8 * n * b + 16 * n * classes * dims
    return 8 * n * b + 8 * n * dims if rule == "coreset" else 0


def uncertain(
    method: str, probabilities: NDArray[np.floating], data: Outputs, b: int, rng: np.random.Generator
) -> Picks:
    model = LookUp(probabilities, classes=classes(data))
    strategy = UncertaintySampling(method=method, random_state=seed(rng))
    return strategy.query(X=numbers(data), y=unknown(data), clf=model, fit_clf=False, batch_size=b)


def committee(strategy: Any, members: NDArray[np.floating], data: Outputs, b: int) -> Picks:
    model = LookUp(None, members, classes=classes(data))
    return strategy.query(X=numbers(data), y=unknown(data), ensemble=model, fit_ensemble=False, batch_size=b)


def by_votes(rng: np.random.Generator) -> QueryByCommittee:
    return QueryByCommittee(
        method="variation_ratios", sample_predictions_method_name="sample_proba", random_state=seed(rng)
    )


def numbers(data: Outputs) -> NDArray[np.float32]:
    return np.arange(len(data), dtype=np.float32)[:, None]


def unknown(data: Outputs) -> NDArray[np.float64]:
    return np.full(len(data), np.nan)


def classes(data: Outputs) -> NDArray[np.int64]:
    return np.arange(data.probabilities.shape[1])


def seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))
