"""Discriminative active learning: candidates that a classifier tells apart from the labeled samples."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal import DeepALError, Query, Strategy, global_torch_seed, top_scores, without_compiler
from deepal_strategies.shared.option_checks import check_at_least, check_positive
from deepal_strategies.shared.row_blocks import SMALL_NETWORK, by_rows
from deepal_strategies.shared.scaling import scaled, unit_of

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext

# Embeddings of fewer dimensions get a narrow classifier, as in the authors' code.
_FEW_DIMENSIONS = 30
_NARROW, _WIDE = 20, 256


class DiscAL(Strategy):
    """Highest probability of being unlabeled, by a classifier on the embeddings, in mini-queries.

    Gissin & Shalev-Shwartz 2019 ("Discriminative active learning"). The batch is chosen in ``mini_queries`` equal
    parts. For each, a new network of three hidden layers learns to tell the labeled samples, together with those
    chosen so far, from a random part of the candidates, ten for each labeled one; the candidates of that part that it
    takes for unlabeled most surely are chosen. It stops above ``stop_accuracy``, so that candidates like labeled
    ones do not become certain too. (The authors' code means to weigh classes, but gives both the same weight.)

    Departure: a classifier takes at most ``steps`` steps, where the authors' code takes up to 1,000 epochs at learning
    rates of 1e-4 to 1e-3, by the size of the embedding.

    The round's record has each classifier's steps and its accuracy in the last epoch.

    Args:
        mini_queries: Number of parts; at most the batch size.
        ratio: Candidates in a classifier's training for each labeled sample.
        steps: Steps of a classifier at most.
        train_batch_size: Samples in a step.
        learning_rate: Learning rate of Adam.
        stop_accuracy: Accuracy in an epoch, during training, above which it ends.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"embeddings"})

    def __init__(
        self,
        mini_queries: int = 10,
        ratio: int = 10,
        steps: int = 1000,
        train_batch_size: int = 128,
        learning_rate: float = 1e-3,
        stop_accuracy: float = 0.98,
    ) -> None:
        for name, value in (
            ("mini_queries", mini_queries), ("ratio", ratio), ("steps", steps), ("train_batch_size", train_batch_size),
        ):  # fmt: skip
            check_at_least(name, value, 1)
        check_positive("learning_rate", learning_rate)
        check_at_least("stop_accuracy", stop_accuracy, 0)
        self.mini_queries = mini_queries
        self.ratio = ratio
        self.steps = steps
        self.train_batch_size = train_batch_size
        self.learning_rate = learning_rate
        self.stop_accuracy = stop_accuracy

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch, in the order in which it was chosen.

        Raises:
            DeepALError: If there is no labeled sample, or a classifier's training diverges.
        """
        if not len(context.labeled):
            raise DeepALError("discal compares candidates with labeled samples: label at least one sample first")
        candidates, labeled = context.candidates.embeddings(), context.labeled.embeddings()
        unit = unit_of(candidates, labeled)
        candidates, known = scaled(candidates, unit), scaled(labeled, unit)
        chosen = np.empty(0, dtype=np.int64)
        left = np.arange(len(candidates))
        n_steps, accuracies = [], []
        parts = np.array_split(np.arange(batch_size), min(self.mini_queries, batch_size))
        for number, size in enumerate(map(len, parts)):
            n_drawn = min(len(left), max(size, self.ratio * len(known)))
            drawn = np.sort(context.rng.choice(left, n_drawn, replace=False))
            others = candidates[drawn]
            classifier, taken, accuracy = self._train(context, known, others, number)
            with torch.no_grad():
                scores = by_rows(partial(_log_odds, classifier), others, SMALL_NETWORK)
            if not scores.isfinite().all():
                raise DeepALError("discal's classifier returned values that are not finite: use a lower learning_rate")
            new = drawn[top_scores(scores, size, context.generator).cpu().numpy()]
            chosen, left = np.concatenate([chosen, new]), np.setdiff1d(left, new)
            known = torch.cat([known, candidates[new]])
            n_steps.append(taken)
            accuracies.append(accuracy)
            context.progress(number + 1, len(parts))
        return Query(context.candidates.indices[chosen], {"steps": n_steps, "accuracy": accuracies})

    def _train(self, context: QueryContext, known: Tensor, others: Tensor, number: int) -> tuple[nn.Module, int, float]:
        """Return a classifier with logits of (labeled, unlabeled), its steps, and its accuracy in the last epoch."""
        # Created on the CPU, so all devices start from the same network.
        with global_torch_seed(context.stream_seed(f"classifier {number}")):
            classifier = build_classifier(known.shape[1])
        classifier.to(known.device)
        samples = torch.cat([known, others])
        is_unlabeled = torch.zeros(len(samples), dtype=torch.int64, device=samples.device)
        is_unlabeled[len(known) :] = 1
        fused = samples.device.type in ("cpu", "cuda")
        optimizer = without_compiler(torch.optim.Adam)(classifier.parameters(), self.learning_rate, fused=fused)
        taken, accuracy = 0, 0.0
        with torch.enable_grad():
            while taken < self.steps and accuracy <= self.stop_accuracy:
                order = torch.randperm(len(samples), generator=context.generator, device=samples.device)
                batches = torch.split(order, self.train_batch_size)[: self.steps - taken]
                n_correct = torch.zeros((), dtype=torch.int64, device=samples.device)
                for rows in batches:
                    logits = classifier(samples[rows])
                    optimizer.zero_grad()
                    torch.autograd.backward(F.cross_entropy(logits, is_unlabeled[rows]))
                    optimizer.step()
                    n_correct += (logits.detach().argmax(dim=1) == is_unlabeled[rows]).sum()
                taken += len(batches)
                accuracy = int(n_correct) / sum(map(len, batches))
        return classifier, taken, accuracy


def build_classifier(n_features: int) -> nn.Sequential:
    """Return the network, initialized from torch's global generator: three hidden layers and two logits."""
    width = _NARROW if n_features < _FEW_DIMENSIONS else _WIDE
    return nn.Sequential(
        nn.Linear(n_features, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, 2),
    )


def _log_odds(classifier: nn.Module, rows: Tensor) -> Tensor:
    """Return the log odds of being unlabeled, (n,)."""
    logits: Tensor = classifier(rows)
    return logits[:, 1] - logits[:, 0]
