"""The training engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from deepal_autoal import DeepALError, InputError, LabeledData, Recipe, TaskModel, Trainer, UnlabeledData
from deepal_autoal.training import trainer as training_module
from tests.pretended_cuda.markers import NEEDS_GPU

CPU = torch.device("cpu")


def test_learns_and_reports(setup):
    model = setup.fit(np.arange(45), recipe=Recipe(epochs=30, min_steps=0, train_batch_size=16))
    assert model.metrics["train_accuracy"] > 0.95 and model.metrics["train_loss"] < 0.3
    assert (model.metrics["epochs"], model.metrics["steps"]) == (30, 90)
    logits, _ = model.sweep(setup.inputs, np.arange(45, 60))
    assert (logits.argmax(dim=1).numpy() == setup.labels[45:]).mean() > 0.9
    assert not model.module.training and not any(p.requires_grad for p in model.module.parameters())
    assert (model.device, model.seed, model.precision, model.recipe.epochs) == (CPU, 0, "float32", 30)


def test_same_seed_same_weights_bit_for_bit(setup, equal):
    rows = np.arange(21)
    recipe = Recipe(epochs=2, min_steps=0, train_batch_size=8, augmentation=("crop", "flip"))
    first = setup.fit(rows, recipe=recipe)
    torch.manual_seed(99)
    state = torch.get_rng_state()
    assert equal(first, setup.fit(rows, recipe=recipe))
    assert torch.equal(torch.get_rng_state(), state)
    assert not equal(first, setup.fit(rows, seed=1, recipe=recipe))


@pytest.mark.parametrize("stream", ["order", "augmentation", "dropout"])
def test_each_purpose_has_its_own_stream(setup, equal, monkeypatch, stream):
    """Changing one purpose's draws changes the result, so each of them takes part and none shares another's."""
    rows = np.arange(21)
    recipe = Recipe(epochs=1, min_steps=0, train_batch_size=8, augmentation=("flip",))
    first = setup.fit(rows, recipe=recipe)
    original = training_module.stream_seed
    if stream == "dropout":
        monkeypatch.setattr(training_module, "stream_seed", lambda *key: original(*key, *("x",) * (key[1] == stream)))
    else:
        drawn = training_module.torch_stream
        monkeypatch.setattr(
            training_module,
            "torch_stream",
            lambda *key, device: drawn(*key, *("x",) * (key[1] == stream), device=device),
        )
    assert not equal(first, setup.fit(rows, recipe=recipe))


def test_same_initialization_whatever_is_labeled(setup):
    initial = []

    def build():
        model = original()
        initial.append({key: value.clone() for key, value in model.state_dict().items()})
        return model

    original, setup.trainer.build = setup.trainer.build, build
    setup.fit(np.arange(10), seed=5)
    setup.fit(np.arange(30, 55), seed=5)
    assert all(torch.equal(initial[0][key], initial[1][key]) for key in initial[0])


def test_every_sample_is_visited_once_per_epoch(stripes, make_setup):
    seen = []

    class Spy(nn.Flatten):
        def forward(self, inputs):
            seen.append(inputs[:, 0].clone())
            return super().forward(inputs)

    vectors = np.arange(13, dtype=np.float32)[:, None].repeat(2, axis=1)
    setup = make_setup(vectors, np.arange(13) % 3, model="linear", train_batch_size=4, epochs=2)
    setup.trainer.build = lambda: TaskModel(Spy(), 2, 3)
    model = setup.fit(np.arange(3, 13))
    assert [len(part) for part in seen] == [4, 3, 3] * 2
    expected = setup.inputs.batch(np.arange(3, 13))[:, 0]
    epochs = [torch.cat(seen[:3]), torch.cat(seen[3:])]
    for epoch in epochs:
        assert torch.equal(epoch.sort().values, expected)
    assert not torch.equal(epochs[0], epochs[1])
    assert model.metrics["steps"] == 6


def test_labels_follow_their_samples(make_setup):
    """Labels that only the right pairing can explain; rows and positions differ."""
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 4)).astype(np.float32)
    labels = (vectors[:, 0] > 0).astype(np.int64)
    setup = make_setup(vectors, labels, model="linear", n_classes=2, epochs=60, learning_rate=0.02)
    model = setup.fit(rng.permutation(200)[:80])
    logits, _ = model.sweep(setup.inputs, np.arange(200))
    assert (logits.argmax(dim=1).numpy() == labels).mean() > 0.95


@pytest.mark.parametrize("model", ["linear", "mlp", "cnn", "resnet18"])
@pytest.mark.parametrize("n", [1, 2, 9])
def test_tiny_labeled_sets(stripes, make_setup, model, n):
    setup = make_setup(*stripes, model=model, train_batch_size=4, epochs=1)
    fitted = setup.fit(np.arange(n))
    logits, embeddings = fitted.sweep(setup.inputs, np.arange(20))
    assert logits.isfinite().all() and embeddings.isfinite().all()


def test_one_sample_leaves_batchnorm_statistics_alone(stripes, make_setup):
    setup = make_setup(*stripes, epochs=20)
    fitted = setup.fit([4])
    for part in fitted.module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            assert (part.running_mean == 0).all() and (part.running_var == 1).all()
    assert fitted.sweep(setup.inputs, np.array([4]))[0].argmax() == setup.labels[4]


def test_classes_without_a_label(setup):
    rows = np.flatnonzero(setup.labels != 1)
    model = setup.fit(rows, recipe=Recipe(epochs=15, min_steps=0, train_batch_size=8))
    logits, _ = model.sweep(setup.inputs, rows)
    assert logits.shape == (len(rows), 3) and (logits.argmax(dim=1).numpy() == setup.labels[rows]).mean() > 0.9


def test_warm_start_starts_from_the_given_weights(setup, equal):
    before = setup.fit(np.arange(30))
    frozen = Recipe(epochs=1, min_steps=0, learning_rate=1e-30)
    state = before.module.state_dict()
    kept = {key: value.clone() for key, value in state.items()}
    warm, cold = (setup.fit(np.arange(40), seed=1, initial_state=start, recipe=frozen) for start in (state, None))
    for name, parameter in before.module.named_parameters():
        assert torch.equal(warm.module.get_parameter(name), parameter)
    assert not torch.allclose(cold.module.head.weight, before.module.head.weight)
    trained = setup.fit(np.arange(40), seed=1, initial_state=state)
    assert not equal(trained, before)
    assert all(torch.equal(state[key], kept[key]) for key in kept), "the given weights must not change"


def test_divergence_says_what_to_do(setup):
    with pytest.raises(DeepALError, match=r"the loss is (nan|inf) .*lower --learning-rate \(it is 1e\+30\)"):
        setup.fit(np.arange(30), recipe=Recipe(epochs=5, min_steps=0, optimizer="sgd", learning_rate=1e30))


def test_divergence_in_the_last_step_is_detected(make_setup):
    vectors = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    setup = make_setup(vectors, np.arange(8) % 3, model="mlp", epochs=1)
    with pytest.raises(DeepALError, match="weights after the last step"):
        setup.fit(np.arange(8), recipe=Recipe(epochs=1, min_steps=0, optimizer="sgd", learning_rate=1e39))


def test_frozen_weights_stay_frozen(setup):
    """A third-party model may train only its head."""
    build = setup.trainer.build

    def frozen():
        model = build()
        model.backbone.requires_grad_(False)
        made.append([parameter.clone() for parameter in model.backbone.parameters()])
        return model

    made = []
    setup.trainer.build = frozen
    model = setup.fit(np.arange(30))
    assert all(torch.equal(a, b) for a, b in zip(model.module.backbone.parameters(), made[0], strict=True))


def test_stops_at_full_accuracy(stripes, make_setup):
    setup = make_setup(*stripes, epochs=200)
    stopping = replace(setup.trainer.recipe, stop_at_full_accuracy=True)
    calls = []
    model = setup.fit(np.arange(30), recipe=stopping, progress=lambda done, total: calls.append((done, total)))
    assert model.metrics["train_accuracy"] == 1.0 and 5 <= model.metrics["epochs"] < 200
    assert calls == [(4 * epoch, 800) for epoch in range(1, model.metrics["epochs"] + 1)]
    assert setup.fit([0], recipe=stopping).metrics["epochs"] == 5


def test_augmentation_sees_pixels_and_only_in_training(stripes, make_setup, monkeypatch):
    batches = []

    def spy(images, names, generator):
        batches.append((images.dtype, tuple(images.shape), names))
        return images

    monkeypatch.setattr(training_module, "augment", spy)
    setup = make_setup(*stripes, augmentation=("crop",), epochs=1)
    model = setup.fit(np.arange(16))
    assert batches == [(torch.uint8, (8, 1, 8, 8), ("crop",))] * 2
    model.sweep(setup.inputs, np.arange(16))
    assert len(batches) == 2


def test_rows_that_do_not_fit_in_memory_are_gathered_batch_by_batch(setup, equal, monkeypatch):
    gathered = setup.fit(np.arange(5, 30))
    monkeypatch.setattr(training_module, "_GATHERED_BYTES", 0)
    assert equal(gathered, setup.fit(np.arange(5, 30)))


def test_schedule_reaches_the_optimizer(setup, equal, monkeypatch):
    rates = []
    original = training_module.set_learning_rate

    def spy(optimizer, recipe, progress):
        original(optimizer, recipe, progress)
        rates.append(optimizer.param_groups[0]["lr"])

    monkeypatch.setattr(training_module, "set_learning_rate", spy)
    setup.fit(np.arange(32), recipe=Recipe(epochs=2, min_steps=0, train_batch_size=8, schedule="cosine"))
    assert rates == pytest.approx([5e-4 * (1 + np.cos(np.pi * step / 8)) for step in range(8)])


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_optimizers_train(stripes, make_setup, optimizer):
    setup = make_setup(*stripes, optimizer=optimizer, learning_rate=0.01, epochs=10, weight_decay=1e-4)
    assert setup.fit(np.arange(60)).metrics["train_accuracy"] > 0.9


def test_unusable_labels_are_refused(setup):
    inputs, no_unlabeled = setup.inputs, UnlabeledData(setup.inputs, np.arange(0))
    for rows, labels, message in (
        ([], [], "at least one"), ([1, 2], [0], "each sample one"), ([1], [3], "0 to 2"), ([1], [-1], "0 to 2"),
    ):  # fmt: skip
        data = LabeledData(inputs, np.array(rows, dtype=np.int64), np.array(labels, dtype=np.int64))
        with pytest.raises(InputError, match=message):
            setup.trainer.fit(data, no_unlabeled, seed=0)


def test_augmentation_of_vectors_is_refused(make_setup):
    setup = make_setup(np.eye(6, dtype=np.float32), np.arange(6) % 3, model="mlp", augmentation=("flip",))
    with pytest.raises(InputError, match="flip is for images"):
        setup.fit(np.arange(6))


def test_a_wrapped_trainer_has_the_same_interface(setup, equal):
    class Half:
        def __init__(self, trainer):
            self.trainer = trainer

        def fit(self, labeled, unlabeled, **arguments):
            half = len(labeled.indices) // 2
            part = LabeledData(labeled.inputs, labeled.indices[:half], labeled.labels[:half])
            return self.trainer.fit(part, unlabeled, **arguments)

    no_unlabeled = UnlabeledData(setup.inputs, np.arange(0))
    wrapped = Half(setup.trainer).fit(setup.data(np.arange(20)), no_unlabeled, seed=3)
    assert equal(wrapped, setup.fit(np.arange(10), seed=3))


@pytest.mark.gpu
@pytest.mark.parametrize("model", ["cnn", pytest.param("resnet18", marks=NEEDS_GPU)])
def test_trains_on_cuda(stripes, make_setup, model):
    device = torch.device("cuda", 0)
    setup = make_setup(*stripes, model=model, device=device, epochs=30, augmentation=("crop",))
    state = torch.cuda.get_rng_state(device)
    fitted = setup.fit(np.arange(45))
    assert torch.equal(torch.cuda.get_rng_state(device), state)
    supported = torch.cuda.is_bf16_supported(including_emulation=False)
    assert fitted.precision == ("bfloat16" if supported else "float32")
    logits, embeddings = fitted.sweep(setup.inputs, np.arange(45, 60))
    assert logits.dtype == embeddings.dtype == torch.float32 and logits.device == device
    assert (logits.argmax(dim=1).cpu().numpy() == setup.labels[45:]).mean() > 0.8
    conv = next(part for part in fitted.module.modules() if isinstance(part, nn.Conv2d) and part.in_channels > 1)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_trainer_takes_any_factory(setup):
    trainer = Trainer(lambda: TaskModel(nn.Flatten(), 64, 3, dropout=0.0), Recipe(epochs=1, min_steps=0), CPU)
    no_unlabeled = UnlabeledData(setup.inputs, np.arange(0))
    assert trainer.fit(setup.data(np.arange(9)), no_unlabeled, seed=0).module.embedding_dim == 64


def test_compile_is_an_option_of_the_recipe(setup, monkeypatch):
    """Compilation itself is not tested: it takes half a minute."""
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, *args, **more: compiled.append(module))
    recipe = Recipe(epochs=1, min_steps=0)
    setup.fit(np.arange(9), recipe=recipe)
    assert compiled == []
    fitted = setup.fit(np.arange(9), recipe=replace(recipe, compile=True))
    assert len(compiled) == 1 and compiled[0] is fitted.module.backbone


def test_convolutions_are_channels_last(setup):
    weights = [p for p in setup.fit(np.arange(9)).module.parameters() if p.ndim == 4 and p.shape[1] > 1]
    assert weights and all(weight.is_contiguous(memory_format=torch.channels_last) for weight in weights)


def test_a_compiler_failure_is_one_line(setup, monkeypatch):
    def fail(module, *arguments, **named):
        raise torch._dynamo.exc.Unsupported("no compiler\nand much more")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda module: module.register_forward_pre_hook(fail))
    with pytest.raises(InputError, match=r"--compile: torch cannot compile this model here \(no compiler\)"):
        setup.fit(np.arange(9), recipe=Recipe(epochs=1, min_steps=0, compile=True))


def test_learns_in_bfloat16_inside_a_callers_autocast(setup):
    """Torch caches casts of weights until the outermost context ends: training on the first step's would fail."""
    recipe = Recipe(epochs=30, min_steps=0, train_batch_size=16, precision="bfloat16")
    with torch.autocast("cpu", enabled=False):
        model = setup.fit(np.arange(45), recipe=recipe)
        logits, _ = model.sweep(setup.inputs, np.arange(45, 60))
    assert model.metrics["train_accuracy"] > 0.9
    assert (logits.argmax(dim=1).numpy() == setup.labels[45:]).mean() > 0.9


def test_long_epochs_report_their_steps(setup, monkeypatch):
    now = [0.0]

    def later():
        now[0] += 0.7
        return now[0]

    monkeypatch.setattr("deepal_autoal.training.trainer.time.monotonic", later)
    reports = []
    setup.fit(np.arange(40), recipe=Recipe(epochs=1, min_steps=0, train_batch_size=8),
              progress=lambda done, total: reports.append((done, total)))  # fmt: skip
    assert reports[0] == (2, 5) and reports[-1] == (5, 5)
