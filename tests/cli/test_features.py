"""zoo features: what it prints and what it writes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

Run = Callable[..., Any]
TUNED = "team/digits"


def test_a_file_of_codes(run: Run, digits: Path, home: Path) -> None:
    command = ("features", TUNED, digits, "--at", "blocks.1", "--out", "codes.safetensors")
    done = run(*command, "--json")
    assert (done.code, done.err) == (0, "")
    manifest = run("show", TUNED, "--json").json["manifest"]
    assert done.json == {
        "path": "codes.safetensors", "manifest": manifest, "unit": "blocks.1.1", "images": 200,
        "features": 24, "classes": list("0123456789"),
    }  # fmt: skip
    codes = load_file(home / "codes.safetensors")["codes"]
    assert codes.shape == (200, 24)

    again = run(*command)
    assert again.code == 1
    assert "codes.safetensors exists; --force replaces it" in again.err

    done = run(*command[:-4], "--out", "codes.safetensors", "--force", "--batch-size", 64)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("codes.safetensors  200 x 1280 codes at head of ")
    assert load_file(home / "codes.safetensors")["codes"].shape == (200, 1280)


def test_a_misspelt_unit(run: Run, digits: Path, home: Path) -> None:
    done = run("features", TUNED, digits, "--at", "block.1", "--out", "codes.safetensors")
    assert (done.code, done.out) == (1, "")
    assert "did you mean" in done.err
    assert "blocks.1" in done.err
    assert not (home / "codes.safetensors").exists()
