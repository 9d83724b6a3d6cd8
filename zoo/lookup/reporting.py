"""Reporting: what a server is told of a run on this machine, from what its folder holds.

What goes over is what the page of a run shows: steps and figures, the recipe and what its data is
called, and at the end results class by class. Folders, names of images, remarks, errors, the name
of the machine and its environment stay. Example images go over where the recipe publishes them.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from hashlib import blake2b
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

import msgspec
from blake3 import blake3

from zoo import plugins
from zoo.contracts import SupportsReports
from zoo.domain.heard import Heard
from zoo.domain.limits import LARGEST, METRICS_BYTES, REPORTED_LINE_BYTES
from zoo.domain.plain import Json
from zoo.domain.recipe import public_options
from zoo.domain.reference import Reference
from zoo.domain.words import shortened
from zoo.errors import Conflict, Corrupt, Forbidden, InvalidOption, NotAFile, Unavailable, ZooError
from zoo.logins import ServerUrl, token_for
from zoo.lookup.examples import EXAMPLES, SHEET
from zoo.lookup.run_files import PLAIN, SIZES
from zoo.lookup.runs import METRICS, Run
from zoo.store.regular import open_regular, read_regular

__all__ = ["LINES", "Sender", "check_place", "facts", "is_number", "report_run", "reported_line"]

LINES = ("step", "probe", "epoch", "blend", "test")
"""Kinds of lines of a journal that are told: the others name files, or are for who resumes it."""
LETTERS, TEXT, ITEMS, OPTIONS, METRICS_COUNT = 200, 2000, 64, 100, 1000
"""Of names, of sentences; figures of a line, items of an option, figures of a result."""
NAME = re.compile(r"[A-Za-z_][\w@.:/ -]{0,63}")
"""What a figure is called that is told."""
FINITE = 1e300
"""No figure that is told is greater: pages do sums with them."""
FIGURES = 50
"""Of a line, beside its kind, steps, name and what a probe has chosen."""
BATCH_BYTES = 256 * 1024
TRIES = 3
BEAT_SECONDS = 10.0
"""A run that goes on says so as often, whether or not anything is new."""
ALL_STEPS = 5
"""Of steps whose number has more digits each tenth is told, each hundredth, …."""
UNREADABLE = (OSError, Corrupt, NotAFile, msgspec.MsgspecError, RecursionError, UnicodeError)


def check_place(location: str, save: str = "") -> str:
    """The URL of a server that runs can be reported to. It is asked whether it takes one of the
    name ``save``, if there is one; a server that does not answer stops nothing, if there is a token
    for it.

    Raises:
        InvalidOption: It is none, or a token could be read on the way there.
        Unavailable: There is no token for it, and it does not answer.
        Forbidden: There is no token for it, or it is not one to report under that name.
    """
    url = ServerUrl.parse(location)
    listening = _listening(url)
    if token_for(url) is None:
        with suppress(Forbidden):
            listening.reports(str(url)).check(save or "any/name")
        raise Forbidden(str(url), "a token to append is needed", f"zoo login {url}")
    if save:
        try:
            listening.reports(str(url)).check(Reference.parse(save).path)
        except Forbidden:
            raise
        except ZooError:  # what it is, the report says: training needs no server
            pass
    return str(url)


def _listening(url: ServerUrl) -> SupportsReports:
    plugin: object = plugins.remote(url.scheme)
    assert isinstance(plugin, SupportsReports), plugin
    return plugin


def facts(run: Run) -> Json:
    """How a run is, as others may know it. Its ``key`` is the same whenever it is told of."""
    whole = json.dumps([run.id, run.started, run.save, run.parent, run.recipe], sort_keys=True)
    digests = {part: run.provenance.get(f"{part}_digest", "") for part in ("data", "split", "test")}
    result = run.result
    gained = result.get("gained")
    return {
        "run": run.id,
        "key": blake2b(whole.encode(), digest_size=16).hexdigest(),
        "save": run.save,
        "base": shortened(run.base, LETTERS),
        "parent": run.parent,
        "started": run.started,
        "device": shortened(run.device, ITEMS),
        "status": run.status,
        "recipe": {name: _short(value) for name, value in public_options(run.recipe).items()},
        "digests": digests,
        "result": {
            "manifest": result["manifest"],
            "metrics": dict(_figures(run.metrics, METRICS_COUNT)),
            "warning": shortened(str(result.get("warning", "")), TEXT),
            "gained": shortened(str(gained.get("text", "")), TEXT) if gained else "",
            "seconds": result.get("seconds", 0.0),
        }
        if run.status == "done"
        else None,
    }


def reported_line(line: Mapping[str, object]) -> bytes:
    """A line of a journal as it is told; empty: it is not."""
    kind, steps, name = line.get("kind"), line.get("steps"), line.get("name")
    if kind not in LINES or type(steps) is not int or not 0 <= steps <= LARGEST:
        return b""
    entry: Json = {"kind": kind, "steps": steps}
    if isinstance(name, str):
        entry["name"] = shortened("".join(filter(str.isprintable, name)), LETTERS)
    entry = {**dict(_figures(line, FIGURES)), **entry}
    if kind == "probe":
        chosen, near = line.get("c"), line.get("knn")
        entry["c"] = [c for c in chosen if is_number(c)][:ITEMS] if isinstance(chosen, list) else []
        if isinstance(near, dict) and all(map(is_number, near.values())):
            entry["knn"] = dict(list(near.items())[:ITEMS])
    text = json.dumps(entry).encode() + b"\n"
    return text if len(text) <= REPORTED_LINE_BYTES else b""


def is_number(value: object) -> bool:
    """Whether it is a number that is told: finite, and not so large that sums of it are not."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and -FINITE <= value <= FINITE  # type: ignore[operator]


