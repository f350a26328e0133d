"""The engine at work on a project: the first batch, the next one, and predictions for the whole pool.

The learner of a project is an `ActiveLearner`, created from the journal alone, so a correction is a different label
and nothing else. What lasts beside the labels is the strategy's memory, in ``learner.pt``, together with the model
and the next batch if it was chosen already; all of it is used only where it belongs to these very labels.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepal_autoal.errors import DeepALError, InputError
from deepal_autoal.experiment.learner import ActiveLearner
from deepal_autoal.experiment.loop import using_threads
from deepal_autoal.experiment.saved_learner import SavedLearner
from deepal_autoal.isolation.engine_calls import engine_call
from deepal_autoal.labeling.auditing import (
    INITIAL,
    audit_state,
    due_rows,
    read_estimate,
    state_key,
    write_estimate,
)
from deepal_autoal.labeling.pool import Samples, samples_of
from deepal_autoal.labeling.project import ProjectSettings
from deepal_autoal.measuring.resources import memory_size
from deepal_autoal.models import build_model
from deepal_autoal.numerics.devices import resolve_device
from deepal_autoal.numerics.random_streams import numpy_stream
from deepal_autoal.plugins.cost_formulas import symbols_of
from deepal_autoal.plugins.host import plugin_host
from deepal_autoal.querying.asking import ask
from deepal_autoal.querying.context import QueryContext
from deepal_autoal.querying.outputs import OutputCache
from deepal_autoal.strategies.advice import POOR, UNABLE, Situation, advise
from deepal_autoal.strategies.factory import create_strategy
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.scaling import resolve_scaling
from deepal_autoal.training.trainer import LabeledData, Trainer, UnlabeledData

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.labeling.project import Project

LEARNER = "learner.pt"
FIRST, UNTIL_TWO_CLASSES = "kmeans", "maxherding"
"""The strategies that cover the pool: without labels, and beside those of a single class."""
MOST_COVERED = 50_000
"""Samples that are covered at most; of more, so many drawn at random."""
# What a project's own strategy is advised for: a few batches.
_BATCHES_AHEAD = 10
_UNKNOWN_CLASSES = 10
_ROWS_TRIED = 64
# Numbers in a pool of vectors up to which one thread is at least as fast as two, and much faster beside other work:
# models are solved in many small steps, after each of which threads wait for each other (benchmarks/labeling).
_FEW_NUMBERS = 20_000_000

logger = logging.getLogger(__name__)


class Learning:
    """A project with its samples and its learner.

    Args:
        project: The project.
        samples: Its samples, if they are known already.
    """

    def __init__(self, project: Project, samples: Samples | None = None) -> None:
        self.project = project
        self.samples = samples_of(project) if samples is None else samples
        self._learner: ActiveLearner | None = None

    @property
    def can_train(self) -> bool:
        """Whether two classes have labels."""
        return len(set(self.project.state.labels.values())) >= 2

    def next_rows(self, size: int) -> tuple[list[int], str, str | None]:
        """Return the rows of the next batch, what chose it, and the model's name.

        Until two classes have labels, the batch covers the pool. With an audit, it contains the audit's share; without
        labels, that is all of it.

        Args:
            size: At most the number of samples without an answer.
        """
        state, settings = self.project.state, self.project.settings
        if not self.can_train:
            labeled = list(state.labels)
            due = due_rows(self.project, size) if settings.audit else []
            if due and not labeled:
                return due, INITIAL, None
            known = [*labeled, *due]
            candidates = sorted(set(state.unlabeled) - set(due))
            rows = cover(self.samples.vectors, candidates, known, size - len(due), settings.seed, settings.device,
                         self.samples.scaling) if len(due) < size else []  # fmt: skip
            return due + rows, covering(known), None
        learner = self.learner()
        with self._threads():
            rows = [int(row) for row in learner.ask(size)]
        self._save(learner)
        return rows, learner.strategy.name, learner.model_name

    def probabilities(self) -> NDArray[np.float32]:
        """Return the class probabilities of all samples, float32 (N, C), columns in the order of ``project.classes``.

        Raises:
            InputError: If fewer than two classes have labels.
        """
        return self._trained().predict_proba(self.samples.array)

    def guesses(self, rows: Sequence[int]) -> dict[int, tuple[str, float]]:
        """Return the model's class for each of some rows, and its probability.

        Raises:
            InputError: If fewer than two classes have labels.
        """
        if not rows:
            return {}
        learner, classes = self._trained(), self.project.classes
        probabilities = learner.predict_proba(self.samples.array[np.asarray(rows, dtype=np.int64)])
        best = probabilities.argmax(axis=1)
        return {
            row: (classes[number], float(probabilities[place, number]))
            for place, (row, number) in enumerate(zip(rows, best.tolist(), strict=True))
        }

    def _trained(self) -> ActiveLearner:
        if not self.can_train:
            raise InputError(f"{self.project.path}: a model needs labels of two classes; label some more first")
        learner = self.learner()
        before = learner.round
        with self._threads():
            learner.fit()
        if learner.round > before:
            self._save(learner)
        return learner

    def estimate(self, progress: Callable[[int, int], None]) -> None:
        """Keep in the project what the audit says about the present model, unless it is there.

        Args:
            progress: Called before each training with the number of those done and the total.

        Raises:
            InputError: If there is no audit, or fewer than two classes have labels.
        """
        if not self.project.settings.audit:
            raise InputError(f"{self.project.path} has no audit; start a project with deepal label init --audit 0.1")
        if not self.can_train:
            raise InputError(f"{self.project.path}: a model needs labels of two classes; label some more first")
        known = read_estimate(self.project)
        if known is not None and known["key"] == state_key(self.project):
            return
        learner = self.learner()
        with self._threads(is_small=True):
            found = learner.estimate(progress)
        self._save(learner)
        write_estimate(self.project, found)

    def learner(self) -> ActiveLearner:
        """Return the learner with the labels so far, trained if it was trained on them before."""
        if self._learner is None:
            project = self.project
            skipped = np.fromiter(project.state.skipped, np.int64, len(project.state.skipped))
            members = np.setdiff1d(np.arange(len(project.state.ids)), skipped)
            number = {name: position for position, name in enumerate(project.classes)}
            labeled = np.fromiter(project.state.labels, np.int64, len(project.state.labels))
            labels = np.array([number[label] for label in project.state.labels.values()], dtype=np.int64)
            learner = create_learner(project.settings, self.samples, len(number), members, project.settings.audit)
            saved = self._saved()
            state: dict[str, Any] = {
                "labeled": labeled, "labels": labels, "round": len(project.state.batches) - 1, "is_current": False,
                "model": None, "strategy": {}, "strategy_before": None, "pending": None,
            }  # fmt: skip
            if saved is not None and _belongs(saved, learner, state, members):
                state = dict(saved.state)
            elif saved is not None:
                # A batch that was chosen but never handed out leaves no trace in the strategy's memory.
                asked_in_vain = saved.state["pending"] is not None and saved.state["round"] == state["round"] + 1
                state["strategy"] = saved.state["strategy_before" if asked_in_vain else "strategy"] or {}
            if project.settings.audit:
                state["audit"] = audit_state(project)
                if (
                    saved is not None
                    and saved.n_classes == learner.n_classes
                    and np.array_equal(saved.members, members)
                ):
                    # Predictions of the last model on the same samples.
                    state["audit"] |= {name: saved.state["audit"][name] for name in ("round", "predicted", "kappas")}
            learner.load_state_dict(state)
            self._learner = learner
        return self._learner

    def _threads(self, is_small: bool = False) -> AbstractContextManager[None]:
        """Use one thread inside the block for vectors, if there are few, or if only labeled ones are computed with."""
        array = self.samples.array
        is_small = array.ndim == 2 and (is_small or array.size <= _FEW_NUMBERS)
        return using_threads(1 if is_small else None)

    def _saved(self) -> SavedLearner | None:
        path = self.project.path / LEARNER
        if not path.exists():
            return None
        try:
            return SavedLearner.read(path)
        except DeepALError as error:
            logger.warning("%s; the model is trained again, and what the strategy remembered is lost", error)
            return None

    def _save(self, learner: ActiveLearner) -> None:
        learner.save(self.project.path / LEARNER)


def _belongs(
    saved: SavedLearner, learner: ActiveLearner, state: dict[str, Any], members: NDArray[np.int64]
) -> bool:  # fmt: skip
    """Return whether a saved learner is the one with these labels, as trained after the last batch."""
    return (
        saved.n_classes == learner.n_classes
        and saved.state["round"] == state["round"] + 1
        and np.array_equal(saved.state["labeled"], state["labeled"])
        and np.array_equal(saved.state["labels"], state["labels"])
        and np.array_equal(saved.members, members)
        and saved.model.describe() == learner.model_choice.describe()
    )


def create_learner(
    settings: ProjectSettings, samples: Samples, n_classes: int, members: NDArray[np.int64] | None = None,
    audit: float = 0.0,
) -> ActiveLearner:  # fmt: skip
    """Return a project's learner without labels.

    Args:
        settings: The project's.
        samples: Its samples.
        n_classes: Of those known so far.
        members: The rows in use; all by default.
        audit: The share of each batch that is audited.

    Raises:
        DeepALError: If the strategy, its options or the model cannot be used on the samples.
    """
    strategy = create_strategy(settings.strategy, settings.candidates, **settings.options)
    return ActiveLearner(
        samples.array, strategy, max(2, n_classes), model=settings.model, seed=settings.seed, device=settings.device,
        members=members, scaling=samples.scaling, audit=audit,
    )  # fmt: skip


def choose_strategy(
    samples: Samples, n_classes: int, batch_size: int, model: str, seed: int, device: str
) -> str:  # fmt: skip
    """Return the strategy that ``deepal strategies --advise`` puts first, of those that query quickly.

    Those that train further models in each query, or change training, are passed over, and those that the model
    cannot serve.

    Args:
        samples: The project's.
        n_classes: Number of classes; 0 if it is not known.
        batch_size: Samples in a batch.
        model: The task model.
        seed: Of the project.
        device: Where models are trained.
    """
    classes = max(2, n_classes or _UNKNOWN_CLASSES)
    entries = plugin_host().strategies.entries()
    shape = samples.array.shape[1:]
    situation = Situation(
        len(samples.array), classes, batch_size, batch_size, _BATCHES_AHEAD, inputs=int(np.prod(shape)),
        dim=shape[-1] if len(shape) == 1 else 128, device=resolve_device(device).type, memory=memory_size(),
    )  # fmt: skip
    by_name = {entry.name: entry for entry in entries}
    few = Samples(np.asarray(samples.array[:_ROWS_TRIED]), samples.scaling)
    for item in advise(entries, situation):
        entry = by_name[item.name]
        trains = "fit" in symbols_of(entry.details["time"]) if entry.details["time"] else False
        if trains or entry.details["changes_training"] or item.above_random is None or item.verdict in (POOR, UNABLE):
            continue
        try:
            strategy = create_strategy(item.name)
            ActiveLearner(few.array, strategy, classes, model=model, seed=seed, device=device, scaling=few.scaling)
        except DeepALError as error:
            logger.info("%s is not used: %s", item.name, error)
            continue
        return item.name
    return "random"


def covering(labeled: Sequence[int]) -> str:
    """Return the strategy that covers a pool of which some samples are labeled."""
    return UNTIL_TWO_CLASSES if labeled else FIRST


@engine_call()
def cover(
    vectors: NDArray[Any], candidates: Sequence[int], labeled: Sequence[int], size: int, seed: int, device: str,
    scaling: str = "auto",
) -> list[int]:  # fmt: skip
    """Return rows that cover the candidates, chosen without a model: on the scaled vectors themselves.

    Args:
        vectors: Of all samples, (N, D).
        candidates: Rows to choose from; of more than `MOST_COVERED`, so many drawn at random.
        labeled: Rows that are covered already.
        size: At most the number of candidates.
        seed: Of the project.
        device: Where it is computed.
        scaling: Of the vectors, by name.
    """
    key = (seed, len(labeled), len(candidates))
    chosen = np.asarray(candidates, dtype=np.int64)
    if len(chosen) > MOST_COVERED:
        chosen = np.sort(numpy_stream(*key, "cover").choice(chosen, max(MOST_COVERED, size), replace=False))
    place = resolve_device(device)
    scaling = resolve_scaling(scaling, vectors).name
    inputs = Inputs(vectors, Normalization.fit(vectors, None, scaling), place)
    known = np.asarray(labeled, dtype=np.int64)
    classes = np.zeros(len(known), dtype=np.int64)
    shape, recipe = inputs.input_shape, Recipe.for_data(inputs.input_shape)
    model = FittedModel(build_model("linear", shape, 2), device=place, recipe=recipe, seed=seed)
    trainer = Trainer(lambda: build_model("linear", shape, 2), recipe, place)
    cache = OutputCache(inputs, trainer, (seed, "cover"))
    cache.add(model, LabeledData(inputs, known, classes), UnlabeledData(inputs, chosen), (seed, "cover"))
    context = QueryContext(
        candidates=chosen, labeled=known, labels=classes, model=model, cache=cache, n_classes=2, round=0, n_rounds=None,
        key=(*key, "cover"),
    )  # fmt: skip
    with torch.no_grad():
        answer = ask(create_strategy(covering(labeled)), context, size)
    return [int(row) for row in answer.indices]
