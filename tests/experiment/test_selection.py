"""`select`: the engine's own choices from given outputs, and what it refuses."""

import random
import re
from pathlib import Path

import numpy as np
import pandas
import pytest
import torch

from deepal_autoal import (
    ActiveLearner,
    DeepALError,
    InputError,
    QueryError,
    Strategy,
    create_strategy,
    plugin_host,
    select,
)
from tests.conftest import blobs

N, D, C = 120, 6, 3
LABELED = np.sort(np.random.default_rng(3).permutation(N)[:18])


@pytest.fixture(scope="module")
def outputs():
    """Embeddings, probabilities and labels, as a linear model of 18 labels has them."""
    x, y = blobs(N)
    learner = trained("random", x, y)
    logits, embeddings = learner.fit().sweep(learner._inputs, np.arange(N))
    return embeddings.numpy(), logits.softmax(1).numpy(), y


def trained(strategy, x, y):
    learner = ActiveLearner(x, strategy, C, model="linear", device="cpu", seed=5)
    learner.tell(LABELED, y[LABELED])
    return learner


class Look(Strategy):
    """Keeps the context, and returns the first candidates."""

    requires = frozenset({"embeddings"})

    def query(self, context, batch_size):
        self.context, self.embeddings = context, context.candidates.embeddings()
        return context.candidates.indices[:batch_size]


@pytest.mark.parametrize(
    "name",
    ["random", "entropy", "margin", "kmeans", "coreset", "badge", "typiclust", "maxherding", "probcover", "galaxy",
     "dbal", "bait", "dpp", "cluster-margin", "power[score=entropy]",
     "uherding[temperature=1]"],
)  # fmt: skip
def test_the_same_samples_in_the_same_order_as_a_learner(outputs, name):
    embeddings, probabilities, y = outputs
    expected = trained(create_strategy(name), *blobs(N)).ask(9)
    chosen = select(name, 9, embeddings, probabilities, LABELED, y[LABELED], 5, device="cpu")
    assert chosen.dtype == np.int64 and chosen.tolist() == expected.tolist()


@pytest.mark.parametrize("name", ["vote", "tailor", "albl"])
def test_selectors_as_a_learner_has_them(outputs, name):
    embeddings, probabilities, y = outputs
    candidates = ["entropy", "margin", "kmeans", "badge"]
    expected = trained(create_strategy(name, candidates), *blobs(N)).ask(9)
    given = {"candidates": candidates, "device": "cpu"}
    assert select(name, 9, *outputs[:2], LABELED, y[LABELED], 5, **given).tolist() == expected.tolist()
    with pytest.raises(InputError, match=r"--candidates kmeans,coreset"):
        select("vote", 3, embeddings=np.eye(9), candidates="bald,kmeans,margin,coreset", device="cpu")
    with pytest.raises(InputError, match=r"requires mc_dropout for bald, .* --candidates entropy,margin,leastconf,km"):
        select(name, 9, embeddings, probabilities, LABELED, y[LABELED])


def test_every_strategy_chooses_or_says_in_one_line_what_it_lacks(outputs):
    n_chosen = 0
    for entry in plugin_host().strategies.entries():
        try:
            chosen = select(entry.name, 4, *outputs[:2])
        except DeepALError as error:
            assert error.__cause__ is None and entry.name in str(error), error
        else:
            assert len(set(chosen)) == 4
            n_chosen += 1
    assert n_chosen > 20


# Strategies that need more than outputs by default, and what does without.
SUFFICIENT = {"power": "power[score=entropy]"} | {
    name: f"{name}[candidates=[entropy,margin,kmeans,badge]]"
    for name in ("albl", "random-candidate", "refine", "round-robin", "tailor", "vote")
}


@pytest.mark.parametrize("name", plugin_host().strategies.names())
def test_the_order_of_the_labeled_rows_does_not_matter(outputs, name):
    embeddings, probabilities, y = outputs

    def chosen(rows):
        written = SUFFICIENT.get(name, name)
        return select(written, 9, embeddings, probabilities, rows, y[rows], 5, device="cpu").tolist()

    try:
        expected = chosen(LABELED)
    except DeepALError as error:
        pytest.skip(str(error))
    assert chosen(np.random.default_rng(0).permutation(LABELED)) == chosen(LABELED[::-1]) == expected


