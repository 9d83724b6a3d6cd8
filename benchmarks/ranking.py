"""Which order of networks would have been right: a published table, each data set left out once.

    python benchmarks/ranking.py

``published/ranking.csv`` has the accuracy of ten networks of torchvision (ImageNet-1k), fine-tuned
on eight data sets, in percent, and four scores of their features before that; the figures of
https://github.com/thuml/Transfer-Learning-Library, examples/model_selection/README.md at 56ccfd7.
(Its NCE of DTD repeats LogME.) Sizes and ImageNet accuracy are torchvision's.

For each data set the networks are ordered by what can be known without having trained on it.
Weighted tau compares the order with that of the accuracies, errors at its top counting most. Regret
is how many points the first, or the best of the first three, is below the best network. The rule of
`zoo rank` has no parameter that was fitted to any of this: `zoo.ranking.combine`.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import weightedtau

from zoo.ranking.combine import combined, in_order
from zoo.ranking.prior import effects, read_figures

TABLE = Path(__file__).parent / "published" / "ranking.csv"
SIZE_AND_TOP1: Mapping[str, tuple[float, float]] = {
    "googlenet": (6.6, 69.778),
    "inception_v3": (27.2, 77.294),
    "resnet50": (25.6, 76.13),
    "resnet101": (44.5, 77.374),
    "resnet152": (60.2, 78.312),
    "densenet121": (8.0, 74.434),
    "densenet169": (14.1, 75.6),
    "densenet201": (20.0, 76.896),
    "mobilenet_v2": (3.5, 71.878),
    "mnasnet1_0": (4.4, 73.456),
}
"""Parameters in millions, and top-1 accuracy on ImageNet."""
NETWORKS = tuple(SIZE_AND_TOP1)
SCORES = ("leep", "h_score", "logme", "nce")

Order = Callable[[str], Sequence[float]]
"""From a data set to a value for each network; the more, the better it should be there."""


class Outcome(NamedTuple):
    """How good an order was, over all data sets."""

    tau: float
    first: float  # mean regret of the first, in points
    three: float  # of the best of the first three
    worst: float  # largest regret of the first


def table() -> Mapping[tuple[str, str], Mapping[str, float]]:
    """The figures by data set and network."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    figures = ("accuracy", *SCORES)
    return {
        (row["dataset"], row["network"]): {name: float(row[name]) for name in figures}
        for row in rows
    }


def orders() -> Mapping[str, Order]:
    """All orders that are compared."""
    known, results = table(), read_figures(TABLE)

    def score(name: str) -> Order:
        return lambda data: [known[data, network][name] for network in NETWORKS]

    def history(data: str) -> list[float]:
        of = effects(figure for figure in results if figure.data != data)
        return [of[network][0] for network in NETWORKS]

    def with_history(name: str) -> Order:
        return lambda data: combined(history(data), score(name)(data))

    return {
        **{name: score(name) for name in SCORES},
        "ImageNet top-1": lambda _: [SIZE_AND_TOP1[network][1] for network in NETWORKS],
        "parameters": lambda _: [SIZE_AND_TOP1[network][0] for network in NETWORKS],
        "history": history,
        "history and logme (zoo rank)": with_history("logme"),
        "history and h_score": with_history("h_score"),
    }


def outcome(order: Order) -> Outcome:
    """How good an order is."""
    known = table()
    found = []
    for data in dict.fromkeys(data for data, _ in known):
        true = np.array([known[data, network]["accuracy"] for network in NETWORKS])
        values = list(order(data))
        first = in_order(values, [False] * len(values))
        tau = float(weightedtau(true, values).statistic)
        found.append((tau, true.max() - true[first[0]], true.max() - true[first[:3]].max()))
    taus, ones, threes = (np.array(column) for column in zip(*found, strict=True))
    return Outcome(*(float(x) for x in (taus.mean(), ones.mean(), threes.mean(), ones.max())))


def fewer(count: int) -> float:
    """Weighted tau of the history of so many other data sets alone, over all choices of them."""
    known, results = table(), read_figures(TABLE)
    sets = dict.fromkeys(data for data, _ in known)
    taus = []
    for data in sets:
        true = [known[data, network]["accuracy"] for network in NETWORKS]
        for others in combinations([name for name in sets if name != data], count):
            of = effects(figure for figure in results if figure.data in others)
            taus.append(weightedtau(true, [of[network][0] for network in NETWORKS]).statistic)
    return float(np.mean(taus))


def main() -> None:
    """Print a row for each order, and what history is worth by how much there is of it."""
    print("| ordered by | weighted tau | regret of the first | of the first three | worst |")
    print("| --- | --- | --- | --- | --- |")
    for name, order in orders().items():
        tau, first, three, worst = outcome(order)
        print(f"| {name} | {tau:.3f} | {first:.2f} | {three:.2f} | {worst:.1f} |")
    taus = ", ".join(f"{fewer(count):.3f} with {count}" for count in range(1, 8))
    print(f"weighted tau of history, by the number of other data sets: {taus}")


if __name__ == "__main__":
    main()
