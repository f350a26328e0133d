"""One query of a strategy of scikit-activeml: what it needs, and what it is given.

The parameters of its ``query`` say what it needs: ``clf`` and ``estimator`` are the task model, ``ensemble`` several
models, and all others are the user's to give. What parameters do not say is in tables of their classes: which look at
nothing but the classifier, which judge each sample by itself, and which cannot work with a model that is trained
already.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.errors import InputError, UnknownNameError
from deepal_autoal.isolation.process_state import global_seed
from deepal_autoal.run_settings import whole_number

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal.querying.context import PoolView, QueryContext
    from deepal_autoal.querying.strategy import Requirement

# Parameters of a query: what it always gets, and what may be the task model, with the one that says whether to fit it.
_ALWAYS = ("X", "y", "candidates", "batch_size", "return_utilities")
_CLASSIFIERS = {"clf": "fit_clf", "estimator": "fit_estimator"}
_MODELS = {**_CLASSIFIERS, "ensemble": "fit_ensemble"}
_ESTIMATORS = (*_MODELS, "discriminator")

# Classes that look at nothing but the classifier.
_CLASSIFIER_ONLY = frozenset(
    {"BatchBALD", "Falcun", "GreedyBALD", "QueryByCommittee", "RandomSampling", "UncertaintySampling"}
)
# Classes whose batch are the highest utilities, and these are of each sample by itself.
_SCORING = frozenset(
    {
        "ContrastiveAL", "CostEmbeddingAL", "EpistemicUncertaintySampling", "GreedyBALD", "MonteCarloEER",
        "ProbabilisticAL", "QueryByCommittee", "Quire", "UncertaintySampling", "ValueOfInformationEER",
    }
)  # fmt: skip
# Classes that train their classifier in the query or look inside, with one that they take.
_OWN_CLASSIFIER = {
    "EpistemicUncertaintySampling": "ParzenWindowClassifier()",
    "FourDs": "MixtureModelClassifier()",
    "MonteCarloEER": "ParzenWindowClassifier()",
    "ProbabilisticAL": "ParzenWindowClassifier()",
    "ValueOfInformationEER": "ParzenWindowClassifier()",
}
_TWO_CLASSES = frozenset({"EpistemicUncertaintySampling"})

_FEATURES = ("embeddings", "inputs")
_COMMITTEES: dict[str, Requirement] = {"ensemble": "ensemble", "mc_dropout": "mc_dropout"}
_PASSED_AT_ONCE = 1024


class TheirQuery:
    """A query strategy of scikit-activeml, and what its ``query`` is called with.

    Args:
        query_strategy, features, committee, n_members, arguments: As in `from_activeml`.

    Attributes:
        requires: What it needs of the task model.
        is_scoring: Whether its batch are the highest utilities, and these are of each sample by itself.

    Raises:
        InputError: If it cannot work as it is given.
    """

    def __init__(
        self, query_strategy: Any, features: str, committee: str, n_members: int, arguments: Mapping[str, Any]
    ) -> None:
        _check_kind(query_strategy)
        for what, value, known in (("features", features, _FEATURES), ("committee", committee, (*_COMMITTEES,))):
            if value not in known:
                raise InputError(f"{what} is {value!r}: give {' or '.join(map(repr, known))}")
        if whole_number("n_members", n_members) < 2:
            raise InputError(f"n_members is {n_members}: give at least 2")
        self._strategy, self._arguments = copy.deepcopy((query_strategy, dict(arguments)))
        self._features, self._committee, self._n_members = features, committee, n_members
        # Of the strategy that chooses; around it may be one that takes a part of the candidates.
        inner = _innermost(self._strategy)
        self._kind = type(inner).__name__ if type(inner).__module__.startswith("skactiveml.") else ""
        self._title = type(inner).__name__
        parameters = inspect.signature(self._strategy.query).parameters
        self._parameters = tuple(parameters)
        own_classifier = not (self._kind == "ProbabilisticAL" and inner.metric is not None)
        self._check_arguments(parameters, own_classifier)
        self._models = {name: _MODELS[name] for name in _MODELS if name in parameters and name not in arguments}
        self._sees_features = self._kind not in _CLASSIFIER_ONLY or any(name in arguments for name in _MODELS)
        self._gets_embeddings_apart = features == "inputs" and any(
            _last_part(name) in ("clf_embedding_flag_name", "predict_dict") and value is not None
            for name, value in self._strategy.get_params().items()
        )
        self.requires: frozenset[Requirement] = frozenset(self._requirements())
        is_greedy = self._kind == "DiscriminativeAL" and inner.greedy_selection
        self.is_scoring = inner is self._strategy and (self._kind in _SCORING or bool(is_greedy))

    def batch(self, context: QueryContext, batch_size: int) -> NDArray[np.int64]:
        """Return its batch, pool indices (batch_size,)."""
        rows = _Rows(context)
        return rows.indices[np.asarray(self._ask(context, rows, batch_size), dtype=np.int64)]

    def utilities(self, context: QueryContext) -> NDArray[np.float64]:
        """Return the utility of each candidate, (n_candidates,), in a query for one sample."""
        rows = _Rows(context)
        _, utilities = self._ask(context, rows, 1, return_utilities=True)
        return np.array(utilities[0][rows.candidates], dtype=np.float64)

    def check_classes(self, n_classes: int) -> None:
        """Raise an InputError if it cannot choose among samples of so many classes."""
        if self._kind in _TWO_CLASSES and n_classes != 2:
            raise InputError(f"{self._title} of scikit-activeml is for two classes, and there are {n_classes}")
        for name, value in self._strategy.get_params().items():
            if _last_part(name) == "classes" and value is not None and len(value) != n_classes:
                raise InputError(f"{self._title} is given {len(value)} classes, and there are {n_classes}")

    def _check_arguments(self, parameters: Mapping[str, inspect.Parameter], own_classifier: bool) -> None:
        named = [name for name in parameters if name not in _ALWAYS]
        for name in self._arguments:
            if name not in named:
                raise UnknownNameError(f"argument of {type(self._strategy).__name__}.query", name, named)
        if "reg" in parameters:
            raise InputError(f"{self._title} of scikit-activeml is for regression, and labels here are classes")
        if self._kind in _OWN_CLASSIFIER and own_classifier and "clf" not in self._arguments:
            raise InputError(
                f"{self._title} of scikit-activeml trains its classifier in the query or looks inside, so it cannot be "
                f"the task model: give one that takes its place there, such as clf={_OWN_CLASSIFIER[self._kind]}"
            )
        for name in named:
            parameter = parameters[name]
            is_open = parameter.default is parameter.empty and parameter.kind is not parameter.VAR_KEYWORD
            if is_open and name not in self._arguments and name not in _MODELS:
                raise InputError(f"the query of {self._title} needs {name}: give it as from_activeml(..., {name}=...)")
        for name in _ESTIMATORS:
            if name in self._arguments:
                _check_classifier(name, self._arguments[name])

    def _requirements(self) -> Iterator[Requirement]:
        if self._sees_features:
            yield "embeddings" if self._features == "embeddings" else "inputs"
        if self._gets_embeddings_apart:
            yield "embeddings"
        for name in self._models:
            yield "probabilities" if name in _CLASSIFIERS else _COMMITTEES[self._committee]

    def _ask(self, context: QueryContext, rows: _Rows, batch_size: int, return_utilities: bool = False) -> Any:
        from sklearn.base import clone
        from threadpoolctl import threadpool_limits

        samples = self._samples(context, rows)
        labels = np.full(len(samples), np.nan)
        # What sees no features sees no labels either; a query from given outputs may not know any.
        labels[rows.labeled] = context.labeled.labels.cpu().numpy() if self._sees_features else 0
        seed = context.stream_seed("scikit-activeml") % 2**31
        arguments = {name: _prepared(value, context, seed) for name, value in copy.deepcopy(self._arguments).items()}
        for name, fits in self._models.items():
            arguments[name] = self._model(name, context, rows, samples)
            if fits in self._parameters:
                arguments.setdefault(fits, False)
        strategy = _prepared(clone(self._strategy), context, seed)
        with ExitStack() as stack:
            # Some of their clusterings draw from numpy's global generator, and threads add up in the order of arrival.
            stack.enter_context(global_seed(seed, context.device))
            stack.enter_context(threadpool_limits(1, "openmp"))
            return strategy.query(
                X=samples, y=labels, candidates=np.sort(rows.candidates), batch_size=batch_size,
                return_utilities=return_utilities, **arguments,
            )  # fmt: skip

    def _samples(self, context: QueryContext, rows: _Rows) -> NDArray[Any]:
        """Return X, (N, D)."""
        if not self._sees_features:
            return np.arange(len(rows.indices), dtype=np.float64)[:, None]
        if self._features == "embeddings":
            return rows.filled(context.candidates.embeddings(), context.labeled.embeddings())
        return rows.filled(_flat_inputs(context.candidates), _flat_inputs(context.labeled))

    def _model(self, name: str, context: QueryContext, rows: _Rows, samples: NDArray[Any]) -> Any:
        """Return the task model as a classifier, or several as an ensemble."""
        from deepal_autoal.activeml.classifier import KnownSamples, ModelClassifier, ModelCommittee

        if name not in _CLASSIFIERS:
            view, number = context.candidates, self._n_members
            is_ensemble = self._committee == "ensemble"
            members = view.ensemble_probabilities(number) if is_ensemble else view.shared_mc_probabilities(number)
            order = np.argsort(rows.candidates)
            known = KnownSamples(samples[rows.candidates[order]], [np.arange(len(order))])
            return ModelCommittee(known, _normalized(members.cpu().numpy()[:, order]))

        def head(given: NDArray[Any]) -> NDArray[np.float64]:
            embeddings = torch.as_tensor(given, dtype=torch.float32, device=context.device)
            return _normalized(context.model.logits_from_embeddings(embeddings).softmax(dim=1).cpu().numpy())

        embeddings = None
        if self._gets_embeddings_apart:
            embeddings = rows.filled(context.candidates.embeddings(), context.labeled.embeddings())
        return ModelClassifier(
            KnownSamples(samples, [np.sort(rows.candidates), rows.labeled]),
            _normalized(rows.filled(context.candidates.probabilities(), context.labeled.probabilities())),
            embeddings,
            head if self._sees_features and self._features == "embeddings" else None,
        )  # fmt: skip


class _Rows:
    """The rows of X: candidates and labeled samples, in the order of the pool.

    Attributes:
        indices: Pool indices, (N,), ascending.
        candidates, labeled: Rows of each, in the order of the context.
    """

    def __init__(self, context: QueryContext) -> None:
        candidates, labeled = context.candidates.indices, context.labeled.indices
        self.indices: NDArray[np.int64] = np.union1d(candidates, labeled)
        self.candidates = np.searchsorted(self.indices, candidates)
        self.labeled = np.searchsorted(self.indices, labeled)

    def filled(self, of_candidates: Tensor, of_labeled: Tensor) -> NDArray[Any]:
        """Return values of all rows, (N, width)."""
        given = of_candidates.cpu().numpy()
        values = np.empty((len(self.indices), given.shape[1]), dtype=given.dtype)
        values[self.candidates], values[self.labeled] = given, of_labeled.cpu().numpy()
        return values


def _check_kind(query_strategy: Any) -> None:
    """Raise an InputError if it is no query strategy for a pool that one annotator labels."""
    from skactiveml.base import SingleAnnotatorPoolQueryStrategy

    if inspect.isclass(query_strategy):
        raise InputError(f"{query_strategy.__name__} is a class: give an instance, {query_strategy.__name__}(...)")
    while True:
        if not isinstance(query_strategy, SingleAnnotatorPoolQueryStrategy):
            raise InputError(
                f"{type(query_strategy).__name__} is no SingleAnnotatorPoolQueryStrategy of scikit-activeml: give one, "
                "such as skactiveml.pool.Badge()"
            )
        if type(query_strategy).__name__ == "ParallelUtilityEstimationWrapper":
            raise InputError("ParallelUtilityEstimationWrapper chooses single samples: give the strategy that it wraps")
        if getattr(query_strategy, "embed_samples_func", None) is not None:
            raise InputError("embed_samples_func is not needed: X are embeddings of the task model; leave it out")
        if not hasattr(query_strategy, "query_strategy"):
            break
        query_strategy = query_strategy.query_strategy
    if getattr(query_strategy, "sample_predictions_method_name", None) is not None:
        raise InputError(
            "sample_predictions_method_name names a method of a classifier, and the ensemble consists of task models: "
            "leave it out"
        )


def _check_classifier(name: str, given: Any) -> None:
    from skactiveml.base import SkactivemlClassifier

    for item in given if name == "ensemble" and isinstance(given, list | tuple) else [given]:
        if not isinstance(item, SkactivemlClassifier):
            raise InputError(
                f"{name} is {type(item).__name__}: give a classifier of scikit-activeml, such as "
                "SklearnClassifier(LogisticRegression())"
            )


def _innermost(query_strategy: Any) -> Any:
    while hasattr(query_strategy, "query_strategy"):
        query_strategy = query_strategy.query_strategy
    return query_strategy


def _prepared(value: Any, context: QueryContext, seed: int) -> Any:
    """Return an estimator with the seed, the class numbers and the missing label of the query; others as they are."""
    if isinstance(value, list | tuple):
        return [_prepared(item, context, (seed + place) % 2**31) for place, item in enumerate(value)]
    if not hasattr(value, "set_params"):
        return value
    changes: dict[str, Any] = {}
    for name in value.get_params():
        part = _last_part(name)
        if part == "random_state":
            changes[name] = seed
        elif part == "missing_label":
            changes[name] = np.nan
        elif part == "classes":
            changes[name] = np.arange(context.n_classes)
    return value.set_params(**changes)


def _last_part(name: str) -> str:
    return name.rpartition("__")[2]


def _flat_inputs(view: PoolView) -> Tensor:
    """Return model inputs, float32 (n, D), on the CPU."""
    return torch.cat([part.flatten(1).cpu() for part in view.batches(_PASSED_AT_ONCE)])


def _normalized(probabilities: NDArray[Any]) -> NDArray[np.float64]:
    """Return probabilities (..., C) whose sums are 1 in double precision."""
    values = probabilities.astype(np.float64)
    normalized: NDArray[np.float64] = values / values.sum(axis=-1, keepdims=True)
    return normalized
