"""EPIG against loops over targets, classes and passes."""

import math

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_autoal.testing.problems import blobs
from deepal_autoal.testing.subject import Subject
from deepal_strategies import epig
from deepal_strategies.epig import EPIG
from tests.deepal_strategies.test_batchbald import random_passes


def naive_epig(passes, targets):
    """Return the mean over targets of Σ p(y, y*) log(p(y, y*) / p(y) p(y*)), (N,), of passes (K, N, C), (K, n, C)."""
    scores = []
    for i in range(passes.shape[1]):
        total = 0.0
        for j in range(targets.shape[1]):
            joint = np.einsum("ky,kz->yz", passes[:, i], targets[:, j]) / len(passes)
            product = joint.sum(axis=1)[:, None] * joint.sum(axis=0)
            total += sum(p * math.log(p / q) for p, q in zip(joint.flat, product.flat, strict=True) if p > 0)
        scores.append(total / targets.shape[1])
    return scores


@pytest.mark.parametrize("block", [None, 100])
@pytest.mark.parametrize("n_classes", [2, 5])
def test_score_follows_its_definition(round_of_shared_passes, monkeypatch, n_classes, block):
    if block:
        monkeypatch.setattr(epig, "JOINT", epig.JOINT.__class__(block))
        monkeypatch.setattr(epig, "SHARED_PASSES", epig.SHARED_PASSES.__class__(block))
    passes = random_passes(6, 30, n_classes)
    expected = naive_epig(passes.double().numpy(), passes.double().numpy())
    context = round_of_shared_passes(passes)
    scores = EPIG(6).score(context)
    np.testing.assert_allclose(scores, expected, atol=1e-6)
    assert np.ptp(expected) > 0.02
    assert context.reported == {"targets": {"source": "pool", "number": 30}}
    assert EPIG(6).query(context, 4).tolist() == np.argsort(expected)[::-1][:4].tolist()


def test_targets_are_drawn_from_the_pool_anew_for_each_key(round_of_shared_passes):
    passes = random_passes(6, 60, 3)
    context = round_of_shared_passes(passes)
    first, second, again = (EPIG(6, n_targets=5).score(context.for_candidate(name)) for name in "aba")
    assert torch.equal(first, again) and not torch.allclose(first, second, atol=1e-3)


def test_only_what_matters_for_the_targets_counts(round_of_shared_passes, tmp_path):
    """Of two independent directions in which passes disagree, the targets have one."""
    generator = torch.Generator().manual_seed(0)
    one, other = torch.randn(2, 200, 1, generator=generator)
    passes = torch.cat([one.expand(200, 10), other.expand(200, 10)], dim=1)[..., None] * torch.tensor([1.0, -1.0])
    context = round_of_shared_passes(passes.softmax(dim=2))
    context.view_of = lambda samples, what: round_of_shared_passes(passes[:, : len(samples)].softmax(dim=2)).candidates
    np.save(tmp_path / "targets.npy", np.zeros(10))
    scores = EPIG(200, targets=str(tmp_path / "targets.npy")).score(context)
    assert scores[:10].min() > 5 * scores[10:].max()
    assert scores[10:].min() < 0.2 * EPIG(200).score(context)[10:].min()


@pytest.mark.parametrize("kind", ["vectors", "images"])
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_targets_of_a_file(tmp_path, kind, suffix):
    pool = blobs(kind).pool
    path = tmp_path / f"targets.{suffix}"
    np.save(path, pool[:20]) if suffix == "npy" else np.savez(path, x=pool[:20])
    context = Subject("random").context(blobs(kind))
    with torch.no_grad():
        context.model.module.head.weight.mul_(20)  # more disagreement than a brief training leaves
    scores = EPIG(20, targets=str(path)).score(context)
    assert context.reported == {"targets": {"source": "file", "number": 20}}
    # The same passes for the pool's samples and for those of the file.
    view = context.view_of(pool)
    passes, rows = view.shared_mc_probabilities(20).double().numpy(), context.candidates.indices
    np.testing.assert_allclose(scores, naive_epig(passes[:, rows], passes[:, :20]), atol=1e-6)
    assert scores.max() > 1e-3


def test_files_without_targets_are_refused(tmp_path):
    with pytest.raises(InputError, match="targets: there is no file"):
        EPIG(targets=str(tmp_path / "none.npy"))
    context = Subject("random").context(blobs())
    for name, array in (("a", np.array([object()])), ("b", np.zeros((4, 9))), ("c", None)):
        path = tmp_path / f"{name}.npy"
        np.save(path, array, allow_pickle=True) if array is not None else path.write_text("no array")
        with pytest.raises(InputError, match=rf"the targets in .*{name}\.npy (cannot be read|have input shape)"):
            EPIG(targets=str(path)).score(context)
    np.savez(tmp_path / "d.npz", z=np.zeros(3))
    with pytest.raises(InputError, match=r"as x with numpy\.savez"):
        EPIG(targets=str(tmp_path / "d.npz")).score(context)


@pytest.mark.parametrize("passes", [torch.full((4, 12, 3), 1 / 3), torch.eye(3)[torch.arange(48) % 3].view(4, 12, 3)])
def test_certain_and_equal_passes_give_finite_scores(round_of_shared_passes, passes):
    scores = EPIG(4).score(round_of_shared_passes(passes))
    np.testing.assert_allclose(scores, naive_epig(passes.numpy(), passes.numpy()), atol=1e-6)
    assert scores.min() >= 0


def test_options_are_checked():
    for options in ({"n_passes": 1}, {"n_targets": 0}):
        with pytest.raises(InputError, match=next(iter(options))):
            EPIG(**options)
