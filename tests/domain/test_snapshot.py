from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from blake3 import blake3

from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest, PlainFile, Tensor, WeightsFile
from zoo.domain.snapshot import (
    Snapshot,
    SnapshotFile,
    Weights,
    folders_of,
    is_snapshot,
    why_no_path,
    why_too_many,
)
from zoo.errors import InvalidManifest, Unsupported


def digest(number: int) -> Digest:
    return Digest("blake3", f"{number:064x}")


SHA = Digest("sha256", f"{9:064x}")
TENSOR = Tensor(name="a", dtype="F32", shape=(2,), object=digest(2), offset=64, nbytes=8)
README = SnapshotFile(path="README.md", size=5, sha256=SHA, git="a" * 40, object=digest(4))
MODEL = SnapshotFile(
    path="onnx/model.safetensors",
    size=24,
    sha256=SHA,
    weights=Weights(header=digest(1), tensors=(TENSOR,)),
)
SNAPSHOT = Snapshot.of([MODEL, README], checkpoint=digest(7))
# The canonical form is a contract: a change here renames every snapshot there is.
GOLDEN_DIGEST = "ca3642562cde0aea2ed167ea7a277367c44c2084c57bb0d0adbd832087dc78c6"


def changed(**values: Any) -> bytes:
    raw = {**json.loads(SNAPSHOT.to_bytes()), **values}
    return json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def with_path(path: str) -> bytes:
    return changed(files=[{**json.loads(SNAPSHOT.to_bytes())["files"][0], "path": path}])


def test_the_canonical_form_is_pinned() -> None:
    assert blake3(SNAPSHOT.to_bytes()).hexdigest() == GOLDEN_DIGEST


def test_a_snapshot_is_read_back_equal_and_is_told_from_a_manifest() -> None:
    assert Snapshot.from_bytes(SNAPSHOT.to_bytes()) == SNAPSHOT
    assert Snapshot.from_bytes(Snapshot().to_bytes()) == Snapshot()
    assert is_snapshot(SNAPSHOT.to_bytes())
    assert is_snapshot(Snapshot().to_bytes())
    for first in (b'{"ancestors":', b'{"backbone":'):  # as those of manifests
        assert not is_snapshot(first)


def test_a_program_that_knows_manifests_only_says_so() -> None:
    with pytest.raises(Unsupported, match="manifest format 3; this program reads 1 and 2"):
        Manifest.from_bytes(SNAPSHOT.to_bytes())


def test_it_tells_its_objects_and_each_file_as_a_checkpoint_has_it() -> None:
    assert dict(SNAPSHOT.objects()) == {digest(1): 16, digest(2): 72, digest(4): 5}
    assert SNAPSHOT.logical_bytes == 29
    plain, weights = (file.stored for file in SNAPSHOT.files)
    assert plain == PlainFile(name="README.md", size=5, sha256=SHA, object=digest(4))
    assert isinstance(weights, WeightsFile)
    assert weights.tensors == (TENSOR,)


@pytest.mark.parametrize(
    "data",
    [
        changed(extra=1),
        changed(files=[*json.loads(SNAPSHOT.to_bytes())["files"]][::-1]),
        changed(checkpoint="x"),
        SNAPSHOT.to_bytes() + b"\n",
        b"{",
        replace(SNAPSHOT, files=(README, README)).to_bytes(),
        replace(SNAPSHOT, files=(README, replace(README, path="README.md/a"))).to_bytes(),
        replace(SNAPSHOT, files=(replace(README, object=None),)).to_bytes(),
        replace(SNAPSHOT, files=(replace(README, weights=MODEL.weights),)).to_bytes(),
        replace(SNAPSHOT, files=(replace(README, git="A" * 40),)).to_bytes(),
        replace(SNAPSHOT, files=(replace(MODEL, size=7),)).to_bytes(),
        replace(SNAPSHOT, files=(replace(README, size=-1),)).to_bytes(),
    ],
)
def test_what_is_no_snapshot_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidManifest, match="not a snapshot"):
        Snapshot.from_bytes(data)


@pytest.mark.parametrize("version", [4, 3.0, True, "3"])
def test_a_newer_format_is_told(version: object) -> None:
    with pytest.raises(Unsupported, match="this program reads 3"):
        Snapshot.from_bytes(changed(format=version))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/a",
        "a/",
        "a//b",
        ".",
        "..",
        "a/../b",
        "a/./b",
        "a\\b",
        "a\0b",
        "C:a",
        "a\nb",
        "a\x7f",
        ".git/config",
        "a/.GIT/x",
        "e\u0301",
        "a/" * 512 + "a",
        "a/" * 33 + "a",
        "é" * 128,
        "a\x85",
        "gpj\u202e.exe",
        "\u2066a",
        "\udc80",
    ],
)
def test_a_path_that_could_lead_elsewhere_is_refused(path: str) -> None:
    assert why_no_path(path)
    if path != "\udc80":
        with pytest.raises(InvalidManifest):
            Snapshot.from_bytes(with_path(path))


@pytest.mark.parametrize(
    "path",
    [
        "a",
        ".gitattributes",
        "a/b c/é.json",
        "x" * 255,
        "a.git/b",
        "a/" * 32 + "a",
        "👩\u200d👧.png",
    ],
)
def test_other_paths_are_taken(path: str) -> None:
    assert why_no_path(path) is None
    assert Snapshot.from_bytes(with_path(path)).by_path[path]


def test_files_and_their_paths_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [f"{'a/' * 20}{number}" for number in range(9)]
    folders = folders_of(paths)
    assert len(folders) == 20
    assert why_too_many(paths, folders) is None
    for name in ("SNAPSHOT_FILES", "SNAPSHOT_PATH_LETTERS"):
        with monkeypatch.context() as patch:
            patch.setattr(f"zoo.domain.snapshot.{name}", 8)
            assert why_too_many(paths, folders)
            with pytest.raises(InvalidManifest, match="more than 8"):
                Snapshot.from_bytes(
                    Snapshot.of(replace(README, path=path) for path in paths).to_bytes()
                )
