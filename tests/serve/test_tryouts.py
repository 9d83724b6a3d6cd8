"""The process that tries images: it is killed, ends, is asked by many, is sent what is no image."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from fakes.paged import make_tuned
from PIL import Image

import zoo
from zoo.domain.limits import TRIED_IMAGE_PIXELS
from zoo.serve.keep import tryouts as module
from zoo.serve.keep.tryout import TryoutAnswer, TryoutRequest
from zoo.serve.keep.tryouts import QueueFull, TooOften, Tryouts


def encoded(image: Image.Image, form: str = "PNG") -> bytes:
    file = BytesIO()
    image.save(file, form)
    return file.getvalue()


IMAGE = encoded(Image.linear_gradient("L").convert("RGB"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tuned(tmp_path_factory.mktemp("tried"))


@pytest.fixture(scope="module")
def digest(home: Path) -> str:
    with zoo.open(home) as opened:
        return str(opened.workspace.names.resolve("team/tuned")[1])


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question may take 2 s."""
    monkeypatch.setattr(module, "SECONDS", 2)


@pytest.fixture
def tryouts(home: Path, tmp_path: Path) -> Iterator[Tryouts]:
    made = Tryouts(home, tmp_path / "try")
    yield made
    made.close()


def ask(tryouts: Tryouts, who: str, digest: str, data: bytes) -> TryoutAnswer:
    with tryouts.admitted(who):
        return tryouts.ask(digest, data)


