"""Wins, ties and losses: by a margin, and by test."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from deepal_autoal.statistics.paired import ROUNDING, BySeed, Comparison

TIE_MARGIN = 0.005


def wins_ties_losses(areas: Mapping[str, BySeed]) -> dict[str, tuple[int, int, int]]:
    """Return how often each strategy's AUBC is above, about equal to and below another's.

    Each other strategy counts once for every seed that both have. A difference of at most 0.005, half a percentage
    point, is a tie: the margin of the DeepAL+ survey (Zhan et al. 2022).

    Args:
        areas: AUBC by strategy and seed, in [0, 1].
    """
    counts = {}
    for name, own in areas.items():
        differences = [
            own[seed] - other[seed] for rival, other in areas.items() if rival != name for seed in own if seed in other
        ]
        wins = sum(difference > TIE_MARGIN + ROUNDING for difference in differences)
        losses = sum(difference < -TIE_MARGIN - ROUNDING for difference in differences)
        counts[name] = (wins, len(differences) - wins - losses, losses)
    return counts


def wins_ties_losses_over_datasets(means: Mapping[str, Mapping[str, float]]) -> dict[str, tuple[int, int, int]]:
    """Return how often each strategy's mean AUBC is above, about equal to and below another's, over datasets.

    As the DeepAL+ survey counts (Zhan et al. 2022): each other strategy counts once for every dataset that both were
    run on; a difference of at most 0.005 is a tie.

    Args:
        means: Mean AUBC by dataset and strategy, in [0, 1].
    """
    counts: dict[str, list[int]] = {name: [0, 0, 0] for on_dataset in means.values() for name in on_dataset}
    for on_dataset in means.values():
        for name, own in on_dataset.items():
            for rival, other in on_dataset.items():
                if rival != name:
                    difference = own - other
                    is_tie = abs(difference) <= TIE_MARGIN + ROUNDING
                    counts[name][1 if is_tie else 0 if difference > 0 else 2] += 1
    return {name: (wins, ties, losses) for name, (wins, ties, losses) in counts.items()}


def significant_wins_ties_losses(comparisons: Iterable[Comparison]) -> dict[str, tuple[int, int, int]]:
    """Return how many strategies each one is significantly above, not significantly different from, and below.

    Each other strategy counts once. A tie means that no difference was shown, not that both are equal; a pair with
    fewer than five seeds in common is always a tie.

    Args:
        comparisons: All pairs on a dataset, Holm-corrected together (see `compare_all`).
    """
    counts: dict[str, list[int]] = {}
    for comparison in comparisons:
        for name in (comparison.ours, comparison.theirs):
            place = 1 if comparison.winner is None else 0 if comparison.winner == name else 2
            counts.setdefault(name, [0, 0, 0])[place] += 1
    return {name: (wins, ties, losses) for name, (wins, ties, losses) in counts.items()}
