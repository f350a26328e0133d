"""`deepal check`: marks, messages, exit statuses."""

import json
import logging
import signal
import subprocess
import sys

import pytest

from deepal_autoal import hookimpl, plugin_host
from deepal_autoal.cli.main import main
from tests.conformance.broken_strategies import Waiting


@pytest.fixture
def deepal(capsys):
    """Return a function that runs the command line and returns (status, stdout, stderr)."""
    names = ("deepal_autoal", "deepal_strategies")
    before = {name: logging.getLogger(name).propagate for name in names}

    def call(*arguments):
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        output = capsys.readouterr()
        return stopped.value.code, output.out, output.err

    yield call
    for name in names:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [], before[name]
        logger.setLevel(logging.NOTSET)


@pytest.fixture
def third_parties():
    """Register strategies in this process: a good one, and those that raise, print and wait."""

    @hookimpl
    def deepal_register_strategies(registry):
        registry.add("counting", "tests.conformance.broken_strategies:Counting", requires={"probabilities"})
        for name in ("Chatty", "Waiting"):
            registry.add(name.lower(), f"tests.conformance.broken_strategies:{name}", requires={"probabilities"})
        registry.add("raises", "tests.conformance.broken_strategies:Raises", requires={"probabilities"})

    plugin = type("Plugin", (), {"deepal_register_strategies": staticmethod(deepal_register_strategies)})
    plugin_host().register(plugin, "third-parties")
    yield
    plugin_host().unregister(plugin)


def test_a_good_strategy(deepal, third_parties):
    status, out, err = deepal("check", "counting", "-o", "start=1")
    assert status == 0 and not err
    assert "✓ batch-is-exact" in out and "–" in out and "not a selector" in out  # noqa: RUF001
    assert "0 failed" in out.splitlines()[-1] and out.splitlines()[-1].startswith("counting")


def test_a_strategy_that_raises(deepal, third_parties):
    status, out, err = deepal("check", "raises")
    assert status == 1 and "Traceback" not in out + err
    assert "✗ batch-is-exact" in out
    assert "no luck today" in out and "broken_strategies.py:" in out and 'raise RuntimeError("no luck today")' in out
    assert "expected:" in out and "fix:" in out


def test_json(deepal, third_parties):
    status, out, _ = deepal("check", "raises", "--json")
    report = json.loads(out)
    assert status == 1 and not report["ok"] and report["name"] == "raises"
    failed = [row for row in report["checks"] if row["status"] == "failed"]
    assert len(failed) == report["failed"] and all(row["expected"] and row["got"] and row["fix"] for row in failed)


def test_prints_and_one_cause_take_one_entry(deepal, third_parties):
    status, out, err = deepal("check", "chatty")
    assert status == 1 and not err
    assert out.count("✗") == 2  # where it is found, and in the end
    assert out.count("no luck with") == 2 and "in bytes" not in out  # message and line of source
    described, likewise = out.partition("  likewise: ")[::2]
    names = likewise.partition("\n\n")[0].replace(",", " ").split()
    assert "batch-is-exact" in described and "memory-survives-saving" in names and len(names) > 20
    assert "the first: scoring 48" in out and len(out.splitlines()) < 25
    assert f" {len(names) + 1} failed" in out.splitlines()[-1]


def test_json_of_prints_and_one_cause(deepal, third_parties):
    status, out, _ = deepal("check", "chatty", "--json")
    report = json.loads(out)
    assert status == 1
    (cause,) = report["failures"]
    assert cause["checks"] == [row["name"] for row in report["checks"] if row["status"] == "failed"]
    assert cause["got"].startswith("RuntimeError: no luck with x") and cause["expected"] and cause["fix"]
    assert report["printed"]["lines"] >= 3 * len(cause["checks"]) - 5 and report["printed"]["first"] == "scoring 48"


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="a query is interrupted by an alarm signal")
def test_time_limit(deepal, third_parties, monkeypatch):
    monkeypatch.setattr(Waiting, "n_answers", 12)
    status, out, err = deepal("check", "waiting", "--seconds", "12")
    assert status == 0 and not err
    assert "✓ batch-is-exact" in out and "✗" not in out
    assert "✓ unknown-options-are-refused" in out  # needs no query, and comes later
    named = out.partition("skipped, as no time was left: ")[2].partition("\n  the limit is 12 s")[0]
    assert "images-work" in named.replace(",", " ").split() and "--seconds 120" in out


@pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="a query is interrupted by an alarm signal")
def test_a_strategy_that_does_not_answer_in_time_fails(deepal, third_parties, monkeypatch):
    monkeypatch.setattr(Waiting, "n_answers", 0)
    status, out, _ = deepal("check", "waiting", "--seconds", "3", "--json")
    report = json.loads(out)
    assert status == 1 and report["failed"] == 1
    assert report["checks"][0]["name"] == "batch-is-exact" and "time limit" in report["checks"][0]["got"]
    assert report["skipped_for_time"] == [row["name"] for row in report["checks"] if row["out_of_time"]]
    assert "images-work" in report["skipped_for_time"] and "card-is-true" not in report["skipped_for_time"]
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["entrpy"], "Did you mean 'entropy'"),
        (["vote", "--candidates", "entropy,margn"], "Did you mean 'margin'"),
        (["entropy", "--candidates", "margin"], "takes no candidates"),
        (["vote", "-o", "oversampel=3"], "Did you mean 'oversample'"),
        (["vote", "-o", "oversample=0"], "oversample"),
        (["entropy", "--seconds", "0"], "--seconds"),
    ],
)
def test_wrong_use(deepal, arguments, words):
    status, out, err = deepal("check", *arguments)
    assert status == 2 and words in err and err.startswith("Error: ") and len(err.splitlines()) == 1 and not out


def test_help_imports_nothing_heavy():
    code = (
        "import sys, deepal_autoal.testing, deepal_autoal.cli.main\n"
        "print({'torch', 'numpy', 'pytest', 'sklearn'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
