"""Published weights: fetched through torchvision, loaded into networks of another stem or number of channels."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Final

import torch

from deepal_autoal.errors import InputError, UnknownNameError, spell
from deepal_autoal.inputs import Normalization
from deepal_autoal.randomness import global_torch_seed

if TYPE_CHECKING:
    from torch import Tensor, nn

NONE: Final = "none"
IMAGENET: Final = "imagenet"


@dataclass(frozen=True)
class Published:
    """What published weights were trained on.

    Attributes:
        mean: Of each channel of images scaled to [0, 1].
        std: Likewise.
        side: Pixels a side.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int

    def normalization(self, channels: int) -> Normalization | None:
        """Return what inputs are to be normalised by: theirs, or for grey images their mean; else None."""
        if channels == len(self.mean):
            return Normalization(torch.tensor(self.mean), torch.tensor(self.std))
        if channels == 1:
            return Normalization(torch.tensor([fmean(self.mean)]), torch.tensor([fmean(self.std)]))
        return None


_needed = ContextVar("needed", default=True)


@contextmanager
def replaced_weights() -> Iterator[None]:
    """Build models without published weights inside the block: saved ones will take their place.

    A saved model can so be rebuilt where the published file cannot be had.
    """
    token = _needed.set(False)
    try:
        yield
    finally:
        _needed.reset(token)


def are_needed(weights: str) -> bool:
    """Whether a model is to be built with published weights.

    Args:
        weights: The model's option; ``none`` asks for none.
    """
    return weights != NONE and _needed.get()


def load_torchvision_weights(
    network: nn.Module, architecture: str, weights: str, first: str, kept: Collection[str] = ()
) -> Published:
    """Load torchvision's weights into a network of its own, in place; torch's global generator is left as it is.

    Args:
        network: The network.
        architecture: Its name in torchvision.
        weights: ``imagenet``, for the newest there are, or a name of torchvision's such as ``IMAGENET1K_V1``.
        first: Name of the first convolution. Where the network's takes one channel, it gets the sum of the published
            three, which sees in a grey image what they see in three equal channels; where its kernel or its number
            of channels is another one, it keeps its initial weights.
        kept: Names of parts that keep their initial weights, such as the classifier.

    Returns:
        What they were trained on.

    Raises:
        UnknownNameError: If there are no such weights.
        InputError: If they cannot be fetched, or do not fit this network.
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
                f"use other ones of torchvision's, or weights={NONE}"
            )
    network.load_state_dict(state)
    transforms: Any = chosen.transforms()
    return Published(tuple(transforms.mean), tuple(transforms.std), int(transforms.crop_size[0]))


def _fit_channels(published: Tensor | None, initial: Tensor) -> Tensor | None:
    """Return the first convolution's weight, (width, C, k, k), as far as the published one is of use."""
    if published is None or published.shape == initial.shape:
        return published
    is_grey = initial.shape[1] == 1 and published.shape[2:] == initial.shape[2:]
    return published.sum(dim=1, keepdim=True) if is_grey else initial


def _published(architecture: str, weights: str) -> tuple[Any, Mapping[str, Tensor]]:
    """Return torchvision's entry and the weights under today's names.

    Older files have other names, which torchvision's own code knows.
    """
    from torchvision.models import get_model, get_model_weights

    known: Any = get_model_weights(architecture)
    if weights != IMAGENET and weights not in known.__members__:
        raise UnknownNameError(f"weights of {architecture}:", weights, [NONE, IMAGENET, *known.__members__])
    chosen = known.DEFAULT if weights == IMAGENET else known[weights]
    file = Path(torch.hub.get_dir()) / "checkpoints" / chosen.url.rpartition("/")[2]
    try:
        # Also a check: torchvision itself would unpickle whatever lies there.
        with redirect_stdout(sys.stderr):  # torch.hub prints where it downloads from
            chosen.get_state_dict(progress=True, check_hash=True, weights_only=True)
            donor: nn.Module = get_model(architecture, weights=chosen)
    except Exception as error:  # no network, no room, a damaged file
        raise InputError(
            f"the weights {weights} of {architecture} cannot be had ({spell(error)}): fetch {chosen.url} where there "
            f"is a network and put it at {file}, or use weights={NONE}"
        ) from error
    return chosen, donor.state_dict()
