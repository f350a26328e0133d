"""Names of models with options: how they are parsed, recorded, resumed and listed."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from deepal_autoal import (
    ActiveLearner,
    InputError,
    PluginError,
    RunFolderError,
    TaskModel,
    UnknownNameError,
    hookimpl,
    load_model,
    plugin_host,
    run,
)
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.cli.listings import describe_model, format_card
from deepal_autoal.models import ModelChoice, build_model, read_model, resolve_model


def build_wide(shape, n, width=8, act: str = "relu", *, bias=True, sizes=(3, 2)):
    assert isinstance(sizes, tuple)
    layers = [nn.Flatten(), nn.Linear(shape[0], width, bias=bias), nn.ReLU() if act == "relu" else nn.Tanh()]
    return TaskModel(nn.Sequential(*layers), width, n)


def build_member(shape, n, architecture, *, dropout: float = 0.5):
    """Return one of a family.

    Widths are its architectures.
    """
    if not architecture.isdigit():
        raise UnknownNameError("width", architecture, ["8", "16"])
    return TaskModel(nn.Sequential(nn.Flatten(), nn.Linear(shape[0], int(architecture))), int(architecture), n, dropout)


@pytest.fixture
def plugin(registered):
    class Plugin:
        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("wide", build_wide, summary="w")
            registry.add("widths", build_member, family=True)

    registered(Plugin(), "test-model-names")


def test_names_are_parsed():
    assert read_model("resnet18") == ModelChoice("resnet18")
    choice = read_model(" resnet18 [ stem = cifar, maxpool=true ] ")
    assert choice == ModelChoice("resnet18", {"stem": "cifar", "maxpool": "true"})
    assert read_model("auto[dropout=0.2]") == ModelChoice("auto", {"dropout": "0.2"})
    assert read_model("torchvision/resnet50[dropout=0]") == ModelChoice("torchvision/resnet50", {"dropout": "0"})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("resnet18[stem=cifar", "write it as NAME"),
        ("resnet18[stem]", "'stem' is not KEY=VALUE"),
        ("resnet18[stem=cifar,stem=auto]", "'stem' is given twice"),
        ("resnet", "Did you mean 'resnet18'"),
        ("resnet18/x", "not a family of models"),
        ("torchvison/resnet50", "unknown model 'torchvison'. Did you mean 'torchvision'"),
        ("torchvision", "torchvision/ARCHITECTURE"),
        ("torchvision/", "torchvision/ARCHITECTURE"),
    ],
)
def test_invalid_names_are_refused(written, message):
    with pytest.raises(InputError, match=message):
        read_model(written)
    with pytest.raises(InputError, match=message):
        run_benchmark("random", "digits", 1, out="never-written", model=written)


def test_options_are_resolved_and_checked():
    resolved = resolve_model("resnet18[maxpool=yes]", (3, 8, 8))
    assert resolved.options == {"stem": "auto", "maxpool": True, "weights": "none", "dropout": 0.5}
    assert resolve_model("auto[dropout=0.25]", (3, 99, 99)) == resolve_model("resnet18[dropout=0.25]", (3, 8, 8))
    assert resolve_model(resolved, (3, 8, 8)) == resolved
    with pytest.raises(UnknownNameError, match=r"unknown option of model 'resnet18': 'stm'\. Did you mean 'stem'"):
        resolve_model("resnet18[stm=cifar]", (3, 8, 8))
    with pytest.raises(InputError, match=r"resnet18\.stem: 'tiny' is not one of auto, cifar, imagenet"):
        resolve_model("resnet18[stem=tiny]", (3, 8, 8))
    with pytest.raises(InputError, match=r"resnet18\.maxpool: 'maybe' is not one of auto, true, false"):
        resolve_model("resnet18[maxpool=maybe]", (3, 8, 8))
    with pytest.raises(InputError, match="model 'cnn' takes no options"):
        resolve_model("cnn[stem=cifar]", (3, 8, 8))


def test_third_party_factories_get_options_from_their_parameters(plugin):
    model = build_model("wide[width=5,act=tanh,bias=no]", (4,), 3)
    assert model.embedding_dim == 5 and isinstance(model.backbone[2], nn.Tanh) and model.backbone[1].bias is None
    assert resolve_model("wide", (4,)).options == {"width": 8, "act": "relu", "bias": True, "sizes": (3, 2)}
    for wrong in ("width=many", "bias=3"):
        with pytest.raises(InputError, match="option wide"):
            build_model(f"wide[{wrong}]", (4,), 3)
    # As in a record: a tuple is a list.
    recorded = json.loads(json.dumps(resolve_model("wide[width=5]", (4,)).describe()))
    assert recorded["options"]["sizes"] == [3, 2]
    assert build_model(ModelChoice.recorded(recorded), (4,), 3).embedding_dim == 5


def test_third_party_families(plugin):
    model = build_model("widths/16[dropout=0.1]", (4,), 3)
    assert model.embedding_dim == 16 and model.dropout.p == 0.1 and "'widths/16'" in model.origin
    with pytest.raises(InputError, match=r"unknown width 'x'. Known: 16, 8"):
        build_model("widths/x", (4,), 3)
    assert plugin_host().models.get("widths/16") is plugin_host().models.get("widths")
    card = format_card(describe_model(plugin_host().models.get("widths")))
    assert "widths/ARCHITECTURE" in card and "dropout=0.5" in card and "Return one of a family." in card


def test_a_family_that_takes_no_architecture_is_refused(registered):
    class Plugin:
        def __init__(self, target, **details):
            self.target, self.details = target, details

        @hookimpl
        def deepal_register_models(self, registry):
            registry.add("odd", self.target, **self.details)

    with pytest.raises(PluginError, match=r"cannot be called.*input_shape, n_classes, architecture"):
        registered(Plugin(lambda shape, n: None, family=True), "odd-1")
    with pytest.raises(PluginError, match="family must be True or False"):
        registered(Plugin(build_wide, family="yes"), "odd-2")
    with pytest.raises(PluginError, match="cannot be called"):
        registered(Plugin(build_member), "odd-3")


def test_runs_record_options_and_rebuild_the_model(tmp_path, image_data, quick):
    settings = {**quick, "model": "resnet18[stem=cifar,maxpool=true,dropout=0.25]", "rounds": 1, "epochs": 1}
    result = run("random", image_data, out=tmp_path / "run", **settings)
    recorded = json.loads((tmp_path / "run" / "config.json").read_text())["model"]
    assert recorded["name"] == "resnet18"
    assert recorded["options"] == {"stem": "cifar", "maxpool": True, "weights": "none", "dropout": 0.25}
    predictor = load_model(tmp_path / "run", device="cpu")
    assert isinstance(predictor.module.backbone.stem[-1], nn.MaxPool2d) and predictor.module.dropout.p == 0.25
    accuracy = (predictor.predict(image_data.x_test) == image_data.y_test).mean()
    assert accuracy == pytest.approx(result.accuracy)
    for model, message in [
        ("resnet18[stem=cifar,maxpool=true]", r"model\.options\.dropout was 0\.25 and is now 0\.5"),
        ("resnet18[stem=cifar,dropout=0.25]", r"model\.options\.maxpool was True and is now 'auto'"),
    ]:
        with pytest.raises(RunFolderError, match=message):
            run("random", image_data, out=tmp_path / "run", resume=True, **{**settings, "model": model})
    again = run("random", image_data, out=tmp_path / "run", resume=True, **{**settings, "model": None})
    assert again.rounds == result.rounds


def test_a_resumed_run_builds_the_recorded_model(tmp_path, image_data, quick, plugin):
    settings = {**quick, "model": "resnet18[stem=cifar,maxpool=true]", "rounds": 1, "epochs": 1}
    whole = run("random", image_data, out=tmp_path / "whole", **settings)

    def stop(active, record):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run("random", image_data, out=tmp_path / "parts", on_round=stop, **settings)
    parts = run("random", image_data, out=tmp_path / "parts", resume=True)
    assert [r["accuracy"] for r in parts.rounds] == [r["accuracy"] for r in whole.rounds]
    assert torch.equal(
        load_model(tmp_path / "parts", device="cpu").module.head.weight,
        load_model(tmp_path / "whole", device="cpu").module.head.weight,
    )


def test_runs_recorded_before_models_had_options_can_be_resumed(tmp_path, blob_data, quick):
    quick["model"] = "mlp"
    run("random", blob_data, out=tmp_path / "run", **quick)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["model"].pop("options") == {} and config.pop("checksum")
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    assert run("random", blob_data, out=tmp_path / "run", resume=True, **quick).status == "finished"
    assert load_model(tmp_path / "run", device="cpu").predict(blob_data.x_test).shape == (60,)


def test_learners_save_and_load_options(tmp_path, blob_data, plugin):
    learner = ActiveLearner(blob_data.x_train, "margin", 3, model="widths/8[dropout=0.1]", recipe={"epochs": 1})
    assert learner.model_name == "widths/8" and learner.model_choice.options == {"dropout": 0.1}
    learner.tell(range(12), blob_data.y_train[:12])
    expected = learner.predict_proba(blob_data.x_test)
    learner.save(tmp_path / "learner.pt")
    loaded = ActiveLearner.load(tmp_path / "learner.pt", blob_data.x_train)
    assert loaded.model_choice == learner.model_choice and loaded.new_module().dropout.p == 0.1
    assert (loaded.predict_proba(blob_data.x_test) == expected).all()


def test_a_benchmark_keeps_its_models_options(tmp_path, blob_file, quick, plugin):
    settings = {**quick, "rounds": 0}
    run_benchmark("random", str(blob_file), 1, out=tmp_path / "b", **{**settings, "model": "widths/8[dropout=0.1]"})
    with pytest.raises(RunFolderError, match=r"model\.options\.dropout was 0\.1 and is now 0\.2"):
        run_benchmark("random", str(blob_file), 2, out=tmp_path / "b", **{**settings, "model": "widths/8[dropout=0.2]"})
    run_benchmark("random", str(blob_file), 2, out=tmp_path / "b", **{**settings, "model": "widths/8[dropout=0.1]"})
    assert (tmp_path / "b" / "blobs" / "random" / "seed-1" / "summary.json").exists()


def test_command_shows_the_options_of_a_model():
    def deepal(*arguments):
        return subprocess.run([sys.executable, "-m", "deepal_autoal", *arguments], capture_output=True, text=True)

    (card,) = json.loads(deepal("models", "resnet18", "--json").stdout)
    assert card["options"] == {"stem": "auto", "maxpool": "auto", "weights": "none", "dropout": 0.5}
    assert card["family"] is False
    mistyped = deepal("models", "resnet8")
    assert mistyped.returncode == 2 and "Did you mean 'resnet18'" in mistyped.stderr
