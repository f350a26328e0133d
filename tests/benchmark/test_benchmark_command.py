"""``deepal benchmark``: its output, exit statuses and progress."""

import io
import subprocess
import sys

import pytest

import deepal_autoal.cli.benchmark as command
from deepal_autoal import hookimpl, plugin_host
from deepal_autoal.errors import RunFolderError
from tests.benchmark.run_files import content, read_csv, read_json, runs_of

pytestmark = pytest.mark.slow

QUICK = ["--model", "linear", "--epochs", "2", "--min-steps", "4", "--initial", "10", "--batch-size", "5",
         "--rounds", "2", "--threads", "1"]  # fmt: skip


@pytest.fixture
def benchmark_and_report(deepal, blob_file):
    """Return a function that runs ``deepal benchmark`` on blobs."""
    return lambda *arguments: deepal("benchmark", "--datasets", blob_file, *QUICK, *arguments)


@pytest.fixture
def benchmark(benchmark_and_report, monkeypatch):
    """The same without the report, whose figures take seconds."""
    monkeypatch.setattr("deepal_autoal.report.write_report", lambda out: out / "report.html")
    return benchmark_and_report


def test_lines_table_and_folder(benchmark_and_report, tmp_path, plugins):
    status, out, err = benchmark_and_report(
        "--strategies", "random,low=first[sign=-1],entropy", "--seeds", "2", "--out", "b"
    )
    assert status == 0, err
    lines = [line for line in err.splitlines() if not line.startswith("Warning")]
    assert lines[:2] == ["6 runs; folder b", "blobs: 3 classes (0 40, 1 40, 2 40)"]
    assert lines[2].startswith("estimate: about ") and len(lines) == 10
    assert lines[9].startswith("only 2 seeds")
    assert lines[4].startswith("run 2 of 6: low on blobs, seed 0: AUBC 0.") and lines[4].endswith(" s left")
    rows = [line.split() for line in out.splitlines()]
    assert rows[0][:4] == ["dataset", "strategy", "seeds", "AUBC"] and "time" in rows[0]
    summary = read_csv(tmp_path / "b" / "summary.csv")
    best_first = sorted(summary, key=lambda row: -float(row["aubc_mean"]))
    assert [row[1] for row in rows[2:5]] == [row["strategy"] for row in best_first]
    for shown, row in zip(rows[2:5], best_first, strict=True):
        assert shown[2] == "2" and shown[3:6] == [
            f"{float(row['aubc_mean']):.4f}", "±", f"{float(row['aubc_std']):.4f}"]  # fmt: skip
    assert out.splitlines()[-2:] == ["Benchmark folder: b", "Report: b/report.html"]
    page = (tmp_path / "b/report.html").read_text()
    assert page.startswith("<!DOCTYPE html>") and all(f">{name}<" in page for name in ("low", "entropy", "random"))
    assert runs_of(tmp_path / "b")[0] == "blobs/entropy/seed-0"
    settings = read_json(tmp_path / "b/blobs/low/seed-1/config.json")
    assert settings["command"][:2] == ["deepal", "benchmark"] and settings["strategy"]["options"]["sign"] == -1
    assert settings["recipe"]["min_steps"] == 4 and settings["recipe"]["epochs"] == 2


@pytest.fixture
def no_report(benchmark, monkeypatch):
    """Make the report fail."""

    def fail(out):
        raise RunFolderError("no room for a page")

    monkeypatch.setattr("deepal_autoal.report.write_report", fail)


def test_a_failing_report_prints_a_message_and_harms_nothing(benchmark, tmp_path, no_report):
    status, out, err = benchmark("--strategies", "random", "--seeds", "1", "--out", "b")
    assert status == 0 and out.splitlines()[-1] == "Benchmark folder: b"
    assert err.splitlines()[-1] == "No report: no room for a page" and (tmp_path / "b/results.csv").exists()


def test_the_same_command_finds_its_runs_again_without_out(benchmark, tmp_path):
    assert benchmark("--strategies", "random", "--seeds", "1")[0] == 0
    out = tmp_path / "runs" / "benchmark"
    before = content(out / "blobs/random/seed-0")
    status, out_text, err = benchmark("--strategies", "random", "--seeds", "2,0")
    assert status == 0 and "2 runs, 1 finished already" in err and "run 2 of 2: random on blobs, seed 2" in err
    assert content(out / "blobs/random/seed-0") == before and runs_of(out)[1] == "blobs/random/seed-2"
    assert "±" in out_text


def test_quiet(benchmark, plugins):
    status, out, err = benchmark("--strategies", "random", "--seeds", "1", "--out", "b", "--quiet")
    assert (status, out, err) == (0, "b\n", "") or "Warning" in err
    status, out, err = benchmark("--strategies", "random,broken", "--seeds", "1", "--out", "b", "--quiet")
    assert status == 1 and out == "b\n" and "nothing to divide by" in err


def test_one_seed_shows_no_spread(benchmark):
    _, out, _ = benchmark("--strategies", "random", "--seeds", "1", "--out", "b")
    assert "±" not in out and " to " not in out


