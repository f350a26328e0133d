"""A few good third-party strategies, and many that break the contract in one way each."""

import contextlib
import secrets
import sys
import time
from typing import ClassVar

import numpy as np
import torch

from deepal_autoal import InputError, Query, ScoringStrategy, SelectorStrategy, Strategy


class Gini(ScoringStrategy):
    """Gini impurity of the predicted class probabilities."""

    requires = frozenset({"probabilities"})

    def score(self, context):
        return 1.0 - (context.candidates.probabilities() ** 2).sum(dim=1)


class Counting(Gini):
    """A good strategy with a memory: it alternates between the most and the least impure."""

    def __init__(self, start: int = 0):
        self.count = start

    def score(self, context):
        self.count += 1
        return super().score(context) * (1 if self.count % 2 else -1)

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


class Drawing(Strategy):
    """A good random strategy."""

    def query(self, context, batch_size):
        positions = context.rng.permutation(len(context.candidates))[:batch_size]
        return Query(context.candidates.indices[positions], {"drawn": batch_size})


class Refusing(Gini):
    """A good strategy that accepts images only."""

    def wrap_trainer(self, trainer):
        from deepal_autoal import InputError, Objective

        def objective(model):
            if len(model.input_shape) == 1:
                raise InputError("this strategy needs pixels")
            return Objective(model)

        return trainer.with_objective(objective)


# The batch


class Duplicates(Gini):
    def query(self, context, batch_size):
        return context.candidates.indices[[0] * batch_size]


class Short(Gini):
    def query(self, context, batch_size):
        return super().query(context, batch_size)[: max(1, batch_size - 1)]


class Labeled(Gini):
    def query(self, context, batch_size):
        return np.concatenate([context.labeled.indices, context.candidates.indices])[:batch_size]


class Positions(Gini):
    def query(self, context, batch_size):
        return self.score(context).argsort(descending=True)[:batch_size]


class Raises(Gini):
    def score(self, context):
        raise RuntimeError("no luck today")


class Chatty(Gini):
    """Prints in every query, and fails with a message that differs each time."""

    def score(self, context):
        n = len(context.candidates)
        print(f"scoring {n}\n\x1b[2J")
        sys.stdout.buffer.write(b"in bytes\n")
        print("and more", file=sys.stderr)
        raise RuntimeError("no luck with " + "x" * n)


class Waiting(Gini):
    """Never answers after a number of queries, in spite of errors."""

    n_answers = 12

    def score(self, context):
        type(self).n_answers -= 1
        while self.n_answers < 0:
            with contextlib.suppress(Exception):
                time.sleep(0.01)
        return super().score(context)


class ListScores(Gini):
    def score(self, context):
        return super().score(context).tolist()


class LastBatchScores(ScoringStrategy):
    """Returns scores of the last batch only, which is harmless in a pool of one batch."""

    requires = frozenset({"inputs"})

    def score(self, context):
        for batch in context.candidates.batches(256):
            scores = batch.flatten(1).sum(dim=1)
        return scores


class BatchScores(Gini):
    def score(self, context):
        return super().score(context)[:, None]


class ObjectReport(Drawing):
    def query(self, context, batch_size):
        return Query(super().query(context, batch_size).indices, {"model": object()})


class NanReport(Drawing):
    def query(self, context, batch_size):
        return Query(super().query(context, batch_size).indices, {"loss": float("nan")})


# Randomness and memory


class NumpyGlobal(Drawing):
    def query(self, context, batch_size):
        return context.candidates.indices[np.random.permutation(len(context.candidates))[:batch_size]]


class TorchSeed(Drawing):
    def query(self, context, batch_size):
        torch.manual_seed(0)
        return super().query(context, batch_size)


class TorchGlobalHidden(Drawing):
    """Draws from torch's global generator, and restores it."""

    def query(self, context, batch_size):
        with torch.random.fork_rng():
            return context.candidates.indices[torch.randperm(len(context.candidates))[:batch_size].numpy()]