def test_what_is_trained_is_refused_and_what_is_not_works(outputs):
    embeddings, probabilities, y = outputs
    given = (4, embeddings, probabilities, LABELED, y[LABELED])
    with pytest.raises(QueryError, match=r"'autoal' .* needs models that are trained during the query"):
        select("autoal", *given, candidates="margin,kmeans")
    with pytest.raises(QueryError, match="needs models that are trained"):
        select(strategy_of(lambda context: context.fit(context.labeled.indices, "mine")), *given)
    with pytest.raises(InputError, match="changes how a model is trained"):
        select("ceal", *given)


def strategy_of(function):
    class Made(Strategy):
        def query(self, context, batch_size):
            function(context)
            return context.candidates.indices[:batch_size]

    return Made


@pytest.mark.parametrize(
    "use, message",
    [
        (lambda context: context.candidates.inputs(), "needs the samples themselves"),
        (lambda context: context.view_of(np.zeros((2, 3))), "needs the samples themselves"),
        (lambda context: context.new_model("x"), "cannot build"),
        (lambda context: context.candidates.mc_probabilities(2), "needs passes through the model"),
        (lambda context: context.candidates.shared_mc_probabilities(2), "needs passes through the model"),
        (lambda context: context.candidates.ensemble_probabilities(2), "needs models that are trained"),
        (lambda context: context.model.module(torch.zeros(1, 3)), "needs passes through the model"),
        (lambda context: context.candidates.probabilities(), "give --probabilities"),
        (lambda context: context.n_classes, "number of classes is needed"),
        (lambda context: context.labeled.labels, "labels are needed"),
        (lambda context: context.rebuild(candidates=[50]).labeled.labels, "labels are needed"),
    ],
)
def test_what_a_strategy_does_not_declare_is_refused_in_its_name(outputs, use, message):
    with pytest.raises(QueryError, match=f"'Made'.*{message}") as caught:
        select(strategy_of(use), 2, outputs[0], labeled=[0, 1])
    assert caught.value.__cause__ is None


def test_what_is_required_must_be_given(outputs):
    embeddings, probabilities, _ = outputs
    for name, given, message in (
        ("margin", {"embeddings": embeddings}, "requires probabilities: give --probabilities"),
        ("kmeans", {"probabilities": probabilities}, "requires embeddings: give --embeddings"),
        ("badge", {"probabilities": probabilities}, "computed from probabilities and embeddings: give --embeddings"),
        ("bald", {"embeddings": embeddings, "probabilities": probabilities}, "requires mc_dropout, .*choose another"),
        ("random", {}, "give --embeddings, --probabilities or both"),
    ):
        with pytest.raises(InputError, match=message):
            select(name, 3, **given)


def test_candidates_of_a_set_are_left_out(outputs, caplog):
    chosen = select("vote", 3, *outputs[:2], candidates="all-cheap")
    assert len(chosen) == 3 and "they require mc_dropout, but outputs alone do not give that" in caplog.text


def test_uncalibrated_probabilities_are_announced(outputs, caplog):
    embeddings, probabilities, _ = outputs
    chosen = select("uherding", 5, embeddings, probabilities, LABELED, seed=5)
    assert "they are taken as they are" in caplog.text
    expected = select("uherding", 5, embeddings, probabilities, LABELED, seed=5, options={"temperature": 1})
    assert chosen.tolist() == expected.tolist()


def test_a_function_may_need_only_what_is_given(outputs):
    _, probabilities, _ = outputs
    chosen = select(lambda context: -context.candidates.probabilities().amax(dim=1), 5, probabilities=probabilities)
    assert chosen.tolist() == select("leastconf", 5, probabilities=probabilities).tolist()
    assert set(chosen) == set(np.argsort(probabilities.max(1))[:5])