def test_failing_runs_are_status_1_with_their_reason(benchmark, tmp_path, plugins):
    status, out, err = benchmark("--strategies", "broken,random", "--seeds", "1", "--out", "b")
    assert status == 1 and "random" in out and "Traceback" not in err
    assert "run 1 of 2: broken on blobs, seed 0: failed: strategy 'broken'" in err
    assert "ZeroDivisionError: nothing to divide by" in err and "run 2 of 2: random" in err
    assert "1 of 2 runs failed: broken on blobs, seed 0." in err
    assert "Traceback" in benchmark("--strategies", "broken", "--seeds", "1", "--out", "b", "--verbose")[2]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--strategies", "entrpy"], "Did you mean 'entropy'"),
        (["--strategies", "random,../x=margin"], "not a safe folder name"),
        (["--strategies", "random", "--seeds", "0"], "--seeds 0"),
        (["--strategies", "random", "--datasets", "digts"], "Did you mean 'digits'"),
        (["--strategies", "random", "--rounds", "100"], "at most --rounds 22"),
        (["--strategies", "random", "--candidates", "margin"], "takes candidates"),
        (["--strategies", "random", "--jobs", "0"], "--jobs 0"),
        (["--strategies", "random", "--models", "lineer"], "Did you mean 'linear'"),
        (["--strategies", "random", "--models", "linear", "--model", "mlp"], "--model and --models"),
        (["--strategies", "random", "--protocols", "deepal+/cifar"], "deepal+/cifar10"),
        ([], "no strategies"),
    ],
)
def test_wrong_use_is_status_2_and_one_line(benchmark, tmp_path, arguments, message):
    status, out, err = benchmark("--out", "b", *arguments)
    assert status == 2 and out == "" and len(err.splitlines()) == 1 and err.startswith("Error: ")
    assert message in err and not (tmp_path / "b").exists()


def test_other_settings_are_one_line(benchmark):
    assert benchmark("--strategies", "random", "--seeds", "2", "--out", "b")[0] == 0
    status, _, err = benchmark("--strategies", "random", "--seeds", "3", "--out", "b", "--rounds", "1")
    assert status == 2 and "rounds was 2 and is now 1" in err and len(err.splitlines()) == 1


def test_interrupt_names_the_command_that_continues(benchmark, tmp_path, monkeypatch, blob_file):
    def interrupt(self, run, record):
        if run.strategy == "margin" and record["round"] == 1:
            raise KeyboardInterrupt

    monkeypatch.setattr(command._Display, "round", interrupt)
    status, out, err = benchmark("--strategies", "random,v=vote[power=3],margin", "--seeds", "1")
    assert status == 130 and out == ""
    advice = err.splitlines()[-1]
    assert f"deepal benchmark --datasets {blob_file}" in advice and "'random,v=vote[power=3],margin'" in advice
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    status, _, err = benchmark("--strategies", "random,v=vote[power=3],margin", "--seeds", "1")
    assert status == 0 and "3 runs, 2 finished already" in err


def test_settings_from_a_file(deepal, tmp_path, blob_file):
    (tmp_path / "study.toml").write_text(
        f'strategies = ["random", "v=vote[power=3]"]\ndatasets = ["{blob_file}"]\nseeds = [3]\n'
        'candidates = ["entropy", "margin"]\nmodel = "linear"\nepochs = 2\nmin-steps = 4\ninitial = 10\n'
        "batch-size = 5\nrounds = 3\nthreads = 1\n"
    )
    status, _, err = deepal("benchmark", "--config", "study.toml", "--rounds", "1", "--out", "b")
    assert status == 0, err
    assert runs_of(tmp_path / "b") == ["blobs/random/seed-3", "blobs/v/seed-3"]
    config = read_json(tmp_path / "b/blobs/v/seed-3/config.json")
    assert config["rounds"] == 1 and config["strategy"]["options"]["power"] == 3
    assert [candidate["name"] for candidate in config["strategy"]["candidates"]] == ["entropy", "margin"]
    (tmp_path / "study.toml").write_text("[options]\npower = 3\n")
    status, _, err = deepal("benchmark", "--config", "study.toml", "--strategies", "vote", "--out", "c")
    assert status == 2 and "LABEL=NAME[KEY=VALUE" in err


def test_plugin_options_apply_to_all_runs(benchmark, tmp_path):
    status, _, err = benchmark("--strategies", "random", "--seeds", "2", "--out", "b", "--target-accuracy", "0.01")
    assert status == 0, err
    assert [row["round"] for row in read_csv(tmp_path / "b" / "results.csv")] == ["0", "0"]
    status, _, err = benchmark("--strategies", "random", "--seeds", "2", "--out", "c", "--target-accuracy", "many")
    assert status == 2 and "--target-accuracy many" in err and not (tmp_path / "c").exists()


def test_a_warning_repeated_by_runs_is_shown_once(benchmark, caplog):
    class Grumbler:
        @hookimpl
        def deepal_run_finished(self, run):
            raise OSError("the printer is on fire")

    plugin = Grumbler()
    plugin_host().register(plugin, "grumbler")
    try:
        _, _, err = benchmark("--strategies", "random,margin", "--seeds", "2", "--out", "b")
    finally:
        plugin_host().unregister(plugin)
    assert err.count("the printer is on fire") == 1


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_shows_one_bar_and_failures(benchmark, monkeypatch, plugins):
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    show, places = command._Display.run, []

    def look(self, outcome):
        show(self, outcome)
        places.append(self._bar.n)

    monkeypatch.setattr(command._Display, "run", look)
    status, out, _ = benchmark("--strategies", "random,broken", "--seeds", "2", "--out", "b")
    shown = terminal.getvalue()
    assert status == 1 and "random on blobs, seed 1: query" in shown and "random on blobs, seed 0: train" in shown
    positions = [shown.index(f"run {number} of 4") for number in (1, 2, 3, 4)]
    assert positions == sorted(positions) and "run 5 of 4" not in shown
    assert places == pytest.approx([1, 2, 3, 4])  # failed runs too
    assert "broken on blobs, seed 0: failed: " in shown and "AUBC" not in shown and "AUBC" in out


def test_help_imports_nothing_heavy():
    code = (
        "import sys\nfrom deepal_autoal.cli.main import main\ntry:\n    main(['benchmark', '--help'])\n"
        "except SystemExit:\n"
        "    print({'torch', 'numpy', 'sklearn', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()" and "--strategies" in done.stdout
