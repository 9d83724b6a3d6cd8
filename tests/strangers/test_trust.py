"""What came from elsewhere names modules, and zoo imports none that its user has not allowed."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import pytest
import timm
from fakes.program import zoo as say
from fakes.strangers import BASE, plant
from safetensors.torch import save_file

import zoo
from zoo.errors import Untrusted
from zoo.trust import locate

TRAP = "from pathlib import Path\nPath({ran!r}).touch()\n"
NET = """
import timm
from torch import nn

def make(num_classes=1000) -> nn.Module:
    return timm.create_model("test_vit", num_classes=num_classes)
"""


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the path; whichever of its modules is imported leaves a file ``ran``."""
    folder = tmp_path / "shelf"
    (folder / "strange").mkdir(parents=True)
    code = TRAP.format(ran=str(tmp_path / "ran")) + NET
    (folder / "strange" / "__init__.py").write_text(code)
    for name in ("strange/nets.py", "stranger.py"):
        (folder / name).write_text(code)
    monkeypatch.syspath_prepend(folder)
    return folder


@pytest.fixture(autouse=True)
def forgotten() -> object:
    """Nothing of the shelf stays imported."""
    yield
    for name in ("strange", "strange.nets", "stranger"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize(
    ("path", "file"),
    [
        pytest.param("stranger:make", "stranger.py", marks=pytest.mark.long),
        ("strange.nets:make", "strange/nets.py"),
    ],
)
def test_no_command_imports_what_a_checkpoint_names(
    home: Path, shelf: Path, images: Path, tmp_path: Path, path: str, file: str
) -> None:
    plant(home, "team/pulled", architecture=path)
    told = (f"would import the module '{path.partition(':')[0]}'", str(shelf / file),
            f"zoo trust {path}")  # fmt: skip
    photo = images / "a" / "0.png"
    for command in (
        ("predict", "team/pulled", photo),
        ("tree", "team/pulled"),
        ("export", "team/pulled", tmp_path / "out"),
        ("finetune", "team/pulled", "--data", images, "--save", "team/new"),
        ("adapt", "team/pulled", "team/new", "--classes", 3),
        ("features", "team/pulled", images, "--out", tmp_path / "features.safetensors"),
        ("push", "team/pulled", "--to", "hf://me/pulled"),
    ):
        done = say(*command)
        assert done.failed(*told), (command, done)
    with zoo.open(home) as z, pytest.raises(Untrusted, match="is not trusted") as caught:
        z.load("team/pulled")
    assert f"zoo_torch.register('{path}', factory)" in caught.value.__notes__[0]
    for line in ("reindex", "show team/pulled", "log team/pulled", f"diff {BASE} team/pulled"):
        assert say(*line.split()).code == 0, line
    assert not (tmp_path / "ran").exists()
    assert not {"strange", "strange.nets", "stranger"} & set(sys.modules)


def test_the_user_allows_a_module_by_name_and_takes_it_back(
    home: Path, shelf: Path, images: Path, tmp_path: Path
) -> None:
    plant(home, "team/pulled", architecture="strange.nets:make")
    predict = ("predict", "team/pulled", images / "a" / "0.png")
    assert json.loads(say("trust", "--json").out) == []
    done = say("trust", "strange.nets:make")
    assert done.out == f"strange.nets:make  from {shelf}/strange/nets.py\n"
    assert not (tmp_path / "ran").exists()  # to allow is not to import
    assert say(*predict).code == 0
    assert (tmp_path / "ran").exists()
    plant(home, "team/other", architecture="stranger:make")
    assert say("tree", "team/other").failed("'stranger:make' is not trusted")
    listed = json.loads(say("trust", "--json").out)
    assert listed == [{"name": "strange.nets:make", "files": [f"{shelf}/strange/nets.py"]}]
    assert say("trust", "strange.nets:make", "--remove").code == 0
    assert say(*predict).failed("'strange.nets:make' is not trusted")
    assert say("trust", "strange.nets:make", "--remove").failed("zoo trust lists them")


def test_a_module_of_that_name_in_another_file_is_another_module(
    home: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a stranger's files lie in the current folder, which a notebook has on its path."""
    plant(home, "team/pulled", architecture="stranger:make")
    assert say("trust", "stranger:make").code == 0
    monkeypatch.chdir(tmp_path)
    Path("stranger.py").write_text(TRAP.format(ran=str(tmp_path / "ran")))
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    done = say("--home", home, "tree", "team/pulled")
    assert done.failed(f"is not trusted (only from {shelf}/stranger.py)", f"{tmp_path}/stranger.py")
    assert not (tmp_path / "ran").exists()


@pytest.mark.long
def test_what_the_user_imported_under_that_name_keeps_working(
    home: Path, shelf: Path, images: Path, tmp_path: Path
) -> None:
    file = home.parent / "own.safetensors"
    with zoo.open(home) as z:
        z.export(BASE, tmp_path / "out")
        (tmp_path / "out" / "model.safetensors").rename(file)
    named = ("import", file, "--backbone", "torch", "--architecture", "stranger:make")
    assert say(*named, "--as", "team/own").code == 0
    sys.modules.pop("stranger")
    assert say("predict", "team/own", images / "a" / "0.png").code == 0
    assert [line["name"] for line in json.loads(say("trust", "--json").out)] == ["stranger:make"]
    # One that fails leaves no trace, and to look at an architecture is no word for checkpoints.
    wrong = ("import", file, "--backbone", "torch", "--architecture", "strange:gone")
    assert say(*wrong, "--as", "team/x").code == 1
    assert say("tree", "strange.nets:make").code == 0
    assert [line["name"] for line in json.loads(say("trust", "--json").out)] == ["stranger:make"]


@pytest.mark.long
def test_an_import_that_is_done_is_no_error_where_the_word_cannot_be_kept(
    home: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a user without a home."""
    file = tmp_path / "net.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), file)
    (tmp_path / "occupied").touch()
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "occupied"))
    done = say("import", file, "--backbone", "torch", "--architecture", "stranger:make",
               "--as", "team/kept")  # fmt: skip
    assert done.code == 0
    assert "could not be kept" in done.err
    assert "zoo trust stranger:make" in done.err
    assert say("show", "team/kept").code == 0


def test_a_name_of_a_checkpoint_is_not_taken_for_an_architecture(home: Path, shelf: Path) -> None:
    plant(home, "torch/stranger:make", architecture="stranger:make")
    assert say("tree", "torch/stranger:make").failed("'stranger:make' is not trusted")


def test_the_list_is_its_users_own(
    home: Path, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(home, "team/pulled", architecture="stranger:make")
    assert say("trust", "stranger:make").code == 0
    (listed,) = (Path.home() / ".config" / "zoo").glob("trusted-*.json")
    text = listed.read_bytes()
    listed.rename(tmp_path / "theirs.json")
    listed.symlink_to(tmp_path / "theirs.json")
    assert say("tree", "team/pulled").code == 1
    listed.unlink()
    # In a zoo that is shared, others can give any name to a file that the user's own pull made.
    for name in (listed.name, f"trusted-{os.getuid()}.json", "trusted.json"):
        (home / name).write_bytes(text)
    assert say("tree", "team/pulled").failed("'stranger:make' is not trusted")
    listed.write_bytes(text)
    monkeypatch.setattr("zoo.workspace.USER", 12345)  # as if another user ran it
    assert say("tree", "team/pulled").failed("belongs to another user")


@pytest.mark.parametrize("name", ["os:system", "__main__:x", "no path", "a.b", "http.server:test"])
def test_what_can_be_no_network_is_not_to_be_allowed(home: Path, name: str) -> None:
    assert say("trust", name).failed("is not an import path")
    assert say("trust", "not_there.nets:make").failed("'not_there'", "PYTHONPATH=DIR")
    assert not list(home.glob("trusted*"))


def test_to_locate_a_module_imports_none(shelf: Path, tmp_path: Path) -> None:
    assert locate("strange.nets") == f"{shelf}/strange/nets.py"
    assert locate("strange") == f"{shelf}/strange/__init__.py"
    for name in ("strange.gone", "stranger.nets", "gone.nets"):
        with pytest.raises(ModuleNotFoundError, match=name.partition(".")[0]):
            locate(name)
    assert not (tmp_path / "ran").exists()


def test_the_program_as_a_module_runs_nothing_when_it_is_only_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runpy.run_module("zoo_cli.__main__", run_name="zoo_cli.__main__")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["zoo", "--version"])
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    with pytest.raises(SystemExit):
        runpy.run_module("zoo_cli.__main__", run_name="__main__")
    assert str(tmp_path) not in sys.path
