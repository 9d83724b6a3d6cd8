"""Layers: units, how far they are from the parent, whose they are; and how much that takes."""

from __future__ import annotations

import itertools
import json
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import Tensors, add_checkpoint
from fakes.paged import NASTY, canaries, page, text_of
from fakes.prepared import copy_zoo
from fakes.served import Served, serving

import zoo
from zoo import plugins
from zoo.domain.manifest import Backbone, Head, Parent
from zoo.lookup.units import units_of
from zoo.serve.keep import distances
from zoo.serve.keep.distances import DistanceWorker
from zoo.serve.pages import layers as page_of_layers
from zoo.serve.pages.svg import Cell, level_of, strip
from zoo.workspace import Workspace

VIT = "vit_large_patch16_224"


def layers(served: Served, name: str, token: str | None = None, query: str = "") -> Any:
    """The twin of the page, once nothing is being measured any more."""
    while True:
        found = served.ask(f"/{name}/layers.json{query}", token=token).json
        if not found.get("measuring"):
            return found
        time.sleep(0.02)


def test_each_unit_is_as_far_as_zoo_diff_says(tuned: Served) -> None:
    found = layers(tuned, "team/tuned", tuned.token("ann"))
    with zoo.open(tuned.root) as opened:
        told = {unit.unit: unit for unit in opened.diff("team/base", "team/tuned").units}
        hierarchy = opened.tree("team/tuned")
    assert [unit["name"] for unit in found["units"]] == [*told]
    words = {"identical": "same", "changed": "changed"}
    for unit in found["units"]:
        one = told[unit["name"]]
        assert (unit["change"], unit["distance"]) == (words[one.status], one.distance)
        assert unit["note"] == one.note
    moved = [unit["name"] for unit in found["units"] if unit["distance"]]
    assert moved == ["layer3.0", "layer4.0"], "the two that were trained"
    assert [unit["trained"] for unit in found["units"]] == [False] * 5 + [True] * 3
    assert found["parent"]["name"] == "team/base"
    params = [unit.params for unit in hierarchy.units]
    assert [unit["params"] for unit in found["units"]][:-1] == params
    assert found["params"] == hierarchy.params
    assert [unit["cut"] for unit in found["units"]][:-1] == [unit.cut for unit in hierarchy.units]


def test_what_each_unit_costs_at_the_size_of_its_own_images(tuned: Served) -> None:
    """At that of this checkpoint, which is not that which the architecture was made for."""
    with zoo.open(tuned.root) as opened:
        hierarchy = opened.tree("team/tuned")
    found = layers(tuned, "team/tuned")
    told = [unit.macs for unit in hierarchy.units]
    assert [unit["macs"] for unit in found["units"]] == [*told, hierarchy.head.macs]
    assert found["outputs_for"] == "an image of 3 x 32 x 32"
    assert found["units"][0]["macs"] == 3 * 3 * 3 * 16 * 16 * 16
    _, tree = page(tuned, "/team/tuned/layers")
    (head,) = tree.xpath("//p[contains(@class, 'unit-head')]")
    column = 1 + [cell.text for cell in head].index("MACs")
    shown = tree.xpath(f"//summary[contains(@class, 'unit')]/span[{column}]/text()")
    assert shown[0] == "110.6k"
    assert len(shown) == len(found["units"])


def test_the_page_shows_it(tuned: Served) -> None:
    token = tuned.token("ann")
    found = layers(tuned, "team/tuned", token)
    got, tree = page(tuned, "/team/tuned/layers", token)
    assert got.status == 200
    kinds = tree.xpath("//svg[@class='strip']//a/rect[1]/@class")
    assert kinds[:5] == ["same"] * 5
    assert all(kind.startswith("far-") for kind in kinds[5:7])
    assert len(tree.xpath("//svg[@class='strip']//rect[@class='mark']")) == 5
    titles = tree.xpath("//svg[@class='strip']//a/rect[1]/title/text()")
    assert titles[0] == "conv1.0: same, byte for byte, frozen"
    assert titles[6] == f"layer4.0: {found['units'][6]['distance']:.2g} apart"
    assert "5 of 8 units are team/base ’s, byte for byte" in text_of(tree)  # noqa: RUF001
    assert tree.xpath("count(//table[contains(@class, 'tensors')]//tr[td])") == 92
    assert {*tree.xpath("//svg//a/@href")} == {f"#{each}" for each in tree.xpath("//details/@id")}


