"""The pretended device raises where CUDA raises, counts what waits, and computes what the CPU computes."""

import copy

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.pretended_cuda import PretendedTensor, pretended_cuda


@pytest.fixture
def devices():
    with pretended_cuda(2) as found:
        yield found


def test_tensors_say_where_they_are(devices):
    x = torch.arange(6.0).to("cuda")
    assert type(x) is PretendedTensor and x.device == torch.device("cuda", 0) and x.is_cuda
    value, index = x.max(dim=0)
    for made in (x * 2 + 1, value, index, torch.full_like(x, 1), x.new_empty(2), x.new_tensor([1, 2]),
                 torch.ones(2, device="cuda"), torch.as_tensor(np.ones(2), device="cuda"), torch.as_tensor(x),
                 torch.from_numpy(np.ones(2)).cuda(), F.one_hot(torch.tensor([0, 2]).cuda())):  # fmt: skip
        assert made.device == torch.device("cuda", 0)
    assert torch.as_tensor(x, device="cpu").device.type == x.cpu().device.type == "cpu"
    assert x.cpu().numpy().sum() == 15 and x.tolist() == [0, 1, 2, 3, 4, 5]
    host = torch.ones(6)
    host.copy_(x)
    assert type(host) is torch.Tensor and host.sum() == 15


@pytest.mark.parametrize("wrong", [
    lambda x: x + torch.ones(6),
    lambda x: x @ torch.ones(6),
    lambda x: torch.cat([x, torch.ones(2)]),
    lambda x: x.to("cuda:1") + x,
    lambda x: torch.arange(6.0)[torch.tensor([0, 1]).cuda()],
    lambda x: x.__setitem__(torch.tensor([0, 1]), torch.ones(2)),
    lambda x: F.cross_entropy(torch.randn(3, 4, device="cuda"), torch.tensor([0, 1, 2])),
    lambda x: torch.rand(4, generator=torch.Generator("cuda")),
    lambda x: torch.rand(4, generator=torch.Generator(), device="cuda"),
    lambda x: x.normal_(generator=torch.Generator()),
    lambda x: x.pin_memory(),
])  # fmt: skip
def test_mixed_devices_raise(devices, wrong):
    x = torch.arange(6.0).to("cuda")
    with pytest.raises(RuntimeError):
        wrong(x)


@pytest.mark.parametrize("convert", [lambda x: x.numpy(), np.asarray])
def test_numpy_of_a_cuda_tensor_raises(devices, convert):
    with pytest.raises(TypeError, match="numpy"):
        convert(torch.ones(2, device="cuda"))


def test_what_may_cross_devices(devices):
    x = torch.arange(6.0).to("cuda")
    assert (x + torch.tensor(2.0)).sum().item() == 27
    assert x[torch.tensor([0, 1])].tolist() == [0, 1]
    x[0:2] = torch.ones(2)
    x[torch.tensor([0, 1])] = 4.0
    assert x.tolist() == [4, 4, 2, 3, 4, 5]


def test_streams_of_host_and_device_are_apart(devices):
    generator = torch.Generator("cuda").manual_seed(3)
    drawn = torch.rand(4, generator=generator, device="cuda")
    assert torch.equal(drawn.cpu(), torch.rand(4, generator=torch.Generator().manual_seed(3)))
    host, device = torch.get_rng_state(), torch.cuda.get_rng_state()
    F.dropout(torch.ones(100, device="cuda"))
    torch.randn(3, device="cuda")
    assert torch.equal(torch.get_rng_state(), host) and not torch.equal(torch.cuda.get_rng_state(), device)


@pytest.mark.parametrize("optimizer", [torch.optim.Adam, torch.optim.SGD])
def test_training_gives_the_cpu_numbers(devices, optimizer):
    def train(device):
        torch.manual_seed(0)
        layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(2), nn.Flatten())
        model = nn.Sequential(*layers, nn.Linear(36, 3)).to(device).to(memory_format=torch.channels_last)
        steps = optimizer(model.parameters(), lr=0.1, fused=True)
        x = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)).to(device)
        y = torch.arange(20).to(device) % 3
        for _ in range(3):
            with torch.autocast(torch.device(device).type, dtype=torch.bfloat16):
                loss = F.cross_entropy(model(x).float(), y)
            steps.zero_grad()
            torch.autograd.backward(loss)
            steps.step()
        twin = copy.deepcopy(model)
        assert all(one.device == other.device for one, other in zip(model.parameters(), twin.parameters(), strict=True))
        return {name: value.cpu() for name, value in model.state_dict().items()}

    on_cpu, on_cuda = train("cpu"), train("cuda")
    assert all(torch.equal(on_cpu[name], on_cuda[name]) for name in on_cpu)


def test_waits_are_counted(devices):
    x = torch.arange(6.0, device="cuda")
    x.sum()
    before = sum(devices.waits.values())
    assert before == 0
    x.sum().item(), x.tolist(), x.cpu(), x[x > 2], x.nonzero(), torch.ones(2).cuda()
    torch.cuda.synchronize()
    assert sum(devices.waits.values()) == 7
    assert "read (tolist)" in devices.table()


def test_memory_is_counted_and_bounded(devices):
    x = torch.zeros(1000, device="cuda")
    assert torch.cuda.memory_allocated() == 4000
    part = x[:10]
    del x
    assert torch.cuda.memory_allocated() == 4000
    del part
    assert torch.cuda.memory_allocated() == 0 and torch.cuda.max_memory_allocated() == 4000
    assert torch.cuda.mem_get_info()[0] == devices.total_bytes - 4000  # in the cache
    torch.cuda.empty_cache()
    assert torch.cuda.mem_get_info()[0] == devices.total_bytes
    devices.bytes_of_others = devices.total_bytes - 100
    with pytest.raises(torch.OutOfMemoryError):
        torch.zeros(1000, device="cuda")


def test_a_failed_kernel_fails_everything_after_it(devices):
    x = torch.zeros(4, device="cuda")
    with pytest.raises(RuntimeError, match="device-side assert"):
        x[torch.tensor([7], device="cuda")]
    for later in (lambda: x + 1, lambda: x.cpu(), lambda: torch.ones(2, device="cuda"), torch.cuda.synchronize):
        with pytest.raises(RuntimeError, match="device-side assert"):
            later()
