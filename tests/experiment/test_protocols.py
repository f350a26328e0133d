"""Protocols, the settings of papers: their contents, that given settings override them, and that they run."""

import dataclasses
import json

import numpy as np
import pytest

from deepal_autoal import create_strategy, plugin_host, run
from deepal_autoal.datasets.base import Dataset
from deepal_autoal.errors import InputError, RunFolderError, UnknownNameError
from deepal_autoal.experiment.protocols import PROTOCOLS, find_protocol
from deepal_autoal.training.recipe import IMAGE_DEFAULTS, VECTOR_DEFAULTS, Recipe

TINY = {"initial": 10, "batch_size": 5, "rounds": 1, "epochs": 1, "threads": 1}


def tiny(channels, side=12, n_classes=4):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, size=(60, side, side, channels), dtype=np.uint8)
    y = np.arange(60) % n_classes
    return Dataset("tiny", x[:40], y[:40], x[40:], y[40:], tuple("abcdefgh"[:n_classes]))


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_protocols_name_existing_things(name):
    protocol = PROTOCOLS[name]
    assert name == protocol.name and name.partition("/")[2] == protocol.dataset
    assert protocol.dataset in plugin_host().datasets
    recipe = Recipe(**protocol.recipe)
    assert recipe.train_batch_size in (32, 128) and recipe.epochs in (10, 20, 30, 40, 100, 200, 400)
    known = {*protocol.defaults(), *(field.name for field in dataclasses.fields(Recipe)), "dropout", "pairs"}
    assert protocol.chosen <= known and "train_batch_size" in protocol.chosen
    assert ("dropout=0.5" in protocol.model) == ("dropout" in protocol.chosen)
    for strategy, options in protocol.strategies.items():
        create_strategy(strategy, **options)
    assert json.loads(json.dumps(protocol.describe()))["chosen"] == sorted(protocol.chosen)


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_protocols_do_not_rely_on_defaults(name):
    """They may change, and depend on the dataset; a paper's settings do not."""
    recipe = PROTOCOLS[name].recipe
    assert {*IMAGE_DEFAULTS, *VECTOR_DEFAULTS, "epochs", "optimizer", "weight_decay", "averaging"} <= set(recipe)
    for augmentation in ((), ("crop",), ("affine", "flip")):
        assert Recipe.for_data((3, 32, 32), augmentation, **recipe) == Recipe(**recipe)
    assert (recipe["schedule"], recipe["averaging"], recipe["min_steps"]) == ("constant", 0.0, 0)
    assert "crop" not in recipe["augmentation"] or "cifar" in name  # whose crops are of 4 pixels, an eighth of 32


def test_settings_match_the_publications():
    cifar100 = PROTOCOLS["autoal/cifar100"]
    assert (cifar100.initial, cifar100.batch_size, cifar100.rounds) == (2_000, 1_000, 18)
    assert not cifar100.chosen & {"initial", "batch_size", "rounds", "epochs", "optimizer"}
    assert PROTOCOLS["deepal+/cifar10"].recipe["epochs"] == 30
    assert PROTOCOLS["deepal+/tinyimagenet"].recipe["augmentation"] == ("rotate", "flip")
    assert PROTOCOLS["autoal/tissuemnist"].recipe["weight_decay"] == 5e-4
    birds = PROTOCOLS["deepal+/waterbirds"].recipe
    assert (birds["optimizer"], birds["learning_rate"], birds["weight_decay"]) == ("sgd", 1e-4, 1e-5)
    assert (birds["epochs"], birds["momentum"], birds["train_batch_size"]) == (30, 0.9, 32)
    for name in ("deepal+/breakhis", "deepal+/chestxray"):
        recipe = PROTOCOLS[name].recipe
        assert (recipe["optimizer"], recipe["momentum"], recipe["epochs"]) == ("sgd", 0.0, 10)
    mnist, cifar10 = PROTOCOLS["rambo/mnist"], PROTOCOLS["rambo/cifar10"]
    assert (mnist.initial, mnist.batch_size, mnist.rounds, mnist.model) == (200, 500, 1, "lenet[dropout=0]")
    assert (cifar10.initial, cifar10.batch_size, cifar10.rounds) == (2_500, 5_000, 1)
    for protocol, chunk, chunks, interpolated in ((mnist, 50, 3, 50), (cifar10, 1_000, 2, 30)):
        options = protocol.strategies["rambo"]
        assert (options["chunks"], options["interpolated"]) == (chunks, interpolated)
        assert options["parts"] * chunk == protocol.batch_size
        assert (protocol.validation, protocol.validation_labels) == (1_000, "free")
        assert protocol.recipe["epochs"] == 100 and "99%" in protocol.note
    # Settings that no text states are marked.
    assert {"initial", "batch_size", "rounds"} <= PROTOCOLS["autoal/svhn"].chosen


