"""mypy checks annotated plugins: correct code passes in strict mode, and every mistake is reported."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]

PLUGIN = """
from __future__ import annotations
from collections.abc import Mapping
from typing import Any
from torch import Tensor
from deepal_autoal import (ActiveRun, FittedModel, Objective, Query, QueryContext, Registrar, ScoringStrategy,
    SelectorStrategy, Strategy, TaskModel, Trainer, TrainerProtocol, hookimpl)

class Right(ScoringStrategy):
    requires = frozenset({"probabilities"})
    def score(self, context: QueryContext) -> Tensor:
        context.report(seen=len(context.candidates))
        return context.candidates.probabilities().max(dim=1).values * context.labeled.labels.float().mean()

class RightTraining(Strategy):
    def wrap_trainer(self, trainer: Trainer) -> TrainerProtocol:
        return trainer.with_objective(Objective)
    def query(self, context: QueryContext, batch_size: int) -> Query:
        return Query(context.candidates.indices[:batch_size], {"a": 1})

class RightSelector(SelectorStrategy):
    own_requires = frozenset({"embeddings"})
    def query(self, context: QueryContext, batch_size: int) -> Query:
        answers = [self.consult_candidate(name, context, batch_size) for name in self.candidates]
        return Query(answers[0].indices, answers[0].report)

@hookimpl
def deepal_register_strategies(registry: Registrar) -> None:
    registry.add("right", Right, summary="x")
@hookimpl
def deepal_model_trained(run: ActiveRun, model: FittedModel, metrics: Mapping[str, Any]) -> None:
    run.options["patience"], run.learner.labeled_indices, model.module.embedding_dim

class WrongNeed(ScoringStrategy):
    requires = frozenset({"probabilites"})  # WRONG
class WrongScore(ScoringStrategy):
    def score(self, context: QueryContext) -> list[float]:  # WRONG
        return context.candidates.probabilites()  # WRONG
class WrongQuery(Strategy):
    def query(self, context: QueryContext) -> Query:  # WRONG
        return Query(context.candidates.labels)  # WRONG
class WrongTrainer(Strategy):
    def wrap_trainer(self, trainer: Trainer) -> TaskModel:  # WRONG
        return trainer.build()
def wrong(registry: Registrar) -> None:
    registry.add("wrong", 3)  # WRONG
    registry.ad("wrong", Right)  # WRONG
"""


def test_mypy_reports_exactly_the_mistakes(tmp_path, mypy_cache):
    (tmp_path / "plugin.py").write_text(PLUGIN)
    # mypy does not see editable installations; without `--follow-imports=silent` it would report their errors too.
    environment = {**os.environ, "MYPYPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--follow-imports=silent",
        "--cache-dir",
        str(mypy_cache),
        "plugin.py",
    ]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    reported = {int(line) for line in re.findall(r"^plugin\.py:(\d+): error", done.stdout, re.MULTILINE)}
    wrong = {number for number, line in enumerate(PLUGIN.splitlines(), 1) if line.endswith("# WRONG")}
    assert reported == wrong, done.stdout + done.stderr
