"""What layers know, and what more images would bring: on features whose truth is known."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from zoo.advice import growth, held_out, layers, reading
from zoo.advice.depths import Depths, probe_depths
from zoo.advice.growth import MORE, Growth, grow
from zoo.advice.held_out import Features
from zoo.backbones.taps import Tap
from zoo.backbones.trace import trace
from zoo.domain.progress import silent
from zoo.domain.task import Task
from zoo.finetune.strategies.linear import Scaling, folds

CLASSES = 3
TASK: Task = "classification"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(held_out, "MOST_REPEATS", 1)


def drawn(images: int, apart: float, features: int = 12, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Features and classes whose means are ``apart`` deviations from each other."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.arange(images) % CLASSES
    noise = torch.randn(images, features, generator=generator)
    return noise + apart * torch.eye(CLASSES, features)[targets], targets


def of(values: Tensor, targets: Tensor, **more: object) -> Features:
    return replace(Features(values=values, targets=targets, task="classification"), **more)  # type: ignore[arg-type]


def probed(
    by_depth: dict[str, Tensor],
    targets: Tensor,
    task: Task = "classification",
    groups: tuple[str, ...] = (),
    end: Collection[str] = ("head",),
) -> Depths:
    parts = [values.shape[1] for values in by_depth.values()]
    values = torch.cat(list(by_depth.values()), dim=1)
    together = Features(values=values, targets=targets, task=task, parts=parts, groups=groups)
    return probe_depths(by_depth, together, seed=0, end=end)[0]


def test_an_image_is_scored_by_a_probe_that_did_not_see_it() -> None:
    """By hand, with the C of scikit-learn's that does best on the other folds."""
    features, targets = drawn(60, 1.0)
    found = held_out.held_out(of(features, targets), 0)
    right = torch.zeros(7, 60)
    division = folds(targets, held_out.FOLDS, 0)
    for at, c in enumerate(10.0**power for power in range(-4, 3)):
        for fitted, left in division:
            scaling = Scaling.of(features[fitted])
            model = LogisticRegression(C=c, max_iter=10_000)
            model.fit(scaling.apply(features[fitted]), targets[fitted])
            said = model.predict(scaling.apply(features[left]))
            right[at, left] = (torch.tensor(said) == targets[left]).float()
    by_hand = right.mean(dim=1)
    assert by_hand.min() <= found.scores.mean() <= by_hand.max()
    assert abs(found.scores.mean() - by_hand.max()) < 0.08


