"""Which samples are audited."""

import numpy as np
import pytest

from deepal_autoal.audit.folds import audit_folds
from deepal_autoal.audit.sampling import audit_order, prefix_length
from deepal_autoal.experiment.pool import draw_initial


def test_the_order_is_one_of_the_whole_pool_and_begins_with_the_initial_set():
    initial = draw_initial(50, 3, 8)
    order = audit_order(50, 3, initial)
    assert sorted(order[:8].tolist()) == initial.tolist() != order[:8].tolist()
    assert sorted(order.tolist()) == list(range(50))
    assert order.tolist() == audit_order(50, 3, initial[::-1]).tolist() != audit_order(50, 4, initial).tolist()


def test_the_prefix_grows_by_the_share_whatever_the_size_of_batches():
    assert [prefix_length(1000, 50, asked, 0.1) for asked in (0, 4, 5, 20, 100)] == [50, 50, 51, 52, 60]
    assert prefix_length(55, 50, 1000, 0.1) == 55
    assert prefix_length(1000, 0, 100, 0.0) == 0


def test_an_adversarial_strategy_cannot_make_the_audit_set_unlike_the_pool():
    """It takes the samples of one kind first; half of the audit set is of it all the same, over seeds."""
    n, initial, batch, share = 60, 4, 6, 0.5
    found = []
    for seed in range(400):
        order = audit_order(n, seed, draw_initial(n, seed, initial))
        labeled = order[:initial].tolist()
        for asked in range(batch, 5 * batch, batch):
            due = [sample for sample in order[: prefix_length(n, initial, asked, share)] if sample not in labeled]
            kind_first = [sample for sample in range(n) if sample not in labeled and sample not in due]
            labeled += due + kind_first[: batch - len(due)]
        audited = order[: prefix_length(n, initial, 4 * batch, share)]
        assert set(audited.tolist()) <= set(labeled)
        found.append((audited < n // 2).mean())
    # The standard error of the mean is 0.005; of what was labeled, more than half is of that kind.
    assert np.mean(found) == pytest.approx(0.5, abs=0.015)
    assert np.mean(np.array(labeled) < n // 2) > 0.6


def test_folds_spread_classes_and_audited_samples_and_leave_out_every_sample():
    rng = np.random.default_rng(0)
    labels = np.concatenate([rng.integers(0, 3, size=60), [7]])
    is_audited = rng.random(61) < 0.3
    folds = audit_folds(labels, is_audited, 5, 1)
    assert folds.min() == 0 and folds.max() == 4 and np.ptp(np.bincount(folds)) <= 1
    for label in range(3):
        assert np.ptp(np.bincount(folds[labels == label], minlength=5)) <= 1
        assert np.ptp(np.bincount(folds[(labels == label) & is_audited], minlength=5)) <= 1
