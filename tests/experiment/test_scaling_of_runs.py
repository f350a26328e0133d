"""The scaling of a run's vectors: chosen once, recorded and kept, also for older records that lack the setting."""

import json

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, Dataset, ScoringStrategy, load_dataset, load_model, run
from deepal_autoal.errors import InputError, RunFolderError
from deepal_autoal.experiment.embedding import embed
from deepal_autoal.experiment.pool import draw_members
from deepal_autoal.experiment.run_config import RunConfig
from deepal_autoal.experiment.shared_round_0 import InitialModel
from deepal_autoal.files import read_tensors, write_tensors
from deepal_autoal.report.study import read_study
from deepal_autoal.training.scaling import resolve_scaling

SCALE = np.array([1, 1, 1, 1, 1, 1e3])


@pytest.fixture
def mixed(blob_data):
    """The blobs, with one feature in another unit."""
    data = blob_data
    x, x_test = ((part * SCALE).astype(np.float32) for part in (data.x_train, data.x_test))
    return Dataset("mixed", x, data.y_train, x_test, data.y_test, data.class_names)


def outdate(folder):
    """Turn a run folder into one written before scaling could be chosen."""
    config = json.loads((folder / "config.json").read_text())
    del config["scaling"], config["scaling_reason"], config["settings"]["scaling"], config["checksum"]
    (folder / "config.json").write_text(json.dumps(config))


def stop_after(number):
    def on_round(run, record):
        if record["round"] == number:
            raise KeyboardInterrupt

    return on_round


def test_scaling_and_its_reason_are_recorded(blob_data, mixed, image_data, quick):
    said = Dataset("said", *(getattr(mixed, name) for name in ("x_train", "y_train", "x_test", "y_test")),
                   mixed.class_names, is_embeddings=True)  # fmt: skip
    for data, arguments, scaling, reason in [
        (blob_data, {}, "global", "features of one kind"),
        (mixed, {}, "feature", "features of mixed units"),
        (mixed, {"scaling": "auto", "pool_size": 30}, "feature", "features of mixed units"),
        (said, {}, "global", "embeddings"),
        (said, {"scaling": "none"}, "none", "as asked for"),
        (said, {"duplicates": 2}, "global", "embeddings"),
    ]:
        config = run("random", data, **{**quick, "rounds": 0, **arguments}).config
        assert (config["scaling"], config["scaling_reason"]) == (scaling, reason)
        assert config["settings"]["scaling"] == scaling
    config = run("random", image_data, **{**quick, "rounds": 0}).config
    assert config["scaling"] == "channel" and "scaling_reason" not in config


def test_choice_is_independent_of_seed_and_pool_size(quick):
    """Only a few rows show that units are mixed; a small pool may contain none of them."""
    x = np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32)
    x[::50] *= 10 * SCALE.astype(np.float32)
    data = Dataset("odd", x, np.arange(400) % 3, x[:9], np.arange(9) % 3, ("a", "b", "c"))
    alone = {resolve_scaling(None, x[draw_members(400, seed, 20)]).name for seed in range(9)}
    assert alone == {"global", "feature"}
    settings = {**quick, "rounds": 0, "pool_size": 20}
    assert {run("random", data, seed=seed, **settings).config["scaling"] for seed in range(3)} == {"feature"}


def test_images_and_typos_are_refused_before_anything_is_written(tmp_path, image_data, blob_data, quick):
    for data, scaling, message in [
        (image_data, "l2", "--scaling l2 is for vectors, and these samples are images"),
        (image_data, "none", "for vectors"),
        (blob_data, "globl", "give auto, global, feature, l2 or none"),
        (blob_data, "channel", "give auto, global, feature, l2 or none"),
    ]:
        with pytest.raises(InputError, match=message):
            run("random", data, scaling=scaling, out=tmp_path / "run", **quick)
        assert not (tmp_path / "run").exists()
    assert run("random", image_data, scaling="auto", **{**quick, "rounds": 0}).config["scaling"] == "channel"


