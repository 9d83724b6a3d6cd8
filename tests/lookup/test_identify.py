from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.checkpoints import add_checkpoint, raw_file, tensors
from fakes.derived import LITE0, LITE1, TRAINED, TUNED, derive, train, weights_of
from safetensors.torch import save_file

import zoo as z
from zoo.domain.digest import Digest
from zoo.errors import Corrupt, InvalidWeights
from zoo.lookup.distance import equal_when_cast
from zoo.store.tensor_keys import sample_keys

State = dict[str, torch.Tensor]


@pytest.fixture
def state(zoo: z.Zoo, tuned: Digest) -> State:
    """The fine-tune, as a training script has it in memory."""
    return {name: torch.from_numpy(v) for name, v in weights_of(zoo.workspace, TUNED).items()}


def cast(state: State, dtype: torch.dtype) -> State:
    return {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}


def best(zoo: z.Zoo, path: Path) -> dict[str, Any]:
    found = zoo.identify(path).to_json()
    json.dumps(found, allow_nan=False)
    first: dict[str, Any] = found["matches"][0]
    assert found["verdict"] == first["verdict"]
    return first


@pytest.mark.long
def test_a_pickle_of_a_wrapped_network(zoo: z.Zoo, state: State, tmp_path: Path) -> None:
    path = tmp_path / "best.pth"
    torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, path)
    found = zoo.identify(path).to_json()
    first, second = found["matches"]
    assert (first["name"], first["verdict"], first["share"]) == (TUNED, "same", 1.0)
    assert (first["units"], first["departs"], first["identical_file"]) == ([], None, False)
    # The base has all but what was trained.
    assert (second["name"], second["verdict"]) == (LITE0, "derived")
    assert second["departs"] == "blocks.5.0"
    assert [unit["unit"] for unit in second["units"]][-2:] == ["conv_head", "head"]
    assert 0.2 < second["share"] < 0.22


@pytest.mark.long
@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        pytest.param(torch.bfloat16, "F32 to BF16", marks=pytest.mark.long),
        (torch.float16, "F32 to F16"),
    ],
)
def test_a_cast_under_a_prefix(
    zoo: z.Zoo, state: State, tmp_path: Path, dtype: torch.dtype, said: str
) -> None:
    path = tmp_path / "half.safetensors"
    save_file({f"model.backbone.{k}": v for k, v in cast(state, dtype).items()}, path)
    found = best(zoo, path)
    assert (found["name"], found["verdict"], found["share"]) == (TUNED, "cast", 1.0)
    assert (found["casts"], found["prefix"]) == ([said], "model.backbone.")


@pytest.mark.long
def test_single_precision_of_what_is_kept_in_half(zoo: z.Zoo, state: State, tmp_path: Path) -> None:
    save_file(cast(state, torch.float16), tmp_path / "half.safetensors")
    zoo.import_file(
        tmp_path / "half.safetensors", "team/half", architecture="tf_efficientnet_lite0"
    )
    widened = cast(cast(state, torch.float16), torch.float32)
    save_file(widened, tmp_path / "wide.safetensors")
    assert best(zoo, tmp_path / "wide.safetensors")["name"] == "team/half"


def test_the_very_file(zoo: z.Zoo, tuned: Digest, tmp_path: Path) -> None:
    path = next(
        path for path in zoo.export(TUNED, tmp_path / "out").files if path.suffix == ".safetensors"
    )
    found = best(zoo, path)
    assert (found["name"], found["verdict"], found["identical_file"]) == (TUNED, "same", True)


