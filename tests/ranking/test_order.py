"""The order of networks: what is known before, what is measured, and which differences are seen."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from statistics import fmean
from types import ModuleType

import pytest
import torch
from torch import Tensor

from zoo.ranking.combine import combined, finalists, in_order, standardized
from zoo.ranking.differences import paired_error, significant_pairs
from zoo.ranking.prior import Figure, NetworkFacts, effects, priors, read_figures

SETS = ("a", "b", "c", "d")
TRUE = {"x": 3.0, "y": 0.0, "z": -3.0}


def of(network: str, data: str, easy: float = 0.0, what: str = "") -> Figure:
    return Figure(network, data, what, 70 + TRUE[network] + easy)


def known(name: str, top1: float | None = None, params: int | None = None) -> NetworkFacts:
    line = (name, "base")
    return NetworkFacts(name, line, name.rpartition("/")[2].partition(".")[0], top1, params)


def test_an_effect_is_the_mean_difference_to_the_means_of_data_sets() -> None:
    figures = [of(network, where) for network in TRUE for where in SETS]
    figures[0] = figures[0]._replace(score=figures[0].score + 3)
    found = effects(figures)
    assert {name: number for name, (_, number) in found.items()} == dict.fromkeys(TRUE, 4)
    # On one of four data sets x is 2 more above the mean, and the others 1 less.
    expected = {"x": 3 + 2 / 4, "y": -1 / 4, "z": -3 - 1 / 4}
    assert {name: value for name, (value, _) in found.items()} == pytest.approx(expected)


def test_who_was_tried_on_hard_data_is_none_the_worse() -> None:
    """x was tried on the hard set alone, with y; z on the easy one, with y."""
    figures = [of("x", "hard", -20), of("y", "hard", -20), of("y", "easy"), of("z", "easy")]
    found = {name: value for name, (value, _) in effects(figures).items()}
    assert found == pytest.approx(TRUE, abs=0.01)


def test_figures_of_the_same_images_are_one_data_set() -> None:
    """Whatever the image size, the measure and the split are."""
    figures = [of(network, "a", what=what) for network in TRUE for what in ("p", "q", "r", "s")]
    assert {number for _, number in effects(figures).values()} == {1}
    three = [known(network, 70.0) for network in TRUE]
    assert {each.kind for each in priors(three, figures, None)} == {"published"}


def test_networks_that_share_no_data_with_others_are_unknown() -> None:
    """x, y and z were tried on one set, two others on an easier one: nothing says who is better."""
    figures = [of(network, "a") for network in TRUE]
    apart = [Figure(name, "easy", "", score) for name, score in (("v", 98.0), ("w", 99.0))]
    found = effects([*apart, *figures])
    assert {name: value for name, (value, _) in found.items()} == pytest.approx(TRUE)
    joined = effects([*apart, *figures, of("x", "easy", 20)])
    assert joined["v"][0] - joined["x"][0] == pytest.approx(5)


def test_alone_on_a_data_set_says_nothing_and_the_best_result_counts() -> None:
    assert effects([of("x", "a"), of("y", "b")]) == {}
    found = effects([of("x", "a"), of("x", "a", -50), of("y", "a")])
    assert found["x"][0] == pytest.approx(1.5)
    assert effects([]) == {}


def test_the_prior_is_the_first_that_half_of_them_have() -> None:
    figures = [of(network, where) for network in TRUE for where in SETS]
    three = [known("x", 70.0, 10), known("y", 80.0, 20), known("w", None, 30)]
    assert [(each.kind, each.data_sets) for each in priors(three, figures, None)] == [
        ("history", 4), ("history", 4), ("history", 0),
    ]  # fmt: skip
    less = [figure for figure in figures if figure.data != "d"]  # three data sets are too few
    published = priors(three, less, None)
    assert [(each.kind, each.value) for each in published] == [
        ("published", 70.0), ("published", 80.0), ("published", None),
    ]  # fmt: skip
    lone = priors([known("x", 70.0, 10), known("v"), known("w", None, 1000)], [], None)
    assert [(each.kind, each.strength) for each in lone] == [
        ("size", 1.0), ("size", None), ("size", 3.0),
    ]  # fmt: skip


def test_a_fine_tune_has_the_history_of_its_base() -> None:
    figures = [
        Figure(name, data, "", at) for name, at in (("base", 3.0), ("x", 1.0)) for data in SETS
    ]
    found = priors([known("x"), known("tuned")], figures, None)
    assert [each.value for each in found] == [-1.0, 1.0]


def test_results_that_are_given_count_before_all_else() -> None:
    figures = [of(network, where) for network in TRUE for where in SETS]
    names = [known("timm/y.in1k"), known("timm/x"), known("x"), known("team/other")]
    found = priors(names, figures, figures)
    assert [each.value for each in found] == [pytest.approx(0), *[pytest.approx(3)] * 2, None]
    assert {each.kind for each in found} == {"results"}


def test_what_is_unknown_is_as_the_lowest_and_chance_is_no_evidence() -> None:
    one = 0.5**0.5  # two values are so many standard deviations from their mean
    assert standardized([1.0, 3.0, None]).tolist() == pytest.approx([-one, one, -one])
    assert standardized([None, None]).tolist() == [0, 0]
    assert standardized([2.0, 2.0]).tolist() == [0, 0]
    assert standardized([2.0, None]).tolist() == [0, 0]
    assert standardized([1.0, 3.0], error=2**0.5).tolist() == [0, 0]
    assert standardized([1.0, 3.0], error=1.0).tolist() == pytest.approx([-one / 2, one / 2])
    assert combined([1.0, 3.0], [0.5, 0.5]) == pytest.approx([-one / 2, one / 2])


def test_what_is_seen_counts_before_what_was_known() -> None:
    assert in_order([0.1, 0.9, 0.5], [False, True, False]) == [2, 0, 1]


def test_the_best_by_the_prior_is_a_finalist_whatever_was_measured() -> None:
    assert finalists([2, 0, 1, 3], [1.0, 2.0, 3.0, 9.0], 2) == [2, 0, 3]
    assert finalists([2, 0, 1, 3], [1.0, 2.0, 9.0, None], 2) == [2, 0]
    assert finalists([1, 0], [None, None], 1) == [1]


def said(accuracy: float, images: int, seed: int) -> Tensor:
    chance = torch.Generator().manual_seed(seed)
    return (torch.rand(images, generator=chance) < accuracy).float()


def test_a_difference_is_seen_where_it_is_and_not_where_none_is() -> None:
    same = said(0.8, 400, 0)
    worse = same * said(0.8, 400, 1)
    assert significant_pairs([same, worse, same]) == {(0, 1), (2, 1)}
    assert significant_pairs([same, same.clone()]) == set()
    assert significant_pairs([same]) == set()


@pytest.mark.parametrize("networks", [2, 6])
def test_the_error_that_is_taken_off_is_that_of_differences(networks: int) -> None:
    """Images are hard for all networks alike. 100 times: by how much their means differ by luck."""
    errors, variances = [], []
    for trial in range(100):
        chance = torch.Generator().manual_seed(trial)
        hard = torch.randn(200, generator=chance)
        own = torch.randn(networks, 200, generator=chance)
        scores = list((hard + own / 2 > 0).float())
        errors.append(paired_error(scores) ** 2)
        variances.append(torch.stack(scores).mean(dim=1).var().item())
    assert fmean(errors) == pytest.approx(fmean(variances), rel=0.3)
    assert fmean(errors) < 0.6 * 0.25 / 200  # a score's own error
    assert paired_error(scores[:1]) == 0
    assert paired_error([each.repeat(4) for each in scores]) < paired_error(scores)
    groups = [f"{at % 200}" for at in range(800)]
    of_groups = paired_error([each.repeat(4) for each in scores], groups)
    assert of_groups == pytest.approx(paired_error(scores), rel=0.05)


def test_copies_of_images_are_no_further_images() -> None:
    same = said(0.8, 20, 0)
    worse = same * said(0.9, 20, 1)
    many = [same.repeat(20), worse.repeat(20)]
    assert significant_pairs(many) == {(0, 1)}
    assert significant_pairs(many, [f"{at % 20}" for at in range(400)]) == set()


def test_of_networks_that_are_the_same_hardly_any_pair_is_called_different() -> None:
    """Six of 70 %, 100 times: that any two of them seem to differ is rare."""
    wrong = sum(
        bool(significant_pairs([said(0.7, 100, 6 * trial + each) for each in range(6)]))
        for trial in range(100)
    )
    assert wrong <= 8


def test_results_are_read_and_nonsense_is_told_with_its_line(tmp_path: Path) -> None:
    table = tmp_path / "results.csv"
    table.write_text("network,dataset,accuracy,more\nx,a,70.5,1\n")
    assert read_figures(table) == [Figure("x", "a", "", 70.5)]


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[2] / "benchmarks" / "ranking.py"
    spec = importlib.util.spec_from_file_location("ranking_benchmark", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_order_is_right_on_a_published_table(benchmark: ModuleType) -> None:
    """Ten networks on eight data sets, each left out once (benchmarks/ranking.py)."""
    found = {name: benchmark.outcome(order) for name, order in benchmark.orders().items()}
    ours = found["history and logme (zoo rank)"]
    assert ours.three == 0
    assert ours.first <= 0.64
    assert ours.tau >= found["history"].tau - 0.05
    for beaten in ("logme", "ImageNet top-1", "parameters"):
        assert ours.tau > found[beaten].tau
