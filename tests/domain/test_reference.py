from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.domain.reference import Reference
from zoo.errors import InvalidReference

LETTERS = "abzAZ09_"
parts = st.builds(
    str.__add__, st.sampled_from(LETTERS), st.text(LETTERS + ".-", max_size=127)
).filter(lambda part: ".." not in part and not part.endswith("."))


@settings(deadline=None)
@given(parts, parts, parts)
def test_what_is_printed_is_read_back(namespace: str, name: str, tag: str) -> None:
    ref = Reference(namespace, name, tag)
    assert Reference.parse(str(ref)) == ref
    assert Reference.parse(f"{namespace}/{name}:{tag}") == ref


def accepted(text: str) -> Reference | None:
    try:
        return Reference.parse(text)
    except InvalidReference:
        return None


@settings(deadline=None)
@given(st.text() | st.text("ab/:.\\_-~\0 ") | st.text("./\\:", max_size=8))
def test_what_is_read_stays_inside_its_folder(text: str) -> None:
    ref = accepted(text)
    if ref is None:
        return
    for part in (ref.namespace, ref.name, ref.tag):
        assert PurePosixPath(part).name == PureWindowsPath(part).name == part
        assert part not in (".", "..")
        assert part.isascii()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("team/flowers", Reference("team", "flowers", "latest")),
        ("team/flowers:latest", Reference("team", "flowers")),
        ("team/flowers:v3", Reference("team", "flowers", "v3")),
        ("timm/resnet50.a1_in1k", Reference("timm", "resnet50.a1_in1k")),
        ("0/_:1.0-rc", Reference("0", "_", "1.0-rc")),
        (f"{'a' * 128}/b", Reference("a" * 128, "b")),
    ],
)
def test_forms(text: str, expected: Reference) -> None:
    assert Reference.parse(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "flowers",
        "flowers:v3",
        "/flowers",
        "team/",
        "team/flowers:",
        "team/flowers:a:b",
        "a/b/c",
        "../flowers",
        "team/..",
        "team/../../etc",
        "./flowers",
        "team/.hidden",
        "team/a..b",
        "team/flowers.",
        "team/flowers:..",
        "team/flowers:a/b",
        "team\\flowers/x",
        "~/flowers",
        "-team/flowers",
        "team/flo wers",
        "team/flowers\n",
        "team/flöwers",
        "team/flowers\0",
        f"team/{'a' * 129}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="is not a reference"):
        Reference.parse(text)


def test_the_default_tag_is_left_out() -> None:
    assert str(Reference("team", "flowers", "latest")) == "team/flowers"
    assert Reference("team", "flowers", "v3").path == "team/flowers"
