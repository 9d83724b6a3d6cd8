"""What no user asked for: damage, an interrupt, a full disk, text that is meant to do harm. It is
told as a mistake is, and nothing is half done.
"""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from fakes.prepared import BASE, TUNED, Run
from safetensors.torch import save_file

Contents = Callable[[Path], dict[str, int]]


def damage(path: Path, data: bytes | None = None) -> None:
    """Replace a stored file, whose inode other tests share; by default with one bit flipped."""
    found = bytearray(path.read_bytes())
    found[len(found) // 2] ^= 1
    path.unlink()
    path.write_bytes(found if data is None else data)


# What broke


def test_a_registry_that_is_garbage(run: Run, home: Path, files: Path) -> None:
    for path in home.glob("registry.db*"):
        path.unlink()
    (home / "registry.db").write_bytes(b"garbage" * 1000)
    assert run("predict", TUNED, files / "good.png").code == 0, "needs no registry"
    done = run("search", "--json")
    assert [row["name"] for row in done.json] == [TUNED, BASE]
    assert "registry.db was damaged" in done.err
    assert "is made again from the store" in done.err


def test_a_damaged_object(
    fails: Run, run: Run, home: Path, files: Path, prepared: Any, digits: Path
) -> None:
    run("push", TUNED, "--to", files / "team")
    theirs = files / "team" / "objects"
    largest = max(theirs.glob("*/*"), key=lambda path: path.stat().st_size).relative_to(theirs)
    mine = home / "objects" / largest
    damage(mine)
    says = ("object blake3:", "is damaged", "nothing was stored or loaded", f"objects/{largest}")
    fails("predict", TUNED, files / "good.png", says=says)
    # The hint helps.
    mine.unlink()
    fails("predict", TUNED, files / "good.png", says=("is missing", "pull it again"))
    assert run("pull", TUNED, "--from", files / "team").code == 0
    assert run("predict", TUNED, files / "good.png").code == 0


def test_a_damaged_manifest(fails: Run, home: Path, prepared: Any) -> None:
    digest = prepared.finetune["manifest"].removeprefix("blake3:")
    file = f"manifests/{digest[:2]}/{digest}.json"
    damage(home / file)
    for command in ("show", "log"):
        fails(command, TUNED, says=("is damaged", digest, file))
    (home / file).unlink()
    fails("show", TUNED, says=("is missing", digest))


def test_a_zoo_of_a_newer_program(fails: Run, home: Path) -> None:
    (home / "zoo.json").write_text('{"format": 3}\n')
    for line in (("search",), ("init",), ("show", TUNED)):
        fails(*line, says=("format 3", "reads 1 and 2", "update zoo where it was installed"))
    (home / "zoo.json").write_text("junk")
    fails("search", says=("zoo.json", "cannot be read"))


def test_a_damaged_ref(fails: Run, home: Path) -> None:
    damage(home / "refs" / TUNED / "latest" / "00000001.json", b"junk")
    fails("show", TUNED, says=(TUNED, "00000001.json"))


@pytest.mark.parametrize(
    "text",
    ["junk", "[]", "[" * 100_000, '{"team": null}', r'{"team": "\u0000"}', r'{"team": "\ud800"}'],
    ids=["junk", "list", "deep", "nothing", "zero", "half a character"],
)
def test_a_damaged_list_of_remotes(fails: Run, home: Path, text: str) -> None:
    (home / "remotes.json").write_text(text)
    for line in (("remote",), ("fetch", "team"), ("push", TUNED, "--to", "team")):
        fails(*line, says=("remotes.json", "fix or delete it"))
    assert not (home / "None").exists()


def test_an_interrupt(
    small: Run, contents: Contents, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    def stored() -> dict[str, int]:
        return {
            name: size
            for name, size in contents(Path.cwd()).items()
            if not name.startswith("runs/")
        }

    tune = ("finetune", "team/net", "--data", few, "--save", "team/new", "--epochs", 1, "--quiet",
            "--image-size", 32)  # fmt: skip
    before = stored()
    with monkeypatch.context() as patch:
        patch.setattr("zoo.finetune.loop.train.learn", interrupt)
        done = small(*tune)
    assert (done.code, done.out) == (130, "")
    said, kept, python = (line.strip() for line in done.err.splitlines() if line)
    assert said == "interrupted"
    assert kept.startswith("kept up to the probe; to resume: zoo finetune --resume ")
    assert stored() == before
    assert kept.split()[-1] in python
    assert small(*kept.rpartition(": zoo ")[2].split()).code == 0
    with monkeypatch.context() as patch:
        patch.setattr("zoo.finetune.loop.train.learn", interrupt)
        done = small(*tune, "--strategy", "partial")
    kept = done.err.splitlines()[-2].strip()
    assert kept.startswith("nothing is kept yet; to begin it anew: zoo finetune --resume ")
    assert small(*kept.rpartition(": zoo ")[2].split()).code == 0


def limit_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))


