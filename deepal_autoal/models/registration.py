"""Registers the built-in models; imports nothing heavy, since every listing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from deepal_autoal.plugins.registry import Registrar


@hookimpl
def deepal_register_models(registry: Registrar) -> None:
    """Add the models of this package, and the families ``torchvision`` and ``timm``."""
    registry.add(
        "gp",
        "deepal_autoal.models.gp:build",
        summary="Gaussian-process classifier, for vectors with up to a few thousand labels",
        reference="Williams & Barber 1998, Bayesian classification with Gaussian processes",
        inputs="any",
    )
    registry.add(
        "forest",
        "deepal_autoal.models.forest:build",
        summary="scikit-learn's random forest, for tables of mixed features",
        reference="Breiman 2001, Random forests",
        inputs="any",
    )
    registry.add(
        "tabular",
        "deepal_autoal.models.tabular:build",
        summary="Average of gp and forest by held-out likelihood, for tables of mixed features",
        reference="Breiman 1996, Stacked regressions",
        inputs="any",
    )
    for name in ("linear", "logreg"):
        registry.add(
            name,
            "deepal_autoal.models.linear:build",
            summary="Multinomial logistic regression, solved to the minimum, for precomputed embeddings",
            inputs="any",
        )
    registry.add(
        "mlp",
        "deepal_autoal.models.mlp:build",
        summary="Two hidden layers (256, 128) with BatchNorm, for feature vectors",
        inputs="any",
    )
    registry.add(
        "cnn",
        "deepal_autoal.models.cnn:build",
        summary="Three convolutions and a dense layer, for images of about 8x8 to 32x32; fast on a CPU",
        inputs="images",
    )
    registry.add(
        "lenet",
        "deepal_autoal.models.lenet:build",
        summary="LeNet-5 with max-pooling and ReLU, for images from 8x8; the lightest on a CPU",
        reference="LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition",
        inputs="images",
    )
    registry.add(
        "resnet18",
        "deepal_autoal.models.resnet:build",
        summary="ResNet-18; CIFAR's stem up to 64 pixels a side, the standard one above",
        reference="He, Zhang, Ren & Sun 2016, Deep residual learning for image recognition",
        inputs="images",
    )
    registry.add(
        "torchvision",
        "deepal_autoal.models.torchvision_models:build",
        summary="Any torchvision image classifier by name, such as torchvision/resnet50",
        reference="TorchVision maintainers 2016, TorchVision: PyTorch's computer vision library",
        inputs="images",
        family=True,
    )
    registry.add(
        "timm",
        "deepal_autoal.models.timm_models:build",
        summary="Any timm model by name, such as timm/convnext_tiny, if timm is installed",
        reference="Wightman 2019, PyTorch image models",
        inputs="images",
        family=True,
    )
