"""`deepal query`: files in, a table of rows out; what cannot be used is one line, and nothing is written."""

import subprocess
import sys

import numpy as np
import pandas
import pytest

from deepal_autoal import select

N = 40
RNG = np.random.default_rng(8)
EMBEDDINGS = RNG.normal(size=(N, 4)).astype(np.float32)
PROBABILITIES = RNG.dirichlet(np.ones(3), size=N).astype(np.float32)
LABELED = {"index": [3, 1, 22], "label": [0, 2, 1]}
BOTH = ("--embeddings", "z.npy", "--probabilities", "p.npy")


@pytest.fixture
def query(deepal, tmp_path):
    """The command in a folder of good files."""
    np.save(tmp_path / "z.npy", EMBEDDINGS)
    np.save(tmp_path / "p.npy", PROBABILITIES)
    pandas.DataFrame(LABELED).to_csv(tmp_path / "l.csv", index=False)

    def call(*arguments, out="picks.csv"):
        return deepal("query", "-n", "5", "--out", out, *arguments)

    return call


def assert_refused(result, folder, *parts):
    status, out, err = result
    errors = err.splitlines()
    assert status == 2 and not out and len(errors) == 1 and errors[0].startswith("Error: "), err
    assert all(part in errors[0] for part in parts), err
    assert not (folder / "picks.csv").exists() and not list(folder.glob(".*"))


def test_the_batch_in_the_strategys_order(query, tmp_path):
    status, out, err = query("--strategy", "badge", *BOTH, "--labeled", "l.csv", "--seed", "3", "--threads", "1")
    assert (status, err) == (0, "") and out == "5 rows to label, best first\nFile: picks.csv\n"
    chosen = pandas.read_csv(tmp_path / "picks.csv")
    expected = select("badge", 5, EMBEDDINGS, PROBABILITIES, LABELED["index"], LABELED["label"], seed=3)
    assert list(chosen.columns) == ["index"] and chosen["index"].tolist() == expected.tolist()
    status, out, _ = query("--strategy", "vote", "--candidates", "margin,kmeans", "-o", "final=top", *BOTH, "--quiet")
    assert (status, out) == (0, "picks.csv\n")
    expected = select("vote", 5, EMBEDDINGS, PROBABILITIES, candidates=["margin", "kmeans"], options={"final": "top"})
    assert pandas.read_csv(tmp_path / "picks.csv")["index"].tolist() == expected.tolist()


def test_most_uncertain_first(query, tmp_path):
    assert query("--strategy", "leastconf", "--probabilities", "p.npy")[0] == 0
    expected = np.argsort(PROBABILITIES.max(axis=1))[:5]
    assert (tmp_path / "picks.csv").read_bytes() == b"index\n" + b"".join(b"%d\n" % row for row in expected)


