from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.errors import InvalidManifest

MANIFEST, PREVIOUS = Digest("blake3", "a" * 64), Digest("blake3", "b" * 64)
text = st.text(st.characters(exclude_categories=["Cs"]))


@settings(deadline=None)
@given(
    number=st.integers(1, 10**8 - 1),
    previous=st.sampled_from([None, PREVIOUS]),
    at=text,
    by=text,
    why=text,
)
def test_an_entry_is_read_back_equal(
    number: int, previous: Digest | None, at: str, by: str, why: str
) -> None:
    entry = RefEntry(number=number, manifest=MANIFEST, previous=previous, at=at, by=by, why=why)
    assert RefEntry.from_bytes(entry.to_bytes()) == entry


def test_the_bytes_are_canonical() -> None:
    entry = RefEntry(number=1, manifest=MANIFEST, previous=None, at="now", by="Zoë", why="push")
    assert entry.to_bytes().decode() == (
        '{"at":"now","by":"Zoë","manifest":"blake3:' + "a" * 64 + '","number":1,"previous":null,'
        '"why":"push"}'
    ).replace('"by":"Zoë",', '"by":"Zoë","checksum":"blake2b:6ee2635536f416bbbe0a642ef48e6a3a",')


def test_fields_of_a_later_version_are_passed_over() -> None:
    entry = RefEntry(number=1, manifest=MANIFEST, previous=None, at="now", by="me", why="push")
    assert RefEntry.from_bytes(json.dumps({**entry.to_json(), "new": True}).encode()) == entry


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000])
def test_garbage_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidManifest, match="not a ref entry"):
        RefEntry.from_bytes(data)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("manifest", "team/flowers"),
        ("manifest", None),
        ("previous", "x"),
        ("number", "one"),
        ("number", float("inf")),
    ],
)
def test_an_entry_that_breaks_the_format_is_refused(field: str, value: object) -> None:
    entry = RefEntry(number=1, manifest=MANIFEST, previous=None, at="now", by="me", why="push")
    data = json.dumps({**entry.to_json(), field: value}).encode()
    with pytest.raises(InvalidManifest, match="not a ref entry"):
        RefEntry.from_bytes(data)
