"""Pickled: what a file asks whoever unpickles it to import, as its opcodes name it.

Nothing is unpickled here: opcodes are read, of which strings and names are followed, and nothing
else is made. https://github.com/python/cpython/blob/main/Lib/pickletools.py says what each does.
"""

from __future__ import annotations

import io
import pickletools
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from zoo.domain.limits import PICKLE_BYTES
from zoo.domain.progress import clean
from zoo.errors import ZooError

__all__ = ["Pickled", "read_pickled"]

OPCODES = 500_000
"""So many are read of a file: the weights of a network of a thousand tensors have some 50,000."""
PARTS, NAMES, LETTERS = 20, 20, 100
"""Pickles of a file that are looked at, names that are told of it, and letters of each."""
KEPT = 250
"""Letters of a name that are kept: a text of megabytes may be in each of many names."""
USUAL = re.compile(
    r"torch\._utils\._rebuild_(tensor(_v[23])?|parameter(_with_state)?|meta_tensor_no_storage|qtensor)"
    r"|torch\._tensor\._rebuild_from_type_v2|torch\.nn\.parameter\.(Parameter|Buffer)"
    r"|torch\.serialization\._get_layout|torch\.(\w+Storage|Tensor|Size|device|dtype)"
    r"|torch\.storage\.(Typed|Untyped)Storage|torch\.(bfloat|complex|float|u?int|qu?int)\d\w*"
    r"|torch\.(bool|half|double|per_tensor_affine|per_channel_affine)"
    r"|collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.set|_codecs\.encode"
)
"""What torch itself writes with weights, and what only gathers what it is given."""
MAGIC, FIRST = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e"), 5
"""How a file of torch before 1.6 begins, and the pickles that come before the tensors' bytes."""
PUSHES = re.compile(r".*UNICODE8?|.*STRING")
CALLS = frozenset(("REDUCE", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "BUILD"))
UNKNOWN = "a name that is made up while it is loaded"
BROKEN = "part of it is no pickle that can be read"
CUT = f"no more than {OPCODES:,} opcodes in {PICKLE_BYTES:,} bytes were read"
ODD = (
    ArithmeticError,
    EOFError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What readers raise of odd bytes."""
MARK = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Pickled:
    """What a pickle imports.

    Attributes:
        modules: Those of which it names what torch itself writes.
        other: What else it names, in full.
        more: How many other names are not told.
        problem: Why there may be more than that; empty: there is not.
    """

    modules: tuple[str, ...] = ()
    other: tuple[str, ...] = ()
    more: int = 0
    problem: str = ""


def read_pickled(read: Callable[[int, int], bytes], size: int) -> Pickled | None:
    """What a file of ``size`` bytes imports; None if it is no pickle, and none is in it as torch
    writes them. ``read`` gives the bytes from an offset to another one.

    Raises:
        ZooError: As ``read``.
    """
    file, scan = _Bounded(read, size), _Scan()
    try:
        if file.head(4) == b"PK\x03\x04":
            if not _scan_zip(file, scan):
                return None
        elif not _scan_all(scan, file.head(PICKLE_BYTES + 1)):
            return None
    except ZooError:
        raise
    except ODD:
        scan.problem = BROKEN
    return scan.found()


def _scan_zip(file: _Bounded, scan: _Scan) -> bool:
    """Whether there is a pickle in it."""
    with zipfile.ZipFile(file) as archive:
        names = [each for each in archive.infolist() if each.filename.lower().endswith(".pkl")]
        for entry in names[:PARTS]:
            if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise ValueError(entry.compress_type)  # it may take gigabytes to begin
            with archive.open(entry) as part:
                _scan_all(scan, part.read(PICKLE_BYTES + 1))
        scan.problem = scan.problem or (CUT if len(names) > PARTS else "")
    return bool(names)


def _scan_all(scan: _Scan, data: bytes) -> bool:
    """Go through pickles one after the other, as torch wrote them before 1.6; whether it is one."""
    file, ended = io.BytesIO(data), 0
    least, most = (FIRST, FIRST) if data.startswith(MAGIC) else (1, PARTS)
    while file.tell() < len(data) and ended < most:
        try:
            scan.one(file)
        except ODD:  # as the tensors behind pickles are
            if ended < least and (data[:1] == b"\x80" or scan.calls):
                scan.problem = CUT if len(data) > PICKLE_BYTES else BROKEN
                return True
            break
        ended += 1
        if scan.left <= 0:
            scan.problem = CUT
            break
    return bool(ended)


class _Scan:
    """What the pickles of a file name.

    Attributes:
        names: Each once.
        calls: Whether one of them would be called.
        problem: Why not all of it was read.
        left: Opcodes that are still read.
    """

    def __init__(self) -> None:
        self.names: dict[str, None] = {}
        self.calls, self.problem, self.left = False, "", OPCODES

    def one(self, file: io.BytesIO) -> None:
        """Go through one pickle: of what is on its stack, only strings are known."""
        stack, memo = list[Any](), dict[int, Any]()
        for opcode, given, _ in islice(pickletools.genops(file), self.left):
            self.left -= 1
            name, argument, value = opcode.name, cast("Any", given), None
            self.calls |= name in CALLS
            if PUSHES.fullmatch(name):
                value = argument
            elif name == "MEMOIZE":
                memo[len(memo)] = stack[-1]
                continue
            elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
                memo[argument] = stack[-1]
                continue
            elif name in ("GET", "BINGET", "LONG_BINGET"):
                value = memo.get(argument)
            elif name == "DUP":
                value = stack[-1]
                stack.append(value)
                continue
            elif name in ("GLOBAL", "INST"):
                self._name(*argument.split(" ", 1))
            elif name == "STACK_GLOBAL":
                self._name(*stack[-2:])
            elif name.startswith("EXT"):
                self._name(None, None)
            _apply(stack, opcode, value)

    def _name(self, module: object, name: object) -> None:
        known = isinstance(module, str) and isinstance(name, str)
        self.names[_cut(f"{_cut(module)}.{_cut(name)}") if known else UNKNOWN] = None

    def found(self) -> Pickled:
        """What was named."""
        usual = {name for name in self.names if USUAL.fullmatch(name)}
        other = [clean(name)[:LETTERS] for name in self.names if name not in usual]
        return Pickled(
            modules=tuple(sorted({name.rpartition(".")[0] for name in usual})),
            other=tuple(other[:NAMES]),
            more=max(len(other) - NAMES, 0),
            problem=self.problem,
        )


def _cut(text: object) -> str:
    """A text, or its beginning, by which it is nothing that is usual."""
    cut = str(text)
    return cut if len(cut) <= KEPT else f"{cut[: KEPT - 1]}…"


def _apply(stack: list[Any], opcode: pickletools.OpcodeInfo, value: object) -> None:
    """Do to the stack what an opcode does, with ``value`` for what it puts there."""
    takes = [each.name for each in opcode.stack_before]
    count = len(takes)
    if "mark" in takes:
        while stack.pop() is not MARK:
            pass
        count = takes.index("mark")
    if count:
        del stack[-count:]
    puts = [each.name for each in opcode.stack_after]
    stack.extend(MARK if each == "mark" else value for each in puts)


class _Bounded(io.RawIOBase):
    """A file of which no more than some bytes are read."""

    def __init__(self, read: Callable[[int, int], bytes], size: int) -> None:
        self._read, self._size, self._at, self._left = read, size, 0, 3 * PICKLE_BYTES

    def head(self, count: int) -> bytes:
        """The first bytes."""
        return self._read(0, min(count, self._size))

    def readable(self) -> bool:
        """As a file tells."""
        return True

    def seekable(self) -> bool:
        """As a file tells."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go on elsewhere. Raises `ValueError` before the beginning, as a file does."""
        at = offset + (0, self._at, self._size)[whence]
        if at < 0:
            raise ValueError(at)
        self._at = at
        return at

    def tell(self) -> int:
        """Where it is."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """The next bytes. Raises `ValueError` for more of them than are read."""
        left = max(self._size - self._at, 0)
        count = left if size is None or size < 0 else min(size, left)
        self._left -= count
        if self._left < 0:
            raise ValueError(count)
        data = self._read(self._at, self._at + count) if count else b""
        self._at += len(data)
        return data
