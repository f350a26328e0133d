"""The highest scores, compared with sorting in Python; the distribution of ties; work as the pool grows."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import chisquare
from torch.utils._python_dispatch import TorchDispatchMode

from deepal_autoal import top_scores

INFINITY = float("inf")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def drawn_scores(dtype, n, n_values, seed=0):
    """Return scores with many ties (few values) or hardly any, including infinite ones."""
    whole = torch.randint(-n_values, n_values, (n,), generator=generator(seed))
    if dtype in (torch.int16, torch.int64):
        return whole.to(dtype)
    scores = (whole / 8).to(dtype)
    scores[whole == whole.max()] = INFINITY
    scores[whole < -n_values // 2] = -INFINITY
    return scores


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int16, torch.int64]
)
@pytest.mark.parametrize("n_values", [1, 2, 8, 10_000])
def test_highest_scores_come_first_for_all_types(dtype, n_values):
    scores = drawn_scores(dtype, 60, n_values)
    ranked = sorted(scores.tolist(), reverse=True)
    before = scores.clone()
    for batch_size in range(61):
        picked = top_scores(scores, batch_size, generator(batch_size))
        assert picked.dtype == torch.int64 and picked.shape == (batch_size,)
        assert len(set(picked.tolist())) == batch_size
        assert scores[picked].tolist() == ranked[:batch_size]
    assert torch.equal(scores, before)


def test_large_integers_and_close_numbers_are_distinguished():
    whole = torch.tensor([2**60, 2**60 + 1, 2**60 - 1, -(2**62)])
    assert top_scores(whole, 4, generator()).tolist() == [1, 0, 2, 3]
    close = torch.tensor([1.0, 1.0 + 2**-52, 1.0 - 2**-53], dtype=torch.float64)
    assert top_scores(close, 2, generator()).tolist() == [1, 0]


def test_no_scores_and_scores_with_gradients():
    assert top_scores(torch.empty(0), 0, generator()).tolist() == []
    scores = torch.tensor([0.5, 2.0, 1.0], requires_grad=True)
    assert top_scores(scores, 2, generator()).tolist() == [1, 2]


@pytest.mark.parametrize("scores", [[0, 0, 0, 0], [1, 0, 0, 0, 0], [0, 5, 5, 0, 0], [-INFINITY, INFINITY, INFINITY, 3]])
@pytest.mark.parametrize("batch_size", [1, 2, 3])
def test_all_orders_of_equal_scores_are_equally_likely(scores, batch_size):
    """Chi-square test over all ordered answers that sorting a shuffled pool can give."""
    possible = {
        order[:batch_size]
        for order in permutations(range(len(scores)))
        if [scores[i] for i in order] == sorted(scores, reverse=True)
    }
    source, table = generator(3), torch.tensor(scores, dtype=torch.float32)
    n_draws = 40 * len(possible) + 100
    seen = Counter(tuple(top_scores(table, batch_size, source).tolist()) for _ in range(n_draws))
    assert set(seen) <= possible
    if len(possible) > 1:
        assert chisquare([seen[one] for one in possible]).pvalue > 1e-4


def test_the_pool_is_neither_sorted_nor_shuffled():
    sizes: list[int] = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            if any(word in str(func) for word in ("sort", "topk", "kthvalue", "randperm")):
                sizes.append((result[0] if isinstance(result, tuple) else result).numel())
            return result

    scores = torch.arange(5000.0)[torch.as_tensor(np.random.default_rng(0).permutation(5000))]
    with Watch():
        top_scores(scores, 20, generator())
    assert sizes and max(sizes) <= 20


@pytest.mark.gpu
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int64])
@pytest.mark.parametrize("drawn_on", ["cpu", "cuda"])
def test_on_cuda(dtype, drawn_on):
    scores = drawn_scores(dtype, 500, 20)
    source = torch.Generator(device=drawn_on).manual_seed(0)
    for batch_size in (0, 1, 30, 500):
        picked = top_scores(scores.cuda(), batch_size, source)
        assert picked.device.type == "cuda" and len(set(picked.tolist())) == batch_size
        assert scores[picked.cpu()].tolist() == sorted(scores.tolist(), reverse=True)[:batch_size]
