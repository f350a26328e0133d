"""Faults of a fabricated distribution while it is loaded, and how `deepal plugins` reports them."""

import json
import os
import subprocess
import sys

import pytest

from deepal_autoal import PluginError, UnknownNameError
from deepal_autoal.plugins.host import PluginHost

pytestmark = pytest.mark.slow

HEAD = "from deepal_autoal import ScoringStrategy, SelectorStrategy, Strategy, hookimpl\n"
GOOD = (
    HEAD
    + """
class Gini(ScoringStrategy):
    requires = frozenset({"probabilities"})

    def score(self, context):
        return 1.0 - (context.candidates.probabilities() ** 2).sum(dim=1)

@hookimpl
def deepal_register_strategies(registry):
    registry.add("gini", Gini, summary="Gini")
"""
)


def load():
    host = PluginHost()
    host.load_entry_points()
    return host


def record_of(host, name):
    (record,) = [record for record in host.records if record.name == name and not record.provider.builtin]
    return record


def deepal(distribution, *arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "deepal_autoal", *arguments],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(distribution.path), **environment},
    )  # fmt: skip


def registering(body, name="odd"):
    return f"{HEAD}\n{body}\n\n@hookimpl\ndef deepal_register_strategies(registry):\n    registry.add('{name}', Odd)\n"


@pytest.mark.parametrize(
    "source, expected",
    [
        (registering("class Odd: pass"), "must be a subclass of Strategy"),
        (registering("def Odd(): return Strategy()"), "must be a subclass of Strategy"),
        (registering("class Odd(Strategy): pass"), r"Odd does not implement query\(self, context, batch_size\)"),
        (registering("class Odd(ScoringStrategy): pass"), r"Odd does not implement score\(self, context\)"),
        (
            registering("class Odd(Strategy):\n    def query(self, context): pass"),
            r"Odd\.query\(self, context\) cannot be called with \(self, context, batch_size\)",
        ),
        (registering("class Odd(ScoringStrategy):\n    @staticmethod\n    def score(context): pass"), r"Odd\.score"),
        (registering("class Odd(ScoringStrategy):\n    score = 3"), "must be callable"),
        (
            registering("class Odd(Strategy):\n    def query(self, c, b): pass\n    def wrap_trainer(self): pass"),
            r"wrap_trainer\(self\) cannot be called",
        ),
        (
            registering("class Odd(SelectorStrategy):\n    def __init__(self): pass\n    def query(self, c, b): pass"),
            "must accept candidates",
        ),
        (HEAD + "x = 1", "implements no hook"),
        (HEAD + "deepal_contract = 3\n" + registering("class Odd(Strategy): pass"), "version 3 of the plugin contract"),
        (HEAD + "deepal_contract = '1'", "must be a whole number"),
        (HEAD + "@hookimpl\ndef deepal_register_models(registry): registry.add('m', lambda shape: None)", "n_classes"),
        (HEAD + "@hookimpl\ndef deepal_register_datasets(registry): registry.add('d', lambda: None)", "data_dir"),
        (HEAD + "@hookimpl\ndef deepal_register_options(registry): registry.add('Big_Name', int)", "lower case"),
        ("from deepal_autoal import NoSuchName", "written for another version of deepal_autoal than"),
        ("raise BaseException('rude')", "rude"),
    ],
)
def test_contract_violations_fail_only_their_plugin(distribution, source, expected):
    distribution("odd-dist", "3.1", {"odd": "odd_module"}, odd_module=source)
    distribution("good", "1", {"gini": "good_module"}, good_module=GOOD)
    host = load()
    record = record_of(host, "odd")
    assert record.state == "failed" and not record.provides
    with pytest.raises(PluginError, match=expected) as caught:
        host.strategies.get("odd")
    assert "odd-dist 3.1" in str(caught.value)
    assert "gini" in host.strategies and "entropy" in host.strategies


def test_newer_contract_says_what_to_do_before_its_new_hooks_are_checked(distribution):
    source = HEAD + "deepal_contract = 7\n@hookimpl\ndef deepal_hook_of_the_future(run): pass\n"
    distribution("future", "9", {"future": "future_module"}, future_module=source)
    (problem,) = record_of(load(), "future").problems
    assert "version 7" in problem and "upgrade deepal_autoal" in problem and "not a hook" not in problem


