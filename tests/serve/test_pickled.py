"""What pickles import, as told by their opcodes: no test here has one of them run."""

from __future__ import annotations

import io
import pickle
import pickletools
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.strategies import binary

from zoo.serve.keep import pickled
from zoo.serve.keep.pickled import BROKEN, CUT, UNKNOWN, Pickled, read_pickled

SYSTEM = b"cposix\nsystem\n(S'touch ran'\ntR."
WEIGHTS = {"a": torch.ones(3), "b": torch.nn.Parameter(torch.ones(2, dtype=torch.bfloat16)),
           "sizes": torch.Size([1]), "kind": torch.float16}  # fmt: skip


class Runs:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, ("raise SystemExit",)


def look(data: bytes) -> Pickled | None:
    return read_pickled(lambda begin, end: data[begin:end], len(data))


def saved(value: object, *, zipped: bool = True, protocol: int = 2) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    return file.getvalue()


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_weights_import_nothing_but_what_torch_writes(zipped: bool, protocol: int) -> None:
    found = look(saved(WEIGHTS, zipped=zipped, protocol=protocol))
    assert found == Pickled(modules=found.modules if found else ())
    assert {"collections", "torch", "torch._utils"} <= {*found.modules}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_what_else_is_named_is_told(zipped: bool, protocol: int) -> None:
    found = look(saved({**WEIGHTS, "x": Runs()}, zipped=zipped, protocol=protocol))
    assert found
    assert "torch._utils" in found.modules
    assert found.other == (("builtins" if protocol > 2 else "__builtin__") + ".exec",)


@pytest.mark.parametrize("protocol", range(6))
def test_of_every_protocol(protocol: int) -> None:
    found = look(pickle.dumps([1, "two", Runs()], protocol))
    assert found
    assert [name.rpartition(".")[2] for name in found.other] == ["exec"]


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (SYSTEM, ["posix.system"]),
        (b"(S'x'\niposix\nsystem\n.", ["posix.system"]),
        # The name comes from a memo, below a mark that is thrown away, or from a copy of it.
        (b"\x80\x04\x8c\x05posix\x94(\x8c\x01x1\x8c\x06system\x93.", ["posix.system"]),
        (b"\x80\x04\x8c\x06system\x94\x8c\x05posixh\x00\x93.", ["posix.system"]),
        (b"\x80\x04\x8c\x05posix2\x93.", ["posix.posix"]),
        (b"\x80\x04\x8c\x05posixN\x8c\x06system\x860\x8c\x06system\x93.", ["posix.system"]),
        (b"\x80\x04\x8c\x05posixNX\x00\x00\x00\x00\x93.", [UNKNOWN]),
        (b"\x80\x02\x82\x01.", [UNKNOWN]),
        (b"\x80\x02ctorch._utils\n_rebuild_tensor_v2.__globals__\n.",
         ["torch._utils._rebuild_tensor_v2.__globals__"]),
        (b"\x80\x02ctorch.storage\n_load_from_bytes\n.", ["torch.storage._load_from_bytes"]),
        (b"\x80\x02cos\x1b[2J\nsystem\n.", ["os?[2J.system"]),
    ],
)  # fmt: skip
def test_names_that_are_hidden(data: bytes, names: list[str]) -> None:
    found = look(data)
    assert found
    assert [*found.other] == names
    assert not found.problem


@pytest.mark.parametrize(
    "data", [SYSTEM[:-1] + b"\xff\xff", pickle.dumps(Runs(), 4)[:-1] + b"\xff"]
)
def test_what_runs_before_it_fails(data: bytes) -> None:
    found = look(data)
    assert found
    assert len(found.other) == 1
    assert found.problem == BROKEN


@pytest.mark.parametrize(
    "data",
    [b"", b"\x00" * 99, b"# words\nand more\n", b"cat\ndog\n", b"GGUF" + bytes(90), b"{}",
     b"1,2,3\n", b"PK\x03\x04"],
)  # fmt: skip
def test_others_are_no_pickles(data: bytes) -> None:
    found = look(data)
    assert found is None or found == Pickled(problem=BROKEN)


