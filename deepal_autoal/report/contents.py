"""What a report says: every table of a study, and the verdicts that its sentences are made of."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from deepal_autoal.report import cells
from deepal_autoal.report.study import Study
from deepal_autoal.report.tables import BEST, LIKE_BEST, Column, Row, Table, number_column, text_column
from deepal_autoal.results import FinishedRun
from deepal_autoal.statistics import (
    Caution,
    Comparison,
    LabelSaving,
    PenaltyMatrix,
    PhaseTimes,
    Ranking,
    StrategyEstimates,
    compare_all,
    compare_to,
    estimate_all,
    find_cautions,
    label_savings,
    mean_areas,
    penalty_matrix,
    rank,
    relative_phase_times,
    significant_wins_ties_losses,
    wins_ties_losses,
)
from deepal_autoal.statistics.paired import MIN_SEEDS
from deepal_autoal.statistics.savings import BASELINE
from deepal_autoal.statistics.times import REFERENCE

# What became of a strategy's comparison to the baseline.
BETTER, WORSE, UNDECIDED, UNTESTED, IS_BASELINE = "better", "worse", "not distinguishable", "too few seeds", "baseline"
ROWS = "results.csv: accuracy over n_labeled, rows of the dataset and strategy, "


@dataclass(frozen=True)
class OnDataset:
    """What is known of a dataset's runs.

    Attributes:
        runs: By strategy and seed.
        estimates: By strategy.
        pairs: Every two strategies compared by AUBC.
        to_baseline: Strategies compared to the baseline by AUBC, by label.
        savings, times: By strategy.
        best: The strategy of the highest mean AUBC.
        like_best: Others that no test tells from it.
    """

    runs: Mapping[str, Mapping[int, FinishedRun]]
    estimates: Mapping[str, StrategyEstimates]
    pairs: Sequence[Comparison]
    to_baseline: Mapping[str, Comparison]
    savings: Mapping[str, LabelSaving]
    times: Mapping[str, PhaseTimes]
    best: str
    like_best: tuple[str, ...]

    @property
    def order(self) -> tuple[str, ...]:
        """The strategies by mean AUBC, highest first."""
        return tuple(sorted(self.estimates, key=lambda name: (-self.estimates[name].aubc.mean, name)))

    @property
    def is_tested(self) -> bool:
        """Whether any two strategies have seeds enough in common for a test."""
        return any(pair.difference.n_seeds >= MIN_SEEDS for pair in self.pairs)


class Contents:
    """What a report says of a study; everything is computed once, when it is asked for.

    Args:
        study: The runs.
        baseline: The label of the strategy that others should be better than.

    Attributes:
        study, baseline: As given.
    """

    def __init__(self, study: Study, baseline: str = BASELINE) -> None:
        self.study = study
        self.baseline = baseline

    @cached_property
    def by_dataset(self) -> dict[str, OnDataset]:
        """What is known, dataset by dataset."""
        results = self.study.results
        estimates, savings = estimate_all(results), label_savings(results, self.baseline)
        found = {}
        for dataset in results.datasets:
            runs, areas = results.on(dataset), results.areas(dataset)
            own = {item.strategy: item for item in estimates if item.dataset == dataset}
            pairs = compare_all(areas)
            best = max(own, key=lambda name: own[name].aubc.mean)
            found[dataset] = OnDataset(
                runs, own, pairs,
                {comparison.ours: comparison for comparison in compare_to(areas, self.baseline)},
                {item.strategy: item for item in savings if item.dataset == dataset},
                relative_phase_times(runs, REFERENCE), best, _like(best, pairs),
            )  # fmt: skip
        return found

    @cached_property
    def cautions(self) -> list[Caution]:
        """What a reader must be told of the numbers."""
        return find_cautions(self.study.results, self.baseline)

    @cached_property
    def penalties(self) -> PenaltyMatrix:
        """BADGE's matrix over all datasets."""
        return penalty_matrix(self.study.results)

    @cached_property
    def ranking(self) -> Ranking | None:
        """The strategies ranked over datasets; None where there is nothing to rank."""
        return rank(mean_areas(self.study.results)) if len(self.study.results.datasets) > 1 else None

    def verdict(self, dataset: str, strategy: str) -> str:
        """Return what the comparison to the baseline says."""
        if strategy == self.baseline:
            return IS_BASELINE
        comparison = self.by_dataset[dataset].to_baseline.get(strategy)
        if comparison is None or comparison.difference.n_seeds < MIN_SEEDS:
            return UNTESTED if self.baseline in self.by_dataset[dataset].runs else cells.NOTHING
        return {None: UNDECIDED, strategy: BETTER}.get(comparison.winner, WORSE)

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """All tables, those with nothing in them left out."""
        tables = [
            self._accuracy(), self._rivals(), self._cost(), self._penalty(), self._ranking(), self._pairs(),
            self._weights(), self._runs(), self._cautions(), self._strategies(), self._settings(), self._versions(),
            self._unfinished(),
        ]  # fmt: skip
        return tuple(table for table in tables if table.rows)

    def _accuracy(self) -> Table:
        rows = []
        for dataset, found in self.by_dataset.items():
            for name in found.order:
                own, to = found.estimates[name], found.to_baseline.get(name)
                row: dict[str, Any] = {"dataset": dataset, "strategy": name, "seeds": own.aubc.n_seeds}
                for key, measure in (("aubc", own.aubc), ("final_accuracy", own.final_accuracy)):
                    row |= {
                        f"{key}_mean": measure.mean, f"{key}_std": measure.std, f"{key}_low": measure.low,
                        f"{key}_high": measure.high,
                    }  # fmt: skip
                gap = None if to is None else to.difference
                row |= {
                    "difference": None if gap is None else gap.mean,
                    "difference_low": None if gap is None else gap.low,
                    "difference_high": None if gap is None else gap.high,
                    "common_seeds": None if gap is None else gap.n_seeds,
                    "seeds_above": None if gap is None else gap.n_above,
                    "p": None if gap is None else gap.p,
                    "p_holm": None if to is None else to.p_holm,
                    "verdict": self.verdict(dataset, name),
                    "standing": BEST if name == found.best else LIKE_BEST if name in found.like_best else "",
                }
                rows.append(row)
        base = self.baseline
        columns = (
            text_column("strategy", "strategy", "results.csv: strategy"),
            number_column("seeds", "seeds", "results.csv: number of different seeds", cells.count),
            Column(
                "aubc_mean", "AUBC, %", ROWS + "area under the accuracy by trapezoids divided by the labels bought, for "
                "each seed; mean ± standard deviation over seeds",
                lambda row: cells.spread(row["aubc_mean"], row["aubc_std"]), more=("aubc_std",), marks_best=True,
            ),
            Column(
                "aubc_low", "95 % interval", "percentile bootstrap interval of the mean AUBC, 9999 resamples of seeds",
                lambda row: cells.interval(row["aubc_low"], row["aubc_high"], row["seeds"]), more=("aubc_high",),
            ),
            Column(
                "final_accuracy_mean", "final accuracy, %", "results.csv: accuracy in each seed's last round; mean ± "
                "standard deviation over seeds",
                lambda row: cells.spread(row["final_accuracy_mean"], row["final_accuracy_std"]),
                more=("final_accuracy_std", "final_accuracy_low", "final_accuracy_high"),
            ),
            Column(
                "difference", f"AUBC minus {base}'s, points", f"mean over common seeds of AUBC minus {base}'s of the "
                "same seed, with its 95 % bootstrap interval",
                lambda row: cells.difference(
                    row["difference"], row["difference_low"], row["difference_high"], row["common_seeds"] or 0
                ),
                more=("difference_low", "difference_high"),
            ),
            Column(
                "seeds_above", f"seeds above {base}", f"seeds on which AUBC is higher than {base}'s, of those both have",
                lambda row: cells.NOTHING
                if row["seeds_above"] is None
                else f"{row['seeds_above']} of {row['common_seeds']}",
                more=("common_seeds",),
            ),
            Column(
                "p_holm", "p (Holm)", "two-sided paired t-test over common seeds, Holm's correction over the dataset's "
                f"comparisons to {base}",
                lambda row: cells.p_value(row["p_holm"]), more=("p",),
            ),
            text_column("verdict", f"against {base}", f"by p (Holm) below 0.05, at least {MIN_SEEDS} common seeds"),
        )  # fmt: skip
        note = (
            "Highest AUBC first. The highest is in bold; underlined ones are not distinguishable from it (paired "
            "t-tests, Holm's correction over all pairs, 5 %)."
        )
        return Table("accuracy", "Accuracy", columns, tuple(rows), note, by_dataset=True, extra=("standing",))

    def _rivals(self) -> Table:
        rows = []
        for dataset, found in self.by_dataset.items():
            margin = wins_ties_losses(self.study.results.areas(dataset))
            test = significant_wins_ties_losses(found.pairs)
            for name in found.order:
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
                "test", "every other strategy once: paired t-tests of AUBC over common seeds, Holm's correction over all "
                f"pairs, 5 %; a tie says that nothing was shown, and is all that fewer than {MIN_SEEDS} seeds give",
            ),
        )  # fmt: skip
        return Table(
            "wins", "Wins, ties and losses", columns, tuple(row for row in rows if len(rows) > 1),
            "A tie by test says that nothing was shown, not that both are alike.", by_dataset=True,
        )  # fmt: skip

    def _cost(self) -> Table:
        rows = []
        for dataset, found in self.by_dataset.items():
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
        base = self.baseline
        times_how = f"seconds of whole runs divided by {REFERENCE}'s of the same seeds"
        columns = (
            text_column("strategy", "strategy", "results.csv: strategy"),
            Column(
                "labels_needed", f"labels to reach {base}'s final accuracy", "results.csv: n_labeled at which accuracy "
                f"first reaches {base}'s last one of the same seed, linear between rounds; median over seeds (share of "
                "the budget)",
                lambda row: cells.NOTHING
                if row["labels_needed"] is None
                else f"{cells.count(row['labels_needed'])} ({cells.percent(row['labels_share'], 0)} %)",
                more=("labels_share",),
            ),
            Column(
                "seeds_reached", "reached on", "seeds on which it was reached, of those both have",
                lambda row: cells.NOTHING
                if row["seeds_reached"] is None
                else f"{row['seeds_reached']} of {row['common_seeds']} seeds",
                more=("common_seeds",),
            ),
            number_column("seconds", "seconds a run", "results.csv: train_s + query_s over all rounds, with evaluation "
                          "where run folders were read; mean over seeds", cells.seconds),
            number_column("query_seconds", "of these queries", "results.csv: query_s over all rounds; mean over seeds",
                          cells.seconds),
            number_column("relative_time", f"time / {REFERENCE}'s", f"all phases: {times_how}", cells.ratio),
            number_column("relative_train", "training", f"train_s: {times_how}", cells.ratio),
            number_column("relative_query", "queries", f"query_s: {times_how}", cells.ratio),
            number_column("relative_evaluate", "evaluation", f"rounds.jsonl: seconds.evaluate; {times_how}", cells.ratio),
        )  # fmt: skip
        note = f"A noisy curve passes any level early: read the labels of others beside {base}'s own."
        return Table("cost", "Labels and time", columns, tuple(rows), note, by_dataset=True)

    def _penalty(self) -> Table:
        matrix = self.penalties
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
        how = "per dataset the share of rounds at which a paired t-test over common seeds is significant at 5 %, summed"
        columns = (
            text_column("strategy", "beats →", "results.csv: strategy"),
            *(number_column(f"over {other}", other, how, cells.ratio) for other in order),
            number_column("row_mean", "mean won", "mean over the row", cells.ratio),
            number_column("column_mean", "mean lost", "mean over this strategy's column; lower is better", cells.ratio),
        )
        note = (
            "How often the strategy of a row beats that of a column: per dataset the share of rounds at which a paired "
            "t-test says so, summed over datasets. Nothing is corrected for the number of tests: about one round in "
            "forty is won by chance."
        )
        return Table("penalties", "Pairwise penalties (BADGE)", columns, tuple(rows), note)

    def _ranking(self) -> Table:
        ranking = self.ranking
        rows: list[Row] = []
        scores = mean_areas(self.study.results)
        if ranking is not None:
            rows = [
                {"strategy": name, "mean_rank": mean_rank, **{f"on {item}": scores[item][name] for item in ranking.datasets}}
                for name, mean_rank in zip(ranking.strategies, ranking.mean_ranks, strict=True)
            ]  # fmt: skip
        columns = (
            text_column("strategy", "strategy", "results.csv: strategy"),
            number_column(
                "mean_rank", "mean rank", "of mean AUBC on each dataset, 1 is best, ties share", lambda value: f"{value:.2f}"
            ),
            *(
                number_column(f"on {item}", f"AUBC on {item}, %", "mean over the seeds that all have", cells.percent)
                for item in (ranking.datasets if ranking is not None else ())
            ),
        )  # fmt: skip
        return Table("ranking", "Ranks over datasets", columns, tuple(rows))

    def _pairs(self) -> Table:
        ranking = self.ranking
        rows = tuple(
            {"better": pair.better, "worse": pair.worse, "p": pair.p, "p_holm": pair.p_holm,
             "different": "yes" if pair.is_different else "not shown"}
            for pair in (ranking.pairs if ranking is not None and len(ranking.datasets) > 1 else ())
        )  # fmt: skip
        columns = (
            text_column("better", "ranked better", "by mean rank"),
            text_column("worse", "ranked worse", "by mean rank"),
            number_column("p", "p", "two-sided Wilcoxon signed-rank test over datasets of mean AUBC", cells.p_value),
            number_column("p_holm", "p (Holm)", "after Holm's correction over all pairs", cells.p_value),
            text_column("different", "different", "p (Holm) below 0.05, and Friedman's p too"),
        )
        return Table("ranking-pairs", "Pairs over datasets", columns, rows)

    def _weights(self) -> Table:
        rows = []
        for dataset, found in self.by_dataset.items():
            for strategy, by_seed in self.study.weights(dataset).items():
                n_rounds = max(len(rounds) for rounds in by_seed.values())
                for number in range(n_rounds):
                    at = {seed: rounds[number] for seed, rounds in by_seed.items() if len(rounds) > number}
                    known = {seed: weights for seed, weights in at.items() if weights is not None}
                    names = dict.fromkeys(name for weights in known.values() for name in weights)
                    for name in names:
                        values = [weights.get(name, 0.0) for weights in known.values()]
                        rows.append(
                            {
                                "dataset": dataset,
                                "strategy": strategy,
                                "round": number,
                                "n_labeled": found.runs[strategy][next(iter(known))].n_labeled[number],
                                "candidate": name,
                                "weight": statistics.fmean(values),
                                "weight_std": statistics.stdev(values) if len(values) > 1 else None,
                                "seeds": len(values),
                            }
                        )
        columns = (
            text_column("strategy", "strategy", "the run folder's label"),
            number_column("round", "round", "rounds.jsonl: round", cells.count),
            number_column("n_labeled", "labels", "rounds.jsonl: n_labeled", cells.count),
            text_column("candidate", "candidate", "rounds.jsonl: names under strategy.weights"),
            Column(
                "weight", "weight, %", "rounds.jsonl: strategy.weights; mean ± standard deviation over seeds",
                lambda row: cells.spread(row["weight"], row["weight_std"]), more=("weight_std",),
            ),
            number_column("seeds", "seeds", "seeds with weights at this round", cells.count),
        )  # fmt: skip
        return Table("weights", "Weights of candidates", columns, tuple(rows), by_dataset=True)

    def _runs(self) -> Table:
        rows = tuple(
            {
                "dataset": run.dataset,
                "strategy": run.strategy,
                "seed": run.seed,
                "rounds": len(run.accuracy) - 1,
                "first_labels": run.n_labeled[0],
                "last_labels": run.n_labeled[-1],
                "aubc": run.aubc,
                "final_accuracy": run.final_accuracy,
                "train_s": run.phase_seconds("train"),
                "query_s": run.phase_seconds("query"),
            }
            for run in self.study.results.runs
        )
        columns = (
            text_column("strategy", "strategy", "results.csv: strategy"),
            number_column("seed", "seed", "results.csv: seed", cells.count),
            number_column("rounds", "rounds", "results.csv: highest round", cells.count),
            Column(
                "first_labels", "labels", "results.csv: n_labeled of the first and last round",
                lambda row: f"{row['first_labels']} to {row['last_labels']}", more=("last_labels",),
            ),
            number_column("aubc", "AUBC, %", ROWS + "of this seed: trapezoids divided by the labels bought", cells.percent),
            number_column("final_accuracy", "final accuracy, %", "results.csv: accuracy of the last round", cells.percent),
            number_column("train_s", "training, s", "results.csv: sum of train_s", cells.seconds),
            number_column("query_s", "queries, s", "results.csv: sum of query_s", cells.seconds),
        )  # fmt: skip
        note = "A row for each run: what all means above are made of."
        return Table("runs", "Every run", columns, rows, note, by_dataset=True)

    def _cautions(self) -> Table:
        rows: list[Row] = [
            {"kind": caution.kind, "dataset": caution.dataset, "strategies": ", ".join(caution.strategies),
             "message": caution.message}
            for caution in self.cautions
        ]  # fmt: skip
        rows += [{"kind": "study", "dataset": None, "strategies": None, "message": note} for note in self.study.notes]
        columns = (
            text_column("kind", "kind"),
            text_column("dataset", "dataset"),
            text_column("strategies", "strategies"),
            text_column("message", "caution"),
        )
        return Table("cautions", "Cautions", columns, tuple(rows))

    def _strategies(self) -> Table:
        found: dict[tuple[str, str], list[str]] = {}
        for (dataset, label, _), record in sorted(self.study.records.items()):
            text = _spell_strategy(record.config["strategy"])
            datasets = found.setdefault((label, text), [])
            if dataset not in datasets:
                datasets.append(dataset)
        rows = tuple(
            {"strategy": label, "what": text, "datasets": ", ".join(datasets)}
            for (label, text), datasets in sorted(found.items())
        )
        columns = (
            text_column("strategy", "label", "the run folder's label"),
            text_column("what", "strategy and options", "config.json: strategy"),
            text_column("datasets", "on"),
        )
        return Table("strategies", "Strategies", columns, rows)

    def _settings(self) -> Table:
        rows = []
        for dataset in self.study.results.datasets:
            configs = self.study.configs(dataset)
            if configs:
                shown = _shown_settings(configs)
                rows += [{"dataset": dataset, "setting": key, "value": value} for key, value in shown]
        columns = (text_column("setting", "setting", "config.json"), text_column("value", "value", "config.json"))
        return Table("settings", "Settings", columns, tuple(rows), by_dataset=True)

    def _versions(self) -> Table:
        found: dict[str, set[str]] = {}
        for record in self.study.records.values():
            for part in ("versions", "plugins"):
                for name, version in record.config.get(part, {}).items():
                    found.setdefault(str(name), set()).add(str(version))
        rows = tuple({"package": name, "version": ", ".join(sorted(versions))} for name, versions in found.items())
        columns = (text_column("package", "package", "config.json"), text_column("version", "version", "config.json"))
        return Table("versions", "Versions", columns, rows)

    def _unfinished(self) -> Table:
        rows = tuple(
            {"folder": "/".join(item.folder.parts[-3:]), "rounds_done": item.n_done, "rounds_planned": item.n_planned}
            for item in self.study.unfinished
        )
        columns = (
            text_column("folder", "run folder"),
            number_column("rounds_done", "rounds recorded", "lines of rounds.jsonl", cells.count),
            number_column("rounds_planned", "of", "config.json: rounds + 1", cells.count),
        )
        return Table("unfinished", "Runs that have not finished", columns, rows)


