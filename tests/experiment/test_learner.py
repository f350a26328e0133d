"""Ask and tell."""

import re

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, Recipe, Strategy, create_strategy
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.files import read_tensors, write_tensors
from deepal_autoal.models import build_model

QUICK = Recipe(epochs=2, min_steps=5)


def make(data, strategy="margin", **arguments):
    return ActiveLearner(data.x_train, strategy, 3, model="linear", recipe=QUICK, device="cpu", **arguments)


def test_ask_tell_predict(blob_data):
    learner = make(blob_data)
    first = learner.ask(12)
    assert len(set(first.tolist())) == 12
    learner.tell(first, blob_data.y_train[first])
    second = learner.ask(5)
    assert learner.ask(5).tolist() == second.tolist()  # no new labels were given
    assert not set(first.tolist()) & set(second.tolist())
    learner.tell(second, blob_data.y_train[second])
    assert learner.round == 0 and len(learner.labeled_indices) == 17
    assert learner.predict(blob_data.x_test).shape == (60,) and learner.round == 1
    assert learner.predict_proba(blob_data.x_test).shape == (60, 3)


@pytest.mark.parametrize("name", ["deepfool", "advbim", "alfamix"])
def test_a_forest_is_refused_before_training_by_what_needs_gradients(blob_data, name, caplog):
    message = rf"^strategy {name!r} .* requires differentiable, but the model 'forest' has no gradients .* --model$"
    with pytest.raises(InputError, match=message):
        ActiveLearner(blob_data.x_train, name, 3, model="forest")
    for model in ("tabular", "linear"):
        ActiveLearner(blob_data.x_train, name, 3, model=model)
    with pytest.raises(InputError, match=r"'forest' .*, or --candidates without such gradients"):
        ActiveLearner(blob_data.x_train, create_strategy("vote", ["margin", name]), 3, model="forest")
    assert not caplog.records


def test_candidates_of_a_set_that_need_gradients_are_left_out_of_a_forest(blob_data, caplog):
    vote = create_strategy("vote", ["all-uncertainty", "alfamix"])
    with pytest.raises(InputError, match="requires differentiable"):
        ActiveLearner(blob_data.x_train, vote, 3, model="forest")
    learner = ActiveLearner(blob_data.x_train, create_strategy("vote", "all-uncertainty"), 3, model="forest")
    assert set(vote.candidates) - set(learner.strategy.candidates) == {"advbim", "deepfool", "alfamix"}
    assert any("they require differentiable, but the model 'forest'" in line for line in caplog.messages)


def test_labels_can_be_given_for_other_samples(blob_data):
    learner = make(blob_data)
    learner.tell([7, 3], [1, 0])
    learner.tell([50], [2])
    assert learner.labeled_indices.tolist() == [7, 3, 50]
    assert set(learner.ask(117).tolist()) == set(range(120)) - {7, 3, 50}


def test_invalid_calls(blob_data):
    learner = make(blob_data)
    with pytest.raises(InputError, match="no labels yet"):
        learner.predict(blob_data.x_test)
    for size in (0, 121):
        with pytest.raises(InputError, match="give 1 to 120"):
            learner.ask(size)
    learner.tell([0, 1], [0, 1])
    with pytest.raises(InputError, match="already has a label"):
        learner.tell([1], [1])
    with pytest.raises(InputError, match="shape"):
        learner.predict(np.zeros((3, 4, 5)))
    for pool, message in [
        (np.full((5, 2), np.nan), "NaN"),
        (np.zeros((5, 2), dtype=complex), "complex128"),
        (np.zeros((0, 2)), "empty"),
        (np.zeros(5), "shape"),
    ]:
        with pytest.raises(InputError, match=message):
            ActiveLearner(pool, "random", 3)
    with pytest.raises(InputError, match="at least two"):
        ActiveLearner(blob_data.x_train, "random", 1)


def test_wrong_feature_count_is_refused(blob_data):
    learner = make(blob_data)
    learner.tell([0, 1, 2], [0, 1, 2])
    with pytest.raises(InputError):
        learner.predict(np.zeros((3, 4), dtype=np.float32))


@pytest.mark.parametrize("name", ["margin", "autoal"])
def test_saved_learner_continues_identically(tmp_path, blob_data, name):
    learner = make(
        blob_data, create_strategy(name, **({"candidates": ["entropy", "kmeans"]} if name == "autoal" else {}))
    )
    first = learner.ask(12)
    learner.tell(first, blob_data.y_train[first])
    second = learner.ask(5)
    learner.save(tmp_path / "learner.pt")
    loaded = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train, device="cpu")
    assert loaded.ask(5).tolist() == second.tolist() and loaded.round == 0
    assert np.array_equal(loaded.predict_proba(blob_data.x_test), learner.predict_proba(blob_data.x_test))
    for each in (learner, loaded):
        each.tell(second, blob_data.y_train[second])
    assert loaded.ask(5).tolist() == learner.ask(5).tolist()
    with pytest.raises(InputError, match="another pool"):
        ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train + 1, device="cpu")
    write_tensors(tmp_path / "newer.pt", {**read_tensors(tmp_path / "learner.pt"), "format": 3})
    with pytest.raises(InputError, match=r"newer.pt is not a learner that this version can read \(format 3\)"):
        ActiveLearner.load(tmp_path / "newer.pt", blob_data.x_train)
    (tmp_path / "junk.pt").write_bytes(b"junk")
    with pytest.raises(RunFolderError, match="cannot read"):
        ActiveLearner.load(tmp_path / "junk.pt", blob_data.x_train)