def zipped_with(data: bytes, name: str = "a/DATA.PKL", kind: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        archive.writestr(name, data)
    return file.getvalue()


def test_what_zips_hold() -> None:
    told = Pickled(other=("posix.system",))
    assert look(zipped_with(SYSTEM)) == told
    assert look(zipped_with(SYSTEM, kind=zipfile.ZIP_DEFLATED)) == told
    assert look(zipped_with(SYSTEM, kind=zipfile.ZIP_LZMA)) == Pickled(problem=BROKEN)
    assert look(zipped_with(b"words", "a.txt")) is None


def test_no_more_is_read_than_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickled, "PICKLE_BYTES", 1 << 10)
    long = b"\x80\x02(" + b"N" * (1 << 20) + b"t0" + SYSTEM
    asked = 0

    def read(begin: int, end: int) -> bytes:
        nonlocal asked
        asked += end - begin
        return long[begin:end]

    found = read_pickled(read, len(long))
    assert found
    assert found.problem == CUT
    assert asked < 2 << 10
    bomb = look(zipped_with(long, kind=zipfile.ZIP_DEFLATED))
    assert bomb
    assert bomb.problem == CUT
    monkeypatch.setattr(pickled, "OPCODES", 10)
    few = look(b"\x80\x02(" + b"N" * 20 + b"t0" + SYSTEM)
    assert few
    assert few.problem == CUT


def test_names_are_few_and_short() -> None:
    many = b"\x80\x02" + b"".join(b"ca\n%s%d\n0" % (b"b" * 200, each) for each in range(25)) + b"N."
    found = look(many)
    assert found
    assert (len(found.other), found.more, {*map(len, found.other)}) == (20, 5, {100})


def test_a_long_text_in_many_names_takes_no_memory_for_each() -> None:
    """Else the pickle of a megabyte took gigabytes, and minutes."""
    begin = b"\x80\x04X" + (1 << 20).to_bytes(4, "little") + b"a" * (1 << 20) + b"q\x00"
    many = b"".join(b"h\x00\x8c\x04%04d\x93" % each for each in range(400))
    tracemalloc.start()
    try:
        found = look(begin + many + b".")
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()
    assert found
    assert found.other[0] == "a" * 100
    usual = b"ctorch\n" + b"a" * 300 + b"Storage\n."
    assert look(usual) == Pickled(other=("torch." + "a" * 94,))


def test_a_list_of_parts_that_is_long_is_not_read() -> None:
    """Nobody's memory holds it."""
    end = b"PK\x05\x06" + bytes(4) + b"\x01\x00\x01\x00" + (3 << 30).to_bytes(4, "little")
    end += bytes(4) + bytes(2)

    def read(begin: int, end_: int) -> bytes:
        assert end_ - begin <= 64 << 10 | 1 << 10
        data = bytearray(end_ - begin)
        for at, part in ((0, b"PK\x03\x04"), ((4 << 30) - len(end), end)):
            if begin <= at and at + len(part) <= end_:
                data[at - begin : at - begin + len(part)] = part
        return bytes(data)

    assert read_pickled(read, 4 << 30) == Pickled(problem=BROKEN)


CODES = st.sampled_from([code.code.encode("latin-1") for code in pickletools.opcodes])


@given(
    st.lists(CODES | binary(max_size=6) | st.just(b"posix\nsystem\n"), max_size=60).map(b"".join)
)
@example(b"\x80\x04\x8d" + b"\xff" * 8)
@example(b"\x80\x02\x8b" + b"\xff\xff\xff\x7f")
@example(b"\x80\x02r\xff\xff\xff\xff.")
def test_whatever_comes_it_answers(data: bytes) -> None:
    for each in (data, b"\x80\x04" + data, zipped_with(data)):
        found = look(each)
        assert found is None or len(found.other) <= 20


def test_as_pickle_itself_finds_them(tmp_path: Path) -> None:
    """A reader that makes nothing is asked for the same names."""

    class Finder(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Callable[..., object]:
            asked.append(f"{module}.{name}")
            return lambda *_, **__: Maker()

    class Maker(dict[object, object]):
        def __setstate__(self, _: object) -> None:
            pass

    for protocol in range(6):
        asked = list[str]()
        data = pickle.dumps([tmp_path, Runs(), {1: tmp_path}, range(3)], protocol)
        Finder(io.BytesIO(data), fix_imports=False).load()
        found = look(data)
        assert found
        assert {*found.other} == {*asked}
