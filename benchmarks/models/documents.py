"""Collects real text without a download: docstrings of installed packages, to be classified by package.

Docstrings are read from source files without importing anything. Words that reveal the package are removed: the names
of all the packages, and examples (lines that start with ``>>>`` or ``...``). Texts depend on the packages' versions:
compare results of one machine only.
"""

import ast
import importlib.util
import re
import sysconfig
import warnings
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepal_autoal.numerics.random_streams import numpy_stream

# The toolkit's requirements and theirs; the standard library is the first class.
PACKAGES = ("numpy", "scipy", "sklearn", "torch", "matplotlib", "sympy", "networkx")
STANDARD = "python"
CLASSES = (STANDARD, *PACKAGES)
DISTRIBUTIONS = {"sklearn": "scikit-learn"}
PER_CLASS = 650
FEWEST_WORDS, MOST_WORDS = 20, 120
LEFT_OUT = {"tests", "testing", "test", "site-packages", "__pycache__", "idlelib", "lib2to3", "_inductor"}
GIVEAWAYS = {*PACKAGES, "np", "scikit", "learn", "pytorch", "pyplot", "plt", "mpl", "nx", "python", "sp", "scikitlearn"}
WORD = re.compile(r"[a-z]{2,}")


@lru_cache(maxsize=2)
def corpus(half: int) -> tuple[list[str], NDArray[np.int64]]:
    """Return documents and their classes; each file is in only one half.

    Args:
        half: 0 or 1.

    Returns:
        At most `PER_CLASS` texts of each class, without exact duplicates, and classes int64 (N,).
    """
    found: list[str] = []
    classes: list[int] = []
    seen: set[str] = set()
    for number, name in enumerate(CLASSES):
        n_before = len(found)
        for path in files(name, half):
            for text in texts(path):
                if text not in seen and len(found) - n_before < PER_CLASS:
                    seen.add(text)
                    found.append(text)
                    classes.append(number)
            if len(found) - n_before >= PER_CLASS:
                break
    return found, np.array(classes, dtype=np.int64)


def files(name: str, half: int) -> list[Path]:
    """Return one half of a package's source files: every second one in a random order that depends on the package."""
    if name == STANDARD:
        root = Path(sysconfig.get_path("stdlib"))
    else:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ImportError(f"the text data sets are docstrings of {', '.join(PACKAGES)}: install {name}")
        root = Path(next(iter(spec.submodule_search_locations)))
    everything = sorted(
        path for path in root.rglob("*.py") if not LEFT_OUT.intersection(path.relative_to(root).parts[:-1])
    )
    order = numpy_stream("model benchmark", "files", name).permutation(len(everything))
    return [everything[row] for row in order[half::2]]


def texts(path: Path) -> Iterator[str]:
    """Yield the words of each docstring of a file, in lower case and separated by spaces."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes in the parsed files
            tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, UnicodeDecodeError):  # templates and samples of bad source
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            words = prose(ast.get_docstring(node) or "")
            if len(words) >= FEWEST_WORDS:
                yield " ".join(words[:MOST_WORDS])


def prose(docstring: str) -> list[str]:
    """Return the words of a docstring without examples and without words that reveal its package."""
    lines = [line for line in docstring.splitlines() if not line.lstrip().startswith((">>>", "..."))]
    return [word for word in WORD.findall("\n".join(lines).lower()) if word not in GIVEAWAYS]


def by_words(pool: list[str], others: list[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return TF-IDF of the pool's 300 most frequent words, float32 (N, 300), of the pool and of others."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    vectorizer = TfidfVectorizer(max_features=300, stop_words="english", sublinear_tf=True, dtype=np.float32)
    return vectorizer.fit_transform(pool).toarray(), vectorizer.transform(others).toarray()


def by_topics(pool: list[str], others: list[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return TF-IDF of the pool's words reduced to 100 dimensions (latent semantic analysis), float32 (N, 100)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline

    vectorizer = TfidfVectorizer(max_features=10_000, stop_words="english", sublinear_tf=True)
    model = make_pipeline(vectorizer, TruncatedSVD(100, random_state=0))
    return model.fit_transform(pool).astype(np.float32), model.transform(others).astype(np.float32)


def versions() -> dict[str, str]:
    """Return the versions of the packages that the docstrings come from."""
    return {name: version(DISTRIBUTIONS.get(name, name)) for name in PACKAGES}
