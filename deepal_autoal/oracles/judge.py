"""Trains the task model with batches and their true labels, and scores it on the third split."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from deepal_autoal.numerics.softmax import log_softmax
from deepal_autoal.oracles.trials import RoundTrials, Trial, write_trials

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepal_autoal.training.fitted_model import FittedModel
    from deepal_autoal.training.inputs import Inputs

Train = Callable[["NDArray[np.int64]", "NDArray[np.int64]", int], "FittedModel"]


class Score(NamedTuple):
    """Of a model on the third split: accuracy in [0, 1], and mean negative log-likelihood in nats."""

    accuracy: float
    loss: float


class Judge:
    """Holds the hidden labels and the third split, for one run's oracle.

    Args:
        train: Called as ``train(indices, labels, attempt)``; returns the model that the run would train next if these
            labels were added (attempt 0), or one with a fresh seed (another attempt).
        labels: The pool's labels as the run gives them, int64, by pool index.
        inputs: The third split's samples.
        truth: Their labels, int64 (n,).
        third_split: Their rows in the training split, int64 (n,).
        folder: The run folder; None to record nothing.

    Attributes:
        labels: As given.
    """

    def __init__(
        self,
        train: Train,
        labels: NDArray[np.int64],
        inputs: Inputs,
        truth: NDArray[np.int64],
        third_split: NDArray[np.int64],
        folder: Path | None = None,
    ) -> None:
        self.labels = labels
        self._train = train
        self._inputs = inputs
        self._truth = torch.as_tensor(truth, device=inputs.device)
        self._third_split = third_split
        self._folder = folder

    def score(self, model: FittedModel) -> Score:
        """Return a model's score on the third split."""
        logits, _ = model.sweep(self._inputs, np.arange(len(self._inputs)), logits_only=True)
        right = (logits.argmax(dim=1) == self._truth).double().mean()
        loss = -log_softmax(logits).gather(1, self._truth[:, None]).double().mean()
        return Score(float(right), float(loss))

    def try_batch(self, strategy: str, subpool_size: int, batch: NDArray[np.int64]) -> Trial:
        """Return the trial of a batch; ``strategy`` and ``subpool_size`` only describe it."""
        score = self.score(self._train(batch, self.labels[batch], 0))
        return Trial(strategy, subpool_size, batch, score.accuracy, score.loss)

    def try_again(self, trial: Trial) -> Trial:
        """Return a trial with the score of another training, with a fresh seed."""
        score = self.score(self._train(trial.batch, self.labels[trial.batch], 1))
        return replace(trial, accuracy_again=score.accuracy, loss_again=score.loss)

    def record(
        self, number: int, labeled: NDArray[np.int64], before: Score, trials: tuple[Trial, ...], chosen: int
    ) -> None:
        """Write a round's file into the run folder, if there is one (see `RoundTrials`)."""
        if self._folder is not None:
            found = RoundTrials(number, np.array(labeled), self._third_split, *before, trials, chosen)
            write_trials(self._folder, found)