# Protocols differ only in numbers, which the tests above check for all.
@pytest.mark.parametrize("name", ["deepal+/mnist", "deepal+/tinyimagenet", "autoal/tissuemnist"])
def test_protocols_run_at_reduced_size(tmp_path, name):
    is_grey = "stem=imagenet" in PROTOCOLS[name].model and not name.endswith("svhn")
    result = run("random", tiny(1 if is_grey else 3), protocol=name, out=tmp_path / "run", **TINY)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["protocol"] == name and config["model"]["name"] == "resnet18"
    assert [len(record["queried"]) for record in result.rounds] == [5, 0]
    wanted = PROTOCOLS[name].recipe
    for key in ("optimizer", "learning_rate", "train_batch_size", "min_steps"):
        assert config["recipe"][key] == wanted[key]
    assert config["recipe"]["augmentation"] == list(wanted["augmentation"]) and config["recipe"]["epochs"] == 1


def test_the_papers_validation_set_is_the_default_and_can_be_left_out(tmp_path, image_data):
    settings = {**TINY, "protocol": "rambo/mnist"}
    options = {"pairs": 1, "interpolated": 0, "epochs": 1, "steps": 1}
    result = run("rambo", image_data, out=tmp_path / "run", validation=12, options=options, **settings)
    assert len(result.config["validation_set"]) == 12 and result.config["validation_labels"] == "free"
    assert [record["n_labeled"] for record in result.rounds] == [10, 15]
    recorded = result.config["strategy"]["options"]
    assert (recorded["pairs"], recorded["chunks"], recorded["parts"]) == (1, 3, 10)
    assert result.config["recipe"]["stop_at_full_accuracy"] is True
    with pytest.raises(InputError, match="--validation 1000: give 0 to 39"):
        run("random", image_data, **settings)
    for more, n_labeled in (({"validation": 12, "validation_labels": "counted"}, 22), ({"validation": 0}, 10)):
        out = tmp_path / f"{n_labeled}"
        found = run("random", image_data, out=out, **settings, **more)
        assert found.rounds[0]["n_labeled"] == n_labeled
        assert run(out=out, dataset=image_data, resume=True).rounds == found.rounds


def test_given_settings_take_precedence_also_on_resume(tmp_path, image_data):
    out = tmp_path / "run"
    settings = {**TINY, "protocol": "deepal+/mnist", "model": "cnn", "recipe": {"optimizer": "sgd"}}
    first = run("random", image_data, out=out, **settings)
    assert first.config["model"]["name"] == "cnn" and first.config["recipe"]["optimizer"] == "sgd"
    assert first.config["recipe"]["train_batch_size"] == 128 and len(first.config["initial"]) == 10
    assert run("random", image_data, out=out, resume=True, **settings).rounds == first.rounds
    with pytest.raises(RunFolderError, match="protocol"):
        run("random", image_data, out=out, resume=True, **{**settings, "protocol": "deepal+/svhn"})


def recorded_options(folder):
    strategy = json.loads((folder / "config.json").read_text())["strategy"]
    return {strategy["name"]: strategy["options"]} | {
        candidate["name"]: candidate["options"] for candidate in strategy.get("candidates", ())
    }


