"""Where the images of a dataset are read from: files here; see `zoo.finetune.dataset.named` for
those of other programs.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Protocol

from blake3 import blake3
from PIL import Image

from zoo.backbones.opening import opened
from zoo.backbones.preprocess import read_image
from zoo.backbones.rgb import to_rgb
from zoo.errors import InvalidImage

__all__ = ["FileImages", "Images", "decode"]


class Images(Protocol):
    """Random access to images by key, from any thread or process."""

    def read(self, key: str) -> Image.Image:
        """An image as RGB; raises `InvalidImage`."""

    def check(self, key: str) -> str:
        """Decode an image whole; BLAKE3 of its bytes, in hex. Raises whatever decoders raise."""

    def file(self, key: str) -> Path | None:
        """The file whose unchanged state vouches for an unchanged image, if there is one."""


class FileImages:
    """Implements `Images` for files: each key is a path, relative to ``root`` or absolute."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> Image.Image:
        """See `Images.read`."""
        return read_image(self.file(key))

    def check(self, key: str) -> str:
        """See `Images.check`."""
        self.read(key)  # decoded whole: a header says nothing of a truncated file
        return blake3(self.file(key).read_bytes()).hexdigest()

    def file(self, key: str) -> Path:
        """See `Images.file`."""
        return self.root / key


def decode(key: str, data: bytes) -> Image.Image:
    """An encoded image as RGB.

    Raises:
        InvalidImage: The bytes are not a readable image, or one whose values have no range.
    """
    try:
        with opened(BytesIO(data), key) as image:
            return to_rgb(image, key)
    except InvalidImage:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise InvalidImage(key, f"is not a readable image ({type(error).__name__})") from error
