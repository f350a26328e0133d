"""No strategy's work or memory grows faster than its card says. Operations and bytes are counted, no clock is read."""

import pytest

from deepal_autoal import plugin_host
from deepal_autoal.testing.large_pool import card_formula, growth_power, query_large_pool
from deepal_autoal.testing.subject import Subject

BUILTIN = [entry.name for entry in plugin_host().strategies.entries() if entry.provider.builtin]
# What makes a query take a second: fewer steps of own networks, each as large as ever.
OPTIONS = {
    "vaal": {"epochs": 1, "width": 1},
    "autoal": {"candidates": ["entropy", "margin"], "steps": 10, "warmup_steps": 5},
    "vote": {"candidates": ["entropy", "badge"]},
    "albl": {"candidates": ["entropy", "margin"]},
}
SIZES = {"N": 400, "b": 10, "C": 3}
# Classes of about as many samples as dimensions are computed one way or the other, as it happens.
OWN_SIZES = {"ddu": {"C": 12}}
FACTOR = 4
# Iterations are a few more or less at another size.
SLACK = 1.5
# Blocks of bounded size, and buffers of libraries, do not grow any more on pools of real size.
BYTES = 8 << 20
# Above it N x N numbers are twenty times the allowance.
LARGE = 8_000
SECONDS = 60.0


def subject_of(name):
    options = dict(OPTIONS.get(name, {}))
    return Subject(name, options.pop("candidates", None), options)


def query(subject, sizes):
    measured = query_large_pool(subject, sizes["N"], sizes["b"], sizes["C"], SECONDS)
    assert measured.usage.complete
    return measured


@pytest.mark.parametrize("symbol", SIZES)
@pytest.mark.parametrize("name", BUILTIN)
def test_work_grows_as_the_card_says(name, symbol):
    subject = subject_of(name)
    sizes = {**SIZES, **OWN_SIZES.get(name, {})}
    before = query(subject, sizes)
    after = query(subject, {**sizes, symbol: FACTOR * sizes[symbol]})
    power = growth_power(card_formula(name, "time"), "time", symbol, before.strategy)
    assert after.usage.work <= SLACK * FACTOR**power * before.usage.work


@pytest.mark.parametrize("name", [name for name in BUILTIN if name not in OPTIONS])
def test_memory_grows_as_the_card_says(name):
    subject = subject_of(name)
    before = query(subject, {**SIZES, "N": LARGE // FACTOR})
    after = query(subject, {**SIZES, "N": LARGE})
    power = growth_power(card_formula(name, "memory"), "memory", "N", before.strategy)
    for kind in ("tensor_bytes", "total_bytes", "peak_bytes"):
        limit = SLACK * FACTOR**power * getattr(before.usage, kind) + BYTES
        assert getattr(after.usage, kind) <= limit, kind
