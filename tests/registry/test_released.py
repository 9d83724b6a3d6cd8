"""Registries as earlier versions left them, filled by their own code.

`released/` holds the database of a zoo with a checkpoint, one at a remote, and a listed one, as the
last version with that schema wrote it. Earlier ones, without an index of terms, are in
`test_migrate`.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from registry.databases import definitions

from zoo.registry import Query, Registry

RELEASED = sorted(Path(__file__).with_name("released").glob("*.db.gz"))


@pytest.fixture(
    params=[
        pytest.param(path, marks=() if path in (RELEASED[0], RELEASED[-1]) else pytest.mark.long)
        for path in RELEASED
    ],
    ids=lambda path: path.name[:4],
)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "registry.db"
    path.write_bytes(gzip.decompress(request.param.read_bytes()))
    return path


def test_everything_is_found_again(path: Path) -> None:
    with Registry.open(path) as registry:
        found = registry.search(Query())
        assert [each.name for each in found] == ["team/flowers:v3", "team/roses", "hub/resnet50.a1"]
        (flowers,) = registry.search(
            Query.parse("STRASSE dataset:petals accuracy>=0.9 parent:hub/* pulled:yes")
        )
        assert (flowers.metrics, flowers.num_classes) == ({"accuracy": 0.9}, 2)
        (roses,) = registry.search(Query.parse("ros"))
        assert roses.remotes == ("lab",)
        (listed,) = registry.search(Query.parse("satellite license:mit source:hub updated>2026-04"))
        assert (listed.name, listed.params) == ("hub/resnet50.a1", 25_000_000)
        assert [each.name for each in registry.search(Query.parse("petals"))] == [
            "team/flowers:v3", "hub/resnet50.a1",
        ]  # fmt: skip
        assert registry.near("team/flowrs")[0] == "team/flowers:v3"


def test_the_schema_is_that_of_a_new_one(path: Path, tmp_path: Path) -> None:
    Registry.open(path).close()
    new = tmp_path / "new.db"
    Registry.open(new).close()
    assert definitions(path) == definitions(new)
