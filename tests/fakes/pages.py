"""What the pages need to be followed from an empty folder, and how their examples are run.

A page says what it needs in a comment, ``<!-- needs: flowers/, team/base -->``: a row of `NEEDS`
each. The rules by which an example is not run word for word are those of `Follower`.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path
from subprocess import run as run_program

import numpy as np
import torch
from fakes.checkpoints import add_checkpoint
from fakes.own_nets import ConvNet
from fakes.prepared import BASE, NET, TUNED
from fakes.program import Said
from fakes.program import zoo as program
from safetensors.torch import save_file

import zoo

__all__ = ["NEEDS", "VARIES", "Follower", "masked"]

VARIES = re.compile(
    r"\b\d+\.\d+(?:e-\d+)?\b"  # scores and shares, which another processor rounds to another one
    r"|\b[0-9a-f]{12}\b"  # digests of what was trained, or made a moment ago
    r"|\b\d{4}-\d\d-\d\dT[\d:]+Z"  # times
    r"|\b\d{8}-\d{6}-\d{6}\b"  # ids of runs
    r"|\b\d+ s\b"
)
"""What may be another number than the page has; all others are as they stand there, but in a page
that says ``<!-- counts vary -->``.
"""


def masked(text: str, *, counts: bool = False) -> str:
    """A text without what varies, and without all ``counts``; columns are as wide as what they
    hold.
    """
    text = VARIES.sub("0", text)
    return re.sub(r"[ \t]+", " ", re.sub(r"\d+", "0", text) if counts else text).strip()


class Follower:
    """Types the lines of pages in the current folder, which is a zoo.

    - ``/mnt/team`` and addresses of buckets are folders below ``places``.
    - The run that is called by a day is the oldest.
    - A fine-tune that does not say how long it trains has one epoch, and images of 32 pixels.
    - An architecture of 100 MB is one of timm's tiny ones.
    - The group ``team`` is that of this process, and ``ben`` trained what is there.
    - What would ask is answered (``--yes``).
    - Before something is resumed, the newest run is marked as cut off.
    """

    def __init__(self, places: Path, *, counts: bool = True) -> None:
        self.places, self.counts = places, counts
        (places / "team").mkdir()

    def mask(self, text: str) -> str:
        """A text without what varies."""
        return masked(text, counts=not self.counts)

    def put(self, text: str) -> str:
        """A text with this machine's places."""
        text = re.sub(r"(?:s3|gs|az)://([\w-]+)/", rf"{self.places}/\1-", text)
        if runs := sorted(each.name for each in Path("runs").glob("*-*")):
            text = re.sub(r" 20261127(-\d{6})? ", f" {runs[0]} ", text)
        text = text.replace("trained by ben", "trained by tester")
        text = text.replace("chgrp team", f"chgrp {os.getgid()}")
        return text.replace("/mnt/team", f"{self.places}/team")

    def type(self, line: str) -> Said:
        """Type a line; what the last command of it printed."""
        said = Said(0, "", "")
        for part in re.split(r" && ", re.sub(r"(^|\s)#.*", "", self.put(line)).strip()):
            said = self._command(part)
            if said.code:
                break
        return said

    def _command(self, line: str) -> Said:
        typed, _, behind = line.partition(" | ")
        words = shlex.split(typed)
        if words[:1] != ["zoo"]:
            done = run_program(["bash", "-c", line], capture_output=True, text=True)
            return Said(done.returncode, done.stdout, done.stderr)
        said = program(*_braced(self._quick(words[1:])))
        if not behind:
            return said
        filtered = run_program(shlex.split(behind), input=said.out, capture_output=True, text=True)
        return Said(said.code, filtered.stdout, said.err)

    def _quick(self, words: list[str]) -> list[str]:
        if words[0] == "finetune" and "--resume" not in words:
            quick = {"--image-size": "32", "--epochs": "1"}
            if "probe" in words:
                del quick["--epochs"]
            words += [w for name in quick if name not in words for w in (name, quick[name])]
        if "--resume" in words:
            cut_off()
        if words[0] in ("prune", "repack") or (words[0] == "delete" and "--from" in words):
            words.append("--yes")
        return ["test_resnet" if word == "resnet50" else word for word in words]


def _braced(words: list[str]) -> list[str]:
    """As a shell expands ``{0..4}``."""
    found: list[str] = []
    for word in words:
        span = re.search(r"\{(\d+)\.\.(\d+)\}", word)
        numbers = range(int(span[1]), int(span[2]) + 1) if span else ()
        found += [word.replace(span[0], str(n)) for n in numbers] if span else [word]
    return found


def cut_off() -> None:
    """Leave the newest run as a kill does."""
    file = max(Path("runs").glob("*/run.json"))
    run = json.loads(file.read_text())
    file.write_text(json.dumps({**run, "status": "interrupted", "result": {}}))


Get = Callable[[str], Path]
"""Gives a fixture of the command line's tests: ``few``, ``other``, ``probed``."""


def _folder(name: str, kinds: str = "123") -> Callable[[Get], None]:
    def make(get: Get) -> None:
        for kind in kinds:
            shutil.copytree(get("few") / kind, Path(name) / kind)

    return make


def _table(get: Get) -> None:
    rows = [f"{path},{path.parent.name}" for path in sorted(get("few").glob("*/*.png"))]
    Path("flowers.csv").write_text("\n".join(["path,label", *rows]))


def _write(name: str, text: str) -> None:
    Path(name).write_text(text)


def _photos(get: Get) -> None:
    Path("photos").mkdir()
    for name, path in zip(("rose", "tulip"), sorted((get("few") / "1").iterdir()), strict=False):
        shutil.copy(path, Path("photos") / f"{name}.png")


