"""Bytes over connections that end, whoever opens them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest

from zoo.domain.resumed import after, resumed

WHOLE = bytes(range(100))


@dataclass
class Noted:
    """Attempts that are patient twice in a row."""

    failed: int = 0
    met: list[str] = field(default_factory=list)

    def delivered(self) -> None:
        self.failed = 0

    def pause(self, error: Exception) -> None:
        self.failed += 1
        self.met.append(str(error))
        if self.failed > 2:
            raise error


def lossy(position: int, *, much: int = 30) -> Iterator[bytes]:
    yield WHOLE[position : position + much]
    raise ConnectionResetError("lost")


def test_what_is_lost_is_asked_for_from_where_it_ended() -> None:
    noted = Noted()
    assert b"".join(resumed(lossy, 5, 100, noted, (OSError,))) == WHOLE[5:]
    assert noted.met == ["lost"] * 4


def test_a_connection_that_ends_in_silence_is_lost_too() -> None:
    noted = Noted()
    got = resumed(lambda position: iter([WHOLE[position : position + 60]]), 0, 100, noted, ())
    assert b"".join(got) == WHOLE
    assert noted.met == ["closed early"]


def test_whoever_never_delivers_is_given_up_and_other_errors_are_raised() -> None:
    def nothing(_: int) -> Iterator[bytes]:
        yield from ()
        raise ConnectionResetError("refused")

    with pytest.raises(ConnectionResetError):
        list(resumed(nothing, 0, 100, noted := Noted(), (OSError,)))
    assert noted.met == ["refused"] * 3
    with pytest.raises(ConnectionResetError):
        list(resumed(nothing, 0, 100, noted := Noted(), (KeyError,)))
    assert noted.met == []


@pytest.mark.parametrize("skip", [0, 1, 3, 4, 9, 10])
def test_a_server_without_ranges_begins_again(skip: int) -> None:
    assert b"".join(after([b"012", b"", b"3456", b"789"], skip)) == b"0123456789"[skip:]
