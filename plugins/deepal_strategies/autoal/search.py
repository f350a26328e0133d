"""The alternating training of FitNet and SearchNet."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from deepal_autoal import DeepALError, global_torch_seed, without_compiler
from deepal_strategies.autoal import equations
from deepal_strategies.autoal.networks import (
    LOSS_WIDTH,
    Backbone,
    Detached,
    FitNet,
    OwnFitNet,
    OwnSearchNet,
    SearchNet,
)
from deepal_strategies.autoal.score_pool import Judge
from deepal_strategies.autoal.settings import OF_INPUTS, PER_CYCLE
from deepal_strategies.shared.loss_predictor import LossPredictor
from deepal_strategies.shared.row_blocks import EMBEDDINGS, INPUTS
from deepal_strategies.shared.standardize import Standardize

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import PoolView, QueryContext
    from deepal_strategies.autoal.score_pool import Fetch
    from deepal_strategies.autoal.settings import Settings
    from deepal_strategies.autoal.simulation import Cycle, Half

logger = logging.getLogger(__name__)

# Warm-up steps that are timed, and from how many seconds a round on the user is told beforehand.
TIMED_STEPS = 5
LONG_SECONDS = 60.0
# Signs of divergence: FitNet's cross-entropy in units of that of a uniform guess, and one candidate's share of trust.
LOST_FACTOR = 2.0
COLLAPSED = 0.99
LOSS_NAMES = ("search_loss", "fit_loss", "regularizer", "loss_prediction_loss")


class Search:
    """SearchNet with its loss-prediction module, trained over the round's cycles.

    What SearchNet sees of a sample (``networks``):

    - ``"votes"``: the candidates' scores S of the sample: K numbers, which mean the same on labeled samples and on the
      pool, and are too few to memorize half a labeled set. SearchNet is new in each cycle, and S̄ is the mean over
      cycles.
    - ``"heads"``: the task model's embeddings, which already exist: one feature space for the labeled samples of all
      cycles and for the pool, and no further pass over the pool. The embeddings of labeled samples come from a model
      that has learned them.
    - ``"half-heads"``: the embeddings of the half's model, in which the halves differ less from the pool. Also by
      cycle; the pool passes through each cycle's model.
    - ``"trunk"``: inputs, through a copy of the half's model shared with FitNet, which alone trains it: with
      SearchNet's gradient, FitNet's losses on the held-out half would no longer be those of unseen samples. Also by
      cycle.
    - ``"backbones"``: inputs, through its own trained copy of the task model, as FitNet has one of the half's model.
      The task model has learned the held-out labels.
    - ``"own"``: inputs, through a network of the task model's architecture with fresh weights, as FitNet has one: the
      paper's. Both are trained from their first layer on, BatchNorm included; FitNet's losses in (8) and the pool's
      scores are those of the networks in evaluation mode.

    Args:
        context: The round; its generators seed the networks.
        candidates: Names of the candidates, K.
        settings: See `AutoAL`.
        memory: An earlier `state_dict` to start from, or None to start from scratch.

    Attributes:
        divergence: What went wrong in the cycles so far, in words; empty if nothing was noticed.
    """

    def __init__(
        self,
        context: QueryContext,
        candidates: tuple[str, ...],
        settings: Settings,
        memory: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.settings = settings
        self.context = context
        self.judges: list[Judge] = []
        self.divergence: list[str] = []
        self._candidates = candidates
        self._memory = memory
        self._n_cycles = 0
        self._votes = torch.full((len(context.labeled), len(candidates)), 0.5, device=context.device)
        if settings.networks == "own":
            with self._seeded():
                net = OwnSearchNet(context.new_model("searchnet"), len(candidates), settings.weights)
                self._begin(net, *self._fetches(context))
        elif settings.networks not in PER_CYCLE:
            embeddings = (context.labeled.embeddings(), context.candidates.embeddings())
            with self._seeded():
                body = self._body(context.model.module)
                self._begin(self._search_net(body, Standardize(*embeddings)), *self._fetches(context))

    def _search_net(self, body: nn.Module, standardize: Standardize) -> SearchNet:
        return SearchNet(
            body, standardize, len(standardize.mean), len(self._candidates), self.settings.weights
        )  # fmt: skip

    def _begin(self, net: SearchNet | OwnSearchNet, labeled: Fetch, pool: Fetch | None) -> None:
        settings, device = self.settings, self.context.device
        self.net = net.to(device)
        self.loss_module = LossPredictor(net.stage_widths, LOSS_WIDTH).to(device)
        if self._memory is not None:
            for name, part in self._learned():
                part.load_state_dict(
                    {key: self._memory.get(f"{name}.{key}", value) for key, value in part.state_dict().items()}
                )
        weights = [parameter for name, parameter in self.net.named_parameters() if name.endswith("weight")]
        biases = [parameter for name, parameter in self.net.named_parameters() if not name.endswith("weight")]
        groups: list[dict[str, Any]] = [
            {"params": weights, "weight_decay": settings.weight_decay},
            {"params": [*biases, *self.loss_module.parameters()]},
        ]
        self._optimizer = without_compiler(torch.optim.SGD)(
            groups, lr=settings.search_learning_rate, momentum=settings.momentum, fused=_can_fuse(device)
        )
        size = INPUTS if settings.networks in OF_INPUTS else EMBEDDINGS
        self.judges.append(Judge(self.net, pool, labeled, size.rows()))

    def _fetches(self, context: QueryContext) -> tuple[Fetch, Fetch]:
        """Return functions that fetch SearchNet's samples of the labeled set, and of the candidates, by rows."""
        samples = _inputs_of if self.settings.networks in OF_INPUTS else _embeddings_of
        return samples(context.labeled), samples(context.candidates)

    def run(self, cycle: Cycle) -> dict[str, float]:
        """Warm FitNet up on one half, then alternate (7) on that half and (8) on the other half.

        FitNet is new in every cycle, as it must not have seen the held-out half. In the search it learns only from
        the half that the cycle's model was trained on.

        Returns:
            Mean losses of the cycle by name (`LOSS_NAMES`).

        Raises:
            DeepALError: If a loss is not finite.
        """
        settings, totals = self.settings, torch.zeros(len(LOSS_NAMES), device=self.context.device)
        for half in (cycle.seen, cycle.held_out):
            self._votes[half.rows] = half.scores
        with torch.enable_grad(), self._threads():
            fit_net = self._start(cycle).to(self.context.device)
            fit_optimizer = without_compiler(torch.optim.Adam)(
                fit_net.parameters(), lr=settings.learning_rate, fused=_can_fuse(self.context.device)
            )
            seen_rows, held_out_rows = self._batches(len(cycle.seen)), self._batches(len(cycle.held_out))
            n_batches = [self._n_batches(len(half)) for half in (cycle.seen, cycle.held_out)]
            n_warmup = settings.warmup_epochs * n_batches[0] or settings.warmup_steps
            n_steps = settings.search_epochs * max(n_batches) or settings.steps
            self.net.train()
            fit_net.train()
            before = time.perf_counter()
            for step in range(n_warmup):
                rows = next(seen_rows)
                loss = F.cross_entropy(fit_net(self._fit_samples(cycle.seen, rows)), cycle.seen.labels[rows])
                _step(fit_optimizer, loss)
                if settings.networks == "own":
                    self.context.progress(step + 1, n_warmup + n_steps)
                    if step + 1 == TIMED_STEPS:
                        loss.item()  # waits for the device
                        self._announce((time.perf_counter() - before) / TIMED_STEPS, n_warmup, n_steps)
            for step in range(n_steps):
                fit_loss = self.fit_step(fit_net, fit_optimizer, cycle, next(seen_rows))
                losses = self.search_losses(fit_net, cycle, next(held_out_rows))
                if settings.search == "trained":
                    _step(self._optimizer, losses["search_loss"] + losses["loss_prediction_loss"])
                losses["fit_loss"] = fit_loss
                totals += torch.stack([losses[name].detach() for name in LOSS_NAMES])
                if settings.networks == "own":
                    self.context.progress(n_warmup + step + 1, n_warmup + n_steps)
        self.net.eval()
        means = dict(zip(LOSS_NAMES, (totals / n_steps).tolist(), strict=True))
        broken = [name for name, value in means.items() if not math.isfinite(value)]
        if broken:
            raise DeepALError(
                f"autoal's search diverged ({', '.join(broken)} is {means[broken[0]]}): use lower learning rates, "
                "fewer steps, or variant=default"
            )
        self._watch(fit_net, cycle)
        self._n_cycles += 1
        return means

    def _start(self, cycle: Cycle) -> FitNet | OwnFitNet:
        """Return a new FitNet, after a new SearchNet where every cycle has one."""
        settings = self.settings
        with self._seeded():
            if settings.networks == "own":
                return OwnFitNet(self.context.new_model(f"fitnet{self._n_cycles}"), self.context.n_classes)
            body, standardize = self._body(cycle.model.module), Standardize(cycle.embeddings)
            fit_net = FitNet(body, standardize, len(standardize.mean), self.context.n_classes)
            if settings.networks == "votes":
                # Scores are in [0, 1] for all samples; they become -1 ... 1.
                ends = torch.tensor([[0.0], [1.0]]).expand(2, len(self._candidates))
                net = self._search_net(nn.Identity(), Standardize(ends))
                votes = self._votes  # not this object, which keeps the judges
                self._begin(net, lambda rows: votes[rows], None)
            elif settings.networks in PER_CYCLE:
                seen = self.context.rebuild(model=cycle.model, purpose="judge")
                shared = Detached(body) if settings.networks == "trunk" else body
                self._begin(self._search_net(shared, standardize), *self._fetches(seen))
            return fit_net

    def _announce(self, seconds: float, n_warmup: int, n_steps: int) -> None:
        """Say once per run how long the search of a round takes, from the time of a warm-up step."""
        if self.context.round or self._n_cycles:
            return
        # In passes of one network: a warm-up step takes 3 (forward, and twice that backward), an alternating step 8.
        total = self.settings.n_cycles * seconds * (n_warmup + n_steps * 8 / 3)
        if total >= LONG_SECONDS:
            logger.warning(
                "autoal trains two networks of the task model's size for %s steps in every round: about %.0f minutes "
                "a round with as many labels as now", f"{n_warmup + n_steps:,}", total / 60,
            )  # fmt: skip

    def _watch(self, fit_net: FitNet | OwnFitNet, cycle: Cycle) -> None:
        """Note signs of a search that went astray though its losses are finite."""
        found = []
        fit_net.eval()
        with torch.no_grad():
            rows, held_out_rows = (
                torch.arange(len(half), device=self.context.device)[: self.settings.train_batch_size]
                for half in (cycle.seen, cycle.held_out)
            )
            logits = fit_net(self._fit_samples(cycle.seen, rows))
            loss = float(F.cross_entropy(logits, cycle.seen.labels[rows]))
            trusts = torch.cat([self._trusts(cycle.seen, rows), self._trusts(cycle.held_out, held_out_rows)])
        weights = (trusts.sum(dim=0) / trusts.sum()).tolist()
        if not loss < LOST_FACTOR * math.log(self.context.n_classes):
            found.append(f"FitNet's cross-entropy on samples that it learns is {loss:.3g}")
        if len(weights) > 1 and max(weights) > COLLAPSED:
            favorite = self._candidates[weights.index(max(weights))]
            found.append(f"SearchNet trusts only {favorite}")
        for what in found:
            logger.warning("autoal's search went astray in round %d: %s", self.context.round, what)
        self.divergence += found

    def _trusts(self, half: Half, rows: Tensor) -> Tensor:
        log_weights, mixing_logits, _ = self.net(self.judges[-1].labeled(half.rows[rows]))
        trusts: Tensor = log_weights.exp() * mixing_logits.sigmoid()
        return trusts

    def fit_step(
        self, fit_net: FitNet | OwnFitNet, optimizer: torch.optim.Optimizer, cycle: Cycle, rows: Tensor
    ) -> Tensor:
        """Update FitNet by equation (7) on a batch of the seen half, and return the loss, detached."""
        half = cycle.seen
        self.net.eval()
        with torch.no_grad():
            scores, _ = self.scores(half, rows, cycle.threshold)
            count = equations.selected_count(scores, self.settings.count)
            regularizer = equations.selection_regularizer(count, cycle.rate * len(rows))
        self.net.train()
        logits = fit_net(self._fit_samples(half, rows))
        cross_entropy = F.cross_entropy(logits, half.labels[rows], reduction="none")
        weights = equations.fit_weights(scores, self.settings.fit_weights)
        loss = equations.fit_loss(weights, cross_entropy, regularizer, self.settings.regularizer_weight)
        _step(optimizer, loss)
        return loss.detach()

    def search_losses(self, fit_net: FitNet | OwnFitNet, cycle: Cycle, rows: Tensor) -> dict[str, Tensor]:
        """Return equation (8) and the loss-prediction module's loss on a batch of the held-out half, and L_re."""
        half, settings = cycle.held_out, self.settings
        fit_net.eval()
        with torch.no_grad():
            samples, labels = self._fit_samples(half, rows), half.labels[rows]
            cross_entropy, alignment = judge_samples(fit_net, samples, labels, settings.objective == "alignment")
        fit_net.train()
        scores, stages = self.scores(half, rows, cycle.threshold)
        count, wanted = equations.selected_count(scores, settings.count), cycle.rate * len(rows)
        regularizer = equations.selection_regularizer(count, wanted)
        penalty = -regularizer if settings.regularizer == "printed" else equations.selection_penalty(count, wanted)
        relative = scores if settings.objective == "loss" else scores / equations.spread(scores)
        utility = equations.utilities(cross_entropy, alignment, settings.objective)
        search_loss = equations.search_loss(relative, utility, penalty, settings.regularizer_weight)
        if settings.loss_module:
            prediction_loss = equations.pair_ranking_loss(self.loss_module(stages), cross_entropy)
        else:
            prediction_loss = torch.zeros_like(search_loss)
        return {"search_loss": search_loss, "regularizer": regularizer, "loss_prediction_loss": prediction_loss}

    def scores(self, half: Half, rows: Tensor, threshold: float) -> tuple[Tensor, list[Tensor]]:
        """Return S̄, (n,), of a batch of a half, and SearchNet's hidden stages for it."""
        log_weights, mixing_logits, stages = self.net(self.judges[-1].labeled(half.rows[rows]))
        thresholded = equations.thresholded(half.scores[rows], threshold, log_weights.exp())
        return equations.combined(thresholded, mixing_logits), stages

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the search learned in its last cycle; bodies and feature statistics belong to the round."""
        return {
            f"{name}.{key}": value.detach().cpu().clone()
            for name, part in self._learned()
            for key, value in part.state_dict().items()
            if not key.startswith(("standardize.", "body."))
        }

    def _learned(self) -> tuple[tuple[str, nn.Module], ...]:
        return ("net", self.net), ("loss_module", self.loss_module)

    def _fit_samples(self, half: Half, rows: Tensor) -> Tensor:
        if self.settings.networks in OF_INPUTS:
            return half.view.inputs(rows.cpu().numpy())
        return half.view.embeddings()[rows]

    def _body(self, module: nn.Module) -> nn.Module:
        return Backbone(module) if self.settings.networks in OF_INPUTS else nn.Identity()

    def _seeded(self) -> contextlib.AbstractContextManager[None]:
        return global_torch_seed(int(self.context.rng.integers(2**63)), self.context.device)

    @contextlib.contextmanager
    def _threads(self) -> Iterator[None]:
        """Use one thread where tensors are small: more would only wait for each other, longest on shared cores."""
        before = torch.get_num_threads()
        try:
            if self.settings.networks not in OF_INPUTS:
                torch.set_num_threads(1)
            yield
        finally:
            torch.set_num_threads(before)

    def _batches(self, n_samples: int) -> Iterator[Tensor]:
        """Yield batches of row numbers without end, each epoch in a new order; a batch never has a single row."""
        generator = self.context.generator
        while True:
            order = torch.randperm(n_samples, generator=generator, device=generator.device)
            yield from order.tensor_split(self._n_batches(n_samples))

    def _n_batches(self, n_samples: int) -> int:
        return max(1, n_samples // self.settings.train_batch_size)


def judge_samples(fit_net: FitNet | OwnFitNet, samples: Tensor, labels: Tensor, aligned: bool) -> tuple[Tensor, Tensor]:
    """Return FitNet's cross-entropy of labeled samples and `equations.gradient_alignment`, (n,) each.

    Unless ``aligned``, the cross-entropy is returned instead of the alignment.
    """
    features = fit_net.features(samples)
    logits = fit_net.head(features)
    cross_entropy = F.cross_entropy(logits, labels, reduction="none")
    if not aligned:
        return cross_entropy, cross_entropy
    residuals = logits.softmax(dim=1) - F.one_hot(labels, logits.shape[1])
    with_bias = torch.cat([features, features.new_ones(len(features), 1)], dim=1)
    return cross_entropy, equations.gradient_alignment(residuals, with_bias)


def _embeddings_of(view: PoolView) -> Fetch:
    return lambda rows: view.embeddings()[rows]


def _inputs_of(view: PoolView) -> Fetch:
    return lambda rows: view.inputs(rows.cpu().numpy())


def _can_fuse(device: torch.device) -> bool:
    """Whether torch can update all parameters in one call; with small networks, calls dominate a step's cost."""
    return device.type in ("cpu", "cuda")


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad()
    torch.autograd.backward(loss)
    optimizer.step()
