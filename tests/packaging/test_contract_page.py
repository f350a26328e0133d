"""The contract page matches the code: every hook and method, with its exact signature."""

import inspect
import re
from pathlib import Path

import pytest

import deepal_autoal
import deepal_autoal.benchmark
from deepal_autoal.plugins import hookspecs
from deepal_autoal.plugins.contract import REQUIREMENTS

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "plugins.md").read_text()
SIGNATURE = re.compile(r"^- `((\w+)\([^`]*)`", re.MULTILINE)
CLASSES = ("Registrar", "Strategy", "ScoringStrategy", "SelectorStrategy", "QueryContext", "PoolView", "LabeledView",
           "Objective", "Trainer")  # fmt: skip
OF_BACKENDS = ("Backend", "Executor")


def documented(section):
    """Return the signatures of a section by name."""
    return {name: signature for signature, name in SIGNATURE.findall(section)}


def section_of(heading):
    _, found, rest = PAGE.partition(f"\n{heading}\n")
    assert found, f"there is no section {heading}"
    return re.split(r"\n##", rest)[0]


def format_signature(function):
    """Return a function's signature as in the source, without self."""
    parts, after_star = [], False
    signature = inspect.signature(function)
    for name, parameter in signature.parameters.items():
        if name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and not after_star:
            parts.append("*")
            after_star = True
        text = "**" * (parameter.kind is parameter.VAR_KEYWORD) + f"{name}: {parameter.annotation}"
        parts.append(text if parameter.default is parameter.empty else f"{text} = {parameter.default!r}")
    return f"{function.__name__}({', '.join(parts)}) -> {signature.return_annotation}"


def methods(cls):
    return {
        name: format_signature(function)
        for name, function in vars(cls).items()
        if inspect.isfunction(function) and not name.startswith("_")
    }


def test_hooks():
    hooks = {name: format_signature(hook) for name, hook in vars(hookspecs).items() if name.startswith("deepal_")}
    assert len(hooks) >= 10
    assert documented(section_of("## Hooks")) == hooks


@pytest.mark.parametrize("name", CLASSES + OF_BACKENDS)
def test_methods(name):
    home = deepal_autoal.benchmark if name in OF_BACKENDS else deepal_autoal
    assert documented(section_of(f"### `{name}`")) == methods(getattr(home, name))


def test_all_documented_signatures_are_tested():
    seen = [*documented(section_of("## Hooks"))]
    for name in CLASSES + OF_BACKENDS:
        seen += documented(section_of(f"### `{name}`"))
    assert sorted(seen) == sorted(name for _, name in SIGNATURE.findall(PAGE))


@pytest.mark.parametrize("name", ["QueryContext", "ActiveRun"])
def test_attributes(name):
    """The table names exactly the public attributes."""
    table = "\n".join(line for line in section_of(f"### `{name}`").splitlines() if line.startswith("| `"))
    named = set(re.findall(r"`(\w+)", " ".join(line.split("|")[1] for line in table.splitlines())))
    cls = getattr(deepal_autoal, name)
    source = inspect.getsource(cls)
    attributes = set(re.findall(r"self\.([a-z]\w*)(?:: [^=\n]+)? = ", source))
    attributes |= {key for key, value in vars(cls).items() if not key.startswith("_") and not inspect.isfunction(value)}
    assert named == attributes


def test_requirements_contract_and_public_names():
    assert not [name for name in REQUIREMENTS if f"`{name}`" not in section_of("### `Strategy`")]
    assert set(deepal_autoal.querying.strategy.Requirement.__args__) == REQUIREMENTS
    assert f"This is version {hookspecs.CONTRACT_VERSION} of the contract" in PAGE
    for name in re.findall(r"from deepal_autoal import (.+)", PAGE):
        assert set(name.split(", ")) <= set(deepal_autoal.__all__)