def test_forms_of_outputs_and_of_labeled_rows(outputs):
    embeddings, probabilities, y = outputs
    mask = np.zeros(N, dtype=bool)
    mask[LABELED] = True
    rows = np.sort(LABELED)

    def chosen(z, p, labeled, labels):
        return select("galaxy", 6, z, p, labeled, labels).tolist()

    expected = chosen(embeddings, probabilities, rows, y[rows])
    wide = probabilities.astype(np.float64)
    frame = pandas.DataFrame(probabilities, columns=["b", "a", "c"])
    names = np.array(["b", "a", "c"])
    for p, labeled, labels in (
        (torch.tensor(probabilities), torch.tensor(rows), torch.tensor(y[rows])),
        (probabilities.tolist(), rows.tolist(), y[rows].tolist()),
        (wide.astype(">f8"), mask, y),
        (np.asfortranarray(wide), mask, y[rows]),
        (frame, rows, names[y[rows]]),
        (frame, rows, list(names[y[rows]])),
        (frame, rows, y[rows].astype(str)),
        (pandas.DataFrame(probabilities), rows, pandas.Series(y[rows].astype(float))),
    ):
        assert chosen(embeddings, p, labeled, labels) == expected
    assert chosen(None, frame[["a", "b", "c"]], rows, names[y[rows]]) == chosen(
        None, probabilities[:, [1, 0, 2]], rows, np.array([1, 0, 2])[y[rows]]
    )


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_files_of_any_kind_hold_the_same(outputs, dtype, tmp_path):
    embeddings, probabilities = (array.astype(dtype) for array in outputs[:2])
    expected = select("badge", 6, embeddings, probabilities).tolist()
    np.save(tmp_path / "z.npy", embeddings)
    np.save(tmp_path / "p.npy", np.asfortranarray(probabilities))
    np.savez(tmp_path / "one.npz", embeddings)
    np.savez_compressed(tmp_path / "x.npz", x=embeddings, y=outputs[2])
    pandas.DataFrame(embeddings).to_csv(tmp_path / "plain.csv", index=False)
    pandas.DataFrame(embeddings).add_prefix("f").to_csv(tmp_path / "named.csv", index=False)
    np.savetxt(tmp_path / "bare.csv", embeddings, "%.17e", ",")
    np.savetxt(tmp_path / "semicolons.csv", embeddings, "%.17e", ";")
    for name in ("z.npy", "one.npz", "x.npz", "plain.csv", "named.csv", "bare.csv", "semicolons.csv"):
        assert select("badge", 6, tmp_path / name, str(tmp_path / "p.npy")).tolist() == expected, name


def test_labeled_rows_with_semicolons_objects_and_nothing_left(outputs, tmp_path):
    embeddings, probabilities, _ = outputs
    expected = select("typiclust", 4, embeddings, probabilities, [3, 5], [1, 0]).tolist()
    for mark in ",;\t":
        (tmp_path / "known.csv").write_text(f"index{mark}label\n3{mark}1\n5{mark}0\n")
        assert select("typiclust", 4, embeddings, probabilities, tmp_path / "known.csv").tolist() == expected
    with pytest.raises(InputError, match="all rows are labeled; there is nothing left to choose"):
        select("margin", 3, probabilities=probabilities, labeled=np.arange(len(probabilities)))
    objects = np.array([[1.0, "a"]], dtype=object)
    np.save(tmp_path / "o.npy", objects)
    np.savez(tmp_path / "o.npz", objects)
    for name in ("o.npy", "o.npz"):
        with pytest.raises(InputError, match=r"holds Python objects, not numbers.*: save "):
            select("kmeans", 1, tmp_path / name)


def test_a_first_line_that_may_be_names_or_a_row(tmp_path):
    (tmp_path / "p.csv").write_text("0,1\n1,0\n0,1\n")
    with pytest.raises(InputError, match=r"its first line, 0,1, may be names or a row"):
        select("margin", 1, probabilities=tmp_path / "p.csv")
    (tmp_path / "p.csv").write_text("0,1\n0.7,0.3\n0.6,0.4\n")
    assert select("margin", 1, probabilities=tmp_path / "p.csv").tolist() == [1]


def test_a_parquet_is_read_by_pandas(outputs, tmp_path, monkeypatch):
    embeddings = outputs[0]
    monkeypatch.setattr(pandas, "read_parquet", lambda path: pandas.DataFrame(embeddings).add_prefix("f"))
    (tmp_path / "z.parquet").write_bytes(b"PAR1")
    chosen = select("kmeans", 5, tmp_path / "z.parquet")
    assert chosen.tolist() == select("kmeans", 5, embeddings).tolist()


def test_views_are_in_float32_and_finite(outputs):
    embeddings, _, y = outputs
    for dtype in ("float16", "float32", "float64"):
        strategy, certain = Look(), np.eye(C, dtype=dtype)[y]
        select(strategy, 2, embeddings.astype(dtype), certain, LABELED)
        view = strategy.context.candidates
        assert torch.equal(view.embeddings(), torch.tensor(embeddings.astype(dtype)[view.indices]).float())
        assert torch.allclose(view.probabilities(), torch.tensor(certain[view.indices]).float(), atol=1e-6)
        assert view.logits().dtype == torch.float32 and view.log_probabilities().isfinite().all()


