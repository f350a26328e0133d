"""Runs built from given accuracies."""

import numpy as np
import pytest

from deepal_autoal.experiment.results import FinishedRun, Results


@pytest.fixture
def make_run():
    """Return a function that creates a run, with 10, 20, 30, ... labels by default."""

    def make(strategy, seed, accuracy, dataset="d", n_labeled=None, train=1.0, query=0.5, **more):
        labels = [10 * (number + 1) for number in range(len(accuracy))] if n_labeled is None else n_labeled
        seconds = tuple({"train": train, "evaluate": 0.25, "query": query, "query.search": 0.125} for _ in accuracy)
        return FinishedRun(dataset, strategy, seed, tuple(labels), tuple(accuracy), seconds, **more)

    return make


@pytest.fixture
def noisy_results(make_run):
    """Three strategies, two datasets, seven seeds, six rounds; on the second dataset seeds and rounds are missing."""
    rng = np.random.default_rng(4)
    runs = []
    for dataset in ("d", "e"):
        for place, strategy in enumerate(("entropy", "margin", "random")):
            for seed in range(7):
                accuracy = 0.5 + 0.05 * np.arange(6) * (1 - 0.15 * place) + rng.normal(0, 0.02, 6)
                is_cut = (dataset, strategy, seed) == ("e", "margin", 3)
                if (dataset, strategy, seed) != ("e", "random", 0):
                    runs.append(make_run(strategy, seed, accuracy[: 4 if is_cut else 6].tolist(), dataset))
    return Results(tuple(runs))
