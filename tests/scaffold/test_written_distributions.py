"""Distributions written by `deepal new-plugin`, installed and used unchanged, in separate processes."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import deepal_autoal
from deepal_autoal.plugins.hookspecs import CONTRACT_VERSION
from deepal_autoal.scaffold.naming import PluginName
from deepal_autoal.scaffold.rendering import KINDS, render
from deepal_autoal.scaffold.writing import write_folder
from tests.several_commands import COMMANDS

pytestmark = pytest.mark.slow

ROOT = Path(deepal_autoal.__file__).resolve().parents[1]
# Names that exercise the conversion to distribution, module and class names.
NAMES = {kind: f"my-{kind}_2" for kind in KINDS}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder with one distribution of each kind."""
    folder = tmp_path_factory.mktemp("written")
    for kind, name in NAMES.items():
        write_folder(folder / name, render(PluginName(name), kind))
    return folder


@pytest.fixture(scope="module")
def site(written, tmp_path_factory):
    """A folder of packages in which all of them are installed."""
    site, wheels = tmp_path_factory.mktemp("site"), tmp_path_factory.mktemp("wheels")
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(wheels)!r})"
    for folder in written.iterdir():
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, capture_output=True)
    for wheel in wheels.glob("*.whl"):
        zipfile.ZipFile(wheel).extractall(site)  # all that pip does with a pure wheel, without needing pip
    return site


@pytest.fixture
def call(site, tmp_path):
    """Return a function that calls Python with them installed and returns its output."""
    environment = {**os.environ, "PYTHONPATH": str(site), "OMP_NUM_THREADS": "1"}

    def call(*arguments, cwd=tmp_path):
        command = [sys.executable, *map(str, arguments)]
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


@pytest.fixture
def deepal(call):
    """Return a function that runs commands of `deepal` and returns their outputs."""

    def deepal(*commands):
        answers = json.loads(call("-c", COMMANDS, json.dumps(commands)))
        assert [status for status, _ in answers] == [0] * len(commands), answers
        return [out for _, out in answers]

    return deepal


def test_templates_are_filled_in(written):
    paths = [path for path in written.rglob("*") if path.is_file()]
    assert len(paths) == 7 * len(KINDS)
    for path in paths:
        assert "$" not in path.read_text() and "TheStrategyClass" not in path.read_text(), path


@pytest.mark.parametrize("command", [["check"], ["format", "--check", "--diff"]], ids=" ".join)
def test_ruff(written, command):
    done = subprocess.run([sys.executable, "-m", "ruff", *command, "--no-cache", "."], cwd=written, capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_mypy(site, written, mypy_cache):
    files = [*site.glob("deepal_*/*.py"), *written.glob("*/tests/*.py")]
    assert len(files) == 3 * len(KINDS)
    # mypy does not see editable installations; without `--follow-imports=silent` it would report their errors too.
    environment = {**os.environ, "MYPYPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    options = ["--strict", "--follow-imports=silent", "--cache-dir", str(mypy_cache)]
    command = [sys.executable, "-m", "mypy", *options, *map(str, files)]
    done = subprocess.run(command, cwd=site, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_installed(site):
    for name in NAMES.values():
        package = PluginName(name).package
        assert (site / package / "py.typed").exists()
        assert f"deepal_contract = {CONTRACT_VERSION}\n" in (site / package / "__init__.py").read_text()
    assert not (site / "tests").exists()


def test_listing_imports_nothing_heavy(call):
    code = (
        "import json, sys\nfrom deepal_autoal import plugin_host\n"
        "found = [entry.describe() for entry in plugin_host().strategies.entries() if not entry.provider.builtin]\n"
        "problems = [record.problems for record in plugin_host().records if record.problems]\n"
        "print(json.dumps([found, problems, sorted({'torch', 'numpy'} & set(sys.modules))]))"
    )
    found, problems, heavy = json.loads(call("-c", code))
    assert {(row["name"], row["distribution"]) for row in found} >= {(n, f"deepal-{n}") for n in NAMES.values()}
    assert not problems and not heavy
    assert all(row["summary"] and row["family"] and row["time"] and row["memory"] for row in found)


def test_check_passes(deepal):
    # All checks for the kind that differs most from the built-in strategies; two checks for all kinds are below.
    (out,) = deepal(["check", NAMES["training"], "--json"])
    report = json.loads(out)
    notes = {row["name"]: row.get("note") for row in report["checks"]}
    assert report["name"] == NAMES["training"] and report["ok"] and not report["failed"]
    assert not notes["needs-are-declared"], notes
    # On a slow machine only part of the query is observed.
    assert notes["memory-is-within-its-class"].removeprefix("seen the first 3 s of a query on ") in (
        "", "2500 candidates only",
    ), notes  # fmt: skip


def test_written_tests_pass(call, written):
    # Two of the checks that `deepal check` runs; all kinds in one process, as importing torch takes seconds.
    chosen = "batch-is-exact or card-is-true"
    tests = [written / name / "tests" for name in NAMES.values()]
    out = call("-m", "pytest", "-v", "-p", "no:cacheprovider", "--import-mode=importlib", "-k", chosen, *tests)
    for name in NAMES.values():
        file = f"test_{name.replace('-', '_')}.py::test_conformance"
        assert all(f"{file}[{check}] PASSED" in out for check in ("batch-is-exact", "card-is-true")), out


def test_run(deepal, tmp_path):
    quick = ["--pool-size", "80", "--initial", "20", "--batch-size", "5", "--rounds", "2", "--epochs", "1",
             "--model", "linear", "--threads", "1", "--quiet"]  # fmt: skip
    deepal(
        ["run", "--strategy", "autoal", "--candidates", f"{NAMES['scoring']},{NAMES['network']}", *quick, "--out", "a"],
        ["run", "--strategy", NAMES["network"], "-o", "epochs=2", *quick, "--out", "network"],
        ["run", "--strategy", NAMES["training"], *quick, "--out", "training"],
        ["run", "--strategy", NAMES["selector"], "--candidates", f"entropy,{NAMES['batch']}", *quick, "--out", "s"],
    )

    def read(folder):
        lines = (tmp_path / folder / "rounds.jsonl").read_text().splitlines()
        config = json.loads((tmp_path / folder / "config.json").read_text())
        return config["strategy"], [json.loads(line)["strategy"] for line in lines[:-1]]

    strategy, reports = read("a")
    assert [row["distribution"] for row in strategy["candidates"]] == ["deepal-my-scoring_2", "deepal-my-network_2"]
    assert all(set(report["weights"]) == {NAMES["scoring"], NAMES["network"]} for report in reports)
    strategy, reports = read("network")
    assert strategy["options"]["epochs"] == 2 and all(0 < report["loss"] < 2 for report in reports)
    strategy, reports = read("training")
    assert strategy["changes_training"] and strategy["options"] == {"smoothing": 0.1}
    strategy, reports = read("s")
    assert [report["turns"] for report in reports] == [{"entropy": 3, NAMES["batch"]: 2}] * 2
