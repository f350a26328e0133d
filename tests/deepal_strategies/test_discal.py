"""Discriminative active learning against a plain loop with plain Adam."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from deepal_autoal import DeepALError, InputError
from deepal_strategies.discal import DiscAL, build_classifier
from tests.pretended_cuda import pretended_cuda


def naive_discal(context, batch_size, mini_queries, ratio, steps, train_batch_size, learning_rate, stop):
    """Return the batch and each classifier's steps, from the random streams of the context."""
    x, known = context.candidates.embeddings(), context.labeled.embeddings()
    chosen, taken_steps = [], []
    sizes = [batch_size // mini_queries + (i < batch_size % mini_queries) for i in range(mini_queries)]
    for number, size in enumerate(sizes):
        left = np.array([i for i in range(len(x)) if i not in chosen])
        part = np.sort(context.rng.choice(left, min(len(left), max(size, ratio * len(known))), replace=False))
        torch.manual_seed(context.stream_seed(f"classifier {number}"))
        width = 20 if x.shape[1] < 30 else 256
        layers = [nn.Linear(x.shape[1], width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(),
                  nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2)]  # fmt: skip
        net = nn.Sequential(*layers)
        samples, targets = torch.cat([known, x[part]]), torch.tensor([0] * len(known) + [1] * len(part))
        optimizer = torch.optim.Adam(net.parameters(), learning_rate)
        taken, accuracy = 0, 0.0
        while taken < steps and accuracy <= stop:
            n_right = n_seen = 0
            for rows in torch.randperm(len(samples), generator=context.generator).split(train_batch_size):
                if taken == steps:
                    break
                logits = net(samples[rows])
                optimizer.zero_grad()
                F.cross_entropy(logits, targets[rows]).backward()
                optimizer.step()
                n_right += (logits.argmax(dim=1) == targets[rows]).sum().item()
                n_seen += len(rows)
                taken += 1
            accuracy = n_right / n_seen
        logits = net(x[part])
        # Probabilities may round to 1; their log odds still differ.
        best = (logits[:, 1] - logits[:, 0]).argsort(descending=True)[:size]
        # As the strategy's choice: it draws for ties after sorting.
        torch.randperm(size - 1, generator=context.generator), torch.randperm(1, generator=context.generator)
        chosen += part[best.numpy()].tolist()
        known = torch.cat([known, x[part[best.numpy()]]])
        taken_steps.append(taken)
    return context.candidates.indices[chosen].tolist(), taken_steps


@pytest.mark.parametrize("n_features", [6, 40])
@pytest.mark.parametrize("stop, steps", [(0.98, 60), (0.8, 500)])
def test_batches_are_those_of_the_plain_loop(make_round, n_features, stop, steps):
    context = make_round(n_labeled=6, n_unlabeled=80, n_features=n_features).context
    options = dict(mini_queries=3, ratio=4, steps=steps, train_batch_size=8, learning_rate=3e-3)
    with torch.random.fork_rng():
        expected, taken = naive_discal(context.for_candidate("same"), 10, **options, stop=stop)
    query = DiscAL(**options, stop_accuracy=stop).query(context.for_candidate("same"), 10)
    assert query.indices.tolist() == expected
    assert query.report["steps"] == taken and len(query.report["accuracy"]) == 3
    assert (max(taken) < steps) == (stop == 0.8)


def test_it_prefers_what_is_unlike_the_labeled_samples(make_round):
    embeddings = torch.randn(120, 8, generator=torch.Generator().manual_seed(0))
    context = make_round(40, 80, embeddings=embeddings).context
    new = context.candidates.indices[:20]
    embeddings[new.tolist(), 0] += 6.0
    picks = DiscAL(2, steps=50).query(context, 10).indices
    assert len(set(picks) & set(new)) >= 9


def test_mini_queries_are_no_more_than_the_batch(make_round):
    context = make_round(10, 30).context
    query = DiscAL(steps=5).query(context, 3)
    assert query.report["steps"] == [5, 5, 5] and len(set(query.indices)) == 3
    assert sorted(DiscAL(steps=2).query(context, 30).indices) == context.candidates.indices.tolist()


def test_a_label_is_needed(make_round):
    with pytest.raises(DeepALError, match="label at least one sample first"):
        DiscAL().query(make_round(0, 20).context, 3)


def test_on_a_device(make_round):
    context = make_round(10, 30).context
    expected = DiscAL(2, steps=9).query(context.for_candidate("a"), 6).indices.tolist()
    with pretended_cuda():
        device = torch.device("cuda", 0)
        other = context.for_candidate("a")
        other.device = device
        for view in (other.candidates, other.labeled):
            rows = view.embeddings().cuda()
            vars(view)["embeddings"] = lambda rows=rows: rows
        assert DiscAL(2, steps=9).query(other, 6).indices.tolist() == expected


def test_the_classifier_is_that_of_the_authors():
    assert [layer.out_features for layer in build_classifier(30) if isinstance(layer, nn.Linear)] == [256, 256, 256, 2]
    assert [layer.out_features for layer in build_classifier(29) if isinstance(layer, nn.Linear)] == [20, 20, 20, 2]


@pytest.mark.parametrize(
    "options", [{"mini_queries": 0}, {"ratio": 0}, {"steps": 0}, {"learning_rate": 0.0}, {"stop_accuracy": -1}]
)
def test_invalid_options_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        DiscAL(**options)
