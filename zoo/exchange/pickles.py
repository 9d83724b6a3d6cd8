"""Read what a ``.pth`` file would make, before PyTorch makes it.

PyTorch's weights-only loader runs no code of a file, but believes its numbers: a file of a kilobyte
can ask for terabytes, or for hours. So its pickles are gone through first; nothing is made of them
but lists of what they ask for. Instructions are those that the weights-only loader takes, no others
(https://github.com/python/cpython/blob/main/Lib/pickletools.py says what each does).
"""

from __future__ import annotations

import io
import mmap
import pickletools
import re
import struct
import tarfile
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, Any

import torch

from zoo.domain.limits import DIMENSIONS, MIB, PICKLE_BYTES, SHARED_WEIGHTS, TENSORS
from zoo.errors import InvalidWeights

__all__ = ["CUT_OFF", "ODD", "check_pickled", "ended", "why_code"]

QUANTIZED = (
    "holds quantized weights, integers with a scale, which zoo neither trains nor loads. Import "
    "the floating-point weights that they were made of; quantize what z.load or zoo export gives"
)
ODD = "neither safetensors nor a PyTorch file"
CUT_OFF = "ends early: part of it is missing, as of a download or copy that was cut off"
ZIPPED = b"PK\x03\x04"
MAGIC = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")
"""How a file of before PyTorch 1.6 begins: its magic number, as a pickle."""
ENDED = re.compile(
    "unexpected EOF|exhausted|not enough data|no newline found|ran out of input", re.I
)
"""What readers say at the end of a file where they look for more."""
SCRIPT = re.compile(r"(^|/)(constants\.pkl$|code/)")
SCRIPTED = (
    "is a TorchScript file: a program with its weights; refused, as nothing in a file is run. If "
    "you trust it, save the weights alone: "
    "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth')"
)
"""What `torch.jit.save` writes."""
PICKLES = 5
"""A file of before PyTorch 1.6 begins with so many: magic number, version, system, data, keys."""
ENTRY = re.compile(rb"PK\x01\x02")
REBUILT = re.compile(r"torch\._utils\._rebuild_tensor(_v2|_v3)?")
HARMLESS = re.compile(
    r"_codecs\.encode|argparse\.Namespace|torch\.(Size|device)|torch\.nn\.parameter\.Parameter"
    r"|torch\._utils\._rebuild_parameter(_with_state)?|torch\.serialization\._get_layout"
)
"""What may be called with anything: it takes no more than it is given."""
GATHERS = re.compile(r"collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.set")
"""What goes through what it is given: only lists and dicts that are in the file."""

LITERALS = frozenset(
    ("BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1")
)
CONSTANTS = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True, "EMPTY_TUPLE": ()}
WIDTHS = {
    "Bool": 1,
    "Byte": 1,
    "Char": 1,
    "Short": 2,
    "Half": 2,
    "BFloat16": 2,
    "Int": 4,
    "Float": 4,
    "Long": 8,
    "Double": 8,
    "ComplexFloat": 8,
    "ComplexDouble": 16,
}
"""Bytes of an element, by kind of storage."""


