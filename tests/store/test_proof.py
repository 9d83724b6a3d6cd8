"""What a manifest says of files is compared with what these are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from zoo.domain.digest import Digest
from zoo.domain.limits import HEADER_BYTES
from zoo.domain.manifest import WeightsFile
from zoo.errors import InvalidManifest
from zoo.store.proof import check_file


@pytest.mark.long
def test_a_header_that_is_larger_than_any_is_not_read() -> None:
    """It is parsed whole, so all of it would be in memory at once."""
    one = Digest("blake3", "ab" * 32)
    sha256 = Digest("sha256", "cd" * 32)
    file = WeightsFile(
        name="model.safetensors", size=HEADER_BYTES + 9, sha256=sha256, header=one, tensors=()
    )

    read: list[bytes] = []

    def pieces(_: object) -> Iterator[bytes]:
        read.append(b"{}")
        yield read[-1]

    with pytest.raises(InvalidManifest, match=f"a header of {HEADER_BYTES + 9} bytes"):
        check_file(file, pieces)
    assert not read
