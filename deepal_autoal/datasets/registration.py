"""Registers the built-in datasets; imports nothing heavy, since every listing runs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from deepal_autoal.plugins.registry import Registrar


# flag, images, color, content, classes. Copied, but for the content, from medmnist, whose import takes seconds.
_MEDMNIST = (
    ("pathmnist", 97_176, "color", "tissue patches of colon cancer", 9),
    ("dermamnist", 9_012, "color", "skin lesions", 7),
    ("octmnist", 98_477, "gray", "retinas by optical coherence tomography", 4),
    ("pneumoniamnist", 5_332, "gray", "chest X-rays of children", 2),
    ("retinamnist", 1_480, "color", "fundus photographs, degrees of retinopathy", 5),
    ("breastmnist", 702, "gray", "breast ultrasounds", 2),
    ("bloodmnist", 15_380, "color", "blood cells", 8),
    ("tissuemnist", 212_746, "gray", "kidney cortex cells", 8),
    ("organamnist", 52_339, "gray", "organs in axial CT slices", 11),
    ("organcmnist", 21_191, "gray", "organs in coronal CT slices", 11),
    ("organsmnist", 22_759, "gray", "organs in sagittal CT slices", 11),
)


@hookimpl
def deepal_register_datasets(registry: Registrar) -> None:
    """Register the bundled dataset, the published ones, and MedMNIST's two-dimensional sets."""
    registry.add(
        "digits",
        "deepal_autoal.datasets.published.digits:load",
        summary="1,797 handwritten digits of 8x8 pixels, bundled with scikit-learn: no download",
        reference="Alpaydin & Kaynak 1998, Optical Recognition of Handwritten Digits, UCI",
    )
    registry.add(
        "mnist",
        "deepal_autoal.datasets.published.mnist:load",
        summary="70,000 handwritten digits of 28x28 pixels, read from DATA_DIR/MNIST/raw or downloaded there",
        reference="LeCun, Bottou, Bengio & Haffner 1998, Gradient-based learning applied to document recognition",
    )
    registry.add(
        "fashionmnist",
        "deepal_autoal.datasets.published.fashionmnist:load",
        summary="70,000 pieces of clothing of 28x28 pixels, 10 classes",
        reference="Xiao, Rasul & Vollgraf 2017, Fashion-MNIST",
    )
    registry.add(
        "emnist",
        "deepal_autoal.datasets.published.emnist:load",
        summary="814,255 handwritten characters of 28x28 pixels, upright, 62 classes (by class)",
        reference="Cohen, Afshar, Tapson & van Schaik 2017, EMNIST",
    )
    cifar = "Krizhevsky 2009, Learning multiple layers of features from tiny images"
    registry.add(
        "cifar10",
        "deepal_autoal.datasets.published.cifar:load_cifar10",
        summary="60,000 photographs of 32x32 pixels in color, 10 classes",
        reference=cifar,
    )
    registry.add(
        "cifar100",
        "deepal_autoal.datasets.published.cifar:load_cifar100",
        summary="60,000 photographs of 32x32 pixels in color, 100 classes",
        reference=cifar,
    )
    registry.add(
        "cifar10-imb",
        "deepal_autoal.datasets.published.cifar10_imb:load",
        summary="CIFAR-10 with 27,500 training images, classes 0 to 9 in the proportion 1:2:...:10",
        reference="Zhan et al. 2022, A comparative survey of deep active learning",
    )
    registry.add(
        "svhn",
        "deepal_autoal.datasets.published.svhn:load",
        summary="99,289 digits of house numbers, 32x32 pixels in color",
        reference="Netzer et al. 2011, Reading digits in natural images with unsupervised feature learning",
    )
    registry.add(
        "tinyimagenet",
        "deepal_autoal.datasets.published.tinyimagenet:load",
        summary="110,000 photographs of 64x64 pixels in color, 200 classes",
        reference="Le & Yang 2015, Tiny ImageNet visual recognition challenge",
    )
    registry.add(
        "waterbirds",
        "deepal_autoal.datasets.published.waterbirds:load",
        summary="10,589 birds on land or water, 224x224 pixels in color, 2 classes; accuracy also of the worst group",
        reference="Sagawa et al. 2020, Distributionally robust neural networks, ICLR",
    )
    registry.add(
        "breakhis",
        "deepal_autoal.datasets.published.breakhis:load",
        summary="7,909 microscopic images of breast tumors, 224x224 pixels in color, 2 classes, split by patient",
        reference="Spanhol et al. 2016, A dataset for breast cancer histopathological image classification, IEEE TBME",
    )
    registry.add(
        "chestxray",
        "deepal_autoal.datasets.published.chestxray:load",
        summary="5,840 chest X-rays of children, 224x224 pixels, with and without pneumonia (Kaggle's, not MedMNIST's)",
        reference="Kermany et al. 2018, Identifying medical diagnoses and treatable diseases, Cell 172(5)",
    )
    medmnist = "Yang et al. 2023, MedMNIST v2, Scientific Data 10:41"
    for flag, n_images, color, content, n_classes in _MEDMNIST:
        registry.add(
            flag,
            f"deepal_autoal.datasets.published.medmnist:{flag}",
            summary=f"{n_images:,} {content}, 28x28 pixels in {color}, {n_classes} classes",
            reference=medmnist,
        )
    registry.add(
        "chestmnist",
        "deepal_autoal.datasets.published.medmnist:chestmnist",
        summary="not usable: chest X-rays with several labels per image",
        reference=medmnist,
    )
