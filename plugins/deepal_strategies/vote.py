"""Uniform vote of the candidates: the baseline that AutoAL has to beat."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from deepal_autoal import Query, SelectorStrategy, Strategy
from deepal_strategies.shared.default_candidates import DEFAULT_CANDIDATES
from deepal_strategies.shared.final_stage import FinalStage
from deepal_strategies.shared.option_checks import check_choice
from deepal_strategies.shared.votes import Votes, collect_votes

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext, Requirement


class Vote(SelectorStrategy):
    """Uniform vote of the candidates: the mean of their ranks of a sample, AutoAL's score with equal weights.

    Args:
        candidates: Strategies by name.
        scores: ``"ranks"``, the mean rank; or ``"picks"``, the number of candidates that would query the sample, with
            ties broken by mean rank.
        final: How the batch follows from the votes: ``"coverage"``, ``"diverse"`` or ``"top"`` (see `FinalStage`).
        oversample: Width of the diverse stage's filter in batches; by default it follows the number of labels (see
            `budget_width`).
        power: Of the ranks that are the weights of the coverage stage; 2 by default.
        uncertainty: Power of the task model's calibrated uncertainty, a factor of these weights; 0 by default, as it
            costs three trainings a round. AutoAL's stage has ``power=0.5`` and ``uncertainty=1.5``.

    Raises:
        InputError: If an option is out of range, or has no effect in this stage.
    """

    default_candidates: ClassVar[tuple[str, ...]] = DEFAULT_CANDIDATES
    own_requires = frozenset({"embeddings"})

    def __init__(
        self,
        candidates: Mapping[str, Strategy],
        scores: Literal["ranks", "picks"] = "ranks",
        final: Literal["coverage", "diverse", "top"] = "coverage",
        oversample: int | None = None,
        power: float | None = None,
        uncertainty: float | None = None,
    ) -> None:
        super().__init__(candidates)
        check_choice("scores", scores, ("ranks", "picks"))
        self.scores = scores
        self.stage = FinalStage(final, oversample, power, uncertainty)
        self.stage.refuse_without_effect()

    def describe_options(self) -> dict[str, Any]:
        """Return the options, with the stage's weights."""
        return {**super().describe_options(), **self.stage.describe_options()}

    @property
    def requires(self) -> frozenset[Requirement]:  # type: ignore[override]
        """The candidates' requirements, the stage's embeddings, and its probabilities if it weighs by uncertainty."""
        own: frozenset[Requirement] = frozenset({"probabilities"})
        return super().requires | own if self.stage.uses_uncertainty else super().requires

    def query(self, context: QueryContext, batch_size: int) -> Query:
        """Return the batch; the report holds the weights, which are all equal."""
        votes = collect_votes(self, context, batch_size)
        indices = self.stage.choose(context, vote_scores(votes, self.scores), batch_size)
        weight = 1.0 / len(self.candidates)
        return Query(indices, {"weights": dict.fromkeys(self.candidates, weight)})


def vote_scores(votes: Votes, scores: str) -> Tensor:
    """Return the mean rank, (n,); for ``"picks"`` their number plus half the mean rank, which then only breaks ties.

    In float64, which resolves the ranks of large pools beside the counts, and on the CPU, as not every device
    supports it.
    """
    ranks = votes.ranks.cpu().double().mean(dim=0)
    return ranks if scores == "ranks" else votes.picks.cpu().double().sum(dim=0) + 0.5 * ranks
