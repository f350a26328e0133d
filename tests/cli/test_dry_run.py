"""``deepal run --dry-run``: a table, no files, one-line errors."""

import re

import pytest

from deepal_autoal import Strategy, hookimpl

pytestmark = pytest.mark.slow

QUICK = ["--model", "linear", "--epochs", "2", "--min-steps", "4", "--initial", "10", "--batch-size", "5",
         "--rounds", "2", "--threads", "1"]  # fmt: skip
ROW = r"^{} +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ s +[\d,?]+ +[\d,]+ +\S+"


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    for name in ("_NAMED_SECONDS", "_EACH_SECONDS"):
        monkeypatch.setattr(f"deepal_autoal.benchmark.cost.dry_run.{name}", 0.3)


class Failing(Strategy):
    def query(self, context, batch_size):
        raise ZeroDivisionError("nothing to divide by")


def test_a_selector_and_its_candidates(deepal, blob_file, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    status, out, err = deepal("run", "--dry-run", "--dataset", blob_file, "--strategy", "vote",
                              "--candidates", "entropy,kmeans", "-o", "oversample=2",
                              "--out", "somewhere", *QUICK)  # fmt: skip
    assert status == 0 and "Traceback" not in err
    assert all(re.search(ROW.format(name), out, re.MULTILINE) for name in ("vote", "  entropy", "  kmeans"))
    assert "Pool 120, test 60, 3 classes, embeddings of 6; 10 + 2 x 5 labels; model linear" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_all_strategies_fastest_first_and_why_some_cannot_run(deepal, blob_file, registered, monkeypatch):
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("failing", Failing, summary="fails")

    registered(Plugin(), "failing-plugin")
    monkeypatch.setattr("deepal_autoal.benchmark.cost.dry_run.read_strategies", lambda written: chosen)
    from deepal_autoal.benchmark.notation import Contender

    chosen = [Contender(name, name, is_optional=True) for name in ("margin", "failing", "lpl", "ensvarr")]
    status, out, _ = deepal("run", "--dry-run", "--dataset", blob_file, *QUICK)
    assert status == 0
    names = re.findall(r"^(\w+) +\d+\.\d", out, re.MULTILINE)
    assert sorted(names) == ["ensvarr", "margin"]
    assert re.search(r"^failing: no estimate: .*nothing to divide by", out, re.MULTILINE)
    assert re.search(r"^lpl: no estimate: .*stages", out, re.MULTILINE)


def test_a_named_strategy_that_fails_is_an_error(deepal, blob_file, registered):
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry):
            registry.add("failing", Failing, summary="fails")

    registered(Plugin(), "failing-plugin")
    given = ["--dataset", blob_file, *QUICK]
    for strategy in (["failing"], ["vote", "--candidates", "failing,margin"]):
        status, out, err = deepal("run", "--dry-run", "--strategy", *strategy, *given)
        assert status == 2 and out == ""
        assert err.splitlines()[-1].startswith("Error: strategy 'failing'")


def test_quiet_prints_only_the_table(deepal, blob_file):
    status, out, err = deepal("run", "--dry-run", "--quiet", "--strategy", "random", "--dataset", blob_file, *QUICK)
    assert status == 0 and len(out.splitlines()) == 3 and err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "margn"], "margin"),
        (["--resume", "--out", "x"], "leave --resume out"),
        (["-o", "n=3"], "give --strategy NAME too"),
        (["--strategy", "margin", "--candidates", "entropy"], "takes no candidates"),
        (["--rounds", "100000"], "--rounds 100000 is too many"),
        (["--seed", "-1"], "--seed -1"),
        (["--dataset", "nowhere.npz"], "nowhere.npz"),
    ],
)
def test_wrong_use_is_one_line(deepal, blob_file, arguments, message):
    status, _, err = deepal("run", "--dry-run", "--dataset", blob_file, *arguments)
    assert status == 2 and message in err and len(err.splitlines()) == 1


def test_too_much_memory_is_reported(deepal, blob_file, monkeypatch):
    monkeypatch.setattr("deepal_autoal.cli.run_cost.memory_size", lambda: 1000.0)
    _, _, err = deepal("run", "--dry-run", "--strategy", "random", "--dataset", blob_file, *QUICK)
    assert "Warning: random: more memory than this machine has" in err
