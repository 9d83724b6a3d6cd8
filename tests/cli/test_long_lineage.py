"""Lineage of any depth, from any stack; and manifests that are made to take memory."""

from __future__ import annotations

import contextlib
import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from blake3 import blake3
from fakes.checkpoints import add_checkpoint, store_checkpoint, tensors
from fakes.places import write
from fakes.program import Said as Typed
from fakes.program import zoo as typed

from zoo.domain import manifest as m
from zoo.domain.digest import Digest
from zoo.domain.limits import MANIFEST_BYTES
from zoo.domain.manifest import Manifest, Parent
from zoo.errors import InvalidManifest
from zoo.store import Store
from zoo.workspace import Workspace

T = TypeVar("T")
DEEP = "team/nightly"
MANY = 2000
"""Ancestors; what follows one from the other by calls ends at 1,000."""


def digest(number: int) -> Digest:
    return Digest("blake3", f"{number:064x}")


def parent(number: int) -> Parent:
    return Parent(manifest=digest(number), relation="finetune", ref=f"team/night-{number}")


def line(length: int) -> dict[str, Any]:
    """The lineage of a checkpoint that has so many ancestors, one from the other."""
    return {
        "parents": (parent(1),),
        "ancestors": {digest(n): (parent(n + 1),) for n in range(1, length)},
        "format": m.FLAT,
    }


def far_down(work: Callable[[], T], room: int = 60) -> T:
    """``work`` where the stack is nearly full, as in a notebook or a web server."""

    def down(left: int) -> T:
        return down(left - 1) if left else work()

    return down(sys.getrecursionlimit() - len(inspect.stack(0)) - room)


