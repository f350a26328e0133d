"""Strategies and candidates given as objects: instances, classes, functions of the context, and anything else."""

import functools
import json
import re

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, ScoringStrategy, SelectorStrategy, Strategy, create_strategy, run
from deepal_autoal.errors import InputError, QueryError, RunFolderError
from deepal_autoal.training.recipe import Recipe


class Lowest(ScoringStrategy):
    """Queries the lowest probability of the first class, and thereby nothing that another strategy queries."""

    requires = frozenset({"probabilities"})

    def __init__(self, sign: int = -1):
        self.sign = sign

    def score(self, context):
        return self.sign * context.candidates.probabilities()[:, 0]


class NeedsPower(Lowest):
    def __init__(self, power: int):
        super().__init__(power)


class Incomplete(ScoringStrategy):
    pass


class Foreign:
    def query(self, context, batch_size):
        return context.candidates.indices[:batch_size]


def lowest(context):
    return -context.candidates.probabilities()[:, 0]


def margin(context):
    """Has the name of a registered strategy, but its own scores."""
    return lowest(context).cpu().numpy()


def scaled(context, factor=2.0):
    return factor * lowest(context)


def interrupt(run, record):
    raise KeyboardInterrupt


def picks(result):
    return [record["queried"] for record in result.rounds]


