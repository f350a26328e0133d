"""One query on a pool that is large for a check, measured once and compared with the card by several checks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepal_autoal.errors import InputError
from deepal_autoal.plugins.cost_formulas import degree_of_cost, evaluate_cost
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.querying.selector import SelectorStrategy
from deepal_autoal.querying.strategy import Strategy
from deepal_autoal.testing.allocation import Usage, measure
from deepal_autoal.testing.problems import blobs

if TYPE_CHECKING:
    from deepal_autoal.testing.problems import Problem
    from deepal_autoal.testing.subject import Subject

N_CANDIDATES, N_LABELED, BATCH, N_CLASSES, N_FEATURES = 2500, 60, 20, 4, 16
# Used if the card gives no formula.
LINEAR = {"memory": "N*(T*C + D + P) + L*(D + P)", "time": "b*(N + L)*(T*C + D + P)"}
# CPU time. Training a network on thousands of samples takes minutes; what it uses shows early.
SECONDS = 3.0


@dataclass(frozen=True)
class LargeQuery:
    """A measured query.

    Attributes:
        usage: The resources it used.
        strategy: The strategy that answered.
        sizes: Values of the symbols in cards' formulas; ``ask`` is added when a formula is evaluated.
    """

    usage: Usage
    strategy: Strategy
    sizes: Mapping[str, int]

    def class_size(self, formula: str, field: str) -> int:
        """Return a formula's value for this query.

        Args:
            formula: A formula on a card.
            field: ``memory`` or ``time``: which formulas of a selector's candidates give ``ask``.
        """
        return self._class_size(formula, field, self.strategy)

    def _class_size(self, formula: str, field: str, strategy: Strategy) -> int:
        asked = [self._class_size(inner, field, candidate) for inner, candidate in _candidates(strategy, field)]
        own = {"K": len(asked)} if asked else {}
        return evaluate_cost(formula, {**self.sizes, **own, "ask": sum(asked)})


def query_large_pool(
    subject: Subject,
    n_candidates: int = N_CANDIDATES,
    batch_size: int = BATCH,
    n_classes: int = N_CLASSES,
    seconds: float = SECONDS,
) -> LargeQuery:
    """Return the measured query of a new strategy; it is run once.

    Args:
        subject: Creates the strategy.
        n_candidates: N.
        batch_size: b.
        n_classes: C.
        seconds: See `measure`.
    """

    def ask() -> LargeQuery:
        strategy = subject.create()
        context = subject.context(_problem(subject, strategy, n_candidates, n_classes), strategy=strategy)
        usage, calls = measure(lambda: subject.ask_in(context, batch_size, strategy=strategy), seconds)
        n_inputs = context.labeled.inputs([0]).numel()
        sizes = {
            "N": len(context.candidates),
            "L": len(context.labeled),
            "b": batch_size,
            "C": context.n_classes,
            "D": context.model.module.embedding_dim,
            "P": n_inputs,
            "T": calls.largest("mc_probabilities", 10),
            "M": calls.largest("ensemble_probabilities", 5),
            "K": 1,
            "E": 1,
            "sweep": len(context.candidates) * n_inputs,
            "fit": len(context.labeled) * n_inputs,
        }
        return LargeQuery(usage, strategy, sizes)

    found: LargeQuery = subject.measured(("large query", n_candidates, batch_size, n_classes), ask)
    return found


def growth_power(formula: str, field: str, symbol: str, strategy: Strategy) -> int:
    """Return the power of a symbol with which a formula grows.

    Args:
        formula: A formula on the strategy's card.
        field: ``memory`` or ``time``.
        symbol: A symbol, for example ``N``.
        strategy: For a selector, its candidates' formulas give ``ask``.
    """
    asked = [growth_power(inner, field, symbol, candidate) for inner, candidate in _candidates(strategy, field)]
    # A pass over the pool covers all candidates, through a head with one output per class.
    passes = {"sweep": int(symbol in "NC"), "fit": int(symbol == "C")}
    return degree_of_cost(formula, {symbol: 1, **passes, "ask": max(asked, default=0)})


def card_formula(name: str | None, field: str) -> str | None:
    """Return a formula on a registered strategy's card; None if there is none."""
    registry = plugin_host().strategies
    if name is None or name not in registry:
        return None
    formula: str = registry.get(name).details.get(field, "")
    return formula or None


def _candidates(strategy: Strategy, field: str) -> list[tuple[str, Strategy]]:
    """Return the formula and the strategy of each of a selector's candidates."""
    if not isinstance(strategy, SelectorStrategy):
        return []
    return [(card_formula(name, field) or LINEAR[field], candidate) for name, candidate in strategy.candidates.items()]


def _problem(subject: Subject, strategy: Strategy, n_candidates: int, n_classes: int) -> Problem:
    """Return a large pool; for vectors with a cheap model, if the strategy accepts it."""
    if subject.kind == "vectors":
        problem = _large("vectors", "linear[l2=1]", n_candidates, n_classes)
        try:
            subject.learner(problem, strategy=strategy)
        except InputError:
            problem = _large("vectors", "auto", n_candidates, n_classes)
        return problem
    return _large(subject.kind, "auto", n_candidates, n_classes)


def _large(kind: str, model: str, n_candidates: int, n_classes: int) -> Problem:
    n_features = N_FEATURES if kind == "vectors" else None
    return blobs(
        kind, n=n_candidates + N_LABELED, n_labeled=N_LABELED, n_classes=n_classes, n_features=n_features, model=model
    )
