"""Checks that a query takes no more memory than its card says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deepal_autoal.cost import evaluate_cost, spell_cost
from deepal_autoal.errors import InputError
from deepal_autoal.plugins import plugin_host
from deepal_autoal.strategy import SelectorStrategy, Strategy
from deepal_autoal.testing.allocation import measure
from deepal_autoal.testing.problems import blobs
from deepal_autoal.testing.report import CheckFailedError

if TYPE_CHECKING:
    from deepal_autoal.context import QueryContext
    from deepal_autoal.testing.observation import ViewCalls
    from deepal_autoal.testing.problems import Problem
    from deepal_autoal.testing.subject import Subject

N_CANDIDATES, N_LABELED, BATCH, N_CLASSES, N_FEATURES = 2500, 60, 20, 4, 16
# What is held to where the card is silent.
LINEAR = "N*(T*C + D + P) + L*(D + P)"
# Bytes for each number of the class: one tensor may be four of them in float32 or two in float64; all tensors that
# are alive at one time twice as much, all that numpy and Python hold then four times.
TENSOR_BYTES = 16
TOTAL_BYTES = 32
PEAK_BYTES = 64
# What does not grow with N: weights of own networks, their batches, libraries' buffers. An N x N matrix of float32
# takes 25 MB.
ALLOWANCE = 4 << 20
# Of all tensors: weights have gradients and an optimiser's state, and layers activations.
TOTAL_ALLOWANCE = 4 * ALLOWANCE
# Of the processor. A network that is trained on thousands of samples takes minutes; what it takes shows early.
SECONDS = 3.0


def memory_is_within_its_class(subject: Subject) -> str | None:
    """Tensors, the largest and all, and numpy's peak are within the card's `memory` (linear in N if it is silent)."""
    strategy = subject.create()
    problem = _problem(subject, strategy)
    context = subject.context(problem, strategy=strategy)
    used, calls = measure(lambda: subject.ask_in(context, BATCH, strategy=strategy), SECONDS)
    formula = _memory(subject.name if subject.entry is not None else None)
    class_size = _class_size(formula or LINEAR, strategy, context, calls)
    spelled = spell_cost(formula or LINEAR)
    where = f"with N = {len(context.candidates)} candidates"
    if formula is None:
        source, advice = "linear in N, as the card has no memory class", ', or say memory="N*N" on the card'
    else:
        source, advice = f"the card's memory {spelled}", ", or correct the card's memory"
    advice = "work in chunks of candidates, or keep running minima instead of a matrix" + advice
    tensor_limit = TENSOR_BYTES * class_size + ALLOWANCE
    if used.tensor_bytes > tensor_limit:
        raise CheckFailedError(
            f"no tensor above {_mb(tensor_limit)} {where} ({source})",
            f"one of {_mb(used.tensor_bytes)}: {used.tensor}",
            advice,
        )
    peak_limit = PEAK_BYTES * class_size + ALLOWANCE
    total_limit = TOTAL_BYTES * class_size + TOTAL_ALLOWANCE
    if used.total_bytes > total_limit:
        raise CheckFailedError(
            f"tensors of no more than {_mb(total_limit)} at one time {where} ({source})",
            f"{_mb(used.total_bytes)} in many tensors; an N x N matrix of float32 is "
            f"{_mb(4 * len(context.candidates) ** 2)}",
            advice,
        )
    if used.peak_bytes > peak_limit:
        raise CheckFailedError(
            f"numpy and Python to hold no more than {_mb(peak_limit)} at one time {where} ({source})",
            f"{_mb(used.peak_bytes)}; an N x N matrix of float64 is {_mb(8 * len(context.candidates) ** 2)}",
            advice,
        )
    notes = [] if formula is not None else ['held to linear in N; say memory="..." in registry.add for its own class']
    if not used.complete:
        notes.append(f"seen the first {SECONDS:.0f} s of a query on {len(context.candidates)} candidates only")
    return "; ".join(notes) or None


def _problem(subject: Subject, strategy: Strategy) -> Problem:
    """Return a large pool; on vectors with a model that adds little, if the strategy takes it."""
    if subject.kind == "vectors":
        problem = _large("vectors", "linear")
        try:
            subject.learner(problem, strategy=strategy)
        except InputError:
            problem = _large("vectors", "auto")
        return problem
    return _large(subject.kind, "auto")


def _large(kind: str, model: str) -> Problem:
    n = N_CANDIDATES + N_LABELED
    n_features = N_FEATURES if kind == "vectors" else None
    return blobs(kind, n=n, n_labeled=N_LABELED, n_classes=N_CLASSES, n_features=n_features, model=model)


def _class_size(formula: str, strategy: Strategy, context: QueryContext, calls: ViewCalls) -> int:
    """Return the formula's value for this query."""
    sizes = {
        "N": len(context.candidates),
        "L": len(context.labeled),
        "b": BATCH,
        "C": context.n_classes,
        "D": context.model.module.embedding_dim,
        "P": context.labeled.inputs([0]).numel(),
        "T": calls.largest("mc_probabilities", 10),
        "M": calls.largest("ensemble_probabilities", 5),
        "K": 1,
        "E": 1,
        "sweep": 0,
        "fit": 0,
        "ask": 0,
    }
    if isinstance(strategy, SelectorStrategy):
        sizes["K"] = len(strategy.candidates)
        sizes["ask"] = sum(
            _class_size(_memory(name) or LINEAR, candidate, context, calls)
            for name, candidate in strategy.candidates.items()
        )
    return evaluate_cost(formula, sizes)


def _memory(name: str | None) -> str | None:
    """Return the memory class on a registered strategy's card, None where there is none."""
    registry = plugin_host().strategies
    if name is None or name not in registry:
        return None
    memory: str = registry.get(name).details.get("memory", "")
    return memory or None


def _mb(n_bytes: int) -> str:
    return f"{n_bytes / 1e6:.1f} MB"