class Entropic(Drawing):
    def query(self, context, batch_size):
        rng = np.random.default_rng(secrets.randbits(60))
        return context.candidates.indices[rng.permutation(len(context.candidates))[:batch_size]]


class HashOrder(Drawing):
    def query(self, context, batch_size):
        return [int(name) for name in list({str(index) for index in context.candidates.indices})[:batch_size]]


class SharedDefault(Gini):
    def __init__(self, seen=[]):  # noqa: B006
        self.seen = seen

    def score(self, context):
        self.seen.append(context.round)
        return super().score(context) * (1 if len(self.seen) % 2 else -1)


class Forgetful(Counting):
    state_dict = Strategy.state_dict
    load_state_dict = Strategy.load_state_dict


class Unsavable(Counting):
    def state_dict(self):
        return {"count": {self.count}}


class Exits(Gini):
    """Ends the other process."""

    def score(self, context):
        if "deepal_autoal.testing.child" in sys.orig_argv:
            import os

            os._exit(7)
        return super().score(context)


# Side effects


class Weights(Gini):
    def score(self, context):
        scores = super().score(context)
        with torch.no_grad():
            context.model.module.head.weight.add_(1e-3)
        return scores


class TrainMode(Gini):
    def score(self, context):
        context.model.module.dropout.train()
        return super().score(context)


class Grads(Gini):
    def score(self, context):
        context.model.module.requires_grad_(True)
        return super().score(context).detach()


class Hooked(Gini):
    def score(self, context):
        context.model.module.head.register_forward_hook(lambda *_: None)
        return super().score(context)


class BatchNorm(Gini):
    requires = frozenset({"probabilities", "inputs"})

    def score(self, context):
        module = context.model.module.train()
        with torch.no_grad():
            module.features(context.candidates.inputs())
        module.eval()
        return super().score(context)


class InPlace(Gini):
    def score(self, context):
        probabilities = context.candidates.probabilities()
        return -probabilities.sub_(0.5).abs().sum(dim=1)


class ClampInPlace(Gini):
    def score(self, context):
        return -context.candidates.probabilities().clamp_(min=1e-12).log().sum(dim=1)


class NumpyInPlace(Gini):
    def score(self, context):
        probabilities = context.candidates.probabilities().numpy()
        probabilities[0] = 0
        return super().score(context)


class DefaultDtype(Gini):
    def score(self, context):
        scores = super().score(context)
        torch.set_default_dtype(torch.float64)
        return scores


class Threads(Gini):
    def score(self, context):
        torch.set_num_threads(2)
        return super().score(context)


class WarningFilters(Gini):
    def score(self, context):
        import warnings

        warnings.filterwarnings("ignore", message=f"round {secrets.token_hex()}")
        return super().score(context)


# Blindness


class Peeks(Gini):
    """Finds the run among its callers, and picks the samples of class 0."""

    def score(self, context):
        frame = sys._getframe()
        while frame is not None:
            labels = getattr(frame.f_locals.get("self"), "_labels", None)
            if isinstance(labels, np.ndarray):
                return torch.as_tensor(labels[context.candidates.indices] == 0).float()
            frame = frame.f_back
        return super().score(context)


class First(Strategy):
    def query(self, context, batch_size):
        return context.candidates.indices[:batch_size]


# Hard cases


class NoRidge(ScoringStrategy):
    """Divides by zero if all samples are identical."""

    requires = frozenset({"embeddings"})

    def score(self, context):
        rows = context.candidates.embeddings()
        spread = (rows - rows.mean(dim=0)).norm(dim=1)
        return spread / spread.max()


class LogZero(Gini):
    def score(self, context):
        probabilities = context.candidates.probabilities()
        return -(probabilities * probabilities.log()).sum(dim=1)


class ThirdBest(Gini):
    def score(self, context):
        return context.candidates.probabilities().topk(3, dim=1).values[:, 2]


class ShortCounts(Gini):
    """Counts labels without passing the number of classes."""

    def score(self, context):
        counts = torch.bincount(context.labeled.labels)
        return (context.candidates.probabilities() / (1 + counts)).sum(dim=1)


