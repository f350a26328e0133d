import subprocess
import sys

import numpy as np
import pytest
import torch

from deepal_autoal import global_torch_seed, stream_seed
from deepal_autoal.numerics.random_streams import numpy_stream, torch_stream


def test_streams_depend_on_every_part_of_the_key():
    keys = [(0, 1, "a"), (0, 2, "a"), (1, 1, "a"), (0, 1, "b"), (0, 1), (0, 1, "a", 0), (0, "1", "a")]
    seeds = [stream_seed(*key) for key in keys]
    assert len(set(seeds)) == len(keys) and all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(0, 1, "a") == seeds[0]
    assert numpy_stream(3, "x").integers(1 << 60) == numpy_stream(3, "x").integers(1 << 60)
    assert torch.equal(torch.rand(3, generator=torch_stream(1)), torch.rand(3, generator=torch_stream(1)))


def test_streams_are_the_same_in_another_process_and_under_another_hash_seed():
    code = "from deepal_autoal import stream_seed; print(stream_seed(5, 'query', 'kmeans'))"
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        assert int(done.stdout) == stream_seed(5, "query", "kmeans")


def test_seeds_are_spread_evenly():
    values = np.array([stream_seed(seed, "x") / 2**63 for seed in range(2000)])
    assert abs(values.mean() - 0.5) < 0.03 and abs(values.var() - 1 / 12) < 0.01


def test_global_seed_is_restored_also_after_an_error():
    torch.manual_seed(3)
    state = torch.get_rng_state()
    with global_torch_seed(1):
        first = torch.rand(2)
    with pytest.raises(KeyError), global_torch_seed(1):
        assert torch.equal(torch.rand(2), first)
        raise KeyError
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
def test_cuda_generator_is_left_alone_or_restored():
    before = torch.cuda.get_rng_state()
    with global_torch_seed(1):
        assert torch.equal(torch.cuda.get_rng_state(), before)
    with global_torch_seed(1, "cuda"):
        torch.rand(3, device="cuda")
    assert torch.equal(torch.cuda.get_rng_state(), before)
