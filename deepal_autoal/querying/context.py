"""What a strategy sees of a round: views of the pool through one fitted model, without the hidden labels."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar, cast

import numpy as np
import torch

from deepal_autoal.errors import InputError
from deepal_autoal.measuring.profile import section
from deepal_autoal.numerics.precision import clean_autograd_state
from deepal_autoal.numerics.random_streams import numpy_stream, stream_seed, torch_stream
from deepal_autoal.numerics.row_blocks import SCORED_PASSES, row_slices
from deepal_autoal.numerics.softmax import log_softmax, softmax
from deepal_autoal.training.inputs import Inputs
from deepal_autoal.training.samples import as_samples
from deepal_autoal.training.trainer import LabeledData, UnlabeledData

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import Tensor

    from deepal_autoal.querying.outputs import ModelOutputs, OutputCache
    from deepal_autoal.training.fitted_model import FittedModel
    from deepal_autoal.training.recipe import Recipe
    from deepal_autoal.training.task_model import TaskModel


T = TypeVar("T")

# The class of a labeled sample whose label is not known.
UNKNOWN = -1

# Size up to which dropout passes are kept even if they take more memory than the outputs.
_KEPT_BYTES = 256 << 20


class PoolView:
    """Some samples of the pool, seen through one fitted model.

    Every method computes its result once and then returns the same tensor; do not modify it in place. Rows are in
    the order of ``indices``. N samples, C classes, D embedding dimensions.
    """

    def __init__(self, indices: NDArray[np.int64], outputs: ModelOutputs) -> None:
        # A private read-only copy: candidates share views.
        self._indices = np.array(indices)
        self._indices.setflags(write=False)
        self._outputs = outputs
        self._results: dict[tuple[str, int], Any] = {}
        self._versions: dict[tuple[str, int], list[int]] = {}

    @property
    def indices(self) -> NDArray[np.int64]:
        """Pool indices, int64 (N,), read-only."""
        return self._indices

    def __len__(self) -> int:
        return len(self._indices)

    def inputs(self, positions: ArrayLike | None = None) -> Tensor:
        """Return model inputs through the evaluation transform, float32 (n, C, H, W) or (n, D), on the device.

        Args:
            positions: Rows of this view; by default all, which may be large: see `batches`.
        """
        rows = self.indices if positions is None else self.indices[np.asarray(positions, dtype=np.int64)]
        return self._outputs.inputs.batch(rows)

    def batches(self, batch_size: int) -> Iterator[Tensor]:
        """Yield the model inputs of all samples in order, ``batch_size`` at a time."""
        for rows in row_slices(len(self), batch_size):
            yield self._outputs.inputs.batch(self.indices[rows])

    def logits(self) -> Tensor:
        """Return logits, float32 (N, C)."""
        return self._once("logits", 0, lambda: self._outputs.logits(self.indices))

    def probabilities(self) -> Tensor:
        """Return class probabilities, float32 (N, C); rows sum to 1."""
        return self._once("probabilities", 0, lambda: softmax(self.logits()))

    def log_probabilities(self) -> Tensor:
        """Return log class probabilities, float32 (N, C); finite even where the probability underflows."""
        return self._once("log_probabilities", 0, lambda: log_softmax(self.logits()))

    def calibrated_log_probabilities(self) -> Tensor:
        """Return log class probabilities after temperature scaling, float32 (N, C).

        The temperature maximizes the likelihood of held-out labels under models trained without them; the first call
        costs three trainings (see `calibration`).
        """
        return self._once(
            "calibrated_log_probabilities", 0, lambda: log_softmax(self.logits() / self._outputs.temperature())
        )

    def temperature(self) -> float:
        """Return what `calibrated_log_probabilities` divides logits by; above 1 where the model is overconfident."""
        with clean_autograd_state(self._outputs.model.device):
            return self._outputs.temperature()

    def embeddings(self) -> Tensor:
        """Return embeddings, the inputs of the model's last layer before dropout, float32 (N, D)."""
        return self._once("embeddings", 0, lambda: self._outputs.embeddings(self.indices))

    def mc_probabilities(self, n_passes: int = 10) -> Tensor:
        """Return class probabilities of stochastic dropout passes, float32 (n_passes, N, C).

        All strategies of a round get the same passes; asking for more adds to them.
        """
        known = self._n_passes

        def compute() -> Tensor:
            more = self._outputs.mc_probabilities(self.indices, n_passes, known)
            return torch.cat([self._results["mc_probabilities", known], more]) if known else more

        if n_passes > known:
            self._once("mc_probabilities", n_passes, compute)
            if known:
                first, versions = (kept.pop(("mc_probabilities", known)) for kept in (self._results, self._versions))
                if versions != _versions_of(first):
                    # The first passes were modified, and the modification was copied with them.
                    self._versions["mc_probabilities", n_passes] = []
        passes: Tensor = self._results["mc_probabilities", self._n_passes]
        return passes if n_passes == len(passes) else passes[:n_passes]

    def mc_batches(self, n_passes: int = 10) -> Iterator[Tensor]:
        """Yield `mc_probabilities` of consecutive samples, float32 (n_passes, n, C), n a few thousand.

        For scores computed sample by sample, in memory that does not grow with the pool: passes that would take more
        than 256 MiB and more than the pool's outputs are computed on demand and not kept.
        """
        outputs, n_classes = self._outputs, self._outputs.model.module.n_classes
        n_rows = SCORED_PASSES.rows(n_passes * n_classes, outputs.model.device)
        is_large = n_passes * n_classes > n_classes + outputs.model.module.embedding_dim
        # With deeper dropout, masks depend on which samples are requested together.
        is_large &= 4 * n_passes * len(self) * n_classes > _KEPT_BYTES and outputs.model.module.dropout_only_in_head
        if self._n_passes >= n_passes or not is_large:
            yield from torch.split(self.mc_probabilities(n_passes), n_rows, dim=1)
            return
        for rows in row_slices(len(self), n_rows):
            with clean_autograd_state(outputs.model.device):
                part = outputs.mc_probabilities(self.indices[rows], n_passes)
            yield part

    def shared_mc_probabilities(self, n_passes: int = 10, positions: ArrayLike | None = None) -> Tensor:
        """Return class probabilities of passes that all samples share, float32 (n_passes, n, C).

        In `mc_probabilities`, every sample has dropout masks of its own, so the passes of two samples are independent.
        Here a pass is one draw of the network's weights, the same for all samples, as the joint distribution of several
        labels requires (BatchBALD's consistent dropout); the same draws also in views of other samples. Nothing is
        kept: ask for some positions at a time.

        Args:
            n_passes: Number of passes.
            positions: Rows of this view; by default all.
        """
        rows = self.indices if positions is None else self.indices[np.asarray(positions, dtype=np.int64)]
        with clean_autograd_state(self._outputs.model.device):
            return self._outputs.shared_mc_probabilities(rows, n_passes)

    @property
    def _n_passes(self) -> int:
        """How many dropout passes have been computed."""
        return max((parameter for what, parameter in self._results if what == "mc_probabilities"), default=0)

    def ensemble_probabilities(self, n_members: int = 5) -> Tensor:
        """Return class probabilities of an ensemble, float32 (n_members, N, C).

        The first member is the task model; the others are trained when first requested, on the same labels, with
        other initializations and data orders.
        """
        return self._once(
            "ensemble_probabilities",
            n_members,
            lambda: self._outputs.ensemble_probabilities(self.indices, n_members),
        )

    def gradient_factors(self) -> tuple[Tensor, Tensor]:
        """Return the factors q, float32 (N, C), and h, float32 (N, D), of BADGE's gradient embedding q ⊗ h.

        q = p - onehot(argmax p) is the gradient of the cross-entropy of the predicted label with respect to
        the logits, and h is the embedding (Ash et al., ICLR 2020).
        """

        def compute() -> tuple[Tensor, Tensor]:
            probabilities = self.probabilities()
            predicted = probabilities.argmax(dim=1, keepdim=True)
            residual = probabilities.scatter(1, predicted, 0.0)
            # p - 1 as the sum of the others: near certainty the difference itself has no digits left.
            residual.scatter_(1, predicted, -residual.sum(dim=1, keepdim=True))
            return residual, self.embeddings()

        return self._once("gradient_factors", 0, compute)

    def _once(self, what: str, parameter: int, compute: Callable[[], T]) -> T:
        key = (what, parameter)
        if key not in self._results:
            with clean_autograd_state(self._outputs.model.device):
                self._keep(key, compute())
        return cast("T", self._results[key])

    def _keep(self, key: tuple[str, int], result: Any) -> None:
        self._results[key] = result
        self._versions[key] = _versions_of(result)


