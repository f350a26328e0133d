"""DeepFool: candidates nearest to the boundary of another class, by repeated linearization."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import torch

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.input_attacks import boundary_distances
from deepal_strategies.shared.option_checks import check_at_least

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class DeepFool(ScoringStrategy):
    """Smallest perturbation that changes the predicted class (Ducoffe & Precioso 2018, adversarial active learning).

    The perturbation is DeepFool's (Moosavi-Dezfooli, Fawzi & Frossard, CVPR 2016): the logits are linearized where the
    sample is, it moves to the nearest of the boundaries with all other classes, r = |f'| w / ‖w‖² with f' = f_k - f_y
    and w = ∇f', and so on until the class changes. As in the authors' code it is always at x + (1 + η) Σ r; the score
    is -‖Σ r‖₂, on model inputs. Candidates that do not get to another class come last.

    Ducoffe & Precioso also train on the perturbed samples, with the sample's label. Here the training is the run's.

    The round's record has the number of candidates that reached no boundary (``unreached``).

    Args:
        max_iterations: Linearizations at most.
        overshoot: η.
        classes: Only boundaries with this many of the likeliest other classes; by default with all. Each costs a
            backward pass.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"inputs", "differentiable"})

    def __init__(self, max_iterations: int = 50, overshoot: float = 0.02, classes: int | None = None) -> None:
        check_at_least("max_iterations", max_iterations, 1)
        check_at_least("overshoot", overshoot, 0)
        if classes is not None:
            check_at_least("classes", classes, 1)
        self.max_iterations = max_iterations
        self.overshoot = overshoot
        self.classes = classes

    def score(self, context: QueryContext) -> Tensor:
        """Return the negative length of the perturbation, float32 (N,).

        Raises:
            QueryError: If the model has no gradients with respect to its inputs.
        """
        step = partial(step_to_nearest, n_others=self.classes)
        distances = boundary_distances(context, step, self.max_iterations, self.overshoot)
        context.report(unreached=int(distances.isinf().sum()))
        return -distances


def step_to_nearest(logits: Tensor, inputs: Tensor, predicted: Tensor, n_others: int | None = None) -> Tensor:
    """Return the step to the nearest linearized boundary, like the inputs; 0 where all gradients vanish.

    Args:
        logits: (n, C), with a graph to the inputs.
        inputs: (n, ...).
        predicted: The classes to leave, int64 (n,).
        n_others: Number of other classes to compare, the likeliest first; by default all.
    """
    own = predicted[:, None]
    n_others = min(n_others or logits.shape[1], logits.shape[1] - 1)
    others = logits.detach().scatter(1, own, -torch.inf).topk(n_others, dim=1).indices
    steps = torch.zeros_like(inputs).flatten(1)
    nearest = inputs.new_full((len(inputs),), torch.inf)
    for column in range(n_others):
        differences = (logits.gather(1, others[:, column : column + 1]) - logits.gather(1, own)).squeeze(1)
        (gradients,) = torch.autograd.grad(differences.sum(), inputs, retain_graph=True)
        gradients = gradients.flatten(1)
        lengths = torch.linalg.vector_norm(gradients, dim=1)
        distances = differences.detach().abs() / lengths  # inf, or NaN of 0/0, without a gradient
        is_nearer = distances < nearest
        nearest = torch.where(is_nearer, distances, nearest)
        steps = torch.where(is_nearer[:, None], gradients * (distances / lengths)[:, None], steps)
    return steps.view_as(inputs)