@pytest.mark.parametrize(
    ("strategy", "candidates", "given", "expected"),
    [
        ("coreset", None, {}, {"coreset": {"pca": 32}}),
        ("coreset", None, {"pca": 4}, {"coreset": {"pca": 4}}),
        ("varratio", None, {}, {"varratio": {"form": "confidence", "n_passes": 10}}),
        ("vote", ["coreset", "entropy"], {}, {"coreset": {"pca": 32}}),
        ("vote", None, {}, {"varratio": {"form": "confidence", "n_passes": 10}}),
        ("random", None, {}, {}),
    ],
)
def test_strategies_have_the_papers_options(tmp_path, image_data, strategy, candidates, given, expected):
    settings = {**TINY, "protocol": "deepal+/mnist", "model": "linear"}
    run(strategy, image_data, candidates=candidates, options=given, out=tmp_path, **settings)
    assert {name: recorded_options(tmp_path)[name] for name in expected} == expected
    # The same run goes on.
    assert run(strategy, image_data, candidates=candidates, options=given, out=tmp_path, resume=True, **settings).rounds


def test_the_papers_vaal_is_used():
    for name, epochs in (("deepal+/mnist", 30), ("autoal/organcmnist", 100)):
        for given, width in (({}, 128), ({"width": 4}, 4)):
            options = create_strategy("vaal", **find_protocol(name).options_of("vaal", (), given)).describe_options()
            assert (options["epochs"], options["width"]) == (epochs, width)


def test_the_papers_autoal_is_used_by_its_protocols(deepal, tmp_path, blob_file):
    arguments = ["--protocol", "autoal/cifar100", "--strategies", "p=autoal,d=autoal[variant=default],coreset",
                 "--candidates", "entropy,margin", "--dataset", blob_file, "--model", "linear", "--initial", "9",
                 "--batch-size", "3", "--rounds", "1", "--epochs", "1", "--seeds", "1", "--out", tmp_path / "b",
                 "--augmentation", "none", "--jobs", "1"]  # fmt: skip
    for _ in range(2):  # a repeated command finds the same settings
        status, _, err = deepal("benchmark", *arguments)
        assert status == 0, err
    options = {label: recorded_options(next((tmp_path / "b").glob(f"*/{label}/seed-0"))) for label in ("p", "d")}
    assert options["p"]["autoal"]["variant"] == "paper" and options["p"]["autoal"]["search_epochs"] == 400
    assert options["d"]["autoal"]["variant"] == "default"


def test_typos_suggest_the_nearest_names():
    with pytest.raises(UnknownNameError, match=r"deepal\+/cifar10"):
        find_protocol("deepal/cifar10")


def test_protocol_dataset_is_the_default(deepal, image_data, tmp_path, monkeypatch):
    asked = []

    def load(name, *rest, **further):
        asked.append(name)
        return image_data

    monkeypatch.setattr("deepal_autoal.experiment.loop.load_dataset", load)
    tiny = ["--model", "linear", "--initial", "5", "--batch-size", "2", "--rounds", "1", "--epochs", "1"]
    status, out, err = deepal("run", "--protocol", "deepal+/mnist", "--quiet", *tiny)
    assert status == 0, err
    assert asked == ["mnist"] and "-mnist-random-s0" in out
    monkeypatch.setattr("deepal_autoal.benchmark.checks.load_dataset", load)
    status, _, err = deepal("benchmark", "--protocol", "deepal+/svhn", "--strategies", "random", "--seeds", "1",
                            "--out", tmp_path / "b", *tiny)  # fmt: skip
    assert status == 0, err
    assert asked[1:] == ["svhn", "svhn"] and (tmp_path / "b" / "svhn" / "random" / "seed-0").is_dir()


def test_commands(deepal):
    status, out, _ = deepal("protocols", "deepal+/cifar10")
    assert "strategy vaal       variant=paper, epochs=30\n" in out
    assert "dropout             in front of the classifier *" in out
    assert status == 0 and "initial             1000 *" in out and "epochs              30\n" in out
    status, out, _ = deepal("protocols", "rambo/svhn")
    assert "validation          1000\nvalidation labels   free\n" in out and "in front of the classifier" not in out
    assert "note                The paper trains until 99% of the labels are learned" in out
    status, _, err = deepal("protocols", "deepal+/cifra10")
    assert status == 2 and "deepal+/cifar10" in err
    status, _, err = deepal("run", "--protocol", "cifar10")
    assert status == 2 and err.startswith("Error: ")
