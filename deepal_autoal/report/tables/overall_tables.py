"""Tables over all datasets: penalties, ranks, cautions."""

from __future__ import annotations

from typing import Any

from deepal_autoal.report import wording
from deepal_autoal.report.report_data import Contents
from deepal_autoal.report.tables.table import Column, Row, Table, number_column, text_column
from deepal_autoal.statistics import mean_areas, wins_ties_losses_over_datasets, without_oracles


def penalty_table(contents: Contents) -> Table:
    """Return BADGE's matrix, least beaten first."""
    matrix = contents.penalties
    order = matrix.order
    place = {name: number for number, name in enumerate(matrix.strategies)}
    rows: list[Row] = []
    for name in order:
        row: dict[str, Any] = {"strategy": name}
        for other in order:
            i, j = place[name], place[other]
            row[f"over {other}"] = matrix.values[i][j] if matrix.n_datasets[i][j] else None
        row["row_mean"], row["column_mean"] = matrix.row_means[place[name]], matrix.column_means[place[name]]
        rows.append(row)
    how = "per dataset the share of rounds at which a paired t-test over common seeds is significant at 5%, summed"
    columns = (
        text_column("strategy", "beats →", "results.csv: strategy"),
        *(number_column(f"over {other}", other, how, wording.ratio) for other in order),
        number_column("row_mean", "mean won", "mean over the row", wording.ratio),
        number_column("column_mean", "mean lost", "mean over this strategy's column; lower is better", wording.ratio),
    )
    note = (
        "How often the strategy of a row beats that of a column: the share of rounds at which a paired t-test says "
        "so, summed over datasets. Not corrected for the number of tests: about one round in forty is won by chance."
    )
    return Table("penalties", "Pairwise penalties (BADGE)", columns, tuple(rows), note)


_OUTCOMES = ("wins", "ties", "losses")


def ranking_table(contents: Contents) -> Table:
    """Return mean ranks; empty if there is nothing to rank."""
    ranking = contents.ranking
    rows: list[Row] = []
    scores = mean_areas(without_oracles(contents.study.results))
    if ranking is not None:
        ranked = {item: {name: scores[item][name] for name in ranking.strategies} for item in ranking.datasets}
        counts = wins_ties_losses_over_datasets(ranked)
        rows = [
            {
                "strategy": name,
                "mean_rank": mean_rank,
                **dict(zip(_OUTCOMES, counts[name], strict=True)),
                **{f"on {item}": scores[item][name] for item in ranking.datasets},
            }
            for name, mean_rank in zip(ranking.strategies, ranking.mean_ranks, strict=True)
        ]
    columns = (
        text_column("strategy", "strategy", "results.csv: strategy"),
        number_column(
            "mean_rank",
            "mean rank",
            "mean over datasets of the rank by mean AUBC; 1 is best, ties share a rank",
            lambda value: f"{value:.2f}",
        ),
        Column(
            _OUTCOMES[0],
            "wins / ties / losses",
            "mean AUBC against every other strategy on every dataset, as the DeepAL+ survey counts; up to half a point "
            "is a tie",
            lambda row: wording.counts([row[key] for key in _OUTCOMES]),
            more=_OUTCOMES[1:],
        ),
        *(
            number_column(f"on {item}", f"AUBC on {item}, %", "mean over the seeds that all have", wording.percent)
            for item in (ranking.datasets if ranking is not None else ())
        ),
    )
    return Table("ranking", "Ranks over datasets", columns, tuple(rows))


def pairs_table(contents: Contents) -> Table:
    """Return the tests over datasets."""
    ranking = contents.ranking
    rows = tuple(
        {
            "better": pair.better,
            "worse": pair.worse,
            "p": pair.p,
            "p_holm": pair.p_holm,
            "different": "yes" if pair.is_different else "not shown",
        }
        for pair in (ranking.pairs if ranking is not None and len(ranking.datasets) > 1 else ())
    )
    columns = (
        text_column("better", "ranked better", "by mean rank"),
        text_column("worse", "ranked worse", "by mean rank"),
        number_column("p", "p", "two-sided Wilcoxon signed-rank test over datasets of mean AUBC", wording.p_value),
        number_column("p_holm", "p (Holm)", "after Holm's correction over all pairs", wording.p_value),
        text_column("different", "different", "p (Holm) below 0.05, and Friedman's p too"),
    )
    return Table("ranking-pairs", "Pairs over datasets", columns, rows)


def cautions_table(contents: Contents) -> Table:
    """Return the cautions on the numbers."""
    rows: list[Row] = [
        {
            "kind": caution.kind,
            "dataset": caution.dataset,
            "strategies": ", ".join(caution.strategies),
            "message": caution.message,
        }
        for caution in contents.cautions
    ]
    rows += [{"kind": "study", "dataset": None, "strategies": None, "message": note} for note in contents.study.notes]
    columns = (
        text_column("kind", "kind"),
        text_column("dataset", "dataset"),
        text_column("strategies", "strategies"),
        text_column("message", "caution"),
    )
    return Table("cautions", "Cautions", columns, tuple(rows))
