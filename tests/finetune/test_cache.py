"""Cached activations: the same rows, found again, and never stale."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from copy import deepcopy
from functools import cache as cache_of_calls
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.sampled import sampled
from torch import Tensor, nn

from zoo import config, plugins
from zoo.backbones.freeze import freeze
from zoo.backbones.from_cut import FromCut
from zoo.domain.hierarchy import Hierarchy
from zoo.domain.progress import silent
from zoo.errors import Unsupported
from zoo.finetune.features import cache
from zoo.finetune.features.cache import Activations, below_digest, open_or_fill, shape_of

COUNT = 7


@cache_of_calls
def built(architecture: str) -> tuple[nn.Module, Hierarchy]:
    torch.manual_seed(2)
    module = timm.create_model(architecture)
    return module, plugins.backbone("timm").hierarchy(architecture, module)


class Work:
    """A network frozen to a cut, images, and a count of how often the images were asked for."""

    def __init__(self, architecture: str, depth: int, folder: Path) -> None:
        untouched, self.hierarchy = built(architecture)
        self.module = deepcopy(untouched)
        self.boundary = self.hierarchy.cut_below(depth)
        assert self.boundary
        freeze(self.module, self.hierarchy, self.boundary)
        self.module.train()
        self.entry = FromCut(self.module, self.hierarchy, self.boundary)
        torch.manual_seed(2)
        self.images = torch.randn(
            COUNT, *plugins.backbone("timm").preprocessing(self.module).input_size
        )
        self.folder = folder
        self.asked = 0

    def batches(self) -> Iterator[Tensor]:
        self.asked += 1
        yield from torch.split(self.images, 3)

    def activations(self, kept: torch.dtype = torch.float32, **more: Any) -> Activations:
        description = {"below": below_digest(self.module, self.hierarchy, self.boundary), **more}
        shape = shape_of(self.entry, self.images[0], kept=kept)
        return open_or_fill(
            self.folder, description, shape, COUNT, self.batches, self.entry, silent
        )


NETWORKS = ["test_resnet", "test_vit", "test_convnext"]
of_one = pytest.mark.parametrize("work", sampled(NETWORKS, ["test_resnet"]), indirect=True)
"""What becomes of files is the same, whatever is in them."""


@pytest.fixture(params=NETWORKS)
def work(request: pytest.FixtureRequest, tmp_path: Path) -> Work:
    return Work(request.param, 3, tmp_path / "cache")


def rows_equal(one: Activations, other: Activations) -> bool:
    return all(map(torch.equal, one.rows, other.rows))


def test_a_row_is_what_enters_for_its_image(work: Work) -> None:
    activations = work.activations()
    args, kwargs = activations.batch([4, 0], torch.device("cpu"))
    expected, expected_kwargs = work.entry.record(work.images[[4, 0]])
    assert kwargs.keys() == expected_kwargs.keys()
    assert len(args) == len(expected)
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(args, expected, strict=True))
    late = work.entry.forward((args, kwargs), work.images[[4, 0]])
    assert torch.allclose(late, work.module(work.images[[4, 0]]), atol=1e-4)


def test_half_precision_takes_half_the_bytes_and_is_no_other(work: Work) -> None:
    """It is found under a name of its own; what enters has the dtype that the network expects."""
    whole, half = work.activations(), work.activations(torch.bfloat16)
    assert work.asked == 2
    assert half.nbytes == half.shape.nbytes * COUNT == whole.nbytes / 2
    for one, other in zip(whole.rows, half.rows, strict=True):
        assert torch.equal(one.to(torch.bfloat16), other)
    picked = half.picked([4, 0], torch.device("cpu"))
    entering = half.cut_inputs(picked, torch.device("cpu"))[0]
    assert {rows.dtype for rows in picked} == {torch.bfloat16}
    assert [rows.dtype for rows in entering] == [rows.dtype for rows in whole.rows]
    assert rows_equal(work.activations(torch.bfloat16), half)
    assert rows_equal(work.activations(), whole)
    assert work.asked == 2


def test_a_process_may_have_no_image_of_a_batch(work: Work) -> None:
    """Of a last one that has fewer than there are processes, say."""
    args, _ = work.activations().batch([], torch.device("cpu"))
    assert {len(value) for value in args} == {0}


def test_a_batch_is_memory_of_its_own(work: Work) -> None:
    activations = work.activations()
    before = [rows.clone() for rows in activations.rows]
    for value in activations.batch([0, 1], torch.device("cpu"))[0]:
        value.zero_()
    assert all(map(torch.equal, activations.rows, before))


def test_a_second_run_computes_nothing(work: Work) -> None:
    first = work.activations()
    second = work.activations()
    assert work.asked == 1
    assert rows_equal(first, second)


@of_one
def test_what_is_interrupted_leaves_nothing(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted() -> Iterator[Tensor]:
        yield work.images[:3]
        assert list(work.folder.glob(".filling-*/0.bin"))
        raise KeyboardInterrupt

    def at_once(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(work, "batches", interrupted)
        with pytest.raises(KeyboardInterrupt):
            work.activations()
    assert not list(work.folder.iterdir())
    monkeypatch.setattr(os, "posix_fallocate", at_once)
    with pytest.raises(KeyboardInterrupt):
        work.activations()
    assert not list(work.folder.iterdir())


@of_one
def test_whatever_shapes_it_names_it(work: Work) -> None:
    work.activations(data="one")
    work.activations(data="another")
    assert work.asked == 2
    with torch.no_grad():
        name = work.hierarchy.units[0].parameters[-1]
        work.module.get_parameter(name).add_(1e-6)
    work.activations(data="one")
    assert work.asked == 3


@of_one
def test_weights_above_the_cut_do_not_matter(work: Work) -> None:
    work.activations()
    with torch.no_grad():
        for name in work.hierarchy.units[work.boundary].parameters:
            work.module.get_parameter(name).add_(1.0)
    work.activations()
    assert work.asked == 1


def test_a_buffer_below_matters(tmp_path: Path) -> None:
    work = Work("test_resnet", 3, tmp_path)
    before = below_digest(work.module, work.hierarchy, work.boundary)
    work.module.get_buffer(work.hierarchy.units[0].buffers[0]).add_(1)
    assert below_digest(work.module, work.hierarchy, work.boundary) != before


@of_one
@pytest.mark.parametrize("damage", ["flip", "cut", "gone", "description", "stale"])
def test_a_damaged_or_stale_one_is_computed_again(work: Work, damage: str) -> None:
    first = work.activations()
    kept = [rows.clone() for rows in first.rows]
    (home,) = work.folder.iterdir()
    data, description = home / "0.bin", home / cache.DESCRIPTION
    if damage == "flip":
        content = bytearray(data.read_bytes())
        content[len(content) // 2] ^= 1
        data.write_bytes(content)
    elif damage == "cut":
        os.truncate(data, data.stat().st_size - 1)
    elif damage == "gone":
        data.unlink()
    elif damage == "description":
        description.write_text("[]")
    else:
        description.write_text(
            description.read_text().replace('"below": "blake3:', '"below": "blake3:0')
        )
    again = work.activations()
    assert work.asked == 2
    assert all(map(torch.equal, again.rows, kept))
    assert rows_equal(work.activations(), again)
    assert work.asked == 2


@of_one
def test_one_that_goes_while_it_is_opened_is_what_it_was(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another run makes way meanwhile: nobody trains on zeros, and no file takes its place."""
    kept = [rows.clone() for rows in work.activations().rows]
    (home,) = work.folder.iterdir()
    digest = cache._digest

    def then_gone(what: Any) -> str:
        found = digest(what)
        for path in home.glob("*.bin"):
            path.unlink()
        return found

    with monkeypatch.context() as patch:
        patch.setattr(cache, "_digest", then_gone)
        assert all(map(torch.equal, work.activations().rows, kept))
    opened = cache._opened

    def then_all_gone(*given: Any) -> list[Tensor] | None:
        found = opened(*given)
        shutil.rmtree(home)
        return found

    assert rows_equal(work.activations(), work.activations())
    monkeypatch.setattr(cache, "_opened", then_all_gone)
    assert all(map(torch.equal, work.activations().rows, kept))
    assert not home.exists()


