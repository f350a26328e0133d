"""Candidates that pick in turn: each is told what is taken, and every pick is checked."""

import numpy as np
import pytest

from deepal_autoal import ActiveLearner, Query, QueryError, SelectorStrategy, Strategy, create_strategy


class Selector(SelectorStrategy):
    """Keeps the context for inspection."""

    def query(self, context, batch_size):
        self.context = context
        return context.candidates.indices[:batch_size]


class Ascending(Strategy):
    """The first candidates."""

    def __init__(self, n_queries=None):
        self.n_queries = [0] if n_queries is None else n_queries

    def query(self, context, batch_size):
        self.n_queries[0] += 1
        return Query(context.candidates.indices[:batch_size], {"size": batch_size})


class Drawn(Strategy):
    """Random candidates."""

    def query(self, context, batch_size):
        return context.rng.permutation(context.candidates.indices)[:batch_size]


class Labeled(Strategy):
    def query(self, context, batch_size):
        return context.labeled.indices[:batch_size]


class Yields(Strategy):
    """Yields what it is given, and keeps what it was told."""

    def __init__(self, picks):
        self.picks = picks
        self.told = []

    def picks_in_turn(self, context, batch_size, taken):
        for pick in self.picks:
            self.told.append(list(taken))
            context.report(told=len(taken))
            yield pick(context, taken) if callable(pick) else pick


@pytest.fixture
def make_selector(blob_data):
    """Return a function that builds a selector with a context, of which samples 0 to 5 are labeled."""

    def build(**candidates):
        selector = Selector(candidates)
        learner = ActiveLearner(
            blob_data.x_train, selector, 3, model="linear", recipe={"epochs": 1, "min_steps": 2}, device="cpu"
        )
        learner.tell(np.arange(6), blob_data.y_train[:6])
        learner.ask(1)
        return selector, selector.context

    return build


def test_a_batch_is_walked_in_its_order_without_what_others_took(make_selector):
    counts = [0]
    selector, context = make_selector(a=Ascending(counts), b=Ascending(), c=create_strategy("entropy"))
    taken = [7]
    picks = {name: selector.candidate_picks(name, context, 8, taken) for name in "abc"}
    assert counts == [0]
    assert [next(picks[name]) for name in "aba"] == [6, 8, 9]
    favorite = next(picks["c"])
    ranking = [index for index in selector.ask_candidate("c", context, 8) if index not in (7, 6, 8, 9)]
    assert favorite == ranking[0]
    assert next(picks["b"]) == min({10, 11} - {favorite})
    assert len(taken) == len(set(taken)) == 6
    assert counts == [1]
    assert context.reported["candidates"]["a"] == {"size": 8}


def test_a_batch_lasts_until_all_is_taken(make_selector):
    selector, context = make_selector(a=Ascending(), b=Ascending())
    taken = []
    for name in "ab":
        picks = selector.candidate_picks(name, context, 4, taken)
        next(picks), next(picks)
    assert taken == [6, 7, 8, 9]
    assert list(picks) == []


def test_random_streams_are_those_of_a_query(make_selector):
    selector, context = make_selector(a=Drawn(), b=Drawn())
    picks = {name: list(selector.candidate_picks(name, context, 5, [])) for name in "ab"}
    assert picks == {name: selector.ask_candidate(name, context, 5).tolist() for name in "ab"}
    assert picks["a"] != picks["b"]


def test_a_candidate_is_told_what_is_taken(make_selector):
    own = Yields([10, 20, np.int64(30)])
    selector, context = make_selector(a=own, b=Ascending())
    taken = []
    picks = {name: selector.candidate_picks(name, context, 5, taken) for name in "ab"}
    assert [next(picks[name]) for name in "baaba"] == [6, 10, 20, 7, 30]
    assert own.told == [[6], [6, 10], [6, 10, 20, 7]]
    assert all(type(index) is int for index in taken)
    assert context.reported["candidates"]["a"] == {"told": 4}


@pytest.mark.parametrize(
    "picks, message",
    [([9], "gave 9, which is taken already"), ([11, 11], "gave 11, which is taken already"),
     ([3], "gave 3, which is labeled or not in the pool"), ([-1], "labeled or not in the pool"),
     ([6.0], "gave float; expected the pool index"), (["6"], "gave str"), ([None], "ended after 1 of 4 samples"),
     ([6, 7], "ended after 3 of 4 samples"), ([lambda context, taken: 1 // 0], "ZeroDivisionError"),
     ([lambda context, taken: taken.append(3)], "has no attribute 'append'"),
     ([lambda context, taken: context.report(model=object()) or 6], "report that JSON cannot hold")],
)  # fmt: skip
def test_wrong_picks_are_blamed_on_the_candidate(make_selector, picks, message):
    selector, context = make_selector(wrong=Yields(picks))
    with pytest.raises(QueryError, match=message) as caught:
        list(selector.candidate_picks("wrong", context, 4, [9]))
    assert "'Yields'" in str(caught.value)


def test_a_wrong_batch_is_blamed_on_its_query(make_selector):
    selector, context = make_selector(wrong=Labeled())
    with pytest.raises(QueryError, match="'Labeled' returned 2 indices that are labeled"):
        list(selector.candidate_picks("wrong", context, 2, []))


@pytest.mark.filterwarnings("ignore:.*numpy's global generator")
def test_global_generators_give_other_numbers_in_each_step_and_are_restored(make_selector):
    def draw(context, taken):
        free = [index for index in context.candidates.indices if index not in taken]
        numbers.append(np.random.random())
        return free[0]

    numbers = []
    selector, context = make_selector(a=Yields([draw] * 3))
    before = np.random.get_state()[1].tolist()
    for _ in range(2):
        list(selector.candidate_picks("a", context, 3, []))
    assert np.random.get_state()[1].tolist() == before
    assert numbers[:3] == numbers[3:] and len(set(numbers)) == 3
