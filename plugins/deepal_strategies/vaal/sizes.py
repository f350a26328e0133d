"""How wide VAAL's VAE is, and how long both networks train, when no option says it.

The paper has numbers for 32x32 pixels and more: width 128 and 100 epochs of the whole pool. Below that, and for
vectors, a narrow VAE and few updates do: with many, the discriminator learns the labeled samples by heart and
recognizes new kinds of samples no better (docs/strategies.md has figures).
"""

from __future__ import annotations

import math

PAPER_WIDTH = 128
PAPER_EPOCHS = 100
_PAPER_PIXELS = 32 * 32
_SMALL_WIDTH = 16
_SMALL_EPOCHS = 10
# Small pools have few batches an epoch.
_FEWEST_ITERATIONS = 200


def width_for(input_shape: tuple[int, ...]) -> int:
    """Return the width of a VAE for model inputs (C, H, W) or (D,)."""
    # For vectors it is the size of two hidden layers, which cost little.
    return _SMALL_WIDTH if len(input_shape) == 3 and not _is_papers(input_shape) else PAPER_WIDTH


def iterations_for(input_shape: tuple[int, ...], epoch: int) -> int:
    """Return the number of iterations for model inputs (C, H, W) or (D,), never more than the paper's 100 epochs.

    Args:
        input_shape: Shape of a model input.
        epoch: Iterations of an epoch.
    """
    if _is_papers(input_shape):
        return PAPER_EPOCHS * epoch
    return min(PAPER_EPOCHS * epoch, max(_SMALL_EPOCHS * epoch, _FEWEST_ITERATIONS))


def epoch_length(n_samples: int, train_batch_size: int) -> int:
    """Return the number of iterations of an epoch over all samples, labeled or not."""
    return math.ceil(n_samples / train_batch_size)


def _is_papers(input_shape: tuple[int, ...]) -> bool:
    return len(input_shape) == 3 and math.prod(input_shape[1:]) >= _PAPER_PIXELS
