"""Expected predictive information gain: what a label would tell about predictions for target inputs."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from deepal_autoal import InputError, ScoringStrategy
from deepal_strategies.shared.option_checks import check_at_least
from deepal_strategies.shared.row_blocks import JOINT, SHARED_PASSES
from deepal_strategies.shared.uncertainty import entropy_of_probabilities

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from deepal_autoal import QueryContext


class EPIG(ScoringStrategy):
    """Highest mean mutual information between a sample's label and the labels of target inputs.

    EPIG(x) = E_x*[I(y; y* | x, x*)] of Bickford Smith, Kirsch, Farquhar, Gal, Foster & Rainforth, AISTATS 2023, with
    p(y, y*) = mean_k p_k(y | x) p_k(y* | x*) over K passes that each are one draw of the weights for all samples
    (`PoolView.shared_mc_probabilities`). Where `bald` takes any information about the weights, this is only what
    matters for the targets. Of a batch, the highest scores resemble each other; ``power`` with ``score=epig`` is the
    authors' stochastic batch.

    The round's record has the number of targets, and whether they are from the pool or from the file.

    Args:
        n_passes: Passes K, at least 2.
        targets: A file of target inputs, like those that the model will be used on: an ``.npy`` of images uint8
            (n, H, W[, C]) or vectors float (n, D) in the pool's form, or an ``.npz`` with such an array ``x``. By
            default the targets are candidates.
        n_targets: How many targets to draw, new ones in each round; all if there are no more.

    Raises:
        InputError: If an option is out of range, or there is no such file.
    """

    requires = frozenset({"mc_dropout"})

    def __init__(self, n_passes: int = 100, targets: str | None = None, n_targets: int = 100) -> None:
        check_at_least("n_passes", n_passes, 2)
        check_at_least("n_targets", n_targets, 1)
        if targets is not None and not Path(targets).expanduser().is_file():
            raise InputError(f"option targets: there is no file {targets}")
        self.n_passes = n_passes
        self.targets = targets
        self.n_targets = n_targets

    def score(self, context: QueryContext) -> Tensor:
        """Return the mean mutual information in nats, in [0, log min(K, C)], (N,).

        Raises:
            InputError: If the file of targets cannot be read, or does not have the pool's form.
        """
        view, of_targets = context.candidates, self._target_passes(context)
        exact = of_targets.dtype
        n_targets, n_classes = of_targets.shape[1:]
        target_entropy = entropy_of_probabilities(of_targets.mean(dim=0)).mean()
        of_targets = of_targets.flatten(1) / self.n_passes
        scores = torch.empty(len(view), dtype=exact, device=context.device)
        positions = np.arange(len(view))
        for rows in SHARED_PASSES.blocks(len(view), self.n_passes * n_classes, context.device):
            # (n, C, K)
            passes = view.shared_mc_probabilities(self.n_passes, positions[rows]).to(exact).permute(1, 2, 0)
            of_rows = entropy_of_probabilities(passes.mean(dim=2)) + target_entropy
            for part in JOINT.blocks(len(passes), n_classes * of_targets.shape[1], context.device):
                of_rows[part] -= entropy_of_probabilities((passes[part] @ of_targets).flatten(1)) / n_targets
            scores[rows] = of_rows
        return scores.clamp_(min=0.0)

    def _target_passes(self, context: QueryContext) -> Tensor:
        """Return the targets' passes, (K, n, C), in double precision where the device has it."""
        view = context.candidates
        if self.targets is not None:
            view = context.view_of(_read(self.targets), f"the targets in {Path(self.targets).name}")
        n = min(self.n_targets, len(view))
        chosen = np.sort(context.rng.choice(len(view), n, replace=False))
        context.report(targets={"source": "pool" if self.targets is None else "file", "number": n})
        passes = view.shared_mc_probabilities(self.n_passes, chosen)
        return passes if passes.device.type == "mps" else passes.double()


def _read(path: str) -> NDArray[np.generic]:
    """Return the array of a file of targets."""
    try:
        given = np.load(Path(path).expanduser(), allow_pickle=False)
        samples: NDArray[np.generic] = given if isinstance(given, np.ndarray) else given["x"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(
            f"the targets in {path} cannot be read ({error}); save an array with numpy.save, or as x with numpy.savez"
        ) from None
    return samples