def test_what_is_being_measured_says_so(tuned: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DistanceWorker, "of", lambda *_: distances.Distances())
    _, tree = page(tuned, "/team/tuned/layers", tuned.token("ann"))
    titles = tree.xpath("//svg[@class='strip']//a/rect[1]/title/text()")
    assert [titles[0], titles[6]] == [
        "conv1.0: same, byte for byte, frozen", "layer4.0: being measured"
    ]  # fmt: skip
    cells = tree.xpath("//summary[contains(@class, 'unit')]/span[last()]")
    column = [cell.text_content().strip() for cell in cells]
    assert column[5:] == ["being measured"] * 3


def test_who_may_not_read_the_parent_learns_nothing_of_it(tuned: Served) -> None:
    found = layers(tuned, "team/tuned", tuned.token("ben"))
    assert "team/base" not in json.dumps(found)
    assert (found["parent"]["name"], found["parent"]["path"]) == (
        "a checkpoint that you may not see", ""
    )  # fmt: skip
    assert {unit["change"] for unit in found["units"]} == {""}
    assert {unit["distance"] for unit in found["units"]} == {None}
    _, tree = page(tuned, "/team/tuned/layers", tuned.token("ben"))
    assert {*tree.xpath("//svg[@class='strip']//a/rect[1]/@class")} == {"unknown"}
    assert "team/base" not in text_of(tree)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``team/many`` with many tensors, ``team/nasty`` whose tensors have names that would do harm,
    and ``team/vit`` that nobody has traced, in the shapes of a published network.
    """
    root = tmp_path_factory.mktemp("many") / "zoo"
    with closing(Workspace.create(root)) as workspace:
        values = {f"blocks.{n // 2}.w{n % 2}": np.full(4, n, np.float32) for n in range(1000)}
        add_checkpoint(workspace, "team/many", values)
        names = (f"{text}.{n}.weight" for n, text in enumerate(NASTY))
        add_checkpoint(workspace, "team/nasty", {name: np.zeros(2, np.float32) for name in names})
        add_checkpoint(workspace, "team/resnet", _network("test_resnet"), **_known("test_resnet"))
    with serving(root) as served:
        served.accounts.set_level("team", level="public")
        yield served


def _known(architecture: str) -> dict[str, Any]:
    return {
        "backbone": Backbone(plugin="timm", architecture=architecture),
        "head": Head(kind="native", num_classes=1000),
    }


def _network(architecture: str) -> Tensors:
    """Random weights in the shapes of one of timm's."""
    known = plugins.known("timm")
    outline = known.outline(architecture) if known else None
    if outline is None:
        pytest.skip("what is known of timm is of another version than the one installed")
    draw = np.random.default_rng(0).standard_normal
    return {
        name: np.asarray(draw(shape, dtype=np.float32) / 50, np.float16)
        for name, shape in outline.shapes.items()
    }


def test_so_many_tensors_are_listed_one_unit_at_a_time(many: Served) -> None:
    got, tree = page(many, "/team/many/layers")
    assert not tree.xpath("//table[contains(@class, 'tensors')]")
    assert "and 200 more units" in text_of(tree)
    assert len(got.body) < 250_000
    (link,) = tree.xpath("//a[contains(@href, 'unit=blocks.7#')]/@href")
    _, tree = page(many, link.partition("#")[0])
    rows = tree.xpath("//details[@open]//table//tr[td]/th/text()")
    assert rows == ["w0", "w1"]


def test_names_of_tensors_are_texts(many: Served) -> None:
    got, tree = page(many, "/team/nasty/layers")
    assert (got.status, canaries(tree)) == (200, [])
    assert "Nobody has traced this network" in text_of(tree)


def test_a_network_that_nobody_has_traced_is_known_by_its_outline(many: Served) -> None:
    found = layers(many, "team/resnet")
    assert found["known"]
    assert found["units"][0]["output"] == [16, 80, 80]
    assert found["units"][0]["macs"] == 3 * 3 * 3 * 16 * 80 * 80
    with closing(Workspace(many.root)) as workspace:
        digest = workspace.names.resolve("team/resnet")[1]
        units = units_of(workspace, workspace.store.manifest(digest))
    assert units.names[-2:] == ("layer4.0", "head")


