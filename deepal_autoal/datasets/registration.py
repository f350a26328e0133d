"""Registers the built-in datasets; imports nothing heavy, since every listing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.hookspecs import hookimpl

if TYPE_CHECKING:
    from deepal_autoal.registry import Registrar


# What medmnist says of its sets would take reading its file: flag, images, their colours, what they show, classes.
_MEDMNIST = (
    ("pathmnist", 97_176, "colour", "tissue patches of colon cancer", 9),
    ("dermamnist", 9_012, "colour", "skin lesions", 7),
    ("octmnist", 98_477, "grey", "retinas by optical coherence tomography", 4),
    ("pneumoniamnist", 5_332, "grey", "chest X-rays of children", 2),
    ("retinamnist", 1_480, "colour", "fundus photographs, degrees of retinopathy", 5),
    ("breastmnist", 702, "grey", "breast ultrasounds", 2),
    ("bloodmnist", 15_380, "colour", "blood cells", 8),
    ("tissuemnist", 212_746, "grey", "kidney cortex cells", 8),
    ("organamnist", 52_339, "grey", "organs in axial CT slices", 11),
    ("organcmnist", 21_191, "grey", "organs in coronal CT slices", 11),
    ("organsmnist", 22_759, "grey", "organs in sagittal CT slices", 11),
)


@hookimpl
def deepal_register_datasets(registry: Registrar) -> None:
    """Add the bundled set, torchvision's, TinyImageNet and MedMNIST's two-dimensional ones."""
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
    registry.add(
        "fashionmnist",
        "deepal_autoal.datasets.fashionmnist:load",
        summary="70,000 pieces of clothing of 28x28 pixels, 10 classes",
        reference="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST",
    )
    registry.add(
        "emnist",
        "deepal_autoal.datasets.emnist:load",
        summary="814,255 handwritten characters of 28x28 pixels, upright, by class: 62 of them",
        reference="Cohen, Afshar, Tapson & van Schaik 2017, EMNIST",
    )
    cifar = "Krizhevsky 2009, Learning multiple layers of features from tiny images"
    registry.add(
        "cifar10",
        "deepal_autoal.datasets.cifar:load_cifar10",
        summary="60,000 photographs of 32x32 pixels in colour, 10 classes",
        reference=cifar,
    )
    registry.add(
        "cifar100",
        "deepal_autoal.datasets.cifar:load_cifar100",
        summary="60,000 photographs of 32x32 pixels in colour, 100 classes",
        reference=cifar,
    )
    registry.add(
        "cifar10-imb",
        "deepal_autoal.datasets.cifar10_imb:load",
        summary="CIFAR-10 with 27,500 training images, classes 0 to 9 in the proportion 1:2:...:10",
        reference="Zhan et al. 2022, A comparative survey of deep active learning",
    )
    registry.add(
        "svhn",
        "deepal_autoal.datasets.svhn:load",
        summary="99,289 digits of house numbers, 32x32 pixels in colour",
        reference="Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning",
    )
    registry.add(
        "tinyimagenet",
        "deepal_autoal.datasets.tinyimagenet:load",
        summary="110,000 photographs of 64x64 pixels in colour, 200 classes",
        reference="Le & Yang 2015, Tiny ImageNet visual recognition challenge",
    )
    medmnist = "Yang et al. 2023, MedMNIST v2, Scientific Data 10:41"
    for flag, n_images, color, content, n_classes in _MEDMNIST:
        registry.add(
            flag,
            f"deepal_autoal.datasets.medmnist:{flag}",
            summary=f"{n_images:,} {content}, 28x28 pixels in {color}, {n_classes} classes",
            reference=medmnist,
        )
    registry.add(
        "chestmnist",
        "deepal_autoal.datasets.medmnist:chestmnist",
        summary="not usable: chest X-rays of several labels an image",
        reference=medmnist,
    )
