"""ProbCover against a plain graph, and its radius against a search."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from deepal_autoal import InputError
from deepal_strategies.probcover import ProbCover, purest_radius
from deepal_strategies.shared.clustering import k_means
from deepal_strategies.shared.coverage import unit_rows


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def distances(rows, others):
    rows, others = (np.asarray(part, dtype=np.float64) for part in (rows, others))
    rows, others = (part / np.linalg.norm(part, axis=1, keepdims=True) for part in (rows, others))
    return np.linalg.norm(rows[:, None] - others[None], axis=2)


def naive_gains(rows, labeled, delta, chosen):
    """Return the out-degree of each choice in the graph when it was made, and the largest one then."""
    edges = distances(rows, rows) < delta
    covered = (distances(labeled, rows) < delta).any(axis=0)
    degrees = []
    for one in chosen:
        edges[:, covered] = False
        degrees.append((edges[one].sum(), edges.sum(axis=1).max()))
        covered |= edges[one]
    return degrees


def positions(context, query):
    return np.searchsorted(context.candidates.indices, query.indices).tolist()


@pytest.mark.parametrize("n_labeled", [0, 1, 15])
@pytest.mark.parametrize("delta", [0.2, 0.7])
def test_every_choice_has_the_highest_degree(make_round, n_labeled, delta):
    context = make_round(n_labeled, 120, seed=n_labeled).context
    query = ProbCover(delta).query(context, 60)
    chosen = positions(context, query)
    rows, labeled = context.candidates.embeddings().numpy(), context.labeled.embeddings().numpy()
    degrees = naive_gains(rows, labeled, delta, chosen)
    assert len(set(chosen)) == 60 and all(degree == best for degree, best in degrees)
    assert query.report["random"] == sum(best == 0 for _, best in degrees)
    covered = (distances(np.concatenate([labeled, rows[chosen]]), rows) < delta).any(axis=0)
    assert query.report["coverage_after"] == pytest.approx(covered.mean())
    assert query.report["delta"] == delta and "purity" not in context.reported


def test_choices_are_random_where_everything_is_covered(make_round):
    picks = set()
    for seed in range(3):
        context = make_round(5, 40, embeddings=torch.ones(45, 3), seed=seed).context
        query = ProbCover().query(context, 6)
        assert query.report["random"] == 6 and query.report["coverage_before"] == 1
        picks.add(tuple(sorted(positions(context, query))))
    assert len(picks) == 3


@pytest.mark.parametrize("alpha", [0.5, 0.9, 0.95, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_the_radius_is_the_largest_of_its_purity(alpha, seed):
    rows = torch.randn(150, 4, generator=generator(seed)) + 2 * torch.randn(3, 4, generator=generator(9)).repeat(50, 1)
    delta, purity = purest_radius(rows, 3, alpha, generator(seed))
    own = int(torch.randint(1 << 31, (1,), generator=generator(seed)))
    pseudo = k_means(unit_rows(rows), 3, torch.Generator().manual_seed(own)).labels.numpy()
    between = distances(rows, rows)

    def purity_of(radius):
        return np.mean([len(set(pseudo[near])) == 1 for near in between < radius])

    assert purity == pytest.approx(purity_of(delta - 1e-5)) and purity >= alpha
    assert purity_of(delta + 1e-5) < alpha


def test_one_pseudo_class_is_pure_at_any_radius():
    assert purest_radius(torch.randn(20, 3, generator=generator()), 1, 0.95, generator()) == (2.0, 1.0)


def test_the_radius_is_recorded(make_round):
    context = make_round(10, 80).context
    query = ProbCover().query(context, 5)
    assert 0 < query.report["delta"] < 2 and 0.95 <= context.reported["purity"] <= 1


@pytest.mark.parametrize("options", [{"delta": 0.0}, {"alpha": 0.0}, {"alpha": 1.5}, {"reference": 0}])
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        ProbCover(**options)
