"""What is said of a license that nobody knows."""

from __future__ import annotations

import pytest

from zoo.domain.license_ids import remark


@pytest.mark.parametrize(("text", "meant"), [("mti", "mit"), ("apache2", "apache-2.0")])
def test_near_ids_are_suggested(text: str, meant: str) -> None:
    assert meant in remark(text).partition("did you mean ")[2].rstrip("?").split(" or ")


def test_what_is_known_or_like_nothing_gets_no_suggestion() -> None:
    assert (remark("mit"), remark("MIT OR Apache-2.0")) == ("", "")
    assert remark("of our institute").endswith("and kept as it is")
