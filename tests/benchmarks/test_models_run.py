import sys
from pathlib import Path

import pytest

KNN = ["--models", "sk-knn", "linear", "cnn", "--set", "recipe.epochs=1", "--set", "recipe.min_steps=1"]
LINEAR = "linear recipe.epochs=1 recipe.min_steps=1"


@pytest.fixture
def call(models_study, tmp_path):
    """Return a function that runs the benchmark on iris and returns its exit status and all its rows."""

    def run(*arguments, sizes="1,3", seeds=2):
        given = ["--part", "dev", "--datasets", "iris", "--sizes", sizes, "--seeds", str(seeds)]
        status = models_study.run.main(["--out", str(tmp_path / "rows.csv"), *given, *arguments])
        return status, models_study.rows.read_rows(tmp_path / "rows.csv")

    run.out = tmp_path / "rows.csv"
    return run


def keys(rows):
    return [(row.per_class, row.model, row.seed) for row in rows]


def test_repeating_continues(call, capsys):
    status, rows = call(*KNN, sizes="1")
    assert status == 0 and keys(rows) == [(1, model, seed) for model in ("sk-knn", LINEAR) for seed in range(2)]
    assert all(0 < row.accuracy <= 1 and row.nll > 0 and row.seconds > 0 for row in rows)
    assert "about 0 min left" in capsys.readouterr().err
    status, more = call(*KNN, sizes="1,3", seeds=3)
    assert status == 0 and more[:4] == rows
    assert keys(more[4:]) == [
        *[(1, model, 2) for model in ("sk-knn", LINEAR)],
        *[(3, model, seed) for model in ("sk-knn", LINEAR) for seed in range(3)],
    ]
    assert call(*KNN, sizes="1,3", seeds=3) == (0, more)
    assert "0 trainings to do" in capsys.readouterr().err
    assert f"| `{LINEAR}` |" in call.out.with_suffix(".md").read_text()
    assert sorted(path.name for path in call.out.parent.iterdir()) == ["rows.csv", "rows.md"]


def test_an_incomplete_line_of_a_killed_run_is_cut_off(call):
    _, rows = call("--models", "sk-knn")
    call.out.write_bytes(call.out.read_bytes()[:-5])
    _, again = call("--models", "sk-knn")
    assert [(*row.key, row.accuracy) for row in again] == [(*row.key, row.accuracy) for row in rows]


def test_the_later_row_counts(call, models_study):
    _, (row,) = call("--models", "sk-knn", sizes="1", seeds=1)
    _, again = call("--models", "sk-knn", "--again", sizes="1", seeds=1)
    assert len(again) == 1 and again[0].accuracy == row.accuracy
    assert len(call.out.read_text().splitlines()) == 3


def test_a_failure_does_not_stop_the_others(call, capsys):
    status, rows = call("--models", "no-such-model", "sk-knn", sizes="1")
    assert status == 1 and keys(rows) == [(1, "sk-knn", 0), (1, "sk-knn", 1)]
    assert "failed: iris 1 no-such-model: " in capsys.readouterr().err


def test_wrong_use(call, capsys):
    for arguments, message in ((["--datasets", "irsi"], "choose from iris"), (["--set", "lr"], "not NAME=VALUE")):
        with pytest.raises(SystemExit):
            call(*arguments)
        assert message in capsys.readouterr().err


def test_remaining_time_is_estimated_by_the_models_own_trainings(models_study):
    run, model = models_study.run, models_study.measure.Model
    slow, fast, other = (
        run.Group("dev", "iris", size, model(name), (0, 1), Path(), Path())
        for size, name in ((1, "a"), (1, "b"), (3, "c"))
    )
    again = run.Group("dev", "wine", 3, model("a"), (0, 1, 2), Path(), Path())
    progress = run.Progress([slow, fast, other, again], 2)
    progress.show(slow, [], "failed", 8.0)
    progress.show(fast, [], "failed", 4.0)
    # Two trainings at the mean of 3 s, three at 4 s, in two processes.
    assert progress.remaining() == pytest.approx((2 * 3 + 3 * 4) / 2)


def test_a_process_gives_the_same_numbers(call, models_study, monkeypatch):
    _, (row,) = call("--models", "sk-knn", sizes="1", seeds=1)
    call.out.unlink()
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # which run.py sets and leaves
    # Arguments and results are pickled by their modules' names.
    monkeypatch.syspath_prepend(str(Path(models_study.run.__file__).parent))
    for name, module in vars(models_study).items():
        monkeypatch.setitem(sys.modules, name, module)
    status, (other,) = call("--models", "sk-knn", "--jobs", "2", sizes="1", seeds=1)
    assert status == 0 and (other.key, other.accuracy, other.nll) == (row.key, row.accuracy, row.nll)
