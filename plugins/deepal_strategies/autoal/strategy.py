"""The AutoAL strategy: a search inside the labeled pool, then one query of the unlabeled pool."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
import torch

from deepal_autoal import InputError, Query, SelectorStrategy, Strategy
from deepal_strategies.autoal.score_pool import score_pool
from deepal_strategies.autoal.search import LOSS_NAMES, Search
from deepal_strategies.autoal.settings import OF_INPUTS, OF_OUTPUTS, VARIANTS, Settings
from deepal_strategies.autoal.simulation import MIN_LABELED, simulate_cycle, vote_scores_of
from deepal_strategies.autoal.threshold import top_quantile
from deepal_strategies.shared.default_candidates import DEFAULT_CANDIDATES
from deepal_strategies.shared.final_stage import BY_RANK, BY_UNCERTAINTY, FinalStage
from deepal_strategies.shared.option_checks import check_choice
from deepal_strategies.shared.votes import collect_votes

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext, Requirement


class AutoAL(SelectorStrategy):
    """Learns, sample by sample, how far to trust each candidate strategy (Wang, Zhan & Huang, ICML 2025).

    Each cycle halves the labeled set and simulates active learning: with a model trained on one half, the candidates
    select from the other, whose labels give FitNet's loss on the selected samples; from that loss SearchNet learns the
    candidates' weights by gradient. It then scores the unlabeled pool, on which every candidate votes with the task
    model.

    Args:
        candidates: Strategies by name.
        variant: ``"default"``: our form of the method, on the candidates' votes. ``"printed"``: the equations as
            printed, which are known to fail in places (see `equations`), on small heads. ``"paper"``: the paper's
            method as far as its text goes: printed equations, SearchNet and FitNet as networks of the task model's
            architecture, 200 epochs of FitNet and 400 of both, and the top b. That takes long; the first query says
            how long. Sets all options below that default to None.
        n_cycles: Halvings C; each trains a task model on half the labeled set.
        half_effort: Greatest share of the recipe's epochs and steps for the model of a half; below 1 it stops earlier
            once it has learned its half.
        warmup_steps: FitNet's steps before the search, in each cycle.
        steps: Alternating steps of FitNet and SearchNet, in each cycle.
        warmup_epochs: Passes over the half instead of ``warmup_steps``; 0 = by steps.
        search_epochs: Passes over the larger half instead of ``steps``; 0 = by steps.
        learning_rate: Learning rate of FitNet.
        regularizer_weight: λ̄.
        train_batch_size: Smallest number of samples in a step; it can be up to twice as large, so no step is left
            with a single sample.
        loss_module: Whether the loss-prediction module is trained with SearchNet.
        search: Controls: ``"frozen"`` leaves SearchNet at its initialization but does everything else;
            ``"random"`` draws the candidates' weights at random in each round (uniformly from the simplex), the same
            for all samples, and searches nothing.
        scorer: Model whose outputs the candidates see in a cycle: ``"half"``, one trained on the other half;
            or ``"task"``, the task model, which has learned the labels of both halves: no half is trained.
        threshold: ``"mixture"``, equations (2)-(4), or ``"quantile"`` of the scores themselves.
        weights: W is the ``"softmax"`` or the ``"sigmoid"`` of SearchNet's output.
        memory: ``"fresh"`` networks in each round, or ``"warm"`` ones that continue from the last round's, except for
            bodies. Votes mean the same in all rounds; embedding dimensions do not, as the model is retrained.
        scores: S_κ: ``"ranks"`` in [0, 1] or binary ``"picks"``.
        min_rate: Least share of a half that is selected; 0 is the paper's t = b/(M + N), of which candidates pick at
            least one sample (see `selection_rate`).
        n_components: Components of the mixture; 0 = as many as there are candidates.
        objective: Objective of equation (8): ``"ranked"``, ``"centred"`` or ``"loss"``, or ``"alignment"``, which is
            not in the paper; see `equations.utilities`.
        regularizer: ``"relative"`` or ``"printed"``; see `equations.selection_penalty`.
        count: α is a ``"soft"`` count, or an ``"exact"`` one, without a gradient; see `equations.selected_count`.
        fit_weights: ``"softmax"`` or ``"printed"``; see `equations.fit_weights`.
        pool_threshold: ϑ of the pool: ``"own"``, the quantile of its own combined scores at the share that the final
            stage's filter takes; or ``"labeled"``, that of the cycles, which lets a different share of the pool pass
            than the stage takes, and below ϑ more trust means a lower score.
        networks: What SearchNet sees of a sample: the candidates' ``"votes"`` on it; ``"heads"`` on the task model's
            embeddings, ``"half-heads"`` on those of the half's model, a ``"trunk"`` that FitNet and SearchNet share,
            ``"backbones"`` that continue from the task model's, or inputs through its ``"own"`` network of the task
            model's architecture, as in the paper; see `Search`.
        search_learning_rate: Learning rate of SearchNet and the loss-prediction module.
        momentum: Of their SGD.
        weight_decay: L2 penalty on SearchNet's weights, not on its biases: the higher, the less the trust depends on
            the sample.
        shrinkage: Number of labeled samples n₀ at which the learned trust gets half the weight: the weights of earlier
            rounds (see ``carry``) have the share n₀/(n₀ + M). 0 uses SearchNet alone.
        carry: Share of the mean weights of earlier rounds that is kept when a round's weights are added; 0 shrinks to
            those of the last round alone. In the first round the weights are uniform.
        final: ``"coverage"``, ``"diverse"`` or ``"top"``; see `FinalStage`.
        oversample: Width of the diverse stage's filter in batches; by default it follows the number of labels (see
            `budget_width`). With ``final="coverage"`` it only sets the pool's own ϑ.
        power: Of the ranks that are the weights of the coverage stage; by default 0.5 with uncertainty, 2 without.
        uncertainty: Power of the task model's calibrated uncertainty, a factor of these weights. By default 1.5 for
            ``linear`` and other solved models, else 0: the temperature costs three trainings. The models of halves
            would give one for nothing, but of half the labels; its batches were not better.

    Raises:
        InputError: If an option is out of range, or has no effect in this stage.
    """

    default_candidates: ClassVar[tuple[str, ...]] = DEFAULT_CANDIDATES
    own_requires = frozenset({"probabilities", "embeddings"})

    def __init__(
        self,
        candidates: Mapping[str, Strategy],
        variant: Literal["default", "printed", "paper"] = "default",
        n_cycles: int = 1,
        half_effort: float | None = None,
        warmup_steps: int = 50,
        steps: int = 100,
        warmup_epochs: int | None = None,
        search_epochs: int | None = None,
        learning_rate: float = 0.005,
        regularizer_weight: float = 0.1,
        train_batch_size: int = 128,
        loss_module: bool = True,
        search: Literal["trained", "frozen", "random"] = "trained",
        scorer: Literal["half", "task"] = "half",
        threshold: Literal["mixture", "quantile"] = "mixture",
        weights: Literal["softmax", "sigmoid"] = "softmax",
        memory: Literal["fresh", "warm"] = "fresh",
        scores: Literal["ranks", "picks"] | None = None,
        min_rate: float | None = None,
        n_components: int | None = None,
        objective: Literal["ranked", "centred", "alignment", "loss"] | None = None,
        regularizer: Literal["relative", "printed"] | None = None,
        count: Literal["soft", "exact"] | None = None,
        fit_weights: Literal["softmax", "printed"] | None = None,
        pool_threshold: Literal["own", "labeled"] | None = None,
        networks: Literal["votes", "heads", "half-heads", "trunk", "backbones", "own"] | None = None,
        search_learning_rate: float | None = None,
        momentum: float | None = None,
        weight_decay: float | None = None,
        shrinkage: float | None = None,
        carry: float | None = None,
        final: Literal["coverage", "diverse", "top"] | None = None,
        oversample: int | None = None,
        power: float | None = None,
        uncertainty: float | None = None,
    ) -> None:
        super().__init__(candidates)
        check_choice("variant", variant, tuple(VARIANTS))
        given = {
            "half_effort": half_effort,
            "warmup_epochs": warmup_epochs,
            "search_epochs": search_epochs,
            "scores": scores,
            "min_rate": min_rate,
            "n_components": n_components,
            "objective": objective,
            "regularizer": regularizer,
            "count": count,
            "fit_weights": fit_weights,
            "pool_threshold": pool_threshold,
            "networks": networks,
            "search_learning_rate": search_learning_rate,
            "momentum": momentum,
            "weight_decay": weight_decay,
            "shrinkage": shrinkage,
            "carry": carry,
            "final": final,
        }
        chosen = {**VARIANTS[variant], **{name: value for name, value in given.items() if value is not None}}
        self.stage = FinalStage(chosen.pop("final"), oversample, power, uncertainty)
        self.stage.refuse_without_effect(uses_width=chosen["pool_threshold"] == "own")
        self.settings = Settings(
            n_cycles=n_cycles,
            warmup_steps=warmup_steps,
            steps=steps,
            learning_rate=learning_rate,
            regularizer_weight=regularizer_weight,
            train_batch_size=train_batch_size,
            loss_module=loss_module,
            search=search,
            scorer=scorer,
            threshold=threshold,
            weights=weights,
            memory=memory,
            **chosen,
        )
        # Mean weights of earlier rounds, and what SearchNet learned in the last one.
        self._evidence = torch.full((len(self.candidates),), 1.0 / len(self.candidates), dtype=torch.float64)
        self._learned: dict[str, Tensor] | None = None

    def describe_options(self) -> dict[str, Any]:
        """Return the options, with the values that the variant sets."""
        described = {**super().describe_options(), "final": self.stage.final}
        return {key: getattr(self.settings, key, value) for key, value in described.items()}

    @property
    def requires(self) -> frozenset[Requirement]:  # type: ignore[override]
        """The candidates' requirements and the networks' own."""
        inputs: frozenset[Requirement] = frozenset({"inputs"})
        return super().requires | inputs if self.settings.networks in OF_INPUTS else super().requires

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Search, then return the batch; the report holds the weights and the search's losses by cycle.

        Fewer than four labeled samples cannot be split: the search is then skipped, and the weights stay as they are.
        """
        scores, report = self.search_scores(context, batch_size)
        stage = self._stage_for(context)
        if stage.uses_uncertainty:
            context.candidates.temperature()  # its trainings are timed as such
        with context.timed("selection"):
            indices = stage.choose(context, scores, batch_size)
        return Query(indices, report)

    def search_scores(self, context: QueryContext, batch_size: int) -> tuple[Tensor, dict[str, Any]]:
        """Search, and return S̄ of the candidates, (N,), with the report.

        If SearchNet needs its own pass over the pool, samples that cannot be in the batch get -inf.
        """
        settings, prior = self.settings, self._evidence
        width = self.stage.width(context, batch_size)
        report: dict[str, Any] = {"searched": False, "n_cycles": 0}
        search, share, threshold = None, 1.0, 0.0
        with context.timed("candidates"):
            # The pass that all share is timed here, as it does not belong to the search.
            context.candidates.embeddings()
        if settings.search == "random":
            prior = torch.as_tensor(context.rng.dirichlet(np.ones(len(self.candidates))))
        elif len(context.labeled) >= MIN_LABELED:
            share = settings.shrinkage / (settings.shrinkage + len(context.labeled))
            search, threshold, report = self._search(context, batch_size)
        with context.timed("candidates"):
            votes = vote_scores_of(collect_votes(self, context, batch_size), settings.scores)
        with context.timed("search"):
            if settings.pool_threshold == "own":
                threshold = top_quantile(votes.mean(dim=1).cpu().double().numpy(), width / len(votes))
            judges = [] if search is None else search.judges
            needed = None if settings.networks in OF_OUTPUTS else self.stage.needed(context, batch_size)
            scores, weights = score_pool(judges, votes, threshold, prior, share, len(context.labeled), needed)
        if search is not None:
            self._evidence = settings.carry * self._evidence + (1.0 - settings.carry) * weights
            self._learned = search.state_dict() if settings.memory == "warm" else None
        report["weights"] = dict(zip(self.candidates, weights.tolist(), strict=True))
        return scores, report

    def _search(self, context: QueryContext, batch_size: int) -> tuple[Search, float, dict[str, Any]]:
        """Return the trained search, the cycles' mean ϑ, and the report of the cycles."""
        cycles, losses = [], []
        with context.timed("search"):
            search = Search(context, tuple(self.candidates), self.settings, self._learned)
        for number in range(self.settings.n_cycles):
            cycle = simulate_cycle(self, context, batch_size, number, self.settings)
            with context.timed("search"):
                losses.append(search.run(cycle))
            cycles.append(cycle)
        threshold = sum(cycle.threshold for cycle in cycles) / len(cycles)
        report: dict[str, Any] = {name: [cycle_losses[name] for cycle_losses in losses] for name in LOSS_NAMES}
        report.update(diverged=search.divergence, threshold=threshold, rate=cycles[-1].rate)
        return search, threshold, {**report, "searched": True, "n_cycles": len(cycles)}

    def _stage_for(self, context: QueryContext) -> FinalStage:
        """Return the final stage with the weights that suit the task model."""
        default = BY_UNCERTAINTY if context.model.module.is_solved else BY_RANK
        return dataclasses.replace(self.stage, default=default)

    def state_dict(self) -> dict[str, Any]:
        """Return the candidates' memories, the weights of earlier rounds, and SearchNet's with ``memory="warm"``."""
        if not self._remembers:
            return super().state_dict()
        own = {"candidates": list(self.candidates), "evidence": self._evidence.numpy().copy()}
        return {**super().state_dict(), "autoal": {**own, "learned": dict(self._learned or {})}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned.

        Raises:
            InputError: If it belongs to other candidates.
        """
        own = state.get("autoal")
        if own is not None:
            if own["candidates"] != list(self.candidates):
                raise InputError(
                    f"{self} has the candidates {list(self.candidates)}, but the state has {own['candidates']}; "
                    "create it with the candidates of the state, in that order"
                )
            self._evidence = torch.as_tensor(own["evidence"], dtype=torch.float64).clone()
            self._learned = (self.settings.memory == "warm" and dict(own["learned"])) or None
        super().load_state_dict(state)

    @property
    def _remembers(self) -> bool:
        return self.settings.shrinkage > 0 or self.settings.memory == "warm"
