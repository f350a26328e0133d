"""Paths with ``~``, files of settings in any encoding, missing or full streams, and values that fit nowhere."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deepal_autoal import ActiveLearner, create_strategy, load_model, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.benchmark.notation import MOST_SEEDS, read_seeds
from deepal_autoal.datasets import data_folder
from deepal_autoal.datasets.files.array_cache import cache_folder
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.results import read_results
from deepal_autoal.user_paths import user_path

QUICK = ["--model", "linear", "--epochs", "1", "--min-steps", "1", "--rounds", "1", "--initial", "12",
         "--batch-size", "6", "--threads", "1", "--quiet"]  # fmt: skip
SHORT = {"model": "linear", "epochs": 1, "min_steps": 1, "rounds": 1, "initial": 12, "batch_size": 6, "threads": 1}


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A home folder beside the working folder, in which no file called ``~`` may appear."""
    here, there = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    there.mkdir()
    monkeypatch.setenv("HOME", str(there))
    monkeypatch.setenv("USERPROFILE", str(there))
    monkeypatch.chdir(here)
    yield there
    assert not list(here.rglob("~*"))


@pytest.fixture
def elsewhere(deepal, home, monkeypatch):
    """The command line, run beside the home folder."""
    monkeypatch.chdir(home.parent / "here")
    return deepal


def assert_one_line(status, err, *parts):
    lines = err.splitlines()
    assert status == 2 and len(lines) == 1 and lines[0].startswith("Error: "), err
    assert all(part in lines[0] for part in parts), err


def test_a_path_is_expanded_as_a_shell_would(home):
    assert user_path("~/r", "--out") == home / "r" and user_path(Path("~"), "--out") == home
    assert user_path("./~/r", "--out") == Path("~/r") and user_path("a~b", "--out") == Path("a~b")
    Path("~x").mkdir()
    assert user_path("~x", "--out") == Path("~x")  # as a shell leaves it
    Path("~x").rmdir()


@pytest.mark.parametrize(
    "written, message",
    [
        ("", "--out is empty"),
        ("  ", "--out is empty"),
        ("a\0b", "null character"),
        ("~no-such-user/x", "~no-such-user is no user's home folder here; for a name that begins so write ./~no-such"),
        ("x/" + "é" * 128, "255 bytes at most"),
        ("x/" * 3000, "too long, with 6000 characters"),
        ("\ud800", "no file system holds"),
        (b"x", "must be a path, not b'x'"),
        (5, "must be a path, not 5"),
        (None, "must be a path, not None"),
    ],
)
def test_what_is_no_path(written, message):
    with pytest.raises(InputError, match=message):
        user_path(written, "--out")


def test_home_in_every_path_of_the_command_line(elsewhere, home, blob_file):
    blob_file.rename(home / "v.npz")
    Path("c.toml").write_text('out = "~/r2"\ndata-dir = "~/named"\n')
    (home / "c.toml").write_bytes(Path("c.toml").read_bytes().replace(b"r2", b"r3"))
    data = ["--dataset", "~/v.npz"]
    assert elsewhere("run", *data, "--out", "~/r1", *QUICK)[1].strip() == str(home / "r1")
    assert elsewhere("run", *data, "--config", "c.toml", *QUICK)[1].strip() == str(home / "r2")
    assert elsewhere("run", *data, "--config", "~/c.toml", *QUICK)[1].strip() == str(home / "r3")
    settings = json.loads((home / "r3" / "config.json").read_text())["settings"]
    assert settings["dataset"] == str(home / "v.npz") and settings["data_dir"] == str(home / "named")
    assert elsewhere("run", "--resume", "--out", "~/r1", "--quiet")[0] == 0
    status, out, _ = elsewhere(
        "benchmark", "--strategies", "random", "--datasets", "~/v.npz", "--seeds", "1", "--out", "~/b", *QUICK
    )
    assert status == 0 and out.strip() == str(home / "b") and (home / "b/v/random/seed-0/summary.json").exists()
    assert elsewhere("embed", *data, "--model", "~/r1", "--out", "~/e.npz", "--quiet")[1].strip() == str(home / "e.npz")
    status, out, err = elsewhere("report", "~/b", "--format", "csv", "--out", "~/tables", "--quiet")
    assert status == 0 and out.strip() == str(home / "tables"), err
    status, out, err = elsewhere("new-plugin", "mine", "--out", "~/plugin")
    assert status == 0 and f"Created {home / 'plugin'}" in out and (home / "plugin" / "pyproject.toml").exists()


