"""Declared parents against bytes."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, flip_byte, tensors
from fakes.derived import FREEZE, LITE0, LITE1, TRAINED, TUNED, derive, train, weights_of

import zoo as z
from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.store import Store
from zoo.workspace import Workspace


def check_of(zoo: z.Zoo, name: str) -> dict[str, Any]:
    check: dict[str, Any] = zoo.log(name).to_json()["ancestors"][1]["check"]
    return check


@pytest.mark.long
def test_a_true_parent(zoo: z.Zoo, tuned: Digest) -> None:
    found = zoo.log(TUNED).to_json()
    parent = found["ancestors"][1]
    check = parent["check"]
    assert (parent["name"], parent["child"]) == (LITE0, str(tuned))
    assert (check["agrees"], check["warning"], found["warnings"]) == (True, "", [])
    assert check["cosine"] is None
    units = {unit["unit"]: (unit["identical"], unit["tensors"]) for unit in check["units"]}
    assert units["conv_stem"] == (6, 6)
    assert units["blocks.4.2"] == (18, 18)
    assert units["blocks.5.0"] == (3, 18)
    assert units["head"] == (0, 2)
    manifest = zoo.workspace.store.manifest(tuned)
    frozen = sum(
        int(np.prod(tensor.shape))
        for tensor in manifest.tensors
        if not tensor.name.startswith((*TRAINED, "classifier")) or tensor.dtype == "I64"
    )
    total = sum(int(np.prod(tensor.shape)) for tensor in manifest.tensors)
    assert check["share"] == frozen / total


@pytest.mark.long
def test_a_false_parent(zoo: z.Zoo) -> None:
    """Of the same shapes for the most part, and frozen as declared: but of the other network."""
    derive(zoo.workspace, LITE0, TUNED, train(weights_of(zoo.workspace, LITE1), TRAINED))
    check = check_of(zoo, TUNED)
    assert check["agrees"] is False
    assert check["share"] < 0.001
    assert check["warning"].startswith("declared frozen, but not the parent's: conv_stem, ")
    assert check["resembles"] == LITE1
    (warning,) = zoo.log(TUNED).to_json()["warnings"]
    assert f"{TUNED} declares {LITE0} as its parent, but its bytes disagree" in warning
    assert LITE1 in warning


@pytest.mark.long
def test_a_false_parent_that_nothing_was_frozen_of(zoo: z.Zoo) -> None:
    values = train(weights_of(zoo.workspace, LITE1), ("",))
    derive(zoo.workspace, LITE0, TUNED, values, freeze={**FREEZE, "boundary": "conv_stem"})
    check = check_of(zoo, TUNED)
    assert "no more similar to the parent than unrelated weights" in check["warning"]
    assert check["cosine"] < 0.1


@pytest.mark.long
def test_a_true_parent_of_which_everything_was_trained(zoo: z.Zoo) -> None:
    values = train(weights_of(zoo.workspace, LITE0), ("",), 0.3)
    derive(zoo.workspace, LITE0, TUNED, values, freeze={**FREEZE, "boundary": "conv_stem"})
    check = check_of(zoo, TUNED)
    assert (check["agrees"], check["resembles"]) == (True, None)
    assert check["share"] < 0.001
    assert check["cosine"] == pytest.approx(1 / np.sqrt(1 + 0.3**2), abs=0.01)


def test_one_frozen_tensor_that_moved(zoo: z.Zoo) -> None:
    values = train(weights_of(zoo.workspace, LITE0), TRAINED)
    values["blocks.2.1.bn1.running_mean"] = values["blocks.2.1.bn1.running_mean"] + np.float32(1)
    derive(zoo.workspace, LITE0, TUNED, values)
    assert check_of(zoo, TUNED)["warning"] == "declared frozen, but not the parent's: blocks.2.1"


def test_a_parent_in_half_precision(zoo: z.Zoo) -> None:
    """Training computes in single precision: other bytes, the same values."""
    half = {
        name: value.astype(np.float16) if value.dtype == np.float32 else value
        for name, value in weights_of(zoo.workspace, LITE0).items()
    }
    derive(zoo.workspace, LITE0, "team/half", half, parents=(), freeze=None)
    widened = {
        name: value.astype(np.float32) if value.dtype == np.float16 else value
        for name, value in half.items()
    }
    derive(zoo.workspace, "team/half", TUNED, train(dict(widened), TRAINED))
    assert check_of(zoo, TUNED)["agrees"] is True
    widened["conv_stem.weight"] = widened["conv_stem.weight"] * 2
    derive(zoo.workspace, "team/half", "team/other", train(widened, TRAINED))
    assert check_of(zoo, "team/other")["agrees"] is False


def test_a_parent_of_another_network(zoo: z.Zoo) -> None:
    _, base = zoo.workspace.names.resolve(LITE0)
    parent = Parent(manifest=base, relation="finetune", ref=LITE0)
    add_checkpoint(zoo.workspace, TUNED, tensors(), parents=(parent,))
    warning = check_of(zoo, TUNED)["warning"]
    assert warning == "no tensor has the name and shape of one of the parent"


def test_what_is_not_here_cannot_be_checked(zoo: z.Zoo, tuned: Digest) -> None:
    manifest = zoo.workspace.store.manifest(tuned)
    gone = replace(manifest.parents[0], manifest=Digest("blake3", "0" * 64))
    store = zoo.workspace.store
    digest = store.put("manifests", replace(manifest, parents=(gone,)).to_bytes())
    step = zoo.log(str(digest)).to_json()["ancestors"][1]
    assert (step["name"], step["here"], step["check"]) == (LITE0, False, None)


def test_damage_spoils_the_check_and_not_the_log(zoo: z.Zoo, tuned: Digest) -> None:
    store = zoo.workspace.store
    small = {t.object for t in store.manifest(tuned).tensors if t.name == "blocks.5.0.bn1.bias"}
    path = store.path("objects", small.pop())
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    flip_byte(path)
    found = zoo.log(TUNED).to_json()
    assert [step["name"] for step in found["ancestors"]] == [TUNED, LITE0]
    assert found["ancestors"][1]["check"]["share"] is None
    assert "is damaged" in found["warnings"][0]


@pytest.mark.parametrize("spoil", ["a folder", "unreadable"])
def test_a_child_that_cannot_be_read_costs_its_own_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    workspace = Workspace.create(tmp_path / "zoo")
    base = add_checkpoint(workspace, "team/base", tensors())
    parent = Parent(manifest=base, relation="finetune", ref="team/base")
    values = {f"other.{name}": value + 1 for name, value in tensors().items()}
    child = add_checkpoint(workspace, TUNED, values, parents=(parent,))
    largest = max(workspace.store.manifest(child).tensors, key=lambda tensor: tensor.nbytes)
    path = workspace.store.path("objects", largest.object)
    workspace.close()
    if spoil == "a folder":
        path.unlink()
        path.mkdir()
    else:
        read = Store.read

        def fail(store: Store, kind: Any, digest: Digest, *part: int) -> Any:
            if digest == largest.object:
                raise OSError(errno.EIO, "Input/output error", str(path))
            return read(store, kind, digest, *part)

        monkeypatch.setattr(Store, "read", fail)
    with z.open(tmp_path / "zoo") as opened:
        found = opened.log(TUNED).to_json()
    assert [step["name"] for step in found["ancestors"]] == [TUNED, "team/base"]
    check = found["ancestors"][1]["check"]
    assert check["warning"] == "no tensor has the name and shape of one of the parent"
    assert check["resembles"] is None
