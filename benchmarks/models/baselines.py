"""Defines what a newcomer would write: scikit-learn's classifiers and a plain PyTorch loop, without the toolkit.

Each method takes labeled rows and returns a fitted classifier. Vectors are scaled first by statistics of the whole
pool, which need no labels: all features by one number, or each by its own (`StandardScaler`). One number only changes
the unit of distances, to one in which scikit-learn's solvers work.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV
from sklearn.ensemble import RandomForestClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC
from torch import nn

MOST_FOLDS = 5
STEPS = 300
# A classifier takes rows in the form it was fitted on, and returns classes int64 (n,) and probabilities (n, C) or None.
Answer = tuple[NDArray[Any], NDArray[Any] | None]
Classifier = Callable[[NDArray[Any]], Answer]
# Takes labeled rows, their classes and a seed, and returns the fitted classifier.
Fit = Callable[[NDArray[Any], NDArray[np.int64], int], Classifier]
# Takes the pool's rows, and returns a function that scales rows.
Scaling = Callable[[NDArray[Any]], Callable[[NDArray[Any]], NDArray[np.float32]]]


@dataclass(frozen=True)
class Baseline:
    """A method with its scaling.

    Attributes:
        fit: The method.
        scaling: The scaling of vectors; the bytes of images are divided by 255.
        takes_images: Whether images stay images, (n, C, H, W), instead of being flattened.
    """

    fit: Fit
    scaling: Scaling
    takes_images: bool = False

    def preparation(self, x_pool: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
        """Return the function that converts raw rows to the method's form."""
        if x_pool.ndim == 2:
            return self.scaling(x_pool)
        if self.takes_images:
            return channels_first
        if self.scaling is one_scale:
            return flattened
        scaled = self.scaling(flattened(x_pool))
        return lambda x: scaled(flattened(x))


def channels_first(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images (n, H, W, C) as (n, C, H, W) in [0, 1]."""
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def flattened(x: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return images (n, H, W, C) as vectors in [0, 1]."""
    return x.reshape(len(x), -1).astype(np.float32) / 255


def one_scale(x_pool: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Center features and divide all by the same number, which makes their mean variance 1."""
    mean = x_pool.mean(axis=0, dtype=np.float64)
    scale = np.sqrt(x_pool.var(axis=0, dtype=np.float64).mean()) or 1.0
    return lambda x: ((x - mean) / scale).astype(np.float32)


def standardized(x_pool: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Center each feature and divide it by its own standard deviation."""
    scaler = StandardScaler().fit(x_pool)
    return lambda x: scaler.transform(x).astype(np.float32)


def unchanged(x_pool: NDArray[Any]) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Leave vectors as they are."""
    return lambda x: x.astype(np.float32)


def logistic(x: NDArray[Any], y: NDArray[np.int64], seed: int) -> Classifier:
    """Logistic regression, with C by cross-validation if each class has two rows, otherwise 1."""
    folds = n_folds(y)
    if folds < 2:
        model = LogisticRegression(C=1.0, max_iter=500)
    else:
        model = LogisticRegressionCV(
            Cs=10, cv=folds, scoring="neg_log_loss", max_iter=500, l1_ratios=(0.0,), use_legacy_attributes=False
        )
    return quietly_fitted(model, x, y)


def svc(x: NDArray[Any], y: NDArray[np.int64], seed: int) -> Classifier:
    """RBF support vectors with probabilities by Platt's sigmoid on held-out folds; none if a class has one row.

    Classes are predicted by the support vectors, which are right more often than the probabilities' maxima.
    """
    folds = n_folds(y)
    model = SVC(C=10.0, gamma="scale")
    if folds < 2:
        model.fit(x, y)
        return lambda rows: (model.predict(rows), None)
    calibrated = CalibratedClassifierCV(model, ensemble=False, cv=folds).fit(x, y)
    whole = calibrated.calibrated_classifiers_[0].estimator  # fitted on all rows
    return lambda rows: (whole.predict(rows), calibrated.predict_proba(rows))


def forest(x: NDArray[Any], y: NDArray[np.int64], seed: int) -> Classifier:
    """300 trees."""
    return quietly_fitted(RandomForestClassifier(300, random_state=seed), x, y)


def neighbors(x: NDArray[Any], y: NDArray[np.int64], seed: int) -> Classifier:
    """The nearest neighbor for up to three rows a class, otherwise the five nearest."""
    return quietly_fitted(KNeighborsClassifier(1 if np.bincount(y).min() <= 3 else 5), x, y)


def n_folds(y: NDArray[np.int64]) -> int:
    return min(MOST_FOLDS, int(np.bincount(y).min()))


def quietly_fitted(model: Any, x: NDArray[Any], y: NDArray[np.int64]) -> Classifier:
    with warnings.catch_warnings():
        # The largest C does not converge on separable rows; cross-validation decides whether it is any good.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(x, y)

    def answer(rows: NDArray[Any]) -> Answer:
        probabilities = model.predict_proba(rows)
        return probabilities.argmax(axis=1), probabilities

    return answer


def plain_torch(x: NDArray[Any], y: NDArray[np.int64], seed: int) -> Classifier:
    """A small network trained by Adam for a fixed number of steps on up to 64 rows."""
    torch.manual_seed(seed)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)
    n_classes = int(y.max()) + 1
    network = small_cnn(*x.shape[1:], n_classes) if x.ndim == 4 else small_mlp(x.shape[1], n_classes)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    for _ in range(STEPS):
        rows = torch.randint(len(inputs), (min(64, len(inputs)),))
        loss = nn.functional.cross_entropy(network(inputs[rows]), targets[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.inference_mode()
    def answer(new: NDArray[Any]) -> Answer:
        network.eval()
        outputs = torch.cat([network(part).softmax(dim=1) for part in torch.from_numpy(new).split(256)])
        return outputs.argmax(dim=1).numpy(), outputs.numpy()

    return answer


def small_mlp(n_features: int, n_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Linear(n_features, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, n_classes)
    )  # fmt: skip


def small_cnn(channels: int, height: int, width: int, n_classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * (height // 4) * (width // 4), 128), nn.ReLU(), nn.Linear(128, n_classes),
    )  # fmt: skip


BASELINES = {
    "sk-logistic": Baseline(logistic, one_scale),
    "sk-logistic-standard": Baseline(logistic, standardized),
    "sk-svc": Baseline(svc, one_scale),
    "sk-svc-standard": Baseline(svc, standardized),
    "sk-knn": Baseline(neighbors, one_scale),
    "sk-knn-standard": Baseline(neighbors, standardized),
    "sk-forest": Baseline(forest, unchanged),
    "plain-torch": Baseline(plain_torch, standardized, takes_images=True),
}
SKLEARN = tuple(name for name in BASELINES if name.startswith("sk-"))
