"""AutoAL as a strategy: exact batches for any input, no repeated computation, and its reports."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
import torch

from deepal_autoal import ActiveLearner, InputError, ScoringStrategy, Strategy, create_strategy
from deepal_autoal.querying import context
from deepal_autoal.querying.outputs import ModelOutputs
from deepal_autoal.querying.strategy import check_query
from deepal_autoal.training.fitted_model import FittedModel
from deepal_strategies.autoal import search as search_module
from deepal_strategies.autoal.search import Search
from deepal_strategies.autoal.settings import VARIANTS
from deepal_strategies.autoal.simulation import copy_for_simulation
from deepal_strategies.autoal.strategy import AutoAL
from deepal_strategies.entropy import Entropy
from deepal_strategies.kmeans import KMeansSampling
from deepal_strategies.leastconf import LeastConfidence
from deepal_strategies.margin import Margin
from deepal_strategies.random_sampling import RandomSampling
from deepal_strategies.vote import Vote


def three():
    return {"entropy": Entropy(), "margin": Margin(), "kmeans": KMeansSampling()}


def quick(candidates=None, **options):
    return AutoAL(candidates or three(), **{"warmup_steps": 5, "steps": 10, **options})


def ask(strategy, round_, batch_size=10):
    return check_query(
        strategy, strategy.query(round_.context, batch_size), round_.context.candidates.indices, batch_size
    )


class Counting(ScoringStrategy):
    """Records for which samples and model it was called."""

    def __init__(self):
        self.asked = []

    def score(self, context):
        self.asked.append((context.candidates.indices.tolist(), context.labeled.indices.tolist(), context.model))
        return context.candidates.embeddings()[:, 0]


class Remembering(RandomSampling):
    """Remembers how often it was queried."""

    def __init__(self):
        self.times = 0

    def query(self, context, batch_size):
        self.times += 1
        return super().query(context, batch_size)

    def state_dict(self):
        return {"times": self.times}

    def load_state_dict(self, state):
        self.times = state["times"]


@pytest.mark.parametrize("variant", ["default", "printed"])
@pytest.mark.parametrize("n_labeled", [1, 3, 4, 5, 9, 60])
def test_any_number_of_labels(make_round, variant, n_labeled):
    strategy = quick(variant=variant)
    query = ask(strategy, make_round(n_labeled, 60))
    assert query.report["searched"] == (n_labeled >= 4)
    assert sum(query.report["weights"].values()) == pytest.approx(1.0)


@pytest.mark.parametrize("batch_size", [1, 2, 59, 60])
def test_any_batch_size(make_round, batch_size):
    for variant in ("default", "printed"):
        ask(quick(variant=variant), make_round(20, 60), batch_size)


@pytest.mark.parametrize("n_classes", [2, 100])
def test_any_number_of_classes(make_round, n_classes):
    ask(quick(), make_round(50, 60, n_classes))


@pytest.mark.parametrize(
    "candidates",
    [
        {"entropy": Entropy()},
        {"kmeans": KMeansSampling()},
        {f"c{k}": RandomSampling() for k in range(20)},
        {"a": Margin(), "b": Margin()},
        {"vote": Vote({"entropy": Entropy(), "kmeans": KMeansSampling()}), "random": RandomSampling()},
    ],
    ids=["one", "one without scores", "twenty", "agreeing", "selector"],
)
def test_any_candidates(make_round, candidates):
    for variant in ("default", "printed"):
        query = ask(quick(candidates, variant=variant), make_round())
        assert list(query.report["weights"]) == list(candidates)


def test_autoal_can_be_a_candidate_itself(make_round):
    ask(Vote({"autoal": quick(), "entropy": Entropy()}), make_round())
    ask(quick({"autoal": quick(), "entropy": Entropy()}), make_round())


def test_one_class_equal_embeddings_and_constant_scores(make_round):
    ask(quick(), make_round(20, 60, labels=np.zeros(80, dtype=np.int64)))
    ask(quick(), make_round(20, 60, embeddings=torch.zeros(80, 8), logits=torch.zeros(80, 3)))
    ask(quick({"entropy": Entropy()}), make_round(20, 60, logits=torch.zeros(80, 3)))


def test_one_sample_per_class(make_round):
    ask(quick(), make_round(10, 60, 70, labels=np.arange(70)))


def test_the_report_is_json_with_losses_by_cycle(make_round):
    report = json.loads(json.dumps(ask(quick(n_cycles=2), make_round()).report))
    for name in ("search_loss", "fit_loss", "regularizer", "loss_prediction_loss"):
        assert len(report[name]) == 2
        assert np.isfinite(report[name]).all()
    assert report["n_cycles"] == 2
    assert 0 < report["rate"] < 1
    assert 0 <= report["threshold"] <= 1
    assert min(report["weights"].values()) >= 0


def test_candidates_are_queried_once_per_cycle_and_half(make_round):
    for n_cycles in (1, 3):
        counting, round_ = Counting(), make_round(40, 60)
        ask(quick({"counting": counting, "entropy": Entropy()}, n_cycles=n_cycles), round_)
        assert len(counting.asked) == 2 * n_cycles + 1
        labeled = set(round_.context.labeled.indices.tolist())
        for seen, held_out in zip(counting.asked[:-1:2], counting.asked[1:-1:2], strict=True):
            assert set(held_out[0]) == set(seen[1]) and set(held_out[1]) == set(seen[0])
            assert set(seen[0]) | set(held_out[0]) == labeled
        assert counting.asked[-1][0] == round_.context.candidates.indices.tolist()
        assert counting.asked[-1][2] is round_.task_model


def test_nothing_is_computed_twice_for_seven_candidates(blob_data, monkeypatch):
    """Passes through the models, dropout passes, and the pool's probabilities and their logarithms."""
    swept, passes, softmaxes = Counter(), Counter(), Counter()
    sweep, mc_probabilities = FittedModel.sweep, ModelOutputs.mc_probabilities

    def counted_sweep(self, inputs, indices, *arguments, **named):
        swept.update((id(self), index) for index in indices.tolist())
        return sweep(self, inputs, indices, *arguments, **named)

    def counted_passes(self, indices, n_passes, first=0):
        passes.update((id(self), index, number) for index in indices.tolist() for number in range(first, n_passes))
        return mc_probabilities(self, indices, n_passes, first)

    def counted_softmax(name):
        original = getattr(context, name)

        def softmax(logits):
            softmaxes[name, len(logits)] += 1
            return original(logits)

        return softmax

    for name in ("softmax", "log_softmax"):
        monkeypatch.setattr(context, name, counted_softmax(name))
    monkeypatch.setattr(FittedModel, "sweep", counted_sweep)
    monkeypatch.setattr(ModelOutputs, "mc_probabilities", counted_passes)
    strategy = create_strategy("autoal", warmup_steps=5, steps=10)
    learner = ActiveLearner(blob_data.x_train, strategy, 3, model="linear", recipe={"min_steps": 20}, device="cpu")
    learner.tell(range(30), blob_data.y_train[:30])
    learner.fit()
    learner.query(5)
    n = len(blob_data.x_train)
    # The pool passes through the task model, and so do the labeled samples, for the final stage; these also pass
    # through the half's, and through that of the fold that leaves them out, for the temperature.
    assert set(swept.values()) == {1} and len(swept) == n + 60
    # Ten passes, shared by bald, varratio and meanstd, of the pool and of both halves.
    assert set(passes.values()) == {1} and len(passes) == 10 * n
    # Logarithms as they are, and calibrated.
    assert softmaxes["log_softmax", n - 30] == 2 and softmaxes["softmax", n - 30] <= 1


