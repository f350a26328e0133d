"""Write scikit-learn's bundled tables as datasets for the study; MNIST and CIFAR-10 are written by benchmarks/autoal.

python benchmarks/selectors/data.py --out study-data
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import sklearn.datasets

TABLES = {"digits8": "digits", "breast-cancer": "breast_cancer", "wine": "wine"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("study-data"))
    out = parser.parse_args(arguments).out
    out.mkdir(parents=True, exist_ok=True)
    for name, source in TABLES.items():
        x, y = getattr(sklearn.datasets, f"load_{source}")(return_X_y=True)
        np.savez(out / f"{name}.npz", x=x.astype(np.float32), y=y)


if __name__ == "__main__":
    main()
