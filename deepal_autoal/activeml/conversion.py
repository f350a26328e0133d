"""`from_activeml` and `to_activeml`: strategies of scikit-activeml here, and ours there.

Loading this module imports nothing of scikit-activeml, which need not be installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal.activeml.their_query import TheirQuery
from deepal_autoal.activeml.their_strategies import ActiveMLScores, ActiveMLStrategy
from deepal_autoal.errors import InputError
from deepal_autoal.isolation.engine_calls import engine_call

if TYPE_CHECKING:
    from deepal_autoal.querying.strategy import Strategy
    from deepal_autoal.strategies.candidate_selection import Candidates
    from deepal_autoal.strategies.given import StrategyLike


def from_activeml(
    query_strategy: Any,
    *,
    name: str | None = None,
    features: str = "embeddings",
    committee: str = "ensemble",
    n_members: int = 5,
    **query_arguments: Any,
) -> Strategy:
    """Return a query strategy of scikit-activeml as a strategy for runs, benchmarks, learners and selectors.

    Its ``query`` gets the samples as X, (N, D), their labels as y, unknown ones as NaN, and the candidates by index.
    Its classifier (``clf`` or ``estimator``) is the trained task model, its ``ensemble`` a committee of task models.
    ``random_state`` is set from the run's seed for each query, ``classes`` to the class numbers and ``missing_label``
    to NaN, and nothing is remembered from query to query.

    Args:
        query_strategy: A ``SingleAnnotatorPoolQueryStrategy`` of scikit-activeml, such as ``Badge()``; it is copied.
        name: Its name in records; by default that of its class, marked as scikit-activeml's.
        features: What X is: ``"embeddings"`` of the task model, or its ``"inputs"``, flattened. Strategies that look
            at nothing but the classifier get neither.
        committee: What the members of an ``ensemble`` are: ``"ensemble"``, models that are trained with other seeds,
            or ``"mc_dropout"``, passes of the task model under dropout masks that all samples share.
        n_members: How many, at least 2.
        query_arguments: Further arguments of its ``query``, such as the ``discriminator`` of ``DiscriminativeAL``. A
            ``clf``, ``estimator`` or ``ensemble`` given here is fitted to X and y, in place of the task model.

    Raises:
        InputError: If it is no such strategy, or cannot work here as it is given.
    """
    require_activeml()
    if name is not None and not (isinstance(name, str) and name.strip()):
        raise InputError(f"name is {name!r}: give a text")
    query = TheirQuery(query_strategy, features, committee, n_members, query_arguments)
    kind = ActiveMLScores if query.is_scoring else ActiveMLStrategy
    return kind(query, f"{type(query_strategy).__name__} (scikit-activeml)" if name is None else name)


@engine_call()
def to_activeml(
    strategy: StrategyLike,
    *,
    candidates: str | Candidates | Iterable[Any] | None = None,
    options: Mapping[str, Any] | None = None,
    clf_embedding_flag_name: str | Mapping[str, Any] | None = None,
    missing_label: Any = np.nan,
    random_state: Any = None,
) -> Any:
    """Return a strategy as a ``SingleAnnotatorPoolQueryStrategy`` of scikit-activeml, for loops written with that.

    It is called as theirs are: ``query(X, y, clf=None, fit_clf=True, sample_weight=None, candidates=None,
    batch_size=1, return_utilities=False)``. X, flattened, are the embeddings, and ``clf`` gives the class
    probabilities where the strategy requires them. As for `select`, there is nothing else, and every query is a first
    round.

    Args:
        strategy: As for `select`. What it remembers lasts from query to query only in an instance.
        candidates: For selectors, as for `create_strategy`.
        options: The strategy's options by name.
        clf_embedding_flag_name: What makes ``clf.predict_proba`` return probabilities and embeddings, as for
            ``skactiveml.pool.Badge``; the embeddings then take the place of X.
        missing_label: What an unknown label is in y.
        random_state: An int for the same queries every time, a ``RandomState``, or None for new ones.

    Raises:
        InputError: If it is no strategy, or requires more than embeddings and probabilities.
    """
    require_activeml()
    from deepal_autoal.activeml.our_query import DeepALQueryStrategy

    query_strategy = DeepALQueryStrategy(
        strategy, candidates, options, clf_embedding_flag_name, missing_label, random_state
    )
    query_strategy.checked_strategy()
    return query_strategy


def require_activeml() -> None:
    """Raise an InputError if scikit-activeml is not installed."""
    if importlib.util.find_spec("skactiveml") is None:
        raise InputError("scikit-activeml is not installed: pip install 'deepal_autoal[activeml]'")