def test_votes_on_the_held_out_half_come_from_a_model_that_has_not_seen_it(make_round):
    counting, round_ = Counting(), make_round(40, 60)
    ask(quick({"counting": counting}, n_cycles=2), round_)
    halves = []
    for cycle in range(2):
        candidates, _, model = counting.asked[2 * cycle + 1]
        fitted = next(k for k, other in enumerate(round_.trainer.models) if other is model)
        labeled, unlabeled, recipe = round_.trainer.fits[fitted]
        assert not set(labeled.indices.tolist()) & set(candidates)
        assert set(candidates) <= set(unlabeled.indices.tolist())
        assert len(labeled.indices) == len(candidates) == 20
        assert recipe.stop_at_full_accuracy
        halves.append(set(candidates))
    assert halves[0] != halves[1]
    assert len(round_.trainer.fits) == 3


def test_no_sample_passes_twice_and_the_pool_passes_only_through_the_task_model(make_round):
    more = {**three(), "leastconf": LeastConfidence(), "random": RandomSampling(), "kmeans2": KMeansSampling()}
    for candidates in (three(), more):
        round_ = make_round(40, 60)
        ask(quick(candidates, n_cycles=2, networks="heads"), round_)
        passed = Counter(index for chunk in round_.task_model.swept for index in chunk)
        assert set(passed.values()) == {1} and len(passed) == 100
        for model in round_.trainer.models[1:]:
            passed = Counter(index for chunk in model.swept for index in chunk)
            assert set(passed) == set(round_.context.labeled.indices.tolist())
            assert set(passed.values()) == {1}