def _like(best: str, pairs: Sequence[Comparison]) -> tuple[str, ...]:
    """Return whom no test tells from the best; of too few seeds that is everybody, which is no finding."""
    return tuple(
        sorted(
            pair.theirs if pair.ours == best else pair.ours
            for pair in pairs
            if best in (pair.ours, pair.theirs) and pair.winner is None and pair.difference.n_seeds >= MIN_SEEDS
        )
    )


def _outcome(kind: str, how: str) -> Column:
    keys = tuple(f"{word}_by_{kind}" for word in ("wins", "ties", "losses"))
    return Column(
        keys[0], f"wins / ties / losses by {kind}", how,
        lambda row: cells.NOTHING if row[keys[0]] is None else cells.counts([row[key] for key in keys]), more=keys[1:],
    )  # fmt: skip


def _spell_strategy(described: Mapping[str, Any]) -> str:
    options = [f"{key}={value}" for key, value in described.get("options", {}).items() if value is not None]
    candidates = [_spell_strategy(candidate) for candidate in described.get("candidates", ())]
    if candidates:
        options.append(f"candidates=[{', '.join(candidates)}]")
    return f"{described.get('name')}[{', '.join(options)}]" if options else str(described.get("name"))


def _shown_settings(configs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield a dataset's settings, which its runs share, as name and text."""
    config = configs[0]
    data = config["dataset"]
    shape = " × ".join(map(str, data.get("input_shape", ())))
    yield "dataset", f"{data.get('name')}: {data.get('n_classes')} classes, {data.get('kind')} {shape}"
    yield "training split", f"{data.get('n_train')} samples"
    yield "test split", f"{data.get('n_test')} samples"
    yield "fingerprint", str(data.get("fingerprint"))
    for key, value in data.get("source", {}).items():
        yield f"source: {key}", shorten(str(value))
    for key, value in (data.get("changes") or {}).items():
        if value is not None:
            yield f"changed: {key}", str(value)
    yield "pool", f"{config.get('pool_size')} samples"
    yield "initial labels", str(len(config["initial"]))
    yield "labels a round", str(config.get("batch_size"))
    yield "rounds", str(config.get("rounds"))
    model = config.get("model", {})
    options = ", ".join(f"{key}={value}" for key, value in model.get("options", {}).items())
    yield "model", f"{model.get('name')}{f'[{options}]' if options else ''}, {model.get('n_parameters')} parameters"
    for key, value in config.get("recipe", {}).items():
        yield f"training: {key.replace('_', ' ')}", ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    yield "seeds", ", ".join(map(str, sorted({one["seed"] for one in configs})))
    yield "device", str(config.get("device"))
    yield "threads", str(config.get("threads"))
    for key, value in config.get("plugin_options", {}).items():
        yield f"option {key}", str(value)
    if config.get("protocol"):
        yield "protocol", str(config["protocol"])
    commands = dict.fromkeys(" ".join(shorten(str(word)) for word in one.get("command", ())) for one in configs)
    for number, command in enumerate(commands, 1):
        yield "command" if number == 1 else f"command {number}", command


def shorten(word: str) -> str:
    """Return a word of a command line, a path in it without the folders above: a report is made to be passed on."""
    return word if not word.startswith(("/", "~")) else word.rstrip("/").rpartition("/")[2] or word