def test_same_contract_is_accepted(distribution):
    distribution("new", "1", {"gini": "new_module"}, new_module="deepal_contract = 1\n" + GOOD)
    assert not record_of(load(), "gini").problems


def test_class_as_entry_point(distribution):
    source = HEAD + "class Plugin:\n    @hookimpl\n    def deepal_run_finished(self, run): pass\nplugin = Plugin()"
    distribution(
        "one", "1", {"of-class": "class_module:Plugin", "of-object": "class_module:plugin"}, class_module=source
    )
    host = load()
    assert "name an instance of it, or a module" in record_of(host, "of-class").problems[0]
    assert record_of(host, "of-object").provides == ["hook deepal_run_finished"]


def test_entry_point_to_a_missing_attribute(distribution):
    distribution("void", "1", {"void": "void_module:nothing"}, void_module="x = 1")
    host = load()
    with pytest.raises(PluginError, match=r"void 1 failed to load.*nothing"):
        host.strategies.get("void")


def test_lazy_target_is_checked_when_it_is_loaded(distribution):
    source = HEAD + "@hookimpl\ndef deepal_register_strategies(registry): registry.add('lazy', 'lazy_target:Lazy')"
    target = "from deepal_autoal import Strategy\nclass Lazy(Strategy):\n    def query(self): pass"
    distribution("lazy-dist", "5", {"lazy": "lazy_module"}, lazy_module=source, lazy_target=target)
    with pytest.raises(PluginError, match=r"Lazy\.query\(self\) cannot be called.*lazy-dist 5"):
        load().strategies.load("lazy")


def test_unknown_name_mentions_plugins_that_are_not_loaded(distribution):
    distribution("broken-dist", "0.3", {"other-name": "broken_module"}, broken_module="1/0")
    with pytest.raises(UnknownNameError, match=r"Plugins of broken-dist 0\.3 are not loaded: see `deepal plugins`"):
        load().strategies.get("gini")


def test_plugins_cannot_redefine_options_of_the_engine(distribution):
    source = HEAD + "@hookimpl\ndef deepal_register_options(registry): registry.add('rounds', int)"
    distribution("greedy", "1", {"greedy": "greedy_module"}, greedy_module=source)
    host = load()
    assert "rounds" not in host.options
    assert "engine's own" in record_of(host, "greedy").problems[0]


def test_two_third_parties_with_one_option_are_both_refused(distribution):
    source = HEAD + "@hookimpl\ndef deepal_register_options(registry): registry.add('twin', int)"
    distribution("one", "1", {"first": "twin_one"}, twin_one=source)
    distribution("two", "2", {"second": "twin_two"}, twin_two=source)
    host = load()
    assert "twin" not in host.options
    assert "two 2" in record_of(host, "first").problems[0] and "one 1" in record_of(host, "second").problems[0]


@pytest.mark.parametrize("disabled", ["gini", "Good_Dist", "all-external", "other, gini"])
def test_disabling(distribution, monkeypatch, disabled):
    distribution("good-dist", "1", {"gini": "good_module"}, good_module=GOOD)
    monkeypatch.setenv("DEEPAL_DISABLE_PLUGINS", disabled)
    host = load()
    assert record_of(host, "gini").state == "disabled" and "good_module" not in sys.modules
    assert "entropy" in host.strategies
    with pytest.raises(PluginError, match="switched off by DEEPAL_DISABLE_PLUGINS"):
        host.strategies.get("gini")
    assert host.unknown_disabled == (["other"] if "other" in disabled else [])


def test_disabling_one_of_two_plugins_with_the_same_name_enables_the_other(distribution, monkeypatch):
    distribution("one", "1", {"gini": "gini_one"}, gini_one=GOOD)
    distribution("two", "2", {"gini": "gini_two"}, gini_two=GOOD)
    assert "gini" not in load().strategies
    monkeypatch.setenv("DEEPAL_DISABLE_PLUGINS", "two")
    assert load().strategies.get("gini").provider.distribution == "one"


def test_builtins_cannot_be_disabled(monkeypatch):
    monkeypatch.setenv("DEEPAL_DISABLE_PLUGINS", "entropy,deepal_autoal")
    host = load()
    assert "entropy" in host.strategies and host.unknown_disabled == ["deepal-autoal", "entropy"]