def test_a_backbone_without_its_head(zoo: z.Zoo, state: State, tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    save_file({k: v for k, v in state.items() if not k.startswith("classifier")}, path)
    found = best(zoo, path)
    assert (found["name"], found["verdict"], found["share"]) == (TUNED, "part", 1.0)
    assert found["missing"] == ["classifier.bias", "classifier.weight"]
    assert found["units"] == [{"unit": "head", "identical": 0, "tensors": 2, "missing": 2}]


def test_a_training_that_went_on_matches_its_parent(zoo: z.Zoo, tmp_path: Path) -> None:
    """Nobody stored the result: what is frozen tells where it comes from."""
    values = train(weights_of(zoo.workspace, LITE1), (*TRAINED, "blocks.3.2", "blocks.4."))
    path = tmp_path / "later.safetensors"
    save_file({k: torch.from_numpy(v) for k, v in values.items()}, path)
    found = best(zoo, path)
    assert (found["name"], found["verdict"], found["departs"]) == (LITE1, "derived", "blocks.3.2")


def test_an_ancestor_comes_before_what_derives_from_it(zoo: z.Zoo, tmp_path: Path) -> None:
    values = weights_of(zoo.workspace, LITE0)
    derive(zoo.workspace, LITE0, "aaa/same", dict(values))
    save_file({k: torch.from_numpy(v) for k, v in values.items()}, tmp_path / "x.safetensors")
    names = [one["name"] for one in zoo.identify(tmp_path / "x.safetensors").to_json()["matches"]]
    assert names == [LITE0, "aaa/same"]


@pytest.mark.long
def test_of_many_fine_tunes_the_base_comes_first(
    zoo: z.Zoo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many are compared as share most keys; these share equally many with what they are of."""
    monkeypatch.setattr("zoo.lookup.identify.CANDIDATES", 2)
    values = weights_of(zoo.workspace, LITE0)
    _, base = zoo.workspace.names.resolve(LITE0)
    before = 0
    for number in range(40):
        values["classifier.bias"] = values["classifier.bias"] + np.float32(1)
        made = derive(zoo.workspace, LITE0, f"team/tuned-{number}", dict(values))
        before += str(made) < str(base)
        if before == 3:
            break
    values["classifier.bias"] = values["classifier.bias"] + np.float32(1)
    save_file({k: torch.from_numpy(v) for k, v in values.items()}, tmp_path / "x.safetensors")
    found = zoo.identify(tmp_path / "x.safetensors").to_json()["matches"]
    assert found[0]["name"] == LITE0
    assert found[0]["share"] == found[1]["share"]


def test_tensors_of_quite_other_names(zoo: z.Zoo, state: State, tmp_path: Path) -> None:
    path = tmp_path / "renamed.safetensors"
    save_file({f"x{i}.{len(state) - i}": v for i, v in enumerate(state.values())}, path)
    found = best(zoo, path)
    assert (found["name"], found["verdict"]) == (TUNED, "derived")  # counters have nothing to tell
    assert found["share"] > 0.99


def test_strangers_are_unknown(zoo: z.Zoo, tmp_path: Path) -> None:
    import timm

    fresh = timm.create_model("tf_efficientnet_lite0").state_dict()
    torch.save(fresh, tmp_path / "fresh.pth")  # its norms are all ones, as anybody's
    found = zoo.identify(tmp_path / "fresh.pth").to_json()
    assert (found["matches"], "tf_efficientnet_lite0" in found["fits"]) == ([], True)
    save_file({}, tmp_path / "empty.safetensors")
    assert zoo.identify(tmp_path / "empty.safetensors").to_json() == {
        "file": str(tmp_path / "empty.safetensors"),
        "sha256": zoo.identify(tmp_path / "empty.safetensors").to_json()["sha256"],
        "tensors": 0,
        "verdict": "unknown",
        "matches": [],
        "fits": [],
    }


@pytest.mark.parametrize(
    "name",
    [
        "\x1b[31m\nred",
        "a" * 5000,
        "..",
        pytest.param("module.", marks=pytest.mark.long),
        pytest.param(".", marks=pytest.mark.long),
        pytest.param("модель", marks=pytest.mark.long),
    ],
)
def test_hostile_names(zoo: z.Zoo, state: State, tmp_path: Path, name: str) -> None:
    path = tmp_path / "hostile.safetensors"
    save_file({**state, name: torch.ones(3)}, path)
    found = best(zoo, path)
    assert (found["name"], found["added"], found["prefix"]) == (TUNED, [name], "")


@pytest.mark.parametrize("content", [b"", b"hello", raw_file("{"), raw_file({"a": 1})])
def test_what_is_no_weights_file(zoo: z.Zoo, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InvalidWeights):
        zoo.identify(tmp_path / "x.pth")
    with pytest.raises(InvalidWeights, match="is a folder"):
        zoo.identify(tmp_path)


@pytest.mark.long
def test_what_only_a_remote_has_may_be_it(zoo: z.Zoo, state: State, tmp_path: Path) -> None:
    zoo.push(TUNED, str(tmp_path / "team"))
    save_file(state, tmp_path / "x.safetensors")
    with z.init(tmp_path / "other") as other:
        other.add_remote("team", str(tmp_path / "team"))
        other.fetch("team")
        found = best(other, tmp_path / "x.safetensors")
        # How many of its tensors are looked up in common says nothing of the share of elements.
        assert (found["here"], found["name"], found["share"]) == (False, TUNED, None)
        assert (found["verdict"], found["units"]) == ("unproven", [])
        other.pull(TUNED, remote="team")
        here = best(other, tmp_path / "x.safetensors")
        assert (here["verdict"], here["share"], here.keys()) == ("same", 1.0, found.keys())


def test_a_registry_of_before(zoo: z.Zoo, state: State, tmp_path: Path) -> None:
    """Keys are made when they are asked for first."""
    import sqlite3

    save_file(cast(state, torch.bfloat16), tmp_path / "x.safetensors")
    zoo.workspace.close()
    with sqlite3.connect(zoo.root / "registry.db") as connection:
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("DELETE FROM fingerprint")
        assert not connection.execute("SELECT count(*) FROM tensor_key").fetchone()[0]
    connection.close()
    assert best(zoo, tmp_path / "x.safetensors")["name"] == TUNED


def test_damage_is_told(zoo: z.Zoo, tuned: Digest, state: State, tmp_path: Path) -> None:
    save_file(state, tmp_path / "x.safetensors")
    tensor = zoo.workspace.store.manifest(tuned).tensors[0]
    path = zoo.workspace.store.path("objects", tensor.object)
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(bytes(len(data)))
    with pytest.raises(Corrupt):
        zoo.identify(tmp_path / "x.safetensors")


def test_keys_are_those_of_every_cast() -> None:
    value = torch.randn(64, 8, generator=torch.Generator().manual_seed(1))

    def keys(tensor: torch.Tensor, dtype: str) -> set[int]:
        data = bytes(tensor.contiguous().reshape(-1).view(torch.uint8).numpy())
        return sample_keys(dtype, tuple(tensor.shape), data)

    single = keys(value, "F32")
    assert len(single) == 3
    assert keys(value.half(), "F16") & single
    assert keys(value.bfloat16(), "BF16") & single
    assert keys(value.double(), "F64") == single
    assert not keys(value[:, :4], "F32") & single
    assert not keys(torch.ones(64, 8), "F32")
    assert len(keys(value * 1e6, "F32")) == 2  # too large for half precision
    assert len(keys(torch.arange(512).reshape(64, 8), "I64")) == 1


def test_casts_round_as_torch_does() -> None:
    value = torch.randn(10_000, generator=torch.Generator().manual_seed(1))
    value[:4] = torch.tensor([float("nan"), float("inf"), 1e-40, 70_000.0])

    def data(tensor: torch.Tensor) -> bytes:
        return bytes(tensor.view(torch.uint8).numpy())

    for dtype, name in ((torch.float16, "F16"), (torch.bfloat16, "BF16"), (torch.float64, "F64")):
        other = value.to(dtype)
        assert equal_when_cast("F32", data(value), name, data(other))
        other[5] *= 1.1
        assert not equal_when_cast(name, data(other), "F32", data(value))
    assert not equal_when_cast("F32", data(value), "I32", data(value))


def test_small_networks_are_found_by_samples(tmp_path: Path) -> None:
    """None of whose tensors is an object of its own."""
    values = {name: value for name, value in tensors(3).items() if value.size < 1000}
    values["layer1.1.conv.weight"] = np.arange(16, dtype=np.float32).reshape(4, 4)
    with z.init(tmp_path / "zoo") as zoo:
        add_checkpoint(zoo.workspace, "team/tiny", values)
        path = tmp_path / "x.safetensors"
        save_file({k: torch.from_numpy(v) for k, v in values.items()}, path)
        assert best(zoo, path)["verdict"] == "same"