class Deviations(Gini):
    def score(self, context):
        spread = context.labeled.probabilities().std(dim=0)
        return (context.candidates.probabilities() / spread).sum(dim=1)


class TwoPerClass(Gini):
    def score(self, context):
        labels = context.labeled.labels
        assert len(labels) >= context.n_classes, "fewer labels than classes"
        return super().score(context)


class Squeezed(Gini):
    """squeeze() also removes the axis of a single candidate."""

    def score(self, context):
        return super().score(context)[:, None].squeeze()


class Matrix(ScoringStrategy):
    """Accepts vectors only, without declaring it."""

    requires = frozenset({"inputs"})

    def score(self, context):
        inputs = context.candidates.inputs()
        return inputs @ torch.ones(inputs.shape[1])


class Square(ScoringStrategy):
    requires = frozenset({"inputs"})

    def score(self, context):
        inputs = context.candidates.inputs()
        height, width = inputs.shape[2:]
        assert height == width, "images must be square"
        return inputs.mean(dim=(1, 2, 3))


# Declarations


class Undeclared(Gini):
    requires = frozenset({"embeddings"})

    def score(self, context):
        context.candidates.embeddings()
        return super().score(context)


class Unused(Gini):
    requires = frozenset({"probabilities", "mc_dropout"})


class Misspelt(Gini):
    requires = frozenset({"probability"})


class HiddenOption(Gini):
    def __init__(self, power: float = 2.0):
        self.power = power

    def describe_options(self):
        return {"exponent": self.power}


class Untyped(Gini):
    def __init__(self, weights: dict = {1: object}):  # noqa: B006
        self.weights = weights


class Accepts(Gini):
    def __init__(self, no_such_option: int = 0):
        self.value = no_such_option


class Stubborn(SelectorStrategy):
    """Needs one of its default candidates."""

    default_candidates: ClassVar = ("entropy", "margin")

    def query(self, context, batch_size):
        return self.ask_candidate("entropy", context, batch_size)


class Pair(SelectorStrategy):
    """Not broken: it takes two candidates, and says so."""

    default_candidates: ClassVar = ("entropy", "margin")

    def __init__(self, candidates):
        super().__init__(candidates)
        if len(candidates) != 2:
            raise InputError(f"pair takes two candidates, not {len(candidates)}")

    def query(self, context, batch_size):
        return self.ask_candidate(list(self.candidates)[1], context, batch_size)


class Ordered(Pair):
    """Refuses its candidates in another order."""

    def __init__(self, candidates):
        super().__init__(candidates)
        if next(iter(candidates)) != "entropy":
            raise InputError("entropy comes first")


# Picks in turn


class TurnsByPosition(Gini):
    """Picks otherwise if asked one by one."""

    def picks_in_turn(self, context, batch_size, taken):
        return (index for index in context.candidates.indices if index not in taken)


class TurnsAlone(Gini):
    """Ignores what others take."""

    def picks_in_turn(self, context, batch_size, taken):
        yield from self.query(context, batch_size)


class TurnsShort(Gini):
    """Ends when it has given ten picks."""

    def picks_in_turn(self, context, batch_size, taken):
        picks = super().picks_in_turn(context, batch_size, taken)
        yield from (pick for _, pick in zip(range(10), picks, strict=False))


# Memory


class TorchMatrix(ScoringStrategy):
    requires = frozenset({"embeddings"})

    def score(self, context):
        rows = context.candidates.embeddings()
        return torch.cdist(rows, rows).mean(dim=1)


class NumpyMatrix(ScoringStrategy):
    requires = frozenset({"embeddings"})

    def score(self, context):
        from scipy.spatial.distance import cdist

        rows = context.candidates.embeddings().numpy()
        return torch.as_tensor(cdist(rows, rows).mean(axis=1))


class BroadcastMatrix(ScoringStrategy):
    requires = frozenset({"embeddings"})

    def score(self, context):
        norms = context.candidates.embeddings().norm(dim=1)
        return (norms[:, None] - norms).abs().mean(dim=1)


