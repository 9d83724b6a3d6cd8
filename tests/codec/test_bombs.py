"""Little that claims to be much: memory stays within its bound, and a time limit holds.

Each hostile remote is met by the program in a process of its own, under a limit of memory that one
large object would break.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zstandard
from blake3 import blake3
from fakes.checkpoints import manifest_of, tensors
from fakes.checkpoints import store_weights as put
from fakes.places import write
from fakes.program import zoo as typed
from fakes.sampled import sampled

from zoo.codec.frame import decode
from zoo.codec.header import FIXED, MAGIC, Codec, checksum
from zoo.domain.digest import Digest
from zoo.domain.limits import CHUNK_LEAST, CHUNK_WORDS, OBJECT_BYTES
from zoo.errors import Corrupt
from zoo.store import Store
from zoo.store.encoded import read_encoded

GIB = 1 << 30
LIMIT = 1536 << 20
"""Of address space: threads reserve some of it that they never use."""
CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
from zoo_cli.main import main
main(sys.argv[2:])
"""


def zeros(count: int) -> bytes:
    """A plane of so many zeros, in some bytes."""
    packed = zstandard.ZstdCompressor(level=19).compress(bytes(count))
    return len(packed).to_bytes(4, "little") + packed


def form(size: int, chunk: int, plane: Callable[[int], bytes] = zeros, width: int = 4) -> bytes:
    """An encoded object that claims ``size`` bytes of zeros, in chunks of ``chunk`` words."""
    words = size // width
    count = -(-words // chunk)
    whole = plane(min(chunk, words)) * width
    last = plane(words - (count - 1) * chunk) * width if count > 1 else whole
    ends = np.arange(1, count + 1, dtype="<u8") * len(whole)
    ends[-1] = len(whole) * (count - 1) + len(last)
    layout = {1: 0, 4: 3}[width]
    head = FIXED.pack(MAGIC, 1, Codec.FULL, layout, size, bytes(32), bytes(32), chunk, count)
    body = ends.tobytes() + whole * (count - 1) + last
    return head[:48] + checksum(head + body) + head[80:] + body


def lying(count: int) -> bytes:
    """A plane whose frame says the right size and holds a thousand times that."""
    honest = zstandard.ZstdCompressor(level=19, write_content_size=False).compress(bytes(GIB // 8))
    assert honest[4] & 0xC0 == 0  # no size in it: put one there
    size = (count - 256).to_bytes(2, "little") if count < 65792 else count.to_bytes(4, "little")
    flag = 0x40 if len(size) == 2 else 0x80
    packed = honest[:4] + bytes([honest[4] | flag]) + honest[5:6] + size + honest[6:]
    return len(packed).to_bytes(4, "little") + packed


def little(count: int) -> bytes:
    """A plane that is not looked at."""
    return count.to_bytes(4, "little")


REFUSED: dict[str, Callable[[], bytes]] = {
    "one chunk of 3 GB": lambda: form(3 * GIB, 3 * GIB // 4, little),
    "one chunk of 7 GB": lambda: form(7 * GIB, 7 * GIB // 4, little),
    "more than any object": lambda: form(OBJECT_BYTES + 4 * CHUNK_WORDS, CHUNK_WORDS, little),
    "chunks of one word": lambda: form(4_000_000, 1),
    "a frame that lies": lambda: form(4 * 65536, 65536, lying),
}
TRUE: dict[str, Callable[[], bytes]] = {
    "one chunk of 3 GB": lambda: form(3 * GIB, 3 * GIB // 4),
    "one chunk of 7 GB": lambda: form(7 * GIB, 7 * GIB // 4),
    "chunks of the writer's size": lambda: form(7 * GIB, CHUNK_WORDS),
}


def hostile(root: Path, data: bytes, *, claims: int) -> Digest:
    """A remote whose checkpoint has one tensor that is held as ``data``."""
    store = Store.create(root)
    weights = put(store, tensors())
    large = max(weights.tensors, key=lambda tensor: tensor.nbytes)
    digest = Digest("blake3", "0" * 63 + "1")
    raw: dict[str, Any] = manifest_of(weights).to_json()
    (tensor,) = (t for t in raw["weights"][0]["tensors"] if t["name"] == large.name)
    raw["weights"][0]["size"] += claims - large.nbytes
    tensor |= {"object": str(digest), "nbytes": claims, "shape": [claims // 4]}
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    manifest = store.put("manifests", text)
    move = {"number": 1, "manifest": str(manifest), "previous": None, "at": "", "by": "", "why": ""}
    write(root / "refs/team/bomb/latest/00000001.json", json.dumps(move).encode())
    write(store.path("encoded", digest), data)
    return digest


def limited(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CHILD, str(LIMIT), *map(str, arguments)],
        capture_output=True, text=True, check=False, timeout=600,
        env={"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PATH": "/usr/bin:/bin",
             "HOME": str(arguments[1]), "TMPDIR": str(Path(str(arguments[1])).parent)},
    )  # fmt: skip


@contextmanager
def held_at_most(size: int) -> Iterator[None]:
    """Memory that Python and numpy hold meanwhile, beside mapped files."""
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < size
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", list(REFUSED))
def test_a_bomb_is_refused_before_it_takes_memory(name: str, tmp_path: Path) -> None:
    digest = hostile(tmp_path / "team", REFUSED[name](), claims=GIB)
    store = Store.open(tmp_path / "team")
    with held_at_most(16 << 20), pytest.raises(Corrupt, match=f"encoded object {digest}"):
        deque(read_encoded(store, digest), maxlen=0)


def line_of(command: str, root: Path) -> tuple[object, ...]:
    """A command that decodes what is at ``root / "team"``, from the zoo ``root / "mine"``."""
    Store.create(root / "mine")
    if command == "repair":
        for folder in ("manifests", "refs"):
            shutil.copytree(root / "team" / folder, root / "mine" / folder, dirs_exist_ok=True)
    return {
        "pull": ("pull", "team/bomb", "--from", root / "team"),
        "verify": ("verify", root / "team"),
        "repair": ("verify", "--repair", "--from", root / "team"),
    }[command]


@pytest.mark.parametrize("command", sampled(["pull", "verify", "repair"], ["pull", "verify"]))
def test_what_is_decoded_is_never_held_whole(command: str, tmp_path: Path) -> None:
    """64 MiB, which turn out to be other bytes than their name says."""
    digest = hostile(tmp_path / "team", form(64 << 20, CHUNK_WORDS), claims=64 << 20)
    line = line_of(command, tmp_path)
    typed("--home", tmp_path / "mine", "search")  # all that is imported for it is
    with held_at_most(48 << 20):
        done = typed("--home", tmp_path / "mine", *line)
    assert (done.code, str(digest) in done.out + done.err) == (1, True)
    left = [path for path in (tmp_path / "mine/tmp").rglob("*") if path.is_file()]
    assert left == []


def test_what_is_far_larger_than_its_checkpoint_uses_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However small the manifest says that it is, an object could be of 8 GB."""
    used = 4 * CHUNK_WORDS
    digest = hostile(tmp_path / "team", form(2 * used, CHUNK_WORDS), claims=used)
    monkeypatch.setattr("zoo.store.encoded.OBJECT_SLACK", used // 2)
    monkeypatch.setattr("zoo.codec.frame.decode", lambda *_, **__: pytest.fail("it was decoded"))
    done = typed("--home", tmp_path / "mine", *line_of("pull", tmp_path))
    assert done.code == 1
    assert f"encoded object {digest}" in done.err
    assert f"at most {used + used // 2} bytes" in done.err


@pytest.mark.long
@pytest.mark.parametrize("name", list(TRUE))
@pytest.mark.parametrize("command", ["pull", "verify", "repair"])
def test_every_bomb_under_a_limit_of_memory(name: str, command: str, tmp_path: Path) -> None:
    hostile(tmp_path / "team", TRUE[name](), claims=7 * GIB)
    line = line_of(command, tmp_path)
    done = limited("--home", tmp_path / "mine", *line)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)


def test_the_smallest_chunks_are_bounded_too() -> None:
    def plain(size: int, chunk: int) -> bytes:
        return b"".join(decode(form(size, chunk), limit=size))

    assert plain(16 * CHUNK_LEAST, CHUNK_LEAST) == bytes(16 * CHUNK_LEAST)
    assert plain(4 * 10, 10) == bytes(40), "one chunk has any size"
    with pytest.raises(Corrupt, match="chunks of 1024 to 262144 words"):
        plain(16 * CHUNK_LEAST, CHUNK_LEAST - 1)
    assert (
        blake3(plain(4 * CHUNK_WORDS, CHUNK_WORDS)).digest()
        == blake3(bytes(4 * CHUNK_WORDS)).digest()
    )
