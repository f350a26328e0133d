"""DeepFool and AdvBIM against one-sample loops of the published algorithms, on trained networks."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from deepal_autoal import InputError, QueryError, create_strategy
from deepal_autoal.testing.problems import blobs
from deepal_autoal.testing.subject import Subject
from deepal_strategies.advbim import AdvBIM
from deepal_strategies.deepfool import DeepFool
from deepal_strategies.shared import input_attacks
from tests.pretended_cuda import pretended_cuda


def context_of(kind, **settings):
    return Subject("random").context(blobs(kind, **settings))


def naive_deepfool(forward, x, max_iterations, overshoot):
    """Moosavi-Dezfooli et al. 2016, Algorithm 2, for one sample."""
    label, total = forward(x[None])[0].argmax().item(), torch.zeros_like(x)
    for _ in range(max_iterations):
        here = (x + (1 + overshoot) * total).requires_grad_()
        logits = forward(here[None])[0]
        if logits.argmax() != label:
            return total.norm().item()
        gradients = [torch.autograd.grad(f, here, retain_graph=True)[0] for f in logits]
        steps = []
        for k in range(len(logits)):
            if k != label:
                w, f = gradients[k] - gradients[label], (logits[k] - logits[label]).abs()
                steps.append((f / w.norm(), f / w.norm() ** 2 * w))
        total = total + min(steps, key=lambda step: step[0].item())[1].detach()
    logits = forward((x + (1 + overshoot) * total)[None])[0]
    return total.norm().item() if logits.argmax() != label else np.inf


def naive_bim(forward, x, epsilon, max_iterations):
    """DeepAL's loop for one sample, with an end."""
    eta = torch.zeros_like(x)
    label = forward(x[None]).argmax(dim=1)
    for _ in range(max_iterations + 1):
        here = (x + eta).requires_grad_()
        logits = forward(here[None])
        if logits.argmax(dim=1) != label:
            return eta.norm().item()
        (gradient,) = torch.autograd.grad(F.cross_entropy(logits.double(), label), here)
        eta = eta + epsilon * gradient.sign()
    return np.inf


@pytest.mark.parametrize("kind, n_classes", [("vectors", 5), ("images", 3)])
@pytest.mark.parametrize("max_iterations", [1, 50])
def test_deepfool_follows_the_algorithm(kind, n_classes, max_iterations):
    context = context_of(kind, n_classes=n_classes)
    expected = [
        -naive_deepfool(context.model.module, x, max_iterations, 0.02) for x in context.candidates.inputs()[:20]
    ]
    scores = DeepFool(max_iterations).score(context)[:20]
    np.testing.assert_allclose(scores, expected, rtol=2e-3)
    assert max_iterations == 1 or np.isfinite(expected).all()


@pytest.mark.parametrize("kind", ["vectors", "images"])
@pytest.mark.parametrize("epsilon, max_iterations", [(0.05, 100), (0.2, 3)])
def test_advbim_follows_the_algorithm(kind, epsilon, max_iterations):
    context = context_of(kind)
    expected = [-naive_bim(context.model.module, x, epsilon, max_iterations) for x in context.candidates.inputs()[:20]]
    strategy = AdvBIM(epsilon, max_iterations)
    np.testing.assert_allclose(strategy.score(context)[:20], expected, rtol=1e-4)
    assert np.isinf(expected).any() == (max_iterations == 3)
    assert context.reported["unreached"] >= np.isinf(expected).sum()


def test_distances_to_linear_boundaries_are_exact():
    """For a linear model one step is exact: the nearest of the hyperplanes to all other classes."""
    context = context_of("vectors", n_classes=6, model="linear")
    x, head = context.candidates.inputs().double(), context.model.module.head
    weight = torch.autograd.functional.jacobian(lambda v: head(v[None].float())[0], x[0].float()).double()
    logits = context.candidates.logits().double()
    own = logits.argmax(dim=1, keepdim=True)
    gaps = logits.gather(1, own) - logits
    lengths = (weight[own.squeeze(1)][:, None] - weight).norm(dim=2)
    expected = (gaps / lengths).nan_to_num(torch.inf, posinf=torch.inf).amin(dim=1)
    scores = DeepFool().score(context)
    torch.testing.assert_close(-scores.double(), expected, rtol=1e-3, atol=1e-5)
    # With one class, the likeliest other one, the boundary may be farther.
    nearest_only = DeepFool(classes=1).score(context)
    assert (nearest_only <= scores + 1e-5).all() and (nearest_only < scores - 1e-3).any()


@pytest.mark.parametrize("name", ["deepfool", "advbim"])
def test_blocks_and_devices_change_nothing(name, monkeypatch):
    subject, problem = Subject(name), blobs("vectors")
    context = subject.context(problem)
    expected = create_strategy(name).score(context)
    monkeypatch.setattr(input_attacks, "ATTACKS", input_attacks.ATTACKS.__class__(1))
    torch.testing.assert_close(create_strategy(name).score(context), expected, rtol=1e-3, atol=1e-5)
    with pretended_cuda():
        on_device = subject.context(problem, device=torch.device("cuda", 0))
        torch.testing.assert_close(create_strategy(name).score(on_device).cpu(), expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["deepfool", "advbim"])
def test_models_that_are_solved(name):
    assert create_strategy(name).score(context_of("vectors", model="gp")).isfinite().any()
    with pytest.raises(QueryError, match=r"no gradients .* such as cnn, mlp, linear or gp"):
        create_strategy(name).score(context_of("vectors", model="forest"))


def test_a_model_that_never_changes_its_mind():
    context = context_of("vectors")
    context.model.module.head.weight.zero_()
    context.model.module.head.bias.copy_(torch.tensor([1.0, 0.0, 0.0]))
    for strategy in (DeepFool(), AdvBIM()):
        assert strategy.score(context).isneginf().all()
        assert context.reported["unreached"] == len(context.candidates)
    context.model.module.head.bias.zero_()  # on the boundary already
    assert (DeepFool().score(context) == 0).all()


@pytest.mark.parametrize(
    "strategy, options",
    [(DeepFool, {"max_iterations": 0}), (DeepFool, {"overshoot": -1}), (DeepFool, {"classes": 0}),
     (AdvBIM, {"epsilon": 0.0}), (AdvBIM, {"max_iterations": 0})],
)  # fmt: skip
def test_invalid_options_are_refused(strategy, options):
    with pytest.raises(InputError, match=next(iter(options))):
        strategy(**options)