def test_listing_with_everything_broken(distribution):
    distribution("prints", "1", {"gini": "prints_module"}, prints_module="print('hello')\n" + GOOD)
    distribution("crash", "1", {"crash": "crash_module"}, crash_module="raise KeyError('line one\\nline two')")
    distribution("exits", "1", {"exits": "exits_module"}, exits_module="import sys; sys.exit()")
    slow = "import time; time.sleep(1.2)\n" + GOOD.replace('"gini"', '"slow"')
    distribution("slow-dist", "1", {"slow": "slow_module"}, slow_module=slow)
    done = deepal(distribution, "plugins", "--json")
    assert done.returncode == 0, done.stderr
    found = {plugin["name"]: plugin for plugin in json.loads(done.stdout)}
    assert found["prints"]["state"] == "loaded" and found["prints"]["provides"] == ["strategy gini"]
    assert found["crash"]["state"] == found["exits"]["state"] == "failed"
    assert "line one" in found["crash"]["summary"] and "\n" not in found["crash"]["summary"]
    assert "to load, and every command waits for it" in found["slow-dist"]["summary"]
    table = deepal(distribution, "strategies")
    assert "plugin 'slow' of slow-dist 1 took" in table.stderr and "slow-dist" in table.stdout
    whole = deepal(distribution, "plugins", "crash")
    assert "crash_module.py" in whole.stdout and "KeyError" in whole.stdout
    missing = deepal(distribution, "plugins", "crsh")
    assert missing.returncode == 2 and "Did you mean 'crash'" in missing.stderr
    out = deepal(distribution, "plugins", DEEPAL_DISABLE_PLUGINS="all-external,ghost")
    assert "disabled" in out.stdout and "names ghost, which matches no third-party plugin" in out.stderr
    run = deepal(distribution, "run", "--strategy", "crash")
    assert run.returncode == 2 and run.stderr.splitlines()[-1].startswith("Error: 'crash' is unavailable")


def test_card_details_and_lazy_targets_are_explained(distribution):
    source = HEAD + "@hookimpl\ndef deepal_register_strategies(registry): registry.add('x', 'm:X', famly='learned')"
    distribution("typo", "1", {"x": "typo_module"}, typo_module=source)
    assert "Did you mean 'family'" in record_of(load(), "x").problems[0]
    lazy = HEAD + "@hookimpl\ndef deepal_register_strategies(registry): registry.add('lazy', 'lazy_broken:Lazy')"
    distribution("late", "2", {"lazy": "lazy_module"}, lazy_module=lazy, lazy_broken="def (")
    shown = deepal(distribution, "plugins", "late").stdout
    assert "cannot be imported from 'lazy_broken:Lazy'" in shown and "SyntaxError" in shown


@pytest.mark.parametrize(
    "source, entry_point",
    [
        ("plugin = None", "odd_module:plugin"),
        ("import numpy; plugin = numpy.zeros(3)", "odd_module:plugin"),
        ("class P:\n    def __eq__(self, other): raise KeyError\nplugin = P()", "odd_module:plugin"),
        ("class P:\n    def __eq__(self, other): return True\n    __hash__ = object.__hash__\nplugin = P()",
         "odd_module:plugin"),
        ("class E(Exception):\n    def __str__(self): return 1/0\nraise E", "odd_module"),
        ("raise GeneratorExit", "odd_module"),
        (HEAD + "@hookimpl\nasync def deepal_register_strategies(registry): pass", "odd_module"),
        (HEAD + "@hookimpl\ndef deepal_register_options(registry): registry.add('x', int, flag=3)", "odd_module"),
        ("x = 1", "odd module!"),
        ("raise OSError('a\\udcffb\\x1b[31m')", "odd_module"),
    ],
)  # fmt: skip
def test_unusual_values_fail_only_their_plugin(distribution, source, entry_point):
    distribution("odd-dist", "3.1", {"odd": entry_point}, odd_module=source)
    distribution("good", "1", {"gini": "good_module"}, good_module=GOOD)
    host = load()
    record = record_of(host, "odd")
    assert record.state == "failed" and record.problems[0].isprintable()
    assert "gini" in host.strategies and "entropy" in host.strategies


@pytest.mark.parametrize("content", [b"[deepal]\nodd\n", b"[deepal]\nodd = \xff\xfe\n"])
def test_damaged_entry_points_file(distribution, content):
    distribution("damaged", "1", {"odd": "odd_module"}, odd_module="x = 1")
    (distribution.path / "damaged-1.dist-info" / "entry_points.txt").write_bytes(content)
    host = load()
    assert "entropy" in host.strategies
    (record,) = [record for record in host.records if record.provider.distribution == "damaged"]
    assert record.state == "failed" and "entry_points" in record.name + record.problems[0]


