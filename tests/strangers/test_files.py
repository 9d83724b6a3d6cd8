"""Files that a checkpoint brings do nothing where they are written."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fakes.program import zoo as say
from fakes.strangers import BASE, plant

import zoo
from zoo.domain.file_names import why_unsafe
from zoo.domain.manifest import PlainFile
from zoo.store import Store
from zoo.store.files import add_file

UNSAFE = ("torch.py", "sitecustomize.py", ".bashrc", "evil.pth", "x.so", "x.pyd", "Makefile",
          "conftest.py", "LICENSE.py", "a.PY", "run", "pyproject.toml",
          ".eslintrc.json")  # fmt: skip
NOWHERE = ("CON.txt", "nul", "AUX.json", "lpt1.md", "a.txt.", "a ", "a?.txt", "a\nb.txt")
SAFE = (
    "LICENSE",
    "LICENSE-APACHE",
    "LICENSE.Apache-2.0",
    "labels.txt",
    "model.index.json",
    "日.md",
)


def brought(home: Path, tmp_path: Path, *names: str) -> tuple[PlainFile, ...]:
    """Files as a checkpoint of before has them."""
    path = tmp_path / "file"
    path.write_text("import this\n")
    return tuple(add_file(Store.open(home), path, name=name) for name in names)


def test_files_that_could_be_run_are_left_out_and_told(home: Path, tmp_path: Path) -> None:
    names = (*UNSAFE, *NOWHERE, *SAFE, "README.md", "readme.md", "Model.safetensors", "Config.JSON")
    plant(home, "team/pulled", files=brought(home, tmp_path, *names))
    out = tmp_path / "out"
    done = say("export", "team/pulled", out)
    assert done.code == 0
    there = {path.name for path in out.iterdir()}
    assert there == {*SAFE, "README.md", "model.safetensors", "config.json"}
    for name in set(names) - there:
        told = [
            line
            for line in done.err.splitlines()
            if line.startswith(f"left out: {name.replace(chr(10), '?')},")
        ]
        assert len(told) == 1, name
        assert "--all-files" in told[0]


def test_an_option_writes_them_all(home: Path, tmp_path: Path) -> None:
    plant(home, "team/pulled", files=brought(home, tmp_path, "train.py", "README.md"))
    done = say("export", "team/pulled", tmp_path / "out", "--all-files")
    assert (done.code, done.err) == (0, "")
    assert (tmp_path / "out" / "train.py").read_text() == "import this\n"
    assert say("import", tmp_path / "out", "--as", "team/back").code == 0
    with zoo.open(home) as z:
        assert len(z.show("team/back").to_json()["files"]) == 2


def test_weights_under_another_name_are_refused(home: Path, tmp_path: Path) -> None:
    with zoo.open(home) as z:
        _, digest = z.workspace.names.resolve(BASE)
        (weights,) = z.workspace.store.manifest(digest).weights
    plant(home, "team/pulled", weights=(replace(weights, name="sitecustomize.py"),))
    done = say("export", "team/pulled", tmp_path / "out")
    assert done.failed("'sitecustomize.py'", "zoo export --all-files")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["nul", "a?.txt", "CON.txt"])
def test_a_name_that_windows_cannot_hold_is_not_kept_anew(
    home: Path, tmp_path: Path, name: str
) -> None:
    with zoo.open(home) as z:
        z.export(BASE, tmp_path / "out")
    (tmp_path / name).touch()
    done = say("import", tmp_path / "out" / "model.safetensors", "--architecture", "test_vit",
               "--as", "team/new", "--file", tmp_path / name)  # fmt: skip
    assert done.failed(name, "no name that every system can keep a file under")


def test_names() -> None:
    assert [name for name in (*UNSAFE, *NOWHERE) if not why_unsafe(name)] == []
    assert [name for name in SAFE if why_unsafe(name)] == []
