"""The images of a dataset: where they are read from, and whether each can be.

Files here; `zoo.finetune.dataset.named` has those of other programs.
"""

from __future__ import annotations

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, Protocol

import PIL
from blake3 import blake3
from PIL import Image

from zoo.backbones.opening import opened
from zoo.backbones.preprocess import read_image
from zoo.backbones.rgb import READING, to_rgb
from zoo.config import cores
from zoo.domain.progress import Progress
from zoo.errors import InvalidImage
from zoo.store.atomic import write_whole

__all__ = [
    "CheckedImages",
    "EncodedImages",
    "FileImages",
    "Images",
    "check_images",
    "sizes",
    "state_of",
]

THREADS = 8
VERSIONS = {"pillow": PIL.__version__, "reading": READING}
"""Of what decides which images are in order."""
RACY_NS = 2_000_000_000
"""A file that changed less than so many nanoseconds ago may change again without a new time: file
systems have clocks of coarse steps (git calls such entries "racily clean")."""


class Images(Protocol):
    """Random access to images by key, from any thread or process."""

    max_pixels: int | None
    """Of the largest one that is opened; None: `zoo.domain.limits.IMAGE_PIXELS`."""

    def read(self, key: str) -> Image.Image:
        """An image as RGB; raises `InvalidImage`."""

    def check(self, key: str) -> str:
        """Decode an image whole; BLAKE3 of its bytes, in hex. Raises whatever decoders raise."""

    def file(self, key: str) -> Path | None:
        """The file whose unchanged state vouches for an unchanged image, if there is one."""


class FileImages:
    """Implements `Images` for files: each key is a path, relative to ``root`` or absolute."""

    max_pixels: int | None = None

    def __init__(self, root: Path) -> None:
        self.root = root

    def read(self, key: str) -> Image.Image:
        """See `Images.read`."""
        return read_image(self.file(key), self.max_pixels)

    def check(self, key: str) -> str:
        """See `Images.check`."""
        self.read(key)  # decoded whole: a header says nothing of a truncated file
        return blake3(self.file(key).read_bytes()).hexdigest()

    def file(self, key: str) -> Path:
        """See `Images.file`."""
        return self.root / key


def sizes(images: Images, keys: Sequence[str]) -> list[int]:
    """The longer side of each image, of its header where it is a file, in pixels."""
    sides = []
    for key in keys:
        if isinstance(images, FileImages):
            with images.file(key).open("rb") as data, opened(data, key, images.max_pixels) as image:
                sides.append(max(image.size))
        else:
            sides.append(max(images.read(key).size))
    return sides


class EncodedImages(ABC):
    """Implements `Images` but for `file`, where an image's bytes are read by its key."""

    max_pixels: int | None = None

    @abstractmethod
    def encoded(self, key: str) -> bytes:
        """The file of an image, as it was written."""

    def read(self, key: str) -> Image.Image:
        """See `Images.read`."""
        return decode(key, self.encoded(key), self.max_pixels)

    def check(self, key: str) -> str:
        """See `Images.check`."""
        data = self.encoded(key)
        decode(key, data, self.max_pixels)
        return blake3(data).hexdigest()


def decode(key: str, data: bytes, max_pixels: int | None = None) -> Image.Image:
    """An encoded image as RGB; raises `InvalidImage` if it cannot be read, or has no range."""
    try:
        with opened(BytesIO(data), key, max_pixels) as image:
            return to_rgb(image, key)
    except InvalidImage:
        raise
    except Exception as error:  # decoders raise whatever they like
        raise InvalidImage(key, f"is not a readable image ({type(error).__name__})") from error


class CheckedImages(NamedTuple):
    """By key: digests of readable images, the states of their files (see `state_of`), and what is
    wrong with the others, as text that follows the key.
    """

    digests: dict[str, str]
    states: dict[str, int]
    problems: dict[str, str]


class DecodedImage(NamedTuple):
    """An image that was decoded before, and the state that its file was in."""

    stamp: list[int]
    digest: str


def check_images(
    images: Images, keys: Sequence[str], progress: Progress, cache: Path | None
) -> CheckedImages:
    """Decode each image whole, and hash it, on several threads.

    The file ``cache`` remembers which images were in order. An image is decoded again when its
    file's size, times or inode are others, or one of `VERSIONS` is.
    """
    checked = CheckedImages({}, {}, {})
    with (
        _remembered(cache) as seen,
        ThreadPoolExecutor(min(THREADS, cores())) as pool,
        progress("checking images", len(keys)) as task,
    ):
        # Else the file would grow with each image that ever was there.
        for stale in seen.keys() - set(keys):
            del seen[stale]
        try:
            for key, (stamp, digest, problem) in zip(
                keys, pool.map(partial(_check, images, seen), keys), strict=True
            ):
                if problem:
                    checked.problems[key] = problem
                else:
                    checked.digests[key] = digest
                if stamp:
                    checked.states[key] = hash(tuple(stamp))
                task.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return checked


def state_of(file: Path) -> int:
    """Another number after any change of the file's size, times or inode; 0: it is gone."""
    try:
        return hash(tuple(_stamp(file)))
    except OSError:
        return 0


def _check(images: Images, seen: dict[str, DecodedImage], key: str) -> tuple[list[int], str, str]:
    """The stamp of its file, if it has one, its digest, and what is wrong with it, if anything."""
    try:
        file = images.file(key)
        stamp = _stamp(file) if file else []
        before = seen.get(key)
        if before and before.stamp == stamp:
            return stamp, before.digest, ""
        seen.pop(key, None)
        digest = images.check(key)
        # Twice, before and after: a file that was written meanwhile has not the digest's bytes.
        if file and stamp == _stamp(file) and time.time_ns() - max(stamp[1:3]) > RACY_NS:
            seen[key] = DecodedImage(stamp, digest)
    except InvalidImage as error:
        return [], "", error.reason
    except FileNotFoundError:
        return [], "", "no such file"
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like
        return [], "", f"is not a readable image ({type(error).__name__})"
    return stamp, digest, ""


def _stamp(file: Path) -> list[int]:
    # The time of the last change of the entry shows edits that put the other time back.
    state = os.stat(file)  # noqa: PTH116 - many files: no detour
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


@contextmanager
def _remembered(cache: Path | None) -> Iterator[dict[str, DecodedImage]]:
    """What the file remembers; what the body makes of that is written back, errors or not."""
    if cache is None:
        yield {}
        return
    seen = _load(cache)
    before = dict(seen)
    try:
        yield seen
    finally:
        if seen != before:
            entries = json.dumps({**VERSIONS, "seen": seen}).encode()
            cache.parent.mkdir(parents=True, exist_ok=True)
            write_whole(cache, [blake3(entries).hexdigest().encode(), b"\n", entries])


def _load(cache: Path) -> dict[str, DecodedImage]:
    try:
        digest, _, entries = cache.read_bytes().partition(b"\n")
    except OSError:
        return {}
    # A damaged file is forgotten; it costs time only.
    sound = blake3(entries).hexdigest().encode() == digest
    content = json.loads(entries) if sound else {}
    if any(content.get(name) != value for name, value in VERSIONS.items()):
        return {}
    return {key: DecodedImage(*value) for key, value in content["seen"].items()}