def test_a_plugin_that_fails_late_does_not_block_its_names(distribution):
    distribution("aaa", "1", {"aaa": "aaa_module"}, aaa_module=GOOD)
    late = GOOD + "    raise ValueError('late')\n"
    distribution("bbb", "2", {"bbb": "bbb_module"}, bbb_module=late)
    host = load()
    assert host.strategies.get("gini").provider.distribution == "aaa" and not record_of(host, "aaa").problems


def test_module_of_another_distribution_is_refused(distribution):
    distribution("aaa", "1", {"aaa": "shared_module"}, shared_module=GOOD)
    distribution("bbb", "2", {"bbb": "shared_module"})
    assert "belongs to aaa 1" in record_of(load(), "bbb").problems[0]


DEEDS_AT_IMPORT = {
    "import torch; torch.set_default_dtype(torch.float64)": "torch's default dtype",
    "import torch; torch.set_grad_enabled(False)": "torch's grad mode",
    "import torch; torch.set_autocast_enabled('cpu', True)": "torch's autocast mode",
    "import os; os.chdir('/')": "the working directory",
    "import sys; sys.setrecursionlimit(90)": "the recursion limit",
    "import sys, io; sys.stderr = io.StringIO()": "sys.stdout and sys.stderr",
    "import numpy; numpy.seterr(all='raise')": "numpy's error handling",
    "import random; random.seed(3)": "random's global generator",
}


def test_changes_made_by_loading_are_undone_and_reported(distribution):
    # One plugin has all changes to torch, since it must be the first to load torch.
    of_torch = [deed for deed in DEEDS_AT_IMPORT if "torch" in deed]
    plugins = [of_torch, *([deed] for deed in DEEDS_AT_IMPORT if "torch" not in deed)]
    for number, deeds in enumerate(plugins):
        source = "\n".join([*deeds, GOOD]).replace('"gini"', f'"gini{number}"')
        distribution(f"odd-dist{number}", "3.1", {f"odd{number}": f"odd_module{number}"},
                     **{f"odd_module{number}": source})  # fmt: skip
    code = (
        "import json, os, random, sys\nbefore = os.getcwd(), sys.stderr, random.getstate()\n"
        "from deepal_autoal import plugin_host\nhost = plugin_host()\n"
        "import torch, numpy\n"
        "assert (os.getcwd(), sys.stderr, random.getstate()) == before and sys.getrecursionlimit() > 500\n"
        "assert torch.get_default_dtype() == torch.float32 and torch.is_grad_enabled()\n"
        "assert not torch.is_autocast_enabled('cpu') and numpy.geterr()['divide'] == 'warn'\n"
        "print(json.dumps({r.name: r.problems for r in host.records if r.name.startswith('odd')}))"
    )
    environment = {**os.environ, "PYTHONPATH": str(distribution.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    problems = json.loads(done.stdout)
    for number, deeds in enumerate(plugins):
        assert all(DEEDS_AT_IMPORT[deed] in "".join(problems[f"odd{number}"]) for deed in deeds)


def test_lazy_imports_print_and_exit_without_harm(distribution):
    lazy = (
        HEAD
        + "@hookimpl\ndef deepal_register_strategies(registry):\n"
        + "".join(f"    registry.add('{name}', 'lazy_{name}:Lazy')\n" for name in ("noisy", "leaves", "meta"))
    )
    noisy = "print('NOISE')\n" + GOOD.replace("Gini", "Lazy")
    meta = "class M(type):\n    @property\n    def query(cls): raise KeyError('m')\n" + HEAD
    meta += "class Lazy(Strategy, metaclass=M): pass"
    distribution("lazy", "1", {"noisy": "lazy_module"}, lazy_module=lazy, lazy_noisy=noisy,
                 lazy_leaves="raise SystemExit(0)", lazy_meta=meta)  # fmt: skip
    assert json.loads(deepal(distribution, "strategies", "noisy", "--json").stdout)[0]["name"] == "noisy"
    for name in ("leaves", "meta"):
        done = deepal(distribution, "strategies", name)
        assert done.returncode == 2 and "of lazy 1 cannot be imported" in done.stderr.splitlines()[-1], done.stderr
