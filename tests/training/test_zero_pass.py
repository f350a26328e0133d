"""A pass of zeros through a network."""

import pytest
import torch
from torch import nn

from deepal_autoal import InputError, pass_zeros


class Noise(nn.Module):
    def forward(self, maps):
        return maps + torch.randn_like(maps)  # in evaluation mode too


@pytest.fixture
def network():
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), Noise(), nn.Flatten(), nn.Linear(144, 2))
    network[1].eval()
    return network


def test_calls_are_recorded_with_their_shapes(network):
    calls = pass_zeros(network, (3, 8, 8))
    assert [call.name for call in calls] == ["0", "1", "2", "3", "4", ""]
    assert [call.part for call in calls] == [*network, network]
    assert calls[0].input.shape == (1, 3, 8, 8) and calls[0].output.shape == calls[1].input.shape == (1, 4, 6, 6)
    assert calls[-1].output is calls[-2].output and calls[-1].output.shape == (1, 2)
    assert pass_zeros(nn.Linear(5, 2), (5,))[0].input.shape == (1, 5)


def test_a_pass_has_no_side_effects(network):
    torch.manual_seed(5)
    generator, state = torch.get_rng_state(), {key: value.clone() for key, value in network.state_dict().items()}
    assert not pass_zeros(network, (3, 8, 8))[-1].output.requires_grad
    assert torch.equal(torch.get_rng_state(), generator)
    assert all(torch.equal(value, network.state_dict()[key]) for key, value in state.items())
    assert [part.training for part in network] == [True, False, True, True, True]
    assert not any(part._forward_hooks for part in network.modules())


def test_a_pass_that_fails_leaves_nothing_behind(network):
    with pytest.raises(RuntimeError):
        pass_zeros(network, (3, 9, 9))
    assert not any(part._forward_hooks for part in network.modules()) and network[0].training


def test_the_shape_must_be_known(network):
    with pytest.raises(InputError, match="set its input_shape"):
        pass_zeros(network, ())