def mapped(tensor, path):
    """Return whether a tensor's values are in memory that maps a file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        if line.endswith(str(path)):
            start, end = (int(part, 16) for part in line.split()[0].split("-"))
            if start <= tensor.data_ptr() < end:
                return True
    return False


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_a_large_file_is_mapped_and_not_written_to(tmp_path):
    path = tmp_path / "z.npy"
    array = np.lib.format.open_memmap(path, "w+", np.float32, (100_000, 64))
    array[:, 0] = np.arange(len(array))
    array.flush()
    seen = []

    class Write(Look):
        def query(self, context, batch_size):
            found = context.candidates.embeddings()
            seen.append((mapped(found, path), len(found)))
            found[0] = 1.0
            return context.candidates.indices[:batch_size]

    for labeled in (None, np.arange(500), np.arange(99_000, 100_000)):
        with pytest.raises(QueryError, match=r"changed embeddings\(\) in place"):
            select(Write, 3, path, labeled=labeled)
    assert seen == [(True, 100_000), (True, 99_500), (True, 99_000)]
    strategy = Look()
    select(strategy, 3, path, labeled=[7])
    assert not mapped(strategy.embeddings, path) and strategy.embeddings[7, 0] == 8
    assert np.array_equal(np.load(path)[:3, 0], [0, 1, 2])
    mine = np.load(path, mmap_mode="r")
    with pytest.raises(QueryError, match="in place"):
        select(Write, 3, mine)
    assert seen[-1] == (False, 100_000)


def test_the_callers_arrays_and_generators_stay(outputs):
    embeddings, probabilities, y = (array.copy() for array in outputs)
    for array in (embeddings, probabilities, y):
        array.setflags(write=False)
    before = random.getstate(), str(np.random.get_state()), torch.get_rng_state()
    first = select("badge", 8, embeddings, probabilities, LABELED, y[LABELED])
    assert (before[0], before[1]) == (random.getstate(), str(np.random.get_state()))
    assert torch.equal(before[2], torch.get_rng_state())
    assert first.tolist() == select("badge", 8, embeddings, probabilities, LABELED, y[LABELED]).tolist()
    assert first.tolist() != select("badge", 8, embeddings, probabilities, LABELED, y[LABELED], seed=1).tolist()
    first[0] = 3  # the caller's own


def test_memory_is_the_instances(outputs, caplog):
    embeddings, probabilities, y = outputs
    given = (4, embeddings, probabilities)
    select("tailor", *given, LABELED, y[LABELED], candidates="margin,kmeans")
    assert caplog.text.count("remembers things from round to round") == 1
    strategy = create_strategy("tailor", ["margin", "kmeans"])
    first = select(strategy, *given, LABELED, y[LABELED])
    assert len(strategy.state_dict()["tailor"]["waiting"]) == 4
    rows = np.concatenate([LABELED, first])
    select(strategy, *given, rows, y[rows])
    assert strategy.state_dict()["tailor"]["counts"].sum() > 6  # one each, and four more
    before = strategy.state_dict()["tailor"]["counts"]
    with pytest.raises(DeepALError):
        select(strategy, *given, rows)  # without labels
    assert np.array_equal(strategy.state_dict()["tailor"]["counts"], before)
    assert caplog.text.count("remembers") == 1


def test_the_number_of_classes(outputs):
    embeddings, probabilities, _ = outputs
    n_classes = []

    def scores(context):
        n_classes.append(context.n_classes)
        return context.candidates.embeddings()[:, 0]

    select(scores, 2, embeddings, probabilities)
    select(scores, 2, embeddings, labeled=[0, 1], labels=[0, 4])
    select(scores, 2, embeddings, labeled=[0, 1, 2], labels=["dog", "cat", "cat"])
    select(scores, 2, embeddings, labeled=[0], labels=["cat"])
    select(scores, 2, embeddings, labeled=[0], labels=["cat"], n_classes=7)
    select(scores, 2, embeddings, n_classes=4)
    assert n_classes == [3, 5, 2, 2, 7, 4]
    assert len(select("probcover", 3, embeddings, n_classes=3)) == 3
    with pytest.raises(QueryError, match="number of classes is needed"):
        select("probcover", 3, embeddings)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"batch_size": 0}, "batch size 0: give 1 to 102, the number of rows without a label"),
        ({"batch_size": 103}, "batch size 103: give 1 to 102"),
        ({"batch_size": 2.0}, "batch_size must be a whole number"),
        ({"seed": -1}, "seed -1"),
        ({"labeled": np.arange(N), "labels": None}, "all rows are labeled"),
        ({"labeled": [0, 1, 0], "labels": None}, "row 0 is given twice"),
        ({"labeled": [0, N], "labels": None}, f"there is no row {N}; there are {N}, counted from 0"),
        ({"labeled": [-1], "labels": None}, "there is no row -1"),
        ({"labeled": [2**63], "labels": None}, "there is no row 9223372036854775808"),
        ({"labeled": [0.5], "labels": None}, "give row numbers, or a mask"),
        ({"labeled": np.ones(5, bool), "labels": None}, f"a mask of 5 rows; there are {N}"),
        ({"labeled": [0, 1], "labels": [0]}, "2 labeled rows but 1 labels"),
        ({"labeled": None}, "not of which rows"),
        ({"labeled": [0], "labels": [3]}, r"label 3 is no class; they are numbered 0 \.\. 2"),
        ({"labeled": [0], "labels": [-1]}, "label -1 is no class"),
        ({"labeled": [0], "labels": [0.5]}, "label 0.5 is no class"),
        ({"labeled": [0, 7], "labels": [1.0, np.nan]}, "the label of row 7 is missing"),
        ({"labeled": [0, 7], "labels": ["a", None]}, "the label of row 7 is missing"),
        ({"labeled": [0], "labels": ["cat"]}, "label 'cat' is a name, and the columns of probabilities have none"),
        ({"labeled": [0], "labels": [[1]]}, "give a class for each labeled row"),
        ({"n_classes": 4}, "n_classes is 4, but probabilities have 3 columns"),
        ({"n_classes": 1}, "at least two"),
        ({"probabilities": np.full((N - 1, 3), 1 / 3)}, f"{N} rows and probabilities {N - 1}"),
        ({"probabilities": np.full((N, 3), 0.5)}, r"row 0 sums to 1.5, not 1: .*of logits, their softmax"),
        ({"probabilities": np.tile([2.0, -1.0, 0.0], (N, 1))}, "holds -1 in row 0, outside 0 to 1: .*softmax"),
        ({"probabilities": np.tile([2.0, 1.0, 0.0], (N, 1))}, "holds 2 in row 0, outside 0 to 1"),
        ({"probabilities": np.tile([np.inf, 1.0, 0.0], (N, 1))}, "NaN or infinite values, first in row 0"),
        ({"probabilities": np.full(N, 0.5)}, "give both, 1 - p and p"),
        ({"probabilities": np.full((N, 1), 0.5)}, "one column; give one for each class"),
        ({"probabilities": [["a"]]}, "give numbers with a row for each sample"),
        ({"embeddings": np.zeros((N, 0))}, "give numbers with a row for each sample"),
        ({"embeddings": np.full((N, 2), 1e200)}, "beyond-float32 values, first in row 0"),
        ({"embeddings": np.zeros((N, 2, 2))}, "give numbers with a row for each sample"),
        ({"device": "cuda:99"}, "cuda:99"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(outputs, changes, message):
    embeddings, probabilities, y = outputs
    given = {"batch_size": 5, "embeddings": embeddings, "probabilities": probabilities, "labeled": LABELED,
             "labels": y[LABELED]}  # fmt: skip
    with pytest.raises(InputError, match=message) as caught:
        select("margin", **{**given, **changes})
    assert "\n" not in str(caught.value)


def test_a_single_bad_value_is_found_in_any_block(outputs, monkeypatch):
    from deepal_autoal.numerics import row_blocks

    monkeypatch.setattr(row_blocks, "READING", row_blocks.BlockSize(1))
    embeddings, probabilities, _ = (array.copy() for array in outputs)
    embeddings[77, 2] = np.nan
    with pytest.raises(InputError, match=r"embeddings holds NaN, .* first in row 77"):
        select("margin", 3, embeddings, probabilities)
    probabilities[101] = 0
    with pytest.raises(InputError, match="row 101 sums to 0"):
        select("margin", 3, probabilities=probabilities)
    probabilities[101] = [0.001, 0.333, 0.667]
    assert len(select("margin", 3, probabilities=probabilities)) == 3


def test_names_of_columns_must_be_those_of_the_labels(outputs):
    frame = pandas.DataFrame(outputs[1], columns=["3", "5", "8"])
    expected = select("galaxy", 4, None, outputs[1], [0, 1], [0, 2])
    assert select("galaxy", 4, None, frame, [0, 1], [3, 8]).tolist() == expected.tolist()
    with pytest.raises(InputError, match="label '0' is no column of probabilities; they are 3, 5, 8"):
        select("galaxy", 4, None, frame, [0, 1], [0, 2])
    with pytest.raises(InputError, match="two columns have the same name"):
        select("galaxy", 4, None, frame.set_axis(["a", "b", "a"], axis=1))


def test_the_pages_example(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = Path(__file__).resolve().parents[2] / "docs" / "query.md"
    names = {}
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        exec(code, names)
    assert len(names["picks"]) == 20 and names["same"].tolist() == names["picks"].tolist()
    assert not set(names["picks"]) & set(range(50))
