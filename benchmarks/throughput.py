"""Measure images per second in training and pool scoring against plain PyTorch, in turn on the same machine.

    python benchmarks/throughput.py --models cnn,resnet18 --repeats 3

Plain: torchvision's transforms on PIL images (crop and flip in training, tensor, normalization), a `DataLoader` with
one worker per core, float32, a loop of forward, backward and optimizer step. Ours: `Trainer.fit` and
`FittedModel.sweep` with their defaults. Pure: the same forward and backward passes as ours, in our precision, on
batches that are already on the device. Pixels are random: the speed does not depend on them.

Prints medians over the repeats, and the ratios' medians with their range, pair by pair.
"""

import argparse
import os
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset
from torchvision import transforms

from deepal_autoal.models import build_model
from deepal_autoal.numerics.precision import autocast, place
from deepal_autoal.training.fitted_model import FittedModel
from deepal_autoal.training.inputs import Inputs, Normalization
from deepal_autoal.training.optimizers import make_optimizer
from deepal_autoal.training.recipe import Recipe
from deepal_autoal.training.task_model import TaskModel
from deepal_autoal.training.trainer import LabeledData, Trainer, UnlabeledData

SHAPES = {"cnn": (28, 28, 1), "resnet18": (32, 32, 3)}
N_CLASSES = 10
TRAIN_BATCH, SCORE_BATCH = 128, 512
AUGMENTATION = ("crop", "flip")


class PilImages(TorchDataset):
    """An array of images, each transformed as a PIL image."""

    def __init__(self, array: np.ndarray, labels: np.ndarray, steps: list[object]) -> None:
        self.array, self.labels = array, labels
        self.transform = transforms.Compose(steps)

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, row: int) -> tuple[torch.Tensor, int]:
        pixels = self.array[row]
        image = Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
        return self.transform(image), int(self.labels[row])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="cnn,resnet18")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, help="in the pool; by default 20,000 for cnn, 2,000 for others on a CPU")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| model | what | plain | ours | pure | ours / plain | ours / pure |")
    print("|---|---|---|---|---|---|---|")
    for name in options.models.split(","):
        n = options.images or (20_000 if name == "cnn" or options.device != "cpu" else 2_000)
        compare(name, n, torch.device(options.device), options.precision, options.compile, options.repeats)


def compare(name: str, n: int, device: torch.device, precision: str, compiles: bool, repeats: int) -> None:
    """Print two rows of the table."""
    rng = np.random.default_rng(0)
    shape = SHAPES.get(name, (32, 32, 3))
    array = rng.integers(0, 256, size=(n, *shape), dtype=np.uint8)
    labels = rng.integers(0, N_CLASSES, size=n)
    inputs = Inputs(array, Normalization.fit(array), device)
    recipe = Recipe(
        epochs=1, min_steps=0, train_batch_size=TRAIN_BATCH, augmentation=AUGMENTATION, precision=precision,
        compile=compiles,
    )  # fmt: skip

    def build() -> TaskModel:
        return build_model(name, inputs.input_shape, N_CLASSES)

    trainer = Trainer(build, recipe, device)
    labeled = LabeledData(inputs, np.arange(n), labels)
    fitted = trainer.fit(labeled, UnlabeledData(inputs, np.arange(0)), seed=0)  # warms up, too
    ways: dict[str, dict[str, Callable[[], object]]] = {
        "train": {
            "plain": lambda: train_plainly(place_plainly(build(), device), array, labels, device),
            "ours": lambda: trainer.fit(labeled, UnlabeledData(inputs, np.arange(0)), seed=0),
            "pure": lambda: train_purely(build(), inputs, recipe, fitted.precision, device, n),
        },
        "score": {
            "plain": lambda: score_plainly(place_plainly(build(), device).eval(), array, labels, device),
            "ours": lambda: fitted.sweep(inputs, np.arange(n)),
            "pure": lambda: score_purely(fitted, inputs, device, n),
        },
    }
    for what, calls in ways.items():
        speeds: dict[str, list[float]] = {way: [] for way in calls}
        for call in calls.values():  # the first call of each kind includes loading and planning
            timed(call, device)
        for _ in range(repeats):
            for way, call in calls.items():
                speeds[way].append(n / timed(call, device))
        ratios = " | ".join(ratio(speeds["ours"], speeds[other]) for other in ("plain", "pure"))
        shown = " | ".join(f"{median(speeds[way]):,.0f}" for way in ("plain", "ours", "pure"))
        print(f"| `{name}` {shape[0]}x{shape[1]}, {fitted.precision} | {what} | {shown} | {ratios} |", flush=True)


def ratio(ours: list[float], other: list[float]) -> str:
    """Return the median of the pairwise ratios, and their range."""
    ratios = [a / b for a, b in zip(ours, other, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} … {max(ratios):.2f})"


def timed(call: Callable[[], object], device: torch.device) -> float:
    """Return a call's seconds."""
    start = time.perf_counter()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def place_plainly(model: TaskModel, device: torch.device) -> TaskModel:
    """Return the model on the device, in the usual memory format."""
    return model.to(device)


def loader(array: np.ndarray, labels: np.ndarray, trains: bool, batch_size: int, device: torch.device) -> DataLoader:
    """Return the data loader that a tutorial would use."""
    side, channels = array.shape[1], array.shape[3]
    steps: list[object] = [transforms.RandomCrop(side, padding=4), transforms.RandomHorizontalFlip()] if trains else []
    steps += [transforms.ToTensor(), transforms.Normalize([0.5] * channels, [0.25] * channels)]
    return DataLoader(
        PilImages(array, labels, steps), batch_size, shuffle=trains, num_workers=os.cpu_count() or 1,
        pin_memory=device.type == "cuda",
    )  # fmt: skip


def train_plainly(model: TaskModel, array: np.ndarray, labels: np.ndarray, device: torch.device) -> None:
    """Train for an epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    model.train()
    for batch, target in loader(array, labels, True, TRAIN_BATCH, device):
        loss = F.cross_entropy(model(batch.to(device)), target.to(device))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def score_plainly(model: TaskModel, array: np.ndarray, labels: np.ndarray, device: torch.device) -> torch.Tensor:
    """Return class probabilities of all images."""
    batches = loader(array, labels, False, SCORE_BATCH, device)
    return torch.cat([model(batch.to(device)).softmax(dim=1).cpu() for batch, _ in batches])


def train_purely(
    model: TaskModel, inputs: Inputs, recipe: Recipe, precision: str, device: torch.device, n: int
) -> None:
    """Take one epoch's number of steps, all on the same batch."""
    model = place(model, device).train()
    if recipe.compile:
        model.backbone.compile()
    optimizer = make_optimizer(model.parameters(), recipe, device)
    batch = inputs.batch(np.arange(TRAIN_BATCH))
    target = torch.zeros(TRAIN_BATCH, dtype=torch.int64, device=device)
    for _ in range(n // TRAIN_BATCH):
        with autocast(precision, device):
            loss = F.cross_entropy(model(batch).float(), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


@torch.no_grad()
def score_purely(fitted: FittedModel, inputs: Inputs, device: torch.device, n: int) -> None:
    """Pass as many samples as the pool contains, repeating one chunk."""
    from deepal_autoal.training.fitted_model import samples_at_once

    size = min(n, samples_at_once(inputs.input_shape, device))
    batch = inputs.batch(np.arange(size))
    for _ in range(n // size):
        with autocast(fitted.precision, device):
            fitted.module(batch)


if __name__ == "__main__":
    main()
