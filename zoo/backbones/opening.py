"""Open image files: some formats, and sizes that fit in memory. Nothing else opens one.

Pillow decides by content what a file is, whatever its name, and for some formats it starts other
programs.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from importlib import import_module
from threading import Lock
from typing import IO, Any

from PIL import Image, UnidentifiedImageError

from zoo.domain.limits import IMAGE_PIXELS, LARGE_IMAGE, PIXEL_BYTES, ROW_PIXELS
from zoo.domain.reading import READING
from zoo.errors import InvalidImage

__all__ = ["FORMATS", "alone_by", "any_crop", "opened"]

FORMATS = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "PPM", "GIF", "JPEG2000", "AVIF")
"""Those that are opened, the most frequent first. Each is decoded within this process."""

ALONE: AbstractContextManager[Any] = Lock()
with suppress(
    AttributeError, OSError
):  # where Pillow has libtiff linked in, its symbols are hidden
    # libtiff writes to stderr by itself, past all that Python has for it. What it cannot decode,
    # Pillow raises.
    for handler in ("TIFFSetErrorHandler", "TIFFSetWarningHandler"):
        getattr(ctypes.CDLL(str(import_module("PIL._imaging").__file__)), handler)(None)


def alone_by(lock: AbstractContextManager[Any]) -> None:
    """Have this process decode large images one at a time with all others that take ``lock``."""
    global ALONE
    ALONE = lock


@contextmanager
def opened(file: IO[bytes], name: str, max_pixels: int | None = None) -> Iterator[Image.Image]:
    """The image in ``file``, of which no more than the header is read; it is decoded within.

    ``max_pixels`` is what the user allows; None: `IMAGE_PIXELS`.

    Raises:
        InvalidImage: It is none of `FORMATS`, or too large.
    """
    token = READING.set(name)
    try:
        yield from _opened(file, name, max_pixels or IMAGE_PIXELS)
    finally:
        READING.reset(token)


def _opened(file: IO[bytes], name: str, limit: int) -> Iterator[Image.Image]:
    with _identified(file, name) as image:
        width, height = image.size
        pixels = max(width, ROW_PIXELS) * height
        what = f"is {width} x {height} pixels"
        if pixels > limit:
            raise InvalidImage(
                name, f"{what}; the limit is {limit:,} in total (--max-pixels {pixels} reads it)"
            )
        if pixels > IMAGE_PIXELS and (reason := _lacking(pixels)):
            raise InvalidImage(name, f"{what}: {reason}")
        # Several at once would take more memory together than the limit on one promises.
        with ALONE if pixels > LARGE_IMAGE else nullcontext():
            yield image


def _lacking(pixels: int) -> str:
    """Why there is too little memory for so many pixels; empty if it is enough."""
    from zoo.backbones.free_memory import free_memory

    needed, free = pixels * PIXEL_BYTES, free_memory()
    if needed <= free:
        return ""
    return f"to decode it takes up to {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free"


@contextmanager
def any_crop(image: Image.Image) -> Iterator[None]:
    """Within, a part of ``image``, which was opened, can have any size: Pillow takes a large one
    for a trap.
    """
    if image.width * image.height <= IMAGE_PIXELS:
        yield
        return
    with ALONE:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


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
