"""How long a person who labels waits: the start, the next batch, and the page.

    python benchmarks/labeling/measure.py start --images data/cifar10/train
    python benchmarks/labeling/measure.py submit
    python benchmarks/labeling/measure.py page --images data/cifar10/train      # needs Chromium and chromedriver

Seconds are of whole commands, their start included: wall time, and CPU time of all their threads. Each is measured
several times, and the least is given, as other work can only make a command slower. Figures go to results.csv.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TABLE = Path(__file__).parent / "results.csv"
COLUMNS = ("part", "case", "what", "repeats", "wall_s", "cpu_s")
PHOTOS = 2_000
SIZES = (2_000, 100_000)
BATCH, LABELED = 20, 180
CLASSES, DIMENSIONS, SPREAD = 10, 128, 3.0
ANSWERS = 60
# Of the time from a key to the next image: what happens in the page, in milliseconds. Two frames after the image was
# put into the page, it has been painted.
WATCH = """
window.waits = [];
let pressed = null;
document.addEventListener("keydown", (event) => { pressed = event.timeStamp; }, true);
new MutationObserver((changes) => {
  const added = changes.flatMap((change) => [...change.addedNodes]);
  if (pressed === null || !added.some((node) => node.tagName === "IMG")) return;
  const since = pressed;
  pressed = null;
  requestAnimationFrame(() => requestAnimationFrame(() => window.waits.push(performance.now() - since)));
}).observe(document.getElementById("sample"), {childList: true});
"""


@dataclass(frozen=True)
class Seconds:
    """Wall and CPU time."""

    wall: float
    cpu: float

    def __add__(self, other: Seconds) -> Seconds:
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)


def deepal(*arguments: object, folder: Path) -> tuple[str, Seconds]:
    """Run a command in a process of its own, and return its output and how long it took."""
    line = [sys.executable, "-m", "deepal_autoal", *map(str, arguments)]
    start = time.perf_counter()
    process = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment(folder))
    assert process.stdout is not None
    with process.stdout:
        output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = Seconds(time.perf_counter() - start, usage.ru_utime + usage.ru_stime)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        raise SystemExit(f"{' '.join(line)} failed with exit status {process.returncode}")
    return output.strip(), seconds


def environment(folder: Path) -> dict[str, str]:
    """Return the environment of a command: nothing is cached between repeats."""
    return {**os.environ, "DEEPAL_CACHE": str(folder / "cache")}


def write_photos(images: Path, out: Path, count: int, seed: int = 7) -> dict[str, str]:
    """Write images of a tree of class folders as photos of mixed sizes, and return their classes by file name.

    Two fifths keep their size, most others have sides of 48 to 640 pixels, and one in twenty 1,200 to 2,000.
    """
    out.mkdir(parents=True)
    rng, truth = random.Random(seed), {}
    folders = sorted(path for path in images.iterdir() if path.is_dir())
    files = [path for folder in folders for path in rng.sample(sorted(folder.iterdir()), count // len(folders))]
    rng.shuffle(files)
    for number, path in enumerate(files):
        image, kind = Image.open(path).convert("RGB"), rng.random()
        if kind < 0.4:
            size = image.size
        elif kind < 0.7:
            size = (rng.choice([48, 64, 96, 128, 200]),) * 2
        elif kind < 0.95:
            width = rng.choice([160, 320, 640])
            size = (width, int(width * rng.choice([0.66, 0.75, 1.0, 1.33])))
        else:
            size = rng.choice([(1600, 1200), (1200, 1600), (2000, 1500)])
        name = f"IMG_{number:04d}.{rng.choice(['jpg', 'jpg', 'jpg', 'png'])}"
        image.resize(size, Image.Resampling.BICUBIC).save(out / name, quality=90)
        truth[name] = path.parent.name
    return truth


def fill_in(path: Path, truth: Mapping[str, str]) -> None:
    """Write the true labels into a batch's file."""
    with path.open(newline="", encoding="utf-8") as file:
        names = [row["id"] for row in csv.DictReader(file)]
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("id", "label"), *((name, truth[name]) for name in names)])


def measure_start(images: Path, repeats: int) -> list[dict[str, Any]]:
    """Measure `deepal label init` on photos, and `next` for the first batch."""
    found: list[list[Seconds]] = []
    for _ in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_photos(images, folder / "photos", PHOTOS)
            steps = [deepal("label", "init", "p", "--data", "photos", folder=folder)[1]]
            steps.append(deepal("label", "next", "p", folder=folder)[1])
            found.append([*steps, steps[0] + steps[1]])
            show(found[-1])
    return least_of("start", f"{PHOTOS} photos", ("init", "next", "both"), found)


def measure_submit(repeats: int) -> list[dict[str, Any]]:
    """Measure `deepal label submit` of a batch of vectors, and `next`, once 180 samples are labeled."""
    rows = []
    for n_samples in SIZES:
        for audit in (0.1, 0.0):
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name)
                truth = write_vectors(folder / "vectors.npz", n_samples)
                deepal("label", "init", "p", "--data", "vectors.npz", "--audit", audit, folder=folder)
                for size in (BATCH, LABELED - BATCH):
                    batch = folder / deepal("label", "next", "p", "-n", size, folder=folder)[0]
                    fill_in(batch, truth)
                    deepal("label", "submit", "p", batch, folder=folder)
                batch = folder / deepal("label", "next", "p", folder=folder)[0]
                fill_in(batch, truth)
                shutil.copytree(folder / "p", folder / "before")
                found = []
                for _ in range(repeats):
                    shutil.rmtree(folder / "p")
                    shutil.copytree(folder / "before", folder / "p")
                    steps = [deepal("label", "submit", "p", batch, folder=folder)[1]]
                    steps.append(deepal("label", "next", "p", folder=folder)[1])
                    found.append([*steps, steps[0] + steps[1]])
                    show(found[-1])
            case = f"{n_samples} vectors, --audit {audit:g}"
            rows += least_of("submit", case, ("submit", "next", "both"), found)
    return rows