def test_another_batch_size_discards_the_first_answer(blob_data):
    learner, fresh = make(blob_data), make(blob_data)
    for each in (learner, fresh):
        each.tell(np.arange(9), blob_data.y_train[:9])
    learner.ask(3)
    assert learner.ask(7).tolist() == fresh.ask(7).tolist()


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        (2.0, "; write 2"), (np.float64(3), "; write 3"), ("2", "; write 2"), (np.float32(2.5), ""),
        (True, ""), ([2], ""), (float("nan"), ""), (float("inf"), ""), ("two", ""),
    ],
)  # fmt: skip
def test_number_of_classes_of_another_type_is_refused_by_name(blob_data, given, advice):
    message = f"^n_classes must be a whole number, not {re.escape(repr(given))}{advice}$"
    with pytest.raises(InputError, match=message):
        ActiveLearner(blob_data.x_train, "margin", given)
    with pytest.raises(InputError, match=message):
        build_model("linear", (6,), given)


@pytest.mark.parametrize("given", [3, np.int64(3), np.uint8(3), np.array(3), torch.tensor(3)])
def test_number_of_classes_may_have_any_integer_type(blob_data, given):
    learner = ActiveLearner(blob_data.x_train, "margin", given, model="linear", recipe={"epochs": 1, "min_steps": 2})
    assert type(learner.n_classes) is int
    learner.tell(np.arange(6), blob_data.y_train[:6])
    assert learner.predict_proba(blob_data.x_test).shape == (60, 3)


def test_members_and_sizes_are_checked(blob_data):
    for members in ([1, 1, 2], [0, 120], [-1], [], [True, False], [1.5]):
        with pytest.raises(InputError, match="members"):
            make(blob_data, members=members)
    learner = make(blob_data, members=[5, 6, 7, 8])
    assert set(learner.ask(4).tolist()) == {5, 6, 7, 8}
    for size in (2.5, True, "3"):
        with pytest.raises(InputError, match="whole number"):
            learner.ask(size)
    learner.tell([5, 6, 7, 8], [0, 1, 2, 0])
    with pytest.raises(InputError, match="nothing left to ask"):
        learner.ask(1)


def test_telling_no_labels_changes_nothing(blob_data):
    learner = make(blob_data)
    learner.tell([0, 1, 2], [0, 1, 2])
    first = learner.ask(3)
    learner.tell([], [])
    assert learner.ask(3).tolist() == first.tolist() and learner.round == 0


def test_recipe_names_and_types_are_checked(blob_data):
    learner = ActiveLearner(blob_data.x_train, "margin", 3, model="linear", recipe={"epochs": 2, "min_steps": 5})
    assert learner.recipe.epochs == 2 and learner.recipe.learning_rate == 3e-3
    for wrong in ({"epochs": "3"}, {"epochs": 1.5}, {"warm_start": 1}, {"learning_rate": "fast"}, {"epoch": 3}):
        with pytest.raises(InputError):
            ActiveLearner(blob_data.x_train, "margin", 3, recipe=wrong)
    assert Recipe(weight_decay=0).weight_decay == 0.0
    assert (
        type(Recipe(epochs=np.int64(2)).epochs) is int
        and type(Recipe(learning_rate=np.float32(1)).learning_rate) is float
    )
    with pytest.raises(InputError, match="n_rounds -5: give 0 or more"):
        ActiveLearner(blob_data.x_train, "margin", 3, n_rounds=-5)
    for name, value in (("seed", 1.5), ("seed", "1"), ("n_classes", "3"), ("n_rounds", "3")):
        with pytest.raises(InputError, match=f"{name} must be a whole number, not {value!r}"):
            ActiveLearner(blob_data.x_train, "margin", **{"n_classes": 3, name: value})


def test_failed_query_leaves_strategy_state_unchanged(blob_data):
    class Counts(Strategy):
        def __init__(self):
            self.times, self.fails = 0, True

        def query(self, context, batch_size):
            self.times += 1
            if self.fails:
                raise KeyboardInterrupt
            return context.candidates.indices[:batch_size]

        def state_dict(self):
            return {"times": self.times}

        def load_state_dict(self, state):
            self.times = state["times"]

    strategy = Counts()
    learner = ActiveLearner(blob_data.x_train, strategy, 3, model="linear", recipe={"epochs": 1, "min_steps": 1})
    learner.tell([0, 1, 2], blob_data.y_train[:3])
    with pytest.raises(KeyboardInterrupt):
        learner.ask(4)
    assert strategy.times == 0
    strategy.fails = False
    assert len(learner.ask(4)) == 4
    assert strategy.times == 1


def test_a_learner_whose_model_has_newer_options_says_how_it_is_trained(tmp_path, blob_data, caplog):
    """As one of version 0.1.0 with ``linear``, which was trained by gradient steps."""
    learner = ActiveLearner(blob_data.x_train, "margin", 3, model="linear")
    learner.tell(np.arange(10), blob_data.y_train[:10])
    learner.save(tmp_path / "learner.pt")
    ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train)
    assert not caplog.records
    write_tensors(tmp_path / "older.pt", {**read_tensors(tmp_path / "learner.pt"), "model_options": {}})
    ActiveLearner.load(tmp_path / "older.pt", blob_data.x_train)
    assert "model 'linear' did not have the options" in caplog.text and "class_weights" in caplog.text
