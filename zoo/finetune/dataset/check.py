"""Open every image of a dataset, on several threads, before anything is trained on it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import PIL
from blake3 import blake3

from zoo.backbones.rgb import READING
from zoo.config import cores
from zoo.domain.progress import Progress
from zoo.errors import InvalidImage
from zoo.finetune.dataset.images import Images
from zoo.store.atomic import write_whole

__all__ = ["Checked", "check_images", "state_of"]

THREADS = 8
VERSIONS = {"pillow": PIL.__version__, "reading": READING}
"""Of what decides which images are in order."""
RACY_NS = 2_000_000_000
"""A file that changed less than so many nanoseconds ago may change again without a new time: file
systems have clocks of coarse steps (git calls such entries "racily clean")."""


class Checked(NamedTuple):
    """What came of it, by key.

    Attributes:
        digests: Of the images that can be read.
        states: Of their files, as far as they are files; see `state_of`.
        problems: Of those that cannot, as text that follows the key.
    """

    digests: dict[str, str]
    states: dict[str, int]
    problems: dict[str, str]


class Seen(NamedTuple):
    """An image that was decoded before, and the state that its file was in."""

    stamp: list[int]
    digest: str


def check_images(
    images: Images, keys: Sequence[str], progress: Progress, cache: Path | None
) -> Checked:
    """Decode each image whole, and hash it.

    Args:
        images: Reads them.
        keys: Which ones.
        progress: Progress callback, called once per image.
        cache: A file that remembers which images were in order. An image is decoded again when
            its file's size, times or inode are others, or one of `VERSIONS` is.
    """
    checked = Checked({}, {}, {})
    with (
        _remembered(cache) as seen,
        ThreadPoolExecutor(min(THREADS, cores())) as pool,
        progress("checking images", len(keys)) as task,
    ):
        for stale in seen.keys() - set(keys):
            del seen[stale]
        try:
            for key, one in zip(keys, pool.map(partial(_check, images, seen), keys), strict=True):
                if one.problem:
                    checked.problems[key] = one.problem
                else:
                    checked.digests[key] = one.digest
                if one.stamp:
                    checked.states[key] = hash(tuple(one.stamp))
                task.advance()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return checked


class _One(NamedTuple):
    digest: str = ""
    stamp: Sequence[int] = ()
    problem: str = ""


def state_of(file: Path) -> int:
    """Another number after any change of the file's size, times or inode; 0: it is gone."""
    try:
        return hash(tuple(_stamp(file)))
    except OSError:
        return 0


def _check(images: Images, seen: dict[str, Seen], key: str) -> _One:
    try:
        file = images.file(key)
        stamp = _stamp(file) if file else []
        before = seen.get(key)
        if before and before.stamp == stamp:
            return _One(before.digest, stamp)
        seen.pop(key, None)
        digest = images.check(key)
        if stamp and stamp == _stamp(file) and time.time_ns() - max(stamp[1:3]) > RACY_NS:
            seen[key] = Seen(stamp, digest)
    except InvalidImage as error:
        return _One(problem=error.reason)
    except FileNotFoundError:
        return _One(problem="no such file")
    except Exception as error:  # noqa: BLE001 - decoders raise whatever they like
        return _One(problem=f"is not a readable image ({type(error).__name__})")
    return _One(digest, stamp)


def _stamp(file: Path | None) -> list[int]:
    # The time of the last change of the entry shows edits that put the other time back.
    state = os.stat(file or "")  # noqa: PTH116 - many files: no detour
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]


@contextmanager
def _remembered(cache: Path | None) -> Iterator[dict[str, Seen]]:
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


def _load(cache: Path) -> dict[str, Seen]:
    try:
        digest, _, entries = cache.read_bytes().partition(b"\n")
    except OSError:
        return {}
    # A damaged file is forgotten; it costs time only.
    if blake3(entries).hexdigest().encode() != digest:
        return {}
    content = json.loads(entries)
    if any(content.get(name) != value for name, value in VERSIONS.items()):
        return {}
    return {key: Seen(*value) for key, value in content["seen"].items()}