@dataclass(frozen=True, slots=True)
class Global:
    """A name of code."""

    name: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of it."""

    name: str
    arguments: tuple[Any, ...]


class Pairs(list[object]):
    """A dict: nothing is hashed, which of nested tuples can take for ever."""


def why_code(name: str = "") -> str:
    """Why a file is refused that needs code on loading, ``name`` if that is known."""
    what = f": {name:.100}" if name else ""
    return (
        f"holds more than weights (code that would run on loading{what}); refused. Save the "
        "weights alone: torch.save(model.state_dict(), 'weights.pth'). Of a checkpoint that you "
        "trust, as of Lightning, where the packages are installed that it was made with: "
        "torch.save(torch.load(FILE, weights_only=False)['state_dict'], 'weights.pth')"
    )


def check_pickled(path: Path) -> None:
    """See that loading the file takes no more than its size lets expect.

    Raises:
        InvalidWeights: It would, it holds code, or it is not a file of PyTorch.
    """
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            head = file.peek(len(MAGIC))
            if head[:4] != ZIPPED:  # as PyTorch tells, unlike zipfile
                with suppress(tarfile.TarError), tarfile.open(path, "r:"):
                    text = "is a tar file, as PyTorch wrote before 0.1.10; refused"
                    raise InvalidWeights(path, text)
                _check(path, size, file, PICKLES)
                return
        for data in _pickles(path, size):
            _check(path, size, io.BytesIO(data), 1)
    except InvalidWeights:
        raise
    except Exception as error:  # whatever readers raise of odd bytes
        raise InvalidWeights(path, CUT_OFF if ended(path, error) else ODD) from error


def ended(path: Path, error: Exception) -> bool:
    """Whether a reader failed because a file of PyTorch has no end."""
    with path.open("rb") as file:
        if file.read(len(ZIPPED)) == ZIPPED:
            # Its list of parts comes last.
            return isinstance(error, zipfile.BadZipFile) and not zipfile.is_zipfile(path)
        file.seek(0)
        whole = file.read(len(MAGIC)) == MAGIC
    return whole and (isinstance(error, EOFError) or bool(ENDED.search(str(error))))


def _pickles(path: Path, size: int) -> list[bytes]:
    """Those in a zip file, whose parts are as PyTorch writes them."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for number, _ in enumerate(ENTRY.finditer(data)):
            if number > TENSORS + 100:
                raise InvalidWeights(path, f"has more than {TENSORS:,} tensors")
        listed = _listed_at(data)
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(SCRIPT.search(entry.filename) for entry in entries):
            raise InvalidWeights(path, SCRIPTED)
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise InvalidWeights(path, "its parts are compressed, which PyTorch never does")
        if sum(entry.file_size for entry in entries) > size:
            raise InvalidWeights(path, "its parts are larger than the file")
        if listed != archive.start_dir:  # PyTorch would read another list of parts than this one
            raise InvalidWeights(path, ODD)
        # It heeds no case.
        pickles = [entry for entry in entries if entry.filename.lower().endswith("data.pkl")]
        for entry in pickles:
            _check_bytes(path, entry.file_size)
        return [archive.read(entry) for entry in pickles]


def _listed_at(data: mmap.mmap) -> int:
    """Where a zip file says that its list of parts begins."""
    end = data.rfind(b"PK\x05\x06")
    listed: int
    if data[end - 20 : end - 16] == b"PK\x06\x07":  # as PyTorch writes it: in 64 bits
        (record,) = struct.unpack_from("<Q", data, end - 12)
        (listed,) = struct.unpack_from("<Q", data, end - 28)
        return listed if record == end - 76 else -1
    (listed,) = struct.unpack_from("<I", data, end + 16)
    return listed


def _check_bytes(path: Path, count: int) -> None:
    if count > PICKLE_BYTES:
        raise InvalidWeights(
            path, f"its pickle has more than {PICKLE_BYTES:,} bytes beside its tensors"
        )


def _check(path: Path, size: int, file: IO[bytes], count: int) -> None:
    limited = _Limited(path, file)
    for number in range(count):
        if number and not file.read(1):
            return  # PyTorch says what is missing
        file.seek(-1 if number else 0, io.SEEK_CUR)
        machine = _Machine(path, size)
        for code, argument, _ in pickletools.genops(limited):  # type: ignore[arg-type]
            machine.step(code.name, argument)


class _Limited:
    """A file of which pickles may take no more than the limit, with what pickletools reads by."""

    def __init__(self, path: Path, file: IO[bytes]) -> None:
        self.path, self.file, self.taken = path, file, 0

    def read(self, size: int) -> bytes:
        return self._counted(self.file.read(min(size, PICKLE_BYTES + 1)))

    def readline(self) -> bytes:
        return self._counted(self.file.readline(PICKLE_BYTES + 1))

    def _counted(self, data: bytes) -> bytes:
        self.taken += len(data)
        _check_bytes(self.path, self.taken)
        return data


