"""All checks, in the order in which they run.

Each check is a function of a `Subject` that returns None or a note, or raises `CheckFailedError` (expected, got, fix)
or `CheckSkippedError` (the reason). Its name says what holds if it passes; its docstring's first line says it in full.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from deepal_autoal.testing import (
    batches,
    blindness,
    declarations,
    hard_cases,
    memory_class,
    reproducibility,
    side_effects,
    turns,
    work_class,
)
from deepal_autoal.testing.subject import Subject


@dataclass(frozen=True)
class Check:
    """One check.

    Attributes:
        function: Runs it.
    """

    function: Callable[[Subject], str | None]

    @property
    def name(self) -> str:
        """Its name in reports and pytest, such as ``"batch-is-exact"``."""
        return self.function.__name__.replace("_", "-")

    @property
    def summary(self) -> str:
        """What holds if it passes, in one line."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]


CHECKS = tuple(
    Check(function)
    for function in (
        batches.batch_is_exact,
        batches.too_large_batch_is_refused,
        batches.scores_are_numbers,
        batches.report_is_json,
        reproducibility.same_seed_same_batch,
        reproducibility.instances_share_nothing,
        reproducibility.asking_again_changes_nothing,
        side_effects.process_is_untouched,
        side_effects.model_is_untouched,
        side_effects.outputs_are_untouched,
        blindness.hidden_labels_do_not_matter,
        blindness.order_does_not_matter,
        turns.picks_in_turn_are_right,
        hard_cases.identical_candidates_work,
        hard_cases.ties_are_broken_at_random,
        hard_cases.certain_predictions_work,
        hard_cases.two_classes_work,
        hard_cases.many_classes_work,
        hard_cases.missing_class_works,
        hard_cases.single_label_works,
        hard_cases.tiny_pool_works,
        hard_cases.vectors_work,
        hard_cases.images_work,
        hard_cases.color_images_work,
        declarations.card_is_true,
        declarations.options_recreate_it,
        declarations.unknown_options_are_refused,
        declarations.candidates_can_be_chosen,
        memory_class.memory_is_within_its_class,
        work_class.work_grows_as_its_card_says,
        declarations.needs_are_declared,
        # Last, since the other process needs some seconds.
        reproducibility.other_process_same_batch,
        reproducibility.memory_survives_saving,
        batches.cuda_gives_a_batch,
    )
)