@pytest.mark.parametrize("scaling", [None, "l2"])
def test_resumed_run_keeps_its_scaling(tmp_path, blob_data, quick, monkeypatch, scaling):
    whole = run("margin", blob_data, scaling=scaling, **quick)
    with pytest.raises(KeyboardInterrupt):
        run("margin", blob_data, scaling=scaling, out=tmp_path / "run", on_round=stop_after(1), **quick)
    kept = whole.config["scaling"]
    with pytest.raises(RunFolderError, match=f"scaling was '{kept}' and is now 'feature'"):
        run("margin", blob_data, scaling="feature", out=tmp_path / "run", resume=True, **quick)
    # Even if another version would choose differently.
    monkeypatch.setattr("deepal_autoal.training.scaling.choose_scaling", lambda moments: pytest.fail("chosen again"))
    again = run("margin", blob_data, scaling="auto", out=tmp_path / "run", resume=True, **quick)
    assert again.config["scaling"] == kept
    assert [record["queried"] for record in again.rounds] == [record["queried"] for record in whole.rounds]


def test_old_run_continues_with_scaling_by_feature(tmp_path, blob_data, quick):
    folder = tmp_path / "run"
    whole = run("margin", blob_data, scaling="feature", **quick)
    with pytest.raises(KeyboardInterrupt):
        run("margin", blob_data, scaling="feature", out=folder, on_round=stop_after(1), **quick)
    outdate(folder)
    with pytest.raises(RunFolderError, match="scaling was 'feature' and is now 'global'"):
        run("margin", blob_data, scaling="global", out=folder, resume=True, **quick)
    again = run("margin", blob_data, out=folder, resume=True, **quick)
    assert [record["queried"] for record in again.rounds] == [record["queried"] for record in whole.rounds]
    weights = read_tensors(folder / "model.pt")
    del weights["normalization.unit_rows"]
    write_tensors(folder / "model.pt", weights)
    (folder / "summary.json").write_text('{"status": "finished"}')
    predictor = load_model(folder)
    expected = blob_data.x_train.std(axis=0)
    np.testing.assert_allclose(predictor.normalization.std, expected, rtol=1e-5)
    assert not predictor.normalization.unit_rows


def test_old_image_run_is_resumed(tmp_path, image_data, quick):
    first = run("random", image_data, out=tmp_path / "run", **quick)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    del config["scaling"], config["settings"]["scaling"], config["checksum"]
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert run("random", image_data, out=tmp_path / "run", resume=True, **quick).rounds == first.rounds


@pytest.mark.parametrize("scaling", ["global", "feature", "l2", "none"])
def test_saved_model_predicts_as_in_the_run(tmp_path, mixed, quick, scaling):
    result = run("random", mixed, scaling=scaling, out=tmp_path / "run", **quick)
    predictor = load_model(tmp_path / "run")
    assert (predictor.predict(mixed.x_test) == mixed.y_test).mean() == pytest.approx(result.accuracy)
    assert predictor.normalization.unit_rows == (scaling == "l2")


class Norms(ScoringStrategy):
    """Keeps what it sees of the candidates."""

    requires = frozenset({"inputs", "embeddings"})

    def score(self, context):
        self.inputs, self.embeddings = context.candidates.inputs(), context.candidates.embeddings()
        return self.inputs[:, 0]


def test_strategies_and_linear_embeddings_use_scaled_inputs(mixed):
    for scaling in ("l2", "global"):
        strategy = Norms()
        learner = ActiveLearner(
            mixed.x_train, strategy, 3, model="linear", scaling=scaling, recipe={"epochs": 1, "min_steps": 1}
        )
        learner.tell([0, 1, 2], [0, 1, 2])
        learner.ask(3)
        torch.testing.assert_close(strategy.inputs, strategy.embeddings)
        if scaling == "l2":
            torch.testing.assert_close(strategy.inputs.norm(dim=1), torch.ones(117))
        else:
            assert strategy.inputs.std(dim=0)[5] > 100 * strategy.inputs.std(dim=0)[0]