def damaged_results(views: Sequence[PoolView]) -> list[str]:
    """Return which of the views' results were modified in place, written as ``"probabilities()"``."""
    damaged = [
        "labels" if what == "labels" else f"{what}({parameter or ''})"
        for view in views
        for (what, parameter), versions in view._versions.items()
        if _versions_of(view._results[what, parameter]) != versions
    ]
    # Perhaps modified through a view of other samples that shares blocks of outputs.
    return damaged or ["outputs of the model"] * any(view._outputs.is_damaged for view in views)


def _versions_of(result: Any) -> list[int]:
    """Return how many writes torch has counted for each tensor of a result."""
    return [tensor._version for tensor in (result if isinstance(result, tuple) else (result,))]


class LabeledView(PoolView):
    """Labeled samples of the pool, with their labels."""

    def __init__(self, indices: NDArray[np.int64], labels: NDArray[np.int64], outputs: ModelOutputs) -> None:
        super().__init__(indices, outputs)
        self._labels_are_known = bool((labels != UNKNOWN).all())
        labels_of_its_own = torch.tensor(labels, device=outputs.model.device)
        self._once("labels", 0, lambda: labels_of_its_own)

    @property
    def labels(self) -> Tensor:
        """Class of each sample, int64 (N,), on the device.

        Raises:
            InputError: If a query from given outputs was told which samples are labeled, but not their labels.
        """
        if not self._labels_are_known:
            raise InputError("the labels are needed, not only which samples have one: give `labels`, or a column label")
        return cast("Tensor", self._results["labels", 0])


