from typing import Literal

import numpy as np
import pytest

from deepal_autoal.errors import InputError
from deepal_autoal.experiment.pool import Pool, draw_initial, draw_members
from deepal_autoal.experiment.settings import Settings, check_budget
from deepal_autoal.plugins.options import convert, resolve_options


def test_pool_keeps_order_and_takes_all_or_nothing():
    pool = Pool(np.array([4, 2, 9, 7]), n_classes=3)
    pool.add([9, 2], [0, 2])
    assert pool.labeled.tolist() == [9, 2] and pool.labels.tolist() == [0, 2] and pool.unlabeled.tolist() == [4, 7]
    for indices, labels, message in [
        ([4, 5], [0, 0], "not in the pool"),
        ([4, 4], [0, 0], "twice"),
        ([4, 2], [0, 0], "already has a label"),
        ([4, 7], [0, 3], "not a class"),
        ([4, 7], [0, -1], "not a class"),
        ([4, 7], [0], "one label for each"),
        ([4.5], [0], "integers"),
        ([[4]], [[0]], "integers"),
    ]:
        with pytest.raises(InputError, match=message):
            pool.add(indices, labels)
        assert pool.labeled.tolist() == [9, 2]


def test_initial_set_depends_on_size_seed_and_count_only():
    first = draw_initial(1000, 3, 50)
    assert first.tolist() == draw_initial(1000, 3, 50).tolist()
    assert len(set(first.tolist())) == 50 and first.min() >= 0 and first.max() < 1000
    assert first.tolist() != draw_initial(1000, 4, 50).tolist() and first.tolist() != draw_initial(999, 3, 50).tolist()


def test_initial_set_is_uniform():
    counts = np.zeros(10)
    for seed in range(3000):
        counts[draw_initial(10, seed, 3)] += 1
    assert abs(counts - 900).max() < 100  # 4 standard deviations of a binomial(3000, 0.3)


def test_pool_subset():
    assert draw_members(5, 0, None).tolist() == [0, 1, 2, 3, 4]
    subset = draw_members(100, 1, 10)
    assert len(set(subset.tolist())) == 10 and (np.diff(subset) > 0).all()
    with pytest.raises(InputError, match="--pool-size 101"):
        draw_members(100, 1, 101)


@pytest.mark.parametrize(
    "settings, message",
    [
        (Settings(initial=0), r"--initial 0.*--rounds 4"),
        (Settings(batch_size=0), r"--batch-size 0"),
        (Settings(initial=20, batch_size=20, rounds=5), r"at most --rounds 4"),
        (Settings(initial=101), r"--initial 101"),
        (Settings(batch_size=101), r"--batch-size 101 is too large.*at most --rounds 0"),
        (Settings(initial=20, batch_size=101, rounds=1), r"at most --rounds 0"),
        (Settings(rounds=-1), r"--rounds -1"),
    ],
)
def test_impossible_budgets(settings, message):
    with pytest.raises(InputError, match=message):
        check_budget(settings, 100)


def test_default_budget_shrinks_to_a_small_pool():
    initial, batch_size, rounds = check_budget(Settings(), 12)
    assert initial + batch_size * rounds <= 12 and rounds >= 1
    assert check_budget(Settings(), 10_000) == (50, 20, 10)
    assert check_budget(Settings(initial=100, batch_size=20, rounds=0), 100) == (100, 20, 0)


@pytest.mark.parametrize(
    "value, annotation, expected",
    [
        ("3", int, 3),
        ("1e-3", float, 1e-3),
        (2, float, 2.0),
        ("yes", bool, True),
        ("0", bool, False),
        ("none", int | None, None),
        ("4", int | None, 4),
        ("top", Literal["top", "diverse"], "top"),
        ("2", Literal[1, 2], 2),
        ("x", str, "x"),
        ("x", int | str, "x"),
        ('["a", 1]', list, ["a", 1]),
    ],
)
def test_options_are_converted(value, annotation, expected):
    result = convert("name", value, annotation)
    assert result == expected and type(result) is type(expected)


@pytest.mark.parametrize(
    "value, annotation",
    [("3.5", int), ("many", float), ("maybe", bool), ("side", Literal["top"]), (True, int), (2.5, int), (3, str)],
)
def test_options_that_do_not_fit(value, annotation):
    with pytest.raises(InputError, match="option name"):
        convert("name", value, annotation)


def test_missing_and_unknown_options():
    class Needs:
        def __init__(self, size: int, *, mode: str = "a") -> None: ...

    assert resolve_options("needs", Needs, {"size": "3"}) == {"size": 3, "mode": "a"}
    with pytest.raises(InputError, match="-o size=VALUE"):
        resolve_options("needs", Needs, {})
    with pytest.raises(InputError, match="Did you mean 'mode'"):
        resolve_options("needs", Needs, {"size": 1, "mod": "b"})


def test_options_without_annotation_have_the_defaults_type():
    class Bare:
        def __init__(self, size=1, rate=0.5, deep=False, mode="a", other=None): ...

    given = {"size": "0.5", "rate": "2", "deep": "yes", "mode": "3", "other": "[1]"}
    assert resolve_options("bare", Bare, given) == {"size": 0.5, "rate": 2, "deep": True, "mode": "3", "other": [1]}
    for key, value in (("size", "many"), ("rate", "high"), ("deep", "2"), ("mode", 3)):
        with pytest.raises(InputError, match=f"option bare.{key}"):
            resolve_options("bare", Bare, {key: value})
    with pytest.raises(InputError, match="one of a, true, false"):
        convert("name", "b", Literal["a"] | bool)