class _Machine:
    """What one pickle asks for, instruction by instruction."""

    def __init__(self, path: Path, size: int) -> None:
        self.path = path
        self.left = max(MIB, SHARED_WEIGHTS * size)
        self.stack: list[Any] = []
        self.below: list[list[object]] = []
        self.memo: dict[int, object] = {}
        self.tensors = 0

    def step(self, name: str, argument: Any) -> None:  # noqa: C901 - a table of instructions
        """Run one instruction.

        Raises:
            InvalidWeights: It asks for too much, or for code.
        """
        stack = self.stack
        match name:
            case "PROTO" | "STOP":
                pass
            case _ if name in LITERALS:
                stack.append(argument)
            case "NONE" | "NEWFALSE" | "NEWTRUE" | "EMPTY_TUPLE":
                stack.append(CONSTANTS[name])
            case "EMPTY_LIST" | "EMPTY_SET":
                stack.append([])
            case "EMPTY_DICT":
                stack.append(Pairs())
            case "GLOBAL":
                stack.append(Global(argument.replace(" ", ".")))
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "MARK":
                self.below.append(stack)
                self.stack = []
            case "BINPERSID":  # a storage: bytes of the file
                stack.append(Call("storage", stack.pop()))
            case "REDUCE" | "NEWOBJ":
                code, arguments = self._top(2)
                stack.append(self._called(code, arguments))
            case "BUILD":
                stack.pop()
            case "TUPLE":
                items = self._marked()
                self.stack.append(tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                stack.append(tuple(self._top(int(name[-1]))))
            case "APPEND" | "SETITEM":
                self._put(self._top(1 if name == "APPEND" else 2))
            case "APPENDS" | "SETITEMS":
                self._put(self._marked())
            case _:
                raise InvalidWeights(self.path, ODD)

    def _top(self, count: int) -> list[object]:
        items = self.stack[-count:]
        del self.stack[-count:]
        return items

    def _marked(self) -> list[object]:
        items, self.stack = self.stack, self.below.pop()
        return items

    def _put(self, items: list[object]) -> None:
        target = self.stack[-1]
        if isinstance(target, Pairs):
            self._check_keys(items[::2])
        if isinstance(target, list):
            target.extend(items)

    def _check_keys(self, keys: Sequence[object]) -> None:
        """A tuple that holds another twice, which holds a third twice, is nothing to store, and
        takes for ever to hash.
        """
        for key in keys:
            if isinstance(key, tuple) and any(isinstance(each, tuple) for each in key):
                raise InvalidWeights(self.path, "has names that are nested tuples")

    def _called(self, code: object, arguments: object) -> object:
        name = code.name if isinstance(code, Global) else ""
        if not isinstance(arguments, tuple):
            raise InvalidWeights(self.path, ODD)
        if GATHERS.fullmatch(name):
            self._check_gathered(name, arguments)
            return Pairs()
        if REBUILT.fullmatch(name):
            self._check_tensor(name, arguments)
        elif name == "torch._utils._rebuild_meta_tensor_no_storage":
            raise InvalidWeights(self.path, "has tensors without values (of the device meta)")
        elif name == "torch._tensor._rebuild_from_type_v2":  # of a tensor that has attributes
            return self._called(arguments[0], arguments[2])
        elif "qtensor" in name:
            raise InvalidWeights(self.path, QUANTIZED)
        elif name.startswith("torch.") and not HARMLESS.fullmatch(name):
            raise InvalidWeights(
                self.path, f"asks for {name:.100}, which plain weights do not need"
            )
        elif not HARMLESS.fullmatch(name):
            raise InvalidWeights(self.path, why_code(name))
        return Call(name, arguments)

    def _check_gathered(self, name: str, arguments: tuple[object, ...]) -> None:
        items = arguments[0] if arguments else []
        if len(arguments) > 1 or not isinstance(items, list):
            raise InvalidWeights(self.path, why_code())
        if name.endswith("OrderedDict") and not isinstance(items, Pairs):
            if not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in items):
                raise InvalidWeights(self.path, why_code())
            self._check_keys([key for key, _ in items])
        else:
            self._check_keys(items)

    def _check_tensor(self, name: str, arguments: tuple[Any, ...]) -> None:
        self.tensors += 1
        if self.tensors > TENSORS:
            raise InvalidWeights(self.path, f"has more than {TENSORS:,} tensors")
        storage, shape = arguments[0].arguments[1], arguments[2]
        if len(shape) > DIMENSIONS:
            raise InvalidWeights(self.path, f"has a tensor of {len(shape):,} dimensions")
        if name.endswith("v3"):
            width = getattr(torch, arguments[6].name[6:]).itemsize
        else:
            width = WIDTHS[storage.name.removeprefix("torch.").removesuffix("Storage")]
        self.left -= prod(shape) * width
        if self.left < 0:
            raise InvalidWeights(
                self.path,
                f"is small for its tensors: they would take more than {SHARED_WEIGHTS} times "
                "its size",
            )
