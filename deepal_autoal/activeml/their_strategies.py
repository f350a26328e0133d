"""Strategies of this engine that ask a query strategy of scikit-activeml."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from deepal_autoal.querying.strategy import ScoringStrategy, Strategy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
    from torch import Tensor

    from deepal_autoal.activeml.their_query import TheirQuery
    from deepal_autoal.querying.context import QueryContext


class ActiveMLStrategy(Strategy):
    """Queries the batch of a query strategy of scikit-activeml.

    Args:
        query: The query.
        name: Its name in records.
    """

    def __init__(self, query: TheirQuery, name: str) -> None:
        self.their_query = query
        self.name = name
        self.requires = query.requires

    def query(self, context: QueryContext, batch_size: int) -> ArrayLike:
        """Return its batch."""
        return self.their_query.batch(context, batch_size)

    def _check_classes(self, n_classes: int) -> None:
        self.their_query.check_classes(n_classes)


class ActiveMLScores(ScoringStrategy):
    """Queries the highest utilities of a query strategy of scikit-activeml, each of which is of one sample alone.

    Args:
        query: The query.
        name: Its name in records.
    """

    def __init__(self, query: TheirQuery, name: str) -> None:
        self.their_query = query
        self.name = name
        self.requires = query.requires

    def score(self, context: QueryContext) -> Tensor:
        """Return the utilities, (n_candidates,), in double precision where the device has it."""
        utilities = torch.from_numpy(self.their_query.utilities(context))
        return utilities.float() if context.device.type == "mps" else utilities

    def _check_classes(self, n_classes: int) -> None:
        self.their_query.check_classes(n_classes)
