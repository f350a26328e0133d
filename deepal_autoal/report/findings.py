"""Writes the findings of a report as plain sentences; none claims more than the tests show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from deepal_autoal.plugins.registry import is_oracle
from deepal_autoal.report import wording
from deepal_autoal.report.report_data import BETTER, UNDECIDED, WORSE, Contents, OnDataset
from deepal_autoal.statistics import Ranking
from deepal_autoal.statistics.paired import ALPHA, MIN_SEEDS
from deepal_autoal.statistics.times import REFERENCE

_MEASURE = "points of AUBC, seeds on which it is higher"


def in_one_sentence(contents: Contents) -> str:
    """Return what was compared: how many strategies, on which datasets, how many seeds and labels."""
    study = contents.study
    runs = study.results.runs
    seeds = sorted({run.seed for run in runs})
    first, last = {run.n_labeled[0] for run in runs}, {run.n_labeled[-1] for run in runs}
    n_rounds = {len(run.accuracy) - 1 for run in runs}
    budget = f"from {_range(first, 'between {} and {}')} labels to {_range(last, 'between {} and {}')}"
    rounds = f"in {_range(n_rounds)} {'round' if n_rounds == {1} else 'rounds'}"
    oracles = [name for name in study.strategies if is_oracle(name)]
    beside = f" and {wording.number_of(len(oracles), 'oracle')}" if oracles else ""
    return (
        f"{wording.number_of(len(study.strategies) - len(oracles), 'strategy', 'strategies')}{beside} on "
        f"{wording.listed(study.results.datasets, len(study.results.datasets))}, "
        f"{wording.number_of(len(seeds), 'seed')}, {budget} {rounds}: {wording.number_of(len(runs), 'run')}."
    )


def find_findings(contents: Contents, dataset: str) -> list[str]:
    """Return a dataset's findings, a sentence or two each."""
    found = contents.by_dataset[dataset]
    return [
        line
        for part in (
            _top(found),
            _against_baseline(contents, dataset, found),
            _regrets(found),
            _labels(contents, found),
            _times(found),
        )
        for line in part
    ]


def find_findings_over_datasets(contents: Contents) -> list[str]:
    """Return what the ranking over datasets shows and leaves out; empty for a single dataset."""
    if len(contents.study.results.datasets) < 2:
        return []
    ranking = contents.ranking
    if ranking is None:
        return [
            "Nothing is ranked over the datasets: that takes two strategies on every dataset, and common seeds on at "
            "least two datasets."
        ]
    return [*_ranks(ranking), *_not_ranked(contents, ranking)]


def _not_ranked(contents: Contents, ranking: Ranking) -> Iterator[str]:
    strategies = [name for name in contents.study.strategies if name not in ranking.strategies and not is_oracle(name)]
    if strategies:
        verb = "was" if len(strategies) == 1 else "were"
        yield f"Not ranked: {wording.listed(strategies)}, which {verb} not run on every dataset."
    datasets = [name for name in contents.study.results.datasets if name not in ranking.datasets]
    if datasets:
        yield f"Ranks leave out {wording.listed(datasets)}, where the ranked strategies have no seed in common."


def _ranks(ranking: Ranking) -> list[str]:
    first, n_datasets = ranking.strategies[0], len(ranking.datasets)
    places = f"{first} has the best mean rank, {ranking.mean_ranks[0]:.2f} over {n_datasets} datasets"
    if not ranking.can_tell:
        return [
            f"{places}, but so few cannot show that any two of {len(ranking.strategies)} strategies differ; that takes "
            f"at least {ranking.n_datasets_needed}."
        ]
    lines = [f"{places}."]
    if ranking.friedman is not None:
        says = "differ somewhere" if ranking.friedman.p < ALPHA else "may all be alike"
        lines.append(f"By Friedman's test the strategies {says} (p {_p(ranking.friedman.p)}).")
    worse = [pair.worse for pair in ranking.pairs if pair.better == first and pair.is_different]
    lines.append(
        f"{first} is significantly above {wording.listed(worse)} over the datasets."
        if worse
        else f"No other strategy is significantly below {first} over the datasets."
    )
    return lines


