"""Reports of strategies, and where they are recorded."""

import numpy as np
import pytest
import torch

from deepal_autoal import (
    ActiveLearner,
    Query,
    QueryError,
    ScoringStrategy,
    run,
)
from deepal_autoal.querying.asking import ask
from tests.isolation.misbehaving import First


def test_reports_of_the_context_and_of_the_query_are_joined(blob_data, quick):
    class Reports(First):
        def query(self, context, batch_size):
            context.report(loss=np.float32(0.5), steps=3)
            context.report(steps=4)
            return Query(super().query(context, batch_size), {"own": [1, 2]})

    class Scores(ScoringStrategy):
        def score(self, context):
            context.report(mean=torch.tensor(2.0))
            return context.candidates.probabilities()[:, 0]

    assert run(Reports(), blob_data, **quick).rounds[0]["strategy"] == {"loss": 0.5, "steps": 4, "own": [1, 2]}
    assert run(Scores(), blob_data, **quick).rounds[0]["strategy"] == {"mean": 2.0}


def test_report_that_json_cannot_hold_is_refused(blob_data, quick):
    with pytest.raises(QueryError, match="a report that JSON cannot hold"):
        run(First(lambda context: context.report(loss=float("nan"))), blob_data, **quick)


def test_candidates_report_to_the_selector_and_not_to_its_record(blob_data):
    def report(context):
        context.report(seen=len(context.candidates))

    learner = ActiveLearner(blob_data.x_train, First(), 3, model="linear", recipe={"epochs": 1})
    learner.tell(np.arange(12), blob_data.y_train[:12])
    context = learner._context(learner.fit(), learner.unlabeled_indices)
    answer = ask(First(report), context.for_candidate("a"), 4)
    assert answer.report == {"seen": 108} and answer.scores is None and context.reported == {}


def test_reports_of_candidates_enter_the_record_if_they_concern_the_rounds_own_query(blob_data, quick, as_strategy):
    as_strategy(lambda context: context.report(seen=len(context.candidates)))
    result = run("vote", blob_data, candidates=["first", "entropy"], **quick)
    assert result.rounds[0]["strategy"]["candidates"] == {"first": {"seen": 108}}
    searched = run("autoal", blob_data, candidates=["first", "entropy"], **quick)
    assert searched.rounds[0]["strategy"]["candidates"] == {"first": {"seen": 108}}  # not of the halves
    assert "candidates" not in run("vote", blob_data, candidates=["margin", "entropy"], **quick).rounds[0]["strategy"]


def test_report_that_json_cannot_hold_names_where(blob_data, quick):
    with pytest.raises(QueryError, match=r"cannot hold: losses\.vae\[1\]: inf of type float"):
        run(First(lambda context: context.report(losses={"vae": [1.0, float("inf")]})), blob_data, **quick)


@pytest.mark.parametrize("weights", [[0.1, 0.2], 0.5, {"a": "x"}, {"a": None}, None])
def test_invalid_weights_do_not_break_the_table(blob_data, quick, weights):
    from deepal_autoal.cli.progress import _table

    class Weighs(First):
        def query(self, context, batch_size):
            return Query(super().query(context, batch_size), {"weights": weights})

    head, rows = _table(run(Weighs(), blob_data, **{**quick, "rounds": 1}))
    assert len(rows) == 2 and "weights" not in head
