"""The alternating training of FitNet and SearchNet."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from deepal_autoal import DeepALError, global_torch_seed, without_compiler
from deepal_strategies.autoal import equations
from deepal_strategies.autoal.networks import Backbone, Detached, FitNet, LossPrediction, SearchNet, Standardize
from deepal_strategies.autoal.score_pool import Judge
from deepal_strategies.autoal.settings import OF_INPUTS, PER_CYCLE
from deepal_strategies.shared.row_blocks import EMBEDDINGS, INPUTS

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import PoolView, QueryContext
    from deepal_strategies.autoal.score_pool import Fetch
    from deepal_strategies.autoal.settings import Settings
    from deepal_strategies.autoal.simulation import Cycle, Half

MOMENTUM = 0.9
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
    - ``"backbones"``: inputs, through its own trained copy of the task model, as FitNet has one of the half's model;
      the paper's size.

    Args:
        context: The round; its generators seed the networks.
        n_candidates: K.
        settings: See `AutoAL`.
        memory: An earlier `state_dict` to start from, or None to start from scratch.
    """

    def __init__(
        self, context: QueryContext, n_candidates: int, settings: Settings, memory: Mapping[str, Tensor] | None = None
    ) -> None:
        self.settings = settings
        self.context = context
        self.judges: list[Judge] = []
        self._n_candidates = n_candidates
        self._memory = memory
        self._votes = torch.full((len(context.labeled), n_candidates), 0.5, device=context.device)
        if settings.networks not in PER_CYCLE:
            embeddings = (context.labeled.embeddings(), context.candidates.embeddings())
            with self._seeded():
                body = self._body(context.model.module)
                self._begin(body, Standardize(*embeddings), *self._fetches(context))

    def _begin(self, body: nn.Module, standardize: Standardize, labeled: Fetch, pool: Fetch | None) -> None:
        settings, device = self.settings, self.context.device
        n_features = len(standardize.mean)
        self.net = SearchNet(body, standardize, n_features, self._n_candidates, settings.weights).to(device)
        self.loss_module = LossPrediction(len(self.net.stages)).to(device)
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
            groups, lr=settings.search_learning_rate, momentum=MOMENTUM, fused=_can_fuse(device)
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
            with self._seeded():
                body, standardize = self._body(cycle.model.module), Standardize(cycle.embeddings)
                fit_net = FitNet(body, standardize, len(standardize.mean), self.context.n_classes)
                if settings.networks == "votes":
                    # Scores are in [0, 1] for all samples; they become -1 ... 1.
                    ends = torch.tensor([[0.0], [1.0]]).expand(2, self._n_candidates)
                    self._begin(nn.Identity(), Standardize(ends), lambda rows: self._votes[rows], None)
                elif settings.networks in PER_CYCLE:
                    seen = self.context.rebuild(model=cycle.model, purpose="judge")
                    shared = Detached(body) if settings.networks == "trunk" else body
                    self._begin(shared, standardize, *self._fetches(seen))
            fit_net = fit_net.to(self.context.device)
            fit_optimizer = without_compiler(torch.optim.Adam)(
                fit_net.parameters(), lr=settings.learning_rate, fused=_can_fuse(self.context.device)
            )
            seen_rows, held_out_rows = self._batches(len(cycle.seen)), self._batches(len(cycle.held_out))
            for _ in range(settings.warmup_steps):
                rows = next(seen_rows)
                loss = F.cross_entropy(fit_net(self._fit_samples(cycle.seen, rows)), cycle.seen.labels[rows])
                _step(fit_optimizer, loss)
            for _ in range(settings.steps):
                fit_loss = self.fit_step(fit_net, fit_optimizer, cycle, next(seen_rows))
                losses = self.search_losses(fit_net, cycle, next(held_out_rows))
                if settings.search == "trained":
                    _step(self._optimizer, losses["search_loss"] + losses["loss_prediction_loss"])
                losses["fit_loss"] = fit_loss
                totals += torch.stack([losses[name].detach() for name in LOSS_NAMES])
        means = dict(zip(LOSS_NAMES, (totals / settings.steps).tolist(), strict=True))
        broken = [name for name, value in means.items() if not torch.isfinite(torch.tensor(value))]
        if broken:
            raise DeepALError(
                f"autoal's search diverged ({', '.join(broken)} is {means[broken[0]]}): use lower learning rates, "
                "fewer steps, or variant=default"
            )
        return means

    def fit_step(self, fit_net: FitNet, optimizer: torch.optim.Optimizer, cycle: Cycle, rows: Tensor) -> Tensor:
        """Update FitNet by equation (7) on a batch of the seen half, and return the loss, detached."""
        half = cycle.seen
        with torch.no_grad():
            scores, _ = self.scores(half, rows, cycle.threshold)
            regularizer = equations.selection_regularizer(equations.soft_count(scores), cycle.rate * len(rows))
        logits = fit_net(self._fit_samples(half, rows))
        cross_entropy = F.cross_entropy(logits, half.labels[rows], reduction="none")
        weights = equations.fit_weights(scores, self.settings.fit_weights)
        loss = equations.fit_loss(weights, cross_entropy, regularizer, self.settings.regularizer_weight)
        _step(optimizer, loss)
        return loss.detach()

    def search_losses(self, fit_net: FitNet, cycle: Cycle, rows: Tensor) -> dict[str, Tensor]:
        """Return equation (8) and the loss-prediction module's loss on a batch of the held-out half, and L_re."""
        half, settings = cycle.held_out, self.settings
        with torch.no_grad():
            samples, labels = self._fit_samples(half, rows), half.labels[rows]
            cross_entropy, alignment = judge_samples(fit_net, samples, labels, settings.objective == "alignment")
        scores, stages = self.scores(half, rows, cycle.threshold)
        count, wanted = equations.soft_count(scores), cycle.rate * len(rows)
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
        n_batches = max(1, n_samples // self.settings.train_batch_size)
        while True:
            order = torch.randperm(n_samples, generator=generator, device=generator.device)
            yield from order.tensor_split(n_batches)


def judge_samples(fit_net: FitNet, samples: Tensor, labels: Tensor, aligned: bool) -> tuple[Tensor, Tensor]:
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
