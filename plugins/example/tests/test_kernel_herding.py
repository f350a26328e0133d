"""Kernel herding against a matrix of cosines, and in hand-made cases."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, Dataset, InputError, create_strategy, run
from deepal_lowbudget.kernel_herding import KernelHerding

QUICK = {"model": "linear", "recipe": {"epochs": 1, "min_steps": 2}, "device": "cpu"}


class View:
    """Rows of a table, in the form of a context's view; what is not named is not there."""

    def __init__(self, indices, **outputs):
        self.indices = np.array(indices)
        vars(self).update(outputs)

    def __len__(self):
        return len(self.indices)


def context_of(candidates, labeled, seed=0):
    """Return a context over tables of embeddings; candidates are numbered from 100."""
    reported = {}
    return SimpleNamespace(
        candidates=View(range(100, 100 + len(candidates)), embeddings=lambda: candidates),
        labeled=View(range(len(labeled)), embeddings=lambda: labeled),
        generator=torch.Generator().manual_seed(seed),
        device=torch.device("cpu"),
        report=reported.update,
        reported=reported,
        progress=lambda done, total: None,
    )


def naive_herding(candidates, labeled, n_chosen, weight):
    """Return the choices and both discrepancies by the matrix of cosines."""
    rows = np.concatenate([candidates, labeled]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    cosines = rows @ rows.T
    n, chosen = len(candidates), []

    def shares():
        counts = np.zeros(len(rows))
        counts[chosen] = 1
        counts[n:] = weight
        return counts

    def discrepancy():
        off = shares() / shares().sum() - 1 / len(rows)
        return (off @ cosines @ off) ** 0.5

    before = discrepancy() if shares().any() else None
    for _ in range(n_chosen):
        scores = cosines.mean(axis=1) - cosines @ shares() / (shares().sum() + 1)
        scores[chosen] = -np.inf
        chosen.append(int(scores[:n].argmax()))
    return chosen, before, discrepancy()


@pytest.mark.parametrize("n_labeled", [0, 1, 12])
@pytest.mark.parametrize("weight", [1.0, 0.25, 0.0])
def test_the_batch_is_that_of_the_matrix(n_labeled, weight):
    generator = torch.Generator().manual_seed(n_labeled)
    rows = 0.5 + torch.randn(70 + n_labeled, 6, generator=generator)
    context = context_of(rows[:70], rows[70:])
    query = KernelHerding(labeled_weight=weight).query(context, 40)
    expected, before, after = naive_herding(rows[:70].numpy(), rows[70:].numpy(), 40, weight)
    assert (query.indices - 100).tolist() == expected
    assert context.reported.get("discrepancy_before") == (before and pytest.approx(before, abs=1e-5))
    assert context.reported["discrepancy_after"] == pytest.approx(after, abs=1e-5)


def test_groups_are_represented_by_their_shares():
    # Three directions with 60, 30 and 10 samples: ten choices are 6, 3 and 1 of them.
    generator = torch.Generator().manual_seed(0)
    rows = torch.eye(3).repeat_interleave(torch.tensor([60, 30, 10]), dim=0)
    rows = rows + 0.001 * torch.randn(100, 3, generator=generator)
    query = KernelHerding().query(context_of(rows, rows[:0]), 10)
    owners = np.repeat(np.arange(3), [60, 30, 10])[query.indices - 100]
    assert np.bincount(owners).tolist() == [6, 3, 1] and owners[0] == 0


def test_labeled_samples_are_not_repeated():
    rows = torch.eye(2).repeat(10, 1)
    query = KernelHerding().query(context_of(rows, rows[:1].repeat(5, 1)), 4)
    assert (rows[query.indices - 100] == rows[1]).all()


def test_ties_are_broken_at_random():
    picks = {int(KernelHerding().query(context_of(torch.ones(30, 4), torch.ones(2, 4), seed), 1).indices[0])
             for seed in range(20)}  # fmt: skip
    assert len(picks) > 8


@pytest.mark.parametrize("scale", [1e30, 1e-30])
def test_the_scale_of_embeddings_does_not_matter(scale):
    rows = torch.randn(40, 5, generator=torch.Generator().manual_seed(4))
    batches = [KernelHerding().query(context_of(factor * rows, rows[:0]), 8).indices for factor in (scale, 1.0)]
    assert batches[0].tolist() == batches[1].tolist()
    assert len(set(KernelHerding().query(context_of(0 * rows, rows[:3]), 8).indices.tolist())) == 8


def test_inputs_are_read_as_vectors_of_pixels():
    rng = np.random.default_rng(4)
    images = rng.integers(0, 255, size=(40, 4, 4, 1), dtype=np.uint8)
    data = Dataset("noise", images[:30], np.arange(30) % 2, images[30:], np.arange(10) % 2, ("a", "b"))
    settings = {"initial": 4, "batch_size": 3, "rounds": 1, "threads": 1, **QUICK}
    # The linear model's embeddings are the pixels.
    queried = [run("kernel-herding", data, options={"features": name}, **settings).rounds[0]["queried"]
               for name in ("inputs", "embeddings")]  # fmt: skip
    assert queried[0] == queried[1]


def test_a_query_without_labels():
    pool = np.random.default_rng(0).normal(size=(50, 4))
    learner = ActiveLearner(pool, create_strategy("kernel-herding"), n_classes=2, **QUICK)
    assert len(set(learner.query(6).indices.tolist())) == 6


def test_requirements_depend_on_the_features():
    assert KernelHerding().requires == {"embeddings"} and KernelHerding("inputs").requires == {"inputs"}


@pytest.mark.parametrize("options", [{"features": "pixels"}, {"labeled_weight": -1.0}, {"labeled_weight": np.nan}])
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        KernelHerding(**options)
    with pytest.raises(InputError, match=next(iter(options))):
        create_strategy("kernel-herding", **options)
