"""`deepal new-plugin`: names, folders and messages."""

import os
import subprocess
import sys

import pytest

from deepal_autoal import hookimpl, plugin_host
from deepal_autoal.isolation.blame import Provider
from deepal_autoal.plugins.host import PluginHost
from deepal_autoal.plugins.registry import Entry
from deepal_autoal.scaffold.naming import LONGEST_NAME, PluginName
from deepal_autoal.scaffold.rendering import KINDS, render

LONG = "a" * LONGEST_NAME


def refused(answer, folder):
    """Return the error line of a command that was refused and wrote nothing."""
    status, out, err = answer
    assert status == 2 and not out and err.startswith("Error: ") and len(err.splitlines()) == 1
    assert not list(folder.iterdir())
    return err


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_writes_files_and_prints_next_steps(new_plugin, tmp_path):
    status, out, err = new_plugin("my-gini_2")
    assert status == 0 and not err
    assert set(files_of(tmp_path / "my-gini_2")) == {
        "pyproject.toml",
        "README.md",
        ".gitignore",
        "deepal_my_gini_2/__init__.py",
        "deepal_my_gini_2/strategy.py",
        "deepal_my_gini_2/py.typed",
        "tests/test_my_gini_2.py",
    }
    assert [path.name for path in tmp_path.iterdir()] == ["my-gini_2"]
    lines = [line.strip() for line in out.splitlines()]
    assert lines[-3:] == [
        "pip install -e './my-gini_2[test]'",
        "deepal check my-gini_2",
        "deepal run --strategy my-gini_2",
    ]
    assert set(files_of(tmp_path / "my-gini_2")) < set(lines)


def test_out_is_the_folder(new_plugin, tmp_path):
    status, out, _ = new_plugin("mine", "--out", "not yet/there/x")
    assert status == 0 and (tmp_path / "not yet/there/x/deepal_mine/strategy.py").exists()
    assert "pip install -e 'not yet/there/x[test]'" in out and os.listdir(tmp_path) == ["not yet"]
    status, out, _ = new_plugin("mine", "--out", tmp_path / "y")
    assert (
        status == 0 and f"pip install -e '{tmp_path / 'y'}[test]'" in out and (tmp_path / "y/pyproject.toml").exists()
    )


def test_permissions_follow_the_umask(new_plugin, tmp_path):
    before = os.umask(0o027)
    try:
        new_plugin("mine")
    finally:
        os.umask(before)
    assert (tmp_path / "mine").stat().st_mode & 0o777 == 0o750
    assert (tmp_path / "mine/pyproject.toml").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize(
    "name",
    ["", "1st", "a.b", "a/b", "../a", "..", "_a", "a-", "a_", "gini\n", "dé", "ｇini", "a b", "$name", "x" * 5000],  # noqa: RUF001
)
def test_bad_names(new_plugin, tmp_path, name):
    err = refused(new_plugin(name), tmp_path)
    assert "use letters, digits, - and _" in err or f"use {LONGEST_NAME} at most" in err


@pytest.mark.parametrize("arguments", [["-x"], ["--", "-x"], ["--", "--gini"], [], ["a", "b"], ["a", "--kind", "odd"]])
def test_bad_arguments(new_plugin, tmp_path, arguments):
    refused(new_plugin(*arguments), tmp_path)


@pytest.mark.parametrize("name", ["entropy", "Entropy", "autoal", "AutoAL", "entropy_dropout", "LEASTCONF"])
def test_names_of_strategies_are_taken(new_plugin, tmp_path, name):
    assert "is a strategy of deepal_autoal" in refused(new_plugin(name), tmp_path)


@pytest.mark.parametrize("name, words", [("datasets", "entry point"), ("strategies", "module deepal_strategies")])
def test_other_builtin_names_are_taken(new_plugin, tmp_path, name, words):
    assert words in refused(new_plugin(name), tmp_path)


def test_third_party_names_are_taken(new_plugin, tmp_path, monkeypatch):
    @hookimpl
    def deepal_register_strategies(registry):
        registry.add("Their-One", "no_such_module:Class", requires={"probabilities"})

    plugin = type("Plugin", (), {"deepal_register_strategies": staticmethod(deepal_register_strategies)})
    plugin_host().register(plugin, "theirs")
    try:
        assert "'Their-One' is a strategy of this process" in refused(new_plugin("their_one"), tmp_path)
    finally:
        plugin_host().unregister(plugin)
    # Installed, but not a plugin under this name (any more).
    site = tmp_path.parent / f"{tmp_path.name}-site"
    (site / "deepal_other.name-1.5.dist-info").mkdir(parents=True)
    (site / "deepal_other.name-1.5.dist-info/METADATA").write_text("Name: deepal_other.name\nVersion: 1.5\n")
    (site / "deepal_third.py").write_text("raise RuntimeError('must not be imported')\n")
    monkeypatch.syspath_prepend(str(site))
    assert "deepal-Other-Name 1.5 is installed" in refused(new_plugin("Other-Name"), tmp_path)
    assert "module deepal_third exists" in refused(new_plugin("third"), tmp_path)


