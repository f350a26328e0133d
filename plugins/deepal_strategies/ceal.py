"""CEAL: any strategy's picks for labeling, and the model's surest predictions as labels for its next training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from deepal_autoal import InputError, LabeledData, Query, Requirement, Strategy, ask, create_strategy
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.uncertainty import entropy

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal import FittedModel, QueryContext, Trainer, TrainerProtocol, UnlabeledData


class CEAL(Strategy):
    """Cost-effective active learning: besides the queried labels, training uses confident predictions as labels.

    Wang, Zhang, Li, Zhang & Lin 2017. In round t, the model chooses the batch by ``base`` and, of all other
    candidates, takes those with an entropy below δ_t = δ₀ - decay·t, in nats, whose predicted classes are pseudo-labels
    in the next training, for that round alone. They cost no budget, are in no count of labels, and stay in the pool
    and among the candidates.

    The paper fine-tunes its network; here each round trains as the run does, on labels and pseudo-labels alike. Its
    rule is "δ₀ for t = 0, δ - dr·t for t > 0", after each fine-tuning, taken for a linear decay here; ports, such as
    DeepAL+'s, take it for a recursion, whose decay adds up over the rounds. The defaults are those of the paper's
    experiments on CACD; on Caltech-256 they are 0.005 and 0.00033. DeepAL+'s δ₀ is 1e-5.

    The round's record has the threshold and the number of pseudo-labels for the next training. As training is changed,
    accuracies at equal labels do not measure picks alone.

    Args:
        base: Name of the registered strategy that chooses the batch, also with options: ``margin[calibrated=true]``.
        threshold: δ₀; 0 takes no pseudo-labels.
        decay: How much the threshold falls in each round.

    Raises:
        InputError: If an option is out of range, or the base strategy changes training itself.
    """

    def __init__(self, base: str = "entropy", threshold: float = 0.05, decay: float = 0.0033) -> None:
        check_at_least("threshold", threshold, 0)
        check_at_least("decay", decay, 0)
        self.base = create_strategy(base)
        if self.base.changes_training:
            raise InputError(f"option base: {base!r} changes how the task model is trained; name another")
        self.threshold = threshold
        self.decay = decay
        # Pool indices, ascending, and a class for each.
        self._indices = np.empty(0, dtype=np.int64)
        self._classes = np.empty(0, dtype=np.int64)

    @property
    def requires(self) -> frozenset[Requirement]:  # type: ignore[override]
        """Probabilities, and what the base strategy needs."""
        return self.base.requires | {"probabilities"}

    def wrap_trainer(self, trainer: Trainer) -> TrainerProtocol:
        """Return a trainer that adds the pseudo-labels."""
        return _PseudoLabelTrainer(trainer, self)

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the base strategy's batch, and keep the pseudo-labels."""
        answer = ask(self.base, context, batch_size)
        threshold = max(0.0, self.threshold - self.decay * context.round)
        log_probabilities = context.candidates.log_probabilities()
        is_sure = (entropy(log_probabilities) < threshold).cpu().numpy()
        sure = np.flatnonzero(is_sure & ~np.isin(context.candidates.indices, answer.indices))
        order = np.argsort(context.candidates.indices[sure])
        self._indices = context.candidates.indices[sure[order]]
        self._classes = log_probabilities.argmax(dim=1).cpu().numpy()[sure[order]]
        return Query(answer.indices, {**answer.report, "threshold": threshold, "pseudo_labels": len(sure)})

    def with_pseudo_labels(self, labeled: LabeledData, unlabeled: UnlabeledData) -> LabeledData:
        """Return the labeled data with the pseudo-labels of samples that are still unlabeled."""
        kept = np.isin(self._indices, unlabeled.indices)
        indices = np.concatenate([labeled.indices, self._indices[kept]])
        return LabeledData(labeled.inputs, indices, np.concatenate([labeled.labels, self._classes[kept]]))

    def state_dict(self) -> dict[str, Any]:
        """Return the pseudo-labels, and what the base strategy remembers."""
        return {"indices": self._indices, "classes": self._classes, "base": self.base.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        if set(state) != {"indices", "classes", "base"}:
            raise InputError(f"{self} keeps indices, classes and base, but was given a state with {sorted(state)}")
        self._indices, self._classes = (_whole(state[name]) for name in ("indices", "classes"))
        self.base.load_state_dict(state["base"])


class _PseudoLabelTrainer:
    """Trains on labels and the strategy's pseudo-labels."""

    def __init__(self, trainer: Trainer, strategy: CEAL) -> None:
        self._trainer = trainer
        self._strategy = strategy

    def fit(self, labeled: LabeledData, unlabeled: UnlabeledData, *, seed: int, **settings: Any) -> FittedModel:
        """Return a trained model (see `Trainer.fit`)."""
        both = self._strategy.with_pseudo_labels(labeled, unlabeled)
        fitted = self._trainer.fit(both, unlabeled, seed=seed, **settings)
        fitted.metrics["pseudo_labels"] = len(both.indices) - len(labeled.indices)
        return fitted


def _whole(values: Any) -> NDArray[np.int64]:
    return np.asarray(values, dtype=np.int64)
