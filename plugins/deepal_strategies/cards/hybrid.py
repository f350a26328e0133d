"""Cards of strategies that combine uncertainty and diversity."""

from __future__ import annotations

from collections.abc import Callable


def add_all(add: Callable[..., None]) -> None:
    """Call a function with the name, the class and the card of each."""
    add(
        "badge",
        "deepal_strategies.badge:BADGE",
        summary="k-means++ seeding on the gradients of the last layer for the predicted label",
        family="hybrid",
        requires={"gradients"},
        time="b*N*(C + D)",
        memory="N*(C + D)",
        use="A strong default for large batches: uncertain and diverse at once.",
        reference="Ash et al. 2020, Deep batch active learning by diverse, uncertain gradient lower bounds",
    )
    add(
        "dbal",
        "deepal_strategies.dbal:DBAL",
        summary="Smallest margins first, then one sample from each cluster of a weighted k-means",
        family="hybrid",
        requires={"probabilities", "embeddings"},
        time="N*C + b*b*D",
        memory="N*(C + D)",
        use="A strong default with few labels or redundant pools: margin, then diversity.",
        reference="Zhdanov 2019, Diverse mini-batch active learning",
    )
    add(
        "uherding",
        "deepal_strategies.herding:UHerding",
        summary="Greedy coverage of the pool's uncertain samples, by calibrated margins and a radius that adapts",
        family="hybrid",
        requires={"probabilities", "embeddings"},
        time="3*fit + (5000 + L + b)*N*D + L*L*D",
        memory="N*(C + D) + L*D + 4000000",
        use="From no label on at any budget, on good embeddings: coverage first, later margin.",
        reference="Bae, Oliveira & Sutherland 2025, Uncertainty herding: One method for all label budgets",
    )
    add(
        "cluster-margin",
        "deepal_strategies.cluster_margin:ClusterMargin",
        summary="Smallest margins, in turn from clusters of the pool that stay the same in all rounds",
        family="hybrid",
        requires={"probabilities", "embeddings"},
        time="N*C + 4000*N*D",
        memory="N*(C + D) + 4000*4000",
        use="Very large batches on redundant pools and frozen embeddings.",
        reference="Citovsky et al. 2021, Batch active learning at scale (Cluster-Margin)",
    )
    add(
        "dropquery",
        "deepal_strategies.dropquery:DropQuery",
        summary="Samples whose predicted class changes under dropout, one from each k-means cluster",
        family="hybrid",
        requires={"probabilities", "embeddings", "mc_dropout"},
        time="T*N*C*D + N*b*D",
        memory="N*(C + D)",
        use="A linear head with dropout on a foundation model's embeddings, from no label on.",
        reference="Gupte et al. 2024, Revisiting active learning in the era of vision foundation models",
    )
    add(
        "batchbald",
        "deepal_strategies.batchbald:BatchBALD",
        summary="Greedily the largest mutual information between the weights and a batch's labels together",
        family="hybrid",
        requires={"mc_dropout"},
        time="T*N*C*D + b*N*T*C",
        memory="N*(C + D)",
        use="Batches of about ten, where the samples of a bald batch would repeat each other.",
        reference="Kirsch, van Amersfoort & Gal 2019, BatchBALD: Efficient and diverse batch acquisition",
    )
    add(
        "power",
        "deepal_strategies.power:Power",
        summary="Random candidates, in proportion to a power of another strategy's scores (-o score=bald)",
        family="hybrid",
        requires={"mc_dropout"},
        time="T*N*C*D",
        memory="N*(C + D)",
        use="A scoring strategy is to choose large batches: without redundancy, at the cost of the score.",
        reference="Kirsch et al. 2023, Stochastic batch acquisition: A simple baseline for deep active learning",
    )
    add(
        "bait",
        "deepal_strategies.bait:BAIT",
        summary="Greedily the least trace of the inverse Fisher information: adds two batches, removes one",
        family="hybrid",
        requires={"probabilities", "embeddings"},
        time="N*C + b*N*D + (N + L)*D*D + D*D*D",
        memory="N*(C + D) + D*D",
        use="Good, fixed embeddings; one of the strongest there, and dearer than badge.",
        reference="Ash et al. 2021, Gone fishing: Neural active learning with Fisher embeddings",
    )
    add(
        "alfamix",
        "deepal_strategies.alfamix:ALFAMix",
        summary="Samples whose prediction changes when a little of a labeled class is mixed in, one from each cluster",
        family="hybrid",
        requires={"embeddings", "differentiable"},
        time="N*C*C*D + N*b*D",
        memory="(N + L)*(C + D)",
        use="Few labels and large batches on deep features.",
        reference="Parvaneh et al. 2022, Active learning by feature mixing",
    )
    add(
        "dpp",
        "deepal_strategies.dpp:DPP",
        summary="Greedily the largest determinant: uncertain samples unlike each other (-o form=sample draws one)",
        family="hybrid",
        requires={"probabilities", "embeddings"},
        time="N*(C + D) + (2000 + b)*b*(b + D)",
        memory="N*(C + D) + (2000 + b)*(b + D)",
        use="Batches of up to some hundreds, where the most uncertain samples repeat each other.",
        reference="Biyik et al. 2019, Batch active learning using DPPs; Chen et al. 2018; Kulesza & Taskar 2011",
    )
    add(
        "exploit-explore",
        "deepal_strategies.exploit_explore:ExploitExplore",
        summary="Half uncertain samples unlike each other, half unlike labeled ones, by a learned similarity",
        family="hybrid",
        requires={"probabilities", "embeddings"},
        time="N*C + (L + b)*N*D",
        memory="(N + L)*(C + D)",
        use="Few labels, which may not show the classes' borders yet.",
        reference="Yin et al. 2017, Deep similarity-based batch mode active learning with exploration-exploitation",
    )
    add(
        "ceal",
        "deepal_strategies.ceal:CEAL",
        summary="Another strategy's batch (-o base=entropy), and the surest predictions as labels in the next training",
        family="hybrid",
        requires={"probabilities"},
        changes_training=True,
        time="N*C",
        memory="N*C",
        use="Well calibrated models, and pools in which much is easy; wrong pseudo-labels do harm.",
        reference="Wang et al. 2017, Cost-effective active learning for deep image classification",
    )
    add(
        "glister",
        "deepal_strategies.glister:GLISTER",
        summary="Greedily the pseudo-labeled gradients that align most with a validation gradient (-o validation=50)",
        family="hybrid",
        requires={"probabilities", "embeddings", "gradients"},
        time="b*(N + L)*C*D",
        memory="(N + L)*(C + D)",
        use="Small batches; it approximates the training by single steps of the last layer.",
        reference="Killamsetty et al. 2021, GLISTER: Generalization based data subset selection (AAAI)",
    )