def test_a_list_without_rows_or_labels(query, tmp_path):
    (tmp_path / "l.csv").write_text("index,label\n")
    for arguments in (("--labeled", "l.csv"), ()):
        assert query("--strategy", "typiclust", *BOTH, *arguments)[0] == 0
        first = (tmp_path / "picks.csv").read_bytes()
    assert first == (tmp_path / "picks.csv").read_bytes()
    (tmp_path / "l.csv").write_bytes(b"\xef\xbb\xbfid, index\r\na,3\r\nb,1\r\n")
    assert query("--strategy", "coreset", *BOTH, "--labeled", "l.csv")[0] == 0
    assert pandas.read_csv(tmp_path / "picks.csv")["index"].tolist() == select("coreset", 5, EMBEDDINGS,
                                                                               labeled=[3, 1]).tolist()  # fmt: skip
    assert query("--strategy", "probcover", "--embeddings", "z.npy", "--n-classes", "3")[0] == 0


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--strategy", "margn", *BOTH], ["Did you mean 'margin'"]),
        (["--strategy", "vote", "--candidates", "margn", *BOTH], ["Did you mean 'margin'"]),
        (["--strategy", "vote", "-o", "finl=top", "--candidates", "margin", *BOTH], ["Did you mean 'final'"]),
        (["--strategy", "margin", "-o", "x", *BOTH], ["KEY=VALUE"]),
        (["--strategy", "margin"], ["give --embeddings, --probabilities or both"]),
        (["--strategy", "margin", "--embeddings", "z.npy"], ["'margin'", "give --probabilities"]),
        (["--strategy", "bald", *BOTH], ["'bald'", "requires mc_dropout", "choose another strategy"]),
        (["--strategy", "vote", *BOTH], ["for bald, varratio, meanstd", "--candidates entropy,margin,leastconf,km"]),
        (["--strategy", "autoal", "--candidates", "margin,kmeans", *BOTH, "--labeled", "l6.csv"], ["are trained"]),
        (["--strategy", "ceal", *BOTH], ["'ceal'", "changes how a model is trained"]),
        (["--strategy", "discal", *BOTH], ["label at least one sample"]),
        (["--strategy", "margin", "-n", "41", *BOTH], ["batch size 41: give 1 to 40"]),
        (["--strategy", "margin", "-n", "0", *BOTH], ["batch size 0: give 1 to 40"]),
        (["--strategy", "margin", "--seed", "-1", *BOTH], ["seed -1"]),
        (["--strategy", "margin", "--threads", "0", *BOTH], ["threads"]),
        (["--strategy", "margin", "--embeddings", "short.npy", "--probabilities", "p.npy"], ["39", "same samples"]),
        (["--strategy", "margin", "--probabilities", "logits.npy"], ["outside 0 to 1", "softmax"]),
        (["--strategy", "margin", "--probabilities", "sums.csv"], ["row 0 sums to 1.5", "softmax"]),
        (["--strategy", "kmeans", "--embeddings", "nan.npy"], ["nan.npy: embeddings holds NaN", "row 11"]),
        (["--strategy", "kmeans", "--embeddings", "inf.csv"], ["inf.csv: embeddings holds NaN, infinite", "row 1"]),
        (["--strategy", "kmeans", "--embeddings", "nowhere.npy"], ["cannot read nowhere.npy: No such file"]),
        (["--strategy", "kmeans", "--embeddings", "."], ["a file that ends in .npy, .npz, .csv or .parquet|a folder"]),
        (["--strategy", "kmeans", "--embeddings", "l.txt"], ["ends in .npy, .npz, .csv or .parquet"]),
        (["--strategy", "kmeans", "--embeddings", "cut.npy"], ["cannot read cut.npy"]),
        (["--strategy", "kmeans", "--embeddings", "objects.npy"], ["objects.npy holds Python objects"]),
        (["--strategy", "kmeans", "--embeddings", "text.npy"], ["cannot read text.npy"]),
        (["--strategy", "kmeans", "--embeddings", "two.npz"], ["two.npz holds a, b; save one array, or call it x"]),
        (["--strategy", "kmeans", "--embeddings", "cut.npz"], ["cut.npz"]),
        (["--strategy", "kmeans", "--embeddings", "words.csv"], ["words.csv", "could not convert string 'cat'"]),
        (["--strategy", "kmeans", "--embeddings", "indexed.csv"], ["a column has no name", "index=False"]),
        (["--strategy", "kmeans", "--embeddings", "ragged.csv"], ["cannot read ragged.csv"]),
        (["--strategy", "kmeans", "--embeddings", "empty.csv"], ["empty.csv is empty"]),
        (["--strategy", "kmeans", "--embeddings", "header.csv"], ["header.csv: embeddings has shape (0"]),
        (["--strategy", "kmeans", "--embeddings", "cube.npy"], ["shape (2, 2, 2)"]),
        (["--strategy", "kmeans", "--embeddings", "damaged.parquet"], ["damaged.parquet"]),
    ],
)  # fmt: skip
def test_bad_arguments_and_outputs(query, tmp_path, arguments, parts):
    np.save(tmp_path / "short.npy", EMBEDDINGS[:-1])
    np.save(tmp_path / "logits.npy", EMBEDDINGS)
    nan = EMBEDDINGS.copy()
    nan[11, 3] = np.nan
    np.save(tmp_path / "nan.npy", nan)
    np.save(tmp_path / "cube.npy", np.zeros((2, 2, 2)))
    np.save(tmp_path / "objects.npy", np.array([[None]]), allow_pickle=True)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "z.npy").read_bytes()[:300])
    np.savez(tmp_path / "two.npz", a=EMBEDDINGS, b=EMBEDDINGS)
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:300])
    for name, text in {
        "text.npy": "0.5\n", "l.txt": "0.5\n", "sums.csv": "a,b\n0.5,1.0\n", "inf.csv": "1,2\n3,inf\n",
        "words.csv": "a,b\n1,cat\n", "indexed.csv": ",a\n0,1.5\n", "ragged.csv": "1,2\n3\n", "empty.csv": "",
        "header.csv": "a,b\n", "damaged.parquet": "PAR1", "l6.csv": "index,label\n0,0\n1,1\n2,2\n3,0\n4,1\n5,2\n",
    }.items():  # fmt: skip
        (tmp_path / name).write_text(text)
    result = query(*arguments)
    assert_refused(result, tmp_path)
    assert all(any(either in result[2] for either in part.split("|")) for part in parts), result[2]


