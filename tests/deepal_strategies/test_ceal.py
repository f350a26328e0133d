"""CEAL: pseudo-labels by their definition, in the next training only, never in the pool's books."""

import json

import numpy as np
import pytest

from deepal_autoal import ActiveLearner, InputError, QueryError, Strategy, Trainer, create_strategy, run
from deepal_autoal.training.trainer import LabeledData
from deepal_strategies.ceal import CEAL

QUICK = {"epochs": 3, "min_steps": 20, "train_batch_size": 8}


@pytest.fixture
def trained(monkeypatch):
    """The labeled data of every training."""
    seen: list[LabeledData] = []
    original = Trainer.fit

    def fit(self, labeled, unlabeled, **settings):
        seen.append(labeled)
        return original(self, labeled, unlabeled, **settings)

    monkeypatch.setattr(Trainer, "fit", fit)
    return seen


def pool(n=80, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(3, size=n)
    return (3 * rng.normal(size=(3, 6))[labels] + rng.normal(size=(n, 6))).astype(np.float32), labels


def learner_of(strategy, n_labeled=15):
    samples, labels = pool()
    learner = ActiveLearner(samples, strategy, 3, model="mlp", recipe=QUICK)
    learner.tell(np.arange(n_labeled), labels[:n_labeled])
    return learner, samples, labels


@pytest.mark.parametrize("base", ["entropy", "kmeans"])
def test_pseudo_labels_follow_their_definition(trained, base):
    strategy = CEAL(base, threshold=0.3, decay=0.1)
    learner, samples, labels = learner_of(strategy)
    before = (learner.labeled_indices.tolist(), learner.unlabeled_indices.tolist())
    batch = learner.ask(5)
    plain, _, _ = learner_of(create_strategy(base))
    assert batch.tolist() == plain.ask(5).tolist()  # the first model had no pseudo-labels
    p = learner.predict_proba(samples).astype(np.float64)
    entropies = -(p * np.log(p.clip(1e-300))).sum(axis=1)
    sure = [i for i in before[1] if entropies[i] < 0.3 and i not in batch]
    assert 0 < len(sure) < 60
    assert (learner.labeled_indices.tolist(), learner.unlabeled_indices.tolist()) == before

    learner.tell(batch, labels[batch])
    known = [*range(15), *batch.tolist()]
    assert learner.labeled_indices.tolist() == known
    assert set(learner.unlabeled_indices) == set(range(80)) - set(known)  # pseudo-labeled samples are still in the pool
    fitted = learner.fit()
    assert trained[-1].indices.tolist() == known + sure
    assert trained[-1].labels.tolist() == [*labels[known], *p[sure].argmax(axis=1)]
    assert fitted.metrics["pseudo_labels"] == len(sure)

    # In the next round the threshold is lower, and the old pseudo-labels are forgotten.
    query = learner.query(5)
    assert query.report["threshold"] == pytest.approx(0.2)
    p = learner.predict_proba(samples).astype(np.float64)
    entropies = -(p * np.log(p.clip(1e-300))).sum(axis=1)
    expected = [i for i in learner.unlabeled_indices if entropies[i] < 0.2 and i not in query.indices]
    assert query.report["pseudo_labels"] == len(expected)


def test_samples_labeled_meanwhile_have_their_label_alone(trained):
    learner, _, labels = learner_of(CEAL(threshold=0.5))
    learner.ask(5)
    pseudo = learner.strategy.state_dict()["indices"]
    given = np.concatenate([pseudo[:3], np.setdiff1d(learner.unlabeled_indices, pseudo)[:2]])
    learner.tell(given, labels[given])
    learner.fit()
    assert len(np.unique(trained[-1].indices)) == len(trained[-1].indices) == 20 + len(pseudo) - 3


def test_a_base_with_a_wrong_answer_is_named():
    class Labeled(Strategy):
        def query(self, context, batch_size):
            return context.labeled.indices[:batch_size]

    strategy = CEAL()
    strategy.base = Labeled()
    learner, _, _ = learner_of(strategy)
    with pytest.raises(QueryError, match="Labeled"):
        learner.ask(3)


def test_a_threshold_below_zero_takes_none():
    learner, _, labels = learner_of(CEAL(threshold=0.05, decay=0.1))
    batch = learner.ask(5)
    learner.tell(batch, labels[batch])
    report = learner.query(5).report
    assert report["threshold"] == 0.0 and report["pseudo_labels"] == 0


def test_a_resumed_run_trains_on_the_same_pseudo_labels(tmp_path):
    from deepal_autoal import Dataset

    samples, labels = pool()
    data = Dataset("blobs", samples, labels, *pool(30, 1), ("a", "b", "c"))
    settings = dict(
        strategy="ceal", options={"threshold": 0.5}, dataset=data, initial=12, batch_size=4, recipe=QUICK, model="mlp",
        threads=1, device="cpu", progress=False,
    )  # fmt: skip
    whole = run(**settings, rounds=3)
    run(**settings, rounds=1, out=tmp_path)
    resumed = run(**settings, rounds=3, out=tmp_path, resume=True)
    assert [record["queried"] for record in whole.rounds] == [record["queried"] for record in resumed.rounds]
    assert [record["accuracy"] for record in whole.rounds] == [record["accuracy"] for record in resumed.rounds]
    assert [record["n_labeled"] for record in whole.rounds] == [12, 16, 20, 24]
    assert json.loads((tmp_path / "config.json").read_text())["strategy"]["changes_training"]


@pytest.mark.parametrize("options", [{"threshold": -1}, {"decay": -0.1}, {"base": "lpl"}])
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        CEAL(**options)
