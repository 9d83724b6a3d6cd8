"""Scrubs: damage is found, told and kept; a pass goes on where it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest
from fakes.served import Served, serving

from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.domain.limits import SCRUB_BYTES
from zoo.serve.watch import check
from zoo.serve.watch import scrub as module
from zoo.serve.watch.scrub import FILE, Scrub, ScrubState, read_scrubbed
from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, make_zoo: Callable[[Path], None]) -> Iterator[Workspace]:
    make_zoo(tmp_path / "zoo")
    with closing(Workspace(tmp_path / "zoo")) as workspace:
        yield workspace


def damage(workspace: Workspace) -> str:
    """Flip a bit of the largest object; its name."""
    path = max((workspace.root / "objects").glob("*/*"), key=lambda each: each.stat().st_size)
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.chmod(0o600)
    path.write_bytes(data)
    return f"object blake3:{path.name}"


def scrub(workspace: Workspace, told: list[str], *, busy: bool = False) -> Scrub:
    return Scrub(workspace.store, lambda: busy, told.append, Event())


def test_damage_is_found_and_told(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    told: list[str] = []
    scrub(workspace, told).look()
    (sound, found) = read_scrubbed(workspace.store).last, told
    assert sound
    assert (sound.damaged, found) == ([], [])
    files = [
        each for kind in ("objects", "manifests") for each in (workspace.root / kind).glob("*/*")
    ]
    assert sound.files == len(files)
    assert sound.bytes == sum(each.stat().st_size for each in files)
    scrub(workspace, told).look()
    assert read_scrubbed(workspace.store).last == sound, "it was scrubbed just now"
    workspace.store.disk.remove(FILE)
    name = damage(workspace)
    scrub(workspace, told).look()
    assert told == [name]
    assert f"DAMAGED: {name}" in caplog.text
    with closing(Accounts.of(workspace)) as accounts:
        problems = check.problems(workspace, accounts, read_scrubbed(workspace.store))
        assert any(name in problem for problem in problems)


def test_a_pass_goes_on_where_it_was(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    first, told = scrub(workspace, []), list[str]()
    read: list[str] = []
    is_sound = first._is_sound

    def some(kind: Kind, digest: Digest, now: module.Pass) -> bool:
        if read:
            noted = read_scrubbed(workspace.store).now
            assert noted
            assert noted.files == len(read), "it is written down as it goes on"
        if len(read) == 3:
            raise module._Ended
        read.append(digest.hex)
        return is_sound(kind, digest, now)

    monkeypatch.setattr(module, "NOTE_SECONDS", 0.0)
    monkeypatch.setattr(first, "_is_sound", some)
    with pytest.raises(module._Ended):
        first.look()
    known = read_scrubbed(workspace.store)
    assert known.now
    assert (known.now.files, known.last) == (3, None)
    other = scrub(workspace, told)
    other.look()
    assert read_scrubbed(workspace.store) == known, "another process is at it"
    monkeypatch.setattr(module, "OTHERS", timedelta(0))
    other.look()
    last = read_scrubbed(workspace.store).last
    everything = sum(1 for kind in ("objects", "manifests")
                     for _ in (workspace.root / kind).glob("*/*"))  # fmt: skip
    assert last
    assert (last.files, last.began) == (everything, known.now.began)


def test_it_is_slow_and_waits_for_requests(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    waited: list[float] = []
    made = scrub(workspace, [])
    monkeypatch.setattr(made, "_wait", waited.append)
    made.look()
    last = read_scrubbed(workspace.store).last
    assert last
    assert sum(waited) == pytest.approx(last.bytes / SCRUB_BYTES)
    monkeypatch.setattr(module, "BUSY_SECONDS", 0.02)
    busy = scrub(workspace, [], busy=True)
    began = time.monotonic()
    busy._pace(0)
    assert time.monotonic() - began >= 0.02
    busy._ended.set()
    with pytest.raises(module._Ended):
        busy._pace(0)


def test_a_damaged_note_and_an_end_are_no_failure(workspace: Workspace) -> None:
    for text in (b"{", b'{"last": {"began": "yesterday"}}', b'{"written": "2026-01-01T00:00:00"}'):
        workspace.store.disk.put(FILE, text)
        assert read_scrubbed(workspace.store) == ScrubState()
    made = scrub(workspace, [])
    made._ended.set()
    made.work()


def test_a_server_scrubs(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(module, "START_SECONDS", 0.0)
    name = damage(workspace)
    with serving(tmp_path / "zoo") as served:
        while not read_scrubbed(workspace.store).last:
            time.sleep(0.01)
        (row,) = [each for each in served.accounts.audit.newest(limit=9)
                  if each.action == "damage found"]  # fmt: skip
        assert (row.name, row.who != "") == (name, True)
        text = served.ask("/metrics").body.decode()
        assert "\nzoo_scrub_damaged 1.0\n" in text
        assert "\nzoo_store_files " in text
        assert served.ask("/readyz").json["store"]


def test_what_is_wrong_with_the_setup(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(Accounts.of(workspace)) as accounts:
        accounts.add("ann")

        def found() -> str:
            return "\n".join(check.problems(workspace, accounts, ScrubState()))

        assert found() == ""
        (workspace.root / "accounts.db").chmod(0o644)
        workspace.root.chmod(0o777)
        assert "others on this machine may read accounts.db" in found()
        (workspace.root / "accounts.db").chmod(0o620)
        assert "others on this machine may change accounts.db" in found()
        assert "anybody on this machine may replace" in found()
        monkeypatch.setattr(check, "SPARE_BYTES", 1 << 62)
        monkeypatch.setattr("time.time", lambda: 0.0)
        assert "bytes are free" in found()
        assert "the clock of the disk is" in found()
        old = module.Pass(
            began=datetime(2020, 1, 1, tzinfo=UTC), ended=datetime(2020, 1, 2, tzinfo=UTC)
        )
        assert "no scrub has ended since 2020" in str(
            check.problems(workspace, accounts, ScrubState(last=old))
        )


def test_a_clock_that_went_back_shows(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    served.accounts.audit.note("pruned", "")
    monkeypatch.setattr(check, "SKEW_SECONDS", -1e6)
    wrong = check.problems(served.server.hub.workspace, served.accounts, ScrubState())
    assert any("the clock went back" in each for each in wrong)
