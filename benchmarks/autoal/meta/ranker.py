"""Learn to rank candidate batches from what an oracle tried, and judge the ranker on families of tasks left out.

    python benchmarks/autoal/meta/ranker.py triples.jsonl

A ranker scores a batch by its traits, relative to those of the other batches in its state, and by the state: labels per
class, accuracy on held-out labels, size of the batch. It is trained by pairs of batches within states (RankNet, Burges
et al. 2005), each weighed by the difference of their gains; every family of tasks has the same weight. The table has,
for each family, what a batch that is chosen so gains above the one of uncertainty herding in the same state:

    ranker      a network with one hidden layer, trained on the other families
    linear      a linear score of the traits alone, likewise
    shuffled    the network, trained on gains that are shuffled within each state
    coverage    the batch with the highest trait `covers_uncertain`
    any         the mean of all batches
    best        the best in hindsight: an upper bound that includes luck

The same with --gain loss_gain for the fall of the test loss, in nats, which is less noisy than accuracy.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F
from triples import TRAITS, read

from deepal_autoal.numerics.random_streams import numpy_stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

HIDDEN, STEPS, RATE = 16, 300, 0.01
# Weight decays to try; the one with the lowest loss on families left out of the training is taken.
DECAYS = (0.1, 1.0, 10.0)
RANKERS = ("ranker", "linear", "shuffled")
CHOICES = (*RANKERS, "coverage", "any", "best")


@dataclass(frozen=True)
class Tried:
    """The batches of a state.

    Attributes:
        family: Of the task.
        traits: Relative to the state's other batches, in standard deviations, float32 (n, traits).
        state: The state's own numbers, float32 (3,).
        gains: (n,), higher is better.
        base: Position of uncertainty herding's batch.
    """

    family: str
    traits: Tensor
    state: Tensor
    gains: NDArray[np.float64]
    base: int


def tried(row: Mapping[str, Any], gain: str = "gain") -> Tried:
    """Return a line of the triples as numbers."""
    batches = row["batches"]
    traits = torch.tensor([[batch[name] for name in TRAITS] for batch in batches])
    traits = traits - traits.mean(dim=0)
    scale = traits.square().mean(dim=0).sqrt()
    traits = torch.where(scale > 1e-9, traits / scale.clamp_min(1e-9), torch.zeros_like(traits))
    held_out = row["held_out"] if np.isfinite(row["held_out"]) else 0.5
    state = torch.tensor([
        np.log10(row["n_labels"] / row["n_classes"]) - 1.0, 2.0 * held_out - 1.0,
        np.log10(row["batch_size"] / row["n_labels"]) + 0.5,
    ])  # fmt: skip
    names = [batch["policy"] for batch in batches]
    return Tried(
        row["family"], traits, state.float(), np.array([batch[gain] for batch in batches]), names.index("uherding")
    )


class Network(nn.Module):
    """Scores batches: a linear part of the traits, and unless that is all, a hidden layer that also sees the state."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.linear = nn.Linear(len(TRAITS), 1, bias=False)
        self.inner = (
            nn.Sequential(nn.Linear(len(TRAITS) + 3, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))
            if hidden else None
        )  # fmt: skip

    def forward(self, traits: Tensor, state: Tensor) -> Tensor:
        """Return scores (n,) of traits (n, traits) in states (n, 3)."""
        scores: Tensor = self.linear(traits).squeeze(1)
        if self.inner is not None:
            scores = scores + self.inner(torch.cat([traits, state], dim=1)).squeeze(1)
        return scores


@dataclass(frozen=True)
class Pairs:
    """Pairs of batches within states.

    Attributes:
        traits: (n, traits) of all batches.
        states: (n, 3), of their states.
        better, worse: Positions of the batches of each pair, (p,).
        weights: Of the pairs; those of each family of tasks sum to 1, and those of its states to the same.
    """

    traits: Tensor
    states: Tensor
    better: Tensor
    worse: Tensor
    weights: Tensor

    @classmethod
    def of(cls, states: Sequence[Tried], gains: Sequence[NDArray[np.float64]]) -> Pairs:
        families = [one.family for one in states]
        better, worse, weights, offset = [], [], [], 0
        for one, own in zip(states, gains, strict=True):
            first, second = np.nonzero(own[:, None] > own[None])
            if len(first):
                # A state with gains of 20 points counts no more than one with gains of a tenth.
                differences = own[first] - own[second]
                weights.append(differences / differences.sum() / families.count(one.family))
                better.append(first + offset)
                worse.append(second + offset)
            offset += len(own)
        return cls(
            torch.cat([one.traits for one in states]),
            torch.cat([one.state.expand(len(one.gains), -1) for one in states]),
            torch.from_numpy(np.concatenate(better)), torch.from_numpy(np.concatenate(worse)),
            torch.from_numpy(np.concatenate(weights)).float(),
        )  # fmt: skip

    def loss(self, network: Network) -> Tensor:
        """Return RankNet's loss."""
        scores = network(self.traits, self.states)
        return (F.softplus(scores[self.worse] - scores[self.better]) * self.weights).sum() / self.weights.sum()


