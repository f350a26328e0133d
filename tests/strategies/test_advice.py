"""`deepal strategies --advise`: verdicts follow the cards, and the cards' figures follow the studies."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from deepal_autoal import hookimpl, plugin_host
from deepal_autoal.errors import PluginError
from deepal_autoal.isolation.blame import Provider
from deepal_autoal.plugins.contract import check_measured, strategy_card
from deepal_autoal.plugins.registry import Entry
from deepal_autoal.strategies.advice import BASELINE, POOR, SUITED, TRY, UNABLE, UNMEASURED, Situation, advise

ROOT = Path(__file__).resolve().parents[2]
SITUATION = Situation(10_000, 10, 50, 20, 10, inputs=784, dim=128, device="cpu", memory=16 * 2**30)
STUDY = {"study": "few", "data": "blobs", "classes": 10, "initial": 40, "final": 200, "seeds": 5}


def entry(name: str, points: dict[str, float], **card: Any) -> Entry:
    measured = [{**STUDY, "study": study, "points": value} for study, value in points.items()]
    card = {"family": "uncertainty", "requires": frozenset(), "measured": measured, **card}
    provider = Provider("some-distribution", "1.0")
    return Entry("strategy", name, "module:Class", provider, details=strategy_card(name, "module:Class", card))


def test_verdicts_follow_the_measurements() -> None:
    entries = [
        entry("good", {"few": 3.0, "other": 1.0}),
        entry("close", {"few": 2.9, "other": 0.7}, time="M*fit", changes_training=True),
        entry("behind", {"few": 1.0, "other": 0.5}),
        entry("rare", {"third": 2.0}, requires=frozenset({"mc_dropout"})),  # in one study of three
        entry("poor", {"few": -1.0, "other": 0.5}),
        entry("new", {}, use="For its paper's data."),
        entry("control", {}, family="control"),
        entry("asking", {}, family="control", time="ask"),  # a control of selectors, not what every study needs
        entry("huge", {"few": 4.0, "third": 2.0}, memory="N*N"),
        entry("refused", {"few": 2.0}),
    ]
    crowded = replace(SITUATION, pool=10**6, unable={"refused": "The model has no dropout."})
    found = {item.name: item for item in advise(entries, crowded)}
    assert [(item.name, item.verdict) for item in found.values()] == [
        ("good", TRY), ("close", TRY), ("control", BASELINE), ("rare", SUITED), ("behind", SUITED),
        ("asking", UNMEASURED), ("new", UNMEASURED), ("poor", POOR), ("huge", UNABLE), ("refused", UNABLE),
    ]  # fmt: skip
    assert found["good"].behind_best == pytest.approx((4.0 - 3.0 + 0.0) / 2)
    assert found["good"].above_random == 2.0 and found["poor"].above_random == -0.25
    assert found["close"].reasons[1:] == (
        "It trains models in every query.", "It changes training, so compare accuracies with care.",
    )  # fmt: skip
    assert "The model must have: mc_dropout." in found["rare"].reasons
    assert found["new"].reasons == ("For its paper's data.",)
    assert found["huge"].reasons[0].startswith("A query needs about 3724 GiB by its card, and this machine has 16 GiB")
    assert found["refused"].reasons == ("The model has no dropout.",)


def test_studies_count_only_at_about_as_many_labels() -> None:
    only = [entry("good", {"few": 3.0})]
    assert [item.verdict for item in advise(only, SITUATION)] == [TRY]
    for more in ({"initial": 1000}, {"classes": 2}, {"rounds": 60}):
        assert [item.verdict for item in advise(only, replace(SITUATION, **more))] == [UNMEASURED]


def test_long_queries_are_named() -> None:
    slow = entry("slow", {}, time="N*N*D")
    assert advise([slow], replace(SITUATION, pool=10**6))[0].reasons == (
        "A query takes about 107 minutes by its card, give or take a factor of ten.",
    )
    assert advise([slow], replace(SITUATION, pool=10**6, device="cuda"))[0].reasons == ()
    assert advise([slow], SITUATION)[0].reasons == ()


def test_cards_hold_what_the_studies_measured() -> None:
    spec = importlib.util.spec_from_file_location("measured", ROOT / "benchmarks" / "measured.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = (ROOT / "plugins" / "deepal_strategies" / "measured.json").read_text()
    assert module.measured() == text, "run `python benchmarks/measured.py`"
    points = json.loads(text)["points"]
    # As the tables in benchmarks/README.md and benchmarks/autoal/README.md show them.
    assert points["dbal"]["mnist-small"] == 1.61 and points["lpl"]["mnist-small"] == -3.33
    assert points["margin"]["mnist-high"] == pytest.approx(96.57 - 95.65, abs=0.011)
    measured = plugin_host().strategies.get("dbal").details["measured"]
    assert {item["study"]: item["points"] for item in measured} == points["dbal"]


def test_the_page_names_what_was_not_measured_and_its_picture_is_small() -> None:
    page = (ROOT / "docs" / "which-strategy.md").read_text()
    listed = page.partition("## What is not known")[2].partition(" are in none of these studies")[0]
    entries = [entry for entry in plugin_host().strategies.entries() if entry.provider.builtin]
    unmeasured = {entry.name for entry in entries if not entry.details["measured"] and entry.name != "random"}
    assert {name.strip("`") for name in listed.replace(",", " ").split() if name.startswith("`")} == unmeasured
    assert 50_000 < (ROOT / "docs" / "choices.png").stat().st_size < 300_000


@pytest.mark.parametrize(
    ("measured", "message"),
    [({"study": "x"}, "each of measured must have study"), ([{**STUDY, "points": "3"}], "points is '3'"),
     ([{**STUDY, "points": float("nan")}], "points is nan"), ([{**STUDY, "points": 1.0, "seeds": 0}], "seeds is 0"),
     ("3 points", "each of measured")],
)  # fmt: skip
def test_other_forms_are_refused(measured: Any, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        check_measured("x", measured)


def test_a_plugins_measurements_count(deepal: Any, registered: Any) -> None:
    class Plugin:
        @hookimpl
        def deepal_register_strategies(self, registry: Any) -> None:
            of_ours = plugin_host().strategies.get("dbal").details["measured"]
            registry.add("ours", "no_such_module:Ours", measured=[{**item, "points": 9.0} for item in of_ours])

    registered(Plugin(), "measured-plugin")
    status, out, err = deepal("strategies", "--advise", "--json")
    assert status == 0, err
    assert json.loads(out)["advice"][0]["name"] == "ours"


@pytest.mark.parametrize("option", [("--target", "color"), ("--image-size", "32"), ("--data-dir", "data")])
def test_how_to_read_data_belongs_to_data(deepal: Any, option: tuple[str, str]) -> None:
    status, _, err = deepal("strategies", "--advise", *option)
    assert status == 2 and f"{option[0]} says how to read data: give --dataset, too" in err


def test_the_command_without_data_is_light() -> None:
    code = (
        "import sys; from deepal_autoal.cli.main import cli\n"
        "cli.main(['strategies', '--advise', '--rounds', '3'], standalone_mode=False)\n"
        "assert not {'torch', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "50 + 3 x 20 labels" in done.stdout.replace("\n", " ") and "\nTry first: " in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_the_command_finds_out_what_cannot_run(deepal: Any, blob_file: Path) -> None:
    status, out, err = deepal("strategies", "--advise", "--dataset", blob_file, "--model", "linear", "--initial", 9,
                              "--json")  # fmt: skip
    assert status == 0, err
    found = json.loads(out)
    with np.load(blob_file) as file:
        n_classes = len(np.unique(file["y"]))
    assert found["situation"]["classes"] == n_classes and found["situation"]["model"] == "linear"
    verdicts = {item["name"]: item for item in found["advice"]}
    assert verdicts["lpl"]["verdict"] == UNABLE and "stages" in verdicts["lpl"]["reasons"][0]
    assert verdicts["margin"]["verdict"] != UNABLE
    Path("table.csv").write_text("a,kind\n" + "".join(f"{row},{'xy'[row % 2]}\n" for row in range(100)))
    status, out, err = deepal("strategies", "margin", "--advise", "--dataset", "table.csv", "--target", "kind")
    assert status == 0 and "table with the model gp on cpu: a pool of 80, 2 classes" in " ".join(out.split()), err
    status, out, _ = deepal("strategies", "lpl", "--advise", "--dataset", blob_file, "--model", "linear")
    assert status == 0 and "Cannot run here" in out and "margin" not in out.partition("Our studies")[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(["--rounds", "3"], "--rounds is for --advise"), (["--advise", "--device", "tpu"], "give cpu or cuda"),
     (["--advise", "--model", "cnnn"], "cnn"), (["--advise", "margn"], "margin"),
     (["--plot", "a.png"], "--plot draws named strategies"), (["margin", "--plot", "a.gif"], r"ending in .png or .svg"),
     (["margin", "--plot", "a.png", "--json"], "leave out --advise and --json")],
)  # fmt: skip
def test_wrong_use(deepal: Any, arguments: list[str], message: str) -> None:
    status, _, err = deepal("strategies", *arguments)
    assert status == 2 and message in err and err.count("\n") == 1
