"""Stopping rules, on handwritten histories and in runs."""

import pytest

from deepal_autoal import InputError, hookimpl, run
from deepal_events.stopping import as_accuracy, as_gain, as_rounds, no_gain


@pytest.mark.parametrize(
    "accuracies, patience, min_gain, stops",
    [
        ([0.5], 1, 0.0, False),
        ([0.5, 0.5], 1, 0.0, True),
        ([0.5, 0.6], 1, 0.0, False),
        ([0.5, 0.6, 0.55], 2, 0.0, False),
        ([0.6, 0.5, 0.55], 2, 0.0, True),  # better than the previous round, but not than the best
        ([0.6, 0.5, 0.61], 2, 0.0, False),
        ([0.6, 0.5, 0.61], 2, 0.05, True),
        ([0.5, 0.5, 0.5], 3, 0.0, False),  # three rounds without gain need a fourth to compare with
        ([0.5, 0.5, 0.5, 0.5], 3, 0.0, True),
    ],
)
def test_no_gain(accuracies, patience, min_gain, stops):
    assert (no_gain(accuracies, patience, min_gain) is not None) == stops


def test_reason_names_the_best_round():
    assert no_gain([0.4, 0.7, 0.6, 0.65], 2, 0.0) == "no gain in the last 2 rounds over 0.7000 in round 1"


@pytest.mark.parametrize(
    "convert, bad",
    [
        *((as_accuracy, bad) for bad in ("95", 0)),
        *((as_rounds, bad) for bad in ("0", "1.5", "nan", "inf", "1e400")),
        *((as_gain, bad) for bad in ("-0.1", "x", "nan")),
    ],
)
def test_bad_values(convert, bad):
    with pytest.raises(ValueError):
        convert(bad)


def test_target_accuracy_stops_the_run(blob_data, quick, tmp_path):
    undisturbed = run("entropy", blob_data, **quick)
    target = undisturbed.rounds[0]["accuracy"]
    result = run("entropy", blob_data, plugin_options={"target_accuracy": target}, out=tmp_path / "run", **quick)
    assert result.status == "stopped" and len(result.rounds) == 1 and result.rounds[0]["queried"] == []
    assert "reaches the target" in result.stop_reason
    assert result.config["plugin_options"] == {"target-accuracy": target}
    out_of_reach = run("entropy", blob_data, plugin_options={"target-accuracy": 1.0}, **quick)
    if max(record["accuracy"] for record in undisturbed.rounds) < 1.0:
        assert out_of_reach.rounds[-1]["round"] == quick["rounds"]


def test_patience_survives_a_resume(blob_file, quick, tmp_path, registered):
    settings = {**quick, "rounds": 6, "plugin_options": {"patience": 2, "min-gain": 0.5}}

    def kill(active, record):
        if record["round"] == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("random", blob_file, out=tmp_path / "run", on_round=kill, **settings)
    resumed = run(out=tmp_path / "run", resume=True)
    whole = run("random", blob_file, **settings)
    assert resumed.stop_reason == whole.stop_reason and len(resumed.rounds) == len(whole.rounds) == 3
    with pytest.raises(Exception, match="patience was 2 and is now 3"):
        run("random", blob_file, out=tmp_path / "run", resume=True, plugin_options={"patience": 3})


def test_options_reach_hooks_and_bad_ones_are_refused_before_training(blob_data, quick, registered):
    seen = []

    class Plugin:
        @hookimpl
        def deepal_register_options(self, registry):
            registry.add("budget-name", str, summary="Text")
            registry.add("failing", lambda text: 1 / 0, summary="x")

        @hookimpl
        def deepal_run_started(self, run):
            seen.append((run.options["budget-name"], run.options["failing"], run.metrics, run.records))

    registered(Plugin(), "plugin")
    result = run("random", blob_data, plugin_options={"budget-name": "march"}, **quick)
    assert seen[0][:2] == ("march", None) and result.config["plugin_options"] == {"budget-name": "march"}
    with pytest.raises(InputError, match=r"--patience 0: give a whole number.*Stop when K rounds"):
        run("random", blob_data, plugin_options={"patience": 0}, **quick)
    with pytest.raises(InputError, match=r"unknown option 'patence'\. Did you mean 'patience'"):
        run("random", blob_data, plugin_options={"patence": 3}, **quick)
    with pytest.raises(InputError, match=r"--tensorboard no: it is on or off"):
        run("random", blob_data, plugin_options={"tensorboard": "no"}, **quick)
    with pytest.raises(Exception, match="option 'failing' of this process failed: ZeroDivisionError"):
        run("random", blob_data, plugin_options={"failing": 3}, **quick)


def test_nothing_is_recorded_without_options(blob_data, quick):
    assert "plugin_options" not in run("random", blob_data, **quick).config


def test_converters_are_called_once(blob_data, quick, registered):
    class Plugin:
        @hookimpl
        def deepal_register_options(self, registry):
            registry.add("percent", lambda text: float(text) / 100, summary="x")

    registered(Plugin(), "plugin")
    result = run("random", blob_data, plugin_options={"percent": "50"}, **{**quick, "rounds": 0})
    assert result.config["plugin_options"] == {"percent": 0.5}
