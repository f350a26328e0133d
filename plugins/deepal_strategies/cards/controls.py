"""Cards of the controls."""

from __future__ import annotations

from collections.abc import Callable


def add_all(add: Callable[..., None]) -> None:
    """Call a function with the name, the class and the card of each."""
    add(
        "random",
        "deepal_strategies.random_sampling:RandomSampling",
        summary="Uniformly random samples, without replacement",
        family="control",
        requires=frozenset(),
        time="N",
        memory="N",
        use="The baseline that every strategy has to beat; also for an unbiased estimate of accuracy.",
        reference="Settles 2009, Active learning literature survey (passive learning)",
    )
    add(
        "random-candidate",
        "deepal_strategies.random_candidate:RandomCandidate",
        summary="The batch of a random candidate strategy in every round",
        family="control",
        requires={"probabilities", "embeddings", "mc_dropout"},
        time="ask",
        memory="ask",
        use="The control for selectors that learn which candidate to query, such as albl.",
        reference="control of selectors: a choice without learning",
    )
    add(
        "round-robin",
        "deepal_strategies.round_robin:RoundRobin",
        summary="The batch of one candidate strategy in turn, round by round",
        family="control",
        requires={"probabilities", "embeddings", "mc_dropout"},
        time="ask",
        memory="ask",
        use="The control for selectors that learn which candidate to query, without random-candidate's chance.",
        reference="control of selectors: a choice without learning",
    )
    add(
        "switch",
        "deepal_strategies.switch:Switch",
        summary="The candidate strategies one after another, each for some rounds (-o rounds=3) or labels",
        family="control",
        requires={"probabilities", "embeddings"},
        time="ask",
        memory="ask",
        use="The control for selectors that decide when to switch: the same switch at a fixed time.",
        reference="control of selectors: a fixed schedule, such as tcm",
    )
    add(
        "sub-pool",
        "deepal_strategies.sub_pool:SubPool",
        summary="One candidate strategy's batch of a uniformly random part of the pool (-o size=10000)",
        family="control",
        requires={"probabilities", "embeddings"},
        time="ask + N",
        memory="ask + N",
        use="The control for refine, with its last strategy and the size of its pool; see also that strategy alone.",
        reference="the comparison strategies of Huseljic et al. 2026 (see refine)",
    )