@pytest.mark.parametrize(
    "content, part",
    [
        ("", "the first line is ''; write it as index or index,label"),
        ("3\n1\n", "the first line is '3'"),
        ("index,index\n3,1\n", "the first line is 'index,index'"),
        ("index\n3\n3\n", "l.csv: row 3 is given twice"),
        ("index\n40\n", "l.csv: there is no row 40; there are 40, counted from 0"),
        ("index\n-1\n", "l.csv, line 2: index '-1' is not a row number"),
        ("index\n3\n1.5\n", "l.csv, line 3: index '1.5' is not a row number"),
        ("index,label\n3,0\n,1\n", "l.csv, line 3: index '' is not a row number"),
        ("index,label\n3,0\n1,\n", "l.csv, line 3: the label is missing"),
        ("index,label\n3,0\n1\n", "l.csv, line 3: the label is missing"),
        ("index,label\n3,nan\n", "l.csv, line 2: the label is missing"),
        ("index,label\n3,0\n1,3\n", "label 3 is no class; they are numbered 0 .. 2"),
        ("index,label\n3,-1\n", "label -1 is no class"),
        ("index,label\n3,cat\n", "label 'cat' is a name, and the columns of probabilities have none"),
        ("index,label\n" + "".join(f"{row},0\n" for row in range(36)), "batch size 5: give 1 to 4"),
        (b"\xff\xfei\0", "cannot read l.csv"),
    ],
)
def test_bad_lists_of_labeled_rows(query, tmp_path, content, part):
    (tmp_path / "l.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert_refused(query("--strategy", "margin", *BOTH, "--labeled", "l.csv"), tmp_path, part)


def test_class_names_are_the_columns_of_a_table(query, tmp_path):
    pandas.DataFrame(PROBABILITIES, columns=["cat", "dog", "eel"]).to_csv(tmp_path / "p.csv", index=False)
    (tmp_path / "l.csv").write_text("index,label\n3,cat\n1,eel\n")
    given = ("--strategy", "galaxy", "--probabilities", "p.csv", "--labeled", "l.csv")
    assert query(*given)[0] == 0
    chosen = pandas.read_csv(tmp_path / "picks.csv")["index"].tolist()
    assert chosen == select("galaxy", 5, None, PROBABILITIES, [3, 1], [0, 2]).tolist()
    (tmp_path / "picks.csv").unlink()
    (tmp_path / "l.csv").write_text("index,label\n3,cat\n1,cow\n")
    assert_refused(query(*given), tmp_path, "label 'cow' is no column of probabilities; they are cat, dog, eel")


def test_nothing_else_is_replaced(query, tmp_path):
    given = ("--strategy", "random", *BOTH)
    for name, content in (("l.csv", None), ("z.npy", None), ("notes.csv", b"index\nmine\n"), ("x.csv", b"a\n1\n")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        before = (tmp_path / name).read_bytes()
        status, _, err = query(*given, out=name)
        assert status == 2 and "--out" in err and (tmp_path / name).read_bytes() == before
    (tmp_path / "rows.csv").write_text("index\n3\n")
    status, _, err = query(*given, "--labeled", "rows.csv", out="rows.csv")
    assert status == 2 and "is the input itself" in err
    assert query(*given, out="rows.csv")[0] == 0 and query(*given, out="rows.csv")[0] == 0  # its own table
    for out, part in (
        (".", "a folder"),
        ("l.csv/p.csv", "folder"),
    ):
        assert_refused(query(*given, out=out), tmp_path, part)
    status, out, _ = query("--strategy", "random", *BOTH, "-n", "1", out="new/folder/picks.csv")
    assert status == 0 and out.startswith("1 row to label") and (tmp_path / "new/folder/picks.csv").exists()


def test_help_is_light():
    code = (
        "import sys; from deepal_autoal.cli.main import main\n"
        "try: main(['query', '--help'])\n"
        "except SystemExit as stopped: assert not stopped.code\n"
        "print({'torch', 'numpy', 'sklearn', 'scipy', 'pandas', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--probabilities" in done.stdout and done.stdout.splitlines()[-1] == "set()"
