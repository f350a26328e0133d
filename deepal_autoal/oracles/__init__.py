"""Oracles: what a strategy could reach that saw the hidden labels. For simulation only, never registered.

An oracle tries batches with their true labels: it trains the task model on each and queries the one that is best on a
third split, samples that are neither in the pool nor in the test set. It is created by its name in a benchmark
(``--oracle``) or by `run`, which alone hold the hidden labels, and every batch that it tries is recorded: see
`read_trials`.
"""

from __future__ import annotations

from deepal_autoal.oracles.trials import RoundTrials, Trial, read_trials

__all__ = ["RoundTrials", "Trial", "read_trials"]
