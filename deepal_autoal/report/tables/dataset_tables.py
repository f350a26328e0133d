"""Tables of the strategies on each dataset: accuracy, wins, labels and time."""

from __future__ import annotations

import statistics
from typing import Any

from deepal_autoal.report import wording
from deepal_autoal.report.report_data import Contents, OnDataset
from deepal_autoal.report.tables.table import ACCURACY_ROWS, BEST, LIKE_BEST, Column, Table, number_column, text_column
from deepal_autoal.statistics import significant_wins_ties_losses, wins_ties_losses
from deepal_autoal.statistics.paired import MIN_SEEDS
from deepal_autoal.statistics.times import REFERENCE


def accuracy_table(contents: Contents) -> Table:
    """Return AUBC and final accuracy, and AUBC against the baseline."""
    rows = []
    for dataset, found in contents.by_dataset.items():
        for name in found.order:
            own, to = found.estimates[name], found.to_baseline.get(name)
            row: dict[str, Any] = {"dataset": dataset, "strategy": name, "seeds": own.aubc.n_seeds}
            for key, measure in (("aubc", own.aubc), ("final_accuracy", own.final_accuracy)):
                row |= {
                    f"{key}_mean": measure.mean,
                    f"{key}_std": measure.std,
                    f"{key}_low": measure.low,
                    f"{key}_high": measure.high,
                }
            if own.worst_group is not None:
                row |= {"worst_group_mean": own.worst_group.mean, "worst_group_std": own.worst_group.std}
            if own.plain_aubc is not None:
                row |= {"plain_aubc_mean": own.plain_aubc.mean, "plain_aubc_std": own.plain_aubc.std}
            gap = None if to is None else to.difference
            row |= {
                "difference": None if gap is None else gap.mean,
                "difference_low": None if gap is None else gap.low,
                "difference_high": None if gap is None else gap.high,
                "common_seeds": None if gap is None else gap.n_seeds,
                "seeds_above": None if gap is None else gap.n_above,
                # Next to "too few seeds" a p-value would still be read as a verdict.
                "p": None if gap is None or gap.n_seeds < MIN_SEEDS else gap.p,
                "p_holm": None if to is None else to.p_holm,
                "verdict": contents.verdict(dataset, name),
                "standing": _standing(name, found),
            }
            rows.append(row)
    base = contents.baseline
    columns = (
        text_column("strategy", "strategy", "results.csv: strategy"),
        number_column("seeds", "seeds", "results.csv: number of different seeds", wording.count),
        Column(
            "aubc_mean",
            "AUBC, %",
            ACCURACY_ROWS + "area under the accuracy by trapezoids divided by the labels bought, for "
            "each seed; mean ± standard deviation over seeds",
            lambda row: wording.spread(row["aubc_mean"], row["aubc_std"]),
            more=("aubc_std",),
            marks_best=True,
        ),
        Column(
            "aubc_low",
            "95% interval",
            "percentile bootstrap interval of the mean AUBC, 9999 resamples of seeds; too narrow with few seeds: p "
            "(Holm) decides what counts as a difference",
            lambda row: wording.interval(row["aubc_low"], row["aubc_high"], row["seeds"]),
            more=("aubc_high",),
        ),
        Column(
            "final_accuracy_mean",
            "final accuracy, %",
            "results.csv: accuracy in each seed's last round; mean ± standard deviation over seeds",
            lambda row: wording.spread(row["final_accuracy_mean"], row["final_accuracy_std"]),
            more=("final_accuracy_std", "final_accuracy_low", "final_accuracy_high"),
        ),
        *(column for column in (_WORST_GROUP, _PLAIN) if any(column.key in row for row in rows)),
        Column(
            "difference",
            f"AUBC minus {base}'s, points",
            f"mean over common seeds of AUBC minus {base}'s for the same seed, with its 95% bootstrap interval",
            lambda row: wording.difference(
                row["difference"], row["difference_low"], row["difference_high"], row["common_seeds"] or 0
            ),
            more=("difference_low", "difference_high"),
            is_optional=True,
        ),
        Column(
            "seeds_above",
            f"seeds above {base}",
            f"common seeds on which AUBC is higher than {base}'s",
            lambda row: (
                wording.NOTHING if row["seeds_above"] is None else f"{row['seeds_above']} of {row['common_seeds']}"
            ),
            more=("common_seeds",),
            is_optional=True,
        ),
        Column(
            "p_holm",
            "p (Holm)",
            f"two-sided paired t-test over at least {MIN_SEEDS} common seeds, Holm's correction over the dataset's "
            f"comparisons to {base}",
            lambda row: wording.p_value(row["p_holm"]),
            more=("p",),
            is_optional=True,
        ),
        text_column(
            "verdict", f"against {base}", f"by p (Holm) below 0.05, at least {MIN_SEEDS} common seeds", is_optional=True
        ),
    )
    of_which = "" if all(found.is_even for found in contents.by_dataset.values()) else " of those with the most seeds"
    has_oracles = any(len(found.compared) < len(found.order) for found in contents.by_dataset.values())
    note = f"Highest AUBC first. The highest{of_which} is in bold{', oracles aside' if has_oracles else ''}"
    if any(row["standing"] == LIKE_BEST for row in rows):
        note += (
            "; underlined ones are not distinguishable from it (paired t-tests, Holm's correction over all pairs, 5%)"
        )
    note += "."
    return Table("accuracy", "Accuracy", columns, tuple(rows), note, by_dataset=True, extra=("standing",))


