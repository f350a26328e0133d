"""Every check catches a strategy that violates it, and good strategies pass."""

import json
import os
import subprocess
import sys
import types

import numpy as np
import pytest
import torch

from deepal_autoal import InputError, ScoringStrategy, UnknownNameError, hookimpl, plugin_host
from deepal_autoal.testing import check_strategy, conformance_test
from deepal_autoal.testing.checks import CHECKS
from deepal_autoal.testing.evidence import close
from deepal_autoal.testing.report import FAILED, PASSED, SKIPPED
from deepal_autoal.testing.run import run_check
from deepal_autoal.testing.subject import Subject
from tests.conformance import broken_strategies as broken

pytestmark = pytest.mark.slow

BY_NAME = {check.name: check for check in CHECKS}


@pytest.fixture
def register():
    """Return a function that registers strategies in this process for the test."""
    plugins = []

    def add(name, target, **card):
        @hookimpl
        def deepal_register_strategies(registry):
            registry.add(name, target, **card)

        plugins.append(type("Plugin", (), {"deepal_register_strategies": staticmethod(deepal_register_strategies)}))
        plugin_host().register(plugins[-1], f"plugin-{name}")
        return name

    yield add
    for plugin in plugins:
        plugin_host().unregister(plugin)


def outcome(check, strategy, **options):
    """Return the result of one check of one strategy."""
    subject = Subject(strategy, options=options)
    try:
        return run_check(BY_NAME[check], subject)
    finally:
        close(subject)


CASES = [
    ("batch-is-exact", broken.Duplicates, "duplicates"),
    ("batch-is-exact", broken.Short, "6 indices"),
    ("batch-is-exact", broken.Labeled, "labeled or not in the pool"),
    ("batch-is-exact", broken.Positions, "labeled or not in the pool"),
    ("batch-is-exact", broken.Raises, "RuntimeError: no luck today"),
    ("too-large-batch-is-refused", broken.Entropic, "never asked for too much"),
    ("scores-are-numbers", broken.ListScores, "list"),
    ("scores-are-numbers", broken.BatchScores, "(48, 1)"),
    ("report-is-json", broken.ObjectReport, "report['model']"),
    ("report-is-json", broken.NanReport, "report['loss']"),
    ("same-seed-same-batch", broken.NumpyGlobal, "context.rng"),
    ("same-seed-same-batch", broken.TorchGlobalHidden, "context.generator"),
    ("same-seed-same-batch", broken.Entropic, "in common"),
    ("instances-share-nothing", broken.SharedDefault, "default argument"),
    ("asking-again-changes-nothing", broken.Forgetful, "state_dict()"),
    ("process-is-untouched", broken.NumpyGlobal, "numpy's global generator"),
    ("process-is-untouched", broken.TorchSeed, "torch's global generator"),
    ("process-is-untouched", broken.DefaultDtype, "default dtype"),
    ("process-is-untouched", broken.Threads, "number of threads"),
    ("process-is-untouched", broken.WarningFilters, "warnings filters"),
    ("model-is-untouched", broken.Weights, "weights and statistics of model.head.weight"),
    ("model-is-untouched", broken.TrainMode, "mode of model.dropout"),
    ("model-is-untouched", broken.Grads, "requires_grad"),
    ("model-is-untouched", broken.Hooked, "hooks of model.head"),
    ("model-is-untouched", broken.BatchNorm, "running"),
    ("model-is-untouched", broken.DropoutRate, "attributes of model.dropout.p"),
    ("model-is-untouched", broken.Metrics, "precision, metrics['train_accuracy']"),
    ("model-is-untouched", broken.LearningRate, "recipe.learning_rate"),
    ("model-is-untouched", broken.OneClass, "context.n_classes"),
    ("outputs-are-untouched", broken.Relabels, "labeled.labels"),
    ("outputs-are-untouched", broken.ReplacesResult, "candidates.probabilities()"),
    ("outputs-are-untouched", broken.InPlace, "candidates.probabilities()"),
    ("outputs-are-untouched", broken.ClampInPlace, "candidates.probabilities()"),
    ("outputs-are-untouched", broken.NumpyInPlace, "candidates.probabilities()"),
    ("hidden-labels-do-not-matter", broken.Peeks, "hidden labels"),
    ("order-does-not-matter", broken.First, "in another order"),
    ("order-does-not-matter", broken.SortedLabels, "labeled samples in another order"),
    ("picks-in-turn-are-right", broken.TurnsByPosition, "of query"),
    ("picks-in-turn-are-right", broken.TurnsAlone, "taken already"),
    ("picks-in-turn-are-right", broken.TurnsShort, "picks_in_turn ended after"),
    ("scores-are-numbers", broken.LastBatchScores, "of shape (170,)"),
    ("identical-candidates-work", broken.NoRidge, "NaN"),
    ("identical-candidates-work", broken.UnseededTies, "draw from context.rng"),
    ("ties-are-broken-at-random", broken.TiesByPosition, "by position"),
    ("certain-predictions-work", broken.LogZero, "NaN"),
    ("two-classes-work", broken.ThirdBest, "broken_strategies.py"),
    ("many-classes-work", broken.TwoPerClass, "fewer labels than classes"),
    ("missing-class-works", broken.ShortCounts, "broken_strategies.py"),
    ("single-label-works", broken.Deviations, "NaN"),
    ("tiny-pool-works", broken.Squeezed, "shape ()"),
    ("vectors-work", broken.Square, "broken_strategies.py"),
    ("images-work", broken.Matrix, "broken_strategies.py"),
    ("color-images-work", broken.Square, "images must be square"),
    ("needs-are-declared", broken.Undeclared, "probabilities()"),
    ("needs-are-declared", broken.ListRequires, "write frozenset({...})"),
    ("needs-are-declared", broken.PatientUndeclared, "probabilities()"),
    ("needs-are-declared", broken.Misspelt, "probability"),
    ("memory-is-within-its-class", broken.TorchMatrix, "(2500, 2500) float32"),
    ("memory-is-within-its-class", broken.NumpyMatrix, "N = 2500"),
    ("memory-is-within-its-class", broken.BroadcastMatrix, "(2500, 2500) float32"),
    ("memory-is-within-its-class", broken.ListOfRows, "in many tensors"),
    ("work-grows-as-its-card-says", broken.ChunkedMatrix, "N = 625"),
    ("work-grows-as-its-card-says", broken.BroadcastMatrix, "linear in N"),
    ("other-process-same-batch", broken.ClassCache, "on the class"),
    ("other-process-same-batch", broken.HashOrder, "in another process"),
    ("other-process-same-batch", broken.Exits, "exit status 7"),
    ("memory-survives-saving", broken.Forgetful, "load_state_dict()"),
    ("memory-survives-saving", broken.Unsavable, "set"),
]


