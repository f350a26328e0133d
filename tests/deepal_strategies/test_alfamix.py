"""ALFA-Mix against its formulas, component by component, for a linear last layer."""

import numpy as np
import pytest
import torch
from torch import nn

from deepal_autoal import InputError, QueryError
from deepal_autoal.testing.problems import blobs
from deepal_autoal.testing.subject import Subject
from deepal_strategies.alfamix import ALFAMix
from deepal_strategies.shared.diverse_batches import cluster_members


def softmax(logits):
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


def naive_eligible(z, anchors, weight, bias, epsilon):
    """Return whether some mixing changes the class of one embedding."""
    logits = weight @ z + bias
    y = logits.argmax()
    residual = softmax(logits)
    residual[y] = 0.0
    residual[y] = -residual.sum()
    g = weight.T @ (residual / abs(residual[y]))
    for anchor in anchors:
        mixed = z.copy()
        for d in range(len(z)):
            if anchor[d] != z[d]:
                length = np.linalg.norm(anchor - z)
                alpha = epsilon * length * g[d] / (np.linalg.norm(g) * (anchor[d] - z[d]))
                mixed[d] = alpha * anchor[d] + (1 - alpha) * z[d]
        if (weight @ mixed + bias).argmax() != y:
            return True
    return False


def naive_anchors(embeddings, labels, n_classes):
    own = [embeddings[labels == c] for c in range(n_classes)]
    return [(rows if len(rows) else embeddings).mean(axis=0) for rows in own]


def with_head(context, weight, bias):
    """Give a context of tables a last layer."""
    head = nn.Linear(weight.shape[1], len(bias)).requires_grad_(False)
    head.weight.copy_(weight), head.bias.copy_(bias)
    context.model.module = nn.Module()
    context.model.module.head = head
    context.model.logits_from_embeddings = head
    return context


def tables(n, n_classes=4, n_features=6, seed=0, scale=0.4):
    rng = torch.Generator().manual_seed(seed)
    # As after a ReLU: some components are 0 for several samples.
    embeddings = torch.randn(n, n_features, generator=rng).clamp(min=0) * 3
    weight, bias = torch.randn(n_classes, n_features, generator=rng) * scale, torch.randn(n_classes, generator=rng)
    return embeddings, weight, bias


@pytest.mark.parametrize("missing_class", [False, True])
@pytest.mark.parametrize("scale", [0.4, 8])  # the latter: most probabilities round to 1
@pytest.mark.parametrize("seed", range(2))
def test_eligible_samples_follow_the_definition(make_round, seed, missing_class, scale):
    embeddings, weight, bias = tables(120, seed=seed, scale=scale)
    labels = np.arange(120) % (4 - missing_class)
    context = make_round(20, 100, 4, logits=embeddings @ weight.T + bias, embeddings=embeddings, labels=labels).context
    with_head(context, weight, bias)
    known = context.labeled.embeddings().double().numpy()
    anchors = naive_anchors(known, context.labeled.labels.numpy(), 4)
    rows = context.candidates.embeddings().double().numpy()
    exact = weight.double().numpy(), bias.double().numpy()

    expected, cap = np.zeros(100, dtype=bool), 0.0
    while cap < 1 and expected.sum() <= 8:
        cap += 0.2
        expected |= [naive_eligible(z, anchors, *exact, cap / np.sqrt(6)) for z in rows]
    assert 0 < expected.sum() < 100
    query = ALFAMix().query(context, 8)
    assert query.report["eligible"] == expected.sum() and query.report["cap"] == pytest.approx(cap)
    positions = np.flatnonzero(expected)
    scaled = rows[positions] / np.linalg.norm(rows[positions], axis=1, keepdims=True).clip(1e-12)
    again = context.for_candidate("again")
    query, (members, _) = (
        ALFAMix().query(again, 8),
        cluster_members(torch.as_tensor(scaled).float(), 8, context.for_candidate("again").rng),
    )
    assert set(query.indices.tolist()) == set(context.candidates.indices[positions[members]].tolist())


def test_random_others_fill_the_batch(make_round):
    embeddings, weight, _ = tables(70)
    context = make_round(
        10, 60, 4, logits=embeddings @ weight.T, embeddings=embeddings, labels=np.arange(70) % 4
    ).context
    # So far from the classes' borders that little can change.
    with_head(context, weight * 0, torch.tensor([9.0, 0, 0, 0]))
    batches = {tuple(sorted(ALFAMix().query(context.for_candidate(name), 9).indices.tolist())) for name in "abc"}
    assert len(batches) == 3 and all(len(set(batch)) == 9 for batch in batches)
    report = ALFAMix(0.5).query(context, 60).report
    assert report == {"eligible": 0, "cap": 1.0}


def test_without_labels_the_batch_is_random(make_round):
    embeddings, _, _ = tables(40)
    context = make_round(0, 40, 4, logits=embeddings, embeddings=embeddings, labels=np.arange(40) % 4).context
    first, second = (ALFAMix().query(context.for_candidate(name), 5) for name in "ab")
    assert first.report == {"eligible": 0, "cap": 0.0} and set(first.indices) != set(second.indices)


@pytest.mark.parametrize("model", ["gp", "linear"])
def test_models_that_are_solved_have_gradients(model):
    context = Subject("random").context(blobs(model=model))
    assert ALFAMix().query(context, 5).report["eligible"] > 0


def test_a_last_layer_without_gradients_is_refused(make_round):
    context = make_round().context
    context.model.module = nn.Module()
    context.model.module.head = lambda embeddings: embeddings.detach().round()  # as a forest's thresholds
    with pytest.raises(QueryError, match="last layer has no gradients; choose another --model"):
        ALFAMix().query(context, 5)


@pytest.mark.parametrize("cap", [0, 1.5])
def test_options_are_checked(cap):
    with pytest.raises(InputError, match="alpha_cap"):
        ALFAMix(cap)
