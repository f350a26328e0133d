"""Finds the images that strategies picked first, in the dataset that the runs recorded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from deepal_autoal.errors import error_message
from deepal_autoal.report.study import Study

N_PICTURES = 10
# Images are shown small: larger ones are subsampled to keep the page small.
LARGEST_SIDE = 64

logger = logging.getLogger(__name__)

Pictures = dict[str, npt.NDArray[np.uint8]]


def first_pictures(study: Study, dataset: str) -> tuple[Pictures, int | None, str | None]:
    """Return the images that each strategy picked first after round 0, for the smallest seed that most strategies have.

    Returns:
        The images by strategy, uint8 (k, H, W, C) with C of 1 or 3; the seed; and the reason why there are none, if
        the data are images.
    """
    picks = {
        (strategy, seed): record.first_picks
        for (name, strategy, seed), record in study.records.items()
        if name == dataset and record.first_picks
    }
    if not picks:
        return {}, None, None
    seeds = [seed for _, seed in picks]
    seed = min(set(seeds), key=lambda one: (-seeds.count(one), one))
    chosen = {strategy: found for (strategy, at), found in sorted(picks.items()) if at == seed}
    config = study.records[dataset, next(iter(chosen)), seed].config
    if config["dataset"].get("kind") != "images":
        return {}, None, None
    try:
        pool = _images(config)
        return {strategy: _pictures(pool, found[:N_PICTURES]) for strategy, found in chosen.items()}, seed, None
    except Exception as error:  # a page without images is better than no page; loaders may be third-party code
        # The page does not give the reason: it may name folders of this machine.
        logger.warning("cannot read the images of %s: %s", dataset, error_message(error))
        return {}, None, f"First picks are not shown: the images of {dataset} were not available."


def _images(config: Mapping[str, Any]) -> npt.NDArray[np.uint8]:
    """Return the training split that a run recorded, uint8 (N, H, W, C)."""
    from deepal_autoal.datasets import load_dataset
    from deepal_autoal.datasets.files.download import without_downloads

    settings, recorded = config["settings"], config["dataset"]
    if settings.get("dataset") is None:
        raise ValueError("the dataset was passed from Python")
    with without_downloads():
        data = load_dataset(
            settings["dataset"], settings.get("data_dir"), settings.get("image_size"), skip_bad=settings.get("skip_bad")
        )
    if data.fingerprint != recorded.get("fingerprint"):
        raise ValueError("the dataset has changed since the runs")
    return data.x_train


def _pictures(pool: npt.NDArray[np.uint8], rows: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    # In a duplicated pool, copy k of row i is row i + k·N.
    images = np.asarray(pool[np.asarray(rows) % len(pool)])
    step = -(-max(images.shape[1:3]) // LARGEST_SIDE)
    images = images[:, ::step, ::step]
    return np.ascontiguousarray(images if images.shape[3] in (1, 3) else images[..., :1])