@pytest.mark.filterwarnings("ignore:std")
@pytest.mark.parametrize("check, strategy, words", CASES, ids=lambda value: getattr(value, "__name__", None))
def test_a_check_catches_a_violation(check, strategy, words):
    result = outcome(check, strategy)
    assert result.status == FAILED, result
    assert result.expected and result.got and result.fix
    assert words in result.message
    assert "\n" not in result.expected + result.got + result.fix


def test_every_check_has_a_failing_case():
    registered_only = {"card-is-true", "options-recreate-it", "unknown-options-are-refused", "candidates-can-be-chosen"}
    assert {case[0] for case in CASES} | registered_only | {"cuda-gives-a-batch"} == set(BY_NAME)


@pytest.mark.parametrize(
    "check, cls, card, words",
    [
        ("card-is-true", "Gini", {"requires": {"embeddings"}}, 'requires={"probabilities"}'),
        ("card-is-true", "Gini", {"requires": {"probabilities"}, "changes_training": True}, "changes_training=False"),
        ("options-recreate-it", "HiddenOption", {}, "exponent"),
        ("options-recreate-it", "Untyped", {}, "weights"),
        ("unknown-options-are-refused", "Accepts", {}, "no_such_option"),
        ("candidates-can-be-chosen", "Stubborn", {}, "KeyError"),
        ("candidates-can-be-chosen", "Ordered", {}, "entropy comes first"),
        ("memory-is-within-its-class", "TorchMatrix", {"memory": "N*D"}, "N·D"),
        ("work-grows-as-its-card-says", "ChunkedMatrix", {"time": "N*D"}, "N·D"),
    ],
)
def test_a_registration_check_catches_a_violation(register, check, cls, card, words):
    result = outcome(check, register("third", f"tests.conformance.broken_strategies:{cls}", **card))
    assert result.status == FAILED and words in result.message, result


def test_a_selector_may_need_a_certain_number_of_candidates(register):
    name = register("third", "tests.conformance.broken_strategies:Pair", requires={"probabilities"})
    assert outcome("candidates-can-be-chosen", name).status == PASSED


def test_declared_quadratic_memory_passes(register):
    name = register("third", "tests.conformance.broken_strategies:TorchMatrix", requires={"embeddings"}, memory="N*N")
    assert outcome("memory-is-within-its-class", name).status == PASSED


def test_declared_quadratic_work_passes(register):
    name = register("third", "tests.conformance.broken_strategies:ChunkedMatrix", requires={"embeddings"}, time="N*N*D")
    assert outcome("work-grows-as-its-card-says", name).status == PASSED
    assert outcome("memory-is-within-its-class", name).status == PASSED


def test_outputs_used_late_or_never_are_not_a_failure():
    result = outcome("needs-are-declared", broken.Patient)
    assert result.status == PASSED and not result.note
    result = outcome("needs-are-declared", broken.Unused)
    assert result.status == PASSED and "leave mc_dropout out" in result.note


