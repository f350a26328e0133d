"""AdvBIM: candidates whose predicted class changes after the smallest iterative sign perturbation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal import ScoringStrategy
from deepal_strategies.shared.input_attacks import boundary_distances
from deepal_strategies.shared.option_checks import check_at_least, check_positive

if TYPE_CHECKING:
    from torch import Tensor

    from deepal_autoal import QueryContext


class AdvBIM(ScoringStrategy):
    """Smallest perturbation of the basic iterative method that changes the predicted class.

    Kurakin, Goodfellow & Bengio 2016, as a query strategy in DeepAL (Huang 2021): in each step, η grows by ε times the
    sign of the gradient of the predicted class's cross-entropy at x + η, until the class changes; the score is -‖η‖₂,
    on model inputs. DeepAL goes on without end; here the steps are bounded, and candidates that keep their class come
    last. As in DeepAL, η is not clipped to a range of pixels. Many candidates need equally many steps, and then have
    nearly equal scores.

    The round's record has the number of candidates that kept their class (``unreached``).

    Args:
        epsilon: ε, in units of the normalized inputs.
        max_iterations: Steps at most; the default lets each number change by five standard deviations.

    Raises:
        InputError: If an option is out of range.
    """

    requires = frozenset({"inputs", "differentiable"})

    def __init__(self, epsilon: float = 0.05, max_iterations: int = 100) -> None:
        check_positive("epsilon", epsilon)
        check_at_least("max_iterations", max_iterations, 1)
        self.epsilon = epsilon
        self.max_iterations = max_iterations

    def score(self, context: QueryContext) -> Tensor:
        """Return the negative length of the perturbation, float32 (N,).

        Raises:
            QueryError: If the model has no gradients with respect to its inputs.
        """

        def step(logits: Tensor, inputs: Tensor, predicted: Tensor) -> Tensor:
            return self.epsilon * loss_gradients(logits, inputs, predicted).sign()

        distances = boundary_distances(context, step, self.max_iterations)
        context.report(unreached=int(distances.isinf().sum()))
        return -distances


def loss_gradients(logits: Tensor, inputs: Tensor, predicted: Tensor) -> Tensor:
    """Return the gradients of the cross-entropy with respect to the inputs, each up to a positive factor.

    Args:
        logits: (n, C), with a graph to the inputs.
        inputs: (n, ...).
        predicted: The labels, int64 (n,).
    """
    # By logits it is p - e_y; divided by 1 - p_y it is this, also where p_y rounds to 1.
    own = predicted[:, None]
    others = logits.detach().scatter(1, own, -torch.inf).softmax(dim=1)
    (gradients,) = torch.autograd.grad(logits, inputs, others.scatter(1, own, -1.0))
    return gradients
