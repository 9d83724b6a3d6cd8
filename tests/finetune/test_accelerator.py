"""On an accelerator, where there is one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from zoo.backbones.devices import pick_device
from zoo.domain.recipe import Recipe
from zoo.domain.reference import Reference
from zoo.finetune.run import finetune
from zoo.lookup.runs import find_run
from zoo.workspace import Workspace

ACCELERATOR = torch.accelerator.current_accelerator(check_available=True)
needs_accelerator = pytest.mark.skipif(ACCELERATOR is None, reason="no accelerator here")


@pytest.mark.gpu
@needs_accelerator
def test_auto_takes_the_accelerator() -> None:
    assert ACCELERATOR is not None
    assert pick_device("auto") == ACCELERATOR.type


@pytest.mark.gpu
@needs_accelerator
def test_a_profiled_run_trains_on_it(workspace: Workspace, base: str, shapes: Path) -> None:
    assert ACCELERATOR is not None
    how: dict[str, Any] = {"strategy": "partial", "freeze": "layer2", "batch_size": 2}
    recipe = Recipe(data=str(shapes), image_size=32, epochs=1, **how)
    save = Reference.parse("team/a")
    done = finetune(workspace, base, recipe, save, device=ACCELERATOR.type, profile=True)
    folder = find_run(workspace, done.run).folder
    told = json.loads((folder / "profile.json").read_text())
    assert told["device"].startswith(ACCELERATOR.type)
    if ACCELERATOR.type == "cuda":
        events = json.loads(gzip.decompress((folder / "trace.json.gz").read_bytes()))
        assert any(event.get("cat") == "kernel" for event in events["traceEvents"])


@pytest.mark.skipif(ACCELERATOR is not None, reason="there is an accelerator here")
def test_auto_takes_the_processor_where_there_is_none() -> None:
    assert pick_device("auto") == "cpu"