def test_same_seed_same_answer_and_global_generators_untouched(make_round):
    torch.manual_seed(1)
    np.random.seed(1)
    states = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = ask(quick(), make_round())
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1] == states[1]).all()
    torch.manual_seed(2)
    second = ask(quick(), make_round())
    assert first.indices.tolist() == second.indices.tolist()
    assert first.report == second.report
    assert ask(quick(), make_round(seed=1)).report["weights"] != first.report["weights"]


def test_labels_of_the_pool_do_not_matter(make_round):
    answers = [ask(quick(), make_round(poison=poison)) for poison in (0, 1)]
    assert answers[0].indices.tolist() == answers[1].indices.tolist()
    assert answers[0].report == answers[1].report


def test_labels_of_the_labeled_set_matter(make_round):
    rng = np.random.default_rng(0)
    embeddings = torch.as_tensor(rng.normal(size=(100, 8)), dtype=torch.float32)
    logits = embeddings[:, :3]
    answers = [
        quick(steps=50).query(
            make_round(embeddings=embeddings, logits=logits, labels=rng.integers(3, size=100)).context, 10
        )
        for _ in range(2)
    ]
    assert answers[0].report["weights"] != answers[1].report["weights"]


def test_simulations_do_not_change_a_candidates_memory(make_round):
    candidate = Remembering()
    strategy = quick({"remembering": candidate, "entropy": Entropy()}, n_cycles=2)
    ask(strategy, make_round())
    assert candidate.times == 1
    assert copy_for_simulation(strategy).candidates["entropy"] is strategy.candidates["entropy"]
    assert strategy.state_dict()["candidates"] == {"remembering": {"times": 1}, "entropy": {}}


def test_top_takes_the_highest_scores_and_diverse_filters_by_them(make_round):
    """With one candidate that scores and a nearly constant SearchNet, the order of S̄ is the candidate's."""
    candidate = {"counting": Counting()}
    round_ = make_round(40, 60)
    scores = round_.context.candidates.embeddings()[:, 0]
    top = ask(quick(candidate, final="top", search="frozen"), make_round(40, 60), 5).indices
    highest = round_.context.candidates.indices[scores.topk(10).indices.numpy()]
    assert set(top.tolist()) <= set(highest.tolist())
    diverse = ask(quick(candidate, final="diverse", oversample=2, search="frozen"), make_round(40, 60), 5).indices
    highest = round_.context.candidates.indices[scores.topk(15).indices.numpy()]
    assert set(diverse.tolist()) <= set(highest.tolist())


