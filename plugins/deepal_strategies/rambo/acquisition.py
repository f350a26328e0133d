"""Greedy-Margin (algorithm 2): a batch in chunks of uncertain samples, each the most useful of several."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Numbers = NDArray[np.int64]
    # Scores of chunks (n, b) of candidates, after those chosen so far, (m,); None takes a random chunk.
    Score = Callable[[Numbers, Numbers], NDArray[np.floating]]


def greedy_margin(
    n_candidates: int, batch_size: int, n_chunks: int, alternatives: int, score: Score | None, rng: np.random.Generator
) -> Numbers:
    """Return the batch as positions in the order of margins, (B,).

    In each of τ₂ steps, the M candidates with the smallest margins of those that are left are shuffled into chunks of
    b = ⌈B/τ₂⌉, and the one with the highest score is chosen. The paper gives no M; here it is ``alternatives``·b.

    Args:
        n_candidates: Number of candidates in ascending order of margin; at least B, and `n_considered` suffice.
        batch_size: B.
        n_chunks: τ₂.
        alternatives: How many chunks are compared, as far as there are candidates left.
        score: Scores of chunks, higher = better; None for the control, a random chunk.
        rng: Shuffles.
    """
    size = -(-batch_size // n_chunks)
    chosen = np.empty(0, dtype=np.int64)
    left = np.arange(n_candidates)
    while len(chosen) < batch_size:
        size = min(size, batch_size - len(chosen))
        considered = rng.permutation(left[: alternatives * size])
        chunks = considered[: len(considered) // size * size].reshape(-1, size)
        best = 0 if score is None else int(np.argmax(score(chosen, chunks)))
        chosen = np.concatenate([chosen, chunks[best]])
        left = left[~np.isin(left, chunks[best])]
    return chosen


def n_considered(n_candidates: int, batch_size: int, n_chunks: int, alternatives: int) -> int:
    """Return how many candidates of the smallest margins can be in the batch."""
    size = -(-batch_size // n_chunks)
    return min(n_candidates, batch_size + (alternatives - 1) * size)


def stochastic_greedy(
    n_candidates: int,
    batch_size: int,
    n_blocks: int,
    precision: float,
    score: Score,
    rng: np.random.Generator,
) -> Numbers:
    """Return a batch of random candidates, one by one the most useful of some, block by block, (B,).

    The candidates are shuffled into blocks, and an equal part of the batch is chosen in each. For every choice,
    (n/m)·ln(1/ε) random samples of the block's n, of which m are to be chosen, are compared (Mirzasoleiman et al.
    2015), so about N·ln(1/ε) are compared in all, whatever the batch.

    Args:
        n_candidates: N.
        batch_size: B.
        n_blocks: Number of blocks.
        precision: ε, in (0, 1).
        score: Scores of chunks, here of single samples, higher = better.
        rng: Draws.
    """
    chosen = np.empty(0, dtype=np.int64)
    n_blocks = min(n_blocks, batch_size)
    blocks = np.array_split(rng.permutation(n_candidates), n_blocks)
    for block, part in zip(blocks, np.array_split(np.arange(batch_size), n_blocks), strict=True):
        n_compared = max(1, round(len(block) / len(part) * np.log(1 / precision)))
        left = block
        for _ in range(len(part)):
            compared = rng.choice(left, min(len(left), n_compared), replace=False)
            best = compared[int(np.argmax(score(chosen, compared[:, None])))]
            chosen = np.append(chosen, best)
            left = left[left != best]
    return chosen
