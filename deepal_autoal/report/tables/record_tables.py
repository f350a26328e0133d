"""Tables of what was recorded: all runs, audits, selectors' weights, settings, versions, unfinished runs."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from deepal_autoal.report import wording
from deepal_autoal.report.paths import without_folders
from deepal_autoal.report.report_data import Contents
from deepal_autoal.report.tables.table import ACCURACY_ROWS, Column, Table, number_column, text_column


def runs_table(contents: Contents) -> Table:
    """Return a row for each run."""
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
        for run in contents.study.results.runs
    )
    columns = (
        text_column("strategy", "strategy", "results.csv: strategy"),
        number_column("seed", "seed", "results.csv: seed", wording.count),
        number_column("rounds", "rounds", "results.csv: highest round", wording.count),
        Column(
            "first_labels",
            "labels",
            "results.csv: n_labeled of the first and last round",
            lambda row: f"{row['first_labels']} to {row['last_labels']}",
            more=("last_labels",),
        ),
        number_column(
            "aubc", "AUBC, %", ACCURACY_ROWS + "of this seed: trapezoids divided by the labels bought", wording.percent
        ),
        number_column(
            "final_accuracy", "final accuracy, %", "results.csv: accuracy of the last round", wording.percent
        ),
        number_column("train_s", "training, s", "results.csv: sum of train_s", wording.seconds),
        number_column("query_s", "queries, s", "results.csv: sum of query_s", wording.seconds),
    )
    note = "One row for each run; all means above are computed from these rows."
    return Table("runs", "Every run", columns, rows, note, by_dataset=True)


def weights_table(contents: Contents) -> Table:
    """Return the weights of selectors' candidates by round."""
    rows = []
    for dataset, found in contents.by_dataset.items():
        for strategy, by_seed in contents.study.weights(dataset).items():
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
        number_column("round", "round", "rounds.jsonl: round", wording.count),
        number_column("n_labeled", "labels", "rounds.jsonl: n_labeled", wording.count),
        text_column("candidate", "candidate", "rounds.jsonl: names under strategy.weights"),
        Column(
            "weight",
            "weight, %",
            "rounds.jsonl: strategy.weights; mean ± standard deviation over seeds",
            lambda row: wording.spread(row["weight"], row["weight_std"]),
            more=("weight_std",),
        ),
        number_column("seeds", "seeds", "seeds with weights at this round", wording.count),
    )
    return Table("weights", "Weights of candidates", columns, tuple(rows), by_dataset=True)


def audit_table(contents: Contents) -> Table:
    """Return what audits estimated by round, beside the test accuracy."""
    rows = []
    for dataset, found in contents.by_dataset.items():
        for strategy, by_seed in contents.study.audits(dataset).items():
            for number in range(max(len(rounds) for rounds in by_seed.values())):
                at = {seed: rounds[number] for seed, rounds in by_seed.items() if len(rounds) > number}
                known = {seed: one for seed, one in at.items() if one is not None}
                if not known:
                    continue
                truth = {seed: found.runs[strategy][seed].accuracy[number] for seed in known}
                rows.append({
                    "dataset": dataset, "strategy": strategy, "round": number,
                    "n_labeled": found.runs[strategy][next(iter(known))].n_labeled[number],
                    "accuracy": statistics.fmean(truth.values()),
                    **{f"audit_{name}": statistics.fmean(one[name] for one in known.values())
                       for name in ("accuracy", "low", "high")},
                    "held": sum(one["low"] <= truth[seed] <= one["high"] for seed, one in known.items()),
                    "seeds": len(known),
                })  # fmt: skip
    columns = (
        text_column("strategy", "strategy", "the run folder's label"),
        number_column("round", "round", "rounds.jsonl: round", wording.count),
        number_column("n_labeled", "labels", "rounds.jsonl: n_labeled", wording.count),
        number_column("accuracy", "test accuracy, %", "rounds.jsonl: accuracy; mean over seeds", wording.percent),
        number_column("audit_accuracy", "audit, %", "rounds.jsonl: audit.accuracy; mean over seeds", wording.percent),
        Column(
            "audit_low",
            "its 95% interval",
            "rounds.jsonl: audit.low, audit.high; means over seeds",
            lambda row: f"{wording.percent(row['audit_low'])} to {wording.percent(row['audit_high'])}",
            more=("audit_high",),
        ),
        Column(
            "held",
            "holds test accuracy",
            "seeds whose interval contains the test accuracy, of those with an estimate",
            lambda row: f"{row['held']} of {row['seeds']}",
            more=("seeds",),
        ),
    )
    return Table("audit", "Accuracy by the audit", columns, tuple(rows), by_dataset=True)


def strategies_table(contents: Contents) -> Table:
    """Return the strategy and options behind each label."""
    found: dict[tuple[str, str], list[str]] = {}
    for (dataset, label, _), record in sorted(contents.study.records.items()):
        text = without_folders(_format_strategy(record.config["strategy"]))
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