def test_variants_set_defaults_that_options_override():
    printed = AutoAL(three(), variant="printed")
    settings = printed.settings
    assert (settings.scores, settings.objective, settings.regularizer) == ("picks", "loss", "printed")
    assert (settings.fit_weights, printed.stage.final) == ("printed", "top")
    mixed = AutoAL(three(), variant="printed", objective="ranked", final="diverse")
    assert (mixed.settings.objective, mixed.settings.scores, mixed.stage.final) == ("ranked", "picks", "diverse")
    default = AutoAL(three())
    assert (default.settings.networks, settings.networks, mixed.settings.shrinkage) == ("votes", "heads", 0.0)
    assert (default.settings.scores, default.settings.objective, default.stage.final) == ("ranks", "ranked", "coverage")


def test_the_papers_variant_has_the_papers_numbers():
    paper = AutoAL(three(), variant="paper")
    settings = paper.settings
    assert (settings.warmup_epochs, settings.search_epochs) == (200, 400)
    assert (settings.learning_rate, settings.search_learning_rate, settings.momentum) == (0.005, 0.005, 0.0)
    assert (settings.networks, settings.count, settings.min_rate, settings.n_components) == ("own", "exact", 0.0, 0)
    assert (settings.scores, settings.objective, settings.fit_weights, paper.stage.final) == (
        "picks", "loss", "printed", "top"
    )  # fmt: skip
    # Every option that a variant sets can be set by itself.
    assert all(set(options) == set(VARIANTS["paper"]) for options in VARIANTS.values())


@pytest.mark.parametrize(
    "options",
    [
        {"variant": "other"},
        {"n_cycles": 0},
        {"steps": 0},
        {"warmup_steps": -1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"regularizer_weight": -1.0},
        {"train_batch_size": 1},
        {"search": "half"},
        {"threshold": "mean"},
        {"networks": "huge"},
        {"scorer": "none"},
        {"pool_threshold": "none"},
        {"search_learning_rate": 0.0},
        {"weight_decay": -0.1},
        {"weights": "relu"},
        {"memory": "long"},
        {"shrinkage": -1.0},
        {"carry": 1.0},
        {"scores": "votes"},
        {"objective": "max"},
        {"regularizer": "none"},
        {"fit_weights": "none"},
        {"final": "best"},
        {"oversample": 0},
    ],
    ids=lambda options: next(iter(options)),
)
def test_bad_options_are_refused(options):
    with pytest.raises(InputError, match=f"option {next(iter(options))}"):
        AutoAL(three(), **options)


def test_requires_joins_candidates_and_networks():
    class Dropout(Strategy):
        requires = frozenset({"mc_dropout"})

    assert AutoAL({"a": Dropout()}).requires == {"mc_dropout", "probabilities", "embeddings"}
    assert AutoAL({"a": Entropy()}, networks="backbones").requires == {"probabilities", "embeddings", "inputs"}


def test_with_random_weights_nothing_is_searched(make_round):
    round_ = make_round(40, 60)
    query = ask(quick(search="random"), round_)
    assert query.report["searched"] is False and len(round_.trainer.fits) == 1
    weights = list(query.report["weights"].values())
    assert sum(weights) == pytest.approx(1.0) and max(weights) - min(weights) > 0.05
    assert ask(quick(search="random"), make_round(40, 60, seed=1)).report["weights"] != query.report["weights"]


def test_the_task_model_can_replace_the_halfs_model(make_round):
    counting, round_ = Counting(), make_round(40, 60)
    query = ask(quick({"counting": counting}, scorer="task", n_cycles=2), round_)
    assert query.report["searched"] and len(round_.trainer.fits) == 1
    assert {id(model) for _, _, model in counting.asked} == {id(round_.task_model)}


@pytest.mark.parametrize("networks", ["votes", "heads", "half-heads"])
@pytest.mark.parametrize("weights", ["softmax", "sigmoid"])
def test_networks_on_embeddings(make_round, networks, weights):
    query = ask(quick(networks=networks, weights=weights, n_cycles=2), make_round())
    assert sum(query.report["weights"].values()) == pytest.approx(1.0)


