"""In a zoo that a group shares, what one user's run leaves is for all of the group."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.tuned import SIDE, drawings, quick, small_zoo

from zoo.errors import Forbidden

HOW: dict[str, Any] = {
    "device": "cpu", "image_size": SIDE, "epochs": 2, "freeze": "layer2", "strategy": "partial",
    "batch_size": 6, "save_every": 1, "blend": "soup",
}  # fmt: skip


@pytest.fixture
def umask() -> Iterator[None]:
    before = os.umask(0o077)
    with quick():
        yield
    os.umask(before)


@pytest.mark.usefixtures("umask")
@pytest.mark.parametrize(
    ("root", "folder", "file"),
    [(0o2775, 0o2775, 0o664), pytest.param(0o700, 0o700, 0o600, marks=pytest.mark.long)],
    ids=["shared", "private"],
)
def test_the_mode_of_the_zoo_decides(tmp_path: Path, root: int, folder: int, file: int) -> None:
    """As it does for the store, whatever the umask."""
    with small_zoo(tmp_path) as zoo:
        home = zoo.workspace.root
        home.chmod(root)
        zoo.finetune("team/base", drawings(tmp_path / "data"), "team/new", **HOW)
    made = [home / name for name in ("runs", "cache")]
    made += [path for top in made for path in top.rglob("*")]
    assert any(path.suffix == ".bin" for path in made), "something was cached"
    for path in made:
        wanted = folder if path.is_dir() else file
        assert stat.S_IMODE(path.stat().st_mode) == wanted, path
    (tmp_path / "mine").touch()
    assert stat.S_IMODE((tmp_path / "mine").stat().st_mode) == 0o600, "the umask is as it was"


@pytest.mark.usefixtures("umask")
def test_what_is_not_allowed_says_which_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where an older program made it, which went by the umask."""
    with small_zoo(tmp_path) as zoo:
        data, runs = drawings(tmp_path / "data"), zoo.workspace.root / "runs"
        runs.mkdir()
        real = Path.mkdir

        def mkdir(path: Path, *args: Any, **how: Any) -> None:
            if path.parent == runs:
                raise PermissionError(13, "Permission denied", str(path))
            real(path, *args, **how)

        monkeypatch.setattr(Path, "mkdir", mkdir)
        monkeypatch.setattr("zoo.store.rights._allows", lambda path, _: path != runs)
        with pytest.raises(Forbidden) as caught:
            zoo.finetune("team/base", data, "team/new", **HOW)
        assert str(runs) in str(caught.value)
        assert "chmod" in caught.value.mend
