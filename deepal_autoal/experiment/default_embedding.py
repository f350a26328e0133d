"""`default_embedding`: which embedding suits images of which nothing is labeled yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepal_autoal.datasets.files.image_size import USUAL_SIDE
from deepal_autoal.errors import InputError
from deepal_autoal.models.names import PATCHES
from deepal_autoal.models.pretrained import local_networks

if TYPE_CHECKING:
    from deepal_autoal.datasets import Dataset

# Of torchvision's networks of at most 5 GFLOPs, the most accurate one for images of 224 pixels.
BETTER, _BETTER_ACCURACY = "torchvision/convnext_tiny[weights=imagenet]", 82.5


@dataclass(frozen=True)
class DefaultEmbedding:
    """A choice.

    Attributes:
        model: As `embed` takes it.
        reason: In one sentence, what it is, and what would be better.
    """

    model: str
    reason: str


def default_embedding(dataset: Dataset, image_size: tuple[int, int] | None = None) -> DefaultEmbedding:
    """Return the best embedding that needs neither labels nor a download.

    A published network is chosen if its weights are on this machine and the images are not much smaller than those it
    was trained on; else ``patches``, learned from the images themselves.

    Args:
        dataset: Images.
        image_size: Height and width that they are brought to, if any.

    Raises:
        InputError: If the dataset holds vectors.
    """
    if not dataset.is_image:
        raise InputError(f"dataset {dataset.name} holds vectors, not images; use them as they are")
    height, width = image_size or dataset.input_shape[1:]
    size = "" if 2 * min(height, width) >= USUAL_SIDE else f" --image-size {USUAL_SIDE}"
    return choose_embedding(height, width, f"--model '{BETTER}'", size)


def choose_embedding(height: int, width: int, better: str, resize: str = "") -> DefaultEmbedding:
    """Return the choice of `default_embedding` for images of a size.

    Args:
        height, width: Of the images.
        better: What is typed for a better network.
        resize: What is typed besides, for images as small as these.
    """
    best = max(local_networks(height, width), default=None)
    if best is not None:
        accuracy, name = best
        reason = f"{name}, the most accurate network whose weights are on this machine"
        if accuracy < _BETTER_ACCURACY:
            reason += f"; a better one can be downloaded ({better})"
        return DefaultEmbedding(name, reason)
    return DefaultEmbedding(
        PATCHES,
        f"{PATCHES}, learned from these images without labels; for photos, a published network would be better "
        f"and can be downloaded ({better}{resize})",
    )
