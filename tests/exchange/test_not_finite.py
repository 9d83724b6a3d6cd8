"""Weights with NaN or infinite values are kept, with one line that names them."""

from __future__ import annotations

import logging
import struct
from pathlib import Path

import pytest
import torch
from fakes.few import few_published  # noqa: F401 - a fixture
from fakes.hub_server import HubServer
from safetensors.torch import save, save_file

from zoo.exchange.acquire import acquire
from zoo.lookup.details import CheckpointDetails, details
from zoo.store.files import add_weights
from zoo.store.not_finite import NOT_FINITE, is_finite, watched
from zoo.transfer.maintenance import verify
from zoo.workspace import Workspace

RESNET = "timm/test_resnet.r160_in1k"
FLOATS = (
    torch.float16, torch.bfloat16, torch.float32, torch.float64,
    torch.float8_e4m3fn, torch.float8_e5m2,
)  # fmt: skip


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_each_float_dtype_is_looked_through(
    workspace: Workspace, dtype: torch.dtype, tmp_path: Path
) -> None:
    info = torch.finfo(dtype)
    plain = torch.tensor([info.max, info.min, 0.0, -0.0, info.tiny, 1.0], dtype=dtype)
    odd = {"nan": float("nan")}
    if dtype != torch.float8_e4m3fn:  # has no infinity
        odd |= {"inf": float("inf"), "minus": -float("inf")}
    tensors = {"plain": plain.repeat(3, 5)}
    for name, value in odd.items():
        tensors[name] = plain.repeat(3, 5)
        tensors[name][2, 7] = torch.tensor(value, dtype=dtype)
    save_file(tensors, tmp_path / "x.safetensors")
    weights = add_weights(workspace.store, tmp_path / "x.safetensors")
    found = {
        each.name: is_finite(
            each.dtype, workspace.store.view("objects", each.object)[each.offset :][: each.nbytes]
        )
        for each in weights.tensors
    }
    assert found == {"plain": True} | dict.fromkeys(odd, False)


@pytest.mark.usefixtures("few_published")
def test_a_pull_names_what_is_not_finite(
    hub: HubServer,
    resnet: torch.nn.Module,
    workspace: Workspace,
    caplog: pytest.LogCaptureFixture,
) -> None:
    state = dict(resnet.state_dict())
    name = next(key for key, value in state.items() if value.is_floating_point())
    state[name].view(-1)[0] = float("inf")
    hub.commit(RESNET, {"model.safetensors": save(state), "config.json": b"{}"}, card={})
    with caplog.at_level(logging.WARNING, logger="zoo"):
        acquire(workspace, RESNET)
    assert caplog.messages == [f"{RESNET}: NaN or infinite values in {name}"]

    # The manifest is the same whoever pulls, and does not say it: as that of an early import.
    said = f"NaN or infinite values in {name}"
    assert unfit(workspace) == said
    (workspace.root / NOT_FINITE).unlink()  # as earlier versions left it
    assert unfit(workspace) == ""
    report = verify(workspace, None)
    (odd,) = report.not_finite
    assert (odd.names, odd.tensors, report.damages) == ((RESNET,), (name,), ())
    assert unfit(workspace) == said
    (workspace.root / NOT_FINITE).write_text("{")
    assert unfit(workspace) == ""
    assert "not-finite.json is damaged" in caplog.text
    (workspace.root / NOT_FINITE).unlink()
    verify(workspace, None)
    assert unfit(workspace) == said


def unfit(workspace: Workspace) -> str:
    shown = details(workspace, RESNET)
    assert isinstance(shown, CheckpointDetails)
    return shown.not_finite


@pytest.mark.parametrize("cut", [1, 3, 4, 10])
@pytest.mark.parametrize("value", [1.0, float("nan")])
def test_pieces_may_end_within_a_number(cut: int, value: float) -> None:
    data, told = struct.pack("<5f", 1, 2, value, 4, 5), list[float]()
    pieces: list[bytes | memoryview] = [data[:cut], memoryview(data)[cut:]]
    assert b"".join(watched("F32", pieces, lambda: told.append(value))) == data
    assert len(told) == (value != 1)
