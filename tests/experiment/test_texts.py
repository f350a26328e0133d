"""Texts of runs, benchmarks and learners: embeddings of sentence-transformers, or TF-IDF; chosen once, and recorded."""

import json
import logging

import numpy as np
import pandas
import pytest

from deepal_autoal import ActiveLearner, InputError, load_dataset, run
from deepal_autoal.benchmark import run_benchmark
from deepal_autoal.datasets.user_data.sentence_models import (
    AT_HAND,
    TF_IDF,
    SentenceModel,
    is_on_this_machine,
    resolve_text_model,
)
from deepal_autoal.errors import RunFolderError
from deepal_autoal.files import CHECKSUM, read_json, read_tensors, write_tensors

WORDS = ("great", "dull", "long")
N = 60
TEXTS = [f"a {WORDS[row % 3]} film, number {row // 3}" for row in range(N)]
Y = [WORDS[row % 3] for row in range(N)]
QUICK = {"initial": 6, "batch_size": 3, "rounds": 2, "threads": 1, "seed": 0}
EMBEDDED = "text; embeddings of some-model (sentence-transformers), 12 dimensions"


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("DEEPAL_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reviews.csv"
    pandas.DataFrame({"text": TEXTS, "stars": np.arange(N) % 5, "label": Y}).to_csv(path, index=False)
    return path


def interrupt(active, record):
    if record["round"] == 0:
        raise KeyboardInterrupt


def begin(out, **settings):
    """Begin a run, which ends after its first round."""
    with pytest.raises(KeyboardInterrupt):
        run("margin", (TEXTS, Y), out=out, on_round=interrupt, **QUICK, **settings)


class TestChoice:
    def test_auto_without_the_package_is_tf_idf(self, no_sentence_transformers):
        assert resolve_text_model(None) == resolve_text_model("auto") == TF_IDF
        assert not is_on_this_machine(AT_HAND[0])
        with pytest.raises(InputError, match=r"pip install 'deepal_autoal\[text\]'"):
            run("margin", (TEXTS, Y), text_model="some-model", **QUICK)

    def test_auto_downloads_nothing(self, sentence_transformers):
        result = run("margin", (TEXTS, Y), **QUICK)
        assert result.config["settings"]["text_model"] == TF_IDF and not sentence_transformers.loaded
        assert "TF-IDF" in result.config["dataset"]["preparation"]["text"]

    def test_auto_takes_the_first_model_on_this_machine(self, sentence_transformers, caplog):
        sentence_transformers.put_on_this_machine(AT_HAND[2], AT_HAND[1], "some-model")
        caplog.set_level(logging.INFO, "deepal_autoal")
        result = run("margin", (TEXTS, Y), **QUICK)
        assert result.config["settings"]["text_model"] == AT_HAND[1]
        assert sentence_transformers.loaded == [(AT_HAND[1], "cpu", True)]
        assert caplog.text.count("whose weights are on this machine; not with --text-model tf-idf") == 1
        assert "downloaded" not in caplog.text

    def test_a_download_is_announced_in_one_line(self, sentence_transformers, caplog):
        SentenceModel("some-model").embed(["a"])
        assert [record.getMessage() for record in caplog.records] == [
            "text model some-model is not on this machine, and is downloaded now"
        ]
        assert sentence_transformers.loaded == [("some-model", "cpu", False)]

    def test_a_folder_is_not_downloaded(self, sentence_transformers, tmp_path, caplog, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "models" / "own").mkdir(parents=True)
        SentenceModel("~/models/own").embed(["a"])
        assert sentence_transformers.loaded == [(f"{tmp_path}/models/own", "cpu", True)] and not caplog.records
        assert not is_on_this_machine("no/such/folder")  # which the hub's package refuses as a name

    def test_what_cannot_be_used_is_one_line(self, sentence_transformers, monkeypatch):
        sentence_transformers.go_offline()
        with pytest.raises(InputError, match=r"text model none cannot be loaded .*the folder of a") as caught:
            run("margin", (TEXTS, Y), text_model="none", **QUICK)
        assert "\n" not in str(caught.value)
        sentence_transformers.put_on_this_machine("some-model")
        model = SentenceModel("some-model")
        monkeypatch.setattr(type(model._model), "encode", lambda self, texts, show_progress_bar: np.zeros(3))
        with pytest.raises(InputError, match=r"some-model returned \(3,\) for 2 texts"):
            model.embed(["a", "b"])
        monkeypatch.setattr(type(model._model), "encode", lambda self, texts, show_progress_bar: 1 / 0)
        with pytest.raises(InputError, match="some-model failed: division by zero"):
            model.embed(["a", "b"])
        for wrong in (3, "", " "):
            with pytest.raises(InputError, match="give the name of a model of sentence-transformers"):
                run("margin", (TEXTS, Y), text_model=wrong, **QUICK)


class TestRuns:
    def test_embeddings_are_recorded_and_one_kind_of_features(self, sentence_transformers):
        result = run("margin", (TEXTS, Y), text_model="some-model", **QUICK)
        data = result.config["dataset"]
        assert data["input_shape"] == [12] and data["is_embeddings"] and data["preparation"]["text"] == EMBEDDED
        assert result.config["settings"]["text_model"] == "some-model" and result.config["scaling"] == "global"

    def test_a_run_is_resumed_with_its_choice(self, sentence_transformers, tmp_path):
        begin(tmp_path / "run", text_model="some-model")
        sentence_transformers.put_on_this_machine(*AT_HAND)  # which auto would take now
        result = run(dataset=(TEXTS, Y), out=tmp_path / "run", resume=True)
        whole = run("margin", (TEXTS, Y), text_model="some-model", **QUICK)
        assert [item["queried"] for item in result.rounds] == [item["queried"] for item in whole.rounds]
        assert {name for name, _, _ in sentence_transformers.loaded} == {"some-model"}
        with pytest.raises(RunFolderError, match=f"text_model was 'some-model' and is now '{AT_HAND[0]}'"):
            run(dataset=(TEXTS, Y), out=tmp_path / "run", resume=True, text_model=AT_HAND[0])

    def test_a_run_with_tf_idf_keeps_it(self, sentence_transformers, tmp_path):
        begin(tmp_path / "run")
        sentence_transformers.put_on_this_machine(*AT_HAND)
        assert len(run(dataset=(TEXTS, Y), out=tmp_path / "run", resume=True, text_model="auto").rounds) == 3
        assert not sentence_transformers.loaded

    def test_a_run_from_before_there_was_a_choice_is_resumed(self, sentence_transformers, tmp_path):
        begin(tmp_path / "run")
        path = tmp_path / "run" / "config.json"
        config = json.loads(path.read_text())
        config.pop(CHECKSUM)  # which the first versions did not write either
        assert config["settings"].pop("text_model") == TF_IDF
        path.write_text(json.dumps(config))
        sentence_transformers.put_on_this_machine(*AT_HAND)
        assert len(run(dataset=(TEXTS, Y), out=tmp_path / "run", resume=True).rounds) == 3

    def test_embeddings_are_computed_once(self, sentence_transformers, tmp_path):
        begin(tmp_path / "run", text_model="some-model")
        assert sorted(sentence_transformers.encoded) == [12, 48]  # a fifth is the test part
        run(dataset=(TEXTS, Y), out=tmp_path / "run", resume=True)
        assert len(sentence_transformers.encoded) == 2

    def test_tables_on_the_command_line(self, sentence_transformers, deepal, table):
        settings = ("--initial", "6", "--batch-size", "3", "--rounds", "1", "--out", "run")
        status, _, err = deepal(
            "run", "--strategy", "margin", "--dataset", table, "--text-model", "some-model", *settings
        )
        assert status == 0, err
        assert "texts: embeddings of some-model (sentence-transformers); --text-model tf-idf does without" in err
        assert "Warning: text model some-model is not on this machine, and is downloaded now" in err
        preparation = read_json(table.parent / "run" / "config.json")["dataset"]["preparation"]
        assert preparation["text"] == EMBEDDED and preparation["stars"] == "number"
        status, _, err = deepal("run", "--resume", "--rounds", "2", "--out", "run")
        assert status == 0, err
        status, _, err = deepal("run", "--dataset", table, *settings[:-1], "other")
        assert status == 0 and "texts: TF-IDF of words and pairs; --text-model NAME takes" in err

    def test_no_texts_no_effect(self, sentence_transformers, blob_data, quick, caplog):
        result = run("random", blob_data, **{**quick, "rounds": 0}, text_model="some-model")
        assert "--text-model some-model has no effect: dataset blobs has no texts" in caplog.text
        assert "preparation" not in result.config["dataset"] and not sentence_transformers.loaded

    def test_load_dataset(self, sentence_transformers, table):
        data = load_dataset(table, text_model="some-model")
        assert data.x_train.shape == (48, 13) and data.text_model == "some-model"
        assert load_dataset(table).text_model == TF_IDF


def test_a_benchmark_keeps_its_choice(sentence_transformers, tmp_path, table):
    given = {"texts": (TEXTS, Y), "table": str(table)}
    settings = {**{name: value for name, value in QUICK.items() if name != "seed"}, "rounds": 1}
    study = run_benchmark("random", given, 1, tmp_path / "out", text_model="some-model", **settings)
    assert not study.failures
    n_encoded = len(sentence_transformers.encoded)
    sentence_transformers.put_on_this_machine(*AT_HAND)
    study = run_benchmark("random,margin", given, 1, tmp_path / "out", **settings)
    assert not study.failures and len(sentence_transformers.encoded) == n_encoded
    for folder in (tmp_path / "out").glob("*/*/seed-0"):
        config = read_json(folder / "config.json")
        assert config["settings"]["text_model"] == "some-model" and config["dataset"]["preparation"]["text"] == EMBEDDED


class TestLearners:
    def test_predictions_and_saving(self, sentence_transformers, tmp_path):
        learner = ActiveLearner(TEXTS, "margin", class_names=WORDS, text_model="some-model")
        assert learner.forms.text_model == "some-model" and learner.forms.is_embeddings
        asked = learner.ask(30)
        learner.tell(asked, [Y[row] for row in asked])
        assert learner.predict(["one more great film, number 7"]).tolist() == ["great"]
        learner.save(tmp_path / "learner.pt")
        sentence_transformers.put_on_this_machine(*AT_HAND)
        loaded = ActiveLearner.load(tmp_path / "learner.pt", TEXTS)
        assert loaded.forms.text_model == "some-model" and loaded.ask(5).tolist() == learner.ask(5).tolist()

    def test_a_learner_from_before_there_was_a_choice(self, sentence_transformers, tmp_path):
        learner = ActiveLearner(TEXTS, "margin", class_names=WORDS)
        learner.tell(range(6), Y[:6])
        learner.save(tmp_path / "learner.pt")
        saved = read_tensors(tmp_path / "learner.pt")
        assert saved.pop("text_model") == TF_IDF
        write_tensors(tmp_path / "earlier.pt", saved)
        sentence_transformers.put_on_this_machine(*AT_HAND)
        assert ActiveLearner.load(tmp_path / "earlier.pt", TEXTS).forms.text_model == TF_IDF

    def test_a_pool_without_texts_has_no_text_model(self, blob_data):
        assert ActiveLearner(blob_data.x_train, "margin", 3, text_model="some-model").forms.text_model == ""


def test_the_real_package(tmp_path):
    """A model of random weights, made here: what the real package loads from a folder."""
    package = pytest.importorskip("sentence_transformers")
    transformers = pytest.importorskip("transformers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "film", "number", *WORDS]
    bert, model = tmp_path / "bert", tmp_path / "model"
    bert.mkdir()
    (bert / "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(vocab_file=str(bert / "vocab.txt")).save_pretrained(bert)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    transformers.BertModel(transformers.BertConfig(vocab_size=len(words), **sizes)).save_pretrained(bert)
    package.SentenceTransformer(str(bert), device="cpu").save(str(model))
    assert is_on_this_machine(str(model)) and not is_on_this_machine("no-such-model")
    result = run("margin", (TEXTS, Y), text_model=str(model), **QUICK)
    assert result.config["dataset"]["input_shape"] == [16]
