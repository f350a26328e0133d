"""Registers the built-in strategies without importing any of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deepal_autoal import hookimpl

if TYPE_CHECKING:
    from deepal_autoal import Registrar


@hookimpl
def deepal_register_strategies(registry: Registrar) -> None:
    """Add the built-in strategies, with what benchmarks/ measured (measured.json, by benchmarks/measured.py)."""
    found = json.loads(Path(__file__).with_name("measured.json").read_text(encoding="utf-8"))

    def add(name: str, target: str, **card: Any) -> None:
        points = found["points"].get(name, {})
        measured = [{**found["studies"][study], "points": value} for study, value in points.items()]
        registry.add(name, target, measured=measured, **card)

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
    add(
        "entropy",
        "deepal_strategies.entropy:Entropy",
        summary="Highest entropy of the predicted class probabilities",
        family="uncertainty",
        requires={"probabilities"},
        time="N*C",
        memory="N*C",
        use="Simple and cheap; weaker than margin where labels are few or classes are many.",
        reference="Shannon 1948, A mathematical theory of communication",
    )
    add(
        "margin",
        "deepal_strategies.margin:Margin",
        summary="Smallest gap between the two most probable classes",
        family="uncertainty",
        requires={"probabilities"},
        time="N*C",
        memory="N*C",
        use="A strong, cheap default from about ten labels per class on.",
        reference="Roth & Small 2006, Margin-based active learning for structured output spaces",
    )
    add(
        "leastconf",
        "deepal_strategies.leastconf:LeastConfidence",
        summary="Lowest probability of the most probable class",
        family="uncertainty",
        requires={"probabilities"},
        time="N*C",
        memory="N*C",
        use="Like margin, from which it differs only with more than two classes.",
        reference="Wang & Shang 2014, A new active labeling method for deep learning",
    )
    add(
        "entropy-dropout",
        "deepal_strategies.dropout_scores:EntropyDropout",
        summary="Highest entropy of the mean of dropout or posterior passes",
        family="uncertainty",
        requires={"mc_dropout"},
        time="T*N*C*D",
        memory="N*(C + D)",
        use="As entropy, where the model's own probabilities are overconfident; costs T passes.",
        reference="Gal, Islam & Ghahramani 2017, Deep Bayesian active learning with image data",
    )
    add(
        "margin-dropout",
        "deepal_strategies.dropout_scores:MarginDropout",
        summary="Smallest gap between the two most probable classes in the mean of dropout or posterior passes",
        family="uncertainty",
        requires={"mc_dropout"},
        time="T*N*C*D",
        memory="N*(C + D)",
        use="As margin, where the model's own probabilities are overconfident; costs T passes.",
        reference="Zhan et al. 2022, A comparative survey of deep active learning (DeepAL+)",
    )
    add(
        "leastconf-dropout",
        "deepal_strategies.dropout_scores:LeastConfidenceDropout",
        summary="Lowest probability of the most probable class in the mean of dropout or posterior passes",
        family="uncertainty",
        requires={"mc_dropout"},
        time="T*N*C*D",
        memory="N*(C + D)",
        use="As leastconf, where the model's own probabilities are overconfident; costs T passes.",
        reference="Zhan et al. 2022, A comparative survey of deep active learning (DeepAL+)",
    )
    add(
        "bald",
        "deepal_strategies.bald:BALD",
        summary="Highest mutual information between prediction and weights, over dropout or posterior passes",
        family="uncertainty",
        requires={"mc_dropout"},
        time="T*N*C*D",
        memory="N*(C + D)",
        use="Many labels and noisy classes: it avoids samples that no label would explain.",
        reference="Gal, Islam & Ghahramani 2017, Deep Bayesian active learning with image data",
    )
    add(
        "varratio",
        "deepal_strategies.varratio:VariationRatio",
        summary="Largest share of dropout or posterior passes that do not vote for the modal class",
        family="uncertainty",
        requires={"mc_dropout"},
        time="T*N*C*D",
        memory="N*(C + D)",
        use="Like bald, cruder: with T passes there are only T scores.",
        reference="Freeman 1965, Elementary applied statistics; Gal, Islam & Ghahramani 2017",
    )
    add(
        "meanstd",
        "deepal_strategies.meanstd:MeanStd",
        summary="Largest standard deviation over dropout or posterior passes, mean over classes",
        family="uncertainty",
        requires={"mc_dropout"},
        time="T*N*C*D",
        memory="N*(C + D)",
        use="Like bald; a classic for comparison.",
        reference="Kampffmeyer et al. 2016, Semantic segmentation of small objects and modeling of uncertainty",
    )
    add(
        "gradnorm",
        "deepal_strategies.gradnorm:GradNorm",
        summary="Longest expected gradient of the last layer",
        family="uncertainty",
        requires={"probabilities", "embeddings"},
        time="N*(C + D)",
        memory="N*(C + D)",
        use="Like entropy, but favors long embeddings; a classic for comparison.",
        reference="Settles, Craven & Ray 2008, Multiple-instance active learning (expected gradient length)",
    )
    add(
        "epig",
        "deepal_strategies.epig:EPIG",
        summary="Highest mutual information with the labels of target inputs (-o targets=FILE, by default candidates)",
        family="uncertainty",
        requires={"mc_dropout"},
        time="T*N*C*D + T*N*C*C",
        memory="N*(C + D)",
        use="The pool is messy or unlike the inputs that matter (-o targets). Small batches, or within power.",
        reference="Bickford Smith et al. 2023, Prediction-oriented Bayesian active learning",
    )
    add(
        "galaxy",
        "deepal_strategies.galaxy:Galaxy",
        summary="Halves the shortest stretch between labeled samples of a class and of others, class by class",
        family="uncertainty",
        requires={"probabilities"},
        time="(C + b)*(N + L)",
        memory="(N + L)*C",
        use="Imbalanced classes, of which rare ones are to be found; best with small batches.",
        reference="Zhang, Katz-Samuels & Nowak 2022, GALAXY: Graph-based active learning at the extreme",
    )
    add(
        "deepfool",
        "deepal_strategies.deepfool:DeepFool",
        summary="Smallest perturbation of the input that changes the predicted class",
        family="uncertainty",
        requires={"inputs", "differentiable"},
        time="50*C*sweep",
        memory="N",
        use="Like margin, but by distances in input space, at up to 50·C backward passes; inputs with gradients.",
        reference="Ducoffe & Precioso 2018, Adversarial active learning; Moosavi-Dezfooli et al. 2016, DeepFool",
    )
    add(
        "advbim",
        "deepal_strategies.advbim:AdvBIM",
        summary="Fewest small steps against the input's gradient that change the predicted class",
        family="uncertainty",
        requires={"inputs", "differentiable"},
        time="100*sweep",
        memory="N",
        use="A cheaper, coarser deepfool, for comparison with the survey; inputs with gradients.",
        reference="Kurakin, Goodfellow & Bengio 2016, Adversarial examples in the physical world (as in DeepAL)",
    )
    add(
        "ensvarr",
        "deepal_strategies.ensvarr:EnsembleVariationRatio",
        summary="Largest share of an ensemble that does not vote for the modal class",
        family="ensemble",
        requires={"ensemble"},
        time="M*fit + M*sweep + M*N*C",
        memory="M*N*C",
        use="Where an ensemble is affordable: it trains M models for each query.",
        reference="Beluch et al. 2018, The power of ensembles for active learning in image classification",
    )
    add(
        "ddu",
        "deepal_strategies.ddu.strategy:DDU",
        summary="Lowest density of the embedding under one Gaussian per class, on a spectrally normalized network",
        family="uncertainty",
        requires={"embeddings"},
        changes_training=True,
        time="L*D*D + N*L*D",
        memory="(N + L)*D + D*D",
        use="Out-of-distribution samples are wanted; weak on ordinary pools with few labels.",
        reference="Mukhoti et al. 2023, Deep deterministic uncertainty: A new simple baseline",
    )
    add(
        "kmeans",
        "deepal_strategies.kmeans:KMeansSampling",
        summary="The samples nearest to the centers of k-means clusters of the embeddings",
        family="diversity",
        requires={"embeddings"},
        time="N*b*D",
        memory="N*D",
        use="The first rounds, with a handful of labels, on good embeddings.",
        reference="Nguyen & Smeulders 2004, Active learning using pre-clustering; Lloyd 1982 (k-means)",
    )
    add(
        "coreset",
        "deepal_strategies.coreset:CoreSet",
        summary="k-center greedy: repeatedly the embedding farthest from all labeled and chosen ones",
        family="diversity",
        requires={"embeddings"},
        time="(L + b)*N*D",
        memory="(N + L)*D",
        use="Large batches on good embeddings; sensitive to outliers.",
        reference="Sener & Savarese 2018, Active learning for convolutional neural networks: A core-set approach",
    )
    add(
        "maxherding",
        "deepal_strategies.herding:MaxHerding",
        summary="Greedy coverage of the pool: the samples most similar to those that no label resembles yet",
        family="diversity",
        requires={"embeddings"},
        time="(5000 + L + b)*N*D",
        memory="(N + L)*D + 4000000",
        use="The first labels, from none on, on good embeddings; later uherding.",
        reference="Bae, Noh & Sutherland 2024, Generalized coverage for low-budget active learning",
    )
    add(
        "probcover",
        "deepal_strategies.probcover:ProbCover",
        summary="Greedy coverage of the pool by balls whose radius keeps classes apart",
        family="diversity",
        requires={"embeddings"},
        time="(N + L)*(N + L)*D + b*N*D",
        memory="(N + L)*D + 4000000",
        use="The very first labels, one to five per class, on self-supervised embeddings.",
        reference="Yehuda et al. 2022, Active learning through a covering lens (ProbCover)",
    )
    add(
        "typiclust",
        "deepal_strategies.typiclust:TypiClust",
        summary="The most typical sample of each of the largest clusters without a label",
        family="diversity",
        requires={"embeddings"},
        time="(L + b)*(N + L)*D + N*N*D",
        memory="(N + L)*D",
        use="The first labels, from none on, on good embeddings; later margin.",
        reference="Hacohen, Dekel & Weinshall 2022, Active learning on a budget (TypiClust)",
    )
    add(
        "vaal",
        "deepal_strategies.vaal.strategy:VAAL",
        summary="Lowest probability of being labeled, by a discriminator on a VAE's latent means (-o variant=paper)",
        family="learned",
        requires={"inputs"},
        time="E*(N + L)*P",
        memory="N + L",
        use="For comparison with its paper; at the paper's size (variant=paper) it needs a GPU.",
        reference="Sinha, Ebrahimi & Darrell 2019, Variational adversarial active learning",
    )
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
        "lpl",
        "deepal_strategies.lpl.strategy:LPL",
        summary="Highest loss predicted by a module trained with the task model (on MNIST it needs 200 labels)",
        family="learned",
        requires={"inputs"},
        changes_training=True,
        time="sweep",
        memory="N",
        use="Some hundreds of labels or more: with fewer, its module hardly ranks the losses.",
        reference="Yoo & Kweon 2019, Learning loss for active learning",
    )
    add(
        "discal",
        "deepal_strategies.discal:DiscAL",
        summary="Most surely unlabeled, by classifiers that tell candidates from labeled samples, in mini-queries",
        family="learned",
        requires={"embeddings"},
        time="E*(L + b)*D + b*(N + L)*D",
        memory="(N + L)*D",
        use="Diversity for large batches, without labels' influence; needs one label.",
        reference="Gissin & Shalev-Shwartz 2019, Discriminative active learning",
    )
    add(
        "waal",
        "deepal_strategies.waal.strategy:WAAL",
        summary="Uncertain samples that a critic, trained with the model, tells from labeled ones (-o steps=equal)",
        family="learned",
        requires={"probabilities", "embeddings"},
        changes_training=True,
        time="N*(C + D)",
        memory="N*(C + D)",
        use="Semi-supervised training on the pool is wanted; by default it takes many more steps than others.",
        reference="Shui et al. 2020, Deep active learning: Unified and principled method for query and training",
    )
    add(
        "rambo",
        "deepal_strategies.rambo.strategy:RAMBO",
        summary="Chunks of small margins, ranked by a set network that learned the utility of training sets",
        family="learned",
        requires={"probabilities", "embeddings"},
        time="24*fit + 400*L*(L + D) + L*L*D + N*C + b*D",
        memory="N*(C + D) + L*(L + 8*D) + 200*L",
        use="All labels are asked at once (--rounds 1), with hundreds of labels to begin with; see -o choice=random.",
        reference="Ding et al. 2024, Learning to rank for active learning via multi-task bilevel optimization (UAI)",
    )
    add(
        "dulo",
        "deepal_strategies.rambo.dulo:DULO",
        summary="Greedily the highest accuracy that a regression on subsets of the labeled samples predicts",
        family="learned",
        requires={"probabilities", "embeddings"},
        time="24*fit + 400*L*(L + D) + N*D + b*N",
        memory="N*(D + 64) + L*(D + 64)",
        use="The baseline of rambo; its regression on few subsets says little.",
        reference="Wang, Chen & Jia 2023, One-round active learning through data utility learning and proxy models",
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
        summary="Uniform vote of the candidate strategies: AutoAL without its search",
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
        time="ask + fit + N*K + (5000 + L + b)*N*D + L*L*D",
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