@pytest.mark.parametrize("scaling", ["auto", "l2", "feature"])
def test_saved_learner_keeps_its_scaling(tmp_path, blob_data, scaling, monkeypatch):
    quick = {"epochs": 2, "min_steps": 5}
    learner = ActiveLearner(blob_data.x_train, "margin", 3, model="linear", recipe=quick, scaling=scaling)
    assert learner.scaling == ("global" if scaling == "auto" else scaling)
    learner.tell(np.arange(12), blob_data.y_train[:12])
    expected = learner.predict_proba(blob_data.x_test)
    learner.save(tmp_path / "saved.pt")
    monkeypatch.setattr("deepal_autoal.training.scaling.choose_scaling", lambda moments: pytest.fail("chosen again"))
    loaded = ActiveLearner.load(tmp_path / "saved.pt", blob_data.x_train)
    assert loaded.scaling == learner.scaling
    np.testing.assert_array_equal(loaded.predict_proba(blob_data.x_test), expected)


def test_old_saved_learner_keeps_its_scaling(tmp_path, blob_data, image_data):
    for pool, n_classes, scaling in ((blob_data.x_train, 3, "feature"), (image_data.x_train, 2, "channel")):
        ActiveLearner(pool, "margin", n_classes, model="linear").save(tmp_path / "saved.pt")
        saved = read_tensors(tmp_path / "saved.pt")
        del saved["scaling"]
        write_tensors(tmp_path / "saved.pt", saved)
        assert ActiveLearner.load(tmp_path / "saved.pt", pool).scaling == scaling


def test_round_0_with_another_scaling_is_not_reused(tmp_path, blob_data, quick):
    file = tmp_path / "shared.pt"
    configs = {
        scaling: run("random", blob_data, initial_model=file, scaling=scaling, **{**quick, "rounds": 0}).config
        for scaling in ("feature", "global")
    }
    assert InitialModel(file).read(RunConfig.from_json(configs["global"], file)) is not None
    assert InitialModel(file).read(RunConfig.from_json(configs["feature"], file)) is None


def test_embed_output_is_scaled_as_embeddings(tmp_path, mixed, quick):
    run("random", mixed, scaling="l2", out=tmp_path / "run", **quick)
    for model, scaling in (("linear", "auto"), ("linear", "none"), (tmp_path / "run", "auto")):
        embed(mixed, model, tmp_path / "made.npz", dtype="float32", scaling=scaling)
        made = load_dataset(tmp_path / "made.npz")
        assert made.is_embeddings
        assert run("random", made, **{**quick, "rounds": 0}).config["scaling_reason"] == "embeddings"
        lengths = np.linalg.norm(made.x_train, axis=1)
        if scaling == "none":
            np.testing.assert_array_equal(made.x_train, mixed.x_train)
        elif model == "linear":
            np.testing.assert_allclose(made.x_train.std(axis=0), np.ones(6), rtol=1e-3)
        else:
            np.testing.assert_allclose(lengths, np.ones(len(lengths)), rtol=1e-5)
    with pytest.raises(InputError, match="keeps the scaling of its run"):
        embed(mixed, tmp_path / "run", tmp_path / "made.npz", scaling="none")


def test_report_mixes_old_runs_with_runs_by_feature(tmp_path, blob_data, quick):
    for seed, scaling in ((0, "feature"), (1, "feature"), (2, "global")):
        run("random", blob_data, seed=seed, scaling=scaling, out=tmp_path / f"s{seed}", **{**quick, "rounds": 1})
    outdate(tmp_path / "s0")
    assert len(read_study([tmp_path / "s0", tmp_path / "s1"]).records) == 2
    with pytest.raises(InputError, match="scaling is 'feature' and 'global'"):
        read_study([tmp_path / "s0", tmp_path / "s2"])
