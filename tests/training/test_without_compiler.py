"""Torch's optimizers without its compiler: the same weights, without the compiler's imports."""

import subprocess
import sys

import pytest
import torch

from deepal_autoal import without_compiler

CASES = [
    (torch.optim.Adam, {"fused": True}),
    (torch.optim.AdamW, {"weight_decay": 0.1}),
    (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
]
RUN = """
import sys
from deepal_autoal import run
run("vaal", {path!r}, model="linear", initial=12, batch_size=6, rounds=1, epochs=1, threads=1,
    options={{"epochs": 1, "vae_steps": 1, "width": 8}})
print([name for name in ("torch._dynamo", "torch._inductor", "sympy", "sklearn", "scipy", "matplotlib", "torchvision")
       if name in sys.modules])
"""


def trained(kind, options):
    generator = torch.Generator().manual_seed(3)
    weights = torch.nn.Parameter(torch.randn(6, 3, generator=generator))
    target = torch.randn(6, 3, generator=generator)
    optimizer = kind([weights], lr=0.1, **options)
    for _ in range(7):
        optimizer.zero_grad()
        torch.autograd.backward(((weights - target) ** 2).sum())
        optimizer.step()
    continued = kind([weights], lr=0.3, **options)
    continued.load_state_dict(optimizer.state_dict())
    continued.step()
    return weights.detach()


@pytest.mark.parametrize(("kind", "options"), CASES, ids=lambda value: getattr(value, "__name__", ""))
def test_computes_the_same(kind, options):
    assert torch.equal(trained(without_compiler(kind), options), trained(kind, options))


def test_is_a_subclass_of_torchs_with_its_hooks_and_modes():
    adam = without_compiler(torch.optim.Adam)
    assert adam is without_compiler(torch.optim.Adam) and issubclass(adam, torch.optim.Adam)
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer, calls = adam([weight]), []
    optimizer.register_step_post_hook(lambda *arguments: calls.append(torch.is_grad_enabled()))

    def closure():
        optimizer.zero_grad()
        loss = (weight**2).sum()
        torch.autograd.backward(loss)
        return loss

    assert optimizer.step(closure).item() == 2.0
    assert len(calls) == 1 and torch.is_grad_enabled() and float(weight.detach().max()) < 1


def test_a_method_that_torch_does_not_wrap_is_unchanged(monkeypatch):
    class Plain(torch.optim.SGD):
        def zero_grad(self, set_to_none=True):
            raise NotImplementedError

        def step(self, closure=None):
            return "stepped"

    optimizer = without_compiler(Plain)([torch.nn.Parameter(torch.ones(1))])
    assert optimizer.step() == "stepped"
    with pytest.raises(NotImplementedError):
        optimizer.zero_grad()


def test_a_run_imports_neither_the_compiler_nor_unused_modules(blob_file):
    """This includes a strategy with its own optimizers."""
    done = subprocess.run(
        [sys.executable, "-c", RUN.format(path=str(blob_file))], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
