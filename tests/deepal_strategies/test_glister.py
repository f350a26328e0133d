"""GLISTER against automatic differentiation of the last layer."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from deepal_autoal import DeepALError
from deepal_strategies.glister import GLISTER


def naive_picks(embeddings, logits, labeled, labels, candidates, validation, validation_labels, batch_size, rate):
    """Return the picks: for every step, the gradients of all samples by autograd, of a bias and a matrix added to f."""
    n_classes = logits.shape[1]

    def gradients(rows, targets, shift):
        """Return a row of gradients for each sample, with the last layer shifted by a vector of its weights."""
        found = []
        for row, target in zip(rows, targets, strict=True):
            weights = shift.clone().requires_grad_()
            layer = weights.view(n_classes, -1)
            output = logits[row] + layer[:, :-1] @ embeddings[row] + layer[:, -1]
            loss = F.cross_entropy(output[None], torch.tensor([int(target)]))
            found.append(torch.autograd.grad(loss, weights)[0])
        return torch.stack(found)

    zero = torch.zeros(n_classes * (embeddings.shape[1] + 1), dtype=logits.dtype)
    own = gradients(candidates, logits[torch.tensor(candidates)].argmax(dim=1), zero)
    shift = -rate * gradients(labeled, labels, zero).sum(dim=0)
    chosen = []
    for _ in range(batch_size):
        target = gradients(validation, validation_labels, shift).mean(dim=0)
        gains = own @ target
        gains[chosen] = -torch.inf
        chosen.append(int(gains.argmax()))
        shift = shift - rate * own[chosen[-1]]
    return [int(candidates[place]) for place in chosen]


@pytest.mark.parametrize(("validation", "n_of_run"), [(0, 0), (6, 0), (0, 7)])
def test_picks_are_those_of_automatic_differentiation(make_round, validation, n_of_run):
    made = make_round(n_labeled=20, n_unlabeled=25, n_features=4, n_validation=n_of_run)
    context = made.context
    strategy = GLISTER(validation=validation, learning_rate=0.05)
    found = strategy.query(context, 6).tolist()
    embeddings, logits = made.trainer.embeddings, made.trainer.logits
    candidates, labeled = context.candidates.indices, context.labeled.indices
    if validation:
        judges = np.array(context.reported["validation"])
        assert len(judges) == 6 and set(judges) < set(labeled)
        labeled = labeled[~np.isin(labeled, judges)]
        assert len(made.trainer.fits) == 2 and set(made.trainer.fits[1][0].indices) == set(labeled)
        judge_labels = made.labels[judges]
    elif n_of_run:
        assert len(made.trainer.fits) == 1 and "validation" not in context.reported
        judges, judge_labels = context.validation.indices, context.validation.labels.tolist()
    else:
        assert len(made.trainer.fits) == 1 and "validation" not in context.reported
        judges = np.concatenate([labeled, candidates])
        judge_labels = [*made.labels[labeled], *logits.argmax(dim=1).numpy()[candidates]]
    given = (embeddings, logits, labeled, made.labels[labeled], candidates, judges, judge_labels, 6, 0.05)
    assert found == naive_picks(*given)
    assert found != naive_picks(*given[:-1], 1e-9)  # the steps matter
    first, last = context.reported["validation_losses"]
    assert first > 0 and last > 0 and first != last


def test_the_learning_rate_is_the_recipes_and_diverging_steps_are_refused(make_round):
    made = make_round()
    rate = made.context.model.recipe.learning_rate
    expected = GLISTER(learning_rate=rate).query(made.context, 5).tolist()
    assert GLISTER().query(make_round().context, 5).tolist() == expected
    with pytest.raises(DeepALError, match="lower learning_rate"):
        GLISTER(learning_rate=1e38).query(make_round().context, 5)


def test_no_label_of_the_pool_is_touched(make_round):
    for validation in (0, 5):
        picks = [GLISTER(validation).query(make_round(poison=p).context, 5).tolist() for p in (0, 1)]
        assert picks[0] == picks[1]