def settings_table(contents: Contents) -> Table:
    """Return the settings that a dataset's runs share."""
    rows = []
    for dataset in contents.study.results.datasets:
        configs = contents.study.configs(dataset)
        if configs:
            shown = _shown_settings(configs)
            rows += [{"dataset": dataset, "setting": key, "value": without_folders(value)} for key, value in shown]
    columns = (text_column("setting", "setting", "config.json"), text_column("value", "value", "config.json"))
    return Table("settings", "Settings", columns, tuple(rows), by_dataset=True)


def versions_table(contents: Contents) -> Table:
    """Return the package versions that runs used."""
    found: dict[str, set[str]] = {}
    for record in contents.study.records.values():
        for part in ("versions", "plugins"):
            for name, version in record.config.get(part, {}).items():
                found.setdefault(str(name), set()).add(str(version))
    rows = tuple({"package": name, "version": ", ".join(sorted(versions))} for name, versions in found.items())
    columns = (text_column("package", "package", "config.json"), text_column("version", "version", "config.json"))
    return Table("versions", "Versions", columns, rows)


def unfinished_table(contents: Contents) -> Table:
    """Return the runs that were skipped."""
    rows = tuple(
        {"folder": _format_folder(item.folder), "rounds_done": item.n_done, "rounds_planned": item.n_planned}
        for item in contents.study.unfinished
    )
    columns = (
        text_column("folder", "run folder"),
        number_column("rounds_done", "rounds recorded", "lines of rounds.jsonl", wording.count),
        number_column("rounds_planned", "of", "config.json: rounds + 1", wording.count),
    )
    return Table("unfinished", "Runs that have not finished", columns, rows)


def _format_folder(folder: Path) -> str:
    """Return dataset, strategy and seed of a benchmark's run, otherwise the last part: the rest shows this machine."""
    return "/".join(folder.parts[-3:]) if folder.name.startswith("seed-") else folder.name


def _format_strategy(described: Mapping[str, Any]) -> str:
    options = [f"{key}={value}" for key, value in described.get("options", {}).items() if value is not None]
    candidates = [_format_strategy(candidate) for candidate in described.get("candidates", ())]
    if candidates:
        options.append(f"candidates=[{', '.join(candidates)}]")
    return f"{described.get('name')}[{', '.join(options)}]" if options else str(described.get("name"))


def _shown_settings(configs: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield the settings that a dataset's runs share, as name and text."""
    config = configs[0]
    data = config["dataset"]
    shape = " \N{MULTIPLICATION SIGN} ".join(map(str, data.get("input_shape", ())))
    yield "dataset", f"{data.get('name')}: {data.get('n_classes')} classes, {data.get('kind')} {shape}"
    yield "training split", f"{data.get('n_train')} samples"
    yield "test split", f"{data.get('n_test')} samples"
    yield "fingerprint", str(data.get("fingerprint"))
    for key, value in data.get("source", {}).items():
        yield f"source: {key}", str(value)
    for key, value in (data.get("changes") or {}).items():
        if value is not None:
            yield f"changed: {key}", str(value)
    if config.get("settings", {}).get("image_size"):
        yield "image size", config["settings"]["image_size"]
    yield "pool", f"{config.get('pool_size')} samples"
    yield "initial labels", str(len(config["initial"]))
    if config.get("validation_set"):
        yield "validation", f"{len(config['validation_set'])} samples, their labels {config.get('validation_labels')}"
    yield "labels a round", str(config.get("batch_size"))
    yield "rounds", str(config.get("rounds"))
    model = config.get("model", {})
    options = ", ".join(f"{key}={value}" for key, value in model.get("options", {}).items())
    yield "model", f"{model.get('name')}{f'[{options}]' if options else ''}, {model.get('n_parameters')} parameters"
    if data.get("kind") == "vectors":
        yield "scaling", str(config.get("scaling"))
    for key, value in config.get("recipe", {}).items():
        yield (
            f"training: {key.replace('_', ' ')}",
            ", ".join(map(str, value)) if isinstance(value, list) else str(value),
        )
    yield "seeds", ", ".join(map(str, sorted({one["seed"] for one in configs})))
    yield "device", str(config.get("device"))
    for key, value in (config.get("gpu") or {}).items():
        yield {"name": "GPU", "cuda": "CUDA", "cudnn": "cuDNN"}.get(key, key), str(value)
    yield "threads", str(config.get("threads"))
    for key, value in config.get("plugin_options", {}).items():
        yield f"option {key}", str(value)
    if config.get("protocol"):
        yield "protocol", str(config["protocol"])
    commands = dict.fromkeys(" ".join(without_folders(str(word)) for word in one.get("command", ())) for one in configs)
    for number, command in enumerate(commands, 1):
        yield "command" if number == 1 else f"command {number}", command
