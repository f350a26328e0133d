"""A random forest, grown by scikit-learn, for tables whose features have thresholds and interact."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from deepal_autoal.errors import InputError
from deepal_autoal.models.prior_strength import copies_of
from deepal_autoal.numerics.random_streams import numpy_stream
from deepal_autoal.numerics.row_blocks import TREES
from deepal_autoal.training.solved import FlatInput, SizedByData, SolvedModel, training_metrics

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

# Votes spread evenly over the classes and added to the trees': a class no tree predicts is not impossible.
_PRIOR_VOTES = 1.0
# Share of the trees used in one random pass.
_TREES_A_PASS = 0.1


class ForestHead(SizedByData):
    """Class probabilities of trees as tensors; empty before they are grown.

    The nodes of all trees are in one list; a leaf points to itself.

    Attributes:
        features: int64 (n_nodes,), the feature that a node tests.
        thresholds: float32 (n_nodes,); samples whose feature is at most this go left.
        left, right: int64 (n_nodes,), child nodes.
        probabilities: float32 (n_nodes, C), shares of the classes.
        roots: int64 (T,), first node of every tree.
        depth: int64 scalar, depth of the deepest tree.
    """

    features: Tensor
    thresholds: Tensor
    left: Tensor
    right: Tensor
    probabilities: Tensor
    roots: Tensor
    depth: Tensor

    def __init__(self, n_classes: int) -> None:
        super().__init__()
        for name in ("features", "left", "right", "roots"):
            self.register_buffer(name, torch.zeros(1, dtype=torch.int64))
        self.register_buffer("thresholds", torch.zeros(1))
        self.register_buffer("probabilities", torch.full((1, n_classes), 1 / n_classes))
        self.register_buffer("depth", torch.zeros((), dtype=torch.int64))

    def forward(self, vectors: Tensor) -> Tensor:
        """Return log probabilities (n, C) of vectors (n, D)."""
        return self.log_probabilities(vectors, self.roots)

    def log_probabilities(self, vectors: Tensor, roots: Tensor) -> Tensor:
        """Return log probabilities (n, C) by the trees with the given roots."""
        sums = vectors.new_empty((len(vectors), self.probabilities.shape[1]))
        for block in TREES.blocks(len(vectors), len(roots)):
            rows = vectors[block]
            nodes = roots.expand(len(rows), -1)
            for _ in range(int(self.depth)):
                goes_left = rows.gather(1, self.features[nodes]) <= self.thresholds[nodes]
                nodes = torch.where(goes_left, self.left[nodes], self.right[nodes])
            sums[block] = self.probabilities[nodes].sum(dim=1)
        return smoothed(sums, len(roots)).log()


def smoothed(votes: Tensor, n_trees: int) -> Tensor:
    """Return class probabilities (n, C) from the trees' summed votes (n, C)."""
    return (votes + _PRIOR_VOTES / votes.shape[1]) / (n_trees + _PRIOR_VOTES)