def test_with_half_heads_the_pool_passes_through_the_halves_models(make_round):
    round_ = make_round(40, 60)
    ask(quick(networks="half-heads", n_cycles=2), round_)
    for model in round_.trainer.models[1:]:
        passed = Counter(index for chunk in model.swept for index in chunk)
        assert len(passed) == 100 and set(passed.values()) == {1}


def test_shrinkage_moves_the_weights_to_uniform_then_to_earlier_rounds(make_round):
    def spread(weights):
        return max(weights.values()) - min(weights.values())

    plain = ask(quick(steps=100, shrinkage=0.0), make_round(200, 60)).report["weights"]
    shrunk = ask(quick(steps=100, shrinkage=600.0), make_round(200, 60)).report["weights"]
    assert spread(shrunk) == pytest.approx(spread(plain) / 4, rel=0.3)
    strategy = quick(steps=100, shrinkage=600.0, carry=0.0)
    spreads = [spread(ask(strategy, make_round(200, 60)).report["weights"]) for _ in range(4)]
    assert spreads == sorted(spreads)
    assert spreads[-1] > 2 * spreads[0]
    slow = quick(steps=100, shrinkage=600.0, carry=0.9)
    assert [spread(ask(slow, make_round(200, 60)).report["weights"]) for _ in range(4)][-1] < spreads[-1]


@pytest.mark.parametrize("options", [{"memory": "warm"}, {"shrinkage": 50.0, "carry": 0.5}])
def test_a_saved_memory_continues_in_the_same_way(make_round, options):
    first, second = quick(**options), quick(**options)
    ask(first, make_round())
    state = first.state_dict()
    second.load_state_dict(state)
    answers = [ask(strategy, make_round(seed=3)) for strategy in (first, second, quick(**options))]
    assert answers[0].report == answers[1].report
    assert answers[0].indices.tolist() == answers[1].indices.tolist()
    assert answers[2].report["weights"] != answers[0].report["weights"]
    with pytest.raises(InputError, match="has the candidates"):
        quick({"entropy": Entropy()}, **options).load_state_dict(state)


def test_warm_networks_start_where_the_last_round_ended(make_round):
    strategy = quick(memory="warm", networks="heads")
    ask(strategy, make_round())
    learned = strategy.state_dict()["autoal"]["learned"]
    search = Search(make_round(seed=1).context, tuple("abc"), strategy.settings, learned)
    assert learned and not any("standardize" in name for name in learned)
    for name, value in search.state_dict().items():
        torch.testing.assert_close(value, learned[name])


def test_weight_decay_makes_the_trust_similar_for_all_samples(make_round):
    spreads = {}
    for weight_decay in (0.0, 3.0):
        strategy = quick(steps=100, weight_decay=weight_decay)
        search, _, _ = strategy._search(make_round(200, 60).context, 10)
        trust = search.judges[0].log_trust(torch.rand(50, 3, generator=torch.Generator().manual_seed(0)))
        spreads[weight_decay] = trust.std(dim=0).max().item()
    assert spreads[3.0] < 0.01 < 0.1 < spreads[0.0]


def test_the_batch_is_taken_from_the_search_scores(make_round):
    scores, report = quick(final="top").search_scores(make_round().context, 10)
    query = ask(quick(final="top"), make_round())
    highest = make_round().context.candidates.indices[scores.topk(10).indices.numpy()]
    assert sorted(highest.tolist()) == sorted(query.indices.tolist())
    assert scores.isfinite().all() and set(report) == set(query.report)


def test_the_parts_of_a_query_are_timed(make_round):
    round_ = make_round()
    ask(quick(), round_)
    assert set(round_.context.seconds) == {"training", "candidates", "search", "selection"}
    assert min(round_.context.seconds.values()) > 0


def paper_learner(data, n_labeled=24, **options):
    """A learner on small images, with the paper's variant at a few epochs."""
    brief = {"variant": "paper", "warmup_epochs": 6, "search_epochs": 4, "half_effort": 0.1, **options}
    learner = ActiveLearner(
        data.x_train, AutoAL({"entropy": Entropy(), "margin": Margin()}, **brief), data.n_classes, model="cnn",
        recipe={"epochs": 1, "min_steps": 5}, device="cpu", n_rounds=3,
    )  # fmt: skip
    learner.tell(np.arange(n_labeled), data.y_train[:n_labeled])
    return learner


