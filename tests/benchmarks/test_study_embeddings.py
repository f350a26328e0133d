import embeddings
import numpy as np
import pytest
import torch

from deepal_autoal import load_dataset


@pytest.fixture(autouse=True)
def few_patches(monkeypatch):
    monkeypatch.setattr(embeddings, "N_PATCHES", 600)


def test_embeddings_depend_only_on_training_images(patterned_images):
    images, kinds = patterned_images
    state = torch.get_rng_state()
    train, test = embeddings.embed(images[:30], images[30:], n_centers=8, dim=5)
    np.random.default_rng()
    torch.rand(3)
    again, fewer = embeddings.embed(images[:30], images[37:], n_centers=8, dim=5)
    assert np.array_equal(train, again)  # independent of the global generator and of the test images
    assert np.allclose(test[7:], fewer, atol=1e-5)
    assert train.dtype == np.float32 and train.shape == (30, 5) and test.shape == (10, 5)
    assert train[:, 0].std() == pytest.approx(1, rel=0.05) and np.all(np.diff(train.std(axis=0)) <= 1e-6)
    centers = np.stack([train[kinds[:30] == kind].mean(axis=0) for kind in (0, 1)])
    nearest = np.square(test[:, None] - centers).sum(axis=2).argmin(axis=1)
    assert np.array_equal(nearest, kinds[30:])
    torch.set_rng_state(state)


def write(folder, labels):
    folder.mkdir()
    n, n_test = 300, 60
    x, x_test = (np.arange(size, dtype=np.float32)[:, None] for size in (n, n_test))
    embeddings.write_parts(folder, "toy", x, labels, x_test, np.arange(n_test) % 3, n_dev=(100, 20))
    return {path.stem: dict(np.load(path)) for path in folder.glob("*.npz")}


def test_parts_share_no_row_and_do_not_depend_on_labels(tmp_path):
    labels = np.arange(300) % 3
    parts = write(tmp_path / "a", labels)
    others = write(tmp_path / "b", np.roll(labels, 1))
    for key, n in (("x", 300), ("x_test", 60)):
        assert sorted(np.concatenate([parts["toy"][key], parts["toy-dev"][key]])[:, 0]) == list(range(n))
        for name in ("toy", "toy-dev"):
            assert np.array_equal(parts[name][key], others[name][key])
    for name in ("toy", "toy-dev"):
        thinned, whole = parts[f"{name}-imbalanced"], parts[name]
        counts = np.bincount(thinned["y"])
        assert counts[0] > 5 and counts.tolist() == [counts[0], 2 * counts[0], 3 * counts[0]]
        assert set(thinned["x"][:, 0]) <= set(whole["x"][:, 0])
        assert np.array_equal(thinned["x"][:, 0] % 3, thinned["y"])
        assert np.array_equal(thinned["x_test"], whole["x_test"])
    data = load_dataset(str(tmp_path / "a" / "toy.npz"))
    assert len(data.x_train) == 200 and len(data.x_test) == 40
