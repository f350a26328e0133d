"""`ActiveLearner`: ask which samples to label, tell their labels. `run` simulates the annotator."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.audit.advice import Advice, advise
from deepal_autoal.errors import InputError
from deepal_autoal.experiment.auditing import Audit, check_audit
from deepal_autoal.experiment.pool import Pool, draw_initial
from deepal_autoal.experiment.pool_training import PoolTraining
from deepal_autoal.experiment.saved_learner import (
    SavedLearner,
    load_strategy_state,
    model_state,
    strategy_state,
)
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.measuring.profile import section
from deepal_autoal.numerics.arrays import as_array
from deepal_autoal.numerics.precision import clean_autograd_state, deterministic
from deepal_autoal.numerics.random_streams import stream_seed
from deepal_autoal.querying.asking import ask
from deepal_autoal.querying.context import QueryContext, has_read_n_rounds
from deepal_autoal.querying.outputs import OutputCache
from deepal_autoal.querying.selector import describe_strategy
from deepal_autoal.querying.strategy import Query
from deepal_autoal.run_settings import whole_number
from deepal_autoal.strategies.given import StrategyLike
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.predictor import Predictor
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.user_paths import user_path

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from deepal_autoal.audit.report import AuditEstimate

# Requirements that are computed from embeddings.
OF_EMBEDDINGS = frozenset({"embeddings", "gradients", "mc_dropout"})
_SAMPLES_COMPARED = 64

logger = logging.getLogger(__name__)


def _no_progress(done: int, total: int) -> None:
    """Show nothing."""


class ActiveLearner(PoolTraining):
    """Pool-based active learning: `ask` for a batch, `tell` its labels, repeat.

    Args:
        pool: The samples: images uint8 (N, H, W) or (N, H, W, C), or floating-point feature vectors (N, D). Also a data
            frame, a scipy sparse matrix, a list of texts or a torch dataset: features are made of it, and of samples
            to predict, as ``docs/python.md`` says; the record is ``learner.forms.preparation``. Or samples with their
            labels, which `tell` then knows: ``(X, y)``, ``(X, y, X_test, y_test)``, a frame with ``target``, a Hugging
            Face dataset, a torch dataset of (sample, label) or a pair (train, test) of them; `score` then has the test
            part, too.
        strategy: A registered name, a strategy, a subclass of `Strategy` that can be created without arguments, or a
            function of the context that returns one score per candidate.
        n_classes: Number of classes; labels are 0 .. n_classes - 1. By default that of ``class_names``, or of the
            labels, if the pool has them.
        model: A model's name, with options as in ``resnet18[stem=cifar]``; ``auto`` chooses by the data, for vectors
            by their scaling and by whether the strategy changes training. Also where one is defined, as
            ``file.py:Net`` or ``module:Net``, a torch module or a class or function that returns one, or a scikit-learn
            classifier (see ``docs/python.md``).
        recipe: Training settings, or changes by name to the defaults for this kind of data.
        seed: Seed of everything random.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:i``.
        members: Pool indices to use; all by default.
        n_rounds: Number of rounds, if known; strategies may plan with it.
        scaling: For vectors: ``global`` (each feature centered, all divided by one scale), ``feature`` (each divided
            by its own deviation), ``l2`` (rows of unit length), ``none``, or ``auto``, which chooses by the pool (see
            `resolve_scaling`); the choice is ``learner.scaling``. For images only ``auto``.
        audit: Share of each batch that is drawn uniformly instead, for `estimate`; 0 for none.
        audit_folds: Number of models that `estimate` trains without a part of the labels each; by default 10. With 0 it
            trains none: for models that take long to train, at the price of a wider interval.
        class_names: Names of the classes: `tell` takes them, and `predict` returns them, as texts. If all are whole
            numbers, such as ``[1, 2, 5]``, whole numbers as labels are names too; else they are class numbers.
        validation: Pool indices and labels of samples on which strategies may judge models: ``context.validation``.
            They are neither trained on nor asked for.
        text_model: For a pool of texts, or a frame with some: the name or folder of a model of sentence-transformers,
            ``tf-idf``, or ``auto``, such a model if one is on this machine, else TF-IDF (see ``docs/data.md``); what it
            came to is ``learner.forms.text_model``.
        target: Of a data frame: the column that holds the labels. Columns called ``id`` and ``split`` are no features
            then, and the pool is the rows whose ``split`` is ``train``.

    Attributes:
        forms: How samples and classes are written.
        strategy: The strategy. A selector whose candidates were given as a set such as ``all-cheap`` is recreated
            without those that require what the model lacks.
        n_classes: Number of classes.
        model_choice: Name and options of the task model; its name alone is ``model_name``.
        recipe: Training settings.
        round: Number of the last trained model, from 0; -1 before the first. Every training on new labels is a
            round.
        uses_n_rounds: Whether the strategy has read ``n_rounds`` so far.
        query_seconds: Seconds that parts of the last query took, by the strategy's names for them (see
            `QueryContext.timed`).

    Raises:
        InputError: If the pool cannot be used, what is given as a strategy is none, or the model lacks what the
            strategy requires.
    """

    @engine_call()
    def __init__(
        self,
        pool: Any,
        strategy: StrategyLike,
        n_classes: int | None = None,
        *,
        model: Any = "auto",
        recipe: Recipe | Mapping[str, Any] | None = None,
        seed: int = 0,
        device: str | torch.device = "auto",
        members: ArrayLike | None = None,
        n_rounds: int | None = None,
        scaling: str = "auto",
        audit: float = 0.0,
        audit_folds: int | None = None,
        class_names: Sequence[str] | None = None,
        validation: tuple[ArrayLike, ArrayLike] | None = None,
        text_model: str = "auto",
        target: str | None = None,
    ) -> None:
        share, n_folds = check_audit(audit, audit_folds)
        super().__init__(
            pool, strategy, n_classes, model=model, recipe=recipe, seed=seed, device=device, members=members,
            n_rounds=n_rounds, scaling=scaling, class_names=class_names, validation=validation,
            text_model=text_model, target=target,
        )  # fmt: skip
        self._audit = Audit(share, n_folds, self.seed, self._pool.members) if share else None
        self.round = -1
        self._fitted: FittedModel | None = None
        self._is_current = False
        self._pending: Query | None = None
        self.uses_n_rounds = False
        self.query_seconds: dict[str, float] = {}
        self._memory_before: dict[str, Any] | None = None
        self._estimate: AuditEstimate | None = None
        self._is_estimated = False

    @property
    def labeled_indices(self) -> NDArray[np.int64]:
        """Pool indices of the labeled samples, int64 (M,), in the order in which they were labeled."""
        return self._pool.labeled

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of `labeled_indices`, int64 (M,)."""
        return self._pool.labels

    @property
    def unlabeled_indices(self) -> NDArray[np.int64]:
        """Pool indices of the samples without a label, int64 (N,), ascending."""
        return self._pool.unlabeled

    @property
    def validation_indices(self) -> NDArray[np.int64]:
        """Pool indices of the samples that are held out for validation, int64 (V,)."""
        return np.empty(0, dtype=np.int64) if self._validation is None else self._validation.labeled

    @property
    def fitted(self) -> FittedModel | None:
        """The model trained last, without training one; None before the first."""
        return self._fitted

    @engine_call()
    def tell(self, indices: ArrayLike, labels: ArrayLike | None = None) -> None:
        """Add labels, of the asked batch or of any other unlabeled samples.

        Args:
            indices: Pool indices, (b,).
            labels: Classes by number or name, (b,); by default those that were given with the pool.

        Raises:
            InputError: If one of them is invalid; then none is added.
        """
        if labels is None:
            labels = self._known_labels(indices)
        n_before = len(self._pool.labeled)
        self._pool.add(indices, self.forms.numbers(labels))
        added = self._pool.labeled[n_before:]
        if len(added):
            if self._audit is not None:
                self._audit.note_labels(added)
                if not self._audit.n_folds and self._fitted is not None:
                    # The labels have been added, but the model has not been trained on them.
                    self._audit.note_answers(added, self._pool.labels[n_before:], *self._classify(self._fitted, added))
            self._is_current = self._is_estimated = False
            self._pending = None

    def _known_labels(self, indices: ArrayLike) -> ArrayLike:
        if self.forms.known is None:
            raise InputError("tell: give the labels of these samples too, as the pool was given without any")
        rows = as_array(indices, "indices")
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or not ((rows >= 0) & (rows < len(self.forms.known))).all():
            raise InputError(f"tell: give pool indices from 0 to {len(self.forms.known) - 1}, (b,)")
        found: NDArray[Any] = self.forms.written(self.forms.known[rows])
        return found.tolist() if self.forms.class_names else found

    def ask(self, batch_size: int) -> NDArray[np.int64]:
        """Return the pool indices to label next, int64 (batch_size,).

        Without any labels they are drawn at random. Asking again without new labels returns the same batch.
        """
        return np.asarray(self.query(batch_size).indices)

    @engine_call()
    @section("query")
    def query(self, batch_size: int, progress: Callable[[int, int], None] = _no_progress) -> Query:
        """Return the batch of `ask` with the strategy's report.

        Args:
            batch_size: Number of samples to ask for.
            progress: Called in long queries with the number of steps done and the total.

        Raises:
            InputError: If ``batch_size`` is not between 1 and the number of unlabeled samples.
            QueryError: If the strategy does not return such a batch.
        """
        candidates = self._pool.unlabeled
        if not len(candidates):
            raise InputError("all samples of the pool are labeled; there is nothing left to ask for")
        batch_size = whole_number("batch_size", batch_size)
        if not 1 <= batch_size <= len(candidates):
            raise InputError(f"batch size {batch_size}: give 1 to {len(candidates)}, the number of unlabeled samples")
        if not len(self._pool.labeled):
            if self._audit is not None:
                self._audit.drew_initial(batch_size)
            return Query(self._pool.members[draw_initial(len(self._pool), self.seed, batch_size)])
        if self._pending is not None and self._is_current:
            if len(np.asarray(self._pending.indices)) == batch_size:
                return self._pending
            if self._memory_before is not None:
                load_strategy_state(self.strategy, self._memory_before)
        model = self.fit()
        audited = np.empty(0, dtype=np.int64)
        if self._audit is not None:
            audited = self._audit.due(self._pool.labeled, batch_size)
            candidates = np.setdiff1d(candidates, audited, assume_unique=True)
        self._memory_before = strategy_state(self.strategy)
        keeps_embeddings = bool(self.strategy.requires & OF_EMBEDDINGS)
        cache = OutputCache(
            self._inputs, self._trainer, (self.seed, self.round), progress, keeps_embeddings, self._new_module
        )
        if len(audited) == batch_size:
            self.query_seconds = {}
            return self._keep(Query(audited))
        context = self._context(model, candidates, cache)
        try:
            answer = ask(self.strategy, context, batch_size - len(audited))
        except BaseException:
            # A failed query leaves no trace in the strategy's memory.
            load_strategy_state(self.strategy, self._memory_before)
            raise
        self.uses_n_rounds |= has_read_n_rounds(context)
        self.query_seconds = dict(context.seconds)
        if cache.training_seconds:
            self.query_seconds["training"] = cache.training_seconds
        return self._keep(Query(np.concatenate([audited, np.asarray(answer.indices)]), answer.report))

    def _keep(self, query: Query) -> Query:
        """Return a batch, and return it again if it is asked for again."""
        self._pending = query
        if self._audit is not None:
            self._audit.note_batch(np.asarray(query.indices))
        return query

    @engine_call()
    @section("audit")
    def estimate(self, progress: Callable[[int, int], None] = _no_progress) -> AuditEstimate | None:
        """Return the present model's accuracy with an interval, and more, from the audited labels.

        Trains ``audit_folds`` models without a part of the labels each, and 11 on parts of the audited ones; none with
        ``audit_folds=0``, where `tell` kept what the model predicted for a batch before it was trained on it. The next
        batch does not depend on whether this is called.

        Args:
            progress: Called before each training with the number of those done and the total.

        Returns:
            The estimate; None with fewer than two audited labels, without folds beside the initial ones.

        Raises:
            InputError: If the learner has no audit, or there are no labels yet.
        """
        if self._audit is None:
            raise InputError("this learner has no audit: create it with audit=0.1, say")
        model = self.fit()
        if not self._is_estimated:
            self._estimate = self._audit.estimate(
                self._pool, self.round, partial(self._classify, model), self._fit_part, progress
            )
            self._is_estimated = True
        return self._estimate

    def advise(self, batch_size: int, label_cost: float | None = None, value_per_point: float | None = None) -> Advice:
        """Return whether to label another batch, from `estimate` (see `deepal_autoal.audit.advice.advise`)."""
        return advise(self.estimate(), batch_size, label_cost, value_per_point)

    def _fit_part(
        self, rows: NDArray[np.int64], seed: int
    ) -> Callable[[NDArray[np.int64]], tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Train a model from scratch on a part of the labels, given by position."""
        pool = Pool(self._pool.members, self.n_classes)
        pool.add(self._pool.labeled[rows], self._pool.labels[rows])
        return partial(self._classify, self._train(pool, seed, None))

    @engine_call()
    def fit(self, progress: Callable[[int, int], None] | None = None) -> FittedModel:
        """Train the task model on the labels so far, unless it is up to date.

        Raises:
            InputError: If there are no labels yet.
        """
        if self._is_current and self._fitted is not None:
            return self._fitted
        self._fitted = self._train(self._pool, stream_seed(self.seed, self.round + 1, "train"), progress, self._fitted)
        self.round += 1
        self._is_current = True
        self._pending = None
        return self._fitted

    @engine_call()
    def fit_with(self, indices: ArrayLike, labels: ArrayLike, attempt: int = 0) -> FittedModel:
        """Train the model that `fit` would return next if these labels were added; the learner stays as it is.

        Args:
            indices: Pool indices of unlabeled samples, (b,), in the order in which they would be added.
            labels: Their labels, (b,).
            attempt: 0 for the seed of the next round, or the number of another one.

        Raises:
            InputError: If they could not be added.
        """
        pool = Pool(self._pool.members, self.n_classes)
        pool.add(self._pool.labeled, self._pool.labels)
        pool.add(indices, labels)
        seed = stream_seed(self.seed, self.round + 1, "train", *([f"attempt {attempt}"] if attempt else []))
        return self._train(pool, seed, None, self._fitted)

    @engine_call()
    def adopt(self, state: Mapping[str, Any]) -> FittedModel:
        """Use a model that another learner trained on the same labels, instead of training it again.

        Args:
            state: ``model`` (the objective's weights), ``metrics`` and ``precision``, as in `state_dict`.

        Raises:
            InputError: If there are no labels yet, or the weights do not fit the model.
        """
        self._data()
        self.round += 1
        self._fitted = self._restored(state, self._round_seed)
        self._is_current = True
        self._pending = None
        return self._fitted

    @engine_call()
    def adoptable_state(self) -> dict[str, Any] | None:
        """Return the state for `adopt` of the model trained last; None if the model holds state outside its weights.

        A model can hold state that its ``state_dict`` leaves out, such as a random tensor that is not a buffer. Once
        rebuilt, its outputs differ, which is checked on some samples.
        """
        model = self.fit()
        state = model_state(model)
        rows = self._pool.labeled[:_SAMPLES_COMPARED]
        with self.blaming_for("evaluation"), clean_autograd_state(self.device):
            pairs = zip(
                model.sweep(self._inputs, rows),
                self._restored(state, self._round_seed).sweep(self._inputs, rows),
                strict=True,
            )
            is_whole = all(torch.equal(one, other) for one, other in pairs)
        return state if is_whole else None

    @engine_call()
    def predictor(self) -> Predictor:
        """Return the trained model as a function of raw samples; it is trained first if there are new labels."""
        return self._predictor(self.fit())

    @engine_call()
    def plain_predictor(self, progress: Callable[[int, int], None] | None = None) -> Predictor:
        """Return the task model trained without the strategy's changes, from scratch, on the labels so far.

        It is what `predictor` is with a strategy that chose the same samples and does not change training.

        Raises:
            InputError: If there are no labels yet.
        """
        if not self.strategy.changes_training:
            return self.predictor()
        self.fit()  # the round's number, and so its random streams
        labeled, unlabeled = self._data()
        seed = stream_seed(self.seed, self.round, "train")
        with deterministic(self.device), clean_autograd_state(self.device):
            fitted = self._plain.fit(labeled, unlabeled, seed=seed, progress=progress)
        return self._predictor(fitted)

    def _predictor(self, model: FittedModel) -> Predictor:
        return Predictor(
            model, self.normalization, self._inputs.input_shape, self.forms.class_names, self.forms.prepare
        )

    def predict(self, samples: Any) -> NDArray[Any]:
        """Return the predicted classes of samples in the pool's format: int64 (n,), or names where there are names."""
        return self.forms.written(self.predictor().predict(samples))

    def predict_proba(self, samples: Any) -> NDArray[np.float32]:
        """Return class probabilities, float32 (n, C), of samples in the pool's format."""
        return self.predictor().predict_proba(samples)

    def score(self, samples: Any = None, labels: ArrayLike | None = None) -> float:
        """Return the accuracy on samples in the pool's format, in [0, 1].

        Args:
            samples: The samples; by default the test part, if the pool was given with one.
            labels: Their classes, by number or name.

        Raises:
            InputError: If there are no labels yet, one of both is missing, or there is no test part.
        """
        if (samples is None) != (labels is None):
            raise InputError("score: give samples and their labels, or neither for the pool's test part")
        predictor = self.predictor()
        if labels is None:
            if self.forms.test is None:
                raise InputError("score: the pool was given without a test part; give samples and their labels")
            samples, truth = self.forms.test
        else:
            truth = np.asarray(self.forms.numbers(labels))
        found = predictor.predict(samples)
        if truth.shape != found.shape:
            raise InputError(f"score: {len(found)} samples, but labels of shape {truth.shape}")
        return float((found == truth).mean())

    @engine_call()
    def save(self, path: str | Path) -> None:
        """Write everything except the pool to one file, atomically.

        Raises:
            RunFolderError: If it cannot be written, or the strategy's state cannot be stored in a file.
        """
        saved = SavedLearner(
            strategy=describe_strategy(self.strategy), n_classes=self.n_classes, n_rounds=self.n_rounds,
            model=self.model_choice, recipe=self.recipe, scaling=self.scaling, seed=self.seed,
            members=np.union1d(self._pool.members, self.validation_indices), pool=self._inputs.fingerprint(),
            state=self.state_dict(),
            audit=None if self._audit is None else (self._audit.share, self._audit.n_folds),
            class_names=self.forms.class_names,
            model_code=self.model_choice.describe().get("code", ""),
            validation=self._validation_set,
            text_model=self.forms.text_model,
        )  # fmt: skip
        saved.write(user_path(path, "the file to save"))

    @classmethod
    @engine_call()
    def load(
        cls,
        path: str | Path,
        pool: Any,
        *,
        strategy: StrategyLike | None = None,
        model: Any = None,
        device: str | torch.device = "auto",
        target: str | None = None,
    ) -> ActiveLearner:
        """Restore a learner from a file that `save` wrote.

        Args:
            path: The file.
            pool: The same samples in the same order.
            strategy: As in the constructor; needed only if the saved one was not created by a registered name.
            model: Likewise.
            device: As in the constructor.
            target: Likewise.

        Raises:
            RunFolderError: If the file cannot be read.
            InputError: If it belongs to another pool, strategy or model.
        """
        path = user_path(path, "the saved file")
        saved = SavedLearner.read(path)
        learner = cls(**saved.arguments(pool, strategy, model, path), device=device, target=target)
        if learner._inputs.fingerprint() != saved.pool:
            raise InputError(f"{path} was saved with another pool; give the same samples in the same order")
        newer = [name for name in learner.model_choice.describe()["options"] if name not in saved.model.options]
        if newer:
            logger.warning(
                "%s was saved by a version whose model %r did not have the options %s: it predicts as saved, but from "
                "the next labels on it is trained with their defaults",
                path, learner.model_name, ", ".join(newer),
            )  # fmt: skip
        learner.load_state_dict(saved.state)
        return learner

    @engine_call()
    def state_dict(self) -> dict[str, Any]:
        """Return the state that changes from round to round."""
        return {
            "labeled": self._pool.labeled,
            "labels": self._pool.labels,
            "round": self.round,
            "is_current": self._is_current,
            **({"model": None} if self._fitted is None else model_state(self._fitted)),
            "strategy": strategy_state(self.strategy),
            "strategy_before": self._memory_before,
            "pending": None if self._pending is None else np.asarray(self._pending.indices),
            **({} if self._audit is None else {"audit": self._audit.state_dict()}),
        }

    @engine_call()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore a `state_dict` into a learner without labels."""
        self._pool.add(state["labeled"], state["labels"])
        self.round = state["round"]
        self._is_current = state["is_current"]
        if state["model"] is not None:
            self._fitted = self._restored(state, self._round_seed)
        if state["strategy"]:
            load_strategy_state(self.strategy, state["strategy"])
        self._memory_before = state["strategy_before"]
        self._pending = None if state["pending"] is None else Query(state["pending"])
        if self._audit is not None:
            self._audit.load_state_dict(state["audit"])

    @property
    def _validation_set(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        return None if self._validation is None else (self._validation.labeled, self._validation.labels)

    @property
    def _round_seed(self) -> int:
        """The seed that this round's model is trained with."""
        return stream_seed(self.seed, self.round, "train")

    def _context(
        self, model: FittedModel, candidates: NDArray[np.int64], cache: OutputCache | None = None
    ) -> QueryContext:
        key = (self.seed, self.round)
        cache = cache or OutputCache(self._inputs, self._trainer, key, build=self._new_module)
        labeled, unlabeled = self._data()
        cache.add(model, labeled, unlabeled, key)
        return QueryContext(
            candidates=candidates,
            labeled=labeled.indices,
            labels=labeled.labels,
            model=model,
            cache=cache,
            n_classes=self.n_classes,
            round=self.round,
            n_rounds=self.n_rounds,
            key=(*key, "query"),
            validation=self._validation_set,
        )
