"""Random Fourier features: the kernel they approximate, and a model that is trained and saved with them."""

import numpy as np
import pytest
import torch

from deepal_autoal import global_torch_seed, load_dataset, load_model, run
from deepal_lowbudget.rff import FourierFeatures, build


def test_inner_products_approximate_the_gaussian_kernel():
    rng = np.random.default_rng(0)
    inputs = torch.as_tensor(rng.normal(size=(12, 9)), dtype=torch.float32)
    with global_torch_seed(0):
        features = FourierFeatures(9, 40_000)(inputs)
    kernel = (features @ features.T / 40_000).numpy()
    for i, x in enumerate(inputs.numpy()):
        for j, y in enumerate(inputs.numpy()):
            assert kernel[i, j] == pytest.approx(np.exp(-((x - y) ** 2).sum() / (2 * 9)), abs=0.03)


def test_standardized_inputs_are_neither_all_similar_nor_all_different():
    # The mean kernel of independent standard normal inputs: (1 + 2/P)^(-P/2), between 1/2 and 1/e for any P above 1.
    for n_inputs in (2, 30, 784):
        rng = np.random.default_rng(n_inputs)
        x, y = (torch.as_tensor(rng.normal(size=(500, n_inputs)), dtype=torch.float32) for _ in range(2))
        with global_torch_seed(1):
            module = FourierFeatures(n_inputs, 2000)
        mean = float((module(x) * module(y)).mean())
        assert mean == pytest.approx((1 + 2 / n_inputs) ** (-n_inputs / 2), abs=0.03)


@pytest.mark.parametrize("shape", [(7,), (3, 5, 4)])
def test_shapes_and_parameters(shape):
    model = build(shape, 4)
    inputs = torch.randn(6, *shape)
    embeddings = model.features(inputs)
    assert embeddings.shape == (6, model.embedding_dim) and model.dropout.p > 0 and model.dropout_only_in_head
    torch.testing.assert_close(model.eval()(inputs), embeddings @ model.head.weight.T + model.head.bias)
    assert {name for name, _ in model.named_parameters()} == {"head.weight", "head.bias"}


def test_features_are_drawn_once_from_the_seed_and_saved(tmp_path):
    settings = {"model": "rff", "initial": 30, "batch_size": 10, "rounds": 1, "epochs": 2, "threads": 1}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        run("random", "breast-cancer", seed=seed, out=tmp_path / name, device="cpu", **settings)
    models = [load_model(tmp_path / name, device="cpu") for name in ("a", "b", "c")]
    drawn = [model.module.backbone.frequencies for model in models]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    samples = load_dataset("breast-cancer").x_test
    np.testing.assert_array_equal(models[0].predict_proba(samples), models[1].predict_proba(samples))


@pytest.mark.parametrize(("dataset", "initial", "least"), [("breast-cancer", 100, 0.9), ("digits", 300, 0.88)])
def test_it_learns_tables_and_images(dataset, initial, least):
    result = run("random", dataset, model="rff", initial=initial, batch_size=1, rounds=0, seed=0, threads=1)
    assert result.accuracy > least
    assert result.config["plugins"]["deepal-lowbudget"]
