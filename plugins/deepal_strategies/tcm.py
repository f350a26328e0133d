"""TCM: TypiClust for the first batches, then margin."""

from __future__ import annotations

from typing import ClassVar

from deepal_strategies.switch import Switch


class TCM(Switch):
    """TypiClust in the first rounds, then margin (Doucet, Estermann, Aczel & Wattenhofer 2024).

    The paper's guideline is by budget and batch size, and says to switch early on self-supervised embeddings; the
    default of 3 rounds is that of later comparisons (Huseljic et al. 2026). Embeddings and probabilities are the task
    model's. TypiClust avoids clusters that have labels, so a random initial set already does part of its work.

    Args:
        candidates: By default ``typiclust`` and ``margin``; others make it a `Switch` of these.
        rounds: Number of rounds of TypiClust; by default 3, unless ``labels_per_class`` is given.
        labels_per_class: Instead: number of labels, in units of the number of classes, from which on margin is used.

    Raises:
        InputError: If both options are given, or one is out of range.
    """

    default_candidates: ClassVar[tuple[str, ...]] = ("typiclust", "margin")
