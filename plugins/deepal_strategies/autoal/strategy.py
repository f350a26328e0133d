"""The AutoAL strategy: search inside the labelled pool, then one query of the unlabelled pool."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch

from deepal_autoal import Query, SelectorStrategy, Strategy
from deepal_strategies.autoal.search import LOSS_NAMES, Search
from deepal_strategies.autoal.settings import FINALS, VARIANTS, Settings
from deepal_strategies.autoal.simulation import MIN_LABELED, simulate_cycle, vote_scores_of
from deepal_strategies.diversity import select_final
from deepal_strategies.options import check_at_least, check_choice
from deepal_strategies.votes import collect_votes

if TYPE_CHECKING:
    from deepal_autoal import QueryContext, Requirement


class AutoAL(SelectorStrategy):
    """Learns, sample by sample, how far to trust each candidate strategy (Wang, Zhan & Huang, ICML 2025).

    In each cycle the labelled set is halved. A model trained on one half and the candidates play active learning
    on the other, whose labels tell FitNet's loss on what was selected; SearchNet learns the candidates' weights
    from that by gradient. It then scores the unlabelled pool, on which every candidate votes with the task model.

    Args:
        candidates: Strategies by name.
        variant: ``"default"``, or ``"paper"`` for the equations as printed, which are known to fail in places (see
            `equations`). It stands for the values of ``scores``, ``objective``, ``regularizer``, ``fit_weights``
            and ``final`` that are not given.
        n_cycles: Halvings C; each trains a task model on half the labelled set.
        half_effort: Share of the recipe's epochs and steps that the model of a half gets, at most; it stops earlier
            once it has learnt its half. 1 trains it like the task model.
        warmup_steps: FitNet's steps before the search, in each cycle.
        steps: Alternating steps of FitNet and SearchNet, in each cycle.
        learning_rate: Of all three optimisers.
        regularizer_weight: λ̄.
        train_batch_size: Samples in a step, at least; up to twice as many, so that no step has a rest of one.
        loss_module: Whether the loss-prediction module is trained with SearchNet.
        search: ``"frozen"`` leaves SearchNet at its initialisation, as a control; all else takes place.
        threshold: ``"mixture"``, equations (2)-(4), or ``"quantile"`` of the scores themselves.
        networks: ``"heads"`` on embeddings, or ``"backbones"``: FitNet and SearchNet train copies of the fitted
            backbones, at the size of the paper's.
        scores: S_κ: ``"ranks"`` in [0, 1] or binary ``"picks"``.
        objective: Of equation (8): ``"ranked"``, ``"centred"`` or ``"loss"``; see `equations.utilities`.
        regularizer: ``"relative"`` or ``"printed"``; see `equations.selection_penalty`.
        fit_weights: ``"softmax"`` or ``"printed"``; see `equations.fit_weights`.
        final: ``"diverse"`` or ``"top"``; see `select_final`.
        oversample: Width of the diverse stage's filter in batches.

    Raises:
        InputError: If an option is out of range.
    """

    # The paper's seven.
    default_candidates: ClassVar[tuple[str, ...]] = (
        "entropy", "margin", "leastconf", "kmeans", "bald", "varratio", "meanstd"
    )  # fmt: skip
    own_requires = frozenset({"probabilities", "embeddings"})

    def __init__(
        self,
        candidates: Mapping[str, Strategy],
        variant: Literal["default", "paper"] = "default",
        n_cycles: int = 1,
        half_effort: float = 0.5,
        warmup_steps: int = 50,
        steps: int = 100,
        learning_rate: float = 0.005,
        regularizer_weight: float = 0.1,
        train_batch_size: int = 128,
        loss_module: bool = True,
        search: Literal["trained", "frozen"] = "trained",
        threshold: Literal["mixture", "quantile"] = "mixture",
        networks: Literal["heads", "backbones"] = "heads",
        scores: Literal["ranks", "picks"] | None = None,
        objective: Literal["ranked", "centred", "loss"] | None = None,
        regularizer: Literal["relative", "printed"] | None = None,
        fit_weights: Literal["softmax", "printed"] | None = None,
        final: Literal["diverse", "top"] | None = None,
        oversample: int = 10,
    ) -> None:
        super().__init__(candidates)
        check_choice("variant", variant, tuple(VARIANTS))
        preset = VARIANTS[variant]
        self.settings = Settings(
            n_cycles=n_cycles,
            half_effort=half_effort,
            warmup_steps=warmup_steps,
            steps=steps,
            learning_rate=learning_rate,
            regularizer_weight=regularizer_weight,
            train_batch_size=train_batch_size,
            loss_module=loss_module,
            search=search,
            threshold=threshold,
            networks=networks,
            scores=scores or preset["scores"],
            objective=objective or preset["objective"],
            regularizer=regularizer or preset["regularizer"],
            fit_weights=fit_weights or preset["fit_weights"],
        )
        self.final = final or preset["final"]
        self.oversample = oversample
        check_choice("final", self.final, FINALS)
        check_at_least("oversample", oversample, 1)

    def describe_options(self) -> dict[str, Any]:
        """Return the options with what the variant stands for."""
        described = {**super().describe_options(), "final": self.final}
        return {key: getattr(self.settings, key, value) for key, value in described.items()}

    @property
    def requires(self) -> frozenset[Requirement]:  # type: ignore[override]
        """The candidates' requirements and the networks' own."""
        inputs: frozenset[Requirement] = frozenset({"inputs"})
        return super().requires | inputs if self.settings.networks == "backbones" else super().requires

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Search, then return the batch; the report holds the weights and the search's losses by cycle.

        With fewer than four labelled samples there is nothing to split: the candidates then weigh alike.
        """
        if len(context.labeled) < MIN_LABELED:
            votes = collect_votes(self, context, batch_size)
            scores = votes.ranks.mean(dim=0)
            weights = torch.full((len(self.candidates),), 1.0 / len(self.candidates), dtype=torch.float64)
            report: dict[str, Any] = {"searched": False, "n_cycles": 0}
        else:
            search = Search(context, len(self.candidates), self.settings)
            cycles, losses = [], []
            for number in range(self.settings.n_cycles):
                cycle = simulate_cycle(self, context, batch_size, number, self.settings)
                losses.append(search.run(cycle))
                cycles.append((cycle.threshold, cycle.rate))
            # One threshold for the pool as well: the cycles estimate the same one.
            threshold = sum(threshold for threshold, _ in cycles) / len(cycles)
            votes = collect_votes(self, context, batch_size)
            scores, weights = search.score_pool(vote_scores_of(votes, self.settings.scores), threshold)
            report = {name: [cycle_losses[name] for cycle_losses in losses] for name in LOSS_NAMES}
            report |= {"threshold": threshold, "rate": cycles[-1][1], "searched": True, "n_cycles": len(cycles)}
        report["weights"] = dict(zip(self.candidates, weights.tolist(), strict=True))
        return Query(select_final(context, scores, batch_size, self.final, self.oversample), report)
