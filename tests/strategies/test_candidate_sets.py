"""Sets of candidates by card: what is in them, what is left out, and how records and resumed runs handle them."""

import json
import logging
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, ScoringStrategy, SelectorStrategy, create_strategy, hookimpl, plugin_host, run
from deepal_autoal.errors import InputError, PluginError, RunFolderError, UnknownNameError
from deepal_autoal.plugins.host import PluginHost
from deepal_autoal.strategies.candidate_sets import candidate_sets
from deepal_autoal.testing.other_process import describe_maker
from deepal_autoal.testing.subject import Subject
from deepal_autoal.training.task_model import TaskModel

HYBRID = candidate_sets()["all-hybrid"]


class Third(ScoringStrategy):
    """A third-party strategy."""

    requires = frozenset({"probabilities"})

    def score(self, context):
        return context.candidates.probabilities()[:, 0]


class Demanding(Third):
    """Cannot be created without an option."""

    def __init__(self, needed: int) -> None:
        self.needed = needed


class Dropping(Third):
    """Needs something that not every model has."""

    requires = frozenset({"mc_dropout"})


class Unfinished(Third):
    """Raises when it is created."""

    def __init__(self) -> None:
        raise ZeroDivisionError("nothing to divide by")


class Choosing(SelectorStrategy):
    """A selector whose card does not say that it is one."""

    def query(self, context, batch_size):
        return context.candidates.indices[:batch_size]


class Trained(Third):
    """Changes training, whatever its card says."""

    def wrap_trainer(self, trainer):
        return trainer


CARDS = {
    "third": (Third, {"family": "weird", "time": "N*C"}),
    "uncosted": (Third, {"family": "weird"}),
    "trains": (Third, {"family": "weird", "time": "2*fit + N"}),
    "networks": (Third, {"family": "weird", "time": "E*N"}),
    "members": (Third, {"family": "weird", "time": "M*N", "requires": {"ensemble"}}),
    "asks": (Third, {"family": "weird", "time": "ask + N"}),
    "constant": (Third, {"family": "cheap", "time": "2"}),
    "pretender": (Third, {"family": "cheap"}),
    "hindsight": (Third, {"family": "control", "time": "N"}),
    "changed": (Trained, {"family": "weird", "time": "N"}),
    "trained": (Trained, {"family": "weird", "time": "N", "changes_training": False}),
    "choosing": (Choosing, {"family": "weird", "time": "N"}),
}


@pytest.fixture
def register(registered):
    """Return a function that registers strategies with their cards, ``register(name=(target, card))``, and models."""

    def call(strategies, models=None):
        class Plugin:
            @hookimpl
            def deepal_register_strategies(self, registry):
                for name, (target, card) in strategies.items():
                    registry.add(name, target, **card)

            @hookimpl
            def deepal_register_models(self, registry):
                for name, target in (models or {}).items():
                    registry.add(name, target, inputs="any")

        registered(Plugin(), f"sets-{len(plugin_host().strategies.names())}")

    return call


def without_dropout(input_shape, n_classes):
    return TaskModel(torch.nn.Flatten(), input_shape[0], n_classes, dropout=0.0)


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def test_builtin_sets():
    sets = candidate_sets()
    assert set(sets["all"]) <= set(plugin_host().strategies.names()) and sets["all"] == sorted(sets["all"])
    assert not {"autoal", "vote", "albl", "tailor", "lpl", "ddu"} & set(sets["all"])  # selectors and training changers
    assert {"random", "ensvarr", "vaal"} <= set(sets["all"])
    assert not {"random", "ensvarr", "vaal"} & set(sets["all-cheap"])
    assert {"entropy", "bald", "kmeans", "coreset", "badge", "dbal"} <= set(sets["all-cheap"])
    assert "uherding" not in sets["all-cheap"]  # its temperature takes three trainings
    assert "deepfool" in sets["all"] and "deepfool" not in sets["all-cheap"]  # hundreds of passes of the pool
    assert {"coreset", "kmeans"} <= set(sets["all-diversity"]) and {"badge", "dbal"} <= set(HYBRID)
    assert "ddu" not in sets["all-uncertainty"] and "all-selector" not in sets


