"""MaxHerding, UHerding and the greedy coverage that they share with ProbCover, against full kernel matrices."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import BlockSize, InputError
from deepal_autoal.querying.outputs import ModelOutputs
from deepal_strategies.herding import MaxHerding, UHerding
from deepal_strategies.shared import coverage
from deepal_strategies.shared.coverage import Similarity, choose_covering, gaussian
from deepal_strategies.shared.covering_batches import labeled_radius
from tests.pretended_cuda import pretended_cuda


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def unit(rows):
    lengths = np.linalg.norm(np.asarray(rows, dtype=np.float64), axis=1, keepdims=True)
    return np.asarray(rows, dtype=np.float64) / np.where(lengths > 0, lengths, 1)


def naive_kernel(rows, others, sigma):
    squared = ((unit(rows)[:, None] - unit(others)[None]) ** 2).sum(axis=2)
    return np.exp(-squared / sigma**2)


def naive_herding(rows, labeled, weights, sigma, n_chosen):
    """Return the greedy choice by the full kernel matrix of candidates, all of them in the reference set."""
    kernel = naive_kernel(rows, rows, sigma)
    covered = naive_kernel(labeled, rows, sigma).max(axis=0) if len(labeled) else np.zeros(len(rows))
    chosen = []
    for _ in range(n_chosen):
        gains = (np.maximum(0, kernel - covered) * weights).mean(axis=1)
        gains[chosen] = -1
        chosen.append(int(gains.argmax()))
        covered = np.maximum(covered, kernel[chosen[-1]])
    return chosen


def shortfalls(rows, labeled, sigma, chosen, weights=1.0):
    """Return by how much each choice's gain was below the largest, as a share; pairs of samples have equal gains."""
    kernel = naive_kernel(rows, rows, sigma)
    covered = naive_kernel(labeled, rows, sigma).max(axis=0, initial=0)
    found = []
    for number, one in enumerate(chosen):
        gains = (np.maximum(0, kernel - covered) * weights).sum(axis=1)
        gains[chosen[:number]] = 0
        found.append(1 - gains[one] / gains.max())
        covered = np.maximum(covered, kernel[one])
    return found


def naive_uncertainty(logits, temperature=1.0):
    scaled = np.exp(np.asarray(logits, dtype=np.float64) / temperature)
    ordered = np.sort(scaled / scaled.sum(axis=1, keepdims=True), axis=1)
    return 1 - (ordered[:, -1] - ordered[:, -2])


