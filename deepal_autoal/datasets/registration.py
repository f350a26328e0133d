"""Registers the built-in datasets; imports nothing heavy, since every listing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.hookspecs import hookimpl

if TYPE_CHECKING:
    from deepal_autoal.registry import Registrar


@hookimpl
def deepal_register_datasets(registry: Registrar) -> None:
    """Add ``digits`` and ``mnist``."""
    registry.add(
        "digits",
        "deepal_autoal.datasets.digits:load",
        summary="1,797 handwritten digits of 8x8 pixels, bundled with scikit-learn: no download",
        reference="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI",
    )
    registry.add(
        "mnist",
        "deepal_autoal.datasets.mnist:load",
        summary="70,000 handwritten digits of 28x28 pixels, read from DATA_DIR/MNIST/raw or downloaded there",
        reference="LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition",
    )
