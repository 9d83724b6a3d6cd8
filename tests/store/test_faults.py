"""A full disk and a killed process: what was kept is whole, and the work can be done again."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from fakes.checkpoints import assert_sound, fill, objects_in, raw_file, tensors
from safetensors.numpy import load_file

from zoo.domain.reference import Reference
from zoo.store import Store
from zoo.store.files import restore_file

TESTS = Path(__file__).parent.parent
LOOP = Reference("team", "loop")
KILLS = 15
LAST = 400  # more than there is time for

# RLIMIT_FSIZE makes every longer write fail with EFBIG, as a full disk does with ENOSPC.
LIMITED = """
import resource, sys
from pathlib import Path
from fakes.checkpoints import entry
from blake3 import blake3
from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.errors import DiskFull
from zoo.store import Store
from zoo.store.files import add_weights, restore_file

store, path = Store.open(Path(sys.argv[1])), Path(sys.argv[2])
data = path.read_bytes()
digest = Digest("blake3", blake3(data).hexdigest())
whole = add_weights(store, path) if sys.argv[3] == "restore" else None
limit = 10 if sys.argv[3] == "append_ref" else 100_000
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
work = {
    "write": lambda: store.write("objects", digest, [data[:50_000], data[50_000:]]),
    "add_weights": lambda: add_weights(store, path),
    "append_ref": lambda: store.append_ref(Reference("team", "x"), entry(1, digest)),
    "restore": lambda: restore_file(store, whole, path),
}[sys.argv[3]]
try:
    work()
except DiskFull as error:
    print("DiskFull", error.path)
"""

# One process that imports once, and a child of it for every kill.
KILLED = """
import os, sys
from pathlib import Path
from fakes.checkpoints import fill

root, last = Path(sys.argv[1]), int(sys.argv[2])
for line in sys.stdin:
    first = int(line)
    child = os.fork()
    if not child:
        fill(root, first, last)
        os._exit(0)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.create(tmp_path / "zoo")


@pytest.fixture
def env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(TESTS)}


def weights_file(folder: Path) -> Path:
    path = folder / "model.safetensors"
    header = {
        "a.0.large": {"dtype": "U8", "shape": [200_000], "data_offsets": [0, 200_000]},
        "a.0.small": {"dtype": "U8", "shape": [8], "data_offsets": [200_000, 200_008]},
    }
    path.write_bytes(raw_file(header, random.Random(0).randbytes(200_008)))
    return path


def run_limited(store: Store, path: Path, work: str, env: dict[str, str]) -> str:
    command = [sys.executable, "-c", LIMITED, str(store.root), str(path), work]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestDiskFull:
    def test_a_write_keeps_nothing(self, store: Store, tmp_path: Path, env: dict[str, str]) -> None:
        said = run_limited(store, weights_file(tmp_path), "write", env)
        assert said == f"DiskFull {store.staging}\n"
        assert list(store.staging.iterdir()) == []
        assert objects_in(store) == set()

    def test_a_cut_short_import_keeps_whole_objects_only(
        self, store: Store, tmp_path: Path, env: dict[str, str]
    ) -> None:
        said = run_limited(store, weights_file(tmp_path), "add_weights", env)
        assert said.startswith("DiskFull")
        assert list(store.staging.iterdir()) == []
        assert_sound(store)
        assert all(path.stat().st_size < 100_000 for path in store.root.rglob("*/??/*"))

    def test_a_ref_stays_where_it_was(
        self, store: Store, tmp_path: Path, env: dict[str, str]
    ) -> None:
        said = run_limited(store, weights_file(tmp_path), "append_ref", env)
        assert said.startswith("DiskFull")
        assert list(store.refs()) == []
        assert list(store.staging.iterdir()) == []

    def test_a_file_of_the_user_stays_as_it_was(
        self, store: Store, tmp_path: Path, env: dict[str, str]
    ) -> None:
        path = weights_file(tmp_path)
        before = path.read_bytes()
        assert run_limited(store, path, "restore", env).startswith("DiskFull")
        assert path.read_bytes() == before
        assert sorted(item.name for item in tmp_path.iterdir()) == [path.name, "zoo"]


def test_a_killed_import_leaves_the_store_sound(store: Store, env: dict[str, str]) -> None:
    draw = random.Random(1)
    command = [sys.executable, "-c", KILLED, str(store.root), str(LAST)]
    with subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        statuses = []
        for _ in range(KILLS):
            parent.stdin.write(f"{len(store.history(LOOP)) + 1}\n")
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            time.sleep(draw.uniform(0.001, 0.04))
            os.kill(child, signal.SIGKILL)
            statuses.append(int(parent.stdout.readline()))
            assert_sound(store)
        parent.stdin.close()
    assert -signal.SIGKILL in statuses
    assert_rerun_completes(store)


def assert_rerun_completes(store: Store) -> None:
    done = len(store.history(LOOP))
    assert done > 0
    fill(store.root, done + 1, done + 2)
    assert_sound(store)
    newest = store.read_ref(LOOP)
    assert newest is not None
    assert newest.number == done + 2
    target = store.root.parent / "out.safetensors"
    restore_file(store, store.manifest(newest.manifest).weights[0], target)
    restored = load_file(target)
    for name, value in tensors(done + 2).items():
        assert restored[name].tobytes() == value.tobytes()
