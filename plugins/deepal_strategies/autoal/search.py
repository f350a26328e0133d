"""The alternating training of FitNet and SearchNet, and SearchNet's verdict on the pool."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import nn

from deepal_autoal import DeepALError, global_torch_seed
from deepal_strategies.autoal import equations
from deepal_strategies.autoal.networks import Backbone, FitNet, LossPrediction, SearchNet, Standardize

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext
    from deepal_strategies.autoal.settings import Settings
    from deepal_strategies.autoal.simulation import Cycle, Half

MOMENTUM = 0.9
LOSS_NAMES = ("search_loss", "fit_loss", "regularizer", "loss_prediction_loss")
_EMBEDDING_CHUNK = 8192
_INPUT_CHUNK = 256


class Search:
    """SearchNet with its loss-prediction module: new in every round, kept over the round's cycles.

    By default SearchNet is a small network on the task model's embeddings, which are there already: one space of
    features for the labelled samples of all cycles and for the pool, and no further pass over the pool. The
    embeddings of labelled samples come from a model that has learnt them. ``networks="backbones"`` trains a copy
    of the task model's backbone with it.

    Args:
        context: The round; its generators seed the networks.
        n_candidates: K.
        settings: See `AutoAL`.
    """

    def __init__(self, context: QueryContext, n_candidates: int, settings: Settings) -> None:
        self.settings = settings
        self.context = context
        embeddings = (context.labeled.embeddings(), context.candidates.embeddings())
        n_features = embeddings[0].shape[1]
        with self._seeded():
            body = self._body(context.model.module)
            self.net = SearchNet(body, Standardize(*embeddings), n_features, n_candidates).to(context.device)
            self.loss_module = LossPrediction(len(self.net.stages)).to(context.device)
        self._optimizer = torch.optim.SGD(
            [*self.net.parameters(), *self.loss_module.parameters()], lr=settings.learning_rate, momentum=MOMENTUM
        )

    def run(self, cycle: Cycle) -> dict[str, float]:
        """Warm FitNet up on one half, then alternate (7) on it and (8) on the other half.

        FitNet is new in every cycle, since it must not have seen the held-out half. In the search it only ever
        learns from the half that the cycle's model was trained on.

        Returns:
            Mean losses of the cycle by name (`LOSS_NAMES`).

        Raises:
            DeepALError: If a loss is not finite.
        """
        settings, totals = self.settings, torch.zeros(len(LOSS_NAMES), device=self.context.device)
        with torch.enable_grad():
            with self._seeded():
                body, n_features = self._body(cycle.model.module), cycle.embeddings.shape[1]
                fit_net = FitNet(body, Standardize(cycle.embeddings), n_features, self.context.n_classes)
            fit_net = fit_net.to(self.context.device)
            fit_optimizer = torch.optim.Adam(fit_net.parameters(), lr=settings.learning_rate)
            seen, held_out = self._batches(len(cycle.seen)), self._batches(len(cycle.held_out))
            for _ in range(settings.warmup_steps):
                rows = next(seen)
                loss = F.cross_entropy(fit_net(cycle.seen.fit_samples(rows)), cycle.seen.labels[rows])
                _step(fit_optimizer, loss)
            for _ in range(settings.steps):
                fit_loss = self.fit_step(fit_net, fit_optimizer, cycle, next(seen))
                losses = self.search_losses(fit_net, cycle, next(held_out))
                if settings.search == "trained":
                    _step(self._optimizer, losses["search_loss"] + losses["loss_prediction_loss"])
                losses["fit_loss"] = fit_loss
                totals += torch.stack([losses[name].detach() for name in LOSS_NAMES])
        means = dict(zip(LOSS_NAMES, (totals / settings.steps).tolist(), strict=True))
        broken = [name for name, value in means.items() if not torch.isfinite(torch.tensor(value))]
        if broken:
            raise DeepALError(
                f"autoal's search diverged ({', '.join(broken)} is {means[broken[0]]}): use a lower learning_rate, "
                "fewer steps, or variant=default"
            )
        return means

    def fit_step(self, fit_net: FitNet, optimizer: torch.optim.Optimizer, cycle: Cycle, rows: Tensor) -> Tensor:
        """Update FitNet by equation (7) on a batch of the seen half, and return the loss, detached."""
        half = cycle.seen
        with torch.no_grad():
            scores, _ = self.scores(half, rows, cycle.threshold)
            regularizer = equations.selection_regularizer(equations.soft_count(scores), cycle.rate * len(rows))
        cross_entropy = F.cross_entropy(fit_net(half.fit_samples(rows)), half.labels[rows], reduction="none")
        weights = equations.fit_weights(scores, self.settings.fit_weights)
        loss = equations.fit_loss(weights, cross_entropy, regularizer, self.settings.regularizer_weight)
        _step(optimizer, loss)
        return loss.detach()

    def search_losses(self, fit_net: FitNet, cycle: Cycle, rows: Tensor) -> dict[str, Tensor]:
        """Return equation (8) and the loss-prediction module's loss on a batch of the held-out half, and L_re."""
        half, settings = cycle.held_out, self.settings
        with torch.no_grad():
            cross_entropy = F.cross_entropy(fit_net(half.fit_samples(rows)), half.labels[rows], reduction="none")
        scores, stages = self.scores(half, rows, cycle.threshold)
        count, wanted = equations.soft_count(scores), cycle.rate * len(rows)
        regularizer = equations.selection_regularizer(count, wanted)
        penalty = -regularizer if settings.regularizer == "printed" else equations.selection_penalty(count, wanted)
        relative = scores if settings.objective == "loss" else scores / equations.spread(scores)
        utility = equations.utilities(cross_entropy, settings.objective)
        search_loss = equations.search_loss(relative, utility, penalty, settings.regularizer_weight)
        if settings.loss_module:
            prediction_loss = equations.pair_ranking_loss(self.loss_module(stages), cross_entropy)
        else:
            prediction_loss = torch.zeros_like(search_loss)
        return {"search_loss": search_loss, "regularizer": regularizer, "loss_prediction_loss": prediction_loss}

    def scores(self, half: Half, rows: Tensor, threshold: float) -> tuple[Tensor, list[Tensor]]:
        """Return S̄, (n,), of a batch of a half, and SearchNet's hidden stages there."""
        weights, mixing_logits, stages = self.net(half.search_samples(rows))
        return equations.combined(equations.thresholded(half.scores[rows], threshold, weights), mixing_logits), stages

    @torch.no_grad()
    def score_pool(self, scores: Tensor, threshold: float) -> tuple[Tensor, Tensor]:
        """Return S̄ of all unlabelled candidates, (N,), and the weight of each strategy, float64 (K,) on the CPU, sum 1.

        A strategy's weight is the mean of W·sigmoid(Θ) over the candidates, normalised over the strategies.

        Args:
            scores: S of the candidates, (N, K).
            threshold: ϑ.

        Raises:
            DeepALError: If a score is not finite.
        """
        view = self.context.candidates
        if self.settings.networks == "heads":
            chunks = iter(torch.split(view.embeddings(), _EMBEDDING_CHUNK))
        else:
            chunks = view.batches(_INPUT_CHUNK)
        # In logarithms: a search that only ever loses turns sigmoid(Θ) down until it underflows.
        parts, total, start = [], torch.full((scores.shape[1],), -torch.inf, dtype=torch.float64), 0
        for samples in chunks:
            weights, mixing_logits, _ = self.net(samples)
            rows = scores[start : start + len(samples)]
            parts.append(equations.combined(equations.thresholded(rows, threshold, weights), mixing_logits))
            trust = weights.cpu().double().log() + F.logsigmoid(mixing_logits.cpu().double())
            total = torch.logaddexp(total, trust.logsumexp(dim=0))
            start += len(samples)
        result = torch.cat(parts)
        shares = total.softmax(dim=0)
        if not (result.isfinite().all() and shares.isfinite().all()):
            raise DeepALError("autoal's SearchNet gave scores that are not finite: use a lower learning_rate")
        return result, shares

    def _body(self, module: nn.Module) -> nn.Module:
        return nn.Identity() if self.settings.networks == "heads" else Backbone(module)

    def _seeded(self) -> contextlib.AbstractContextManager[None]:
        return global_torch_seed(int(self.context.rng.integers(2**63)), self.context.device)

    def _batches(self, n_samples: int) -> Iterator[Tensor]:
        """Yield batches of row numbers for ever, each epoch in a new order; a batch never has a single row."""
        generator = self.context.generator
        n_batches = max(1, n_samples // self.settings.train_batch_size)
        while True:
            order = torch.randperm(n_samples, generator=generator, device=generator.device)
            yield from order.tensor_split(n_batches)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
