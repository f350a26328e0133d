"""Active learning with the first few labels: a strategy, a dataset and a model for deepal_autoal.

Every listing of ``deepal`` imports this module, so it registers names and imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal import hookimpl

if TYPE_CHECKING:
    from deepal_autoal import Registrar

# The version of deepal_autoal's plugin contract that this plugin was written for.
deepal_contract = 1


@hookimpl
def deepal_register_strategies(registry: Registrar) -> None:
    """Add ``kernel-herding``."""
    registry.add(
        "kernel-herding",
        "deepal_lowbudget.kernel_herding:KernelHerding",
        summary="Samples whose mean resembles that of the whole pool, for the first few labels",
        family="diversity",
        requires={"embeddings"},
        time="b*N*D + L*D",
        memory="(N + L)*D",
        use="The first labels, from none on, where time or memory for maxherding is short.",
        reference="Chen, Welling & Smola 2010, Super-samples from kernel herding",
    )


@hookimpl
def deepal_register_datasets(registry: Registrar) -> None:
    """Add ``breast-cancer``."""
    registry.add(
        "breast-cancer",
        "deepal_lowbudget.breast_cancer:load",
        summary="569 tumors as 30 measurements of cell nuclei, 2 classes, bundled with scikit-learn: no download",
        reference="Street, Wolberg & Mangasarian 1993, Nuclear feature extraction for breast tumor diagnosis",
    )


@hookimpl
def deepal_register_models(registry: Registrar) -> None:
    """Add ``rff``."""
    registry.add(
        "rff",
        "deepal_lowbudget.rff:build",
        summary="A linear classifier on random Fourier features of the inputs, which approximate a Gaussian kernel",
        reference="Rahimi & Recht 2007, Random features for large-scale kernel machines",
        inputs="any",
    )
