"""Which package may import which, and other rules that readers rely on, checked on the source itself."""

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import click
import pytest

import deepal_autoal
import deepal_autoal.benchmark

ROOT = Path(__file__).resolve().parents[2]
CORE = sorted((ROOT / "deepal_autoal").rglob("*.py"))
# Built-in plugins follow the same rules as third-party ones, such as the example.
PLUGINS = sorted(
    path
    for package in ("deepal_events", "deepal_ray", "deepal_strategies", "example/deepal_lowbudget")
    for path in (ROOT / "plugins" / package).rglob("*.py")
)
# What plugins may import from; of `deepal_autoal.benchmark`, backends do.
PUBLIC = {module.__name__: module for module in (deepal_autoal, deepal_autoal.benchmark)}

# From bottom to top; packages in one layer do not import each other. See docs/architecture.md.
LAYERS = (
    ("errors", "files", "jsonable", "run_settings", "user_paths"),
    ("numerics",),
    ("measuring", "audit"),
    ("isolation",),
    ("training",),
    ("querying",),
    ("plugins",),
    ("strategies", "models", "datasets"),
    ("oracles",),
    ("experiment",),
    ("activeml", "estimator", "statistics", "testing", "scaffold"),
    ("benchmark", "doctor", "labeling", "report"),
    ("cli",),
)
HEIGHT = {package: height for height, layer in enumerate(LAYERS) for package in layer}
# The facade, which imports everything when it is used, and the modules that import it.
FACADE = {"deepal_autoal", "deepal_autoal.__main__", "deepal_autoal.old_paths"}


def module_of(path):
    parts = path.relative_to(ROOT / "deepal_autoal").with_suffix("").parts
    return ".".join(["deepal_autoal", *parts]).removesuffix(".__init__")


def imports(path):
    """Yield (module, names) of every import statement of a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, ()
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), tuple(alias.name for alias in node.names)


def test_source_files_are_found():
    assert len(CORE) > 20 and len(PLUGINS) > 20


def arrows():
    """Yield (importing module, imported module) for every import in the engine, including lazy and typing ones."""
    modules = {module_of(path) for path in CORE}
    for path in CORE:
        for module, names in imports(path):
            for name in names or ("",):
                target = f"{module}.{name}" if f"{module}.{name}" in modules else module
                if target.partition(".")[0] == "deepal_autoal":
                    yield module_of(path), target


def test_every_module_is_in_a_layer():
    assert {module.split(".")[1] for module in map(module_of, CORE) if module not in FACADE} == set(HEIGHT)


def test_no_import_points_to_a_higher_layer():
    wrong = []
    for source, target in arrows():
        if source in FACADE:
            continue
        assert target not in FACADE, f"{source} imports the facade"
        here, there = source.split(".")[1], target.split(".")[1]
        is_ground = HEIGHT[here] == HEIGHT[there] == 0
        if here != there and HEIGHT[there] >= HEIGHT[here] and not is_ground:
            wrong.append(f"{source} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_imports_are_absolute():
    """Those of the layers are found by their absolute names."""
    for path in (*CORE, *PLUGINS):
        assert not [module for module, _ in imports(path) if module.startswith(".")], path


def test_no_import_cycles():
    graph = {}
    for source, target in arrows():
        if source not in FACADE and source != target:
            graph.setdefault(source, set()).add(target)
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_engine_imports_no_plugin():
    plugins = {"deepal_strategies", "deepal_events", "deepal_ray", "deepal_lowbudget"}
    for path in CORE:
        assert not [module for module, _ in imports(path) if module.split(".")[0] in plugins], path


def test_engine_compares_with_no_strategy_name():
    from deepal_autoal import plugin_host

    names = set(plugin_host().strategies.names()) - {"random"}  # the engine's own default
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                constants = {leaf.value for leaf in ast.walk(node) if isinstance(leaf, ast.Constant)}
                assert not constants & names, f"{path}: compares with a strategy's name"


def test_plugins_import_public_names_only():
    for path in PLUGINS:
        for module, names in imports(path):
            if module.split(".")[0] == "deepal_autoal":
                assert module in PUBLIC, f"{path} imports from {module}"
                assert set(names) <= set(PUBLIC[module].__all__), f"{path} imports {names}"


def test_public_names_exist_and_importing_is_light():
    for module in PUBLIC.values():
        for name in module.__all__:
            assert getattr(module, name) is not None
    with pytest.raises(AttributeError):
        deepal_autoal.no_such_name  # noqa: B018
    code = "import sys, deepal_autoal.benchmark; print({'torch', 'numpy', 'sklearn', 'pluggy'} & set(sys.modules))"
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
    from deepal_autoal import plugin_host
    from deepal_autoal.cli.main import cli
    from deepal_autoal.plugins import hookspecs

    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), ROOT / "plugins" / "README.md"]
    text = "\n".join(path.read_text() for path in pages)
    words = set(re.findall(r"[-\w]+", text))
    assert not [hook for hook in vars(hookspecs) if hook.startswith("deepal_") and hook not in words]
    for registry in (plugin_host().strategies, plugin_host().datasets, plugin_host().models):
        assert not [entry.name for entry in registry.entries() if entry.provider.builtin and entry.name not in words]
    commands = [*cli.commands.values(), *cli.commands["label"].commands.values()]
    missing = [
        option
        for command in commands
        for parameter in command.get_params(click.Context(command, **cli.context_settings))
        for option in parameter.opts
        if option.startswith("--") and option not in words
    ]
    assert not missing, missing


def test_plugins_cannot_take_engine_options():
    from deepal_autoal.cli.main import cli
    from deepal_autoal.plugins.registry import OWN_OPTIONS

    for name in ("run", "benchmark"):
        own = {option.removeprefix("--") for parameter in cli.commands[name].params for option in parameter.opts}
        assert {option for option in own if not option.startswith("-")} <= OWN_OPTIONS


def test_author_guide_is_short():
    assert len((ROOT / "plugins" / "README.md").read_text().splitlines()) < 70


def test_old_module_paths_still_work_with_a_warning():
    code = (
        "import importlib, sys, warnings\n"
        "with warnings.catch_warnings(record=True) as seen:\n"
        "    warnings.simplefilter('always')\n"
        "    from deepal_autoal.registry import Registrar\n"
        "    from deepal_autoal.strategy import SelectorStrategy, Strategy\n"
        "    from deepal_autoal.records import load_model\n"
        "    import deepal_autoal.models.base\n"
        "import deepal_autoal as new\n"
        "from deepal_autoal.training import Trainer\n"
        "from deepal_autoal.plugins import plugin_host\n"
        "assert (Registrar, SelectorStrategy, Strategy, load_model, Trainer, plugin_host) == (new.Registrar, "
        "new.SelectorStrategy, new.Strategy, new.load_model, new.Trainer, new.plugin_host)\n"
        "assert deepal_autoal.models.base.TaskModel is new.TaskModel\n"
        "assert sys.modules['deepal_autoal.training.task_model'].__spec__.origin.endswith('task_model.py')\n"
        "print([str(warning.message) for warning in seen if warning.category is DeprecationWarning])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (
        "deepal_autoal.registry is now deepal_autoal.plugins.registry; the former path is removed in 0" in done.stdout
    )
    assert "deepal_autoal.models.base is now deepal_autoal.training.task_model" in done.stdout


def test_every_old_module_path_leads_somewhere():
    from deepal_autoal.old_paths import MOVED

    modules = {module_of(path).removeprefix("deepal_autoal.") for path in CORE}
    assert set(MOVED.values()) <= modules and not set(MOVED) & modules
