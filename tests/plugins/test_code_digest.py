"""The digest of objects sees what makes two of them differ, and nothing that differs between processes."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from enum import Enum

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn

from deepal_autoal import ScoringStrategy, create_strategy
from deepal_autoal.models import own_model
from deepal_autoal.plugins.code_digest import code_digest


class Signed(ScoringStrategy):
    def __init__(self, sign: int = 1):
        self._sign = sign
        self.seen = 0

    def score(self, context):
        return self._sign * context.candidates.probabilities()[:, 0]


class Weighted(ScoringStrategy):
    def __init__(self, weights):
        self._anything = {"kept": [weights]}


class Slotted:
    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value

    def __call__(self, context):
        return self.value


class Kind(Enum):
    ONE = 1
    TWO = 2


class Scaled(nn.Module):
    def __init__(self, scale):
        super().__init__()
        self.scale = scale


def enclosing(value):
    return lambda context: context.candidates.probabilities()[:, 0] * value


def network(activation, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 8), activation, nn.Linear(8, 3))


def changed(array):
    array = array.copy()
    array.flat[array.size // 2] += 1
    return array


def twice(x):
    return x * 2


def thrice(x):
    return x * 3


def scaled(function):
    return make_pipeline(FunctionTransformer(function), LogisticRegression())


LARGE = np.zeros(200_000)
PAIRS = {
    "private attribute": (lambda: Signed(1), lambda: Signed(-1)),
    "array": (lambda: Weighted(LARGE), lambda: Weighted(changed(LARGE))),
    "dtype": (lambda: Weighted(np.zeros(3)), lambda: Weighted(np.zeros(3, dtype=np.float32))),
    "shape": (lambda: Weighted(np.zeros((2, 3))), lambda: Weighted(np.zeros((3, 2)))),
    "array of objects": (lambda: Weighted(np.array(["a", None])), lambda: Weighted(np.array(["b", None]))),
    "tensor": (lambda: Weighted(torch.zeros(9)), lambda: Weighted(torch.from_numpy(changed(np.zeros(9))).float())),
    "bfloat16": (lambda: Weighted(torch.zeros((), dtype=torch.bfloat16)),
                 lambda: Weighted(torch.ones((), dtype=torch.bfloat16))),
    "sparse tensor": (lambda: Weighted(torch.eye(3).to_sparse()), lambda: Weighted((2 * torch.eye(3)).to_sparse())),
    "enclosed array": (lambda: enclosing(LARGE), lambda: enclosing(changed(LARGE))),
    "partial": (lambda: functools.partial(max, LARGE), lambda: functools.partial(max, changed(LARGE))),
    "slots": (lambda: Slotted(1), lambda: Slotted(2)),
    "enum": (lambda: Weighted(Kind.ONE), lambda: Weighted(Kind.TWO)),
    "cached function": (lambda: functools.lru_cache(enclosing(1)), lambda: functools.lru_cache(enclosing(2))),
    "weights": (lambda: network(nn.ReLU()), lambda: network(nn.ReLU(), seed=1)),
    "structure": (lambda: network(nn.ReLU()), lambda: network(nn.Tanh())),
    "attribute of a module": (lambda: Scaled(1), lambda: Scaled(2)),
    "parameter": (lambda: LogisticRegression(C=1), lambda: LogisticRegression(C=2)),
    "nested estimator": (lambda: make_pipeline(StandardScaler(), LogisticRegression(C=1)),
                         lambda: make_pipeline(StandardScaler(), LogisticRegression(C=2))),
    "function in a pipeline": (lambda: scaled(twice), lambda: scaled(thrice)),
}  # fmt: skip


@pytest.mark.parametrize("name", PAIRS)
def test_what_makes_two_objects_differ_is_seen(name):
    one, other = PAIRS[name]
    assert code_digest(one()) == code_digest(one()) != code_digest(other())


def test_what_encloses_itself_has_a_digest():
    def scores(value):
        return scores(value - 1)

    one, other = Weighted([1]), Weighted([2])
    for strategy in (one, other):
        strategy.own = strategy
    assert code_digest(one) != code_digest(other) and code_digest(scores)


def test_use_changes_no_digest():
    strategy = create_strategy(Signed(2))
    code = strategy._code
    strategy.seen = 5
    assert create_strategy(strategy)._code == code == code_digest(Signed(2))
    strategy._sign = 3
    assert create_strategy(strategy)._code != code
    net, estimator = network(nn.ReLU()), LogisticRegression()
    before = [code_digest(net), code_digest(estimator)]
    net.eval().register_forward_hook(lambda *given: None)
    estimator.fit([[0.0], [1.0]], [0, 1])
    assert [code_digest(net), code_digest(estimator)] == before


def test_another_process_has_the_same_digest_and_description():
    code = (
        "from tests.plugins.test_code_digest import PAIRS, code_digest, own_model, scaled, twice\n"
        "print(*[code_digest(one()) for one, _ in PAIRS.values()], own_model(scaled(twice)).describe())"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True,
        env=os.environ | {"PYTHONHASHSEED": "7"}, cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
    ).stdout  # fmt: skip
    here = [*(code_digest(one()) for one, _ in PAIRS.values()), own_model(scaled(twice)).describe()]
    assert found.split() == " ".join(map(str, here)).split()