def test_a_full_disk_on_push(console: Run, home: Path, run: Run, tmp_path: Path) -> None:
    team = tmp_path / "team"
    done = console("push", TUNED, "--to", team, cwd=home, preexec_fn=limit_files)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: no space left while writing")
    assert "free some space" in done.err
    assert [path for path in (team / "tmp").rglob("*") if path.is_file()] == []
    assert list((team / "refs").rglob("*.json")) == []
    again = run("push", TUNED, "--to", team)
    assert again.code == 0, "the same command works once there is space"


@pytest.mark.parametrize(
    "name",
    [
        "best.safetensors",
        "best.pth",
    ],
)  # fmt: skip
def test_a_full_disk_on_import(
    console: Run, home: Path, contents: Contents, tmp_path: Path, name: str
) -> None:
    state = timm.create_model("test_vit").state_dict()
    save_file(state, tmp_path / "best.safetensors")
    torch.save(state, tmp_path / "best.pth")
    line = ("import", tmp_path / name, "--architecture", "test_vit", "--as", "team/x")
    done = console(*line, cwd=home, preexec_fn=limit_files)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: no space left while writing")
    assert [path for path in (home / "tmp").rglob("*") if path.is_file()] == []
    assert "refs/team/x/latest/00000001.json" not in contents(home)


# Somebody else's text on my terminal


@pytest.mark.long
def test_text_from_a_remote_is_printed_harmlessly(run: Run, home: Path, files: Path) -> None:
    evil = "\x1b[31mred\x1b]0;title\x07\x9b2J"
    entry = home / "refs" / TUNED / "latest" / "00000001.json"
    damage(entry, json.dumps({**json.loads(entry.read_text()), "by": evil, "why": evil}).encode())
    run("push", TUNED, "--to", files / "team")
    strange = files / "team" / "refs" / "te\x1b[31mam" / "digits" / "latest"
    strange.mkdir(parents=True)
    (strange / "00000001.json").write_bytes(entry.read_bytes())
    texts = [
        run("log", TUNED),
        run("log", TUNED, "--json"),
        run("show", TUNED),
        run("pull", "team/digit", "--from", files / "team"),
        run("show", f"team/{evil}"),
        run("predict", TUNED, f"{evil}.png"),
        run("index", evil),
        run("tree", evil),
        run("finetune", BASE, "--data", evil, "--save", "a/b"),
    ]
    for done in texts:
        assert all(char.isprintable() or char == "\n" for char in done.out + done.err)
    assert "red" in texts[0].out
    assert texts[1].json["history"][0]["by"] == evil, "JSON keeps it, escaped"


def test_a_torchvision_that_was_built_for_another_torch(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is imported, wherever that is; any other error of the kind is a bug, and is raised."""

    def refuse(*_: object) -> None:
        raise RuntimeError(said)

    monkeypatch.setattr("zoo.facade.Zoo.show", refuse)
    said = "operator torchvision::nms does not exist"
    run("show", BASE).refused(f"torchvision does not fit torch: {said}", "pip install")
    said = "operator of something else"
    with pytest.raises(RuntimeError, match=said):
        run("show", BASE)
