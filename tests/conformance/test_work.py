"""What counts as work, and how fast cards' formulas grow."""

import pytest
import torch

from deepal_autoal import InputError
from deepal_autoal.plugins.cost_formulas import degree_of_cost
from deepal_autoal.testing.allocation import measure

ROWS, OTHER = torch.ones(30, 20), torch.ones(40, 20)
POSITIONS = torch.arange(5)

CASES = [
    ("views", lambda: ROWS[3:5].T.expand(5, 20, 2)[0].view(20, 2), 0),
    ("allocation", lambda: torch.empty(1000, 1000), 0),
    ("product of matrices", lambda: ROWS @ OTHER.T, 30 * 20 * 40),
    ("product with a vector", lambda: ROWS @ OTHER[0], 30 * 20),
    ("batch of products", lambda: torch.ones(3, 30, 20).bmm(torch.ones(3, 20, 40)), 3 * (600 + 800) + 3 * 30 * 20 * 40),
    ("distances", lambda: torch.cdist(ROWS, OTHER, compute_mode="donot_use_mm_for_euclid_dist"), 30 * 20 * 40),
    ("distances by products", lambda: torch.cdist(ROWS, OTHER), 30 * 20 * 40),
    ("elements", lambda: ROWS + ROWS, 3 * 600),
    ("broadcast", lambda: ROWS[:, :1] - ROWS[:, 0], 30 + 30 + 900),
    ("gathered rows", lambda: ROWS[POSITIONS], 5 + 5 * 20),
    ("scattered rows", lambda: ROWS.index_fill_(0, POSITIONS, 1.0), 5),
    ("convolution", lambda: torch.conv2d(torch.ones(2, 3, 8, 8), torch.ones(5, 3, 3, 3)), 384 + 135 + 2 * 5 * 36 * 27),
    ("decomposition", lambda: torch.linalg.cholesky(torch.eye(10).expand(4, 10, 10)), None),
]


@pytest.mark.parametrize("call, expected", [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_work_is_counted(call, expected):
    work = measure(call, 60.0)[0].work
    if expected is None:
        assert work >= 4 * 10**3
    else:
        assert work == expected


def test_work_is_counted_in_inference_mode():
    with torch.inference_mode():
        assert measure(lambda: (ROWS @ OTHER.T, torch.cdist(ROWS, OTHER)), 60.0)[0].work == 2 * 30 * 20 * 40


def test_a_chunked_loop_over_all_pairs_counts_as_quadratic():
    def pairs(n):
        rows = torch.ones(n, 8)
        return lambda: [torch.cdist(part, rows).amin() for part in rows.split(16)]

    assert measure(pairs(400), 60.0)[0].work > 3.5 * measure(pairs(200), 60.0)[0].work


@pytest.mark.parametrize(
    "formula, degrees, power",
    [
        ("N*C", {"N": 1}, 1),
        ("(L + b)*(N + L)*D + N*N*D", {"N": 1}, 2),
        ("(N + L)*(N + b)", {"N": 1}, 2),
        ("L*D*D", {"N": 1}, 0),
        ("ask + K*N", {"N": 1, "ask": 2}, 2),
        ("M*sweep + 3", {"N": 1, "sweep": 1}, 1),
    ],
)
def test_the_highest_power_counts(formula, degrees, power):
    assert degree_of_cost(formula, degrees) == power


def test_growth_of_an_invalid_formula_is_refused():
    with pytest.raises(InputError, match="not allowed"):
        degree_of_cost("N**2", {"N": 1})
