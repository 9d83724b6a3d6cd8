"""zoo repack, as typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.prepared import BASE
from safetensors.numpy import load_file, save_file


@pytest.mark.long
def test_files_that_were_imported_without_a_parent(run: Any, home: Path, tmp_path: Path) -> None:
    run("export", BASE, tmp_path / "export")
    weights = load_file(tmp_path / "export" / "model.safetensors")
    moved = {name: value * 1.0001 if value.ndim > 1 else value for name, value in weights.items()}
    save_file(moved, tmp_path / "tuned.safetensors")
    architecture = run("show", BASE, "--json").json["backbone"]["architecture"]
    run("import", tmp_path / "tuned.safetensors", "--architecture", architecture, "--as", "team/b")
    team = tmp_path / "team"
    for name in (BASE, "team/b"):
        run("push", name, "--to", team)
    shown = run("repack", team)
    assert "nothing was changed; --yes repacks" in shown.err
    assert "weights differ by 0.01%" in shown.out
    planned = run("repack", team, "--json").json
    assert planned["repacked"] is False
    before = sum(path.stat().st_size for path in team.rglob("*") if path.is_file())
    done = run("repack", team, "--yes", "--json").json
    after = sum(path.stat().st_size for path in team.rglob("*") if path.is_file())
    assert (done["repacked"], before - after) == (True, done["bytes_before"] - done["bytes_after"])
    assert done["pairs"][0]["names"] == ["team/b"]
    assert run("verify", team).code == 0
    assert run("repack", team, "--yes").out == "nothing to repack\n"
    run("init", tmp_path / "other")
    refused = run("repack", tmp_path / "other")
    assert (refused.code, "is a zoo" in refused.err) == (1, True), refused.err