def informative_families(states: Sequence[Tried]) -> list[str]:
    """Return the families that have pairs of batches to learn from."""
    return sorted({one.family for one in states if np.ptp(one.gains) > 0})


def train(states: Sequence[Tried], hidden: int = HIDDEN, is_shuffled: bool = False, seed: int = 0) -> Network:
    """Return a network trained by pairs within states; its weight decay is chosen by leaving out one family each."""
    rng = numpy_stream(seed, "meta ranker")
    gains = [rng.permutation(one.gains) if is_shuffled else one.gains for one in states]
    losses = dict.fromkeys(DECAYS, 0.0)
    for family in informative_families(states):
        kept, left_out = (
            Pairs.of([states[i] for i in own], [gains[i] for i in own])
            for own in ([i for i, one in enumerate(states) if one.family != family],
                        [i for i, one in enumerate(states) if one.family == family])
        )  # fmt: skip
        for decay in DECAYS:
            with torch.no_grad():
                losses[decay] += float(left_out.loss(_fitted(kept, hidden, decay, seed)))
    return _fitted(Pairs.of(states, gains), hidden, min(losses, key=lambda decay: losses[decay]), seed)


@torch.enable_grad()  # type: ignore[untyped-decorator]
def _fitted(pairs: Pairs, hidden: int, decay: float, seed: int) -> Network:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Network(hidden)
    nn.init.zeros_(network.linear.weight)
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=decay)
    for _ in range(STEPS):
        loss = pairs.loss(network)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network


def scores_of(network: Network, one: Tried) -> NDArray[np.float64]:
    """Return the score of each batch of a state."""
    with torch.no_grad():
        return network(one.traits, one.state.expand(len(one.gains), -1)).double().numpy()


def judge(states: Sequence[Tried], seed: int = 0) -> list[dict[str, Any]]:
    """Return for each state what each choice gains above uncertainty herding, and the rankers' rank correlations.

    Each state is judged by rankers that were trained on the other families.
    """
    found = []
    for family in sorted({one.family for one in states}):
        others = [one for one in states if one.family != family]
        networks = {
            "ranker": train(others, seed=seed), "linear": train(others, hidden=0, seed=seed),
            "shuffled": train(others, is_shuffled=True, seed=seed),
        }  # fmt: skip
        for one in (one for one in states if one.family == family):
            scores = {name: scores_of(network, one) for name, network in networks.items()}
            scores |= {"coverage": one.traits[:, TRAITS.index("covers_uncertain")].double().numpy(), "best": one.gains}
            row = {name: one.gains[int(np.argmax(own))] - one.gains[one.base] for name, own in scores.items()}
            row |= {"any": one.gains.mean() - one.gains[one.base], "family": family,
                    "log_labels": float(one.state[0]) + 1.0}  # fmt: skip
            if np.ptp(one.gains) > 0:
                row["correlations"] = {
                    name: spearmanr(scores[name], one.gains).statistic if np.ptp(scores[name]) > 0 else 0.0
                    for name in (*RANKERS, "coverage")
                }
            found.append(row)
    return found


def table(rows: Sequence[Mapping[str, Any]], digits: int = 2) -> str:
    """Return mean gains by family and labels per class ± standard error, and the mean rank correlations."""
    lines = [f"| states | number | {' | '.join(f'`{name}`' for name in CHOICES)} |", "|---" * (2 + len(CHOICES)) + "|"]

    def line(title: str, own: Sequence[Mapping[str, Any]]) -> str:
        cells = []
        for name in CHOICES:
            gains = np.array([row[name] for row in own])
            cells.append(f"{gains.mean():+.{digits}f} ± {gains.std(ddof=1) / np.sqrt(len(gains)):.{digits}f}")
        return f"| {title} | {len(own)} | {' | '.join(cells)} |"

    lines += [line(family, own) for family in dict.fromkeys(row["family"] for row in rows)
              if len(own := [row for row in rows if row["family"] == family]) > 1]  # fmt: skip
    for low, high in ((-9.0, 0.7), (0.7, 1.2), (1.2, 1.7), (1.7, 9.0)):
        own = [row for row in rows if low <= row["log_labels"] < high]
        if len(own) > 1:
            end = f"to {10**high:.0f}" if high < 9 else "and more"
            lines.append(line(f"{10**low:.0f} {end} labels per class", own))
    lines.append(line("all", rows))
    correlations = [row["correlations"] for row in rows if "correlations" in row]
    means = {name: np.mean([one[name] for one in correlations]) for name in correlations[0]}
    cells = [f"{means[name]:+.2f}" if name in means else "" for name in CHOICES]
    return "\n".join([*lines, f"| rank correlation | {len(correlations)} | {' | '.join(cells)} |"])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("triples", type=Path, nargs="+")
    parser.add_argument("--gain", choices=["gain", "loss_gain"], default="gain", help="points of accuracy, or nats")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    states = [tried(row, options.gain) for row in read(options.triples)]
    # One is left out to judge, and another to choose the weight decay.
    found = informative_families(states)
    if len(found) < 3:
        parser.error(
            "give states of at least three families of tasks in which not all batches gain the same; there are "
            f"{len(found)}"
        )
    print(table(judge(states, options.seed), 2 if options.gain == "gain" else 3))


if __name__ == "__main__":
    main()
