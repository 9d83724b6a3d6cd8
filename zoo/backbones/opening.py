"""Open image files: some formats, and sizes that fit in memory. Nothing else opens one.

Pillow decides by content what a file is, whatever its name, and for some formats it starts other
programs.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from importlib import import_module
from threading import Lock
from typing import IO

from PIL import Image, UnidentifiedImageError

from zoo.domain.limits import IMAGE_PIXELS, LARGE_IMAGE, ROW_PIXELS
from zoo.domain.reading import READING
from zoo.errors import InvalidImage

__all__ = ["FORMATS", "opened"]

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "JPEG2000", "AVIF")
"""Those that are opened, the most frequent first. Each is decoded within this process."""

ALONE = Lock()
with suppress(
    AttributeError, OSError
):  # where Pillow has libtiff linked in, its symbols are hidden
    # libtiff writes to stderr by itself, past all that Python has for it. What it cannot decode,
    # Pillow raises.
    for handler in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        getattr(ctypes.CDLL(str(import_module("PIL._imaging").__file__)), handler)(None)


@contextmanager
def opened(file: IO[bytes], name: str) -> Iterator[Image.Image]:
    """The image in ``file``, of which no more than the header is read; it is decoded within.

    Raises:
        InvalidImage: It is none of `FORMATS`, or too large.
    """
    token = READING.set(name)
    try:
        yield from _opened(file, name)
    finally:
        READING.reset(token)


def _opened(file: IO[bytes], name: str) -> Iterator[Image.Image]:
    with _identified(file, name) as image:
        width, height = image.size
        pixels = max(width, ROW_PIXELS) * height
        if pixels > IMAGE_PIXELS:
            raise InvalidImage(
                name, f"is {width} x {height} pixels; the limit is {IMAGE_PIXELS:,} in total"
            )
        # Several at once would take more memory together than the limit on one promises.
        with ALONE if pixels > LARGE_IMAGE else nullcontext():
            yield image


def _identified(file: IO[bytes], name: str) -> Image.Image:
    """As `Image.open` does it, which would warn of sizes that are taken here."""
    Image.init()
    prefix = file.read(16)
    for factory, accept in (Image.OPEN[each] for each in FORMATS if each in Image.OPEN):
        accepted = accept(prefix) if accept else False
        if not accepted or isinstance(accepted, str):  # a text says what the format lacks here
            continue
        file.seek(0)
        try:
            return factory(file, name)
        except (SyntaxError, IndexError, TypeError, struct.error):
            continue
        except Image.DecompressionBombError as error:
            raise InvalidImage(name, f"is too large: {error}") from error
    raise UnidentifiedImageError(name)
