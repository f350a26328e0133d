"""No strategy's work or memory grows faster than its card says. Operations and bytes are counted, not timed."""

import pytest

from deepal_autoal import plugin_host
from deepal_autoal.testing.large_pool import card_formula, growth_power, query_large_pool
from deepal_autoal.testing.subject import Subject

pytestmark = pytest.mark.slow

BUILTIN = [entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin]
# Options that keep a query to about a second: fewer steps of the strategies' own networks, each step as large as usual.
OPTIONS = {
    "vaal": {"epochs": 1, "width": 1},
    "autoal": {"candidates": ["entropy", "margin"], "steps": 10, "warmup_steps": 5},
    "vote": {"candidates": ["entropy", "badge"]},
    "albl": {"candidates": ["entropy", "margin"]},
    "tailor": {"candidates": ["entropy", "margin"]},
    "batchbald": {"n_passes": 10, "n_configurations": 10},
    "epig": {"n_passes": 10, "n_targets": 10},
    "discal": {"mini_queries": 2, "steps": 20},
    "rambo": {"pairs": 1, "chunks": 1, "interpolated": 4, "epochs": 2, "steps": 2},
    "dulo": {"pairs": 1, "steps": 20},
    "selectal": {"candidates": ["random", "entropy", "margin"], "folds": 2, "repeats": 1},
    "exploit-explore": {"steps": 20},
    "random-candidate": {"candidates": ["entropy", "margin"]},
    "round-robin": {"candidates": ["entropy", "margin"]},
    "refine": {"candidates": ["margin", "badge"], "last": "margin", "depth": 2, "batches": 4},
}
SIZES = {"N": 400, "b": 10, "C": 3}
# With about as many samples as dimensions per class, either of two methods could be used.
OWN_SIZES = {"ddu": {"C": 12}}
FACTOR = 4
# The number of iterations varies somewhat with the size.
SLACK = 1.5
# Blocks of bounded size and buffers of libraries, which no longer grow on pools of real size.
BYTES = 8 << 20
# At this size N x N numbers are twenty times the allowance.
LARGE = 8_000
SECONDS = 60.0


def subject_of(name):
    options = dict(OPTIONS.get(name, {}))
    return Subject(name, options.pop("candidates", None), options)


def query(subject, sizes):
    measured = query_large_pool(subject, sizes["N"], sizes["b"], sizes["C"], SECONDS)
    assert measured.usage.complete
    return measured


@pytest.mark.parametrize("symbol", ["b", "C"])  # N is a check of the conformance kit
@pytest.mark.parametrize("name", BUILTIN)
def test_work_grows_no_faster_than_the_card_says(name, symbol):
    subject = subject_of(name)
    sizes = {**SIZES, **OWN_SIZES.get(name, {})}
    before = query(subject, sizes)
    after = query(subject, {**sizes, symbol: FACTOR * sizes[symbol]})
    power = growth_power(card_formula(name, "time"), "time", symbol, before.strategy)
    assert after.usage.work <= SLACK * FACTOR**power * before.usage.work


@pytest.mark.parametrize("name", [name for name in BUILTIN if name not in OPTIONS])
def test_memory_grows_no_faster_than_the_card_says(name):
    subject = subject_of(name)
    before = query(subject, {**SIZES, "N": LARGE // FACTOR})
    after = query(subject, {**SIZES, "N": LARGE})
    power = growth_power(card_formula(name, "memory"), "memory", "N", before.strategy)
    for kind in ("tensor_bytes", "total_bytes", "peak_bytes"):
        limit = SLACK * FACTOR**power * getattr(before.usage, kind) + BYTES
        assert getattr(after.usage, kind) <= limit, kind
