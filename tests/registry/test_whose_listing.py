"""What a source lists under a name is told of what is here only where it is of the same weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.program import zoo
from registry.databases import execute

from zoo.domain.catalog import CatalogEntry, Location
from zoo.registry import Registry
from zoo.workspace import Workspace

NAME, PUBLISHED = "team/flowers", "timm/net.a1"
FROM_HUB = {"source": "hub", "locator": f"{NAME}@{'a' * 40}"}
FROM_PACKAGE = {"source": "package", "locator": "some-package"}


def listed(registry: Registry, source: str, name: str, place: Location | None) -> None:
    entry = CatalogEntry(
        name=name, backbone="timm", architecture="net", license="mit", hub_id="their/repository",
        keywords=("remarkable",), metrics={"accuracy": 0.9}, datasets=("imagenet",),
        location=place,
    )  # fmt: skip
    registry.add_entries(source, "1", [entry], "2026-01-01T00:00:00Z")


BEFORE_0012 = """
UPDATE checkpoint SET source = NULL, locator = NULL;
ALTER TABLE checkpoint DROP COLUMN stated;
ALTER TABLE item DROP COLUMN stated;
ALTER TABLE checkpoint DROP COLUMN note;
ALTER TABLE item DROP COLUMN note;
ALTER TABLE remote_ref DROP COLUMN note;
ALTER TABLE remote_ref DROP COLUMN author;
DROP TABLE evaluation;
DROP TABLE bench;
DROP INDEX ix_ref_name;
DROP INDEX ix_remote_ref_name;
UPDATE alembic_version SET version_num = '0012';
DROP TABLE unread;
"""


def found(home: Path, *words: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = zoo("--home", home, "search", *words, "--json").done().json
    return [row for row in rows if row["kind"] == "checkpoint"]


def told(home: Path, name: str) -> bool:
    """Whether all that the listing says is said of the checkpoint; else nothing of it is."""
    (row,) = found(home)
    said: list[bool] = [row["license"] == "mit", row["hub_id"] is not None, bool(row["metrics"])]
    said += [bool(row["sources"])]
    said += [bool(found(home, words)) for words in ("remarkable", "accuracy>0.5", "license:mit")]
    said += [bool(zoo("--home", home, "show", name, "--json").json["sources"])]
    assert len(set(said)) == 1, said
    return said[0]


@pytest.mark.parametrize(
    ("provenance", "theirs"),
    [
        ({}, False),
        ({"source": "finetune"}, False),
        (FROM_HUB, True),
        ({**FROM_HUB, "locator": NAME}, True),
        ({**FROM_HUB, "locator": f"{NAME}-large@main"}, False),
        (FROM_PACKAGE, False),
    ],
)
def test_what_anybody_lists(tmp_path: Path, provenance: dict[str, str], theirs: bool) -> None:
    workspace = Workspace.create(tmp_path)
    listed(workspace.registry, "hub", NAME, Location("hub", NAME))
    add_checkpoint(workspace, NAME, provenance=provenance)
    workspace.close()
    assert told(tmp_path, NAME) is theirs


@pytest.mark.parametrize(
    ("provenance", "theirs"), [({"source": "finetune"}, False), (FROM_PACKAGE, True)]
)
def test_what_a_library_lists(tmp_path: Path, provenance: dict[str, str], theirs: bool) -> None:
    workspace = Workspace.create(tmp_path)
    add_checkpoint(workspace, PUBLISHED, provenance=provenance)
    listed(workspace.registry, "timm", PUBLISHED, Location("package", "some-package"))
    workspace.close()
    assert told(tmp_path, PUBLISHED) is theirs


def test_what_a_library_lists_no_more_and_anybody_still_does(tmp_path: Path) -> None:
    """Then it may be somebody else's."""
    workspace = Workspace.create(tmp_path)
    add_checkpoint(workspace, NAME, tensors(), provenance=FROM_PACKAGE)
    listed(workspace.registry, "timm", NAME, Location("package", "some-package"))
    listed(workspace.registry, "hub", NAME, Location("hub", NAME))
    workspace.close()
    assert told(tmp_path, NAME)
    workspace = Workspace.find(tmp_path)
    workspace.registry.replace_entries("timm", "2", [], "2026-01-01T00:00:00Z")
    workspace.close()
    assert not told(tmp_path, NAME)


def test_what_was_indexed_before_that_was_kept_is_read_again(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    listed(workspace.registry, "hub", NAME, Location("hub", NAME))
    add_checkpoint(workspace, NAME, provenance=FROM_HUB)
    workspace.close()
    execute(tmp_path / "registry.db", BEFORE_0012)
    assert told(tmp_path, NAME)
    with Registry.open(tmp_path / "registry.db") as registry:
        assert registry.unread() == []  # no command reads it once more


def test_what_is_damaged_then_is_read_again_once_it_is_repaired(tmp_path: Path) -> None:
    workspace = Workspace.create(tmp_path)
    listed(workspace.registry, "hub", NAME, Location("hub", NAME))
    digest = add_checkpoint(workspace, NAME, provenance=FROM_HUB)
    path = workspace.store.path("manifests", digest)
    workspace.close()
    sound = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(sound[:-9])
    execute(tmp_path / "registry.db", BEFORE_0012)
    found(tmp_path)  # a command meets the damage
    path.write_bytes(sound)
    assert told(tmp_path, NAME)
    with Registry.open(tmp_path / "registry.db") as registry:
        assert registry.unread() == []
