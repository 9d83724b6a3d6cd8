"""What a process may take of memory: the machine's, or the least that a group of its has left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from zoo.backbones import free_memory as module
from zoo.backbones.free_memory import free_memory

MACHINE = 10_000


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of groups, in which none is yet, of a machine with `MACHINE` bytes."""
    monkeypatch.setattr(module, "GROUPS", tmp_path)
    monkeypatch.setattr(module, "OWN", tmp_path / "own")
    free = SimpleNamespace(available=MACHINE)
    monkeypatch.setattr("psutil.virtual_memory", lambda: free)
    return tmp_path


def group(folder: Path, names: tuple[str, str, str], limit: object, used: int, files: int) -> None:
    """Write what Linux tells of one."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, value in zip(names[:2], (limit, used), strict=True):
        (folder / name).write_text(f"{value}\n")
    (folder / "memory.stat").write_text(f"anon 7\n{names[2]} {files}\nactive_file 5\n")


@pytest.mark.parametrize(
    ("own", "below", "names"),
    [
        ("0::/job/step\n", "", module.NEW),
        ("5:cpu,memory:/job/step\n1:name=systemd:/x\n0::/\n", "memory", module.OLD),
    ],
)
def test_the_least_that_a_group_has_left(
    groups: Path, own: str, below: str, names: tuple[str, str, str]
) -> None:
    """Pages of files count as free: reading a data set takes nothing from who trains on it."""
    assert free_memory() == MACHINE, "nothing says which groups there are"
    (groups / "own").write_text(own)
    job = groups / below / "job"
    group(groups / below, names, 1 << 62, 0, 0)
    group(job / "step", names, "max", 900, 0)
    assert free_memory() == MACHINE
    group(job, names, 1000, 900, 300)
    assert free_memory() == 400
    group(job / "step", names, 500, 450, 0)
    assert free_memory() == 50
    group(job / "step", names, 500, 700, 100)
    assert free_memory() == 0


def test_a_container_shows_its_group_as_the_root(groups: Path) -> None:
    (groups / "own").write_text("0::/of/the/host\n")
    group(groups, module.NEW, 3000, 1000, 0)
    assert free_memory() == 2000


def test_what_is_told_oddly_is_no_limit(groups: Path) -> None:
    (groups / "own").write_bytes(b"\xff\n:\n0::/\n")
    (groups / "memory.max").mkdir()
    assert free_memory() == MACHINE
