"""`TaskModel`: backbone → embedding → dropout → linear classifier, the structure every strategy can rely on."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, cast

import torch
from torch import nn

from deepal_autoal.errors import InputError
from deepal_autoal.training.inputs import Normalization

if TYPE_CHECKING:
    from torch import Tensor

DEFAULT_DROPOUT = 0.5


@dataclass(frozen=True)
class Published:
    """What published weights were trained on.

    Attributes:
        mean: Mean of each channel of images scaled to [0, 1].
        std: Standard deviation of each channel.
        side: Pixels a side.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    side: int

    def normalization(self, channels: int) -> Normalization | None:
        """Return the normalization for inputs: the published one, or its mean for gray images; else None."""
        if channels == len(self.mean):
            return Normalization(torch.tensor(self.mean), torch.tensor(self.std))
        if channels == 1:
            return Normalization(torch.tensor([fmean(self.mean)]), torch.tensor([fmean(self.std)]))
        return None


class TaskModel(nn.Module):
    """A classifier whose embedding, dropout and head can be accessed separately.

    Built-in backbones also have ``stages``, the blocks whose outputs an auxiliary head may tap.

    Args:
        backbone: Maps normalized inputs, (n, C, H, W) or (n, D), to embeddings, (n, ``embedding_dim``). Dropout in it
            must be a module (`torch.nn.Dropout`, not the function), or dropout passes cannot switch it on.
        embedding_dim: Width of the embedding.
        n_classes: Number of outputs.
        dropout: Probability, in [0, 1), that the dropout in front of the head drops a feature.

    Attributes:
        input_shape: (C, H, W) or (D,) of one input; `build_model` sets it.
        published: What its weights were trained on, if they are published ones.
        origin: Whose code it is, such as ``"model 'x' of dist 1.0"``, if a third party's; `build_model` sets it.

    Raises:
        InputError: If a number is out of range.
    """

    input_shape: tuple[int, ...] = ()
    origin: str = ""
    published: Published | None = None

    def __init__(
        self, backbone: nn.Module, embedding_dim: int, n_classes: int, dropout: float = DEFAULT_DROPOUT
    ) -> None:
        super().__init__()
        if embedding_dim < 1 or n_classes < 2:
            raise InputError(f"model of {embedding_dim} features and {n_classes} classes: give at least 1 and 2")
        if not 0.0 <= dropout < 1.0:
            raise InputError(f"dropout {dropout}: give a probability of at least 0 and below 1")
        self.backbone = backbone
        self.embedding_dim = embedding_dim
        self.n_classes = n_classes
        self.dropout = nn.Dropout(dropout)
        self.head: nn.Module = nn.Linear(embedding_dim, n_classes)

    def features(self, inputs: Tensor) -> Tensor:
        """Return embeddings (the input of dropout and head), (n, embedding_dim)."""
        return cast("Tensor", self.backbone(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Return logits, (n, n_classes)."""
        return cast("Tensor", self.head(self.dropout(self.features(inputs))))

    @property
    def is_solved(self) -> bool:
        """Whether it is fitted directly, whatever the recipe says (see `SolvedModel`)."""
        return False

    @property
    def has_posterior(self) -> bool:
        """Whether passes are drawn from a posterior of the logits instead of by dropout (see `SolvedModel`)."""
        return False

    @property
    def has_passes(self) -> bool:
        """Whether its output for the same input can vary, as ``mc_dropout`` requires."""
        return self.has_posterior or bool(dropout_parts(self))

    @property
    def is_differentiable(self) -> bool:
        """Whether its logits have gradients with respect to inputs and embeddings, as ``differentiable`` requires."""
        return True

    @property
    def dropout_only_in_head(self) -> bool:
        """Whether dropout passes need only the embeddings: the backbone has no dropout."""
        return not dropout_parts(self.backbone)


def dropout_parts(module: nn.Module) -> list[nn.Module]:
    """Return the parts of a network that are random in training mode: dropout, stochastic depth and the like."""
    return [part for part in module.modules() if _drop_rate(part) > 0.0]


def _drop_rate(part: nn.Module) -> float:
    if isinstance(part, nn.modules.dropout._DropoutNd) or type(part).__name__ == "StochasticDepth":
        return float(cast("float", part.p))
    # timm's DropPath calls it drop_prob; attention and recurrent layers keep a plain number called dropout.
    for name in ("drop_prob", "dropout"):
        rate = getattr(part, name, None)
        if isinstance(rate, int | float):
            return float(rate)
    return 0.0
