"""Contexts over tables of logits and embeddings: exact, fast, and with counted accesses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from deepal_autoal import LabeledData, QueryContext, Recipe, UnlabeledData
from deepal_autoal.querying.outputs import OutputCache


class Table:
    """Inputs that are their own row numbers."""

    def __init__(self, n_samples: int) -> None:
        self.n_samples = n_samples
        self.device = torch.device("cpu")

    def __len__(self) -> int:
        return self.n_samples

    def batch(self, indices: Any) -> torch.Tensor:
        return torch.as_tensor(indices, dtype=torch.float32)[:, None]


@dataclass
class TableModel:
    """A fitted model that looks up its outputs and records the requests."""

    logits: torch.Tensor
    embeddings: torch.Tensor
    recipe: Recipe = field(default_factory=Recipe)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    swept: list[list[int]] = field(default_factory=list)
    module: Any = field(default_factory=lambda: SimpleNamespace(is_solved=False))
    objective: torch.nn.Module = field(default_factory=torch.nn.Module)

    def sweep(
        self, inputs: Any, indices: np.ndarray, batch_size: int | None = None, *, logits_only: bool = False
    ) -> tuple[torch.Tensor, ...]:
        self.swept.append(indices.tolist())
        rows = torch.tensor(indices)
        return self.logits[rows], self.embeddings[rows[:0] if logits_only else rows]


@dataclass
class TableTrainer:
    """Fits by returning tables; records every fit."""

    logits: torch.Tensor
    embeddings: torch.Tensor
    fits: list[tuple[LabeledData, UnlabeledData, Recipe]] = field(default_factory=list)
    models: list[TableModel] = field(default_factory=list)

    def fit(self, labeled: LabeledData, unlabeled: UnlabeledData, *, seed: int, **settings: Any) -> TableModel:
        recipe = settings.get("recipe") or Recipe()
        model = TableModel(self.logits, self.embeddings, recipe)
        self.fits.append((labeled, unlabeled, recipe))
        self.models.append(model)
        return model


@dataclass
class Round:
    """A round's context, trainer and labels."""

    context: QueryContext
    trainer: TableTrainer
    labels: np.ndarray

    @property
    def task_model(self) -> TableModel:
        return self.trainer.models[0]


def build_round(
    n_labeled: int = 40,
    n_unlabeled: int = 60,
    n_classes: int = 3,
    n_features: int = 8,
    seed: int = 0,
    *,
    logits: torch.Tensor | None = None,
    embeddings: torch.Tensor | None = None,
    labels: np.ndarray | None = None,
    poison: int = 0,
    n_validation: int = 0,
) -> Round:
    """Return a round over random tables, or over the given ones.

    Classes are blobs of embeddings, and logits are a random linear map of them. Labeled samples are scattered
    among the unlabeled ones. ``poison`` is added to the labels of unlabeled samples. ``n_validation`` further samples
    are the validation set of the run.
    """
    rng = np.random.default_rng(seed)
    n = n_labeled + n_unlabeled + n_validation
    order = rng.permutation(n)
    labeled, validation, unlabeled = np.split(order, [n_labeled, n_labeled + n_validation])
    unlabeled = np.sort(unlabeled)
    if labels is None:
        labels = rng.integers(n_classes, size=n)
    centers = torch.as_tensor(rng.normal(size=(n_classes, n_features)), dtype=torch.float32)
    if embeddings is None:
        noise = torch.as_tensor(rng.normal(size=(n, n_features)), dtype=torch.float32)
        embeddings = 2 * centers[torch.as_tensor(labels)] + noise
    if logits is None:
        logits = embeddings @ torch.as_tensor(rng.normal(size=(embeddings.shape[1], n_classes)), dtype=torch.float32)
    labels = labels.copy()
    labels[unlabeled] = (labels[unlabeled] + poison) % n_classes
    trainer = TableTrainer(logits, embeddings)
    inputs: Any = Table(n)
    cache = OutputCache(inputs, trainer, (seed, 0))  # type: ignore[arg-type]
    known = LabeledData(inputs, labeled, labels[labeled])
    model = cache.fit(known, UnlabeledData(inputs, unlabeled), (seed, 0), None)
    context = QueryContext(
        candidates=unlabeled,
        labeled=labeled,
        labels=labels[labeled],
        model=model,
        cache=cache,
        n_classes=n_classes,
        round=0,
        n_rounds=None,
        key=(seed, 0, "query"),
        validation=(validation, labels[validation]) if n_validation else None,
    )
    return Round(context, trainer, labels)


@pytest.fixture(autouse=True, scope="package")
def one_thread() -> Iterator[None]:
    """Use one thread: with small tensors, more would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def make_round() -> Callable[..., Round]:
    return build_round


@pytest.fixture
def round_of_shared_passes(make_round: Callable[..., Round]) -> Callable[[torch.Tensor], QueryContext]:
    """Return a function that builds a context whose candidates have the given shared passes, (K, N, C)."""

    def build(passes: torch.Tensor) -> QueryContext:
        n_passes, n, n_classes = passes.shape
        context = make_round(0, n, n_classes, labels=np.arange(n) % n_classes).context

        def answer(asked: int, positions: Any) -> torch.Tensor:
            assert asked == n_passes
            return passes[:, torch.as_tensor(np.asarray(positions))]

        vars(context.candidates).update(shared_mc_probabilities=answer, mc_probabilities=None, embeddings=None)
        return context

    return build


class Watch(TorchDispatchMode):
    """Measures the largest allocated tensor, and counts how often a number was read back from the device."""

    def __init__(self) -> None:
        super().__init__()
        self.largest = self.reads = 0

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # True would first import all of torch's compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.reads += func is torch.ops.aten._local_scalar_dense.default
        given = {part.untyped_storage().data_ptr() for part in tree_leaves(args) if isinstance(part, torch.Tensor)}
        for part in tree_leaves(result):
            if isinstance(part, torch.Tensor) and part.untyped_storage().data_ptr() not in given:
                self.largest = max(self.largest, part.numel())
        return result


@pytest.fixture
def watch() -> Watch:
    return Watch()