def test_what_others_rename_while_room_is_made_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work("test_resnet", 3, tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "0.bin").write_bytes(b"x")
    listed = Path.iterdir

    def then_renamed(path: Path) -> Iterator[Path]:
        for each in [*listed(path)]:
            if each.name.startswith(("other", "0")) and each.exists() and path != tmp_path:
                shutil.rmtree(path)
            yield each

    monkeypatch.setattr(Path, "iterdir", then_renamed)
    assert cache.room(tmp_path, 1)
    work.activations()
    assert work.asked == 1


@of_one
def test_without_room_on_disk_it_stays_in_memory(
    work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOO_CACHE_GB", "0")
    activations = work.activations()
    assert not list(work.folder.iterdir())
    args, _ = activations.batch([1], torch.device("cpu"))
    assert torch.allclose(args[0], work.entry.record(work.images[:2])[0][0][1:2], atol=1e-5)


@of_one
def test_a_full_disk_is_no_error(work: Work, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert work.activations().rows
    assert not list(work.folder.iterdir())


def test_the_least_recently_used_goes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work("test_resnet", 3, tmp_path)
    one = sum(rows.nbytes for rows in work.activations(data=0).rows)
    monkeypatch.setenv("ZOO_CACHE_GB", str(2.5 * one / 1e9 + 1e-5))
    assert config.cache_bytes() > 2 * one
    (oldest,) = tmp_path.iterdir()
    os.utime(oldest, (1, 1))
    work.activations(data=1)
    work.activations(data=2)
    assert not oldest.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_what_fits_nowhere_is_refused_and_costs_no_other(tmp_path: Path) -> None:
    work = Work("test_resnet", 3, tmp_path)
    work.activations()
    shape = shape_of(work.entry, work.images[0])
    with pytest.raises(Unsupported, match="GB of memory are free"):
        open_or_fill(tmp_path, {}, shape, 10**12, work.batches, work.entry, silent)
    work.activations()
    assert work.asked == 1


@of_one
def test_a_kill_while_it_is_filled_leaves_nothing_to_trust(work: Work) -> None:
    def broken() -> Iterator[Tensor]:
        yield work.images[:3]
        raise KeyboardInterrupt

    batches, work.batches = work.batches, broken  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        work.activations()
    work.batches = batches  # type: ignore[method-assign]
    work.activations()
    assert work.asked == 1
    shutil.rmtree(work.folder)


def test_randomness_below_the_cut_is_refused(tmp_path: Path) -> None:
    work = Work("test_resnet", 3, tmp_path)

    class Noise(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, 0.5)

    work.module.bn1 = nn.Sequential(work.module.get_submodule("bn1"), Noise())
    with pytest.raises(Unsupported, match="random"):
        shape_of(work.entry, work.images[0])


class SlowRows:
    """Rows whose first write ends when another batch has been run."""

    def __init__(self, rows: Tensor) -> None:
        self.rows, self.ran = rows, threading.Event()

    def __setitem__(self, place: slice, value: Tensor) -> None:
        assert self.ran.wait(10)
        self.rows[place] = value


@of_one
def test_images_are_run_while_those_before_are_written(work: Work) -> None:
    expected = work.activations()
    slow = [SlowRows(torch.empty_like(rows)) for rows in expected.rows]

    def batches() -> Iterator[Tensor]:
        for number, images in enumerate(work.batches()):
            if number == 2:  # asked for when the second is run, and nothing is written yet
                for each in slow:
                    each.ran.set()
            yield images

    rows: Any = slow
    cache._fill(rows, expected.shape, COUNT, batches(), work.entry, silent)
    assert all(torch.equal(one.rows, other) for one, other in zip(slow, expected.rows, strict=True))
