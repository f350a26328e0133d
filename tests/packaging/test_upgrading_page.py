"""What docs/upgrading.md promises about versions holds in the code."""

import re
from importlib.metadata import version
from pathlib import Path

import pytest

import deepal_autoal
from deepal_autoal import Recipe, create_strategy
from deepal_autoal.old_paths import MOVED, REMOVED_IN
from deepal_autoal.plugins.hookspecs import CONTRACT_VERSION

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "upgrading.md").read_text()


def release(text):
    return tuple(int(number) for number in re.findall(r"\d+", text)[:3])


def test_former_paths_are_removed_when_it_was_announced():
    assert release(version("deepal_autoal")) < release(REMOVED_IN), (
        "remove old_paths.py and its mention in upgrading.md"
    )
    assert f"the module paths of 0.1.0, until {REMOVED_IN}" in PAGE and f"they are removed in {REMOVED_IN}" in PAGE
    named = re.search(r"Former module paths, such as `deepal_autoal\.(\w+)`", PAGE)
    assert named and named[1] in MOVED


def test_contract_versions():
    table = re.findall(r"^\| (\d+) \| (\S+) \|", PAGE.partition("| contract | since |")[2], re.MULTILINE)
    assert [int(number) for number, _ in table] == [*range(1, CONTRACT_VERSION + 1)]
    assert release(table[-1][1]) <= release(version("deepal_autoal"))


def test_names_that_version_2_added_exist_and_are_in_the_contract():
    (sentence,) = re.findall(r"is needed only by plugins that use what is new: (.*)\.$", PAGE, re.MULTILINE)
    contract = (DOCS / "plugins.md").read_text()
    names = [name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", sentence)]
    assert len(names) > 5 and not [name for name in names if f"`{name}" not in contract]


def test_what_replaces_names_of_the_first_version():
    from deepal_autoal.testing import Result

    assert {"got", "fix"} <= set(Result.__dataclass_fields__) and not {"came", "do"} & set(Result.__dataclass_fields__)
    assert not {"start", "rounds", "finish"} & set(dir(deepal_autoal.ActiveRun))
    assert Recipe.for_data((3, 32, 32)).min_steps == 600 and Recipe.for_data((1, 8, 8)).min_steps == 250


def test_flags_of_the_first_versions_recipe_give_it():
    (flags,) = re.findall(r"To train on images as 0\.1\.0 did: `([^`]*)`", PAGE)
    pairs = re.findall(r"--([\w-]+) (\S+)", flags)
    given = {name.replace("-", "_"): value if name in ("schedule", "augmentation") else float(value)
             for name, value in pairs}  # fmt: skip
    for name in ("min_steps", "train_batch_size"):
        given[name] = int(given[name])
    assert given.pop("augmentation") == "none"
    recipe = Recipe.for_data((1, 8, 8), (), **given)
    first = Recipe()  # whose defaults are those of 0.1.0
    assert recipe == first


@pytest.mark.parametrize("former", ["vote -o final=diverse", "vaal -o variant=paper", "autoal -o variant=printed"])
def test_options_that_give_what_was(former):
    name, option = former.split(" -o ")
    assert f"`-o {option}`" in PAGE and create_strategy(f"{name}[{option}]")
