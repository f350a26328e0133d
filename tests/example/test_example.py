"""plugins/example as its users see it: built, installed, listed, run, checked, and absent when not installed."""

import ast
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

import deepal_autoal
import deepal_autoal.testing
from tests.several_commands import COMMANDS

pytestmark = pytest.mark.slow

SOURCE = Path(__file__).resolve().parents[2] / "plugins" / "example"
MODULES = sorted((SOURCE / "deepal_lowbudget").glob("*.py"))
NAMES = {"strategies": "kernel-herding", "datasets": "breast-cancer", "models": "rff"}
QUICK = ["--dataset", "breast-cancer", "--model", "rff", "--initial", "12", "--batch-size", "6", "--rounds", "1",
         "--epochs", "1", "--min-steps", "5", "--threads", "1", "--quiet"]  # fmt: skip


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The distribution's folder, where building may leave files."""
    folder = tmp_path_factory.mktemp("copy") / "example"
    shutil.copytree(SOURCE, folder, ignore=shutil.ignore_patterns("__pycache__", "build", "*.egg-info", ".*"))
    return folder


@pytest.fixture(scope="module")
def site(copy, tmp_path_factory):
    """A folder of packages in which it is installed."""
    site = tmp_path_factory.mktemp("site")
    if importlib.util.find_spec("pip") is not None:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
                   "--disable-pip-version-check", "--target", str(site), str(copy)]  # fmt: skip
        subprocess.run(command, check=True, capture_output=True)
    else:  # all that pip does with a pure wheel
        code = "from setuptools import build_meta; build_meta.build_wheel('.')"
        subprocess.run([sys.executable, "-c", code], cwd=copy, check=True, capture_output=True)
        (wheel,) = copy.glob("*.whl")
        zipfile.ZipFile(wheel).extractall(site)
    return site


@pytest.fixture(scope="module")
def version(site):
    (distribution,) = metadata.distributions(path=[str(site)])
    assert distribution.metadata["Name"] == "deepal-lowbudget"
    return distribution.version


@pytest.fixture(scope="module")
def python(site, tmp_path_factory):
    """Return a function that calls Python, with the distribution on the path or without, and returns its output."""

    def python(*arguments, installed=True, cwd=None):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(site) if installed else ""}
        command = [sys.executable, *map(str, arguments)]
        folder = cwd or tmp_path_factory.mktemp("empty")
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return python


@pytest.fixture
def deepal(python):
    """Return a function that runs a command of `deepal` and returns its output."""
    return lambda *arguments, **settings: python("-m", "deepal_autoal", *arguments, **settings)


@pytest.fixture(scope="module")
def finished(python, tmp_path_factory):
    """A folder with the run folders ``alone`` and ``candidate``, and ``check.json``."""
    folder = tmp_path_factory.mktemp("finished")
    selector = [
        "--strategy",
        "autoal",
        "--candidates",
        "kernel-herding,margin",
        "-o",
        "kernel-herding.labeled_weight=0.5",
    ]
    commands = [
        ["run", "--strategy", "kernel-herding", *QUICK, "--out", str(folder / "alone")],
        ["run", *selector, *QUICK, "--out", str(folder / "candidate")],
        ["check", "kernel-herding", "--json"],
    ]
    answers = json.loads(python("-c", COMMANDS, json.dumps(commands)))
    assert [status for status, _ in answers] == [0, 0, 0], answers
    (folder / "check.json").write_text(answers[2][1])
    return folder


def read_run(folder):
    rounds = [json.loads(line) for line in (folder / "rounds.jsonl").read_text().splitlines()]
    return json.loads((folder / "config.json").read_text()), rounds


def test_wheel_contains_only_the_package(site):
    info = next(path.name for path in site.iterdir() if path.name.endswith(".dist-info"))
    assert {path.name for path in site.iterdir()} == {"deepal_lowbudget", info}
    wanted = {path.name for path in MODULES} | {"py.typed"}
    assert wanted <= {path.name for path in (site / "deepal_lowbudget").iterdir()}