def test_names_with_two_claimants_are_taken(new_plugin, tmp_path, monkeypatch):
    host = PluginHost()
    for distribution in ("one", "two"):
        host.strategies.insert(Entry("strategy", "double", "module:Class", Provider(distribution, "1.0")))
    monkeypatch.setattr("deepal_autoal.scaffold.naming.plugin_host", lambda: host)
    assert "double" not in host.strategies and "a strategy of one 1.0" in refused(new_plugin("double"), tmp_path)


def test_packages_are_in_lower_case():
    made = PluginName("My-Gini_2")
    assert (made.package, made.distribution) == ("deepal_my_gini_2", "deepal-My-Gini_2")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name, expected",
    [
        ("gini", "Gini"),
        ("my-gini_2", "MyGini2"),
        ("BALD-x", "BALDX"),
        ("a--b", "AB"),
        ("none", "MyNone"),
        ("exception", "MyException"),
        ("query-context", "MyQueryContext"),
        (LONG, LONG.capitalize()),
    ],
)
def test_class_names(kind, name, expected):
    files = render(PluginName(name), kind)
    package = PluginName(name).package
    classes = [line for line in files[f"{package}/strategy.py"].splitlines() if line.startswith(f"class {expected}(")]
    assert len(classes) == 1 and f'"{package}.strategy:{expected}"' in files[f"{package}/__init__.py"]
    for path, text in files.items():
        assert path == "README.md" or max(map(len, text.splitlines()), default=0) <= 120, path


@pytest.mark.parametrize(
    "kind, name, expected",
    [
        ("scoring", "tensor", "MyTensor"),
        ("scoring", "query", "Query"),
        ("scoring", "scoring-strategy", "MyScoringStrategy"),
        ("batch", "query", "MyQuery"),
        ("batch", "strategy", "MyStrategy"),
        ("batch", "scoring-strategy", "ScoringStrategy"),
        ("network", "f", "MyF"),
        ("selector", "class-var", "MyClassVar"),
        ("training", "objective", "MyObjective"),
        ("training", "label-smoothing", "MyLabelSmoothing"),
        ("training", "trainer-protocol", "MyTrainerProtocol"),
    ],
)
def test_class_names_used_in_the_module(kind, name, expected):
    files = render(PluginName(name), kind)
    source = files[f"{PluginName(name).package}/strategy.py"]
    assert f"\nclass {expected}(" in source
    assert f":{expected}" in files[f"{PluginName(name).package}/__init__.py"]


@pytest.mark.parametrize("make", ["folder", "empty folder", "file", "dangling link"])
def test_existing_paths_are_left_alone(new_plugin, tmp_path, make):
    place = tmp_path / "mine"
    if make == "file":
        place.write_text("kept")
    elif make == "dangling link":
        place.symlink_to("nowhere")
    else:
        place.mkdir()
        if make == "folder":
            (place / "notes.txt").write_text("kept")
    before = files_of(tmp_path)
    for arguments in (["mine"], ["other", "--out", "mine"], ["other", "--out", "new/../mine"]):
        status, out, err = new_plugin(*arguments)
        assert status == 2 and not out and "mine already exists" in err and "--out" in err
    assert files_of(tmp_path) == before and os.listdir(tmp_path) == ["mine"]
    assert not (tmp_path / "nowhere").exists()


def test_unusable_places(new_plugin, tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "locked").mkdir(mode=0o500)
    places = ["file/x", "n" * 300, "deep/er/" + "n" * 300]
    if os.geteuid():
        places.append("locked/x")
    for place in places:
        status, out, err = new_plugin("mine", "--out", place)
        assert status == 2 and not out and len(err.splitlines()) == 1
        assert err.startswith(f"Error: --out {place[:60]}..." if "nnn" in place else f"Error: cannot create {place}")
    assert sorted(os.listdir(tmp_path)) == ["file", "locked"] and not os.listdir(tmp_path / "locked")


@pytest.mark.parametrize("fails", ["writing", "moving"])
def test_all_or_nothing(new_plugin, tmp_path, monkeypatch, fails):
    def full(*arguments, **named):
        raise OSError(28, "No space left on device")

    if fails == "moving":
        monkeypatch.setattr("os.rename", full)
    else:
        from pathlib import Path

        write = Path.write_text
        monkeypatch.setattr(
            Path,
            "write_text",
            lambda path, *rest, **named: (full if path.suffix == ".py" else write)(path, *rest, **named),
        )
    for arguments in (["mine"], ["mine", "--out", "a/b/c"]):
        assert "No space left on device" in refused(new_plugin(*arguments), tmp_path)


def test_no_heavy_imports(tmp_path):
    code = (
        "import sys\nfrom deepal_autoal.cli.main import main\n"
        "try:\n    main(['new-plugin', 'mine'])\nfinally:\n"
        "    print({'torch', 'numpy', 'sklearn', 'scipy', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
