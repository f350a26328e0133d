"""Embeddings by patches, against a naive reference; what they depend on, and images that they cannot use."""

import numpy as np
import pytest
import torch

from deepal_autoal.errors import InputError
from deepal_autoal.models import patches
from deepal_autoal.models.patches import PatchEmbedding, choose_sizes, pooled_activations


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(patches, "N_PATCHES", 900)
    monkeypatch.setattr(patches, "N_CENTERS", 8)
    monkeypatch.setattr(patches, "DIM", 5)


def stripes(n, height=12, width=12, channels=1, seed=0):
    """Images of horizontal (even rows) and vertical stripes with noise."""
    images = np.random.default_rng(seed).integers(0, 90, (n, height, width, channels), dtype=np.uint8)
    images[::2, ::2] += 150
    images[1::2, :, ::2] += 150
    return images


def naive_embeddings(embedding, images):
    """The same, patch by patch in float64."""
    a = {name: value.astype(float) for name, value in embedding.arrays().items()}
    side, stride = (int(value) for value in a["sizes"][-2:])
    n_rows, n_columns = ((whole - side) // stride + 1 for whole in images.shape[1:3])
    found = []
    for image in images / 255:
        sums, counts = np.zeros((2, 2, len(a["centers"]))), np.zeros((2, 2, 1))
        for row in range(n_rows):
            for column in range(n_columns):
                top, left = row * stride, column * stride
                patch = image[top : top + side, left : left + side].transpose(2, 0, 1).reshape(-1)
                patch = (patch - patch.mean()) / np.sqrt(patch.var(ddof=1) + (10 / 255) ** 2)
                distances = np.linalg.norm((patch - a["mean"]) @ a["whitening"] - a["centers"], axis=1)
                for i in {int(row >= (n_rows + 1) // 2), int(row >= n_rows // 2)}:  # the middle is in both halves
                    for j in {int(column >= (n_columns + 1) // 2), int(column >= n_columns // 2)}:
                        sums[i, j] += np.maximum(0, distances.mean() - distances)
                        counts[i, j] += 1
        found.append(((sums / counts).reshape(-1) - a["offset"]) @ a["projection"])
    return np.stack(found)


@pytest.mark.parametrize("shape", [(12, 12, 1), (9, 14, 3), (42, 44, 1)])
def test_embeddings_are_projected_pooled_triangle_activations(shape):
    images = stripes(12, *shape)
    embedding = PatchEmbedding.fit(images)
    found = embedding.transform(images[:3])
    assert found.dtype == np.float32 and found.shape == (3, 5) and embedding.embedding_dim == 5
    np.testing.assert_allclose(found, naive_embeddings(embedding, images[:3]), atol=2e-4)


def test_patches_are_whitened_and_components_uncorrelated():
    images = stripes(60)
    embedding = PatchEmbedding.fit(images)
    sample = torch.from_numpy(images).permute(0, 3, 1, 2) / 255
    rows = patches.normalized(patches.random_patches(sample, 6, 20_000, torch.Generator().manual_seed(1)))
    values = torch.linalg.eigvalsh(torch.cov(rows.T)).double()
    mean, whitening = patches.zca(rows)
    whitened = torch.linalg.eigvalsh(torch.cov(((rows - mean) @ whitening).T)).double()
    torch.testing.assert_close(whitened, (values / (values + 0.1)).sort().values, atol=1e-3, rtol=0)
    covariance = np.cov(embedding.transform(images).T)
    assert covariance[0, 0] == pytest.approx(1, abs=1e-3) and np.all(np.diff(np.diag(covariance)) < 0)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-3)
    assert np.abs(embedding.transform(images).mean(axis=0)).max() < 1e-3


def test_k_means_lowers_the_distances_and_leaves_empty_centers():
    rows = torch.tensor([[0.0], [0.2], [4.0], [4.2], [9.0]])
    steps = []
    centers = patches.k_means(rows, 3, 10, torch.Generator().manual_seed(0), lambda: steps.append(1))
    assert len(steps) == 10 and sorted(centers[:, 0].tolist()) == pytest.approx([0.1, 4.1, 9.0])
    same = patches.k_means(torch.zeros(4, 2), 3, 2, torch.Generator().manual_seed(0))
    assert same.tolist() == [[0.0, 0.0]] * 3
    assert len(patches.k_means(rows, 50, 2, torch.Generator().manual_seed(0))) == 5


def test_kinds_of_images_are_told_apart_without_labels():
    embedding = PatchEmbedding.fit(stripes(40))
    first = embedding.transform(stripes(20, seed=1))[:, 0]
    assert (np.sign(first[::2]) == np.sign(first[0])).all() and (np.sign(first[1::2]) == -np.sign(first[0])).all()


def test_results_depend_on_the_seed_alone():
    images = stripes(30)
    first = PatchEmbedding.fit(images)
    np.random.default_rng(1)
    torch.rand(7)
    state = torch.get_rng_state()
    again, other = PatchEmbedding.fit(images), PatchEmbedding.fit(images, seed=1)
    assert torch.equal(state, torch.get_rng_state())
    for name, array in first.arrays().items():
        assert np.array_equal(array, again.arrays()[name])
    assert not np.array_equal(first.centers, other.centers)


def test_blocks_only_bound_the_memory(monkeypatch):
    images = stripes(30)
    embedding = PatchEmbedding.fit(images)
    whole = embedding.transform(images)
    shapes = []

    def watched(part, *arguments):
        shapes.append(len(part))
        return pooled_activations(part, *arguments)

    monkeypatch.setattr(patches, "pooled_activations", watched)
    monkeypatch.setattr(patches, "PATCH_DISTANCES", patches.PATCH_DISTANCES.__class__(1000))  # two images at 7x7x8
    monkeypatch.setattr(patches, "READING", patches.READING.__class__(4 * 144 * 4))
    np.testing.assert_allclose(embedding.transform(images), whole, atol=1e-5)
    assert max(shapes) == 4 and sum(shapes) == 30
    sample = torch.rand(6, 1, 12, 12)
    parts = pooled_activations(sample, embedding.mean, embedding.whitening, embedding.centers, 6, 1)
    assert [len(part) for part in parts] == [2, 2, 2]
    monkeypatch.setattr(patches, "PATCH_SAMPLE", patches.PATCH_SAMPLE.__class__(4 * 144 * 10))
    steps = []
    PatchEmbedding.fit(images, progress=lambda done, total: steps.append((done, total)))
    assert steps[-1] == (25, 25)  # fifteen iterations, ten images


@pytest.mark.parametrize(
    ("shape", "sizes"),
    [
        ((1, 28, 28), [28, 28, 6, 1]), ((3, 32, 32), [32, 32, 6, 1]), ((3, 96, 96), [64, 64, 6, 2]),
        ((3, 224, 224), [64, 64, 6, 2]), ((3, 224, 320), [54, 76, 6, 2]), ((1, 8, 8), [8, 8, 4, 1]),
        ((3, 1, 1), [1, 1, 1, 1]), ((40, 32, 32), [32, 32, 3, 1]), ((1, 3, 5), [3, 5, 2, 1]),
        ((600, 9, 9), [9, 9, 1, 1]), ((3, 2, 8000), [1, 4048, 1, 2]),
    ],
)  # fmt: skip
def test_sizes_by_image(shape, sizes):
    assert choose_sizes(*shape) == [*shape, *sizes]


@pytest.mark.parametrize("shape", [(3, 5, 1), (30, 8, 4), (96, 96, 3), (2, 300, 1)])
def test_images_of_any_size(shape):
    images = np.random.default_rng(0).integers(0, 256, (7, *shape), dtype=np.uint8)
    images[:3] //= 3
    found = PatchEmbedding.fit(images).transform(images)
    assert found.shape == (7, 5) and np.isfinite(found).all()


def test_large_images_are_reduced_as_a_whole():
    small = np.repeat(stripes(12, 16, 16), 3, axis=3)
    large = small.repeat(8, axis=1).repeat(8, axis=2)
    found = PatchEmbedding.fit(large).transform(large)[:, 0]
    assert (np.sign(found[::2]) == np.sign(found[0])).all() and (np.sign(found[1::2]) == -np.sign(found[0])).all()


def test_few_images_give_few_dimensions():
    embedding = PatchEmbedding.fit(stripes(3, 4, 4))
    assert embedding.embedding_dim == 2 and len(embedding.centers) == 8


def test_copies_by_arrays_embed_alike():
    images = stripes(20)
    embedding = PatchEmbedding.fit(images)
    again = PatchEmbedding.from_arrays(embedding.arrays())
    assert np.array_equal(again.transform(images), embedding.transform(images))
    assert again.input_shape == (1, 12, 12)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("centers", lambda a: a[:, :-1]), ("offset", lambda a: a[:-1]), ("projection", lambda a: a[:-1]),
        ("mean", lambda a: a.astype(float)), ("sizes", lambda a: a + 1),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(name, change):
    arrays = PatchEmbedding.fit(stripes(6)).arrays()
    with pytest.raises(ValueError, match=f"{name} is|mean is"):
        PatchEmbedding.from_arrays({**arrays, name: change(arrays[name])})


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (stripes(1), "at least two images"),
        (np.full((5, 12, 12, 1), 7, dtype=np.uint8), "look alike"),
        (np.arange(10, dtype=np.uint8).repeat(64).reshape(10, 8, 8, 1), "look alike"),
        (stripes(1).repeat(4, axis=0), "look alike"),
        (stripes(9)[:, :1], "images of 1x12 pixels have no patches"),
    ],
    ids=["one", "constant", "flat", "copies", "pixels"],
)
def test_images_of_which_nothing_can_be_learned(images, message):
    with pytest.raises(InputError, match=message):
        PatchEmbedding.fit(images)


@pytest.mark.parametrize("shape", [(2, 12, 13, 1), (2, 12, 12, 3), (12, 12, 1)])
def test_images_of_another_form_are_refused(shape):
    embedding = PatchEmbedding.fit(stripes(6))
    with pytest.raises(InputError, match=r"patches are of images uint8 \(N, 12, 12, 1\)"):
        embedding.transform(np.zeros(shape, dtype=np.uint8))
