"""Files that ask for more than they are: each by a name, as bytes."""

from __future__ import annotations

import io
import json
import pickle
import struct
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from fakes.checkpoints import raw_file
from PIL import Image

__all__ = ["IMAGES", "LARGE_IMAGES", "WEIGHTS"]

HUGE = int("9" * 4000)


class Call:
    """Pickles as a call of ``function``."""

    def __init__(self, function: Any, *given: Any) -> None:
        self.function, self.given = function, given

    def __reduce__(self) -> tuple[Any, ...]:
        return self.function, self.given


def tensor(shape: list[Any], dtype: Any = "F32", offsets: Any = (0, 0)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": list(offsets)}


def header(shape: list[Any], **known: Any) -> Callable[[], bytes]:
    return lambda: raw_file({"a": tensor(shape, **known)})


def saved(content: Any, *, old: bool = False) -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        made = content() if callable(content) else content
        torch.save(made, file, _use_new_zipfile_serialization=not old)
        return file.getvalue()

    return make


def zipped(name: str, data: bytes, method: int = zipfile.ZIP_STORED) -> bytes:
    """What `torch.save` makes of one tensor, with one part more or another."""
    whole, file = io.BytesIO(saved({"a": torch.zeros(3)})()), io.BytesIO()
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(file, "w") as new:
        for part in old.namelist():
            if part != name:
                new.writestr(part, old.read(part))
        new.writestr(name, data, method)
    return file.getvalue()


def many_tensors() -> bytes:
    entries = {f"t{number}": tensor([0]) for number in range(300_000)}
    return raw_file(json.dumps(entries, separators=(",", ":")))


def many_in_a_pickle() -> dict[str, Any]:
    return {str(number): torch.zeros(0) for number in range(110_000)}


def nested_pickle() -> bytes:
    """A dict whose key is a tuple of twice a tuple of twice a tuple."""
    name = b")q\x00" + b"".join(b"h" + bytes([n]) + b"\x86q" + bytes([n + 1]) for n in range(60))
    return zipped("archive/data.pkl", b"\x80\x02}" + name + b"K\x01s.")


def wrapped(code: bytes) -> Callable[[], bytes]:
    """A pickle of a dict with one value, which ``code`` makes."""
    return lambda: zipped("archive/data.pkl", b"\x80\x02}X\x01\x00\x00\x00a" + code + b"s.")


def directory() -> bytes:
    """A zip file that lists 200,000 parts."""
    entry = b"PK\x01\x02" + struct.pack(
        "<6H3I5H2I", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0
    )
    listed = (entry + b"a") * 200_000
    end = struct.pack("<4s4H2IH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(listed), 0, 0)
    return b"PK\x03\x04" + listed + end


def another_list() -> bytes:
    """A zip file of which zipfile reads a harmless list of parts, and PyTorch another."""
    harmless, real = saved({"a": torch.zeros(3)})(), EXPANDED()
    return real[:-98] + harmless


def code_before_a_zip() -> bytes:
    return EXPANDED_OLD() + saved({"a": torch.zeros(3)})()


def tarred() -> bytes:
    """The pickles of an old file are the name of the first file in it."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", encoding="latin-1") as tar:
        magic = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19." + b"\x80\x02}." * 4
        for name in (magic.decode("latin-1"), "storages", "tensors", "pickle"):
            entry = tarfile.TarInfo(name)
            entry.type = tarfile.FIFOTYPE if name == "storages" else tarfile.REGTYPE
            tar.addfile(entry)
    return file.getvalue()


EXPANDED_OLD = saved(lambda: {"a": torch.zeros(1).expand(2**33)}, old=True)
EXPANDED = saved(lambda: {"a": torch.zeros(1).expand(2**33)})
BYTES = b"c__builtin__\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R"
"""``bytearray(2**40)``"""

WEIGHTS: dict[str, Callable[[], bytes]] = {
    "a size of 4,000 digits": header([HUGE]),
    "500 sizes of 4,000 digits": header([HUGE] * 500),
    "500 sizes": header([2] * 500),
    "a product of 64 times 63 bits": header([2**62] * 64),
    "a large product with a zero": header([2**62, 2**62, 0]),
    "an end of 4,000 digits": header([3], offsets=(0, HUGE)),
    "NaN": lambda: raw_file('{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,0]}}'),
    "a negative size": header([-1, -1], offsets=(0, 4)),
    "text for sizes": header(["4", None]),
    "a list for a dtype": header([3], dtype=["F32"]),
    "a long name and dtype": lambda: raw_file({"n\n" * 10**6: tensor([3], dtype="x" * 10**6)}),
    "nested lists": lambda: raw_file("[" * 100_000),
    "nested objects": lambda: raw_file('{"a":' * 100_000),
    "empty lists": lambda: raw_file('{"a":[' + "[]," * 5_000_000 + "[]]}"),
    "numbers": lambda: raw_file('{"a":[' + "1," * 7_000_000 + "1]}"),
    "a long header": lambda: (1 << 25).to_bytes(8, "little") + b"{" + b" " * (1 << 25),
    "300,000 tensors": many_tensors,
    "an expanded tensor": EXPANDED,
    "an expanded tensor, old": EXPANDED_OLD,
    "an expanded tensor before a zip": code_before_a_zip,
    "another list of parts": another_list,
    "a tar file with a FIFO": tarred,
    "a tensor of the device meta": saved(lambda: {"a": torch.zeros(9, device="meta")}),
    "a sparse tensor": saved(lambda: {"a": torch.eye(3).to_sparse()}),
    "110,000 tensors": saved(many_in_a_pickle),
    "compressed zeros": lambda: zipped("archive/data/0", bytes(10**8), zipfile.ZIP_DEFLATED),
    "a compressed pickle": lambda: zipped("archive/data.pkl", bytes(10**8), zipfile.ZIP_DEFLATED),
    "200,000 parts": directory,
    "a long pickle": lambda: zipped("archive/data.pkl", b"\x80\x02" + b"]" * 10**7),
    "a long pickle, old": lambda: b"\x80\x02" + b"]" * 10**8,
    "tuples of tuples": nested_pickle,
    "a terabyte": wrapped(BYTES),
    "a set of a terabyte": wrapped(b"c__builtin__\nset\n" + BYTES + b"\x85R"),
    "a count of 2**33": saved(lambda: {"a": Call(Counter, torch.zeros(1).expand(2**33))}),
    "a tensor of 2**40": wrapped(b"ctorch\nFloatTensor\n\x8a\x06\x00\x00\x00\x00\x00\x01\x85R"),
    "half a letter": saved(lambda: {"\ud800": torch.zeros(3)}),
    "code": lambda: pickle.dumps({"a": Call(print, "ran")}, protocol=2),
    "a cut zip": lambda: saved({"a": torch.zeros(3)})()[:-30],
}


def drawn(size: tuple[int, int], mode: str = "L", kind: str = "PNG") -> Callable[[], bytes]:
    def make() -> bytes:
        file = io.BytesIO()
        with any_size():
            Image.new(mode, size).save(file, kind)
        return file.getvalue()

    return make


@contextmanager
def any_size() -> Iterator[None]:
    before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        yield
    finally:
        Image.MAX_IMAGE_PIXELS = before


def claiming(width: int, height: int) -> Callable[[], bytes]:
    """A GIF that says it is so large."""

    def make() -> bytes:
        data = bytearray(drawn((8, 8), "P", "GIF")())
        data[6:10] = struct.pack("<2H", width, height)
        return bytes(data)

    return make


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 40 40\n%%EndComments\nshowpage\n%%EOF\n"
IMAGES: dict[str, Callable[[], bytes]] = {
    "60000 x 1": drawn((60_000, 1)),
    "1 x 60000": drawn((1, 60_000)),
    "400 megapixels": drawn((20_000, 20_000), "1"),
    "a GIF of 4 gigapixels": claiming(65_535, 65_535),
    "EPS": lambda: EPS,
    "text": lambda: b"P7\n no image",
    "a PNG of nothing": lambda: b"\x89PNG\r\n\x1a\n",
    "an icon": drawn((16, 16), "RGB", "ICO"),
}
LARGE_IMAGES: dict[str, Callable[[], bytes]] = {
    f"178 megapixels, {mode}": drawn((13_377, 13_377), mode)
    for mode in ("1", "RGB", "RGBA", "I;16")
}
