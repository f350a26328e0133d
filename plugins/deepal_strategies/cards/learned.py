"""Cards of strategies that train networks of their own."""

from __future__ import annotations

from collections.abc import Callable


def add_all(add: Callable[..., None]) -> None:
    """Call a function with the name, the class and the card of each."""
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
