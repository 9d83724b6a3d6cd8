"""zoo finetune --strategy lora, and what other commands say of what it made."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import threads
from fakes.prepared import NET
from fakes.program import Said

Run = Callable[..., Said]

one_thread = pytest.fixture(autouse=True)(threads.one_thread)


def test_an_adapter_is_told_of(small: Run, few: Path) -> None:
    options = ("--data", few, "--strategy", "lora", "--rank", 2, "--image-size", 32)
    tune = ("finetune", NET, *options, "--at", "layer3,layer4", "--epochs", 1, "--batch-size", 8)
    planned = small(*tune, "--dry-run")
    assert "from layer3.0 on" in planned.out
    done = small(*tune, "--save", "team/lora")
    assert done.code == 0, done.err
    assert "lora trained from layer3.0" in done.out
    assert "2 units, " in (shown := small("show", "team/lora").out)
    assert "LoRA of rank 2 on " in shown
    known = small("show", "team/lora", "--json").json["adapter"]
    assert (known["rank"], known["units"]) == (2, ["layer3.0", "layer4.0"])
    assert all(layer.startswith(("layer3.0.", "layer4.0.")) for layer in known["layers"])
    log = small("log", "team/lora").out
    assert "lora from layer3.0 on" in log
    assert ", and 2 units have an adapter beside that" in log
    assert "DISAGREES" not in log
    units = {unit["unit"]: unit for unit in small("diff", NET, "team/lora", "--json").json["units"]}
    assert units["layer2.0"]["status"] == "identical"
    assert units["layer3.0"]["note"].startswith("an adapter on ")
    assert units["layer3.0"]["changed"] == 0


def test_an_adapter_is_exported_either_way(small: Run, few: Path) -> None:
    tune = ("finetune", NET, "--data", few, "--strategy", "lora", "--image-size", 32)
    small(*tune, "--freeze", "layer3", "--epochs", 1, "--save", "team/lora").done()
    said = small("export", "team/lora", "whole")
    assert "whole/model.safetensors" in said.out
    assert (
        "lora"
        not in json.loads(Path("whole/config.json").read_text())["zoo"]["backbone"]["options"]
    )
    said = small("export", "team/lora", "alone", "--adapter")
    assert said.out.split() == ["alone/adapter_config.json", "alone/adapter_model.safetensors"]
    assert "class names and calibration are in a whole export" in said.err
    refused = small("export", NET, "none", "--adapter")
    assert refused.code == 1
    assert "it has no adapter: it was not trained with --strategy lora" in refused.err
    found = small("identify", "alone/adapter_model.safetensors")
    assert "shares weights with team/lora" in found.out