class Forest(SolvedModel):
    """A random forest on the scaled inputs, which are also its embeddings.

    Args:
        n_features: Numbers per flattened input.
        n_classes: Number of outputs.
        trees: Number of trees.
        class_weights: ``none`` or ``balanced``.

    Attributes:
        out_of_bag: Log probabilities (M, C) of the labeled samples of the last `solve`, each by the trees that were
            grown without it; NaN if there are none.
    """

    has_posterior = True
    is_differentiable = False
    head: ForestHead

    def __init__(self, n_features: int, n_classes: int, trees: int, class_weights: str) -> None:
        super().__init__(FlatInput(), n_features, n_classes, 0.0)
        self._trees = trees
        self._class_weights = class_weights
        self.head = ForestHead(n_classes)
        self.out_of_bag: Tensor | None = None

    def solve(
        self, inputs: Tensor, labels: Tensor, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> dict[str, Any]:
        """Grow the trees; see `SolvedModel.solve`."""
        from sklearn.ensemble import RandomForestClassifier

        flat, targets = inputs.flatten(1), labels.cpu().numpy()
        # Copies of a labeled sample become one row with more weight: drawn separately, one would reveal the other.
        groups = copies_of(torch.cat([flat.double(), labels[:, None].double()], dim=1))
        _, first, counts = np.unique(groups, return_index=True, return_counts=True)
        order = np.argsort(first)  # the trees depend on the order of the samples
        first, counts, groups = first[order], counts[order], np.argsort(order)[groups]
        forest = RandomForestClassifier(
            self._trees,
            class_weight=None if self._class_weights == "none" else "balanced",
            random_state=seed % 2**32,
            oob_score=True,
        )
        with warnings.catch_warnings():
            # With few labels, some are drawn for every tree, which is not an error.
            warnings.filterwarnings("ignore", message="Some inputs do not have OOB scores")
            forest.fit(flat.cpu().numpy()[first], targets[first], None if counts.max() == 1 else counts)
        self.out_of_bag = _out_of_bag(forest, self.n_classes)[torch.from_numpy(groups)].to(flat.device)
        if progress is not None:
            progress(1, 1)
        for name, value in _as_arrays(forest, self.n_classes).items():
            setattr(self.head, name, torch.from_numpy(value).to(flat.device))
        log_probabilities = self.head(flat)
        return {
            "steps": self._trees,
            **training_metrics(log_probabilities, labels),
        }

    def random_logits(self, samples: Tensor, embeddings: Tensor, passes: range, key: tuple[int | str, ...]) -> Tensor:
        """Return log probabilities (T, n, C) by some of the trees: within a pass, the same ones for all samples."""
        return self.shared_draws(passes, key)(samples, embeddings)

    def shared_draws(self, passes: range, key: tuple[int | str, ...]) -> Callable[[Tensor, Tensor], Tensor]:
        """Return log probabilities (T, n, C) as a function; see `SolvedModel.shared_draws`."""
        roots = self.head.roots
        n_asked = max(1, round(_TREES_A_PASS * len(roots)))
        drawn = [numpy_stream(*key, number).permutation(len(roots))[:n_asked] for number in passes]
        asked = [roots[torch.from_numpy(one).to(roots.device)] for one in drawn]
        return lambda samples, embeddings: torch.stack([self.head.log_probabilities(embeddings, one) for one in asked])


def _out_of_bag(forest: Any, n_classes: int) -> Tensor:
    votes = np.zeros((len(forest.oob_decision_function_), n_classes))
    votes[:, forest.classes_] = forest.oob_decision_function_ * len(forest.estimators_)
    is_seen_by_all = ~(votes.sum(axis=1) > 0)
    log_probabilities = smoothed(torch.from_numpy(votes), len(forest.estimators_)).log()
    log_probabilities[torch.from_numpy(is_seen_by_all)] = math.nan
    return log_probabilities


def _as_arrays(forest: Any, n_classes: int) -> dict[str, NDArray[Any]]:
    """Return a fitted forest's trees as the arrays of `ForestHead`."""
    trees = [estimator.tree_ for estimator in forest.estimators_]
    roots = np.cumsum([0, *(tree.node_count for tree in trees[:-1])])
    probabilities = np.zeros((sum(tree.node_count for tree in trees), n_classes), dtype=np.float32)
    values = np.concatenate([tree.value[:, 0] for tree in trees])
    probabilities[:, forest.classes_] = values / values.sum(axis=1, keepdims=True)
    sides = {}
    for side in ("left", "right"):
        sides[side] = np.concatenate(
            [
                np.where(
                    getattr(tree, f"children_{side}") < 0, np.arange(tree.node_count), getattr(tree, f"children_{side}")
                )
                + root
                for tree, root in zip(trees, roots, strict=True)
            ]
        ).astype(np.int64)
    thresholds = np.concatenate([tree.threshold for tree in trees])
    # Inputs are float32, so one is at most a threshold if it is at most the next float32 below the threshold.
    rounded = thresholds.astype(np.float32)
    rounded = np.where(rounded > thresholds, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return {
        **sides,
        "features": np.concatenate([tree.feature for tree in trees]).clip(0).astype(np.int64),
        "thresholds": rounded.astype(np.float32),
        "probabilities": probabilities,
        "roots": roots.astype(np.int64),
        "depth": np.array(max(tree.max_depth for tree in trees), dtype=np.int64),
    }


def build(
    input_shape: tuple[int, ...],
    n_classes: int,
    trees: int = 200,
    class_weights: Literal["none", "balanced"] = "none",
) -> SolvedModel:
    """Return a random forest on the scaled inputs, which are also its embeddings.

    Args:
        input_shape: (D,), or (C, H, W), which is flattened.
        n_classes: Number of outputs.
        trees: Number of trees.
        class_weights: ``balanced`` gives each class the same weight, however many labels it has.
    """
    if trees < 1:
        raise InputError(f"trees {trees}: give at least 1")
    return Forest(math.prod(input_shape), n_classes, trees, class_weights)
