from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zoo.domain.digest import Digest
from zoo.errors import InvalidReference

HEX = "0123456789abcdef" * 4


@settings(deadline=None)
@given(
    st.sampled_from(["blake3", "sha256"]),
    st.text("0123456789abcdef", min_size=64, max_size=64),
)
def test_what_is_printed_is_read_back(algorithm: str, value: str) -> None:
    digest = Digest(algorithm, value)
    assert Digest.parse(str(digest)) == digest
    assert str(digest) == f"{algorithm}:{value}"


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEX,
        f":{HEX}",
        f"md5:{HEX}",
        f"BLAKE3:{HEX}",
        f"blake3:{HEX[:-1]}",
        f"blake3:{HEX}0",
        f"blake3:{HEX.upper()}",
        f"blake3:{HEX}\n",
        f"blake3: {HEX[1:]}",
        f"blake3:../{HEX[3:]}",
        f"blake3:sha256:{HEX}",
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidReference, match="not a digest"):
        Digest.parse(text)


def test_the_short_form_is_for_tables() -> None:
    assert Digest("blake3", HEX).short == "0123456789ab"


def test_digests_of_different_algorithms_differ() -> None:
    assert Digest("blake3", HEX) != Digest("sha256", HEX)
