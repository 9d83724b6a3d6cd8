"""A license that leaves out a limit of what a checkpoint derives from is told at its push."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.prepared import Run
from fakes.served import serving

import zoo
from zoo.domain.manifest import Parent
from zoo.workspace import Workspace

BASE, TUNED, SAME = "team/base", "team/roses", "team/tulips"
TOLD = f"WARNING: {TUNED}: its license is given as mit, but {BASE}, which it derives from, is"


@pytest.fixture
def limited(bare: Run, mine: Path) -> Run:
    """The program, where two fine-tunes are of what is for non-commercial use; one says so."""
    with zoo.open(mine) as opened:
        base = add_checkpoint(opened.workspace, BASE, tensors(1), license="cc-by-nc-4.0")
        parent = Parent(manifest=base, relation="finetune", ref=BASE)
        for seed, (name, license_) in enumerate(((TUNED, "mit"), (SAME, "cc-by-nc-4.0")), 2):
            add_checkpoint(
                opened.workspace, name, tensors(seed), license=license_, parents=(parent,)
            )
    return bare


def pushes(run: Run, to: object) -> None:
    assert TOLD in " ".join(run("push", TUNED, "--to", to).done().err.split())
    assert "WARNING" not in run("push", TUNED, "--to", to).done().err, "nothing was sent"
    assert "WARNING" not in run("push", SAME, "--to", to).done().err


def test_at_a_push_to_a_folder(limited: Run, tmp_path: Path) -> None:
    pushes(limited, tmp_path / "lab")
    told = limited("push", TUNED, "--to", tmp_path / "other", "--json").done().json
    assert "is non-commercial" in told["warning"]


@pytest.mark.long
def test_at_a_push_to_a_server(
    limited: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Workspace.create(tmp_path / "served").close()
    with serving(tmp_path / "served") as team:
        monkeypatch.setattr("sys.stdin", io.StringIO(f"{team.token('team', 'write')}\n"))
        limited("login", team.url).done()
        pushes(limited, team.url)