def test_home_in_python_and_the_environment(home, blob_file, blob_data, monkeypatch):
    blob_file.rename(home / "v.npz")
    assert run("random", "~/v.npz", out="~/r", **SHORT).folder == home / "r"
    assert run(out="~/r", resume=True).folder == home / "r"
    assert load_model("~/r").predict(blob_data.x_test[:3]).shape == (3,)
    assert len(read_results("~/r").runs) == 1
    run_benchmark("random", Path("~/v.npz"), 1, "~/b", **SHORT)
    assert (home / "b/v/random/seed-0/summary.json").exists()
    learner = ActiveLearner(blob_data.x_train, "random", 3, model="linear")
    learner.save("~/learner.pt")
    assert (home / "learner.pt").exists() and ActiveLearner.load("~/learner.pt", blob_data.x_train).n_classes == 3
    monkeypatch.setenv("DEEPAL_DATA", "~/data")
    monkeypatch.setenv("DEEPAL_CACHE", "~/cache")
    assert data_folder() == home / "data" and cache_folder() == home / "cache"
    monkeypatch.setenv("DEEPAL_CACHE", "~no-such-user/cache")
    with pytest.raises(InputError, match="DEEPAL_CACHE ~no-such-user/cache"):
        cache_folder()


def test_resuming_a_mistyped_folder_starts_nothing(deepal, blob_file, tmp_path):
    assert deepal("run", "--dataset", blob_file, "--out", "runs/margin-s0", *QUICK)[0] == 0
    nearest = f"there is no run in that folder; did you mean {Path('runs/margin-s0')}?"
    # A finished run is extended so: what to run is not said.
    for more in ((), ("--quiet",), ("--rounds", "20", "--threads", "1")):
        assert_one_line(*deepal("run", "--resume", "--out", "runs/margn-s0", *more)[::2], nearest, "--strategy NAME")
    (tmp_path / "empty").mkdir()
    assert_one_line(*deepal("run", "--resume", "--out", "empty")[::2], "there is no run in that folder; to start")
    with pytest.raises(RunFolderError, match="there is no run"):
        run(out=tmp_path / "deep" / "er", resume=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["blobs.npz", "empty", "runs"]
    assert not list((tmp_path / "empty").iterdir()) and len(list((tmp_path / "runs").iterdir())) == 1


def test_resuming_with_what_to_run_starts_it_and_says_so(deepal, blob_file, tmp_path):
    status, out, err = deepal("run", "--resume", "--dataset", blob_file, "--out", "new", *QUICK)
    assert status == 0 and out == "new\n" and err == "--resume: there is no run in new yet; this is a new one\n"
    assert deepal("run", "--resume", "--dataset", blob_file, "--out", "new", *QUICK) == (0, "new\n", "")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_files_of_settings_in_every_encoding_of_unicode(deepal, blob_file, tmp_path, encoding):
    blob_file.rename(tmp_path / "größe.npz")
    (tmp_path / "c.toml").write_bytes('dataset = "größe.npz"\r\nout = "Läufe"\n# naïve\n'.encode(encoding))
    assert deepal("run", "--config", "c.toml", *QUICK)[:2] == (0, "Läufe\n")
    assert json.loads((tmp_path / "Läufe" / "config.json").read_text())["settings"]["dataset"].endswith("größe.npz")


@pytest.mark.parametrize(
    "content, message",
    [
        ("größe = 1".encode("latin-1"), "save it as UTF-8"),
        (b"strategy = " + b"[" * 5000 + b"]" * 5000, "nested too deeply"),
        (b"[options." + b"a." * 5000 + b"b]\nc = 1", "nested too deeply"),
        (b"rounds = 0x" + b"f" * 5000, "4300 digits"),
        (b'out = "a\\u0000b"', "null character"),
        (b'model = "a\\u001bb"', "unknown model"),
        (b'out = "' + b"x" * 300 + b'"', "255 bytes at most"),
        (b'dataset = "' + b"x" * 300 + b'"', "255 bytes at most"),
        (b'data-dir = "' + b"x" * 300 + b'"', "255 bytes at most"),
        (b'out = ""', "--out is empty"),
        (b"[options]\ncandidates = 'entropy'", "--candidates"),
    ],
)
def test_files_of_settings_that_cannot_be_used(deepal, content, message, tmp_path):
    (tmp_path / "c.toml").write_bytes(content)
    assert_one_line(*deepal("run", "--config", "c.toml")[::2], message)


def test_a_file_of_settings_is_a_file(deepal, tmp_path):
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        assert_one_line(*deepal("run", "--config", "pipe")[::2], "--config pipe is a pipe or device: give a file")
        assert_one_line(*deepal("run", "--dataset", "./pipe")[::2], "pipe is not a dataset")
    assert_one_line(*deepal("run", "--config", ".")[::2], "--config . is a folder: give a file")
    assert_one_line(*deepal("benchmark", "--strategies", "random", "--config", "")[::2], "--config is empty")


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["run", "--strategy", "vote", "-o", "candidates=entropy"], "as in --candidates entropy,margin"),
        (["run", "--strategy", "vote", "-o", "name=x"], "option of strategy 'vote': 'name'"),
        (["run", "--strategy", "vote", "-o", "oversample=" + "[" * 5000], "oversample: "),
        (["check", "vote", "-o", "candidates=entropy"], "as in --candidates entropy,margin"),
        (["check", "vote", "-o", "on_result=x"], "option of strategy 'vote': 'on_result'"),
        (["run", "--threads", "1000000000"], "--threads 1000000000: give at least 1, and 1024 at most"),
        (["benchmark", "--strategies", "random", "--threads", "1025"], "1024 at most"),
        (["benchmark", "--strategies", "vote[name=x]"], "option of strategy 'vote': 'name'"),
        (["benchmark", "--strategies", "vote" + "[" * 20_000], "vote["),
        (["benchmark", "--strategies", "random", "--seeds", "1000000000"], "10000 at most; for seed 1000000000"),
    ],
)  # fmt: skip
def test_values_that_no_setting_takes(deepal, arguments, message):
    assert_one_line(*deepal(*arguments)[::2], message)