def test_third_party_cards_decide(register):
    before = candidate_sets()
    register(CARDS)
    after = candidate_sets()
    new = {word: set(names) - set(before.get(word, ())) for word, names in after.items()}
    others = {"third", "uncosted", "trains", "networks", "members", "trained", "choosing"}
    assert new["all"] == others | {"constant", "pretender", "hindsight"} and new["all-weird"] == others
    assert new["all-cheap"] == {"third", "trained", "choosing", "constant"}
    assert new["all-control"] == {"hindsight"} and not new["all-diversity"]


def test_sets_and_names_mix_and_merge():
    made = create_strategy("vote", ["margin", "all-diversity", "all-hybrid", "kmeans"])
    assert list(made.candidates) == ["margin", *candidate_sets()["all-diversity"], *HYBRID]
    assert list(made.candidate_words) == ["margin", "all-diversity", "all-hybrid", "kmeans"]
    assert list(create_strategy("vote", "all-hybrid, dbal").candidates) == HYBRID
    assert create_strategy("vote", ["margin"]).candidate_words == {}


@pytest.mark.parametrize(
    "words, message",
    [
        (["all-foo"], "no set of candidates 'all-foo'; choose from all, all-cheap, all-control, all-diversity"),
        (["ALL"], "no set of candidates 'ALL'"),
        (["all-cheap", "all-cheap"], "'all-cheap' is named twice"),
        (["margin", "all-cheap", "margin"], "'margin' is named twice"),
        (["all-cheap", "margn"], "Did you mean 'margin'"),
        (["all-cheap", "lpl"], "changes how the task model is trained"),
        (["all-cheap", "vote"], "its own candidate"),
    ],
)
def test_refused_words(words, message):
    with pytest.raises(InputError, match=message):
        create_strategy("vote", words)


