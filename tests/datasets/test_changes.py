"""Imbalance, label noise and duplicates: their effect on a pool and on runs."""

import json

import numpy as np
import pytest

from deepal_autoal import run
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.datasets.changes import PoolChanges, class_proportions, imbalanced_rows, noisy
from deepal_autoal.errors import InputError, RunFolderError


@pytest.mark.parametrize(
    ("text", "n_classes", "expected"),
    [
        ("1:8", 4, [1, 2, 4, 8]),
        ("exponential:1:100", 3, [1, 10, 100]),
        ("10:1", 2, [10, 1]),
        ("linear:1:10", 10, list(range(1, 11))),
        ("1:2:...:10", 10, list(range(1, 11))),
        ("1:2:…:10", 10, list(range(1, 11))),
        ("step:1:10", 5, [1, 1, 10, 10, 10]),
        ("3:1:2.5", 3, [3, 1, 2.5]),
    ],
)
def test_proportions(text, n_classes, expected):
    np.testing.assert_allclose(class_proportions(text, n_classes), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10", "write 1:10"), ("", "write 1:10"), ("one:ten", "write 1:10"), ("steep:1:10", "write 1:10"),
        ("step:1:2:3", "write 1:10"), ("1:0", "as in 1:10"), ("1:-2", "as in 1:10"),
        ("1:nan", "as in 1:10"), ("1:inf", "as in 1:10"), ("1:2:3", "3 proportions for 4 classes; .* such as 1:10"),
        ("1:2:...:10", "for 4 classes it ends at 4; write linear:1:10"), ("1e-200:1e200", "a ratio of at most"),
    ],
)  # fmt: skip
def test_an_invalid_imbalance_is_refused(text, message):
    with pytest.raises(InputError, match=message) as caught:
        class_proportions(text, 4)
    assert text in str(caught.value)


def test_imbalanced_rows_are_as_many_as_the_data_allow():
    labels = np.repeat([0, 1, 2, 3], [100, 30, 100, 100])
    rows = imbalanced_rows(labels, 4, "1:8", seed=0)
    # 1:2:4:8 of 100, 30, 100, 100: the last class is the limit.
    assert np.bincount(labels[rows]).tolist() == [12, 25, 50, 100]
    assert (np.diff(rows) > 0).all()
    assert np.bincount(labels[imbalanced_rows(labels, 4, "1:1:1:1", 0)]).tolist() == [30] * 4
    # Whole numbers stay whole, no class vanishes, and absent ones are ignored.
    assert np.bincount(labels[imbalanced_rows(labels, 4, "0.3:0.3:0.3:1", 0)]).tolist() == [30, 30, 30, 100]
    assert np.bincount(labels[imbalanced_rows(labels, 4, "1:1:1:100000", 0)]).tolist() == [1, 1, 1, 100]
    assert np.bincount(labels[imbalanced_rows(labels, 6, "1:1:1:2:9:9", 0)]).tolist() == [30, 30, 30, 60]


def test_the_choice_depends_on_the_seed_but_its_size_does_not():
    labels = np.repeat([0, 1], [50, 50])
    first, same, other = (imbalanced_rows(labels, 2, "1:5", seed) for seed in (0, 0, 1))
    assert first.tolist() == same.tolist() != other.tolist()
    assert len(first) == len(other) == 60


def test_noise_has_its_rate_and_is_uniform_over_the_other_classes():
    labels = np.arange(30_000) % 3
    wrong = noisy(labels, 0.3, seed=0)
    hit = wrong != labels
    assert abs(hit.mean() - 0.3) < 0.01
    assert abs(((wrong - labels) % 3 == 1)[hit].mean() - 0.5) < 0.02
    assert wrong.min() == 0 and wrong.max() == 2
    # The errors at a lower rate are among those at a higher rate.
    fewer = noisy(labels, 0.1, seed=0)
    assert (wrong[fewer != labels] == fewer[fewer != labels]).all()
    assert (noisy(labels, 0.3, seed=1) != wrong).any()


def test_duplicates_are_separate_rows(blob_data):
    changed, rows = PoolChanges(duplicates=3).apply(blob_data, seed=0)
    assert len(changed.x_train) == 360 and rows.tolist() == list(range(360))
    assert (changed.x_train[130] == blob_data.x_train[10]).all() and changed.y_train[250] == blob_data.y_train[10]
    assert changed.x_test is blob_data.x_test


def test_all_changes_together(blob_data):
    changes = PoolChanges("1:4", 0.5, 2)
    changed, rows = changes.apply(blob_data, seed=3)
    true = np.tile(blob_data.y_train, 2)
    assert changes.describe(blob_data) == {
        "imbalance": "1:4", "label_noise": 0.5, "duplicates": 2,
        "class_counts": np.bincount(true[rows]).tolist(),
    }  # fmt: skip
    assert np.bincount(true[rows]).tolist() == [20, 40, 80]
    assert set(rows[rows < 120] + 120) == set(rows[rows >= 120])
    # Copies are labeled separately.
    first, second = changed.y_train[:120], changed.y_train[120:]
    assert (first != second).any() and (first == second).any()
    assert (changed.y_test == blob_data.y_test).all()


