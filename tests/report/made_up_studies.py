"""Writes made-up studies to disk in the format of benchmarks: nothing is trained."""

import csv
import json

import numpy as np

CONFIG = {
    "format_version": 1,
    "dataset": {
        "name": "d", "kind": "vectors", "n_train": 100, "n_test": 50, "n_classes": 2, "class_names": ["a", "b"],
        "class_counts": [50, 50], "input_shape": [4], "dtype": "float32", "augmentation": [], "fingerprint": "f00",
        "source": {"kind": "npz", "path": "/somewhere/of/mine/d.npz"},
    },
    "pool_size": 100,
    "batch_size": 10,
    "model": {"name": "linear", "options": {}, "embedding_dim": 4, "n_parameters": 10},
    "recipe": {"epochs": 5, "optimizer": "adam", "augmentation": []},
    "precision": "float32",
    "threads": 1,
    "device": "cpu",
    "versions": {"python": "3.11", "torch": "2.6", "deepal_autoal": "0.1.0"},
    "plugins": {"deepal_autoal": "0.1.0"},
    "command": ["deepal", "benchmark", "--out", "/somewhere/of/mine/study"],
}  # fmt: skip


def write_run(
    folder, accuracy, *, seed, strategy="random", dataset=None, weights=None, audit=None, finished=True, **changes
):
    """Write a run folder with 10 initial labels and 10 more each round."""
    folder.mkdir(parents=True)
    n = len(accuracy)
    config = {
        **CONFIG,
        "dataset": {**CONFIG["dataset"], **(dataset or {})},
        "initial": [seed * 3 + number for number in range(10)],
        "rounds": n - 1,
        "strategy": {"name": strategy, "options": {}, "requires": [], "changes_training": False},
        "seed": seed,
        "settings": {"dataset": None, "data_dir": "/somewhere/of/mine", "strategy": strategy},
        **changes,
    }
    (folder / "config.json").write_text(json.dumps(config))
    rounds = [
        {
            "round": number,
            "n_labeled": 10 * (number + 1),
            "accuracy": float(value),
            "queried": list(range(20 + 10 * number, 30 + 10 * number)) if number < n - 1 else [],
            "seconds": {"train": 1.0, "evaluate": 0.25, "query": 0.5, "query.search": 0.125},
            "strategy": {} if weights is None or number == n - 1 else {"weights": weights(number)},
            **({} if audit is None else {"audit": audit(number)}),
        }
        for number, value in enumerate(accuracy)
    ]
    (folder / "rounds.jsonl").write_text("".join(json.dumps(record) + "\n" for record in rounds))
    if finished:
        (folder / "summary.json").write_text('{"status": "finished"}')
    return folder


def write_study(out, gains, datasets=("d", "e"), seeds=range(5), rounds=4, **changes):
    """Write a benchmark's folder in which each strategy is better than a common curve by its gain, with some noise."""
    rng = np.random.default_rng(7)
    for dataset in datasets:
        for seed in seeds:
            common = 0.6 + 0.05 * np.arange(rounds + 1) + rng.normal(0, 0.02)
            for strategy, gain in gains.items():
                accuracy = common + gain * np.arange(rounds + 1) / rounds + rng.normal(0, 0.003, rounds + 1)
                accuracy[0] = common[0]
                weights = None
                if strategy == "picker":
                    weights = lambda number: {"one": 0.25 + 0.1 * number, "two": 0.75 - 0.1 * number}  # noqa: E731
                write_run(
                    out / dataset / strategy / f"seed-{seed}", accuracy, seed=seed, strategy=strategy, weights=weights,
                    dataset={"name": dataset, "fingerprint": dataset * 4}, **changes,
                )  # fmt: skip
    return out


GAINS = {"random": 0.0, "entropy": 0.001, "good": 0.06, "picker": 0.04, "bad<b>&": -0.05}


def write_table(path, runs):
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["dataset", "strategy", "seed", "round", "n_labeled", "accuracy", "train_s", "query_s"])
        for run in runs:
            for number, value in enumerate(run.accuracy):
                writer.writerow(
                    [run.dataset, run.strategy, run.seed, number, run.n_labeled[number], value, 1.0, 0.5]
                )  # fmt: skip
    return path
