"""Made-up results for figures, and one made-up study for all tests of the report."""

import numpy as np
import pytest

from deepal_autoal.experiment.results import FinishedRun, Results
from deepal_autoal.report.style import assign_styles
from tests.report.made_up_studies import GAINS, write_study


@pytest.fixture
def make_results():
    """Return a function that creates noisy results, the same each time."""

    def make(labels, datasets=("digits",), n_seeds=5, n_rounds=4, query=0.25):
        rng = np.random.default_rng(3)
        runs = []
        for dataset in datasets:
            for place, label in enumerate(labels):
                for seed in range(n_seeds):
                    accuracy = (
                        0.4 + 0.2 * np.linspace(0, 1, n_rounds + 1) + 0.015 * place + rng.normal(0, 0.01, n_rounds + 1)
                    )
                    seconds = tuple({"train": 1.0, "query": query * (1 + place)} for _ in accuracy)
                    counts = tuple(20 + 10 * number for number in range(n_rounds + 1))
                    runs.append(FinishedRun(dataset, label, seed, counts, tuple(accuracy.tolist()), seconds))
        return Results(tuple(runs))

    return make


@pytest.fixture
def many():
    """Twenty-two labels, some alike."""
    return ["random", "entropy", *(f"strategy-{letter}" for letter in "abcdefghijklmnopqrst")]


@pytest.fixture
def styles_of():
    """Return a function that creates styles for results."""
    return lambda results: assign_styles({run.strategy for run in results.runs})


@pytest.fixture(scope="session")
def study_folder(tmp_path_factory):
    """Five strategies on two datasets with five seeds; one has a name that contains HTML."""
    return write_study(tmp_path_factory.mktemp("study") / "study", GAINS)