def _figures(named: Mapping[str, object], most: int) -> Iterator[tuple[str, object]]:
    fine = ((k, v) for k, v in named.items() if NAME.fullmatch(k) and is_number(v))
    return islice(fine, most)


def _short(value: object) -> object:
    if isinstance(value, list | tuple):
        return [_short(each) for each in value[:OPTIONS]]
    return shortened(value, LETTERS) if isinstance(value, str) else value


def report_run(run: Run, location: str = "") -> str:
    """Tell a server of a run, or of what it has not been told yet; the page of it there.

    Raises:
        InvalidOption, Forbidden: As `check_place`; or no server was named.
        Unavailable, …: As `zoo.contracts.Reports`.
    """
    if not (location or run.told_to):
        raise InvalidOption(f"the run {run.id} was reported to no server: --to URL names one")
    url = check_place(location or run.told_to)
    with closing(Sender(run.folder, url)) as sender:
        for tried in range(1, TRIES + 1):
            try:
                sender.send()
                break
            except (Unavailable, Conflict) as error:  # it restarts; or another reports it, too
                if tried == TRIES:
                    raise
                time.sleep(tried if isinstance(error, Unavailable) else 0)
    assert sender.heard
    return f"{url}/-/runs/{sender.heard.id}"


class _Journal:
    """The lines of a run's journal that are told, as they come."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._steps = file, 0

    def new(self) -> Iterator[bytes]:
        """Those that were written since; one that is not whole yet is left."""
        begin = self._file.tell()
        data = self._file.read(METRICS_BYTES)
        whole = data.rfind(b"\n") + 1
        self._file.seek(begin + whole)
        for text in data[:whole].splitlines():
            try:
                line = json.loads(text)
            except (ValueError, RecursionError):
                continue
            if isinstance(line, dict) and (entry := reported_line(line)) and self._is_told(line):
                yield entry

    def _is_told(self, line: Json) -> bool:
        if line["kind"] != "step":
            return True
        self._steps += 1
        every: int = 10 ** max(0, len(str(self._steps)) - ALL_STEPS)
        return self._steps % every == 0


class Sender:
    """Tells a server of a run, from where that is. What failed is done again by `send`: nothing is
    there twice, and nothing is left out.

    Attributes:
        heard: What the server has of it; None before it has answered, and after a failure.
        answered: When it did last, by `time.monotonic`.
    """

    def __init__(self, folder: Path, location: str) -> None:
        url = ServerUrl.parse(location)
        self._folder, self._reports = folder, _listening(url).reports(str(url))
        self.heard: Heard | None = None
        self._file: BinaryIO = BytesIO()
        self._journal = _Journal(self._file)
        self._inode, self._generation, self._at, self.answered = 0, 0, 0, 0.0
        self._waiting: list[bytes] = []

    def close(self) -> None:
        """Let go of the journal."""
        self._file.close()

    def send(self) -> bool:
        """Tell what is new, or that it is alive; whether the run has ended, and all is told.

        Raises:
            Unavailable, Forbidden, …: As `zoo.contracts.Reports`.
            Conflict: The server has another course of the run, which is done.
            Invalid, OSError: The run cannot be read.
        """
        run = Run.read(self._folder)
        try:
            return self._send(run)
        except BaseException:
            self.heard = None  # it may have come, or not
            raise

    def _send(self, run: Run) -> bool:
        summary = facts(run)
        if self.heard is None or self._inode != self._inode_now():
            self.heard = self._begin({**summary, "status": "running", "result": None})
        if self.heard.status == "done":
            if self._waiting or self._generation != self.heard.generation:
                raise Conflict(f"the run {self.heard.id} is there, and done, in another course")
            return True
        self._send_lines(self.heard.id)
        if run.status == "running":
            return False
        if run.status == "done":
            for name, data in _results(run):
                self._reports.file(self.heard.id, name, data)
                self.answered = time.monotonic()
        self.heard = self._reports.tell(summary)
        return True

    def _inode_now(self) -> int:
        """A journal that is written anew, by a run that is resumed, is another file."""
        try:
            return (self._folder / METRICS).stat().st_ino
        except FileNotFoundError:
            return 0

    def _begin(self, summary: Json) -> Heard:
        """Learn what the server has, and find where that is in the journal: else all is told anew,
        as of a run that was resumed, which has done some steps again.
        """
        self._file.close()
        self._inode = self._inode_now()
        path = self._folder / METRICS
        self._file = open_regular(path, path) if self._inode else BytesIO()
        self._journal = _Journal(self._file)
        lines, heard, hasher = [*self._journal.new()], self._reports.tell(summary), blake3()
        self._at, count = 0, 0
        while self._at < heard.bytes and count < len(lines):
            hasher.update(lines[count])
            self._at += len(lines[count])
            count += 1
        self._waiting, self._generation = lines[count:], heard.generation
        if (self._at, hasher.hexdigest()) != (heard.bytes, heard.digest):
            self._waiting, self._generation, self._at = lines, heard.generation + 1, 0
        self.answered = time.monotonic()
        return heard

    def _send_lines(self, run: str) -> None:
        self._waiting += self._journal.new()
        assert self.heard
        anew = self._generation != self.heard.generation
        while self._waiting or anew or time.monotonic() - self.answered > BEAT_SECONDS:
            data, count = b"", 0
            while count < len(self._waiting) and len(data) < BATCH_BYTES:
                data += self._waiting[count]
                count += 1
            self.heard = self._reports.lines(run, self._generation, self._at, data)
            del self._waiting[:count]
            self._at, self.answered, anew = self._at + len(data), time.monotonic(), False


def _results(run: Run) -> Iterator[tuple[str, bytes]]:
    """The results of a run that is done: those that are there, sound, and not too large."""
    publishes = run.recipe.get("publish_examples") is True
    for name, limit in SIZES.items():
        if name in (EXAMPLES, SHEET) and not publishes:
            continue
        with suppress(*UNREADABLE):
            data = read_regular(run.folder / name, limit)
            if name in PLAIN:  # anew: with the fields of its kind, and no others
                data = msgspec.json.encode(msgspec.json.decode(data, type=PLAIN[name]))
            yield name, data
