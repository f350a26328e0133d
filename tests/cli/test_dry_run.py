"""``deepal run --dry-run``: a table, no files, one-line errors."""

import re
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deepal_autoal import Strategy, hookimpl
from deepal_autoal.benchmark.cost import dry_run
from deepal_autoal.benchmark.cost.run_cost import PASSES, Cost
from deepal_autoal.training.recipe import Recipe

pytestmark = pytest.mark.slow

QUICK = ["--model", "linear", "--epochs", "2", "--min-steps", "4", "--initial", "10", "--batch-size", "5",
         "--rounds", "2", "--threads", "1"]  # fmt: skip
ROW = r"^{} +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+ s +[\d,?]+ +[\d,]+ +\S+"


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr("deepal_autoal.benchmark.cost.dry_run._SECONDS", 0.3)


class Failing(Strategy):
    def query(self, context, batch_size):
        raise ZeroDivisionError("nothing to divide by")


def test_a_selector_and_its_candidates(deepal, blob_file, tmp_path):
    before = sorted(tmp_path.rglob("*"))
    status, out, err = deepal("run", "--dry-run", "--dataset", blob_file, "--strategy", "vote",
                              "--candidates", "entropy,kmeans", "-o", "power=3",
                              "--out", "somewhere", *QUICK)  # fmt: skip
    assert status == 0 and "Traceback" not in err
    assert all(re.search(ROW.format(name), out, re.MULTILINE) for name in ("vote", "  entropy", "  kmeans"))
    assert "Pool 120, test 60, 3 classes, embeddings of 6; 10 + 2 x 5 labels; model linear" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_the_models_of_an_audit_are_named(deepal, blob_file):
    arguments = ["run", "--dry-run", "--dataset", blob_file, "--strategy", "random", "--audit", "0.2", *QUICK]
    assert "the audit's models, 15 a round: 4 without a part" in deepal(*arguments, "--audit-folds", "4")[1]
    assert "The audit trains no further models." in deepal(*arguments, "--audit-folds", "0")[1]


def test_without_a_strategy_only_the_default_one_is_probed(deepal, blob_file):
    status, out, _ = deepal("run", "--dry-run", "--dataset", blob_file, *QUICK)
    assert status == 0 and re.findall(r"^ *(\w+) +\d+\.\d", out, re.MULTILINE) == ["random"]
    assert "Another strategy: --strategy NAME." in out and "--strategies all --datasets DATASET --dry-run" in out
    _, out, _ = deepal("run", "--dry-run", "--strategy", "random", "--dataset", blob_file, *QUICK)
    assert "Another strategy" not in out


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


def test_smaller_images_are_said_to_save_time(deepal, tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))
    for number in range(20):
        path = tmp_path / "photos" / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (192, 128), number).save(path)
    given = ["--dataset", "photos", "--strategy", "random", "--model", "lenet", "--initial", "4", "--batch-size", "2",
             "--rounds", "1", "--epochs", "1", "--threads", "1"]  # fmt: skip
    status, out, _ = deepal("run", "--dry-run", *given)
    assert status == 0
    said = (
        r"Smaller images than 128x192 .* for random, .* about \S+ s with --image-size 64, \S+ s with --image-size 32\.$"
    )
    assert re.search(said, out, re.MULTILINE)
    _, out, _ = deepal("run", "--dry-run", *given, "--image-size", "32")
    assert "--image-size" not in out


def test_shares_of_smaller_images(image_data):
    x = np.zeros((4, 600, 800, 3), np.uint8)
    data = replace(image_data, x_train=x, x_test=x, y_train=np.arange(4) % 2, y_test=np.arange(4) % 2)
    setup = SimpleNamespace(initial=50, batch_size=20, n_rounds=1, recipe=Recipe.for_data((3, 600, 800)))
    found = dry_run._smaller(data, setup, {})
    assert [size.side for size in found] == [224, 128, 64]
    shares = [size.side**2 / 480_000 for size in found]
    assert [size.passed for size in found] == shares
    # 600 steps: at first 24 epochs of 25 steps of 2 images, then 150 of 4 steps of 13; with 70 labels, 20 and 120.
    assert found[0].train == pytest.approx(shares[0] * (150 * 50 + 120 * 70) / (24 * 50 + 20 * 70))
    cost = Cost(train=100.0, evaluate=10.0, query=6.0, query_parts={PASSES: 4.0, "query: selection": 2.0})
    size = dry_run.Smaller(64, 0.1, 0.5)
    assert size.seconds(cost) == pytest.approx(0.1 * 100 + 0.5 * (10 + 4) + 2)


def test_quiet_prints_only_the_table(deepal, blob_file):
    status, out, err = deepal("run", "--dry-run", "--quiet", "--strategy", "random", "--dataset", blob_file, *QUICK)
    assert status == 0 and len(out.splitlines()) == 3 and err == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--strategy", "margn"], "margin"),
        (["--resume", "--out", "x"], "leave --resume out"),
        (["-o", "n=3"], "takes no options, but 'n' was given"),
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