@pytest.mark.parametrize(
    "arguments", [{"label_noise": 1.0}, {"label_noise": -0.1}, {"label_noise": float("nan")}, {"label_noise": "0.2"},
                  {"label_noise": True}, {"duplicates": 0}, {"duplicates": -1}, {"duplicates": 2.5},
                  {"duplicates": "2"}, {"imbalance": 10}]
)  # fmt: skip
def test_numbers_out_of_range_are_refused(arguments):
    with pytest.raises(InputError, match=r"label-noise|duplicates|imbalance"):
        PoolChanges(**arguments)


def test_without_changes_the_dataset_is_the_same(blob_data):
    for changes in (PoolChanges(), PoolChanges(None, 0.0, 1)):
        assert not changes
        changed, rows = changes.apply(blob_data, 0)
        assert changed is blob_data and rows.tolist() == list(range(120))


def test_copies_beyond_memory_are_refused(blob_data):
    with pytest.raises(InputError, match="do not fit into memory"):
        PoolChanges(duplicates=10**9).apply(blob_data, 0)


def test_wrong_labels_are_classes_that_occur():
    labels = np.array([0, 3] * 500)
    assert set(noisy(labels, 0.5, seed=0).tolist()) == {0, 3}


def test_a_run_queries_rows_of_the_full_split_and_records_the_changes(tmp_path, blob_data, quick):
    out = tmp_path / "run"
    settings = {**quick, "imbalance": "1:4", "label_noise": 0.3, "seed": 2}
    result = run("entropy", blob_data, out=out, **settings)
    config = json.loads((out / "config.json").read_text())
    assert config["dataset"]["fingerprint"] == blob_data.fingerprint
    assert config["dataset"]["changes"]["class_counts"] == [10, 20, 40] and config["pool_size"] == 70
    allowed = set(imbalanced_rows(blob_data.y_train, 3, "1:4", 2).tolist())
    queried = {*config["initial"], *(i for record in result.rounds for i in record["queried"])}
    assert queried <= allowed and len(queried) == 12 + 3 * 6 and max(queried) > 70
    assert 10 < config["n_wrong_labels"] < 35
    # Resumed: the same; with other changes: refused.
    assert run("entropy", blob_data, out=out, resume=True, **settings).rounds == result.rounds
    assert run("entropy", blob_data, out=out, resume=True, duplicates=1, **settings).rounds == result.rounds
    with pytest.raises(RunFolderError, match=r"label_noise was 0\.3 and is now 0"):
        run("entropy", blob_data, out=out, resume=True, **{**settings, "label_noise": 0})
    with pytest.raises(RunFolderError, match="imbalance"):
        run("entropy", blob_data, out=out, resume=True, **{**settings, "imbalance": "1:2"})


def test_the_oracle_errs_but_test_labels_do_not(blob_data, quick):
    """With most labels wrong, whole-pool training is still tested on correct labels."""
    everything = {**quick, "initial": 120, "rounds": 0, "epochs": 60}
    clean = run("random", blob_data, **everything).accuracy
    noise = run("random", blob_data, label_noise=0.65, **everything).accuracy
    assert clean > 0.9 and noise < clean - 0.3


def test_a_pool_of_a_given_size_has_all_copies_of_its_samples(blob_data, quick):
    n = len(blob_data.x_train)
    settings = {**quick, "initial": 20, "rounds": 1, "duplicates": 4, "seed": 1}
    for size, counts in ((40, {4: 10}), (41, {4: 10, 1: 1})):
        found = run("random", blob_data, pool_size=size, **{**settings, "batch_size": size - 20})
        rows = np.array([*found.config["initial"], *(row for entry in found.rounds for row in entry["queried"])])
        assert len(rows) == len(set(rows)) == size
        copies = np.bincount(np.bincount(rows % n))
        assert {number: copies[number] for number in np.flatnonzero(copies) if number} == counts


def test_with_pool_size_and_duplicates(blob_data, quick):
    result = run("random", blob_data, pool_size=200, duplicates=2, seed=1, **quick)
    assert result.config["pool_size"] == 200 and "n_wrong_labels" not in result.config
    with pytest.raises(InputError, match="240 samples"):
        run("random", blob_data, pool_size=241, duplicates=2, **quick)


def test_images_can_be_changed_too(image_data, quick):
    images = Dataset("more", *(getattr(image_data, name) for name in ("x_train", "y_train", "x_test", "y_test")),
                     ("left", "right"))  # fmt: skip
    result = run("random", images, imbalance="1:3", duplicates=2, **{**quick, "rounds": 1})
    assert result.config["dataset"]["changes"]["class_counts"] == [12, 40]
