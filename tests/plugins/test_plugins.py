"""Discovery, isolation and name rules, with fabricated distributions on a separate path."""

import importlib.metadata
import logging
import subprocess
import sys

import pytest

from deepal_autoal import hookimpl
from deepal_autoal.errors import PluginError, UnknownNameError
from deepal_autoal.plugins.host import PluginHost, plugin_host

GOOD = """
from deepal_autoal import ScoringStrategy, hookimpl

class Gini(ScoringStrategy):
    \"\"\"Gini impurity.\"\"\"
    requires = frozenset({"probabilities"})

    def score(self, context):
        return 1.0 - (context.candidates.probabilities() ** 2).sum(dim=1)

@hookimpl
def deepal_register_strategies(registry):
    registry.add("NAME", Gini)
"""


def load():
    host = PluginHost()
    host.load_entry_points()
    return host


def record_of(host, name, distribution=None):
    found = [r for r in host.records if r.name == name and distribution in (None, r.provider.distribution)]
    assert len(found) == 1
    return found[0]


def test_builtins_are_loaded_through_entry_points():
    names = {point.name for point in importlib.metadata.entry_points(group="deepal")}
    host = load()
    assert {"autoal", "entropy", "kmeans", "leastconf", "margin", "random", "vote"} <= set(host.strategies.names())
    assert set(host.strategies.names()) <= names  # one entry point per strategy
    assert {"digits", "mnist", "cifar10", "organcmnist"} <= set(host.datasets.names())
    assert {"linear", "mlp", "cnn", "resnet18"} <= set(host.models.names())
    assert not [record.problems for record in host.records if record.provider.builtin and record.problems]


def test_third_party_is_listed_with_its_distribution(distribution):
    distribution("deepal-gini", "2.3", {"gini": "gini_plugin"}, gini_plugin=GOOD.replace("NAME", "gini"))
    entry = load().strategies.get("gini").describe()
    assert entry["distribution"] == "deepal-gini" and entry["version"] == "2.3"
    assert entry["summary"] == "Gini impurity." and entry["requires"] == ["probabilities"]


def test_broken_import_is_isolated_and_explained(distribution):
    distribution("bad", "0.1", {"broken": "broken_plugin"}, broken_plugin="raise RuntimeError('no such luck')")
    distribution("good", "0.1", {"gini": "gini_plugin"}, gini_plugin=GOOD.replace("NAME", "gini"))
    host = load()
    assert "gini" in host.strategies and "entropy" in host.strategies
    assert record_of(host, "broken").state == "failed"
    with pytest.raises(PluginError, match=r"'broken'.*bad 0\.1.*no such luck") as caught:
        host.strategies.get("broken")
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_sys_exit_and_missing_module_are_failures(distribution):
    distribution("a", "1", {"exits": "exits_plugin"}, exits_plugin="import sys; sys.exit(3)")
    distribution("b", "1", {"absent": "there_is_no_such_module"})
    host = load()
    assert record_of(host, "exits").state == record_of(host, "absent").state == "failed"


def test_two_distributions_with_one_entry_point_name_are_both_refused(distribution):
    distribution("one", "1", {"twin": "twin_one"}, twin_one=GOOD.replace("NAME", "twin"))
    distribution("two", "2", {"twin": "twin_two"}, twin_two=GOOD.replace("NAME", "twin"))
    host = load()
    assert [record.state for record in host.records if record.name == "twin"] == ["refused", "refused"]
    assert "twin" not in host.strategies
    with pytest.raises(PluginError, match=r"one 1.*two 2|two 2.*one 1"):
        host.strategies.get("twin")


def test_two_distributions_with_one_strategy_name_are_both_refused(distribution):
    distribution("one", "1", {"first": "twin_one"}, twin_one=GOOD.replace("NAME", "twin"))
    distribution("two", "2", {"second": "twin_two"}, twin_two=GOOD.replace("NAME", "twin"))
    host = load()
    with pytest.raises(PluginError, match=r"'twin' is provided by one 1 and two 2; both are refused"):
        host.strategies.get("twin")


def test_builtin_keeps_its_name(distribution):
    distribution("thief", "1", {"entropy": "thief_entry"}, thief_entry=GOOD.replace("NAME", "other"))
    distribution("thief2", "1", {"innocent": "thief_name"}, thief_name=GOOD.replace("NAME", "entropy"))
    host = load()
    assert host.strategies.get("entropy").provider.builtin
    assert record_of(host, "entropy", "thief").state == "refused"
    assert "built-in" in record_of(host, "innocent").problems[0]


def test_one_module_under_two_entry_point_names(distribution):
    distribution("pair", "1", {"a": "pair_plugin", "b": "pair_plugin"}, pair_plugin=GOOD.replace("NAME", "a"))
    host = load()
    assert "a" in host.strategies and not record_of(host, "b").problems


