"""DULO: a utility regression on subsets of the labeled samples, and a stochastic greedy choice (RAMBO's baseline)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import InputError, Query, Strategy
from deepal_strategies.rambo.acquisition import stochastic_greedy
from deepal_strategies.rambo.samples import Judge, UtilitySamples, draw_pairs
from deepal_strategies.rambo.strategy import embeddings_of, ranking_accuracy, score_of
from deepal_strategies.rambo.utility_model import Training, UtilityModel
from deepal_strategies.shared.option_checks import check_at_least, check_positive
from deepal_strategies.shared.validation import MIN_LABELED, split_labeled

if TYPE_CHECKING:
    from deepal_autoal import QueryContext


class DULO(Strategy):
    """Greedily the highest predicted accuracy, by a regression on subsets (after Wang, Chen & Jia, TMLR 2023).

    Models are trained on random subsets of the labeled samples; a set network learns their accuracies on validation
    samples by squared errors, and the batch is chosen greedily by its prediction (see `stochastic_greedy`). That is
    `RAMBO` without ranking, transport, bilevel training and margin filter. No code could be located; the form of the
    set network, its features and the validation samples are those of `RAMBO`. The paper trains a cheap proxy of the
    model on thousands of subsets; here it is the task model itself, on ``2·pairs`` subsets.

    With fewer than eight labels nothing is learned, and the batch is random.

    Args:
        validation: Number of labeled samples that judge; None for a quarter of them, or the run's validation set.
        pairs: Pairs of subsets of equal size that models are trained on.
        blocks: Parts of the pool in which an equal part of the batch is chosen.
        precision: ε of the stochastic greedy choice: the smaller, the more samples are compared.
        width: Of the network's layers.
        steps: Steps of its training.
        learning_rate: Of these steps.

    Raises:
        InputError: If an option is out of range, or ``validation`` leaves too few labeled samples, or is given beside
            the run's validation set.
    """

    requires = frozenset({"probabilities", "embeddings"})

    def __init__(
        self,
        validation: int | None = None,
        pairs: int = 12,
        blocks: int = 10,
        precision: float = 0.1,
        width: int = 64,
        steps: int = 400,
        learning_rate: float = 0.003,
    ) -> None:
        if validation is not None:
            check_at_least("validation", validation, 1)
        check_at_least("pairs", pairs, 1)
        check_at_least("blocks", blocks, 1)
        check_positive("precision", precision)
        if precision >= 1:
            raise InputError(f"option precision is {precision}; it must be below 1")
        self.validation = validation
        self.pairs = pairs
        self.blocks = blocks
        self.precision = precision
        self.training = Training(
            width, ranking=False, transport=0.0, bilevel=False, epochs=1, steps=steps, learning_rate=learning_rate
        )

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen.

        The report has whether the utility was ``learned``, and if so the ``utilities`` of the subsets, the ``loss``,
        and ``ranking_accuracy``, as that of `RAMBO`; and the pool indices of the ``validation`` samples unless they
        are the run's.
        """
        candidates = context.candidates.indices
        if len(context.labeled) < MIN_LABELED:
            return Query(context.rng.choice(candidates, batch_size, replace=False), {"learned": False})
        order = np.argsort(candidates)
        known, validation = split_labeled(context, self.validation)
        features, _, others = embeddings_of(context, known, validation, torch.as_tensor(order))
        memberships = draw_pairs(np.arange(len(known)), len(known), self.pairs, context.rng)
        utilities = Judge(context, known, validation, len(memberships)).measure_all(memberships)
        samples = UtilitySamples(memberships, utilities, np.zeros(len(utilities)))
        model = UtilityModel(features, self.training, context.stream_seed("utility model"))
        with context.timed("utility model"):
            model.train(samples)
        with context.timed("selection"):
            score = score_of(model, features, others)
            places = stochastic_greedy(len(order), batch_size, self.blocks, self.precision, score, context.rng)
        return Query(
            candidates[order[places]],
            {
                "learned": True,
                **({"validation": validation} if context.validation is None else {}),
                "utilities": utilities,
                "loss": model.losses["inner"],
                "ranking_accuracy": ranking_accuracy(model, samples),
            },
        )