def _column_of_some(measure: str, heading: str, how: str) -> Column:
    """Return the column of a measure that some strategies have, in rows with its mean and std."""
    mean, std = f"{measure}_mean", f"{measure}_std"
    return Column(
        mean,
        heading,
        f"{how}; mean ± standard deviation over seeds",
        lambda row: wording.spread(row[mean], row[std]) if row.get(mean) is not None else wording.NOTHING,
        more=(std,),
        is_optional=True,
    )


_WORST_GROUP = _column_of_some(
    "worst_group", "worst group, %", "rounds.jsonl: worst_group_accuracy in each seed's last round"
)
_PLAIN = _column_of_some(
    "plain_aubc",
    "plain AUBC, %",
    "results.csv: plain_accuracy over n_labeled, of the model trained without the strategy's changes on the same "
    "labels; area as AUBC",
)


def _standing(name: str, found: OnDataset) -> str:
    if found.is_tied:
        return ""
    return BEST if name == found.best else LIKE_BEST if name in found.like_best else ""


def wins_table(contents: Contents) -> Table:
    """Return wins, ties and losses."""
    rows = []
    for dataset, found in contents.by_dataset.items():
        margin = wins_ties_losses(contents.compared.areas(dataset))
        test = significant_wins_ties_losses(found.pairs)
        for name in found.order:
            if name not in found.compared:
                continue
            row: dict[str, Any] = {"dataset": dataset, "strategy": name}
            for kind, outcome in (("margin", margin.get(name)), ("test", test.get(name))):
                row |= {
                    f"{word}_by_{kind}": None if outcome is None else outcome[place]
                    for place, word in enumerate(("wins", "ties", "losses"))
                }
            rows.append(row)
    columns = (
        text_column("strategy", "strategy", "results.csv: strategy"),
        _outcome("margin", "AUBC against every other strategy on every common seed; up to half a point is a tie"),
        _outcome(
            "test",
            "every other strategy once: paired t-tests of AUBC over common seeds, Holm's correction over all "
            f"pairs, 5%; a tie means that no difference was shown, and fewer than {MIN_SEEDS} seeds always tie",
        ),
    )
    return Table(
        "wins",
        "Wins, ties and losses",
        columns,
        tuple(row for row in rows if len(rows) > 1),
        "A tie by test means that no difference was shown, not that both are alike.",
        by_dataset=True,
    )