def test_sets_import_strategies_only_when_created():
    code = (
        "import sys\nfrom deepal_autoal.strategies.candidate_sets import candidate_sets, check_names\n"
        "check_names(['all-cheap', 'margin'])\nassert candidate_sets()['all']\n"
        "print(sorted({'torch', 'numpy', 'sklearn', 'deepal_strategies.margin'} & set(sys.modules)))\n"
        "from deepal_autoal import create_strategy\ncreate_strategy('vote', ['all-hybrid'])\n"
        "print(sorted({f'deepal_strategies.{name}' for name in ('badge', 'dbal', 'margin', 'vaal.strategy')} & "
        "set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "['deepal_strategies.badge', 'deepal_strategies.dbal']"]


def test_strategies_that_fail_are_left_out_of_a_set_with_a_warning(register, caplog):
    card = {"family": "weird", "time": "N"}
    register({
        "gone": ("no_such_module:Gone", card), "demanding": (Demanding, card), "unfinished": (Unfinished, card),
        "third": (Third, card), "trained": (Trained, {**card, "changes_training": False}),
        "choosing": (Choosing, card),
    })  # fmt: skip
    made = create_strategy("vote", ["all-weird", "margin"])
    assert list(made.candidates) == ["third", "margin"]
    assert made.candidate_words == {"all-weird": ["third"], "margin": ["margin"]}
    said = warnings_of(caplog)
    assert len(said) == 4 and all("of 'vote' is left out: " in line for line in said)  # no warning for a selector
    assert "no_such_module" in said[1] and "needs the option 'needed'" in said[0] and "changes how" in said[2]
    for named in (["all-weird", "gone"], ["gone"]):
        with pytest.raises(PluginError, match="no_such_module"):
            create_strategy("vote", named)
    with pytest.raises(InputError, match="changes how the task model"):
        create_strategy("vote", ["all-weird", "trained"])


def test_options_reach_candidates_from_a_set(register):
    register({"demanding": (Demanding, {"family": "weird", "time": "N"})})
    made = create_strategy("vote", ["all-weird"], **{"demanding.needed": "3"})
    assert made.candidates["demanding"].needed == 3
    with pytest.raises(InputError, match="'many' is not"):  # a candidate with a given option is not optional
        create_strategy("vote", ["all-weird", "margin"], **{"demanding.needed": "many"})
    with pytest.raises(InputError, match="'vaal' is not among the candidates"):
        create_strategy("vote", ["all-hybrid"], **{"vaal.width": 2})


def test_empty_set_is_an_error(register):
    register({"gone": ("no_such_module:Gone", {"family": "weird", "time": "N"})})
    with pytest.raises(InputError, match=r"no candidate is left of all-weird; name some"):
        create_strategy("vote", ["all-weird"])


def test_selector_can_have_a_set_as_default(register):
    class AsksAll(Choosing):
        """Asks all strategies of a family."""

        default_candidates = ("all-weird",)

    card = {"family": "weird", "time": "N"}
    register({"third": (Third, card), "asks-all": (AsksAll, card)})
    made = create_strategy("asks-all")
    assert list(made.candidates) == ["third"] and made.candidate_words == {"all-weird": ["third"]}


def test_plugins_that_are_not_loaded_are_named(distribution, monkeypatch, caplog):
    distribution("bad", "0.1", {"broken": "broken_plugin"}, broken_plugin="raise RuntimeError('no such luck')")
    host = PluginHost()
    host.load_entry_points()
    monkeypatch.setattr("deepal_autoal.strategies.candidate_selection.plugin_host", lambda: host)
    create_strategy("vote", ["all-diversity"])
    assert warnings_of(caplog) == [
        "candidates all-diversity: without plugins of bad 0.1, which are not loaded: see `deepal plugins`"
    ]
    caplog.clear()
    create_strategy("vote", ["kmeans"])
    assert not warnings_of(caplog)


@pytest.mark.parametrize("name", ["all", "all-mine", "ALL-mine"])
def test_strategy_names_like_sets_are_refused(distribution, name):
    source = f"""
    from deepal_autoal import hookimpl
    @hookimpl
    def deepal_register_strategies(registry):
        registry.add({name!r}, "nowhere:Mine")
        registry.add("also-mine", "nowhere:Mine")
    """
    distribution("greedy", "1", {"greedy": "greedy_plugin"}, greedy_plugin=source)
    host = PluginHost()
    host.load_entry_points()
    (record,) = [record for record in host.records if record.name == "greedy"]
    assert "reserved for sets" in record.problems[0] and record.provides == ["strategy also-mine"]
    assert name not in host.strategies and "also-mine" in host.strategies


def test_set_members_that_the_model_cannot_serve_are_left_out(register, blob_data, caplog):
    register({"dropping": (Dropping, {"family": "weird", "time": "N"}), "third": (Third, {"family": "weird"})},
             {"plain": without_dropout})  # fmt: skip
    pool = blob_data.x_train
    made = create_strategy("vote", ["all-weird", "margin"], final="diverse", oversample=3)
    learner = ActiveLearner(pool, made, 3, model="plain")
    assert list(learner.strategy.candidates) == ["third", "margin"] and learner.strategy.options["oversample"] == 3
    assert learner.strategy.candidate_words == {"all-weird": ["third"], "margin": ["margin"]}
    (line,) = warnings_of(caplog)
    assert "strategy 'vote'" in line and "dropping; they require mc_dropout" in line and "'plain'" in line
    assert list(made.candidates) == ["dropping", "third", "margin"]
    assert ActiveLearner(pool, made, 3, model="linear").strategy is made
    with pytest.raises(InputError, match="requires mc_dropout"):  # a named candidate is not optional
        ActiveLearner(pool, create_strategy("vote", ["all-weird", "dropping"]), 3, model="plain")
    with pytest.raises(InputError, match="requires mc_dropout"):
        ActiveLearner(pool, create_strategy("vote", ["dropping"]), 3, model="plain")
    learner.tell(np.arange(12), blob_data.y_train[:12])
    assert len(learner.ask(4)) == 4


def test_set_without_any_usable_member_is_an_error(register, blob_data):
    register({"dropping": (Dropping, {"family": "weird", "time": "N"})}, {"plain": without_dropout})
    with pytest.raises(InputError, match="no candidate is left of all-weird"):
        run("vote", blob_data, candidates=["all-weird"], model="plain")


def names_in(config):
    return [candidate["name"] for candidate in config["strategy"]["candidates"]]


def stop_at(number):
    def stop(active, record):
        if record["round"] == number:
            raise KeyboardInterrupt

    return stop


@pytest.mark.parametrize("resumed_with", [None, ["all-weird", "kmeans"], ["third", "kmeans"], "all-weird, kmeans"])
def test_resumed_run_keeps_the_members_of_its_sets(tmp_path, blob_file, quick, register, resumed_with):
    card = {"family": "weird", "time": "N"}
    register({"third": (Third, card), "dropping": (Dropping, card)}, {"plain": without_dropout})
    quick["model"] = "plain"
    out = tmp_path / "run"
    words = ["all-weird", "kmeans"]
    whole = run("vote", blob_file, candidates=words, **quick)
    with pytest.raises(KeyboardInterrupt):
        run("vote", blob_file, candidates=words, out=out, on_round=stop_at(1), **quick)
    before = json.loads((out / "config.json").read_text())
    assert names_in(before) == ["third", "kmeans"]
    assert before["settings"]["candidates"] == {"all-weird": ["third"], "kmeans": ["kmeans"]}
    register({"newcomer": (Third, card)})
    assert "newcomer" in candidate_sets()["all-weird"]
    resumed = run("vote", blob_file, candidates=resumed_with, out=out, resume=True, **quick)
    assert [r["queried"] for r in resumed.rounds] == [r["queried"] for r in whole.rounds]
    assert json.loads((out / "config.json").read_text()) == before
    fresh = run("vote", blob_file, candidates=words, **{**quick, "rounds": 0})
    assert names_in(fresh.config) == ["newcomer", "third", "kmeans"]


def test_run_is_not_resumed_with_other_candidates(tmp_path, blob_file, quick):
    out = tmp_path / "run"
    run("vote", blob_file, candidates=["all-diversity"], out=out, **{**quick, "rounds": 0})
    names = candidate_sets()["all-diversity"]  # of longer lists, the message has only the number
    for other in (["all-hybrid"], ["all-diversity", "margin"], ["coreset"], {"all-diversity": ["coreset"]}):
        with pytest.raises(RunFolderError, match=re.escape(f"candidates was {names} and is now")):
            run("vote", blob_file, candidates=other, out=out, resume=True)


def test_resume_fails_if_a_set_member_is_gone(tmp_path, blob_file, quick, registered):
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("third", Third, family="hybrid", time="N")

    plugin = Plugin()
    plugin_host().register(plugin, "leaves")
    try:
        run("vote", blob_file, candidates=["all-hybrid"], out=tmp_path / "run", **{**quick, "rounds": 0})
    finally:
        plugin_host().unregister(plugin)
    with pytest.raises(UnknownNameError, match="unknown strategy 'third'"):
        run(out=tmp_path / "run", resume=True)


def test_loaded_learner_keeps_the_members_of_its_sets(tmp_path, blob_data, register):
    learner = ActiveLearner(blob_data.x_train, create_strategy("vote", ["all-hybrid"]), 3, model="linear")
    learner.save(tmp_path / "learner.pt")
    register({"newcomer": (Third, {"family": "hybrid", "time": "N"})})
    loaded = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train)
    assert list(loaded.strategy.candidates) == HYBRID


def test_conformance_process_gets_the_member_names(register):
    class_given = Subject(Choosing, ["all-hybrid", "margin"]).create()
    assert list(class_given.candidates) == [*HYBRID, "margin"]
    register({"third": (Third, {"family": "weird", "time": "N"})})
    maker = describe_maker(Subject("vote", ["all-weird", "margin"]))
    assert maker["candidates"] == ["third", "margin"] and list(maker["registered"]) == ["third"]