def positions(context, query):
    return np.searchsorted(context.candidates.indices, query.indices).tolist()


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of a few rows and a cache that is too small for the rows in use."""
    monkeypatch.setattr(coverage, "COVERAGE", BlockSize(500))
    monkeypatch.setattr(coverage, "KERNEL_ROWS", BlockSize(500))
    monkeypatch.setattr(coverage, "_UPDATED", 3)
    monkeypatch.setattr(coverage, "_AHEAD", 2)


@pytest.mark.parametrize("n_labeled", [0, 1, 12])
@pytest.mark.parametrize("radius", [0.3, 1.0])
def test_maxherding_equals_the_full_matrix(make_round, small_blocks, n_labeled, radius):
    context = make_round(n_labeled, 90, seed=n_labeled).context
    query = MaxHerding(radius).query(context, 40)
    rows, labeled = context.candidates.embeddings().numpy(), context.labeled.embeddings().numpy()
    assert len(set(positions(context, query))) == 40
    assert max(shortfalls(rows, labeled, radius, positions(context, query))) < 1e-5
    kernel = naive_kernel(np.concatenate([labeled, rows[positions(context, query)]]), rows, radius)
    before = kernel[:n_labeled].max(axis=0, initial=0).mean()
    expected = {"radius": radius, "coverage_before": before, "coverage_after": kernel.max(axis=0).mean()}
    assert query.report == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("options", [{}, {"radius": "min"}, {"radius": 0.5, "temperature": 3.0}])
def test_uherding_equals_the_full_matrix(make_round, small_blocks, monkeypatch, seed, options):
    monkeypatch.setattr(ModelOutputs, "temperature", lambda outputs: 1.7)
    context = make_round(12, 90, seed=seed).context
    query = UHerding(**options).query(context, 30)
    rows, labeled = context.candidates.embeddings().numpy(), context.labeled.embeddings().numpy()
    distances = np.linalg.norm(unit(labeled)[:, None] - unit(labeled)[None], axis=2)
    nearest = np.where(np.eye(12) > 0, np.inf, distances).min(axis=1)
    radius = {"min": nearest.min(), 0.5: 0.5}.get(options.get("radius"), np.median(nearest))
    assert query.report["radius"] == pytest.approx(radius)
    temperature = context.reported["temperature"]
    assert temperature == options.get("temperature", 1.7)
    weights = naive_uncertainty(context.candidates.logits(), temperature)
    assert positions(context, query) == naive_herding(rows, labeled, weights, radius, 30)


def test_uherding_without_labels_is_maxherding(make_round):
    picks = [strategy.query(make_round(0, 60).context, 20).indices for strategy in (UHerding(), MaxHerding(1.0))]
    assert picks[0].tolist() == picks[1].tolist()


def test_a_tiny_radius_gives_the_batch_of_margin(make_round):
    context = make_round(10, 60).context
    weights = naive_uncertainty(context.candidates.logits())
    chosen = positions(context, UHerding(radius=1e-3, temperature=1.0).query(context, 15))
    assert set(chosen) == set(np.argsort(-weights)[:15].tolist())


def test_only_the_reference_set_counts(make_round):
    context = make_round(5, 80).context
    drawn = coverage.draw_reference(make_round(5, 80).context, 20).numpy()
    weights = np.zeros(80)
    weights[drawn] = 1.0
    assert len(drawn) == 20
    rows, labeled = context.candidates.embeddings().numpy(), context.labeled.embeddings().numpy()
    chosen = positions(context, MaxHerding(0.6, 20).query(context, 10))
    assert max(shortfalls(rows, labeled, 0.6, chosen, weights)) < 1e-5


def test_near_duplicates_and_copies_of_labeled_samples(make_round):
    rows = torch.randn(40, 5, generator=generator())
    rows[1] = rows[0] * 3.0  # the same direction
    rows[3] = rows[2] + 1e-3 * rows[2].roll(1)
    context = make_round(40, 0, embeddings=rows).context
    pair = np.linalg.norm(np.subtract(*unit(rows[2:4])))
    assert labeled_radius(context, "min") == pytest.approx(pair, rel=1e-3)
    assert labeled_radius(context, "nearest") > 50 * pair
    for few in (rows[:0], rows[:1], rows[:2]):
        assert labeled_radius(make_round(len(few), 0, embeddings=few).context, "min") == 1.0


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_scale_of_embeddings_does_not_matter(scale):
    rows = torch.randn(50, 6, generator=generator())
    rows[7] = 0.0

    def batch(factor):
        similarity = Similarity(factor * rows, 0.7, gaussian)
        covered = similarity.best(factor * rows[:3])
        return choose_covering(similarity, factor * rows, covered, 20, generator())[0].tolist()

    assert max(shortfalls(rows.numpy(), rows[:3].numpy(), 0.7, batch(scale))) < 1e-5


def test_equal_gains_are_not_chosen_by_position():
    rows = torch.ones(60, 3)
    picks = []
    for seed in range(6):
        similarity = Similarity(rows, 1.0, gaussian)
        picks.append(choose_covering(similarity, rows, similarity.best(rows[:0]), 60, generator(seed))[0].tolist())
    assert all(sorted(chosen) == list(range(60)) for chosen in picks)
    assert len({chosen[0] for chosen in picks}) > 3 and len({chosen[1] for chosen in picks}) > 3


def test_few_rows_are_updated_after_each_choice(monkeypatch):
    """The work after the first pass is a fraction of another one."""
    counted = []
    plain = Similarity.__call__
    monkeypatch.setattr(Similarity, "__call__", lambda self, rows: counted.append(len(rows)) or plain(self, rows))
    rows = torch.randn(1500, 8, generator=generator())
    similarity = Similarity(rows, 0.3, gaussian)
    choose_covering(similarity, rows, similarity.best(rows[:100]), 100, generator())
    assert sum(counted) < 3 * 1500


def test_a_device_waits_a_few_times_for_each_choice():
    rows = torch.randn(200, 6, generator=generator())
    similarity = Similarity(rows, 0.8, gaussian)
    expected = choose_covering(similarity, rows, similarity.best(rows[:5]), 30, generator())[0].tolist()
    with pretended_cuda() as devices:
        on_device = rows.cuda()
        similarity = Similarity(on_device, 0.8, gaussian)
        covered = similarity.best(on_device[:5])
        before = sum(devices.waits.values())
        chosen, _ = choose_covering(similarity, on_device, covered, 30, torch.Generator("cuda").manual_seed(0))
        waits = sum(devices.waits.values()) - before
        assert chosen.tolist() == expected
    # One to see that nothing is outdated, one after an update; and the check of the embeddings.
    assert waits <= 2 * 30 + 2


@pytest.mark.parametrize(
    "strategy, options",
    [(MaxHerding, {"radius": 0.0}), (MaxHerding, {"reference": 0}), (UHerding, {"radius": "mean"}),
     (UHerding, {"radius": -1.0}), (UHerding, {"temperature": 0.0}), (UHerding, {"reference": 0})],
)  # fmt: skip
def test_invalid_options_are_refused(strategy, options):
    with pytest.raises(InputError, match=next(iter(options))):
        strategy(**options)