FORMS = {
    "class": (Lowest, "Lowest"),
    "instance": (Lowest(), "Lowest"),
    "function": (lowest, "lowest"),
    "registered name": (margin, "margin (function)"),
    "lambda": (lambda context: lowest(context), "lambda"),
    "partial": (functools.partial(scaled, factor=3.0), "scaled"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_what_is_run_and_recorded(tmp_path, blob_data, quick, form):
    given, name = FORMS[form]
    result = run(given, blob_data, out=tmp_path / "run", **quick)
    assert picks(result) == picks(run(Lowest(), blob_data, **quick)) != picks(run("random", blob_data, **quick))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["strategy"]["name"] == name
    learner = ActiveLearner(blob_data.x_train, given, 3, model="linear", recipe=Recipe(epochs=1, min_steps=2))
    learner.tell(np.arange(6), blob_data.y_train[:6])
    assert len(learner.ask(3)) == 3 and learner.strategy.name in (name, "")


def test_class_takes_options_and_instance_does_not(blob_data, quick):
    highest = run(Lowest, blob_data, **quick | {"options": {"sign": "1"}})
    assert highest.config["strategy"]["options"] == {"sign": 1}
    assert picks(highest) == picks(run(Lowest(1), blob_data, **quick)) != picks(run(Lowest, blob_data, **quick))
    assert picks(run(NeedsPower, blob_data, **quick | {"options": {"power": 1}})) == picks(highest)
    for given, reason in ((Lowest(), "created already"), (lowest, "takes none")):
        with pytest.raises(InputError, match=reason):
            run(given, blob_data, **quick | {"options": {"sign": 1}})


WRONG = {
    "number": (3, "3 of type int"),
    "list": ([Lowest], r"\[<class .*Lowest'>\] of type list"),
    "names": (["margin"], r"\['margin'\] of type list"),
    "array": (np.zeros((100, 100)), r"array.* of type ndarray"),
    "bytes": (b"margin", "of type bytes"),
    "another class": (Foreign, "class Foreign is not a subclass of Strategy"),
    "another object": (Foreign(), "of type Foreign"),
    "a type": (int, "class int is not a subclass"),
    "two arguments": (lambda context, batch_size: [1], r"cannot be called as function\(context\)"),
    "no argument": (lambda: [1], r"cannot be called as function\(context\)"),
    "module": (torch.nn.Linear(2, 2), r"cannot be called as function\(context\)"),
    "C function": (max, r"cannot be called as function\(context\)"),
    "base class": (Strategy, "Strategy does not implement query"),
    "incomplete": (Incomplete, "Incomplete does not implement score"),
    "needs arguments": (NeedsPower, r"'NeedsPower' cannot be created without power: give NeedsPower\(power=\.\.\.\)"),
}


@pytest.mark.parametrize("form", WRONG)
def test_anything_else_is_refused_at_every_door(tmp_path, blob_data, quick, form):
    given, message = WRONG[form]
    doors = (
        lambda: run(given, blob_data, out=tmp_path / "run", **quick),
        lambda: run("vote", blob_data, out=tmp_path / "run", **quick | {"candidates": ["margin", given]}),
        lambda: ActiveLearner(blob_data.x_train, given, 3),
        lambda: create_strategy(given),
        lambda: create_strategy("vote", ["margin", given]),
    )
    for door in doors:
        with pytest.raises(InputError, match=message) as caught:
            door()
        assert "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / "run").exists()


def test_none_is_the_default_of_a_run_only(blob_data, quick):
    assert run(None, blob_data, **quick).config["strategy"]["name"] == "random"
    for door in (lambda: ActiveLearner(blob_data.x_train, None, 3), lambda: create_strategy("vote", ["margin", None])):
        with pytest.raises(InputError, match="None of type NoneType; give a registered name such as 'margin'"):
            door()


@pytest.mark.parametrize("name", ["strategy", "model", "dataset", "device"])
def test_an_empty_name_is_not_the_default(blob_data, blob_file, quick, name):
    given = {"strategy": "margin", "dataset": blob_file} | quick
    with pytest.raises(InputError):
        run(**given | {name: ""})


@pytest.mark.parametrize("given", [3, Lowest, {"mine": Lowest}, {"mine": "margin"}])
def test_candidates_that_are_no_list_are_refused(blob_data, quick, given):
    for door in (
        lambda: run("vote", blob_data, **quick | {"candidates": given}),
        lambda: create_strategy("vote", given),
    ):
        with pytest.raises(InputError, match=r"a list, such as \['entropy', 'margin'\]"):
            door()


def test_candidates_are_objects_too(tmp_path, blob_data, quick):
    given = quick | {"candidates": [Lowest, "margin", margin]}
    result = run("vote", blob_data, out=tmp_path / "run", **given)
    candidates = [candidate["name"] for candidate in result.config["strategy"]["candidates"]]
    assert candidates == result.config["settings"]["candidates"] == ["Lowest", "margin", "margin (function)"]
    assert result.rounds[0]["strategy"].keys() >= {"weights"} or result.rounds[0]["queried"]
    selector = create_strategy("vote", [Lowest(), "margin", margin])
    assert picks(run(selector, blob_data, **quick)) == picks(result) != picks(run("margin", blob_data, **quick))
    with pytest.raises(InputError, match=r"candidates created in Python \(Lowest, margin \(function\)\)"):
        run("vote", dataset=blob_data, out=tmp_path / "run", resume=True)
    again = run("vote", blob_data, out=tmp_path / "run", resume=True, **given)
    assert picks(again) == picks(result)


def test_sets_stand_beside_objects_also_when_resumed(tmp_path, blob_data, quick):
    given = quick | {"candidates": [lowest, "all-control"]}
    with pytest.raises(KeyboardInterrupt):
        run("vote", blob_data, out=tmp_path / "run", on_round=interrupt, **given)
    resumed = run("vote", blob_data, out=tmp_path / "run", resume=True, **given)
    assert picks(resumed) == picks(run("vote", blob_data, **given))


def test_a_run_with_candidates_from_python_is_resumed_as_its_error_says(tmp_path, blob_data, quick):
    given = [Lowest, "margin", margin]
    with pytest.raises(KeyboardInterrupt):
        run("vote", blob_data, out=tmp_path / "run", on_round=interrupt, **quick | {"candidates": given})
    lost = {None: "Lowest, margin (function)", "Lowest,margin,margin (function)": "Lowest, margin (function)"}
    for candidates, names in (*lost.items(), ((Lowest, "margin", "margin (function)"), "margin (function)")):
        message = rf"created in Python \({re.escape(names)}\).* give all candidates again, these as objects: run\(cand"
        with pytest.raises(InputError, match=message) as caught:
            run(dataset=blob_data, out=tmp_path / "run", resume=True, candidates=candidates)
        assert "\n" not in str(caught.value)
    resumed = run(dataset=blob_data, out=tmp_path / "run", resume=True, candidates=given)
    assert picks(resumed) == picks(run("vote", blob_data, **quick | {"candidates": given}))


def test_candidates_with_one_name_are_refused():
    with pytest.raises(InputError, match="two candidates are named 'Lowest'"):
        create_strategy("vote", [Lowest(1), Lowest(-1)])
    with pytest.raises(InputError, match=r"option Lowest\.sign: the candidate 'Lowest' is created already"):
        create_strategy("vote", [Lowest, "margin"], **{"Lowest.sign": 1})


@pytest.mark.parametrize("given", [["margin"], {"margin": "margin"}, {"margin": Lowest}, {"margin": None}])
def test_selectors_take_strategies_by_name(given):
    with pytest.raises(InputError, match="SelectorStrategy takes candidates as strategies by name"):
        SelectorStrategy(given)


def test_selector_class_gets_its_default_candidates(blob_data, quick):
    class First(SelectorStrategy):
        default_candidates = ("margin", "random")

        def query(self, context, batch_size):
            return self.ask_candidate("margin", context, batch_size)

    result = run(First, blob_data, **quick)
    assert [item["name"] for item in result.config["strategy"]["candidates"]] == ["margin", "random"]
    assert picks(run(First, blob_data, **quick | {"candidates": "margin"})) == picks(result)


def test_a_run_of_an_object_resumes_with_it_only(tmp_path, blob_data, quick):
    with pytest.raises(KeyboardInterrupt):
        run(lowest, blob_data, out=tmp_path / "run", on_round=interrupt, **quick)
    resumed = run(lowest, blob_data, out=tmp_path / "run", resume=True)
    assert picks(resumed) == picks(run(lowest, blob_data, **quick))
    with pytest.raises(InputError, match="strategy created in Python"):
        run(dataset=blob_data, out=tmp_path / "run", resume=True)
    with pytest.raises(RunFolderError, match=r"strategy\.name was 'lowest' and is now 'margin \(function\)'"):
        run(margin, blob_data, out=tmp_path / "run", resume=True)


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        (None, "score.. returned NoneType; expected one number for each of 108 candidates"),
        ("high", "score.. returned str"),
        ([1.0, 2.0], r"score.. returned shape \(2,\); expected \(108,\)"),
        ([float("nan")] * 108, "score.. returned NaN for 108"),
        ([1j] * 108, "score.. returned complex numbers; expected real ones"),
    ],
)
def test_a_function_that_returns_no_scores_is_named(blob_data, quick, returned, message):
    def odd(context):
        return returned

    with pytest.raises(QueryError, match=f"strategy 'odd' of this process: {message}"):
        run(odd, blob_data, **quick)