def _top(found: OnDataset) -> Iterator[str]:
    if len(found.compared) < 2:
        return
    best = found.estimates[found.best].aubc
    if found.is_tied:
        yield f"All strategies have the same mean AUBC, {wording.percent(best.mean)}%."
        return
    line = f"{found.best} has the highest mean AUBC{_of_which(found)}, {wording.percent(best.mean)}%"
    others = len(found.compared) - 1
    untested = others - len(found.like_best) - sum(pair.winner == found.best for pair in found.pairs)
    if untested == others:
        yield f"{line}; there are too few common seeds to test whether that is more than chance."
    elif not found.like_best:
        yield f"{line}, significantly above {'the other one' if others == 1 else 'every other strategy'}."
    elif len(found.like_best) == others:
        yield f"{line}, but no test distinguishes it from {'the other one' if others == 1 else 'any other'}."
    else:
        yield f"{line}; no test distinguishes it from {wording.listed(found.like_best)}."


def _of_which(found: OnDataset) -> str:
    """Return the group in which the mean is the highest, if some strategies have fewer seeds."""
    if found.is_even:
        return ""
    own = set(found.runs[found.best])
    if own == found.seeds:
        return f" of those with all {len(own)} seeds"
    return f" of those with the most seeds, {len(own)} of {len(found.seeds)}"


def _against_baseline(contents: Contents, dataset: str, found: OnDataset) -> Iterator[str]:
    base = contents.baseline
    by_verdict: dict[str, list[str]] = {}
    for name in found.order:
        by_verdict.setdefault(contents.verdict(dataset, name), []).append(name)
    for verdict, head in ((BETTER, "Better than"), (WORSE, "Worse than")):
        names = by_verdict.get(verdict, [])
        if names:
            yield f"{head} {base} by test ({_MEASURE}): {_with_seeds(names, found)}."
    if by_verdict.get(UNDECIDED):
        names = by_verdict[UNDECIDED]
        yield f"Not distinguishable from {base} ({_MEASURE}): {_with_seeds(names, found)}."
    if base in found.runs and not any(by_verdict.get(verdict) for verdict in (BETTER, WORSE, UNDECIDED)):
        names = [name for name in found.order if name in found.to_baseline]
        if names:
            yield (
                f"Below {MIN_SEEDS} common seeds nothing is tested. Against {base}, may be chance ({_MEASURE}): "
                f"{_with_seeds(names, found)}."
            )


def _with_seeds(names: Sequence[str], found: OnDataset) -> str:
    gaps = [(name, found.to_baseline[name].difference) for name in names]
    parts = [f"{name} {wording.points(gap.mean)}, {gap.n_above} of {gap.n_seeds}" for name, gap in gaps]
    return wording.joined(parts, wording.MOST_NAMES)


def _regrets(found: OnDataset) -> Iterator[str]:
    own = [item for item in found.regrets if item.strategy in found.compared]
    for oracle in dict.fromkeys(item.oracle for item in own):
        least = min(
            (item for item in own if item.oracle == oracle), key=lambda item: (item.difference.mean, item.strategy)
        )
        gap = least.difference
        yield (
            f"{oracle} sees hidden labels and is no strategy; {least.strategy} has the lowest regret to it, "
            f"{wording.points(gap.mean)} points of AUBC over {wording.number_of(gap.n_seeds, 'seed')}."
        )


def _labels(contents: Contents, found: OnDataset) -> Iterator[str]:
    base = contents.baseline
    own = found.savings.get(base)
    reached = [
        saving
        for name, saving in found.savings.items()
        if name != base and saving.share is not None and contents.verdict(saving.dataset, name) == BETTER
    ]
    if own is None or not reached:
        return
    least = min(reached, key=lambda saving: (saving.share, saving.strategy))
    at = wording.percent(own.share, 0)
    beside = "" if own.share is None else f" ({base} itself passes that accuracy at {at}%)"
    yield (
        f"{least.strategy} has the lowest median (not tested) of labels needed for {base}'s final accuracy: "
        f"{wording.percent(least.share, 0)}% of the budget, reached on {least.n_reached} of "
        f"{wording.number_of(least.n_seeds, 'seed')}{beside}."
    )


def _times(found: OnDataset) -> Iterator[str]:
    times = {name: found.times[name].total for name in found.compared}
    slow = {name: total for name, total in times.items() if total is not None and total >= 1.5}
    names = sorted(slow, key=lambda name: (-slow[name], name))
    if names:
        slowest = [f"{name} {wording.ratio(slow[name])} times" for name in names[:3]]
        more = f", and {len(names) - 3} more above 1.5 times" if len(names) > 3 else ""
        yield f"Slowest, in units of {REFERENCE}'s time: {', '.join(slowest)}{more}."


def _p(p: float) -> str:
    text = wording.p_value(p)
    return text if text.startswith("<") else f"= {text}"


def _range(values: set[int], form: str = "{} to {}") -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else form.format(low, high)
