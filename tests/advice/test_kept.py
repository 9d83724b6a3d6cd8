"""Kept rows: which networks have read these images, whatever else lies there."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import save_file

from zoo.advice.kept import KeptRows, networks_kept

DEEP = "[" * 100_000
WHAT = {"network": "one", "batch": 4, "preprocessing": {"input_size": [3, 32, 32]}}


def test_files_that_are_no_rows_hide_none(tmp_path: Path) -> None:
    kept = KeptRows(tmp_path, WHAT)
    kept.add(["a", "b"], {"x": torch.zeros(2, 3)})
    kept.add(["c"], {"x": torch.zeros(1, 3)})
    (kept.home / "torn.safetensors").write_bytes(b"torn")
    (kept.home / "folder.safetensors").mkdir()
    os.mkfifo(kept.home / "pipe.safetensors")
    for name, metadata in (("none", None), ("other", {"images": "7"}), ("deep", {"images": DEEP})):
        save_file({"x": torch.zeros(1)}, kept.home / f"{name}.safetensors", metadata)
    for name, text in (("deep", DEEP), ("list", "[1]"), ("binary", "\0")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "description.json").write_text(text)
    assert networks_kept(tmp_path, {"a", "c"}, 32, 4) == {"one"}
    assert networks_kept(tmp_path, {"a", "d"}, 32, 4) == set()
    assert networks_kept(tmp_path, {"a"}, 64, 4) == set()
    assert networks_kept(tmp_path, {"a"}, 32, 8) == set()
    assert KeptRows.load(tmp_path, WHAT, {"a"}).images >= {"a", "b"}