def stuck(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on, questions promise one byte more than they have: the process waits for it."""
    monkeypatch.setattr(
        module, "TryoutRequest", lambda size, **more: TryoutRequest(size=size + 1, **more)
    )


def test_it_answers_as_predict_does_and_again_when_it_was_killed(
    tryouts: Tryouts, home: Path, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = ask(tryouts, "ann", digest, IMAGE)
    (tmp_path / "image.png").write_bytes(IMAGE)
    with zoo.open(home) as opened:
        (one,) = opened.predict("team/tuned", tmp_path / "image.png", top=5)
    assert [(each.name, each.value) for each in said.outputs] == [
        *zip(one.classes, one.probabilities, strict=True)
    ]
    with monkeypatch.context() as patch:
        stuck(patch)
        asking = Asking(tryouts, "ann", digest)
        process = tryouts._process
        assert process
        asking.wait_until_under_way()
        process.kill()
        assert "has died" in asking.answer().problem
    rmtree(tmp_path / "try")  # as what cleans up temporary files does
    assert ask(tryouts, "ann", digest, IMAGE).outputs == said.outputs
    assert (tmp_path / "try").stat().st_mode & 0o777 == 0o700


STARTS = """
import sys, time
from pathlib import Path
from zoo.serve.keep.tryouts import Tryouts

made = Tryouts(Path(sys.argv[1]), Path(sys.argv[1]))
made._start()
print(made._process.pid, flush=True)
time.sleep(600)
"""


def goes_on(process: int) -> bool:
    """Whether a process runs, and is not one that has ended and nobody has asked for."""
    try:
        told = Path(f"/proc/{process}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return told.rpartition(")")[2].split()[0] != "Z"


def test_it_ends_when_who_started_it_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTS, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout
            process = int(server.stdout.readline())
            began = goes_on(process)
        finally:
            server.kill()
    assert began
    ends = time.monotonic() + 30
    while goes_on(process):
        assert time.monotonic() < ends
        time.sleep(0.05)


def test_no_image_is_given_to_another_account(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "tryout"))
        listening.listen()
        monkeypatch.setattr(module, "WAIT_SECONDS", 0.1)
        monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
        with pytest.raises(PermissionError):
            Tryouts(tmp_path, tmp_path).ask("", IMAGE)


class Asking:
    """A question that is asked in a thread."""

    def __init__(self, tryouts: Tryouts, who: str, digest: str) -> None:
        self._got: list[Any] = []
        self._tryouts, self._who = tryouts, who
        self._thread = threading.Thread(target=self._ask, args=(digest,))
        self._thread.start()

    def _ask(self, digest: str) -> None:
        self._got.append(ask(self._tryouts, self._who, digest, IMAGE))

    def wait_until_under_way(self) -> None:
        while self._who not in self._tryouts._under_way:
            time.sleep(0.01)
        time.sleep(0.3)

    def answer(self) -> Any:
        self._thread.join(60)
        return self._got[0]


@pytest.mark.long
def test_a_question_that_takes_too_long_is_stopped(
    quick: None, tryouts: Tryouts, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        stuck(patch)
        began = time.monotonic()
        said = ask(tryouts, "ann", digest, IMAGE)
    assert said.problem == "it took more than 2 seconds, and was stopped"
    assert said.fault
    assert time.monotonic() - began < 30
    assert ask(tryouts, "ann", digest, IMAGE).outputs


@pytest.mark.long
def test_who_waits_is_bounded(
    tryouts: Tryouts, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WAITING", 0)
    monkeypatch.setattr(module, "RATE", 2)
    assert ask(tryouts, "ann", digest, IMAGE).outputs
    with monkeypatch.context() as patch:
        stuck(patch)
        asking = Asking(tryouts, "ann", digest)
        asking.wait_until_under_way()
        with pytest.raises(QueueFull):
            ask(tryouts, "ben", digest, IMAGE)
        monkeypatch.setattr(module, "WAITING", 4)
        with pytest.raises(TooOften):
            ask(tryouts, "ann", digest, IMAGE)
        assert tryouts._process
        tryouts._process.kill()
        asking.answer()
    with pytest.raises(TooOften):  # the third one
        ask(tryouts, "ann", digest, IMAGE)
    assert ask(tryouts, "ben", digest, IMAGE).outputs
    monkeypatch.setattr(module, "RATE_SECONDS", 0.0)
    assert ask(tryouts, "ann", digest, IMAGE).outputs


def test_who_asks_again_when_theirs_takes_long_keeps_nobody_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RATE_SECONDS", 0.0)
    tryouts = Tryouts(tmp_path, tmp_path)
    with tryouts.admitted("ann"):
        for _ in range(2):
            with pytest.raises(TooOften), tryouts.admitted("ann"):
                pass
        with tryouts.admitted("ben"):
            pass
    with tryouts.admitted("ann"):
        pass


@pytest.mark.long
def test_it_ends_when_nobody_asks_and_when_the_server_has_gone(
    home: Path, digest: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for idle, gone in ((1, False), (60, True)):
        monkeypatch.setattr(module, "IDLE_SECONDS", idle)
        folder = tmp_path / str(idle)
        folder.mkdir()
        tryouts = Tryouts(home, folder)
        assert ask(tryouts, "ann", digest, IMAGE).outputs
        assert tryouts._process
        if gone:
            (folder / "tryout").unlink()
        assert tryouts._process.wait(60) == 0
        assert not (folder / "tryout").exists()
        assert ask(tryouts, "ann", digest, IMAGE).outputs, "another one is started"
        tryouts.close()
        with pytest.raises(QueueFull):
            ask(tryouts, "ann", digest, IMAGE)


@pytest.mark.long
def test_the_processes_of_a_server_have_one_together(
    home: Path, digest: str, tmp_path: Path
) -> None:
    several = [Tryouts(home, tmp_path) for _ in range(3)]
    asked = [Asking(each, who, digest) for each in several for who in ("ann", "ben")]
    assert all(each.answer().outputs for each in asked)
    (one,) = [each._process for each in several if each._process]
    os.kill(one.pid, signal.SIGKILL)
    until_refused(tmp_path / "tryout")
    assert all(ask(each, "cat", digest, IMAGE).outputs for each in several)
    for each in several:
        each.close()


def until_refused(path: Path) -> None:
    """Until the process is dead: what was started stands in for it."""
    ends = time.monotonic() + 30
    while time.monotonic() < ends:
        with socket.socket(socket.AF_UNIX) as connection:
            if connection.connect_ex(str(path)) == errno.ECONNREFUSED:
                return
        time.sleep(0.05)
    raise AssertionError


def bomb(width: int, height: int) -> bytes:
    """A PNG that says it is so large, and has next to nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        sum_ = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + sum_

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1 << 20))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


NOISE = Image.effect_noise((400, 300), 80).convert("RGB")
HOSTILE = {
    "a bomb": (bomb(60_000, 60_000), f"the image: is 60000 x 60000 pixels; the limit is "
               f"{TRIED_IMAGE_PIXELS:,} in total"),
    "one below the limit that has nothing": (bomb(8000, 8000), "the image: cannot be read: "),
    "a text": (b"hello\n" * 100, "the image: is not a readable image"),
    "a pickle": (b"\x80\x04K\x01.", "the image: is not a readable image"),
    "half a JPEG": (encoded(NOISE, "JPEG")[:9000], "the image: cannot be read: "),
    "PostScript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a readable image"),
    "floats": (encoded(Image.new("F", (9, 9)), "TIFF"), "holds floats"),
}  # fmt: skip


@pytest.mark.long
def test_what_is_no_image_is_told_and_harms_nobody(
    tryouts: Tryouts, digest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RATE", 100)
    process = None
    for kind, (data, said) in HOSTILE.items():
        found = ask(tryouts, "ann", digest, data)
        assert said in found.problem, kind
        assert "max-pixels" not in found.problem
        assert not found.fault
        process = process or tryouts._process
        assert tryouts._process is process, "the same one goes on"
    assert ask(tryouts, "ann", digest, IMAGE).outputs
