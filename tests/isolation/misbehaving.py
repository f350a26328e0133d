"""A strategy that does something it should not, and helpers for tests of it."""

from deepal_autoal import Strategy


def picks(result):
    return [record["queried"] for record in result.rounds], [record["accuracy"] for record in result.rounds]


class First(Strategy):
    """Queries the first candidates, after doing something it should not."""

    def __init__(self, deed=lambda context: None):
        self.deed = deed

    def query(self, context, batch_size):
        self.deed(context)
        return context.candidates.indices[:batch_size]