def test_the_card_describes_default_options(register):
    name = register("optional", "tests.conformance.broken_strategies:Optional", requires={"probabilities"})
    assert outcome("card-is-true", name, power=2.0).status == PASSED
    assert outcome("card-is-true", "vote", final="diverse", oversample=3).status == PASSED
    subject = Subject("vote", ["bald", "entropy"], {"bald.n_passes": 3})
    assert run_check(BY_NAME["card-is-true"], subject).status == PASSED


def test_slow_strategies_are_asked_less_often():
    broken.slow_queries.clear()
    report = check_strategy(broken.Slow)
    assert report.ok, str(report)
    # Each query takes seconds if a strategy trains networks; those in the other process are not counted.
    assert len(broken.slow_queries) <= 18
    assert any("slow" in result.note for result in report.results)


def test_nothing_is_left_behind_without_close(tmp_path):
    code = (
        "from types import SimpleNamespace\n"
        "from deepal_autoal.testing.other_process import OtherProcess\n"
        # It cannot train, which would take time, but it has a folder and a process.
        "subject = SimpleNamespace(target='entropy', options={}, candidates=None, entry=None, kind='vectors')\n"
        "other = OtherProcess(subject)\n"
        "assert other.saved.parent.is_dir() and not other._helper.has_ended\n"
    )
    variables = {**os.environ, "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
    assert done.returncode == 0 and not done.stderr
    assert not list(tmp_path.glob("deepal-*"))


@pytest.mark.parametrize("strategy", [broken.Gini, broken.Counting, broken.Drawing, broken.Refusing])
def test_good_strategies_pass(strategy):
    report = check_strategy(strategy)
    assert report.ok, str(report)
    skipped = {result.name: result.note for result in report.results if result.status == SKIPPED}
    assert ("order-does-not-matter" in skipped) == (strategy is broken.Drawing)
    assert ("pixels" in skipped.get("vectors-work", "")) == (strategy is broken.Refusing)
    assert all(skipped.values())


def test_a_registered_third_party_strategy_passes_with_options(register):
    name = register(
        "counting", "tests.conformance.broken_strategies:Counting", requires={"probabilities"}, memory="N*C"
    )
    report = check_strategy(name, start=1)
    assert report.ok, str(report)
    statuses = {result.name: result.status for result in report.results}
    assert statuses["card-is-true"] == statuses["options-recreate-it"] == statuses["other-process-same-batch"] == PASSED


def test_a_class_that_another_process_cannot_import_is_loaded_here():
    class Local(broken.Counting):
        pass

    report = check_strategy(Local)
    results = {result.name: result for result in report.results}
    assert report.ok, str(report)
    assert results["other-process-same-batch"].status == SKIPPED
    assert "top of a module" in results["other-process-same-batch"].note
    assert results["memory-survives-saving"].status == PASSED

    class LocalForgetful(broken.Forgetful):
        pass

    assert outcome("memory-survives-saving", LocalForgetful).status == FAILED


def test_the_report_explains_and_serializes():
    report = check_strategy(broken.Raises)
    assert not report.ok and "Raises: " in report.headline
    described = json.loads(json.dumps(report.describe()))
    assert described["failed"] == len(report.failures) == sum(row["status"] == "failed" for row in described["checks"])
    text = str(report)
    assert "expected:" in text and "likewise:" in text and "no luck today" in text
    # One fault is explained a few times, not once per check.
    assert text.count("no luck today") < len(report.failures) / 2


def test_the_process_state_is_restored():
    states = (np.random.get_state()[1].tobytes(), torch.get_rng_state(), torch.get_num_threads())
    check_strategy(broken.DefaultDtype)
    assert np.random.get_state()[1].tobytes() == states[0]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert torch.get_num_threads() == states[2] and torch.get_default_dtype() == torch.float32


def test_what_cannot_be_checked_is_refused_immediately():
    with pytest.raises(UnknownNameError, match="entropy"):
        check_strategy("entrpy")
    with pytest.raises(InputError, match="class or a function"):
        check_strategy(broken.Gini())
    with pytest.raises(InputError, match="option"):
        check_strategy(broken.Gini, sharpness=3)
    with pytest.raises(InputError, match="not a Strategy"):
        check_strategy(lambda: 3)


test_gini = conformance_test(broken.Gini)
test_vote_of_two = conformance_test("vote", candidates=["entropy", "margin"], final="top")


def test_pytest_items_fail_and_skip():
    test = conformance_test(broken.Duplicates)
    with pytest.raises(pytest.fail.Exception, match="fix:"):
        test(BY_NAME["batch-is-exact"])
    with pytest.raises(pytest.skip.Exception, match="not a selector"):
        test(BY_NAME["candidates-can-be-chosen"])


def test_a_class_of_an_interactive_session_has_no_file(monkeypatch):
    """Python's inspect raises OSError for it, not TypeError."""
    monkeypatch.setitem(sys.modules, "__main__", types.ModuleType("__main__"))  # which has no file
    session = type("Session", (ScoringStrategy,), {"__module__": "__main__", "score": lambda self, context: None})
    assert Subject(session, None, {}).home is None
