"""Published weights: fetched through torchvision, loaded into networks with another stem or number of channels."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from deepal_autoal.errors import InputError, UnknownNameError, format_error
from deepal_autoal.numerics.random_streams import global_torch_seed
from deepal_autoal.training.task_model import Published

if TYPE_CHECKING:
    from torch import Tensor, nn

NONE: Final = "none"
IMAGENET: Final = "imagenet"
_RESNET18_ACCURACY = 69.7
_MOST_GFLOPS = 5.0


_needed = ContextVar("needed", default=True)


@contextmanager
def replaced_weights() -> Iterator[None]:
    """Build models without published weights inside the block, because saved ones will replace them.

    A saved model can then be rebuilt even if the published file cannot be obtained.
    """
    token = _needed.set(False)
    try:
        yield
    finally:
        _needed.reset(token)


def are_needed(weights: str) -> bool:
    """Return whether a model is to be built with published weights.

    Args:
        weights: The model's option; ``none`` means without.
    """
    return weights != NONE and _needed.get()


def load_torchvision_weights(
    network: nn.Module, architecture: str, weights: str, first: str, kept: Collection[str] = ()
) -> Published:
    """Load torchvision's weights into a torchvision network in place, without changing torch's global generator.

    Args:
        network: The network.
        architecture: Its name in torchvision.
        weights: ``imagenet``, for the newest available, or a torchvision name such as ``IMAGENET1K_V1``.
        first: Name of the first convolution. If it takes one channel, it gets the sum over the published three
            channels, which responds to a gray image as they do to three equal channels; if its kernel or number of
            channels differs in another way, it keeps its initial weights.
        kept: Names of parts that keep their initial weights, such as the classifier.

    Returns:
        What the weights were trained on.

    Raises:
        UnknownNameError: If there are no such weights.
        InputError: If the weights cannot be fetched, or do not fit this network.
    """
    with global_torch_seed(0):
        chosen, published = _published(architecture, weights)
    initial = network.state_dict()
    state = {
        name: value if name.startswith(tuple(f"{part}." for part in kept)) else published.get(name)
        for name, value in initial.items()
    }
    layer = f"{first}.weight"
    state[layer] = _fit_channels(state[layer], initial[layer])
    for name, value in state.items():
        if value is None or value.shape != initial[name].shape:
            raise InputError(
                f"the weights {weights} of {architecture} do not fit the network as it is built here: {name} differs; "
                f"use other torchvision weights, or weights={NONE}"
            )
    network.load_state_dict(state)
    transforms: Any = chosen.transforms()
    return Published(tuple(transforms.mean), tuple(transforms.std), int(transforms.crop_size[0]))


def local_networks(height: int, width: int) -> list[tuple[float, str]]:
    """Return torchvision's classifiers whose ImageNet weights are on this machine: accuracy in percent, model name.

    Nothing is downloaded. The networks are at least as accurate on ImageNet as ResNet-18, take at most 5 GFLOPs for
    an image (ResNet-50 takes 4), and were trained at no more than twice the side of the images.

    Args:
        height, width: Of the images.
    """
    from torchvision import models

    found = []
    for architecture in models.list_models(module=models):
        known: Any = models.get_model_weights(architecture)
        for weights in known:
            scores = weights.meta.get("_metrics", {}).get("ImageNet-1K", {})
            if (
                scores.get("acc@1", 0.0) >= _RESNET18_ACCURACY
                and weights.meta["_ops"] <= _MOST_GFLOPS
                and weights.transforms().crop_size[0] <= 2 * min(height, width)
                and _weights_file(weights).is_file()
            ):
                found.append((scores["acc@1"], f"torchvision/{architecture}[weights={weights.name}]"))
    return found


def _weights_file(weights: Any) -> Path:
    """Return where torch.hub keeps the file of torchvision's weights."""
    return Path(torch.hub.get_dir(), "checkpoints", weights.url.rpartition("/")[2])


def _fit_channels(published: Tensor | None, initial: Tensor) -> Tensor | None:
    """Return the first convolution's weight, (width, C, k, k), from the published one if it can be used."""
    if published is None or published.shape == initial.shape:
        return published
    is_gray = initial.shape[1] == 1 and published.shape[2:] == initial.shape[2:]
    return published.sum(dim=1, keepdim=True) if is_gray else initial


def _published(architecture: str, weights: str) -> tuple[Any, Mapping[str, Tensor]]:
    """Return torchvision's entry and the weights under current names.

    Older files use other names, which torchvision's own code converts.
    """
    from torchvision.models import get_model, get_model_weights

    known: Any = get_model_weights(architecture)
    if weights != IMAGENET and weights not in known.__members__:
        raise UnknownNameError(f"weights of {architecture}:", weights, [NONE, IMAGENET, *known.__members__])
    chosen = known.DEFAULT if weights == IMAGENET else known[weights]
    file = _weights_file(chosen)
    try:
        # This is also a check: torchvision itself would unpickle any file at that path.
        with redirect_stdout(sys.stderr):  # torch.hub prints where it downloads from
            chosen.get_state_dict(progress=True, check_hash=True, weights_only=True)
            donor: nn.Module = get_model(architecture, weights=chosen)
    except Exception as error:  # no network, a full disk, a damaged file
        raise InputError(
            f"the weights {weights} of {architecture} cannot be obtained ({format_error(error)}): download "
            f"{chosen.url} on a machine with a network and put it at {file}, or use weights={NONE}"
        ) from error
    return chosen, donor.state_dict()
