"""Compare strategies over paired seeds: accuracy at each round, AUBC, differences to random, time of a query.

    python benchmarks/accuracy.py --out /tmp/study --data-dir data

Runs are ordinary run folders under --out; repeating the command continues where it stopped. If a strategy changes
training, a plain model is trained on its picks as well, which shows what the picks alone are worth. The table of all
rounds is written as CSV, the summary is printed; finished runs under --out are reused. The effective number of classes
of a batch is the exponential of the entropy of its labels: 10 for ten equally frequent classes, 1 for a single class.
"""

import argparse
import csv
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from deepal_autoal import ActiveLearner, load_dataset, plugin_host
from deepal_autoal.experiment.run_files import recorded_scaling
from deepal_autoal.models import ModelChoice
from deepal_autoal.training.inputs import Inputs

SETTINGS = ("dataset", "data_dir", "model", "pool_size", "initial", "batch_size", "rounds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="all")
    parser.add_argument("--option", action="append", default=[], metavar="STRATEGY.KEY=VALUE")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, one thread each")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--csv", type=Path, default=None, help="file for the table of rounds; default OUT/rounds.csv")
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--data-dir", default="data")
    parser.add_argument("--model", default="auto")
    parser.add_argument("--pool-size", type=int, default=10_000)
    parser.add_argument("--initial", type=int, default=100)
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=10)
    arguments = parser.parse_args()

    entries = plugin_host().strategies.entries()
    names = [entry.name for entry in entries] if arguments.strategies == "all" else arguments.strategies.split(",")
    # Seed by seed, so runs are paired even if time runs out.
    cells = [(strategy, seed) for seed in range(arguments.seeds) for strategy in names]
    labels = load_dataset(arguments.dataset, arguments.data_dir).y_train
    with ThreadPoolExecutor(arguments.jobs) as executor:
        rows = [row for part in executor.map(lambda cell: run(arguments, labels, *cell), cells) for row in part]
    path = arguments.csv or arguments.out / "rounds.csv"
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    summarize(rows)


def run(arguments: argparse.Namespace, labels: np.ndarray, strategy: str, seed: int) -> list[dict[str, object]]:
    """Start or finish one run, and return its rounds, followed by the plain model's if training was changed."""
    out = arguments.out / strategy / f"seed-{seed}"
    command = [sys.executable, "-m", "deepal_autoal", "run", "--quiet", "--resume", "--out", str(out), "--threads", "1"]
    for name in SETTINGS:
        command += [f"--{name.replace('_', '-')}", str(getattr(arguments, name))]
    command += ["--strategy", strategy, "--seed", str(seed)]
    for option in arguments.option:
        owner, _, setting = option.partition(".")
        if owner == strategy:
            command += ["-o", setting]
    if not (out / "summary.json").exists():
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    records = read(out)
    plain = []
    if json.loads((out / "config.json").read_text())["strategy"]["changes_training"]:
        if not (out / "plain.json").exists():
            subprocess.run([sys.executable, __file__, "--replay", str(out)], check=True)
        plain = json.loads((out / "plain.json").read_text())
    print(f"{strategy} seed {seed}: {records[-1]['accuracy']:.4f}", file=sys.stderr, flush=True)
    rows = [row(strategy, seed, record, record["accuracy"], labels) for record in records]
    name = f"{strategy}, plain model"
    return rows + [row(name, seed, record, accuracy, labels) for record, accuracy in zip(records, plain, strict=False)]


def read(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "rounds.jsonl").read_text().splitlines()]


def row(strategy: str, seed: int, record: dict, accuracy: float, labels: np.ndarray) -> dict[str, object]:
    shares = np.unique(labels[record["queried"]], return_counts=True)[1] / max(1, len(record["queried"]))
    return {
        "strategy": strategy, "seed": seed, "round": record["round"], "n_labeled": record["n_labeled"],
        "accuracy": accuracy, "train_s": round(record["seconds"]["train"], 3),
        "query_s": round(record["seconds"]["query"], 3),
        "effective_classes": round(float(np.exp(-(shares * np.log(shares)).sum())), 2) if len(shares) else "",
    }  # fmt: skip


def replay(out: Path) -> None:
    """Train a plain model on the labels of every round of a run, from the same initial weights and data order."""
    import torch

    config = json.loads((out / "config.json").read_text())
    torch.set_num_threads(config["threads"])
    settings = config["settings"]
    data = load_dataset(settings["dataset"], settings["data_dir"])
    members = None
    if settings["pool_size"] is not None:
        from deepal_autoal.experiment.pool import draw_members

        members = draw_members(len(data.x_train), config["seed"], settings["pool_size"])
    recipe = {**config["recipe"], "augmentation": tuple(config["recipe"]["augmentation"])}
    learner = ActiveLearner(
        data.x_train, "random", data.n_classes, model=ModelChoice.recorded(config["model"]), recipe=recipe,
        seed=config["seed"], device=config["device"], members=members, scaling=recorded_scaling(config),
    )  # fmt: skip
    test = Inputs(data.x_test, learner.normalization, learner.device)
    accuracies, labels = [], config["initial"]
    for record in read(out):
        learner.tell(labels, data.y_train[labels])
        accuracies.append(learner.predictor().accuracy(test, data.y_test))
        labels = record["queried"]
    (out / "plain.json").write_text(json.dumps(accuracies))


def summarize(rows: list[dict]) -> None:
    """Print AUBC and final accuracy, and the paired difference of AUBC to random with a bootstrap interval."""
    curves: dict[str, dict[int, list[dict]]] = {}
    for entry in rows:
        curves.setdefault(entry["strategy"], {}).setdefault(entry["seed"], []).append(entry)
    areas = {name: np.array([area(curve) for curve in seeds.values()]) for name, seeds in curves.items()}
    rng = np.random.default_rng(0)
    print("| strategy | seeds | AUBC | final accuracy | AUBC - random, points (95%) | seeds above | classes a batch |")
    print("|---|---|---|---|---|---|---|")
    for name in sorted(areas, key=lambda name: -areas[name].mean()):
        finals = np.array([curve[-1]["accuracy"] for curve in curves[name].values()])
        classes = np.mean([entry["effective_classes"] for curve in curves[name].values() for entry in curve[:-1]])
        line = f"| `{name}` | {len(finals)} | {areas[name].mean():.4f} ± {areas[name].std(ddof=1):.4f} "
        line += f"| {finals.mean():.4f} ± {finals.std(ddof=1):.4f} "
        if name != "random" and len(areas[name]) == len(areas.get("random", ())):
            difference = 100 * (areas[name] - areas["random"])
            means = rng.choice(difference, (10_000, len(difference))).mean(axis=1)
            low, high = np.quantile(means, [0.025, 0.975])
            line += f"| {difference.mean():+.2f} ({low:+.2f} … {high:+.2f}) "
            line += f"| {(difference > 0).sum()}/{len(difference)} "
        else:
            line += "| | "
        print(f"{line}| {classes:.1f} |")


def area(curve: list[dict]) -> float:
    """Return the area under the budget curve."""
    x = np.array([row["n_labeled"] for row in curve], dtype=float)
    y = np.array([row["accuracy"] for row in curve])
    return float((np.diff(x) * (y[1:] + y[:-1]) / 2).sum() / (x[-1] - x[0]))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--replay"]:
        replay(Path(sys.argv[2]))
    else:
        main()
