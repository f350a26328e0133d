import math

import pytest


@pytest.fixture
def make(models_study):
    """Return a function that creates a model's rows with the given accuracies by seed."""

    def call(model, accuracies, nll=1.0, seconds=1.0, dataset="wine", per_class=3, part="test"):
        return [
            models_study.rows.Row(part, dataset, per_class, model, seed, accuracy, nll, seconds)
            for seed, accuracy in enumerate(accuracies)
        ]

    return call


@pytest.fixture
def judged(models_study):
    def call(rows, ours="auto"):
        (case, by_model), = models_study.bar.cases_of(rows, "test").items()  # fmt: skip
        return models_study.bar.judge(case, by_model, ours)

    return call


def test_verdict_is_on_the_best_of_scikit_learn(make, judged):
    verdict = judged([
        *make("sk-logistic", [0.6, 0.7], nll=0.5, seconds=3.0),
        *make("sk-logistic-standard", [0.5, 0.5], nll=0.4, seconds=2.0),
        *make("sk-svc", [0.9, 0.8], nll=None, seconds=0.1), *make("plain-torch", [1.0, 1.0]),
        *make("auto", [0.8, 0.87], nll=0.42, seconds=3.0),
    ])  # fmt: skip
    assert verdict.best == "sk-svc" and verdict.best_accuracy == pytest.approx(0.85)
    assert verdict.difference.mean == pytest.approx(-0.015) and verdict.difference.n_above == 1
    assert verdict.nll_ratio == pytest.approx(1.05) and verdict.seconds_ratio == pytest.approx(1.5)
    assert not verdict.is_accurate and verdict.is_likely and verdict.is_fast


@pytest.mark.parametrize(
    ("accuracy", "nll", "seconds", "held"),
    [
        (0.89, 1.05, 1.5, (True, True, True)),
        (0.889, 1.05, 1.5, (False, True, True)),
        (0.95, 1.051, 1.5, (True, False, True)),
        (0.95, 0.5, 1.51, (True, True, False)),
        (0.95, None, 0.1, (True, False, True)),  # without probabilities the bar is missed
    ],
)
def test_limits(make, judged, accuracy, nll, seconds, held):
    verdict = judged([*make("sk-logistic", [0.9] * 3), *make("auto", [accuracy] * 3, nll, seconds)])
    assert (verdict.is_accurate, verdict.is_likely, verdict.is_fast) == held
    assert math.isnan(verdict.nll_ratio) == (nll is None)


def test_only_common_seeds_count(make, judged):
    rows = [*make("sk-logistic", [0.5, 0.5, 1.0]), *make("sk-knn", [0.9]), *make("auto", [0.5, 0.7])]
    verdict = judged(rows)
    # There is only one seed for neighbors, and logistic regression's third seed has no counterpart.
    assert verdict.best == "sk-logistic" and verdict.difference.n_seeds == 2
    assert verdict.difference.mean == pytest.approx(0.1)
    assert judged(rows, "mlp") is None and judged(make("auto", [0.5])) is None


def test_the_fastest_of_equally_accurate_models_is_the_best(make, judged):
    models = [("sk-logistic", 2.0), ("sk-svc", 0.5), ("sk-knn", 1.0)]
    rows = [row for model, seconds in models for row in make(model, [0.1, 0.2, 0.6], seconds=seconds)]
    assert judged([*rows, *make("auto", [0.3] * 3)]).best == "sk-svc"


def test_tables_mark_values_that_miss_the_bar(models_study, make):
    rows = [
        *make("sk-logistic", [0.9, 0.9]), *make("auto", [0.92, 0.94], 1.2, 1.0), *make("mlp", [0.9, 0.9], 1.0, 1.0),
        *make("sk-logistic", [0.8, 0.8], per_class=1), *make("auto", [0.7, 0.7], 1.0, 2.0, per_class=1),
        *make("sk-logistic", [0.1], dataset="iris"), *make("auto", [0.5], dataset="iris", part="dev"),
    ]  # fmt: skip
    text = models_study.tables.render(models_study.bar.cases_of(rows, "test"), "auto")
    lines = text.splitlines()
    assert "| wine | 1 | `sk-logistic` | 80.0 | 70.0 | -10.0 (-10.0 … -10.0) ✗ | 1.00 | 2 ✗ | 2 |" in lines
    assert "| wine | 3 | `sk-logistic` | 90.0 | 93.0 | +3.0 (+2.0 … +4.0) | 1.20 ✗ | 1 | 1 |" in lines
    assert "| `auto` | 2 | 1 | 1 | 1 | 0 | -3.50 | -10.00 |" in lines
    assert "| `mlp` | 1 | 1 | 1 | 1 | 1 | +0.00 | +0.00 |" in lines
    accuracies = text.partition("## Accuracy of all models")[2].splitlines()
    assert [line for line in accuracies if line.startswith("| ")][2:] == [
        "| iris | 3 | **10.0** |  |  |", "| wine | 1 | **80.0** | 70.0 |  |", "| wine | 3 | 90.0 | **93.0** | 90.0 |",
    ]  # fmt: skip


def test_tables_from_a_file(models_study, make, tmp_path, capsys):
    path = tmp_path / "rows.csv"
    models_study.rows.append_rows(path, make("sk-svc", [0.5], nll=None))
    models_study.rows.append_rows(path, make("auto", [0.25]))
    assert [row.nll for row in models_study.rows.read_rows(path)] == [None, 1.0]
    models_study.tables.main(["--rows", str(path)])
    shown = capsys.readouterr().out
    models_study.tables.main(["--rows", str(path), "--out", str(tmp_path / "tables.md")])
    assert (tmp_path / "tables.md").read_text() == shown and "-25.0 (-25.0 … -25.0) ✗ | - | - | " in shown
    with pytest.raises(SystemExit, match=r"run\.py first"):
        models_study.tables.main(["--rows", str(path), "--part", "dev"])
