"""Generates problems. Each function takes the number of rows and the part, and returns x (N, D) and y (N,).

Tables with fixed rules draw different rows for each part; scikit-learn's generators draw a different rule too.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepal_autoal.numerics.random_streams import numpy_stream, stream_seed

Table = tuple[NDArray[np.float64], NDArray[np.int64]]


def random_state(name: str, part: str) -> int:
    """Return a seed in scikit-learn's range."""
    return stream_seed("model benchmark", name, part) % 2**32


def moons(n_rows: int, part: str) -> Table:
    """Two half circles with noise."""
    from sklearn.datasets import make_moons

    return make_moons(n_rows, noise=0.2, random_state=random_state("moons", part))


def quantiles(n_rows: int, part: str) -> Table:
    """Three shells of a normal distribution in five dimensions: not linearly separable at all."""
    from sklearn.datasets import make_gaussian_quantiles

    x, y = make_gaussian_quantiles(
        n_samples=n_rows, n_features=5, n_classes=3, shuffle=True, random_state=random_state("quantiles", part)
    )
    return x, y


def redundant(n_rows: int, part: str) -> Table:
    """Four classes of two clusters each; of 40 features 8 are informative, 20 combine them, 12 are noise."""
    from sklearn.datasets import make_classification

    return make_classification(
        n_rows, n_features=40, n_informative=8, n_redundant=20, n_classes=4, n_clusters_per_class=2, class_sep=1.5,
        flip_y=0.02, random_state=random_state("redundant", part),
    )  # fmt: skip


def blobs(n_rows: int, part: str) -> Table:
    """Six normal clouds in 200 dimensions whose centers are in an eight-dimensional subspace."""
    rng = numpy_stream("model benchmark", "blobs", part)
    n_classes, dim, n_informative = 6, 200, 8
    directions = np.linalg.qr(rng.normal(size=(dim, n_informative)))[0]
    centers = 1.6 * rng.normal(size=(n_classes, n_informative)) @ directions.T
    y = rng.integers(n_classes, size=n_rows)
    return centers[y] + rng.normal(size=(n_rows, dim)), y


def pima_like(n_rows: int, part: str) -> Table:
    """Diabetes of patients by eight measurements in different units, like the Pima table (UCI, 1988).

    Measurements are correlated as in that table: heavier people have thicker skin, higher pressure and more insulin.
    Insulin and skin thickness are 0 where they were not measured. The risk of diabetes rises steeply above a glucose of
    about 125 mg/dl and a BMI of about 30, more so for both together, and with age only up to about 55.
    """
    rng = numpy_stream("model benchmark", "pima-like", part)
    age = 21 + rng.gamma(1.1, 11, n_rows).clip(0, 60)
    bmi = rng.normal(32, 6.5, n_rows).clip(18, 65)
    pregnancies = rng.poisson(0.15 * (age - 18)).clip(0, 17)
    glucose = (105 + 0.35 * (age - 33) + 0.6 * (bmi - 32) + rng.gamma(3, 9, n_rows)).clip(50, 200)
    pressure = (69 + 0.25 * (age - 33) + 0.4 * (bmi - 32) + rng.normal(0, 11, n_rows)).clip(30, 120)
    skin = (29 + 1.0 * (bmi - 32) + rng.normal(0, 8, n_rows)).clip(7, 99) * (rng.random(n_rows) > 0.3)
    insulin = np.exp(4.7 + 0.013 * (glucose - 120) + rng.normal(0, 0.55, n_rows)) * (rng.random(n_rows) > 0.48)
    pedigree = np.exp(rng.normal(-1.0, 0.6, n_rows))
    high_glucose, high_bmi = expit((glucose - 127) / 7), expit((bmi - 30) / 2)
    risk = (
        -5.2 + 3.0 * high_glucose + 1.3 * high_bmi + 3.0 * high_glucose * high_bmi + 1.2 * np.log1p(pedigree)
        + 0.05 * np.minimum(age - 21, 34) - 0.06 * (age - 55).clip(0)
    )  # fmt: skip
    x = np.column_stack([pregnancies, glucose, pressure, skin, insulin, bmi, pedigree, age])
    return x.round(3), (rng.random(n_rows) < expit(1.4 * risk)).astype(np.int64)


def covtype_like(n_rows: int, part: str) -> Table:
    """Forest cover by ten measurements in meters, degrees and brightness, area (4 flags) and soil (16 flags).

    The rule is a tree over elevation, area, soil, moisture and exposure, similar to what separates the types of the
    Covertype table (UCI, 1998); a tenth of the rows have the label of another type that grows at that elevation.
    """
    rng = numpy_stream("model benchmark", "covtype-like", part)
    area = rng.choice(4, p=[0.4, 0.1, 0.4, 0.1], size=n_rows)
    elevation = (np.array([2950, 3150, 2850, 2350])[area] + rng.normal(0, 230, n_rows)).clip(1860, 3860)
    aspect = rng.uniform(0, 360, n_rows)
    slope = rng.gamma(3.5, 4, n_rows).clip(0, 60)
    water = rng.gamma(1.3, 200, n_rows)
    drop = 0.2 * water * rng.normal(0.5, 0.8, n_rows)
    road, fire = rng.gamma(2.0, 1100, n_rows).clip(0, 7000), rng.gamma(2.0, 950, n_rows).clip(0, 7000)
    exposure = np.sin(np.radians(slope)) * np.cos(np.radians(aspect - 180))  # above 0 on slopes to the south
    noon = (220 + 60 * exposure + rng.normal(0, 6, n_rows)).clip(0, 254)
    morning = (212 + 70 * np.sin(np.radians(slope)) * np.sin(np.radians(aspect)) + rng.normal(0, 6, n_rows)).clip(
        0, 254
    )
    afternoon = (noon - morning + 140 + rng.normal(0, 8, n_rows)).clip(0, 254)
    soil = np.clip((elevation - 1900) / 130 + rng.normal(0, 2.0, n_rows), 0, 15).astype(int)
    is_stony = np.isin(soil, (2, 5, 9, 12))
    is_wet = (water < 120) & (drop < 25)
    high = np.where((area == 1) | is_stony | (elevation > 3420), 4, 0)
    middle = np.where(is_wet & (exposure < 0.05), 0, np.where((exposure > 0.14) & (soil < 8), 3, 1))
    low = np.where(area == 3, np.where(is_wet, 3, 2), np.where(is_stony, 2, np.where(exposure > 0.1, 2, 1)))
    y = np.where(elevation > 3150, high, np.where(elevation > 2650, middle, low))
    zones = np.where(elevation > 3150, 0, np.where(elevation > 2650, 1, 2))
    grows_too = np.array([[0, 1, 4], [0, 1, 3], [1, 2, 3]])[zones, rng.integers(3, size=n_rows)]
    y = np.where(rng.random(n_rows) < 0.1, grows_too, y)
    measured = np.column_stack([elevation, aspect, slope, water, drop, road, morning, noon, afternoon, fire]).round()
    return np.hstack([measured, np.eye(4)[area], np.eye(16)[soil]]), y.astype(np.int64)


def expit(values: NDArray[Any]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-values))
