"""Many processes move one ref at once; exclusive creation alone keeps them apart."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.store import Store

PROCESSES = 16
ROUNDS = 3
MOVER = """
import fcntl, json, sys
from pathlib import Path

fcntl.flock = fcntl.lockf = lambda *_: None  # as on some network file systems

from blake3 import blake3
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.reference import Reference
from zoo.errors import Conflict
from zoo.store import Store

store, me, rounds = Store.open(Path(sys.argv[1])), sys.argv[2], int(sys.argv[3])
ref = Reference("team", "race")
won, lost = [], 0
print("ready", flush=True)
sys.stdin.readline()
current = None  # all begin with number 1
while len(won) < rounds:
    number = current.number + 1 if current else 1
    manifest = Digest("blake3", blake3(f"{me} {number}".encode()).hexdigest())
    entry = RefEntry(number=number, manifest=manifest, at="now", by=me, why="race",
                     previous=current.manifest if current else None)
    try:
        store.append_ref(ref, entry)
    except Conflict:
        lost += 1
    else:
        won.append(number)
    current = store.read_ref(ref)
print(json.dumps({"me": me, "won": won, "lost": lost}))
"""


@pytest.fixture(scope="module")
def race(tmp_path_factory: pytest.TempPathFactory) -> tuple[Store, list[dict[str, Any]]]:
    """The store afterwards, and what each process says of itself."""
    store = Store.create(tmp_path_factory.mktemp("race"))
    movers = [
        subprocess.Popen(
            [sys.executable, "-c", MOVER, str(store.root), f"p{number}", str(ROUNDS)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(PROCESSES)
    ]
    for mover in movers:
        assert mover.stdout is not None
        assert mover.stdout.readline() == "ready\n"
    for mover in movers:
        assert mover.stdin is not None
        mover.stdin.write("go\n")
        mover.stdin.flush()
    said = [json.loads(mover.communicate(timeout=50)[0]) for mover in movers]
    assert [mover.returncode for mover in movers] == [0] * PROCESSES
    return store, said


@pytest.fixture(scope="module")
def history(race: tuple[Store, list[dict[str, Any]]]) -> tuple[RefEntry, ...]:
    return race[0].history(Reference("team", "race"))


def test_the_history_is_linear(history: tuple[RefEntry, ...]) -> None:
    assert [move.number for move in history] == list(range(1, PROCESSES * ROUNDS + 1))
    assert [move.previous for move in history] == [None, *(m.manifest for m in history[:-1])]


def test_every_number_has_one_winner(
    race: tuple[Store, list[dict[str, Any]]], history: tuple[RefEntry, ...]
) -> None:
    winners = {number: said["me"] for said in race[1] for number in said["won"]}
    assert winners == {move.number: move.by for move in history}
    assert sum(len(said["won"]) for said in race[1]) == len(history)


def test_every_loser_is_told(race: tuple[Store, list[dict[str, Any]]]) -> None:
    # All tried number 1, which only one can have; any other outcome would have ended the process.
    assert sum(said["lost"] > 0 or 1 in said["won"] for said in race[1]) == PROCESSES
    assert sum(said["lost"] for said in race[1]) >= PROCESSES - 1


def test_nothing_is_left_behind(race: tuple[Store, list[dict[str, Any]]]) -> None:
    assert list(race[0].staging.iterdir()) == []
