"""The way to ONNX that docs/surgery.md shows; and what who looks for it elsewhere is told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from fakes.prepared import BASE, Run

PAGE = Path(__file__).parents[2] / "docs/surgery.md"


@pytest.mark.parametrize("name", ["m.onnx", "new.safetensors", "a.b/net.PTH"])
def test_an_export_is_a_folder_and_no_file(toy: Run, name: str) -> None:
    suffix = Path(name).suffix.lower()
    said = toy("export", "team/base", name).refused(f"{name}: export writes a folder", suffix)
    assert f"zoo export NAME {Path(name).with_suffix('')}" in said.err
    assert ("docs/surgery.md#onnx" in said.err) == (suffix == ".onnx")
    assert not Path(name).exists()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (("export", "team/base", "m", "--format", "onnx"), "torch.onnx makes ONNX"),
        (("onnx", "team/base"), "Here it is: zoo export"),
    ],
)
def test_other_formats_are_told_of(toy: Run, line: tuple[str, ...], says: str) -> None:
    said = toy(*line)
    assert said.code == 2
    assert says in " ".join(said.err.split())


@pytest.mark.long
def test_the_page_makes_onnx(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxscript")
    reference = pytest.importorskip("onnx.reference")
    run("export", BASE, "flowers-model").done()
    code = re.search(r"### ONNX.*?```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code
    names: dict[str, Any] = {"timm": timm, "torch": torch}
    exec(code[1], names)
    images = torch.randn(3, *names["image"].shape[1:])
    with torch.no_grad():
        own = names["model"](images)
    (made,) = reference.ReferenceEvaluator("flowers.onnx").run(None, {"x": images.numpy()})
    assert np.allclose(made, own, atol=1e-3)