class QueryContext:
    """One round, as a strategy sees it.

    Attributes:
        candidates: The samples that may be queried.
        labeled: The labeled samples, with their labels.
        validation: Labeled samples that the model was not trained on, and that cannot be queried, with their labels:
            the same for all strategies; None unless the run declares such a set.
        model: The fitted task model behind both views.
        round: Number of the round, from 0.
        device: The device of the views' tensors.
        progress: Call it as ``progress(done, total)`` during long work, so the user sees progress.
        reported: What `report` was given so far.
        seconds: What `timed` measured so far, by part.
    """

    def __init__(
        self,
        *,
        candidates: NDArray[np.int64],
        labeled: NDArray[np.int64],
        labels: NDArray[np.int64],
        model: FittedModel,
        cache: OutputCache,
        n_classes: int | None,
        round: int,
        n_rounds: int | None,
        key: tuple[int | str, ...],
        validation: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
    ) -> None:
        outputs = cache.of(model)
        self.progress: Callable[[int, int], None] = cache.progress
        self.candidates = PoolView(candidates, outputs)
        self.labeled = LabeledView(labeled, labels, outputs)
        self._validation_set = validation
        self.validation = None if validation is None else LabeledView(*validation, outputs)
        self.model = model
        self._n_classes = n_classes
        self.round = round
        self._used: set[str] = set()  # shared by the contexts made from this one
        self._n_rounds = n_rounds
        self.device: torch.device = model.device
        self.reported: dict[str, Any] = {}
        self.seconds: dict[str, float] = {}
        self._cache = cache
        self._labels = dict(zip(labeled.tolist(), labels.tolist(), strict=True))
        self._key = key

    @property
    def n_classes(self) -> int:
        """Number of classes, including those without any label yet.

        Raises:
            InputError: If nothing in a query from given outputs says how many there are.
        """
        if self._n_classes is None:
            raise InputError("the number of classes is needed: give labels, probabilities or n_classes")
        return self._n_classes

    @property
    def n_rounds(self) -> int | None:
        """How many rounds the run has; None when labels are given interactively.

        A run whose strategy reads it cannot be extended: with more rounds it would have chosen otherwise before.
        """
        self._used.add("n_rounds")
        return self._n_rounds

    @cached_property
    def rng(self) -> np.random.Generator:
        """numpy generator for this query; depends on the seed, the round and, for a selector's candidate, its name."""
        return numpy_stream(*self._key)

    @cached_property
    def generator(self) -> torch.Generator:
        """torch generator for this query, on `device`."""
        return torch_stream(*self._key, device=self.device)

    def stream_seed(self, purpose: str) -> int:
        """Return a seed in [0, 2**63) for a further stream; depends on the purpose and on what `rng` depends on."""
        return stream_seed(*self._key, purpose)

    def for_candidate(self, name: str) -> QueryContext:
        """Return this context with the random streams of a selector's candidate; views and outputs are shared."""
        context = object.__new__(QueryContext)
        for attribute, value in vars(self).items():
            if attribute not in ("rng", "generator"):
                setattr(context, attribute, value)
        context._key = (*self._key, name)
        context.reported = {}
        context.seconds = {}
        return context

    def report(self, **values: Any) -> None:
        """Add values to the round's record, under ``strategy``; a `Query`'s own report takes precedence.

        Args:
            values: JSON-able: numbers (no NaN), strings, lists, dicts; numpy and torch values are converted.
        """
        self.reported.update(values)

    @contextmanager
    def timed(self, part: str) -> Iterator[None]:
        """Time the block as a part of the query; the round's record shows it among ``seconds``, as ``query.<part>``.

        Repeated parts add up. On an accelerator, the timer waits for the block's work.

        Args:
            part: What the time is spent on, such as ``"search"``.
        """
        with section(part, self.device) as watch:
            yield
        self.seconds[part] = self.seconds.get(part, 0.0) + watch.seconds

    def fit(self, labeled: ArrayLike, purpose: str, recipe: Recipe | None = None) -> FittedModel:
        """Train a further task model from scratch on a part of the labeled set.

        Args:
            labeled: Pool indices, a subset of ``self.labeled.indices``. The trainer gets all other samples, including
                those whose labels are left out, as unlabeled data.
            purpose: Names the random stream; two fits with the same purpose start alike.
            recipe: Training settings; by default the run's (``self.model.recipe``).

        Returns:
            A fitted model for `rebuild`.
        """
        indices = self._checked("labeled", labeled)
        inputs = self._cache.inputs
        rest = np.union1d(self.candidates.indices, self.labeled.indices)
        rest = rest[~np.isin(rest, indices)]
        return self._cache.fit(
            LabeledData(inputs, indices, self._labels_of(indices)),
            UnlabeledData(inputs, rest),
            (*self._key, purpose),
            recipe,
        )

    def view_of(self, samples: ArrayLike, what: str = "samples") -> PoolView:
        """Return a view of samples outside the pool, through the task model.

        Its ``indices`` number the samples, from 0.

        Args:
            samples: In the pool's form: images uint8 (n, H, W) or (n, H, W, C), or vectors floating (n, D). The
                evaluation transform is the pool's.
            what: Their name in messages.

        Raises:
            InputError: If they are not of that form.
        """
        pool = self._cache.inputs
        inputs = Inputs(as_samples(samples, what), pool.normalization, self.device)
        if inputs.input_shape != pool.input_shape:
            raise InputError(f"{what} have input shape {inputs.input_shape}; the pool's is {pool.input_shape}")
        return PoolView(np.arange(len(inputs)), self._cache.of(self.model).on(inputs))

    def new_model(self, purpose: str) -> TaskModel:
        """Return an untrained model like the task model, on `device` and in training mode.

        For strategies that train networks of the task model's architecture in their own way; `fit` trains one as
        the run does.

        Args:
            purpose: Names the random stream of its initial weights.
        """
        return self._cache.new_model((*self._key, purpose))

    def rebuild(
        self,
        *,
        candidates: ArrayLike | None = None,
        labeled: ArrayLike | None = None,
        model: FittedModel | None = None,
        purpose: str = "rebuild",
    ) -> QueryContext:
        """Return a context with other candidates, another labeled set or another fitted model.

        A selector uses this to simulate selection inside the labeled pool: some labeled samples become candidates,
        the others stay labeled, and the model has not seen the candidates (see `fit`).

        Args:
            candidates: Pool indices; by default the same candidates.
            labeled: Pool indices, a subset of ``self.labeled.indices``; by default the same labeled set.
            model: From `fit`; by default the same model.
            purpose: Names the random streams of the new context.

        Raises:
            InputError: If a sample would be both a candidate and labeled, or one in ``labeled`` has no known label.
        """
        chosen = self.candidates.indices if candidates is None else self._checked("candidates", candidates)
        kept = self.labeled.indices if labeled is None else self._checked("labeled", labeled)
        both = np.intersect1d(chosen, kept)
        if len(both):
            raise InputError(f"{len(both)} samples would be both candidates and labeled (for example index {both[0]})")
        context = QueryContext(
            candidates=chosen,
            labeled=kept,
            labels=self._labels_of(kept),
            model=self.model if model is None else model,
            cache=self._cache,
            n_classes=self._n_classes,
            round=self.round,
            n_rounds=self._n_rounds,
            key=(*self._key, purpose),
            validation=self._validation_set,
        )
        context._used = self._used
        return context

    def _checked(self, what: str, indices: ArrayLike) -> NDArray[np.int64]:
        values = np.asarray(indices)
        n_samples = len(self._cache.inputs)
        if values.ndim != 1 or values.dtype.kind not in "iu" or len(np.unique(values)) < len(values):
            raise InputError(f"{what} must be distinct pool indices, not {values.dtype} of shape {values.shape}")
        if len(values) and not 0 <= values.min() <= values.max() < n_samples:
            raise InputError(f"{what} must be pool indices from 0 to {n_samples - 1}")
        return values.astype(np.int64)

    def _labels_of(self, indices: NDArray[np.int64]) -> NDArray[np.int64]:
        unknown = [index for index in indices.tolist() if index not in self._labels]
        if unknown:
            raise InputError(f"{len(unknown)} samples have no label in this context (for example index {unknown[0]})")
        return np.array([self._labels[index] for index in indices.tolist()], dtype=np.int64)


def views_of(context: QueryContext) -> list[PoolView]:
    """Return all views of a context."""
    return [view for view in (context.candidates, context.labeled, context.validation) if view is not None]


def has_read_n_rounds(context: QueryContext) -> bool:
    """Return whether ``n_rounds`` was read, from a context or from one that was made from it."""
    return "n_rounds" in context._used
