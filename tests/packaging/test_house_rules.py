"""Who may import whom, and other rules that a reader relies on, checked on the source itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

import deepal_autoal

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "deepal_autoal").rglob("*.py"))
# Built-in plugins, bound by the same rules as third parties' ones; the example is one of those.
PLUGINS = sorted(
    path
    for package in ("deepal_events", "deepal_strategies", "example/deepal_lowbudget")
    for path in (ROOT / "plugins" / package).rglob("*.py")
)


def imports(path):
    """Yield (module, names) of every import statement of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)


def test_there_is_something_to_check():
    assert len(CORE) > 20 and len(PLUGINS) > 20


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_engine_knows_no_plugin(path):
    plugins = {"deepal_strategies", "deepal_events", "deepal_lowbudget"}
    assert not [module for module, _ in imports(path) if module.split(".")[0] in plugins]


def test_the_engine_names_no_strategy():
    from deepal_autoal import plugin_host

    names = set(plugin_host().strategies.names()) - {"random"}  # the engine's own fallback is a default, no test
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                assert not constants & names, f"{path}: compares with a strategy's name"


@pytest.mark.parametrize("path", PLUGINS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_plugins_import_public_names_only(path):
    for module, names in imports(path):
        if module.split(".")[0] == "deepal_autoal":
            assert module == "deepal_autoal", f"{path} imports from {module}"
            assert set(names) <= set(deepal_autoal.__all__), f"{path} imports {names}"


def test_public_names_exist_and_importing_is_light():
    for name in deepal_autoal.__all__:
        assert getattr(deepal_autoal, name) is not None
    with pytest.raises(AttributeError):
        deepal_autoal.no_such_name  # noqa: B018
    code = "import sys, deepal_autoal; print({'torch', 'numpy', 'sklearn', 'pluggy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_library_does_not_print():
    for path in CORE + PLUGINS:
        calls = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)]
        assert not [call for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"], path


def test_docs_link_to_files_that_exist():
    for page in [
        ROOT / "README.md",
        *(path for name in ("docs", "benchmarks", "plugins") for path in (ROOT / name).rglob("*.md")),
    ]:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_option_hook_and_strategy_is_documented():
    from deepal_autoal import hookspecs, plugin_host
    from deepal_autoal.cli.main import cli

    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "plugins" / "README.md"]
    text = "\n".join(path.read_text() for path in pages)
    words = set(re.findall(r"[-\w]+", text))
    assert not [hook for hook in vars(hookspecs) if hook.startswith("deepal_") and hook not in words]
    for registry in (plugin_host().strategies, plugin_host().datasets, plugin_host().models):
        assert not [entry.name for entry in registry.entries() if entry.provider.builtin and entry.name not in words]
    missing = [
        option
        for command in cli.commands.values()
        for parameter in command.get_params(click.Context(command))
        for option in parameter.opts
        if option.startswith("--") and option not in words
    ]
    assert not missing, missing


def test_no_plugin_can_take_an_option_of_the_engine():
    from deepal_autoal.cli.main import cli
    from deepal_autoal.registry import OWN_OPTIONS

    for name in ("run", "benchmark"):
        own = {option.removeprefix("--") for parameter in cli.commands[name].params for option in parameter.opts}
        assert {option for option in own if not option.startswith("-")} <= OWN_OPTIONS


def test_guide_for_authors_is_short():
    assert len((ROOT / "plugins" / "README.md").read_text().splitlines()) < 70
