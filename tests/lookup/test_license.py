from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, tensors

from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.lookup.details import details, warning_of
from zoo.lookup.license import terms
from zoo.lookup.lineage import lineage
from zoo.workspace import Workspace

BASE, TUNED, AGAIN = "timm/toynet.a1", "team/flowers", "team/roses"


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Workspace]:
    workspace = Workspace.create(tmp_path / "zoo")
    yield workspace
    workspace.close()


def parent(digest: Digest, name: str) -> Parent:
    return Parent(manifest=digest, relation="finetune", ref=name)


def limits(zoo: Workspace, name: str) -> list[tuple[str, str]]:
    _, digest = zoo.names.resolve(name)
    found = terms(zoo, name, zoo.store.manifest(digest)).to_json()
    return [(limit["limit"], limit["from"]) for limit in found["limits"]]


@pytest.mark.parametrize(
    ("license_", "expected"),
    [
        ("cc-by-nc-4.0", ["non-commercial"]),
        ("CC-BY-NC-SA-4.0", ["non-commercial"]),
        ("fair-noncommercial-research-license", ["non-commercial", "research only"]),
        ("apple-amlr", ["research only"]),
        ("apache-2.0", []),
        ("bsd-3-clause", []),
        ("ncsa", []),
        (None, []),
    ],
)
def test_what_an_id_says(zoo: Workspace, license_: str | None, expected: list[str]) -> None:
    add_checkpoint(zoo, TUNED, license=license_)
    assert [limit for limit, _ in limits(zoo, TUNED)] == expected


def test_terms_follow_lineage_whatever_is_said(zoo: Workspace) -> None:
    base = add_checkpoint(zoo, BASE, license="cc-by-nc-4.0")
    tuned = add_checkpoint(
        zoo, TUNED, tensors(1), license="cc-by-nc-4.0", parents=(parent(base, BASE),)
    )
    assert limits(zoo, TUNED) == [("non-commercial", TUNED), ("non-commercial", BASE)]
    assert lineage(zoo, TUNED).to_json()["terms"]["warning"] == ""
    add_checkpoint(
        zoo, AGAIN, tensors(2), license="mit",
        parents=(parent(tuned, TUNED),), ancestors={tuned: (parent(base, BASE),)},
    )  # fmt: skip
    shown = details(zoo, AGAIN).to_json()
    assert shown["lineage"] == [TUNED, BASE]
    assert "its license is given as mit" in shown["terms"]["warning"]
    assert shown["terms"]["warning"] in lineage(zoo, AGAIN).to_json()["warnings"]
    assert details(zoo, BASE).to_json()["children"] == 1
    known = {name: zoo.names.resolve(name)[1] for name in (TUNED, AGAIN)}
    assert warning_of(zoo, known[TUNED]) == "", "a push says the same"
    assert warning_of(zoo, known[AGAIN]) == shown["terms"]["warning"]


def test_terms_of_what_is_not_here(zoo: Workspace) -> None:
    """The catalog tells, or nobody does."""
    gone = Digest("blake3", "0" * 64)
    add_checkpoint(zoo, TUNED, license="mit", parents=(parent(gone, BASE),))
    _, digest = zoo.names.resolve(TUNED)
    found = terms(zoo, TUNED, zoo.store.manifest(digest)).to_json()
    assert (found["unknown"], found["not_here"]) == ([], [BASE])
    entry = CatalogEntry(
        name=BASE, backbone="timm", architecture="toynet", license="cc-by-nc-4.0",
        location=Location("hub", BASE),
    )  # fmt: skip
    zoo.registry.replace_entries("timm", "1", [entry], "2026-01-01T00:00:00Z")
    assert limits(zoo, TUNED) == [("non-commercial", BASE)]