@pytest.fixture(scope="module")
def nightly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo with a checkpoint that has many ancestors, none of which is here."""
    return made(tmp_path_factory.mktemp("nightly") / "zoo", MANY)


def made(home: Path, length: int) -> Path:
    with contextlib.closing(Workspace.create(home)) as workspace:
        add_checkpoint(workspace, DEEP, **line(length))
    return home


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("show", DEEP), f"team/night-{MANY}"),
        (("log", DEEP), f"team/night-{MANY}"),
        (("prune",), "0 files"),
        (("verify",), "all sound"),
        (("search", "nightly"), DEEP),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_many_ancestors(nightly: Path, arguments: tuple[str, ...], says: str) -> None:
    done = typed("--home", nightly, *arguments)
    assert (done.code, says in done.out) == (0, True), done.err
    assert len(done.out) < 2_000_000


@pytest.mark.long
def test_ten_thousand_ancestors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = made(tmp_path / "zoo", 10_000)
    for line in (("show", DEEP), ("log", DEEP), ("log", DEEP, "--json"), ("prune",), ("verify",)):
        done = typed("--home", home, *line)
        assert done.code == 0
    travel(home, tmp_path, monkeypatch, 10_000)


@pytest.mark.long
def test_many_ancestors_travel(
    nightly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    travel(nightly, tmp_path, monkeypatch, MANY)


def travel(nightly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int) -> None:
    assert typed("--home", nightly, "push", DEEP, "--to", tmp_path / "team").code == 0
    typed("init", tmp_path / "theirs")
    monkeypatch.chdir(tmp_path / "theirs")
    assert typed("remote", "add", "team", tmp_path / "team").code == 0
    assert typed("fetch", "team").code == 0
    assert typed("pull", DEEP, "--from", "team").code == 0
    shown = typed("show", DEEP, "--json").json
    assert len(shown["lineage"]) == length
    assert shown["parents"][0]["ref"] == "team/night-1"


def test_they_are_read_from_any_stack(nightly: Path) -> None:
    store = Store.open(nightly)
    entry = next(store.history(ref)[0] for ref in store.refs())
    found = far_down(lambda: store.manifest(entry.manifest))
    assert sum(1 for _ in found.lineage()) == MANY
    assert far_down(found.to_bytes) == found.to_bytes()


def nested(length: int) -> bytes:
    """A manifest as early versions wrote it: each ancestor within what derives from it."""
    inner: list[dict[str, Any]] = []
    for number in range(length, 0, -1):
        inner = [{
            "manifest": str(digest(number)), "parents": inner, "ref": f"team/night-{number}",
            "relation": "finetune",
        }]  # fmt: skip
    raw = {
        "backbone": {"architecture": "toynet", "options": {}, "plugin": "toy"},
        "classes": [], "created": None, "files": [], "format": 1, "freeze": None,
        "head": {"kind": "native", "num_classes": 3}, "license": None, "metrics": {},
        "parents": inner,
        "preprocessing": {
            "crop_mode": "center", "crop_pct": 1.0, "input_size": [3, 8, 8],
            "interpolation": "bilinear", "mean": [0.5], "std": [0.5],
        },
        "provenance": {}, "recipe": None, "weights": [],
    }  # fmt: skip
    return json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()


@pytest.mark.parametrize("length", [1, 5, 100, 240])
def test_what_early_versions_wrote_is_read_from_any_stack_and_keeps_its_name(
    length: int, tmp_path: Path
) -> None:
    data, store = nested(length), Store.create(tmp_path)
    name = Digest("blake3", blake3(data).hexdigest())
    write(store.path("manifests", name), data)
    found = far_down(lambda: store.manifest(name))
    assert [each.ref for _, each in found.lineage()] == [
        f"team/night-{number}" for number in range(1, length + 1)
    ]
    assert far_down(found.to_bytes) == data


def test_a_short_line_is_written_as_every_version_reads_it(tmp_path: Path) -> None:
    """And a long one so that earlier ones say which format it is of."""
    store = Store.create(tmp_path)
    plain = store.manifest(store_checkpoint(store, tensors()))
    made, formats = plain, []
    for number in range(60, 0, -1):
        made = plain.descending(made, parent(number))
        formats.append(json.loads(made.to_bytes())["format"])
        assert Manifest.from_bytes(made.to_bytes()) == made
    assert formats == [1] * m.NESTED + [2] * (60 - m.NESTED)
    first = plain.descending(plain.descending(plain, parent(2)), parent(1))
    raw = json.loads(first.to_bytes())
    assert raw["parents"][0]["parents"][0]["ref"] == "team/night-2"
    assert "ancestors" not in raw


def test_lineage_that_comes_back_to_itself_has_an_end(tmp_path: Path) -> None:
    store = Store.create(tmp_path)
    plain = store.manifest(store_checkpoint(store, tensors()))
    raw = {**plain.to_json(), "format": 2, "parents": [edge(1)],
           "ancestors": {str(digest(1)): [edge(2)], str(digest(2)): [edge(1)]}}  # fmt: skip
    data = json.dumps(raw, sort_keys=True, separators=(",", ":")).encode()
    assert [each.ref for _, each in Manifest.from_bytes(data).lineage()] == [
        "team/night-1", "team/night-2",
    ]  # fmt: skip
    around = [{**edge(1), "parents": [{**edge(2), "parents": [{**edge(1), "parents": []}]}]}]
    raw = {**plain.to_json(), "parents": around}
    with pytest.raises(InvalidManifest):
        Manifest.from_bytes(json.dumps(raw, sort_keys=True, separators=(",", ":")).encode())


def edge(number: int) -> dict[str, str]:
    return {"manifest": str(digest(number)), "ref": f"team/night-{number}", "relation": "finetune"}


# Made to take memory


@pytest.mark.parametrize(
    "make",
    [
        lambda: b"[" * MANIFEST_BYTES,
        lambda: b"[" + b"[]," * (MANIFEST_BYTES // 3 - 1) + b"1]",
        lambda: b'{"classes":[' + b'"",' * (MANIFEST_BYTES // 4) + b'""]}',
        lambda: b'"' + b'\\"' * (MANIFEST_BYTES // 2 - 1) + b'"',
        lambda: b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        lambda: b"[" * (3 * MANIFEST_BYTES),
    ],
    ids=["brackets", "lists", "texts", "quotes", "deep", "200 MB"],
)
def test_a_manifest_that_would_take_memory_is_refused_before_it_is_parsed(
    make: Callable[[], bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make()
    monkeypatch.setattr("json.loads", lambda *_: pytest.fail("it was parsed"))
    with pytest.raises(InvalidManifest, match="not a manifest: it"):
        Manifest.from_bytes(data)


def test_such_a_manifest_costs_a_name_at_a_remote_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = b"[" + b"[]," * (1 << 20) + b"1]"
    name = Digest("blake3", blake3(data).hexdigest())
    with contextlib.closing(Workspace.create(tmp_path / "team")) as workspace:
        add_checkpoint(workspace, "team/good")
        bad = workspace.store.path("manifests", name)
        write(bad, data)
        entry = tmp_path / "team/refs/team/good/latest/00000001.json"
        move = {**json.loads(entry.read_bytes()), "manifest": str(name)}
        write(tmp_path / "team/refs/team/bad/latest/00000001.json", json.dumps(move).encode())
    typed("init", tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    typed("remote", "add", "team", tmp_path / "team")
    done: Typed = typed("fetch", "team")
    assert "team/bad" in done.out + done.err
    assert "team/good" in typed("search", "good").out
    assert typed("pull", "team/bad", "--from", "team").code == 1
