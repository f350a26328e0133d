"""Fill in the templates for a kind of plugin."""

from __future__ import annotations

import ast
import builtins
import keyword
from importlib.resources import files
from string import Template

from deepal_autoal.scaffold.naming import PluginName

# The kinds by name, each a folder of templates, with a description of the strategy that an author starts from.
KINDS = {
    "scoring": "a score for each candidate; the highest are queried",
    "batch": "a batch chosen as a whole, with an option",
    "network": "a network of its own, trained in every query",
    "selector": "composes other strategies, its candidates",
    "training": "changes how the task model is trained",
}

_CLASS = "TheStrategyClass"


def render(name: PluginName, kind: str) -> dict[str, str]:
    """Return the files of a distribution: text by path, in display order.

    Args:
        name: The plugin's name.
        kind: A key of `KINDS`.
    """
    names = {"name": name.strategy, "distribution": name.distribution, "package": name.package}
    strategy = _template(kind, "strategy.py")
    taken = _names_in(strategy.substitute(names, class_name=_CLASS))
    names["class_name"] = name.class_name(taken)
    names["use"] = _template(kind, "use.sh").substitute(names).rstrip()
    names["card"] = _template(kind, "card.py").substitute(names).rstrip()
    return {
        "pyproject.toml": _template("common", "pyproject.toml").substitute(names),
        "README.md": _template("common", "README.md").substitute(names),
        ".gitignore": _template("common", "gitignore").substitute(names),
        f"{name.package}/__init__.py": _template("common", "__init__.py").substitute(names),
        f"{name.package}/strategy.py": strategy.substitute(names),
        f"{name.package}/py.typed": "",
        f"tests/test_{name.package.removeprefix('deepal_')}.py": _template("common", "test.py").substitute(names),
    }


def _template(folder: str, file: str) -> Template:
    path = files("deepal_autoal.scaffold").joinpath("templates").joinpath(folder).joinpath(f"{file}.template")
    return Template(path.read_text(encoding="utf-8"))


def _names_in(source: str) -> set[str]:
    """Return the names that a module uses and those that Python reserves; its class cannot have any of them."""
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    return used.union(keyword.kwlist, dir(builtins))