@pytest.mark.parametrize("kind", NAMES)
def test_listings_show_the_distribution(deepal, version, kind):
    rows = {row["name"]: row for row in json.loads(deepal(kind, "--json"))}
    row = rows[NAMES[kind]]
    assert row["distribution"] == "deepal-lowbudget" and row["version"] == version
    assert row["summary"] and row["reference"]


def test_plugins_command_shows_everything(deepal, version):
    plugins = {plugin["name"]: plugin for plugin in json.loads(deepal("plugins", "--json"))}
    ours = plugins["deepal-lowbudget"]
    assert ours["version"] == version and ours["state"] == "loaded" and ours["problems"] == []
    assert {*ours["provides"]} == {"strategy kernel-herding", "dataset breast-cancer", "model rff"}


def test_not_listed_when_not_installed(deepal, site):
    try:
        metadata.distribution("deepal-lowbudget")
    except metadata.PackageNotFoundError:
        pass
    else:
        pytest.skip("it is installed in this environment")
    for kind, name in NAMES.items():
        assert name not in {row["name"] for row in json.loads(deepal(kind, "--json", installed=False))}
    listed = {plugin["name"] for plugin in json.loads(deepal("plugins", "--json", installed=False))}
    assert "deepal_autoal" in listed and "deepal-lowbudget" not in listed


def test_registration_imports_nothing_heavy(python):
    code = (
        "import sys; from deepal_autoal import plugin_host; assert 'kernel-herding' in plugin_host().strategies;"
        "print({'torch', 'numpy', 'sklearn', 'scipy'} & set(sys.modules))"
    )
    assert python("-c", code).strip() == "set()"


def test_run_records_the_version(finished, version):
    config, rounds = read_run(finished / "alone")
    assert config["plugins"]["deepal-lowbudget"] == version
    assert config["strategy"]["distribution"] == "deepal-lowbudget" and config["strategy"]["version"] == version
    assert config["dataset"]["n_train"] == 369 and config["model"]["name"] == "rff"
    assert len(rounds) == 2 and len(set(rounds[0]["queried"])) == 6
    report = rounds[0]["strategy"]
    assert 0 < report["discrepancy_after"] < report["discrepancy_before"] < 2


def test_autoal_uses_it_as_candidate(finished, version):
    config, rounds = read_run(finished / "candidate")
    assert config["plugins"]["deepal-lowbudget"] == version
    candidate = config["strategy"]["candidates"][0]
    assert candidate["name"] == "kernel-herding" and candidate["options"]["labeled_weight"] == 0.5
    assert set(rounds[0]["strategy"]["weights"]) == {"kernel-herding", "margin"} and len(rounds[0]["queried"]) == 6


def test_conformance_checks_pass(finished, version):
    report = json.loads((finished / "check.json").read_text())
    assert report["ok"] and report["origin"] == f"deepal-lowbudget {version}" and report["passed"] > 20


def test_own_tests_pass_where_installed(python, copy, tmp_path):
    # Only the tests: next to the package they would test the checkout, not the installed package.
    shutil.copytree(copy / "tests", tmp_path / "tests")
    # The fixture `finished` has run the checks of kernel herding with its defaults.
    out = python(
        "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not test_kernel_herding[", "tests", cwd=tmp_path
    )
    assert re.search(r"\d+ passed", out) and not re.search("failed|error", out), out


def test_example_imports_public_names_only():
    public = {"deepal_autoal": set(deepal_autoal.__all__), "deepal_autoal.testing": set(deepal_autoal.testing.__all__)}
    for path in [*MODULES, *(SOURCE / "tests").glob("*.py"), SOURCE / "study.py"]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                assert not [alias.name for alias in node.names if alias.name.startswith("deepal_autoal")], path
                assert not [alias.name for alias in node.names if alias.name.startswith("deepal_strategies")], path
            elif isinstance(node, ast.ImportFrom) and str(node.module).startswith(("deepal_autoal", "deepal_str")):
                assert {alias.name for alias in node.names} <= public[str(node.module)], f"{path}: {node.module}"


def test_readme_names_everything_registered():
    text = (SOURCE / "README.md").read_text()
    assert all(f"`{name}`" in text for name in NAMES.values())