@pytest.mark.long
def test_few_images_are_divided_several_times(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = drawn(60, 1.0)
    once = held_out.held_out(of(features, targets), 0).scores
    monkeypatch.setattr(held_out, "MOST_REPEATS", 3)
    thrice = held_out.held_out(of(features, targets), 0).scores
    assert {*once.tolist()} == {0.0, 1.0}
    assert {round(score * 3) for score in thrice.tolist()} == {0, 1, 2, 3}


def test_labels_that_mean_nothing_score_as_chance() -> None:
    features, targets = drawn(150, 3.0, features=300)
    shuffled = targets[torch.randperm(150, generator=torch.Generator().manual_seed(1))]
    found = probed({"a": features, "head": features}, shuffled)
    assert all(depth.low < 1 / CLASSES < depth.high for depth in found.depths)


def test_the_depth_that_knows_the_classes_is_found() -> None:
    known, targets = drawn(120, 2.0)
    less, _ = drawn(120, 0.7, seed=1)
    nothing, _ = drawn(120, 0.0, seed=2)
    found = probed({"stem": nothing, "middle": known, "head": less}, targets)
    assert [depth.at for depth in found.depths] == ["stem", "middle", "head", "all"]
    assert found["all"].features == 36
    assert found.best_single == "middle"
    assert 0 < found.gain.low < found.gain.score < found.gain.high
    assert found["stem"].low < 1 / CLASSES < found["stem"].high
    assert found["middle"].low < found["middle"].score < found["middle"].high <= 1


def test_images_are_not_unlike_where_the_end_of_the_network_knows_most() -> None:
    """The last block has fewer features than what is made of it, of which a probe learns sooner."""
    known, targets = drawn(120, 2.0)
    less, _ = drawn(120, 0.7, seed=1)
    depths = {"middle": less, "last": known, "head": drawn(120, 0.7, seed=2)[0]}
    assert probed(depths, targets).gain.unlike
    found = probed(depths, targets, end=("last", "head"))
    assert (found.best_single, found.gain.at, found.gain.over) == ("last", "middle", "last")
    assert (found.gain.unlike, found.gain.end) == (False, "last, at the end of the network")
    alone = probed({"head": known}, targets).gain
    assert (alone.score, alone.unlike, alone.end) == (0, False, "the last features")


def test_the_end_of_a_network_is_its_last_tenth() -> None:
    """Of a plain `nn.Sequential`, whose units are called by numbers, too."""
    kinds = {8: {"21", "head"}, 10: {"27", "head"}, 11: {"27", "30", "head"}}
    for count, end in kinds.items():
        layers = [
            layer
            for width in [3, *[4] * (count - 1)]
            for layer in (nn.Conv2d(width, 4, 1), nn.BatchNorm2d(4), nn.ReLU())
        ]
        network = nn.Sequential(*layers, nn.Flatten(), nn.Linear(64, 2))
        traced = trace("row", network, input_size=(3, 4, 4), head=(str(3 * count + 1),))
        assert len(traced.units) == count
        assert reading._end(traced) == end


@pytest.mark.long
def test_of_many_depths_alike_none_is_called_better_by_luck() -> None:
    """Of eight that know as much one is the best, by about as much as chance allows one."""
    targets = torch.arange(120) % CLASSES
    depths = {f"{at}": drawn(120, 0.8, seed=at)[0] for at in range(8)}
    found = probed({**depths, "head": drawn(120, 0.8, seed=8)[0]}, targets)
    assert found.gain.low < 0


def test_an_interval_has_two_ends_where_all_are_right() -> None:
    features, targets = drawn(60, 30.0)
    head = probed({"head": features}, targets)["head"]
    assert (head.score, head.high) == (1, 1)
    assert 0.9 < head.low < 0.97


def test_depths_that_know_different_classes_know_more_together() -> None:
    features, targets = drawn(150, 2.5)
    first, second = features.clone(), features.clone()
    first[:, 0] = second[:, 1] = 0  # each is blind for one class
    found = probed({"a": first, "head": second}, targets)
    assert found.best == "all"
    assert found["all"].score > found[found.best_single].high


def test_each_depth_counts_the_same_however_many_features_it_has() -> None:
    """Of 900 that know little, and 4 that know all."""
    known, targets = drawn(60, 1.6, features=4)
    noise, _ = drawn(60, 0.0, features=900, seed=4)
    found = probed({"a": known, "head": noise}, targets)
    assert found["all"].score > found["head"].score + 0.25
    alone = held_out.held_out(of(torch.cat([known, noise], dim=1), targets), 0)
    assert found["all"].score > alone.scores.mean() + 0.08


def test_groups_are_in_one_fold_and_count_as_one() -> None:
    """Pairs of the same image have random labels: who saw one knows the other."""
    images, _ = drawn(40, 0.0, features=200)
    features = images.repeat(2, 1) + 0.01 * drawn(80, 0.0, features=200, seed=5)[0]
    targets = torch.randint(0, 2, (40,), generator=torch.Generator().manual_seed(3)).repeat(2)
    groups = tuple(f"{at % 40}" for at in range(80))
    cheated = probed({"head": features}, targets)["head"]
    honest = probed({"head": features}, targets, groups=groups)["head"]
    assert cheated.score > 0.9
    assert honest.low < 0.5 < honest.high
    assert honest.high - honest.low > 1.2 * 2 * 1.96 * 0.5 / 80**0.5


@pytest.mark.long
def test_labels_and_numbers_have_curves() -> None:
    features, targets = drawn(90, 2.0)
    labels = torch.nn.functional.one_hot(targets).float()
    many = probed({"head": features}, labels, "multi-label")["head"]
    assert 0.5 < many.score <= many.high <= 1
    numbers = probed({"head": features}, features[:, :1] * 2, "regression")["head"]
    assert numbers.score > 0.99


def grown(features: Features, c: float = 0.01) -> Growth:
    found = grow(features, c, seed=0)
    assert found
    return found


def test_what_more_images_bring_is_foretold() -> None:
    features, targets = drawn(3000, 1.0, features=60)
    here, rest = slice(0, 150), slice(300, 3000)
    found = grown(of(features[here], targets[here]))
    assert [size.images for size in found.sizes] == [30, 60, 90, 120]
    reached = []
    for end in (150, 150 + MORE):
        scaling = Scaling.of(features[:end])
        model = LogisticRegression(C=0.01).fit(scaling.apply(features[:end]), targets[:end])
        reached.append(model.score(scaling.apply(features[rest]), targets[rest]))
    assert found.low < reached[1] - reached[0] < found.high
    assert found.brings > 0


def test_where_nothing_is_learned_more_images_bring_nothing() -> None:
    features, targets = drawn(120, 0.0, features=60)
    found = grown(of(features, targets))
    assert found.low == 0
    assert found.brings < 0.08


@pytest.mark.long
def test_sizes_keep_groups_whole_and_too_few_groups_say_nothing() -> None:
    features, targets = drawn(120, 1.0)
    for groups, sizes in ((40, 4), (5, 4), (4, 0)):
        found = grow(of(features, targets, groups=[f"{at % groups}" for at in range(120)]), 0.01, 0)
        assert len(found.sizes if found else ()) == sizes, groups


@dataclass
class Read:
    """What `layers_of` asks of a reading, without one."""

    features: tuple[Tensor, ...]
    targets: Tensor
    taps: tuple[Tap, ...]
    device: torch.device = held_out.CPU
    end: frozenset[str] = frozenset({"head"})

    def where(self, *_: str) -> Tensor:
        return torch.arange(len(self.targets))


def test_probes_are_fitted_where_the_network_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Meta stands for a GPU: features of each depth, and of all, come there."""
    there, found = torch.device("meta"), list[tuple[int, torch.device]]()

    def saw(features: Tensor) -> int:
        found.append((features.shape[1], features.device))
        return features.shape[1]

    class Fitter:
        def __init__(self, _: str, features: Tensor, *__: Any, **___: Any) -> None:
            self.width = saw(features)

        def fit(self, _: float) -> tuple[Tensor, Tensor]:
            return torch.zeros(CLASSES, self.width), torch.zeros(CLASSES)

    def along_c(_: str, __: Task, parts: Any, outputs: int, ___: Any) -> Any:
        for (fitted, _), (asked, _) in parts:
            assert saw(fitted) == saw(asked)
        return {1.0: ([torch.zeros(len(truth), outputs) for _, (_, truth) in parts], (0.0, 0.0))}

    monkeypatch.setattr(growth, "Fitter", Fitter)
    monkeypatch.setattr(held_out, "along_c", along_c)
    values, targets = drawn(60, 3.0)
    tap = [Tap(name, "fc", True, (1, 12), 1) for name in ("one", "head")]
    read = Read((values, values + 1), targets, tuple(tap), there)
    layers.layers_of(read, TASK, ("a", "b", "c"), [""] * 60, 0, silent)  # type: ignore[arg-type]
    assert {device for _, device in found} == {there}
    assert {features for features, _ in found} == {12, 24}


@pytest.mark.long
def test_images_without_a_group_are_alone() -> None:
    """One pair that shows the same among many others."""
    features, targets = drawn(120, 1.5)
    groups = ["pair" if at in (0, 3) else "" for at in range(120)]
    assert [size.images for size in grown(of(features, targets, groups=groups)).sizes] == [
        size.images for size in grown(of(features, targets)).sizes
    ]


def layers_with(
    values: Tensor, targets: Tensor, task: Task = TASK, groups: Sequence[str] = ()
) -> layers.Layers | None:
    tap = Tap("head", "fc", True, (1, values.shape[1]), 1)
    read, names = Read((values,), targets, (tap,)), ("a", "b", "c", "d")
    return layers.layers_of(read, task, names, groups or [""] * len(values), 0, silent)  # type: ignore[arg-type]


@pytest.mark.long
def test_a_class_of_one_image_is_left_out_and_named() -> None:
    values, targets = drawn(61, 3.0)
    targets[60] = 3
    found = layers_with(values, targets)
    assert found
    assert (found.images, found.without) == (60, ("d",))
    assert found.depths["head"].score > 0.9


@pytest.mark.long
def test_of_many_images_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "MOST", 40)
    values, targets = drawn(121, 3.0)
    for count in (41, 120, 121):
        found = layers_with(values[:count], targets[:count])
        assert found
        assert found.images == 40
    rows, chosen, without = layers.judging(torch.arange(4).repeat_interleave(30), TASK, 5, 0)
    assert rows.tolist() == sorted(set(rows.tolist()))
    assert (chosen.bincount().tolist(), without) == ([10] * 4, [4])
    other, _, _ = layers.judging(torch.arange(4).repeat_interleave(30), TASK, 5, 1)
    assert rows.tolist() != other.tolist()
    # One group of more images than are drawn is no error.
    assert layers_with(values, targets, groups=["video"] * 121) is None


@pytest.mark.parametrize(
    ("task", "score"),
    [pytest.param("multi-label", "f1", marks=pytest.mark.long), ("regression", "r2")],
)
def test_scores_are_called_by_their_names(task: Task, score: str) -> None:
    values, targets = drawn(60, 3.0)
    found = layers_with(values, torch.nn.functional.one_hot(targets).float(), task)
    assert found
    assert found.score == score