def test_requirements_of_a_function_are_its_attribute(blob_data, quick):
    def passes(context):
        return context.candidates.mc_probabilities(2).std(dim=0).sum(dim=1)

    passes.requires = {"mc_dropout"}
    assert run(passes, blob_data, **quick).config["strategy"]["requires"] == ["mc_dropout"]
    passes.requires = {"mc-dropout"}
    with pytest.raises(InputError, match=re.escape("requires mc-dropout; known requirements")):
        run(passes, blob_data, **quick)


def test_a_saved_learner_is_loaded_with_a_class(tmp_path, blob_data):
    learner = ActiveLearner(blob_data.x_train, Lowest, 3, model="linear", recipe={"epochs": 1, "min_steps": 2})
    learner.tell(np.arange(6), blob_data.y_train[:6])
    learner.save(tmp_path / "learner.pt")
    for other in (lambda context: context.candidates.probabilities()[:, 0], "margin", type("Other", (Lowest,), {})):
        with pytest.raises(InputError, match="is of another strategy than the given"):
            ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train, strategy=other)
    loaded = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train, strategy=Lowest)
    assert loaded.ask(4).tolist() == learner.ask(4).tolist()
    with pytest.raises(InputError, match="Lowest' was given as an object; give it again"):
        ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train)


def test_a_name_takes_options_in_brackets():
    strategy = create_strategy("margin[calibrated=true]")
    assert strategy.name == "margin" and strategy.options["calibrated"] is True
    vote = create_strategy("vote[final=diverse,oversample=3,bald.n_passes=5]", ["bald", "margin"])
    assert vote.options["oversample"] == 3 and vote.candidates["bald"].n_passes == 5
    with pytest.raises(InputError, match="option calibrated is given twice"):
        create_strategy("margin[calibrated=true]", calibrated=False)
    with pytest.raises(InputError, match="strategy margin\\[calibrated: write it as"):
        create_strategy("margin[calibrated")


def test_a_name_takes_candidates_in_brackets(blob_data):
    vote = create_strategy("vote[candidates=[entropy,margin],power=3]")
    assert list(vote.candidates) == ["entropy", "margin"] and vote.options["power"] == 3
    assert list(create_strategy("vote[candidates=kmeans]").candidates) == ["kmeans"]
    for written, candidates, message in (
        ("vote[candidates=[entropy]]", ["margin"], "candidates are given twice"),
        ("vote[candidates=[]]", None, "name candidates, such as candidates=\\[entropy,margin\\]"),
        ("margin[candidates=[entropy]]", None, "takes no candidates"),
    ):
        with pytest.raises(InputError, match=message):
            create_strategy(written, candidates)
    settings = {"model": "linear", "initial": 12, "batch_size": 6, "rounds": 1}
    found = run("vote[candidates=[entropy,margin],power=3]", blob_data, **settings)
    same = run("vote", blob_data, candidates=["entropy", "margin"], options={"power": 3}, **settings)
    assert found.config["strategy"] == same.config["strategy"]
    assert found.rounds[1]["queried"] == same.rounds[1]["queried"]
    with pytest.raises(InputError, match="option power is given twice"):
        run("vote[power=3]", blob_data, options={"power": 2}, **settings)


def test_a_folder_may_have_brackets_in_its_name(tmp_path, monkeypatch):
    folder = tmp_path / "a[1]b"
    folder.mkdir()
    (folder / "x.py").write_text(
        "from deepal_autoal import ScoringStrategy\nclass Mine(ScoringStrategy):\n"
        "    def __init__(self, key: int = 1):\n        self.key = key\n"
        "    def score(self, context):\n        return context.candidates.embeddings()[:, 0]\n"
    )
    assert create_strategy(f"{folder}/x.py:Mine").options["key"] == 1
    assert create_strategy(f"{folder}/x.py:Mine[key=3]").options["key"] == 3
    x = np.random.default_rng(0).normal(size=(30, 3)).astype(np.float32)
    learner = ActiveLearner(x, f"{folder}/x.py:Mine", 2, model="linear")
    learner.tell(learner.ask(6), np.arange(6) % 2)
    learner.save(tmp_path / "l.pt")
    assert ActiveLearner.load(tmp_path / "l.pt", x).ask(3).tolist() == learner.ask(3).tolist()
