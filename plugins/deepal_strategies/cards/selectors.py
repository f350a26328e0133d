"""Cards of selectors."""

from __future__ import annotations

from collections.abc import Callable


def add_all(add: Callable[..., None]) -> None:
    """Call a function with the name, the class and the card of each."""
    add(
        "albl",
        "deepal_strategies.albl.strategy:ALBL",
        summary="A bandit (EXP4.P) over the candidates, rewarded by importance-weighted accuracy",
        family="selector",
        requires={"probabilities", "embeddings", "mc_dropout"},
        time="ask + K*b + L*C",
        memory="ask + L*C",
        use="Hundreds of rounds of small batches; in few rounds it hardly learns.",
        reference="Hsu & Lin 2015, Active learning by learning",
    )
    add(
        "vote",
        "deepal_strategies.vote:Vote",
        summary="Uniform vote of the candidate strategies (-o power=0.5 -o uncertainty=1.5: autoal without its search)",
        family="selector",
        requires={"probabilities", "embeddings", "mc_dropout"},
        time="ask + K*N + (5000 + L + b)*N*D + L*L*D",
        memory="ask + (K + D)*N + L*D + 4000000",
        use="When nobody knows which candidate fits; the control for autoal.",
        reference="control of Wang, Zhan & Huang 2025 (see autoal)",
    )
    add(
        "selectal",
        "deepal_strategies.selectal:SelectAL",
        summary="Removes typical, atypical or random labels, and queries by the kind that is missed most",
        family="selector",
        requires={"probabilities", "embeddings", "gradients"},
        time="ask + 35*fit + L*L*D",
        memory="ask + 35*N + L*(C + D)",
        use="When it is unclear whether labels are few or many, with a model that trains in seconds.",
        reference="Hacohen & Weinshall 2023, How to select which active learning strategy is best suited (SelectAL)",
    )
    add(
        "autoal",
        "deepal_strategies.autoal.strategy:AutoAL",
        summary="Weighs its candidates sample by sample by a search in the labeled pool (our form; -o variant=paper)",
        family="selector",
        requires={"probabilities", "embeddings", "mc_dropout"},
        time="ask + 4*fit + N*K + (5000 + L + b)*N*D + L*L*D",
        memory="ask + N*(D + K) + L*(D + K) + 4000000",
        use="When nobody knows which candidate fits, and the search itself is of interest; compare it with vote.",
        reference="Wang, Zhan & Huang, ICML 2025, AutoAL: Automated active learning (arXiv 2410.13853)",
    )
    add(
        "tailor",
        "deepal_strategies.tailor:Tailor",
        summary="Lets candidates pick in turn, drawn by the rare classes that their earlier picks had",
        family="selector",
        requires={"probabilities", "embeddings", "mc_dropout"},
        time="ask + b*(K*C + N) + L",
        memory="ask + b*K + K*C + L",
        use="Imbalanced classes, and nobody knows which candidate finds the rare ones; else close to a random mix.",
        reference="Zhang et al. 2023, TAILOR: Algorithm selection for deep active learning with imbalanced datasets",
    )
    add(
        "refine",
        "deepal_strategies.refine:Refine",
        summary="All candidates filter the pool five times by their batches of random parts; one queries what is left",
        family="selector",
        requires={"probabilities", "embeddings", "mc_dropout", "gradients", "differentiable"},
        time="500*ask + K*N",
        memory="ask + K*N",
        use="Good embeddings, at minutes per query; compare it with sub-pool and with its last strategy alone.",
        reference="Huseljic et al. 2026, Cleaning the pool (CVPR, arXiv 2511.22344)",
    )
    add(
        "tcm",
        "deepal_strategies.tcm:TCM",
        summary="typiclust in the first rounds (-o rounds=3), then margin",
        family="selector",
        requires={"probabilities", "embeddings"},
        time="ask",
        memory="ask",
        use="From the first labels on, on self-supervised embeddings; with few rounds, set when it switches.",
        reference="Doucet et al. 2024, Bridging diversity and uncertainty in active learning (arXiv 2403.03728)",
    )
