"""Runs that enter at a cut, from the cache: what they give, and when they do not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import PIL
import pytest
import torch

from zoo.backbones.freeze import freeze
from zoo.backbones.load import load
from zoo.domain.progress import silent
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.features.loaders import make_loaders
from zoo.finetune.run import Finetuned, finetune
from zoo.finetune.setup.prepare import prepare
from zoo.lookup.runs import find_run
from zoo.workspace import Workspace

Run = Callable[..., Finetuned]


@pytest.fixture
def run(workspace: Workspace, base: str, shapes: Path) -> Run:
    def run(save: str = "team/x", base: str = base, **options: Any) -> Finetuned:
        quick: dict[str, Any] = {"batch_size": 8, "image_size": 32}
        if options.get("strategy") != "gradual":
            quick |= {"epochs": 2, "lr": 0.01}
        recipe = Recipe(data=str(shapes), **{**quick, **options})
        return finetune(workspace, base, recipe, Reference.parse(save), device="cpu")

    return run


@pytest.mark.parametrize(
    ("network", "freeze"),
    [("base", "layer2"), pytest.param("transformer", "blocks.2", marks=pytest.mark.long)],
)
def test_cached_runs_equal_uncached_ones(
    workspace: Workspace, run: Run, request: pytest.FixtureRequest, network: str, freeze: str
) -> None:
    """To rounding: another batch may be summed in another order."""
    name = request.getfixturevalue(network)
    how = {"base": name, "freeze": freeze, "strategy": "partial", "epochs": 4, "test_share": 0.5}
    how |= {"batch_norm": "live"} if network == "base" else {}
    cached, uncached = run("team/cached", **how), run("team/uncached", cache=False, **how)
    assert list((workspace.root / "cache" / "crossings").iterdir())
    one, other = (load(workspace.store, r.manifest).state_dict() for r in (cached, uncached))
    for name in one:
        assert torch.allclose(one[name].float(), other[name].float(), rtol=1e-3, atol=1e-4), name
    images = cached.metrics["test_images"]
    assert images == 18
    assert cached.metrics["accuracy"] == pytest.approx(uncached.metrics["accuracy"], abs=1.01 / 18)
    assert cached.metrics["accuracy"] > 0.4  # of a third by chance


@pytest.mark.long
def test_why_a_cache_is_not_used_is_told_once(
    workspace: Workspace, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    run("team/one", strategy="gradual", augment="light",
        phases=("layer2:1", "layer3:1"))  # fmt: skip
    (told,) = caplog.messages
    assert "--views" in told
    again = run("team/two", freeze="layer2", augment="light", epochs=1)
    noted = find_run(workspace, again.run).lines()
    (remark,) = (line for line in noted if line["kind"] == "remark")
    assert remark["text"] == told
    run("team/three", freeze="layer2", cache=False, epochs=1)
    run("team/four", freeze="none", epochs=1)
    assert caplog.messages == [told, told]


def test_a_layout_in_memory_holds_for_what_is_cached(
    workspace: Workspace, base: str, shapes: Path
) -> None:
    folder = workspace.root / "cache" / "crossings"
    for channels_last in (True, False):
        recipe = Recipe(data=str(shapes), strategy="partial", freeze="layer2", image_size=32,
                        channels_last=channels_last)  # fmt: skip
        prepared = prepare(workspace, base, recipe, "cpu", silent)
        boundary = prepared.boundaries[0]
        freeze(prepared.model, prepared.hierarchy, boundary)
        feeds = make_loaders(prepared, boundary, folder)
        assert feeds.cut
        (entering,) = next(feeds.train.epoch(0)).inputs.at_cut[0]
        assert entering.is_contiguous(memory_format=torch.channels_last) == channels_last
    described = [json.loads(path.read_bytes()) for path in folder.glob("*/description.json")]
    assert {kept["channels_last"] for kept in described} == {True, False}
    assert described[0]["versions"]["pillow"] == PIL.__version__


@pytest.mark.long
def test_another_head_finds_the_cache_that_is_there(workspace: Workspace, run: Run) -> None:
    folder = workspace.root / "cache" / "crossings"
    run("team/one", freeze="layer2", strategy="partial", epochs=1)
    before = {path: path.stat().st_ino for path in folder.iterdir()}
    run("team/two", freeze="layer2", strategy="partial", head="cosine", epochs=2, lr=0.001)
    assert {path: path.stat().st_ino for path in folder.iterdir()} == before
    run("team/three", freeze="layer2", strategy="partial", image_size=40, epochs=1)
    assert len(list(folder.iterdir())) == 2


def test_views_are_cached_and_differ(workspace: Workspace, run: Run) -> None:
    folder = workspace.root / "cache" / "crossings"
    run(freeze="layer2", augment="light", views=2)
    assert len(list(folder.iterdir())) == 3  # plain images to choose and to test on, and two views