def test_what_is_too_large_or_damaged_is_not_measured(
    tuned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    flip: Callable[[Path], None],
) -> None:  # fmt: skip
    root = copy_zoo(tuned_home, tmp_path / "zoo")
    with closing(Workspace(root)) as workspace:
        base, tuned = (workspace.names.resolve(name)[1] for name in ("team/base", "team/tuned"))
        before, after = (workspace.store.manifest(each) for each in (base, tuned))
        with closing(DistanceWorker(workspace)) as far, monkeypatch.context() as patch:
            patch.setattr(distances, "MOST_BYTES", 1000)
            found = far.of(base, tuned, 60)
            assert (found.problem, found.units) == (
                "they are too large to be compared here: zoo diff does it", {}
            )  # fmt: skip
        names = {tensor.name: tensor.object for tensor in before.tensors}
        theirs = next(
            names[each.name] for each in after.tensors
            if each.name.startswith("layer4.") and names[each.name] != each.object
            and not each.offset and each.nbytes >= 65536
        )  # fmt: skip
        flip(root / "objects" / theirs.hex[:2] / theirs.hex)
        with closing(DistanceWorker(workspace)) as far:
            found = far.of(base, tuned, 60)
            assert found.done.is_set()
            assert found.problem == "the bytes of one of them cannot be read"
            assert found.units["layer3.0"].distance, "what came before is known"
            assert far.of(base, tuned, 60) is found
            flip(root / "objects" / theirs.hex[:2] / theirs.hex)  # back to what it was
            monkeypatch.setattr(distances, "AGAIN_SECONDS", 0)
            found = far.of(base, tuned, 60)
            assert (found.problem, found.done.is_set()) == ("", True)
        assert far.of(base, tuned, 0) is found
        assert not far.of(tuned, base, 0).done.is_set(), "nothing begins any more"


@pytest.fixture
def flip() -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.unlink()
        path.write_bytes(data)

    return damage


def test_a_strip_is_drawn_of_texts_and_classes() -> None:
    cells = [Cell(title=NASTY[5], kind="same", mark=True, link="#unit-0")]
    drawn = str(strip(cells, NASTY[1]))
    assert "<script" not in drawn
    assert "<img" not in drawn
    assert [level_of(far) for far in (0, 1e-3, 0.02, 0.05, 0.2, 1.4)] == [0, 1, 2, 3, 4, 5]


@pytest.mark.long
def test_a_large_vision_transformer(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """At most 100 kB and 150 ms, the server's own work alone, once distances are known."""
    values = _network(VIT)
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        base = add_checkpoint(workspace, "timm/base", values, **_known(VIT))
        later = tuple(f"blocks.{n}." for n in range(12, 24))
        for name in [name for name in values if name.startswith(later)]:
            values[name] = (values[name] * np.float16(1.01)).astype(np.float16)
        parent = Parent(manifest=base, relation="finetune", ref="timm/base")
        freeze = {"boundary": "blocks.12", "frozen_units": 13, "trainable_units": 12}
        add_checkpoint(
            workspace, "team/vit", values, parents=(parent,), freeze=freeze, **_known(VIT)
        )
    with serving(tmp_path / "zoo") as served:
        token = served.token("ann")
        found = layers(served, "team/vit", token)
        apart_ = {unit["name"]: unit["distance"] for unit in found["units"] if unit["distance"]}
        assert [*apart_] == [f"blocks.{n}" for n in range(12, 24)]
        assert all(0.009 < far < 0.011 for far in apart_.values())
        assert found["shares"][0]["units"][:2] == ["patch_embed", "blocks.0"]
        for place in ("", "/layers", "/files", "/versions"):
            took = []
            for _ in range(10):
                began = time.perf_counter()
                got, _ = page(served, f"/team/vit{place}", token)
                took.append(time.perf_counter() - began)
            assert len(got.body) <= 100_000
            assert min(took) <= 0.15
            told = f"{len(got.body) / 1000:.1f} kB, {1000 * sorted(took)[5]:.0f} ms"
            record_property("table", f"page of a ViT-L {place or '/'} | {told}")


def _lab(color: str) -> tuple[float, ...]:
    """A color ``#rrggbb`` in CIELAB, where distances are as people see them."""
    red, green, blue = (
        each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4
        for each in (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    )
    x = (0.4124 * red + 0.3576 * green + 0.1805 * blue) / 0.95047
    y = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    z = (0.0193 * red + 0.1192 * green + 0.9505 * blue) / 1.08883
    x, y, z = (
        each ** (1 / 3) if each > 0.008856 else 7.787 * each + 16 / 116 for each in (x, y, z)
    )
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def test_colors_of_the_strip_are_told_apart_in_light_and_in_dark() -> None:
    style = (Path(page_of_layers.__file__).parent / "static" / "zoo.css").read_text()
    modes = [line for line in style.splitlines() if "--far-0: #" in line]
    assert len(modes) == 2
    for mode in modes:
        colors = [_lab(each) for each in re.findall("#[0-9a-f]{6}", mode)]
        assert len(colors) == 9
        assert min(math.dist(*pair) for pair in itertools.combinations(colors, 2)) > 20
