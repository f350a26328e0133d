"""Registers the built-in strategies; imports none of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import hookimpl

if TYPE_CHECKING:
    from deepal_autoal import Registrar


@hookimpl
def deepal_register_strategies(registry: Registrar) -> None:
    """Add the built-in strategies."""
    registry.add(
        "random",
        "deepal_strategies.random_sampling:RandomSampling",
        summary="Uniformly random samples, without replacement",
        family="control",
        requires=frozenset(),
        reference="Settles 2009, Active learning literature survey (passive learning)",
    )
    registry.add(
        "entropy",
        "deepal_strategies.entropy:Entropy",
        summary="Highest entropy of the predicted class probabilities",
        family="uncertainty",
        requires={"probabilities"},
        reference="Shannon 1948, A mathematical theory of communication",
    )
    registry.add(
        "margin",
        "deepal_strategies.margin:Margin",
        summary="Smallest gap between the two most probable classes",
        family="uncertainty",
        requires={"probabilities"},
        reference="Roth & Small 2006, Margin-based active learning for structured output spaces",
    )
    registry.add(
        "leastconf",
        "deepal_strategies.leastconf:LeastConfidence",
        summary="Lowest probability of the most probable class",
        family="uncertainty",
        requires={"probabilities"},
        reference="Wang & Shang 2014, A new active labeling method for deep learning",
    )
    registry.add(
        "kmeans",
        "deepal_strategies.kmeans:KMeansSampling",
        summary="The samples nearest to the centres of k-means clusters of the embeddings",
        family="diversity",
        requires={"embeddings"},
        reference="Nguyen & Smeulders 2004, Active learning using pre-clustering; Lloyd 1982 (k-means)",
    )
    registry.add(
        "vote",
        "deepal_strategies.vote:Vote",
        summary="Uniform vote of the candidate strategies: AutoAL without its search",
        family="selector",
        requires={"probabilities", "embeddings"},
        reference="control of Wang, Zhan & Huang 2025 (see autoal)",
    )
    registry.add(
        "autoal",
        "deepal_strategies.autoal.strategy:AutoAL",
        summary="Learns, sample by sample, how far to trust each candidate strategy, inside the labelled pool",
        family="selector",
        requires={"probabilities", "embeddings"},
        reference="Wang, Zhan & Huang, ICML 2025, AutoAL: Automated active learning with differentiable query "
        "strategy search (arXiv 2410.13853)",
    )
