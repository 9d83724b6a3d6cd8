"""Many processes at one registry."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import warm
from fakes.sampled import sampled

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.registry import Query, Registry

# One process imports, and its children begin at once: so they meet.
PROGRAM = """
import multiprocessing, os, sys
from pathlib import Path
from zoo.domain.catalog import CatalogEntry
from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.registry import Query, Registry

where, writers, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
manifest = Manifest.from_bytes(Path(sys.argv[4]).read_bytes())
fork = multiprocessing.get_context("fork")
gate = fork.Barrier(writers)
os.setsid()
print(os.getpid(), flush=True)

def write(me):
    gate.wait()
    for turn in range(rounds):
        with Registry.open(where if "://" in where else Path(where)) as registry:
            number = me * rounds + turn + 1
            digest = Digest("blake3", f"{number:064x}")
            registry.add_checkpoint(digest, manifest)
            entry = RefEntry(number=number, manifest=digest, previous=None, at="now", by="me",
                             why="test")
            registry.set_ref(Reference("team", f"of_{number}"), entry)
            registry.set_ref(Reference("team", "shared"), entry)
            mine = [CatalogEntry(name=f"s{me}/m{n}.x", backbone="b", architecture="a")
                    for n in range(min(turn + 1, 3))]
            registry.replace_entries(f"s{me}", str(turn), mine, "now")
            assert registry.count(Query.parse(f"name:team/of_{number}")) == 1
            print(number, flush=True)

children = [fork.Process(target=write, args=(me,)) for me in range(writers)]
for child in children:
    child.start()
for child in children:
    child.join()
sys.exit(max(abs(child.exitcode) for child in children))
"""
Start = Callable[[Path | str, int, int], "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path, make_manifest: Callable[..., Manifest]) -> Start:
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(make_manifest().to_bytes())

    def start(where: Path | str, writers: int, rounds: int) -> subprocess.Popen[str]:
        return warm.popen(
            "-c", PROGRAM, where, writers, rounds, manifest,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    return start


@pytest.mark.parametrize("count", sampled([6, 12, 32], [6]))
def test_many_writers_lose_nothing_and_see_no_lock(
    fresh: Path | str, start: Start, count: int
) -> None:
    # There is no table yet: they also race to create them.
    writers = start(fresh, count, 1)
    _, errors = writers.communicate(timeout=240)
    assert (writers.returncode, errors) == (0, "")
    with Registry.open(fresh) as registry:
        assert len(registry.refs()) == count + 1
        assert registry.count(Query(pulled=True)) == count + 1
        assert registry.count(Query(pulled=False)) == count
        shared = [number for ref, _, number in registry.refs() if ref.name == "shared"]
        assert shared == [count]


def test_killed_writers_leave_it_sound(
    where: Path | str, start: Start, make_manifest: Callable[..., Manifest]
) -> None:
    writers = start(where, 4, 100_000)
    assert writers.stdout is not None
    group = int(writers.stdout.readline())
    told = [int(writers.stdout.readline()) for _ in range(8)]
    os.killpg(group, signal.SIGKILL)
    rest, _ = writers.communicate(timeout=60)
    told += map(int, rest.split())
    begun = time.monotonic()
    with Registry.open(where) as registry:
        digest = Digest("blake3", "f" * 64)
        registry.add_checkpoint(digest, make_manifest())
        last = RefEntry(number=1, manifest=digest, previous=None, at="now", by="me", why="test")
        registry.set_ref(Reference("team", "last"), last)
        assert time.monotonic() - begun < 20, "the lock went with its holder"
        refs = {ref.name: digest for ref, digest, _ in registry.refs()}
        assert refs.keys() >= {f"of_{number}" for number in told}
        found = {
            each.name: each.manifest
            for each in registry.search(Query.parse("pulled:yes", limit=10**6))
        }
        assert found == {f"team/{name}": digest for name, digest in refs.items()}
        assert registry.unknown(refs.values()) == set()