def test_the_papers_networks_start_fresh_and_are_trained_from_the_first_layer_on(image_data, monkeypatch):
    searches, starts = [], []
    begin, start = Search._begin, Search._start

    def keep(self, net, *fetches):
        begin(self, net, *fetches)
        searches.append(self)
        starts.append({name: value.clone() for name, value in net.state_dict().items()})

    fit_nets = []
    monkeypatch.setattr(Search, "_begin", keep)
    monkeypatch.setattr(Search, "_start", lambda self, cycle: fit_nets.append(start(self, cycle)) or fit_nets[-1])
    learner = paper_learner(image_data, n_cycles=2)
    answer = learner.query(5)
    assert len(set(answer.indices.tolist())) == 5
    (search,), (before,) = searches, starts
    task = learner.fitted.module.state_dict()
    after = search.net.state_dict()
    # Neither network has seen a label before the search; both have BatchNorm statistics of their own afterwards.
    assert len(fit_nets) == 2 and all(fit_net is not search.net for fit_net in fit_nets)
    weights = [name for name, value in task.items() if name.startswith("backbone.") and value.is_floating_point()]
    assert any(name.endswith("running_mean") for name in weights)
    for name in weights:
        assert not torch.equal(after[f"body.{name}"], before[f"body.{name}"]), name
        if name.endswith("weight") and task[name].ndim > 1:
            assert not torch.allclose(before[f"body.{name}"], task[name], atol=1e-3), name
            for fit_net in fit_nets:
                assert not torch.allclose(fit_net.state_dict()[f"body.{name}"], task[name], atol=1e-3), name
    assert not search.net.training


def test_the_papers_variant_is_reproducible_and_reports_divergence(image_data):
    first, second = (paper_learner(image_data).query(5) for _ in range(2))
    assert first.indices.tolist() == second.indices.tolist() and first.report == second.report
    assert isinstance(first.report["diverged"], list)
    # t = b/(M + N), not a tenth of the half.
    assert first.report["rate"] == pytest.approx(5 / len(image_data.x_train))


@pytest.mark.parametrize("model", ["linear", "mlp"])
def test_the_papers_variant_runs_on_vectors(blob_data, model):
    strategy = quick(variant="paper", warmup_epochs=1, search_epochs=1)
    learner = ActiveLearner(
        blob_data.x_train, strategy, 3, model=model, recipe={"epochs": 1, "min_steps": 2}, device="cpu"
    )
    learner.tell(np.arange(9), blob_data.y_train[:9])
    assert len(learner.query(4).indices) == 4


@pytest.mark.parametrize("seed", range(4))
def test_a_search_that_goes_astray_is_noticed(make_round, caplog, seed):
    # (7) as printed raises the loss of samples that nobody picked, without bound.
    strategy = quick(variant="printed", steps=400)
    report = strategy.query(make_round(seed=seed).context, 5).report
    assert any("FitNet" in note for note in report["diverged"])
    assert "went astray in round 0" in caplog.text
    assert quick().query(make_round(seed=seed).context, 5).report["diverged"] == []


def test_a_search_that_trusts_a_single_candidate_is_noticed(make_round, monkeypatch):
    monkeypatch.setattr(search_module, "COLLAPSED", 0.3)
    report = quick().query(make_round().context, 5).report
    assert any(note.startswith("SearchNet trusts only ") for note in report["diverged"])


def test_how_long_a_round_takes_is_said_before_the_search(image_data, monkeypatch, caplog):
    monkeypatch.setattr(search_module, "LONG_SECONDS", 0.0)
    learner = paper_learner(image_data)
    batch = learner.ask(5)
    assert caplog.text.count("autoal trains two networks of the task model's size for 10 steps in every round") == 1
    learner.tell(batch, image_data.y_train[batch])
    learner.ask(5)
    assert caplog.text.count("autoal trains two networks") == 1
