"""Cards of strategies that choose by diversity."""

from __future__ import annotations

from collections.abc import Callable


def add_all(add: Callable[..., None]) -> None:
    """Call a function with the name, the class and the card of each."""
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
