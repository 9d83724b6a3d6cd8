"""What safetensors files say of their tensors is told without their weights."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import Tensors
from fakes.served import Served
from huggingface_hub import HfApi
from huggingface_hub.errors import (
    BadRequestError,
    EntryNotFoundError,
    RepositoryNotFoundError,
)
from safetensors.numpy import save

from zoo.serve.keep.files import Part

INDEX = "model.safetensors.index.json"
SHARDS: dict[str, Tensors] = {
    "model-00001-of-00002.safetensors": {"a.weight": np.ones((30, 40), np.float32)},
    "model-00002-of-00002.safetensors": {
        "b.weight": np.ones((7, 9), np.float16), "b.bias": np.ones(9, np.float32),
    },
}  # fmt: skip


def index(**files: str) -> bytes:
    named = {tensor: name for name, tensors in SHARDS.items() for tensor in tensors}
    return json.dumps({"metadata": {"total_size": 5}, "weight_map": named | files}).encode()


@pytest.fixture(scope="module")
def api(served: Served) -> HfApi:
    if not hasattr(HfApi, "get_sharded_safetensors_metadata"):
        pytest.skip("this version of the client asks for no shards")
    api = HfApi(endpoint=served.url, token=served.token("hans", "write"))
    api.create_repo("hans/big")
    send(api, "hans/big", {INDEX: index(), **{name: save(each) for name, each in SHARDS.items()}})
    return api


def send(api: HfApi, repo: str, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        api.upload_file(path_or_fileobj=data, path_in_repo=path, repo_id=repo)


def test_shards_are_told_in_one_answer(
    api: HfApi, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    one_by_one = api.get_safetensors_metadata("hans/big")
    read, pieces = list[str](), Part.pieces

    def noted(part: Part) -> Iterator[bytes | memoryview]:
        read.append(str(part.object))
        return pieces(part)

    monkeypatch.setattr(Part, "pieces", noted)
    told = api.get_sharded_safetensors_metadata("hans/big")
    assert told.parameter_count == {"F32": 1209, "F16": 63}
    assert (told.files_metadata, told.weight_map) == (
        one_by_one.files_metadata, one_by_one.weight_map,
    )  # fmt: skip
    assert (told.metadata, told.sharded) == ({"total_size": 5}, True)
    info = api.model_info("hans/big")
    assert info.safetensors
    assert (info.safetensors.total, dict(info.safetensors.parameters)) == (
        1272, told.parameter_count,
    )  # fmt: skip
    assert "safetensors" in (info.tags or ())
    hub = served.server.hub
    version = hub.history.version("hans/big", "main")
    assert version
    tensors = {str(each.object) for each in hub.files.document(version.entry.manifest).tensors}
    assert tensors
    assert not tensors & {*read}
    (listed,) = api.list_models(author="hans", expand=["safetensors"])
    assert listed.safetensors == info.safetensors


def test_parameters_are_those_of_what_clients_load(api: HfApi) -> None:
    api.create_repo("hans/more")
    weights = save({"x": np.ones(5)})
    send(api, "hans/more", {"old/model.safetensors": weights, "ema.safetensors": weights})
    assert api.model_info("hans/more").safetensors is None
    send(api, "hans/more", {"model.safetensors": save({"x": np.ones((2, 3), np.float16)})})
    found: Any = api.model_info("hans/more").safetensors
    assert (found.total, dict(found.parameters)) == (6, {"F16": 6})
    single = api.get_safetensors_metadata("hans/more")
    assert single.parameter_count == {"F16": 6}


def test_what_is_no_index_is_refused(api: HfApi, served: Served) -> None:
    api.create_repo("hans/odd")
    bad = {
        "x.json": b"[1]", "deep.json": b"[" * 5000, "half.json": b'{"weight_map": {"a": "\xff"}}',
        "readme.json": index(a="README.md"), "gone.json": index(a="gone.safetensors"),
        "out.json": index(a="../model.safetensors"), "README.md": b"hello",
        "one.json": index(**{str(n): "./" * n + min(SHARDS) for n in range(100)}),
    }  # fmt: skip
    send(api, "hans/odd", bad | {name: save(each) for name, each in SHARDS.items()})
    for name, error in (
        ("x.json", BadRequestError), ("deep.json", BadRequestError), ("half.json", BadRequestError),
        ("readme.json", BadRequestError), ("gone.json", EntryNotFoundError),
        ("out.json", EntryNotFoundError), ("nothing", EntryNotFoundError),
        ("README.md", BadRequestError), ("one.json", BadRequestError),
    ):  # fmt: skip
        with pytest.raises(error):
            api.get_sharded_safetensors_metadata("hans/odd", filename=name)
    served.accounts.set_level("hans/big", level="private")
    stranger = HfApi(endpoint=served.url, token=served.token("ann"))
    with pytest.raises(RepositoryNotFoundError):
        stranger.get_sharded_safetensors_metadata("hans/big")
    served.accounts.set_level("hans/big")


def test_headers_have_bounds(api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zoo.serve.hub.headers.HEADER_BYTES", len(index()) + 10)
    with pytest.raises(BadRequestError, match="file by file"):
        api.get_sharded_safetensors_metadata("hans/big")
    monkeypatch.setattr("zoo.serve.hub.headers.HEADER_BYTES", 20)
    with pytest.raises(BadRequestError, match="is no index"):
        api.get_sharded_safetensors_metadata("hans/big")
