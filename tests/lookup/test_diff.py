from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import PREPROCESSING, Tensors, add_checkpoint, flip_byte, tensors
from fakes.derived import FREEZE, LITE0, LITE1, TUNED, derive, train, weights_of

import zoo as z
from zoo import plugins
from zoo.domain.digest import Digest
from zoo.domain.hierarchy import HeadPart, Hierarchy, Unit
from zoo.domain.manifest import Backbone, Parent
from zoo.errors import Corrupt, UnknownName
from zoo.lookup.diff import diff
from zoo.lookup.lineage import lineage
from zoo.lookup.units import network_of
from zoo.workspace import Workspace


@pytest.fixture
def toys(tmp_path: Path) -> Iterator[Workspace]:
    """A zoo whose networks no plugin knows: units are read off names."""
    workspace = Workspace.create(tmp_path / "toys")
    yield workspace
    workspace.close()


def by_unit(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {unit["unit"]: unit for unit in found["units"]}


def test_a_fine_tune_and_its_base(zoo: z.Zoo, tuned: Digest) -> None:
    found = zoo.diff(LITE0, TUNED).to_json()
    assert (found["same"], found["units_known"]) == (False, True)
    units = found["units"]
    assert [unit["unit"] for unit in units] == [*(u.name for u in zoo.tree(LITE0).units), "head"]
    assert {unit["status"] for unit in units[:12]} == {"identical"}
    assert {unit["status"] for unit in units[12:]} == {"changed"}
    trained = by_unit(found)["blocks.5.0"]
    # Noise of a hundredth of the length: nearly at a right angle to what it is added to.
    assert trained["distance"] == pytest.approx(0.01, rel=0.02)
    assert trained["cosine"] == pytest.approx(1 - 0.01**2 / 2, abs=2e-5)
    # Counters of batches stayed; vectors and matrices did not.
    assert (trained["identical"], trained["changed"], trained["tensors"]) == (3, 15, 18)
    head = by_unit(found)["head"]
    assert (head["distance"], head["cosine"]) == (None, None)
    assert head["note"] == "1000x1280 to 10x1280 and 1 more"
    assert found["head"] == {"kind": ["native", "linear"], "num_classes": [1000, 10]}
    assert (found["classes"]["before"], found["classes"]["after"]) == (1000, 10)
    assert found["classes"]["added"] == [str(number) for number in range(10)]
    assert found["recipe"] == {"data": [None, "/data/digits"], "lr": [None, 0.003]}
    assert found["freeze"]["boundary"] == [None, FREEZE["boundary"]]
    assert found["metrics"] == {"accuracy": [None, 0.97]}
    assert (found["preprocessing"], found["license"]) == ({}, {})
    json.dumps(found, allow_nan=False)


def test_a_checkpoint_and_itself(zoo: z.Zoo) -> None:
    found = zoo.diff(LITE0, LITE0).to_json()
    assert (found["same"], found["identical_share"]) == (True, 1.0)
    assert {unit["status"] for unit in found["units"]} == {"identical"}
    assert not any(found[part] for part in ("head", "classes", "preprocessing", "recipe"))


def test_networks_of_two_depths(zoo: z.Zoo) -> None:
    units = by_unit(zoo.diff(LITE0, LITE1).to_json())
    assert {name for name, unit in units.items() if unit["status"] == "added"} == {
        "blocks.1.2", "blocks.2.2", "blocks.3.3", "blocks.4.3", "blocks.5.4",
    }  # fmt: skip
    assert list(units).index("blocks.1.2") == list(units).index("blocks.1.1") + 1
    assert units["blocks.3.0"]["cosine"] < 0.9
    assert units["blocks.3.0"]["distance"] > 0.5
    back = by_unit(zoo.diff(LITE1, LITE0).to_json())
    assert back["blocks.1.2"]["status"] == "removed"


def test_only_statistics_of_normalization_moved(zoo: z.Zoo) -> None:
    """What happens if a frozen network is left in training mode."""
    values = weights_of(zoo.workspace, LITE0)
    values["bn1.running_mean"] = values["bn1.running_mean"] + np.float32(0.5)
    derive(zoo.workspace, LITE0, TUNED, values)
    stem = by_unit(zoo.diff(LITE0, TUNED).to_json())["conv_stem"]
    assert (stem["status"], stem["changed"], stem["distance"]) == ("changed", 1, 0.0)
    assert stem["note"] == "only statistics of normalization"


def test_units_off_names_where_the_network_is_unknown(toys: Workspace) -> None:
    add_checkpoint(toys, "team/a", classes=("cat", "dog", "cow"), metrics={"accuracy": 0.5})
    values = tensors()
    values["layer1.0.bn.bias"] = values["layer1.0.bn.bias"] * 2  # within a group of small tensors
    values["layer1.10.conv.weight"] = values.pop("layer1.1.conv.weight")
    values["new.weight"] = np.ones((4, 4), np.float32)
    smaller = {**vars_of(PREPROCESSING), "input_size": (3, 4, 4)}
    add_checkpoint(
        toys, "team/b", values, classes=("dog", "cat", "emu"), license="mit",
        preprocessing=type(PREPROCESSING)(**smaller), metrics={"accuracy": 0.25, "f1": 0.5},
    )  # fmt: skip
    found = diff(toys, "team/a", "team/b").to_json()
    assert found["units_known"] is False
    statuses = {name: unit["status"] for name, unit in by_unit(found).items()}
    # The renamed tensor is the same bytes: found by them.
    assert statuses == {
        "fc": "identical", "layer1.0": "changed", "layer1.10": "identical", "new": "added",
    }  # fmt: skip
    assert by_unit(found)["layer1.0"]["identical"] == 2
    assert found["classes"] == {
        "before": 3, "after": 3, "added": ["emu"], "removed": ["cow"], "moved": 2,
    }  # fmt: skip
    assert found["preprocessing"] == {"input_size": [[3, 8, 8], [3, 4, 4]]}
    assert found["metrics"] == {"accuracy": [0.5, 0.25], "f1": [None, 0.5]}
    assert found["license"] == {"license": [None, "mit"]}


def vars_of(value: Any) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def test_networks_of_two_architectures_share_units_that_agree_in_all(toys: Workspace) -> None:
    """A norm may be called the same in both, and be as long, by chance."""
    values = tensors()
    add_checkpoint(toys, "team/a", values)
    other = tensors(1)
    other["layer1.0.conv.weight"] = other["layer1.0.conv.weight"][:, :64]
    other["fc.bias"] = values["fc.bias"]
    add_checkpoint(toys, "team/b", other)
    add_checkpoint(toys, "team/c", other, backbone=Backbone(plugin="toy", architecture="other"))
    units = by_unit(diff(toys, "team/a", "team/c").to_json())
    assert (units["layer1.0"]["changed"], units["layer1.0"]["distance"]) == (0, None)
    assert (units["layer1.0"]["added"], units["layer1.0"]["removed"]) == (3, 3)
    assert units["layer1.1"]["distance"] > 1
    assert (units["fc"]["changed"], units["fc"]["identical"]) == (1, 1)
    assert by_unit(diff(toys, "team/a", "team/b").to_json())["layer1.0"]["distance"] > 1


def test_values_that_are_no_numbers(toys: Workspace) -> None:
    add_checkpoint(toys, "team/a")
    values = tensors()
    values["fc.weight"][0, 0] = np.nan
    values["layer1.1.conv.weight"] = np.zeros((4, 4), np.float32)
    add_checkpoint(toys, "team/b", values)
    units = by_unit(diff(toys, "team/a", "team/b").to_json())
    assert (units["fc"]["distance"], units["fc"]["cosine"]) == (None, None)
    assert (units["layer1.1"]["distance"], units["layer1.1"]["cosine"]) == (1.0, None)


def test_damage_is_told_and_not_compared(zoo: z.Zoo, tuned: Digest, tmp_path: Path) -> None:
    store = zoo.workspace.store
    tensor = next(t for t in store.manifest(tuned).tensors if t.name == "conv_head.weight")
    path = store.path("objects", tensor.object)
    damaged = bytearray(path.read_bytes())
    path.unlink()
    path.write_bytes(damaged)
    flip_byte(path)
    with pytest.raises(Corrupt, match=tensor.object.hex):
        zoo.diff(LITE0, TUNED)


def test_an_unknown_name_suggests_names(zoo: z.Zoo, tuned: Digest) -> None:
    with pytest.raises(UnknownName) as caught:
        zoo.diff(LITE0, "team/digit")
    assert TUNED in caught.value.near


def test_training_all_moves_all(zoo: z.Zoo) -> None:
    values = train(weights_of(zoo.workspace, LITE0), ("",), 0.2)
    derive(zoo.workspace, LITE0, TUNED, values)
    units = zoo.diff(LITE0, TUNED).to_json()["units"]
    assert {unit["status"] for unit in units} == {"changed"}
    assert all(unit["distance"] == pytest.approx(0.2, rel=0.05) for unit in units[:-1])


def vit(layers: int, names: str, **moved: float) -> Tensors:
    """Tensors of a ViT, in files or networks of transformers; some moved, by the last layer's."""
    make = np.random.default_rng(5).standard_normal
    tensors = {names.format(at): make((160, 160)).astype(np.float32) for at in range(layers)}
    tensors["vit.layernorm.weight"] = np.ones(160, np.float32)
    tensors[names.format(layers - 1)] *= np.float32(moved.get("by", 1.0))
    return tensors


FILES = "vit.encoder.layer.{}.attention.attention.query.weight"
OWN = "vit.layers.{}.attention.q_proj.weight"


def derived(workspace: Workspace, backbone: Backbone) -> None:
    """A checkpoint from a folder of transformers, and one that was trained on from it here."""
    base = add_checkpoint(workspace, "a/hf", vit(2, FILES), backbone=backbone)
    parent = Parent(manifest=base, relation="finetune", ref="a/hf")
    child = vit(2, OWN, by=1.01)
    add_checkpoint(workspace, "a/child", child, backbone=backbone, parents=(parent,))


def test_files_of_a_library_have_other_names_than_its_networks(toys: Workspace) -> None:
    derived(toys, Backbone(plugin="transformers", architecture="vit-base-patch16-224"))
    for one, other in (("a/hf", "a/child"), ("a/child", "a/hf")):
        found = diff(toys, one, other)
        assert [(unit.tensors, unit.identical, unit.changed) for unit in found.units] == [
            (1, 1, 0), (1, 1, 0), (1, 0, 1),
        ]  # fmt: skip
    (base,) = lineage(toys, "a/child").ancestors[1:]
    assert base.check
    assert base.check.share == pytest.approx(0.5, abs=0.01)


def test_units_are_those_of_the_checkpoints_own_network(toys: Workspace) -> None:
    """Not those of its architecture, which has twelve layers, and the final norm in the last."""
    options = {"arguments": {"num_hidden_layers": 2}}
    backbone = Backbone(plugin="transformers", architecture="vit-base-patch16-224", options=options)
    derived(toys, backbone)
    whole, own = (_vit_of(layers) for layers in (12, 2))
    version = plugins.backbone_version("transformers")
    toys.registry.keep_hierarchy("transformers", version, whole)
    units = [unit.unit for unit in diff(toys, "a/hf", "a/child").units]
    assert units == ["vit.layers.0", "vit.layers.1", "vit"]  # of a zoo of before
    for name in ("a/hf", "a/child"):
        network = network_of(toys.store.manifest(toys.names.resolve(name)[1]))
        toys.registry.keep_network("transformers", version, network, own)
    for one, other in (("a/hf", "a/child"), ("a/hf", "a/hf")):
        units = [unit.unit for unit in diff(toys, one, other).units]
        assert units == ["vit.layers.0", "vit.layers.1"]


def _vit_of(layers: int) -> Hierarchy:
    """Its layers, without the embeddings and the head."""

    def unit(at: int) -> Unit:
        name, last = f"vit.layers.{at}", at == layers - 1
        return Unit(
            name=name,
            stage=name,
            depth=at,
            modules=(name, *["vit.layernorm"] * last),
            parameters=(OWN.format(at), *["vit.layernorm.weight"] * last),
            buffers=(),
            params=1,
            shape=None,
            cut=True,
        )

    head = HeadPart(modules=(), parameters=(), buffers=(), params=0, shape=None, cut=True)
    units = tuple(map(unit, range(layers)))
    return Hierarchy(architecture="vit-base-patch16-224", units=units, head=head)