class ListOfRows(ScoringStrategy):
    """An N x N matrix in N tensors."""

    requires = frozenset({"embeddings"})

    def score(self, context):
        embeddings = context.candidates.embeddings()
        rows = [(embeddings - row).norm(dim=1) for row in embeddings]
        return torch.stack([row.mean() for row in rows])


class ChunkedMatrix(ScoringStrategy):
    """All pairs of candidates, a few rows at a time: little memory, much work."""

    requires = frozenset({"embeddings"})

    def score(self, context):
        rows = context.candidates.embeddings()
        return torch.cat([torch.cdist(part, rows).mean(dim=1) for part in rows.split(50)])


# Side effects on the round


class DropoutRate(Gini):
    def score(self, context):
        context.model.module.dropout.p = 0.9
        return super().score(context)


class Metrics(Gini):
    def score(self, context):
        context.model.metrics["train_accuracy"] = 0
        context.model.precision = "bfloat16"
        return super().score(context)


class LearningRate(Gini):
    def score(self, context):
        vars(context.model.recipe)["learning_rate"] = 5.0
        return super().score(context)


class OneClass(Gini):
    def score(self, context):
        scores = super().score(context)
        context.n_classes = 1
        return scores


class Relabels(Gini):
    def score(self, context):
        context.labeled.labels = torch.zeros_like(context.labeled.labels)
        return super().score(context)


class ReplacesResult(Gini):
    def score(self, context):
        scores = super().score(context)
        results = context.candidates._results
        results["probabilities", 0] = torch.ones_like(results["probabilities", 0])
        return scores


# Ties, orders, caches


class UnseededTies(Gini):
    def score(self, context):
        scores = super().score(context).double()
        return scores + torch.from_numpy(np.random.default_rng().random(len(scores))) * 1e-12


class TiesByPosition(Gini):
    def query(self, context, batch_size):
        order = np.argsort(-self.score(context).numpy(), kind="stable")
        return context.candidates.indices[order[:batch_size]]


class SortedLabels(ScoringStrategy):
    """Sorts the labeled samples, but not their labels."""

    requires = frozenset({"embeddings"})

    def score(self, context):
        rows = context.labeled.embeddings()[np.argsort(context.labeled.indices)]
        labels = context.labeled.labels
        means = torch.stack([rows[labels == label].mean(dim=0) for label in labels.unique()])
        return torch.cdist(context.candidates.embeddings(), means).amin(dim=1)


class ClassCache(Gini):
    """Caches scores by candidates, whatever the model."""

    cache: ClassVar = {}

    def score(self, context):
        key = context.candidates.indices.tobytes()
        self.cache[key] = self.cache.get(key, super().score(context))
        return self.cache[key]


# Unusual, but right or almost right


class ListRequires(Gini):
    requires = ["probabilities"]  # noqa: RUF012


class Patient(Strategy):
    """Uses its output only from the third round on."""

    requires = frozenset({"probabilities"})

    def query(self, context, batch_size):
        if context.round < 2:
            return context.rng.permutation(context.candidates.indices)[:batch_size]
        return Gini().query(context, batch_size)


class PatientUndeclared(Patient):
    requires = frozenset()


class Optional(Gini):
    """An option changes what the card declares for the default."""

    def __init__(self, power: float | None = None):
        self.power = power
        if power is not None:
            self.requires = Gini.requires | {"embeddings"}

    def score(self, context):
        if self.power is None:
            return super().score(context)
        return super().score(context) * context.candidates.embeddings().norm(dim=1)


slow_queries = []  # not of the class, whose attributes are part of what it is


class Slow(Drawing):
    """A good random strategy that is slow."""

    requires = frozenset({"probabilities"})
    seconds = 0.25

    def query(self, context, batch_size):
        slow_queries.append(context.round)
        context.candidates.probabilities()
        end = time.process_time() + self.seconds
        while time.process_time() < end:
            pass
        return super().query(context, batch_size)
