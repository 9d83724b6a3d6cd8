"""What is known of networks before anything is measured here, and where from."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import lsqr

from zoo.domain.limits import MIB, RESULTS_BYTES
from zoo.domain.result import Result
from zoo.errors import InvalidOption, NotAFile
from zoo.store.regular import open_regular

__all__ = ["Figure", "NetworkFacts", "Prior", "effects", "priors", "read_figures"]

Kind = Literal["results", "history", "published", "size"]

COLUMNS = ("network", "dataset", "accuracy")
LEAST_SHARE = 0.5
"""Of the networks that something must be known of to be taken."""
LEAST_SETS = 4
"""Data sets from which on the zoo's history is taken: with fewer, it orders networks worse than
published accuracy does (docs/benchmarks.md)."""
LARGEST_SCORE = 1e9
CLOSE = 1e-12
"""How exactly least squares are solved, as a share of the figures."""


class Figure(NamedTuple):
    """A result of a network on other images; the more, the better."""

    network: str
    data: str  # which images
    what: str  # the measure, image size, split, …: only figures of the same can be compared
    score: float


class NetworkFacts(NamedTuple):
    """What is known of a network without looking at the images."""

    name: str
    networks: tuple[str, ...]  # what the zoo's history calls it, and what it derives from
    architecture: str
    top1: float | None  # published, of ImageNet-1k
    params: int | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Prior(Result):
    """What is known of a network before.

    Attributes:
        kind: ``results`` and ``history``: how much better than other networks it is on other data,
            in the unit of the figures; ``published``: top-1 accuracy on ImageNet, percent;
            ``size``: its parameters.
        value: That; None where it is not known.
        data_sets: On how many sets of images this rests.
    """

    kind: Kind
    value: float | None
    data_sets: int

    @property
    def strength(self) -> float | None:
        """What orders networks: of sizes, the logarithm."""
        if self.kind == "size" and self.value is not None:
            return math.log10(max(self.value, 1))
        return self.value


def priors(
    networks: Sequence[NetworkFacts],
    history: Sequence[Figure],
    results: Sequence[Figure] | None,
    ranked: Collection[str] | None = None,
) -> list[Prior]:
    """What is known of each network, of one kind for all: the first of results that were given,
    the zoo's history on four data sets or more, published results and size that at least half of
    those that are ``ranked`` have (all, unless their names are given).

    Raises:
        InvalidOption: Results were given, and have none of these networks.
    """
    if results is not None:
        return _of_results(networks, results)
    of_history = {
        name: effect for name, effect in effects(history).items() if effect[1] >= LEAST_SETS
    }
    estimates = [_first(of_history, each.networks) for each in networks]
    counts = [ranked is None or each.name in ranked for each in networks]
    if _enough(compress(estimates, counts)):
        return [_effect("history", each) for each in estimates]
    published = [each.top1 for each in networks]
    if _enough(compress(published, counts)):
        return [Prior(kind="published", value=value, data_sets=1) for value in published]
    return [Prior(kind="size", value=each.params, data_sets=0) for each in networks]


def _enough(values: Iterable[object | None]) -> bool:
    is_known = [value is not None for value in values]
    return sum(is_known) >= 2 and sum(is_known) >= LEAST_SHARE * len(is_known)


def _of_results(networks: Sequence[NetworkFacts], figures: Sequence[Figure]) -> list[Prior]:
    of = effects(figures)
    estimates = [_first(of, _names(each)) for each in networks]
    if not any(estimates):
        known = ", ".join(sorted(of)[:4]) or "none that share a data set with another"
        raise InvalidOption(
            f"the results have none of the {len(networks)} networks, such as "
            f"{networks[0].name if networks else ''}; they are of {known}",
            hint="a network is called there what zoo calls it, with or without what is before the "
            "slash, or by its architecture",
        )
    return [_effect("results", each) for each in estimates]


def _names(known: NetworkFacts) -> tuple[str, str, str]:
    return known.name, known.name.partition("/")[2], known.architecture


def _first(of: Mapping[str, tuple[float, int]], names: Iterable[str]) -> tuple[float, int] | None:
    return next((of[name] for name in names if name in of), None)


def _effect(kind: Kind, effect: tuple[float, int] | None) -> Prior:
    value, number = effect or (None, 0)
    return Prior(kind=kind, value=value, data_sets=number)


def effects(figures: Iterable[Figure]) -> dict[str, tuple[float, int]]:
    """How much better than others each network is, and on how many data sets that rests.

    Where all networks were tried on all data, that is the mean of the differences to the mean of
    each data set. Where some were not, least squares separate what belongs to the network from what
    belongs to the data, so that hard data count against nobody. A figure of one network alone says
    nothing. Networks are compared through figures of the same data: where these fall into parts
    that share no network, those outside the part with the most networks are left out.
    """
    best: dict[tuple[str, tuple[str, str]], float] = {}
    for network, data, what, score in figures:
        key = network, (data, what)
        best[key] = max(score, best.get(key, score))
    tried = Counter(where for _, where in best)
    kept = {key: score for key, score in best.items() if tried[key[1]] > 1}
    if not kept:
        return {}
    data_of: dict[str, set[str]] = {}
    for network, (data, _) in kept:
        data_of.setdefault(network, set()).add(data)
    networks = {name: at for at, name in enumerate(data_of)}
    places = {where: at for at, where in enumerate(dict.fromkeys(where for _, where in kept))}
    edges = np.array([(networks[name], len(networks) + places[where]) for name, where in kept])
    values, part = _separate(edges, np.array(list(kept.values())))
    largest = np.bincount(part[: len(networks)]).argmax()
    mean = values[: len(networks)][part[: len(networks)] == largest].mean()
    # Rounded: of equal networks none may be ahead by an error of floating point.
    return {
        name: (round(float(values[at] - mean), 9), len(data_of[name]))
        for name, at in networks.items()
        if part[at] == largest
    }


def _separate(
    edges: NDArray[np.int64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.int32]]:
    """For ``scores`` (N,) that are each the sum of two unknowns ``edges`` (N, 2): the unknowns by
    least squares, and the number of the connected part that each belongs to.
    """
    count, rows = edges.max() + 1, np.arange(len(edges)).repeat(2)
    sums = coo_array((np.ones(edges.size), (rows, edges.ravel())), shape=(len(edges), count))
    graph = coo_array((np.ones(len(edges)), edges.T), shape=(count, count))
    _, part = connected_components(graph, directed=False)
    return lsqr(sums, scores, atol=CLOSE, btol=CLOSE)[0], part


def read_figures(path: Path) -> list[Figure]:
    """The results in a CSV file with the columns ``network``, ``dataset`` and ``accuracy``.

    Raises:
        InvalidOption: It cannot be read, is none such, or has a line that is no result.
    """
    try:
        with open_regular(path, path, follow=True) as file:
            data = file.read(RESULTS_BYTES + 1)
        if len(data) > RESULTS_BYTES:
            raise InvalidOption(f"{path}: results have at most {RESULTS_BYTES // MIB} MiB")
        reader = csv.DictReader(data.decode("utf-8-sig").splitlines(), strict=True)
        if lacking := [name for name in COLUMNS if name not in (reader.fieldnames or ())]:
            raise InvalidOption(
                f"{path}: no table of results: it has no column {lacking[0]}",
                hint=f"the first line is {','.join(COLUMNS)}",
            )
        figures = [_figure(path, reader.line_num, row) for row in reader]
    except NotAFile as error:
        raise InvalidOption(f"{path}: no table of results: it is {error.found}") from error
    except UnicodeDecodeError as error:
        raise InvalidOption(f"{path}: no table of results: it is not text") from error
    except csv.Error as error:
        raise InvalidOption(f"{path}: no table of results: {error}") from error
    except OSError as error:
        raise InvalidOption(f"{path}: {error.strerror or error}") from error
    if not figures:
        raise InvalidOption(f"{path}: it has no results below its first line")
    return figures


def _figure(path: Path, line: int, row: Mapping[str, str | None]) -> Figure:
    network, data, text = (row.get(name) or "" for name in COLUMNS)
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not (network and data and abs(score) < LARGEST_SCORE):  # nor is it NaN
        raise InvalidOption(
            f"{path}, line {line}: a network, a data set and a number are needed, not "
            f"'{network[:40]}', '{data[:40]}', '{text[:40]}'"
        )
    return Figure(network, data, "", score)