@pytest.mark.parametrize(
    "source, expected",
    [
        ("@hookimpl\ndef deepal_register_stratgies(registry): pass", "not a hook"),
        ("@hookimpl\ndef deepal_register_strategies(regsitry): pass", "regsitry"),
        ("@hookimpl\ndef deepal_register_strategies(registry): registry.add('x y', int)", "not a valid strategy name"),
        ("@hookimpl\ndef deepal_register_strategies(registry): registry.add('x', 'not a target')", "module:attribute"),
        ("@hookimpl\ndef deepal_register_strategies(registry): registry.add('x', 'm:X', requires={'magic'})", "magic"),
        ("@hookimpl\ndef deepal_register_strategies(registry): registry.add('x', 'm:X', color='red')", "color"),
        (
            "@hookimpl\ndef deepal_register_strategies(registry):\n  registry.add('x', 'm:X')\n  raise OSError('late')",
            "late",
        ),
    ],
)
def test_contract_breaches_fail_the_whole_plugin(distribution, source, expected):
    distribution("odd", "1", {"odd": "odd_plugin"}, odd_plugin="from deepal_autoal import hookimpl\n" + source)
    host = load()
    record = record_of(host, "odd")
    assert record.state == "failed" and expected in record.problems[0]
    assert "x" not in host.strategies
    assert not host.manager.get_plugins() & {sys.modules["odd_plugin"]}


def test_broken_lazy_target_is_named_when_requested(distribution):
    source = """
    from deepal_autoal import hookimpl
    @hookimpl
    def deepal_register_strategies(registry):
        registry.add("lazy", "no_such_module_here:Lazy")
    """
    distribution("lazy-dist", "4.5", {"lazy": "lazy_plugin"}, lazy_plugin=source)
    with pytest.raises(PluginError, match=r"lazy-dist 4\.5.*no_such_module_here"):
        load().strategies.load("lazy")


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(UnknownNameError, match=r"unknown strategy 'entrpy'\. Did you mean 'entropy'"):
        plugin_host().strategies.get("entrpy")


def test_failing_event_hook_is_reported_and_the_others_run(caplog):
    seen = []

    class Failing:
        @hookimpl
        def deepal_run_finished(self, run):
            raise ValueError("boom")

        @hookimpl
        def deepal_should_stop(self, run):
            raise ValueError("boom")

    class Working:
        @hookimpl
        def deepal_run_finished(self, run):
            seen.append(run)

        @hookimpl
        def deepal_should_stop(self, run):
            return "enough"

    host = PluginHost()
    host.register(Working(), "working")
    host.register(Failing(), "failing")
    with caplog.at_level(logging.WARNING):
        host.notify("deepal_run_finished", run="the run")
        assert host.notify("deepal_should_stop", run="the run") == "enough"
    assert seen == ["the run"]
    assert "deepal_run_finished: ValueError: boom" in caplog.text


def test_in_process_plugin_can_be_removed():
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("mine", "somewhere:Mine")

    host = load()
    plugin = Plugin()
    host.register(plugin, "mine")
    assert "mine" in host.strategies
    host.unregister(plugin)
    assert "mine" not in host.strategies and "entropy" in host.strategies


@pytest.mark.parametrize("kind", ["strategies", "datasets"])
def test_listing_imports_nothing_heavy(kind):
    code = (
        "import sys; from deepal_autoal import ScoringStrategy, hookimpl\n"
        "from deepal_autoal.cli.main import cli\n"
        f"cli.main([{kind!r}, '--json'], standalone_mode=False)\n"
        "heavy = {'torch', 'sklearn', 'scipy', 'matplotlib', 'pandas', 'torchvision', 'numpy', 'medmnist'}\n"
        "heavy &= set(sys.modules)\n"
        "print(sorted(heavy), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"


def test_half_removed_distribution_breaks_nothing(distribution):
    distribution("ghost", "1", {"gini": "gini_plugin"}, gini_plugin=GOOD.replace("NAME", "gini"))
    (distribution.path / "ghost-1.dist-info" / "METADATA").unlink()
    host = load()
    assert "entropy" in host.strategies and host.describe()


def test_conflict_is_recorded_for_both_claimants(distribution):
    distribution("one", "1", {"first": "twin_one"}, twin_one=GOOD.replace("NAME", "twin"))
    distribution("two", "2", {"second": "twin_two"}, twin_two=GOOD.replace("NAME", "twin"))
    host = load()
    assert "two 2" in record_of(host, "first").problems[0] and "one 1" in record_of(host, "second").problems[0]
    assert not record_of(host, "first").provides