def test_a_number_of_seeds_has_a_limit():
    assert len(read_seeds(MOST_SEEDS)) == MOST_SEEDS and read_seeds("1000000000,") == [10**9]
    with pytest.raises(InputError, match="at most"):
        read_seeds(MOST_SEEDS + 1)


def test_candidates_are_not_an_option_in_python(blob_data):
    for options in ({"candidates": ["entropy"]}, {1: 2}, [1]):
        with pytest.raises(InputError, match=r"give candidates of their own|options is .*such as"):
            run("vote", blob_data, options=options)
    assert list(create_strategy("vote", candidates=["entropy", "margin"], power=5).candidates) == [
        "entropy",
        "margin",
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "--dataset", "DATA"], ["benchmark", "--strategies", "random", "--datasets", "DATA", "--seeds", "1"],
    ],
)  # fmt: skip
def test_an_out_that_is_a_file(deepal, blob_file, tmp_path, arguments):
    (tmp_path / "file").write_text("mine")
    given = [blob_file if part == "DATA" else part for part in arguments]
    for out in ("file", "file/below"):
        status, _, err = deepal(*given, "--out", out, *QUICK)
        assert_one_line(status, err, f"cannot write to {out}: ", "file is not a folder; choose another --out")
    assert (tmp_path / "file").read_text() == "mine"


def shell(line, tmp_path, **environment):
    """Run a shell command in which ``$DEEPAL`` is the command line; return its status and standard error."""
    environment = {**os.environ, "DEEPAL": f"{sys.executable} -m deepal_autoal", **environment}
    done = subprocess.run(["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, timeout=120)
    return done.returncode, done.stderr.decode(errors="surrogateescape")


posix_only = pytest.mark.skipif(os.name != "posix", reason="a shell's redirections")


@posix_only
def test_a_run_without_standard_streams_is_complete(blob_file, tmp_path):
    line = f"$DEEPAL run --dataset {blob_file} --out run {' '.join(QUICK[:-1])} <&- >&- 2>&-"
    assert shell(line, tmp_path) == (0, "")
    files = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir() if path.suffix != ".pt"}
    assert "summary.json" in files and not [name for name, content in files.items() if b"AUBC" in content]


@posix_only
def test_a_folder_that_was_deleted(tmp_path):
    line = "mkdir gone && cd gone && rmdir ../gone && $DEEPAL run --out x"
    assert_one_line(*shell(line, tmp_path), "the current folder was deleted")


@posix_only
def test_listings_without_standard_output(tmp_path):
    assert shell("$DEEPAL strategies >&-", tmp_path) == (0, "")
    assert shell("$DEEPAL strategies --json | head -c 1", tmp_path) == (0, "")


@posix_only
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_streams_on_a_full_disk(blob_file, tmp_path):
    status, err = shell("$DEEPAL strategies > /dev/full", tmp_path)
    assert_one_line(status, err, "cannot write to standard output: No space left on device")
    assert shell("$DEEPAL strategy 2> /dev/full", tmp_path) == (2, "")
    line = f"$DEEPAL run --dataset {blob_file} --out run {' '.join(QUICK[:-1])} > out 2> /dev/full"
    assert shell(line, tmp_path) == (0, "") and "final accuracy" in (tmp_path / "out").read_text()


@posix_only
def test_names_beyond_ascii_under_an_ascii_locale(blob_file, tmp_path):
    """As in many containers and schedulers: Python then decodes files and names as ASCII."""
    blob_file.rename(tmp_path / "größe.npz")
    (tmp_path / "c.toml").write_text('dataset = "größe.npz"\nout = "Läufe"\n', encoding="utf-8-sig")
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    line = f"$DEEPAL run --config c.toml {' '.join(QUICK)} > out && cat Läufe/rounds.jsonl > rounds"
    assert shell(line, tmp_path, **ascii_only) == (0, "")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "Läufe\n" and (tmp_path / "rounds").stat().st_size
    assert_one_line(*shell("$DEEPAL strategies größe", tmp_path, **ascii_only), "unknown strategy")
    latin = {"PYTHONIOENCODING": "latin-1"}
    assert shell("$DEEPAL strategies > out && $DEEPAL protocols deepal+/cifar10 >> out", tmp_path, **latin) == (0, "")
