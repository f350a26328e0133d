"""Statistics of finished runs: functions that take runs and return frozen dataclasses.

Strategies are compared on the seeds that both have, since runs of one seed share the initial set, the initialization
and the order of the data. Only bootstrap resamples are random, and they come from fixed streams. scipy is imported
when a test is computed.
"""

from __future__ import annotations

from deepal_autoal.statistics.cautions import Caution, find_cautions
from deepal_autoal.statistics.estimates import Estimate, StrategyEstimates, bootstrap_interval, estimate, estimate_all
from deepal_autoal.statistics.paired import Comparison, Difference, compare, compare_all, compare_to, holm
from deepal_autoal.statistics.penalties import PenaltyMatrix, penalty_matrix
from deepal_autoal.statistics.ranking import FriedmanTest, RankedPair, Ranking, mean_areas, rank
from deepal_autoal.statistics.regret import Regret, find_regrets, without_oracles
from deepal_autoal.statistics.savings import LabelSaving, label_savings, labels_to_reach
from deepal_autoal.statistics.times import PhaseTimes, relative_phase_times, relative_times
from deepal_autoal.statistics.wins import significant_wins_ties_losses, wins_ties_losses, wins_ties_losses_over_datasets

__all__ = [
    "Caution",
    "Comparison",
    "Difference",
    "Estimate",
    "FriedmanTest",
    "LabelSaving",
    "PenaltyMatrix",
    "PhaseTimes",
    "RankedPair",
    "Ranking",
    "Regret",
    "StrategyEstimates",
    "bootstrap_interval",
    "compare",
    "compare_all",
    "compare_to",
    "estimate",
    "estimate_all",
    "find_cautions",
    "find_regrets",
    "holm",
    "label_savings",
    "labels_to_reach",
    "mean_areas",
    "penalty_matrix",
    "rank",
    "relative_phase_times",
    "relative_times",
    "significant_wins_ties_losses",
    "wins_ties_losses",
    "wins_ties_losses_over_datasets",
    "without_oracles",
]