def regret_table(contents: Contents) -> Table:
    """Return by how much each strategy stays below each oracle; empty without oracles."""
    rows = []
    for dataset, found in contents.by_dataset.items():
        for item in sorted(found.regrets, key=lambda item: (item.oracle, item.difference.mean, item.strategy)):
            gap = item.difference
            rows.append(
                {
                    "dataset": dataset, "strategy": item.strategy, "oracle": item.oracle, "regret": gap.mean,
                    "regret_low": gap.low, "regret_high": gap.high, "common_seeds": gap.n_seeds,
                }
            )  # fmt: skip
    columns = (
        text_column("strategy", "strategy", "results.csv: strategy"),
        text_column("oracle", "oracle", "results.csv: strategy"),
        Column(
            "regret",
            "regret, points",
            "mean over common seeds of the oracle's AUBC minus the strategy's for the same seed, with its 95% "
            "bootstrap interval",
            lambda row: wording.difference(row["regret"], row["regret_low"], row["regret_high"], row["common_seeds"]),
            more=("regret_low", "regret_high"),
        ),
        number_column("common_seeds", "seeds", "seeds that both have", wording.count),
    )
    note = (
        "An oracle is no strategy: it sees the hidden labels and tries batches on samples that are neither in the pool "
        "nor in the test set. It is compared here only, and in no rank, win or test. It looks one round ahead and may "
        "be below a strategy."
    )
    return Table("regret", "Regret to oracles", columns, tuple(rows), note, by_dataset=True)


def cost_table(contents: Contents) -> Table:
    """Return labels needed for the baseline's final accuracy, and times."""
    rows = []
    for dataset, found in contents.by_dataset.items():
        for name in found.order:
            saving, times, runs = found.savings.get(name), found.times[name], found.runs[name].values()
            rows.append(
                {
                    "dataset": dataset,
                    "strategy": name,
                    "labels_needed": None if saving is None else saving.labels,
                    "labels_share": None if saving is None else saving.share,
                    "seeds_reached": None if saving is None else saving.n_reached,
                    "common_seeds": None if saving is None else saving.n_seeds,
                    "seconds": statistics.fmean(run.total_seconds for run in runs),
                    "query_seconds": statistics.fmean(run.phase_seconds("query") or 0.0 for run in runs),
                    "relative_time": times.total,
                    "relative_train": times.train,
                    "relative_evaluate": times.evaluate,
                    "relative_query": times.query,
                }
            )
    base = contents.baseline
    times_how = f"seconds of whole runs divided by {REFERENCE}'s for the same seeds"
    columns = (
        text_column("strategy", "strategy", "results.csv: strategy"),
        Column(
            "labels_needed",
            f"labels to reach {base}'s final accuracy",
            "results.csv: n_labeled at which accuracy "
            f"first reaches {base}'s last one for the same seed, linear between rounds; median over seeds (share of "
            "the budget)",
            lambda row: (
                wording.NOTHING
                if row["labels_needed"] is None
                else f"{wording.count(row['labels_needed'])} ({wording.percent(row['labels_share'], 0)}%)"
            ),
            more=("labels_share",),
            is_optional=True,
        ),
        Column(
            "seeds_reached",
            "reached on",
            "common seeds on which it was reached",
            lambda row: (
                wording.NOTHING
                if row["seeds_reached"] is None
                else f"{row['seeds_reached']} of {wording.number_of(row['common_seeds'], 'seed')}"
            ),
            more=("common_seeds",),
            is_optional=True,
        ),
        number_column(
            "seconds",
            "seconds a run",
            "results.csv: train_s + query_s over all rounds, with evaluation "
            "where run folders were read; mean over seeds",
            wording.seconds,
        ),
        number_column(
            "query_seconds",
            "of these queries",
            "results.csv: query_s over all rounds; mean over seeds",
            wording.seconds,
        ),
        number_column("relative_time", f"time / {REFERENCE}'s", f"all phases: {times_how}", wording.ratio),
        number_column("relative_train", "training", f"train_s: {times_how}", wording.ratio),
        number_column("relative_query", "queries", f"query_s: {times_how}", wording.ratio),
        number_column("relative_evaluate", "evaluation", f"rounds.jsonl: seconds.evaluate; {times_how}", wording.ratio),
    )
    has_base = any(base in found.runs for found in contents.by_dataset.values())
    note = f"A noisy curve passes any level early: compare the labels of others with {base}'s own." if has_base else ""
    return Table("cost", "Labels and time", columns, tuple(rows), note, by_dataset=True)


def _outcome(kind: str, how: str) -> Column:
    keys = tuple(f"{word}_by_{kind}" for word in ("wins", "ties", "losses"))
    return Column(
        keys[0], f"wins / ties / losses by {kind}", how,
        lambda row: wording.counts(None if row[keys[0]] is None else [row[key] for key in keys]), more=keys[1:],
    )  # fmt: skip
