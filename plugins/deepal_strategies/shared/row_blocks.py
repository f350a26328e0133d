"""How many rows the strategies process at a time, and scores computed that way.

The sizes stand here side by side; `BlockSize` is the rule. Sums and matrix products round differently in blocks of
another size, so changing a size may change picks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from deepal_autoal import BlockSize

if TYPE_CHECKING:
    from torch import Tensor

# Numbers. On a CPU, what a block needs at a time should fit the cache; on a GPU, it should fill the device.
# Class probabilities of one pass, of which a score makes a few temporaries.
SCORES = BlockSize(1 << 17, 1 << 24, per_thread=True)
# Squares of entries.
SQUARES = BlockSize(1 << 18, 1 << 26)
# Products of rows with cluster centers, of which there may be thousands: a product with very few rows is slow.
PRODUCTS = BlockSize(1 << 20, 1 << 26, least_rows=256)
# Products of rows with core-set centers or, on a GPU, differences.
DISTANCES = BlockSize(1 << 20, 1 << 26)
# Products of rows with the rows drawn since their last update, of which k-means++ makes several temporaries.
SEEDING = BlockSize(1 << 16)
# Kernels of rows and all reference samples; a product with very few rows is slow.
COVERAGE = BlockSize(1 << 21, 1 << 27, least_rows=64, most=1 << 24)
# Distances of rows to all others of a cluster, or differences from their neighbors, in double precision.
NEIGHBORS = BlockSize(1 << 20, 1 << 26, least_rows=64, most=1 << 23)
# Kernels that a lazy greedy choice keeps.
KERNEL_ROWS = BlockSize(1 << 22)
# Factors of bait's Fisher information, in double precision.
INFORMATION = BlockSize(1 << 18, 1 << 26)
# Probabilities of shared passes that batchbald and epig request at a time: drawing the weights takes as long as the
# passes of a thousand rows. Those of joint distributions. Candidates that batchbald evaluates together: a product with
# very few columns is slow.
SHARED_PASSES = BlockSize(1 << 21, 1 << 26, most_rows=4096)
JOINT = BlockSize(1 << 18, 1 << 26, most_rows=4096)
JOINT_ROWS = BlockSize(16, 512)

# Positions of samples in the lines of galaxy, one for each class, that are kept at a time.
ORDERS = BlockSize(1 << 24)

# Rows that a lazy greedy choice copies and updates at a time.
UPDATES = BlockSize(4096)

# Bytes of covariances, or bases of thin classes, and of candidates' temporaries that are held at a time.
COVARIANCES = BlockSize(64 << 20)
DENSITIES = BlockSize(64 << 20)

# Scalings of Sinkhorn's iterations, in double precision, of subsets that rambo compares at a time.
TRANSPORT = BlockSize(1 << 18, most=1 << 22)

# Samples that pass through a network at a time: inputs for lpl, inputs for vaal and autoal, and embeddings.
LPL_INPUTS = BlockSize(128)
INPUTS = BlockSize(256)
EMBEDDINGS = BlockSize(8192)
# Numbers of embeddings that pass through the layers of some hundred units of discal and waal.
SMALL_NETWORK = BlockSize(1 << 20, 1 << 24, most_rows=1024)
# Numbers in inputs whose gradients are computed at a time; a network keeps about 500 bytes for each.
ATTACKS = BlockSize(1 << 18, 1 << 22, most_rows=1024)


def by_rows(score: Callable[[Tensor], Tensor], outputs: Tensor, size: BlockSize) -> Tensor:
    """Return a score of every sample, (n,), computed some samples at a time to keep temporaries small.

    Args:
        score: Returns scores (m,) of outputs (..., m, C); a sample's score may depend only on its own outputs.
        outputs: Probabilities or other numbers, (..., n, C).
        size: Numbers of a block, not counting the leading dimensions.
    """
    n, width = outputs.shape[-2:]
    # Preallocated: many small long-lived tensors between large temporaries fragment the heap.
    scores = outputs.new_empty(n)
    for rows in size.blocks(n, width, outputs.device):
        scores[rows] = score(outputs[..., rows, :])
    return scores
