"""The notation of grids."""

import numpy as np
import pytest

from deepal_autoal import plugin_host
from deepal_autoal.benchmark.notation import Contender, read_datasets, read_seeds, read_strategies
from deepal_autoal.errors import InputError, UnknownNameError


def test_names_labels_and_options():
    assert read_strategies("random, margin") == [Contender("random", "random"), Contender("margin", "margin")]
    (five, plain, derived) = read_strategies("v5=vote[oversample=5, final=top],w=margin,vote[oversample=6]")
    assert five == Contender("v5", "vote", {"oversample": "5", "final": "top"})
    assert plain == Contender("w", "margin")
    assert derived == Contender("vote-oversample-6", "vote", {"oversample": "6"})
    assert read_strategies(["margin", "v=vote[a=1,b=2]"]) == read_strategies("margin,v=vote[a=1,b=2]")


def test_commas_and_brackets_within_options(plugins):
    (x, _, z) = read_strategies("x=first[weights=[1,[2,3]],sign=-1],random,z=vote[first.weights={'a': (1, 2)}]")
    assert x.options == {"weights": "[1,[2,3]]", "sign": "-1"}
    assert z.options == {"first.weights": "{'a': (1, 2)}"}
    (derived,) = read_strategies("first[weights=[1,2]]")
    assert derived.label == "first-weights--1-2"


def test_all_adds_every_strategy_not_named_yet(plugins):
    contenders = read_strategies("margin,v5=vote[oversample=5],all")
    labels = [contender.label for contender in contenders]
    assert labels[:2] == ["margin", "v5"] and sorted([*plugin_host().strategies.names(), "v5"]) == sorted(labels)
    assert "first" in labels and len(set(labels)) == len(labels)
    optional = {contender.label for contender in contenders if contender.is_optional}
    assert optional == set(labels) - {"margin", "v5"}


@pytest.mark.parametrize(
    "written, message",
    [
        ("", "no strategies"),
        ("entrpy", "Did you mean 'entropy'"),
        ("x=margn[a=1]", "Did you mean 'margin'"),
        ("margin,margin", "two strategies are labeled 'margin'"),
        ("A=margin,a=random", "two strategies are labeled"),
        ("a=margin,A=random", "two strategies are labeled"),
        ("../x=margin", "not a safe folder name"),
        (".x=margin", "not a safe folder name"),
        ("x.=margin", "not a safe folder name"),
        ("a b=margin", "not a safe folder name"),
        ("x" * 81 + "=margin", "not a safe folder name"),
        ("=margin", "write it as"),
        ("entropy=margin", "name of another strategy"),
        ("ENTROPY=margin", "name of another strategy"),
        ("all=margin", "means every strategy"),
        ("vote[oversample=5", "']' is missing"),
        ("vote oversample=5]", "closes nothing"),
        ("vote[oversample=5]x", "write it as"),
        ("vote[oversample]", "is not KEY=VALUE"),
        ("vote[oversample=5,oversample=6]", "given twice"),
        ("vote[x=[1,2)]", "closes nothing"),
    ],
)
def test_bad_strategies(written, message):
    with pytest.raises(InputError) as raised:
        read_strategies(written)
    assert message in str(raised.value)


def test_a_label_may_equal_its_own_strategys_name():
    assert read_strategies("vote=vote[oversample=5]") == [Contender("vote", "vote", {"oversample": "5"})]


@pytest.mark.parametrize(
    "written, seeds",
    [
        ("3", [0, 1, 2]),
        (2, [0, 1]),
        (np.int64(1), [0]),
        ("0,3,7", [0, 3, 7]),
        ("3,", [3]),
        ([4, 2], [4, 2]),
        ("1", [0]),
    ],
)
def test_seeds(written, seeds):
    assert read_seeds(written) == seeds


@pytest.mark.parametrize(
    "written", ["0", "-1", "many", "", "1,1", "1,-2", "1,x", ",", 0, [], [1.5], 1.5, None, True, [True, False]]
)
def test_bad_seeds(written):
    with pytest.raises(InputError, match="--seeds"):
        read_seeds(written)


def test_dataset_labels_are_safe_folder_names(tmp_path):
    folder = tmp_path / "my images v1.0"
    folder.mkdir()
    written = ["digits", folder, tmp_path / "a b.npz", tmp_path / ".." / "results.csv", tmp_path / "..."]
    labels = dict(zip(read_datasets(written), written, strict=True))
    assert list(labels) == ["digits", "my-images-v1-0", "a-b", "results", "data"]
    assert read_datasets("digits,mnist") == {"digits": "digits", "mnist": "mnist"}


@pytest.mark.parametrize("written", ["digits,digits", "a/x.npz,b/x.npz", "X.npz,x.csv", "digits,./digits"])
def test_datasets_that_would_share_a_folder(written):
    with pytest.raises(InputError, match="would share the folder"):
        read_datasets(written)


def test_no_datasets():
    with pytest.raises(InputError, match="no datasets"):
        read_datasets(" , ")


def test_nearest_names_are_suggested_for_third_party_strategies_too(plugins):
    with pytest.raises(UnknownNameError, match="'first'"):
        read_strategies("frst")
