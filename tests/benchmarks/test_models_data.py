from types import SimpleNamespace

import embeddings
import numpy as np
import pytest

BUNDLED = ("iris", "wine", "cancer", "diabetes", "digits", "digits-images")
GENERATED = ("pima-like", "covtype-like", "moons", "quantiles", "redundant", "blobs")


def rows_of(problem):
    x = np.concatenate([problem.x_pool, problem.x_eval])
    return {row.tobytes() for row in x.reshape(len(x), -1)}


@pytest.mark.parametrize("name", BUNDLED + GENERATED)
def test_parts_are_complete_and_share_no_row(models_study, name):
    dev, test = (models_study.data.load(name, part) for part in ("dev", "test"))
    for problem in (dev, test):
        assert problem.is_image == name.endswith("-images")
        assert problem.x_pool.dtype == problem.x_eval.dtype == (np.uint8 if problem.is_image else np.float32)
        assert problem.x_pool.shape[1:] == problem.x_eval.shape[1:] and np.isfinite(problem.x_pool).all()
        assert len(problem.y_pool) == len(problem.x_pool) and len(problem.y_eval) == len(problem.x_eval) <= 2000
        for y in (problem.y_pool, problem.y_eval):
            assert y.dtype == np.int64 and sorted(set(y.tolist())) == list(range(problem.n_classes))
        own = problem.x_pool.reshape(len(problem.x_pool), -1)
        assert len({row.tobytes() for row in own}) + len(problem.x_eval) >= len(rows_of(problem))
    if name not in ("iris", "wine"):  # these two are shared, as the README says
        assert not rows_of(dev) & rows_of(test)


def test_labels_are_drawn_by_class_and_nested(models_study):
    problem = models_study.data.load("cancer")
    few, many, most = (problem.draw(per_class, 3) for per_class in (2, 10, 100))
    assert np.bincount(problem.y_pool[few]).tolist() == [2, 2]
    assert np.bincount(problem.y_pool[many]).tolist() == [10, 10]
    assert np.bincount(problem.y_pool[most]).tolist() == [(problem.y_pool == 0).sum(), 100]
    assert set(few) <= set(many) <= set(most) and len(set(many)) == len(many)
    assert np.array_equal(few, problem.draw(2, 3)) and not np.array_equal(few, problem.draw(2, 4))


def test_images_and_embeddings_of_a_part_have_the_same_rows(models_study, monkeypatch, tmp_path):
    def numbered(n_rows, first):
        """Return images of four bytes that encode a number."""
        return np.arange(first, first + n_rows, dtype=np.uint32).view(np.uint8).reshape(n_rows, 2, 2, 1)

    n_train, n_test = 20_300, 4_100
    dataset = SimpleNamespace(
        x_train=numbered(n_train, 0), y_train=np.arange(n_train) % 10, x_test=numbered(n_test, n_train),
        y_test=np.arange(n_test) % 10,
    )  # fmt: skip
    monkeypatch.setattr(models_study.data, "load_dataset", lambda name, folder: dataset)
    embeddings.write_parts(
        tmp_path, "mnist", np.arange(n_train)[:, None], dataset.y_train, n_train + np.arange(n_test)[:, None],
        dataset.y_test,
    )  # fmt: skip
    folders = models_study.data.Folders(tmp_path, tmp_path)
    for part in ("dev", "test"):
        images = models_study.data.images("mnist")(part, folders)
        vectors = models_study.data.embedded("mnist")(part, folders)
        for ours, theirs in zip(images[::2], vectors[::2], strict=True):
            assert np.array_equal(np.ascontiguousarray(ours).reshape(-1, 4).view(np.uint32), theirs)
        assert np.array_equal(images[1], vectors[1]) and np.array_equal(images[3], vectors[3])


def test_unknown_names_and_missing_files_are_refused(models_study, tmp_path):
    with pytest.raises(ValueError, match="choose from iris"):
        models_study.data.load("irsi")
    with pytest.raises(ValueError, match="'train'"):
        models_study.data.load("iris", "train")
    with pytest.raises(FileNotFoundError, match=r"embeddings\.py"):
        models_study.data.load("mnist", "dev", embeddings_dir=tmp_path)


def test_prose_leaves_out_words_that_reveal_a_package(models_study):
    words = models_study.documents.prose("Sorts NumPy arrays in place.\n\n    >>> np.sort(x)\n    ... hidden\nDone.")
    assert words == ["sorts", "arrays", "in", "place", "done"]


def test_documents_of_a_file_are_in_only_one_half(models_study, monkeypatch):
    documents = models_study.documents
    monkeypatch.setattr(documents, "CLASSES", ("click", "jinja2"))
    monkeypatch.setattr(documents, "PER_CLASS", 30)
    documents.corpus.cache_clear()
    try:
        (first, y_first), (second, y_second) = documents.corpus(0), documents.corpus(1)
    finally:
        documents.corpus.cache_clear()
    assert not set(documents.files("click", 0)) & set(documents.files("click", 1))
    for texts, y in ((first, y_first), (second, y_second)):
        assert len(texts) == len(set(texts)) == len(y) and 10 < np.bincount(y)[0] <= 30
        assert all(20 <= len(text.split()) <= 120 for text in texts)
    x, x_new = documents.by_words(first, second)
    assert x.shape[1] == x_new.shape[1] and len(x) == len(first) and len(x_new) == len(second)
    with pytest.raises(ImportError, match="install no_such_package"):
        documents.files("no_such_package", 0)