def write_vectors(path: Path, n_samples: int) -> dict[str, str]:
    """Write vectors of overlapping classes, and return the classes by id, the number of the row."""
    rng = np.random.default_rng(0)
    centers, classes = rng.normal(size=(CLASSES, DIMENSIONS)), rng.integers(CLASSES, size=n_samples)
    noise = rng.normal(0, SPREAD, (n_samples, DIMENSIONS))
    np.savez(path, x=(centers[classes] + noise).astype(np.float32))
    return {str(row): f"class {number}" for row, number in enumerate(classes.tolist())}


def measure_page(images: Path, repeats: int) -> list[dict[str, Any]]:
    """Measure the time from a key to the next photo on the page, in a browser without a window."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from selenium.webdriver.common.action_chains import ActionChains

    from tests.browser import browser

    found: dict[str, list[float]] = {"model idle": [], "next batch is being chosen": []}
    for repeat in range(repeats):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            truth = write_photos(images, folder / "photos", PHOTOS, seed=repeat)
            classes = sorted(set(truth.values()))
            deepal("label", "init", "p", "--data", "photos", "--classes", ",".join(classes), folder=folder)
            batch = folder / deepal("label", "next", "p", folder=folder)[0]
            fill_in(batch, truth)
            deepal("label", "submit", "p", batch, folder=folder)
            line = [sys.executable, "-m", "deepal_autoal", "label", "serve", "p", "--port", "0", "--no-browser"]
            server = subprocess.Popen(line, cwd=folder, stdout=subprocess.PIPE, text=True, env=environment(folder))
            try:
                assert server.stdout is not None
                address = server.stdout.readline().split()[2]
                with browser(folder / "profile", (1200, 900)) as driver:
                    driver.get(address)
                    wait_for(lambda: driver.execute_script("return document.querySelector('#sample img') !== null"))
                    driver.execute_script(WATCH)
                    for number in range(1, ANSWERS + 1):
                        wait_for(lambda: driver.execute_script("return document.querySelector('#sample img') !== null"))
                        before = driver.execute_script("return state.sample.id")
                        key = "123456789abc"[classes.index(truth[before])]
                        is_busy = number % BATCH > BATCH // 2
                        ActionChains(driver, duration=0).send_keys(key).perform()
                        # The first sample of a batch may not be chosen yet.
                        wait_for(lambda count=number: driver.execute_script("return window.waits.length") >= count)
                        if number % BATCH:
                            case = "next batch is being chosen" if is_busy else "model idle"
                            found[case].append(driver.execute_script("return window.waits.at(-1)"))
            finally:
                server.send_signal(signal.SIGINT)
                server.wait(60)
                server.stdout.close()
    rows = []
    for case, waits in found.items():
        for what, share in (("median", 0.5), ("95th percentile", 0.95), ("99th percentile", 0.99), ("largest", 1.0)):
            rows.append(row("page", case, what, len(waits), float(np.quantile(waits, share)) / 1000))
    return rows


def wait_for(condition: Any) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + 300
    while not condition():
        if time.monotonic() > end:
            raise SystemExit("the page did not go on")
        time.sleep(0.01)


def show(steps: Sequence[Seconds]) -> None:
    """Print what was measured once."""
    print(json.dumps([[round(step.wall, 2), round(step.cpu, 2)] for step in steps]), flush=True)


def least_of(part: str, case: str, steps: Sequence[str], found: Sequence[Sequence[Seconds]]) -> list[dict[str, Any]]:
    """Return a row of the table for each step, of its least times."""
    return [
        row(part, case, step, len(column), min(one.wall for one in column), min(one.cpu for one in column))
        for step, column in zip(steps, zip(*found, strict=True), strict=True)
    ]


def row(part: str, case: str, what: str, repeats: int, wall: float, cpu: float | None = None) -> dict[str, Any]:
    """Return a row of the table."""
    values = part, case, what, repeats, f"{wall:.3f}", "" if cpu is None else f"{cpu:.3f}"
    return dict(zip(COLUMNS, values, strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure one part, and put its rows into the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=("start", "submit", "page"))
    parser.add_argument("--images", type=Path, default=Path("data/cifar10/train"), help="a folder of class folders")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args(arguments)
    if options.part == "submit":
        rows = measure_submit(options.repeats)
    else:
        measure = measure_start if options.part == "start" else measure_page
        rows = measure(options.images.resolve(), options.repeats)
    known = []
    if TABLE.exists():
        with TABLE.open(newline="", encoding="utf-8") as file:
            known = [one for one in csv.DictReader(file) if one["part"] != options.part]
    with TABLE.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows([*known, *rows])
    for one in rows:
        print(" | ".join(str(one[name]) for name in COLUMNS))


if __name__ == "__main__":
    main()