def _net(_: Get) -> None:
    import timm

    torch.save(timm.create_model("test_resnet", num_classes=3).state_dict(), "best.pth")


def _old_runs(_: Get) -> None:
    """What timm's training script leaves."""
    import timm

    Path("old-runs/net").mkdir(parents=True)
    weights = timm.create_model("test_resnet", num_classes=3).state_dict()
    kept = {"arch": "test_resnet", "epoch": 3, "state_dict": weights}
    torch.save(kept, "old-runs/net/model_best.pth.tar")


def _module(_: Get) -> None:
    Path("acme").mkdir()
    Path("acme/__init__.py").touch()
    _write("acme/nets.py", "from fakes.own_nets import ConvNet\n\n\nclass make_net(ConvNet): ...\n")


def _named(name: str, what: str = TUNED) -> Callable[[Get], None]:
    return lambda _: _do("tag", what, name)


def _alone(name: str) -> Callable[[Get], None]:
    def rename(_: Get) -> None:
        _do("tag", TUNED, name)
        _do("delete", TUNED)

    return rename


def _at_team(name: str) -> Callable[[Get], None]:
    def push(_: Get) -> None:
        _do("tag", TUNED, name)
        _do("push", name, "--to", Path("../places/team/zoo").resolve())
        _do("delete", name)

    return push


def _probe(name: str, *options: object) -> Callable[[Get], None]:
    tune = ("finetune", NET, "--data", "scans", "--strategy", "probe", "--image-size", 32)
    return lambda _: _do(*tune, *options, "--save", name)


def _pulled(name: str, new: str) -> Callable[[Get], None]:
    return lambda get: _do("pull", name, "--from", get("probed"), "--as", new, "--force")


def _do(*words: object) -> None:
    program(*words).done()


def _half(_: Get) -> None:
    """The weights of ``team/flowers`` as a script may have saved them."""
    with zoo.open() as z:
        state = z.load("team/flowers").state_dict()
    save_file({f"model.{k}": v.half() if v.is_floating_point() else v.clone()
               for k, v in state.items()}, "half.safetensors")  # fmt: skip


def _later(_: Get) -> None:
    """Weights of the base, all but its first units moved by a little."""
    with zoo.open() as z:
        state = z.load(BASE).state_dict()
    same = ("conv_stem", "bn1", "blocks.0", "blocks.1", "blocks.2", "blocks.3")
    save_file({k: v.clone() if k.startswith(same) or not v.is_floating_point() else v * 1.01
               for k, v in state.items()}, "later.safetensors")  # fmt: skip


def _wrong(_: Get) -> None:
    """What says that it is a fine-tune of the base, and has other weights."""
    rng = np.random.default_rng(0)
    with zoo.open() as z:
        declared = z.workspace.store.manifest(z.workspace.names.resolve("team/flowers")[1])
        values = {name: rng.normal(size=tensor.shape).astype(np.float32)
                  for name, tensor in z.load("team/flowers").state_dict().items()}  # fmt: skip
        known = {field.name: getattr(declared, field.name) for field in fields(declared)
                 if field.name != "weights"}  # fmt: skip
        add_checkpoint(z.workspace, "team/wrong", values, **known)


def _diverged(_: Get) -> None:
    """A zoo and the remote ``lab`` that have gone on from each other under one name."""
    lab = Path("../places/lab").resolve()
    _do("tag", BASE, "team/roses")
    _do("push", "team/roses", "--to", lab)
    _do("remote", "add", "lab", lab)
    _do("tag", TUNED, "team/roses")


NEEDS: Mapping[str, Callable[[Get], None]] = {
    "flowers/": _folder("flowers"),
    "garden/": _folder("garden", "12"),
    "scans/": _folder("scans"),
    "scans/ with odd_one/": lambda get: Path("scans").symlink_to(get("other")),
    "flowers.csv": _table,
    "flowers.toml": lambda _: _write(
        "flowers.toml", 'freeze = "blocks.4"\nepochs = 1\nimage-size = 32\n'
    ),
    "photos/": _photos,
    "best.pth": _net,
    "old-runs/": _old_runs,
    "best.pth of make_net": lambda _: torch.save(ConvNet().state_dict(), "best.pth"),
    "half.safetensors": _half,
    "later.safetensors": _later,
    "acme.nets": _module,
    "team/base": _named("team/base", BASE),
    "team/flowers": _named("team/flowers"),
    "team/flowers alone": _alone("team/flowers"),
    "team/flowers:v1": _named("team/flowers:v1"),
    "team/wrong": _wrong,
    "team/net": _pulled(NET, NET),
    "team/digits": _pulled("team/a", "team/digits"),
    "team/digits:v1": _pulled("team/b", "team/digits:v1"),
    "team/digits:seed-0": _probe("team/digits:seed-0"),
    "team/digits:seed-1": _probe("team/digits:seed-1", "--seed", 1),
    "team/svm": _probe("team/svm", "--probe", "svm"),
    "team/roses, which lab has, too": _diverged,
    "team/flowers at /mnt/team/zoo, too": lambda _: _do(
        "push", "team/flowers", "--to", Path("../places/team/zoo").resolve()
    ),
    "/mnt/team/zoo": lambda _: _do("push", TUNED, "--to", Path("../places/team/zoo").resolve()),
    "team/birds at /mnt/team/zoo": _at_team("team/birds"),
    "team/old-flowers at /mnt/team/zoo": _at_team("team/old-flowers"),
    "team/flowers at /mnt/team/zoo": _at_team("team/flowers"),
}
"""How what a page needs comes to be."""
