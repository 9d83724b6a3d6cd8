"""Tryout: answer what images show by checkpoints of a zoo.

Runs in a process of its own, which has torch: ``python -m zoo.serve.keep.tryout ZOO SOCKET FD MOST
IDLE``, where ``FD`` is the descriptor of a socket that listens at the path ``SOCKET``. Whoever
connects to it is told when it is their turn, by a byte, then sends a line of JSON and an image, and
gets a line back. The process ends when nobody has asked for ``IDLE`` seconds, the path is gone, or
its standard input ends, which whoever started it holds; a question that takes ``MOST`` seconds ends
it, too, by a signal that nothing in it can hold up.
"""

from __future__ import annotations

import io
import logging
import os
import resource
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import msgspec

from zoo.domain.digest import Digest
from zoo.domain.limits import TRIED_IMAGE_BYTES, TRIED_MEMORY
from zoo.errors import Invalid, NotFound, Unsupported, Untrusted, ZooError
from zoo.workspace import Workspace

if TYPE_CHECKING:
    from PIL import Image

    from zoo.backbones.tried import Trial, TryoutRunner

__all__ = ["TURN", "TryoutAnswer", "TryoutRequest", "Output", "Picture"]

LOG = logging.getLogger("zoo.serve")
LOOK_SECONDS = 5.0
TURN = b"\n"
LINE_BYTES = 64 * 1024
NICE, KILLED_FIRST = 5, "500"
"""The server goes first; where memory is short, this process does."""


class TryoutRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A question: which checkpoint, how many bytes of image follow, and which output is to be
    explained; empty: the likeliest.
    """

    checkpoint: str
    size: int
    output: str = ""


class Output(msgspec.Struct, frozen=True, kw_only=True):
    """A class, label or number, with its probability, or value."""

    name: str
    value: float


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """An image, as PNG of 8-bit RGB: what the network sees; or what speaks for an ``output``, and
    whether anything does.
    """

    png: bytes
    width: int
    height: int
    output: str = ""
    speaks: bool = True


class TryoutAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer.

    Attributes:
        outputs: The likeliest classes or labels, best first; numbers in their order.
        probable: Whether their values are probabilities.
        pictures: What the network sees, then what speaks for some of them.
        unit: Where the network was looked into.
        unexplained: Why there is none of the latter.
        guesses: What to know of where the answer comes from.
        problem: Why there is no answer.
        fault: Whether that is for whoever runs the server to look at.
    """

    outputs: tuple[Output, ...] = ()
    probable: bool = True
    pictures: tuple[Picture, ...] = ()
    unit: str = ""
    unexplained: str = ""
    guesses: tuple[str, ...] = ()
    problem: str = ""
    fault: bool = False


def answered(tried: TryoutRunner, asked: TryoutRequest, data: bytes) -> TryoutAnswer:
    """The answer to a question about the image that is ``data``."""
    try:
        trial = tried.answer(Digest.parse(asked.checkpoint), data, asked.output)
        return _answer(trial)
    except Untrusted as error:
        LOG.warning("an image was not tried: %s", error)
        text = f"its network is made by {error.name}, which is not trusted on this server"
        return TryoutAnswer(problem=f"{text}; who runs it may: zoo trust {error.name}")
    except (Invalid, NotFound, Unsupported) as error:
        return TryoutAnswer(problem=str(error))
    except MemoryError:
        return TryoutAnswer(problem="it takes more memory than this server gives for that")
    except ZooError as error:
        LOG.warning("an image was not tried: %s", error)
    except Exception:
        LOG.exception("an image was not tried")
    return TryoutAnswer(
        problem="the network could not be run; the server's log tells why", fault=True
    )


def _answer(trial: Trial) -> TryoutAnswer:
    prediction = trial.prediction
    values = prediction.probabilities or prediction.logits
    seen = [_picture(trial.seen)]
    heats = [
        _picture(each.draw(), output=each.output, speaks=each.speaks) for each in trial.explained
    ]
    return TryoutAnswer(
        outputs=tuple(
            Output(name=name, value=value)
            for name, value in zip(prediction.classes, values, strict=True)
        ),
        probable=bool(prediction.probabilities),
        pictures=(*seen, *heats),
        unit=trial.explained[0].unit if trial.explained else "",
        unexplained=trial.unexplained,
        guesses=trial.guesses,
    )


def _picture(image: Image.Image, *, output: str = "", speaks: bool = True) -> Picture:
    file = io.BytesIO()
    image.save(file, "PNG")
    width, height = image.size
    return Picture(png=file.getvalue(), width=width, height=height, output=output, speaks=speaks)


def serve(
    tried: TryoutRunner, listening: socket.socket, path: Path, *, most: int, idle: float
) -> None:
    """Answer, one at a time, until nobody asks any more."""
    listening.settimeout(min(LOOK_SECONDS, idle))
    last = time.monotonic()
    while time.monotonic() - last < idle and path.exists():
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            continue
        with connection, suppress(OSError, msgspec.DecodeError):  # who has asked is gone
            signal.alarm(most)
            connection.setblocking(True)
            connection.sendall(TURN)
            with connection.makefile("rb") as file:
                _answer_one(tried, connection, file)
        signal.alarm(0)
        last = time.monotonic()


def _answer_one(tried: TryoutRunner, connection: socket.socket, file: BinaryIO) -> None:
    asked = msgspec.json.decode(file.readline(LINE_BYTES), type=TryoutRequest)
    data = file.read(min(asked.size, TRIED_IMAGE_BYTES))
    if len(data) == asked.size:
        connection.sendall(msgspec.json.encode(answered(tried, asked, data)) + b"\n")


def _end_with_who_started_it() -> None:
    """End once that process has: it may have been killed."""
    with suppress(OSError):
        os.read(sys.stdin.fileno(), 1)
    os._exit(0)


def main() -> None:
    """Answer who connects."""
    threading.Thread(target=_end_with_who_started_it, daemon=True).start()
    os.dup2(2, 1)
    os.nice(NICE)
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (TRIED_MEMORY, TRIED_MEMORY))
        with suppress(OSError):
            Path("/proc/self/oom_score_adj").write_text(KILLED_FIRST)
    root, path, number, most, idle = sys.argv[1:]
    from zoo.backbones.tried import TryoutRunner  # torch

    with socket.socket(fileno=int(number)) as listening:
        store = Workspace(Path(root)).store  # with it, what its user trusts
        serve(TryoutRunner(store), listening, Path(path), most=int(most), idle=float(idle))
        # Whoever connects from now on starts another one.
        Path(path).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
