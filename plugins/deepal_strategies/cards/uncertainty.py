"""Cards of strategies that score by uncertainty, of one model or an ensemble."""

from __future__ import annotations

from collections.abc import Callable


def add_all(add: Callable[..., None]) -> None:
    """Call a function with the name, the class and the card of each."""
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
