"""`deepal check`: marks, messages, exit statuses."""

import json
import logging
import subprocess
import sys

import pytest

from deepal_autoal import hookimpl, plugin_host
from deepal_autoal.cli.main import main


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
    """Register two strategies in this process: a good one, and one that raises."""

    @hookimpl
    def deepal_register_strategies(registry):
        registry.add("counting", "tests.conformance.broken_strategies:Counting", requires={"probabilities"})
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


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["entrpy"], "Did you mean 'entropy'"),
        (["vote", "--candidates", "entropy,margn"], "Did you mean 'margin'"),
        (["entropy", "--candidates", "margin"], "takes no candidates"),
        (["vote", "-o", "oversampel=3"], "Did you mean 'oversample'"),
        (["vote", "-o", "oversample=0"], "oversample"),
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
