from itertools import pairwise

import numpy as np
import pytest
from hindsight import Hindsight

from deepal_autoal import QueryError, ScoringStrategy, hookimpl, plugin_host, run


class Hoard(ScoringStrategy):
    """A useless strategy: picks the samples most likely of the first class."""

    requires = frozenset({"probabilities"})

    def score(self, context):
        return context.candidates.probabilities()[:, 0]


class Plugin:
    @hookimpl
    def deepal_register_strategies(self, registry):
        registry.add("hoard", Hoard, summary="of a test")


@pytest.fixture
def toy(registered, quick):
    registered(Plugin(), "hoarding")
    assert "hoard" in plugin_host().strategies
    return {**quick, "initial": 6, "rounds": 4}


def test_oracle_predicts_the_next_rounds_accuracy(blob_data, toy):
    for settings in (toy, {**toy, "pool_size": 60}):
        oracle = Hindsight(blob_data, ["hoard", "margin", "kmeans"], settings["model"], seed=1)
        rounds = run(oracle, blob_data, seed=1, **settings).rounds
        for record, after in pairwise(rounds):
            report = record["strategy"]
            assert report["is_oracle"] is True
            assert report["accuracies"][report["chosen"]] == max(report["accuracies"].values()) == after["accuracy"]


def test_oracle_takes_the_best_candidates_batch(blob_data, toy):
    names = ["hoard", "margin"]
    toy = {**toy, "initial": 3, "batch_size": 3, "rounds": 1}
    alone = {name: run("vote", blob_data, candidates=[name], options={"final": "top"}, seed=1, **toy) for name in names}
    oracle = Hindsight(blob_data, names, toy["model"], seed=1, options={"final": "top"})
    result = run(oracle, blob_data, seed=1, **toy)
    report = result.rounds[0]["strategy"]
    assert report["accuracies"] == {name: other.accuracy for name, other in alone.items()}
    assert result.rounds[0]["queried"] == alone[report["chosen"]].rounds[0]["queried"]
    assert len(set(report["accuracies"].values())) == 2, "the toy problem does not distinguish them"


def test_a_useless_candidate_does_not_hurt_the_oracle(blob_data, toy):
    toy = {**toy, "initial": 3, "batch_size": 3, "rounds": 3, "epochs": 20, "recipe": {"min_steps": 80}}

    def areas(*names):
        # Without the diverse stage, which would turn the useless candidate's few samples into one from the whole pool.
        oracles = [Hindsight(blob_data, names, toy["model"], seed, {"final": "top"}) for seed in range(3)]
        return np.array([run(oracle, blob_data, seed=seed, **toy).aubc for seed, oracle in enumerate(oracles)])

    useless, margin, both = areas("hoard"), areas("margin"), areas("hoard", "margin")
    assert np.all(useless <= both) and useless.mean() < both.mean() and np.all(margin <= both)


def test_oracle_is_not_registered_and_refuses_warm_starts(blob_data, toy):
    assert "hindsight" not in plugin_host().strategies
    oracle = Hindsight(blob_data, ["margin"], "linear", seed=0)
    with pytest.raises(QueryError, match="warm_start"):
        run(oracle, blob_data, seed=0, **{**toy, "recipe": {"warm_start": True}})
