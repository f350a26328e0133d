"""The candidates of a selector as one value: what was given, what it stands for, and what may be left out."""

import pytest

from deepal_autoal.errors import InputError
from deepal_autoal.strategies.candidate_selection import CandidateSelection
from deepal_autoal.strategies.candidate_sets import candidate_sets

HYBRID = candidate_sets()["all-hybrid"]


def test_names_that_only_come_from_a_set_are_optional():
    selection = CandidateSelection.parse("badge, all-hybrid,margin", "vote")
    assert selection.by_word == {"badge": ["badge"], "all-hybrid": HYBRID, "margin": ["margin"]}
    others = [name for name in HYBRID if name != "badge"]
    assert selection.names == ["badge", *others, "margin"] and selection.optional == set(others)


def test_set_never_includes_the_selector_itself():
    assert "badge" not in CandidateSelection.parse(["all-hybrid"], "badge").names


def test_recorded_selection_means_what_it_meant_then():
    recorded = CandidateSelection.parse(["all-hybrid", "margin"], "vote").only(["dbal", "margin"]).describe()
    assert recorded == {"all-hybrid": ["dbal"], "margin": ["margin"]}
    again = CandidateSelection.parse(recorded, "vote")
    assert again.names == ["dbal", "margin"] and not again.optional


def test_selection_without_sets_has_nothing_to_record():
    selection = CandidateSelection.parse(["margin", "kmeans"], "vote")
    assert not selection.has_sets and not selection.optional and selection.describe() == {}


@pytest.mark.parametrize("given", ["", " ,", [], [" ", "margin"]])
def test_missing_names_are_refused(given):
    with pytest.raises(InputError, match="'vote' needs candidates"):
        CandidateSelection.parse(given, "vote")
