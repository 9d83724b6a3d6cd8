"""What takes the most space, by name, and commands that free it as the page says."""

from __future__ import annotations

import json
import os
import shlex
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, objects_in
from fakes.paged import text_of
from fakes.program import zoo
from fakes.reported import make_run
from fakes.served import serving
from fakes.signed import sign_in

from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.lookup.runs import RUNS, STATE
from zoo.store import Store
from zoo.transfer.sync import push
from zoo.workspace import Workspace

MB = 1_000_000
COPIES = f"cache/images/{'c' * 32}-{'d' * 16}"
MADE = {"architecture": "test_net", "cut": "blocks.2", "count": 40, "weights": "blake3:0"}


def add_cache(root: Path, letter: str, size: int, days: int) -> None:
    folder = root / "cache/crossings" / (letter * 64)
    folder.mkdir(parents=True)
    (folder / "0.bin").write_bytes(b"x" * size)
    (folder / "description.json").write_text(json.dumps(MADE) if letter == "a" else "[" * 999)
    at = time.time() - (days + 0.5) * 24 * 60 * 60
    for path in (*folder.iterdir(), folder):
        os.utime(path, (at, at))


def add_copies(root: Path, size: int) -> None:
    (root / COPIES).mkdir(parents=True)
    (root / COPIES / "images.tar").write_bytes(b"x" * size)
    at = time.time() - 12 * 60 * 60
    for path in (root / COPIES / "images.tar", root / COPIES):
        os.utime(path, (at, at))


def add_delta(root: Path, scratch: Path) -> None:
    """``team/base``, and ``team/tuned`` as a difference from it."""
    values = np.random.default_rng(0).standard_normal((100, 500)).astype(np.float32)
    with closing(Workspace.create(scratch)) as mine:
        base = add_checkpoint(mine, "team/base", {"blocks.0.conv.weight": values})
        parent = Parent(manifest=base, relation="finetune", ref="team/base")
        add_checkpoint(
            mine, "team/tuned", {"blocks.0.conv.weight": values + np.float32(1e-5)},
            parents=(parent,),
        )  # fmt: skip
        for name in ("team/base", "team/tuned"):
            push(mine, name, str(root))
    assert objects_in(Store.open(root), "encoded")


def test_what_differences_are_from_is_no_checkpoints_own(
    tmp_path: Path, make_zoo: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "zoo"
    make_zoo(root)
    add_delta(root, tmp_path / "mine")
    monkeypatch.chdir(root)
    with serving(root) as served:
        admin = sign_in(served.url, served.token("admin", "write"))
        for name, least in (("team/base", 0), ("team/tuned", 200_000)):
            rows = admin.get("/-/storage.json").json["largest"]
            promised = sum(row["bytes"] for row in rows if name in row["command"].split())
            before = objects_pruned()
            zoo("delete", name).done()
            assert objects_pruned() - before == promised
            assert promised >= least


def objects_pruned() -> int:
    """Bytes of objects that a prune would free."""
    items = zoo("prune", "--keep", 0, "--grace", 0, "--json").done().json["items"]
    return sum(each["bytes"] for each in items if "object" in each["kind"])


def test_what_takes_the_most_and_what_frees_it(
    tmp_path: Path, make_zoo: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "zoo"
    make_zoo(root)
    cut = make_run(root / RUNS, "team/<b>new", 1).folder
    failed = make_run(root / RUNS, "team/bad", 2, status="failed").folder
    (cut / STATE).write_bytes(b"x" * 5 * MB)
    (failed / "events").write_bytes(b"x" * 2 * MB)
    add_cache(root, "a", 4 * MB, days=3)
    add_cache(root, "b", 3 * MB, days=1)
    monkeypatch.chdir(root)
    add_copies(root, 2_500_000)
    with serving(root) as served:
        served.token("ann")
        admin = sign_in(served.url, served.token("admin", "write"))
        found = admin.get("/-/storage.json").json
        rows = found["largest"]
        shown = [(row["kind"], row["command"]) for row in rows[:5]]
        assert shown == [
            ("run", f"zoo runs rm {cut.name} --resumable"),
            ("cache", "zoo prune --caches 3"),
            ("cache", "zoo prune --caches 1"),
            ("cache", "zoo prune --caches 0"),
            ("run", f"zoo runs rm {failed.name}"),
        ]
        assert rows[1]["name"] == "test_net up to blocks.2, 40 images"
        assert rows[2]["name"] == f"cache/crossings/{'b' * 64}"
        assert rows[3]["name"] == "copies of the images in a Parquet file"
        assert found["caches"]["files"] == 3
        text = text_of(admin.page("/-/storage"))
        assert all(row["command"] in text for row in rows)
        assert "team/<b>new" in text
        caches = (root / "cache/crossings" / (letter * 64) for letter in "ab")
        copies = root / COPIES
        for row, path in zip(rows[:5], (cut, *caches, copies, failed), strict=True):
            words = shlex.split(row["command"])[1:]
            done = zoo(*words, "--yes", "--json").done().json
            assert done["bytes"] == row["bytes"]
            assert not path.exists()
        after = admin.get("/-/storage.json").json
        assert {row["kind"] for row in after["largest"]} == {"checkpoint"}
        assert found["whole"] - after["whole"] >= 16 * MB, "also within the minute of the sums"


def test_a_checkpoint_counts_by_what_it_alone_has(
    tmp_path: Path, make_zoo: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "zoo"
    make_zoo(root)
    monkeypatch.chdir(root)
    with serving(root) as served:
        admin = sign_in(served.url, served.token("admin", "write"))
        workspace = served.server.hub.workspace
        rows = admin.get("/-/storage.json").json["largest"]
        row = next(row for row in rows if row["name"].startswith("team/net"))
        net = Reference.parse("team/net")
        links = admin.page("/-/storage").xpath("//th[starts-with(., 'checkpoint')]/a/@href")
        assert {"/team/net", "/shown/net"} & {*links}
        workspace.protect(net, on=True)
        again = admin.get("/-/storage.json").json["largest"]
        kept = next(each for each in again if each["name"] == row["name"])
        assert kept["note"] == "protected: first zoo protect --off team/net"
        workspace.protect(net, on=False)
        before = objects_pruned()
        zoo(*shlex.split(row["command"])[1:]).done()
        assert objects_pruned() - before == row["bytes"] > 0
