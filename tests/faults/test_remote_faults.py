"""Push and pull on a bad line: they complete or say why not, and both sides stay sound."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from fakes import work
from fakes.checkpoints import add_checkpoint, assert_sound, tensors
from fakes.faulty import FAULTS, SILENT_FAULTS, FaultyBackend
from fakes.sampled import sampled
from fakes.wired import Wired

from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import Corrupt, Unavailable, Unsupported
from zoo.store import Store
from zoo.store.retry import Retrying
from zoo.store.verify import verify
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

BASE, TUNED = "team/base", "team/tuned"
LOUD_FAULTS = tuple(fault for fault in FAULTS if fault not in SILENT_FAULTS)
TRIES = 60


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The two zoos that a `Line` copies: one with a base and a fine-tune, one with nothing."""
    folder = tmp_path_factory.mktemp("made")
    Workspace.create(folder / "theirs").close()
    mine = Workspace.create(folder / "mine")
    values = tensors()
    conv = "layer1.0.conv.weight"
    base = add_checkpoint(mine, BASE, values)
    parent = Parent(manifest=base, relation="finetune", ref=BASE)
    tuned = {**values, conv: values[conv] * values[conv].dtype.type(1.0001)}
    add_checkpoint(mine, TUNED, tuned, parents=(parent,))
    mine.close()
    return folder


class Line:
    """Two zoos and a remote between them."""

    def __init__(self, folder: Path, made: Path) -> None:
        self.mine = Wired(shutil.copytree(made / "mine", folder / "mine"))
        self.theirs = Wired(shutil.copytree(made / "theirs", folder / "theirs"))
        self.shared = Store.create(folder / "shared")
        self.met: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()

    def close(self) -> None:
        self.mine.close()
        self.theirs.close()

    def assert_sound(self) -> None:
        for store in (self.mine.store, self.theirs.store, self.shared):
            assert verify(store).damages == ()
            assert [path for path in store.staging.rglob("*") if path.is_file()] == []

    def attempt(
        self, zoo: Wired, what: str, name: str, wire: FaultyBackend, *, retry: bool
    ) -> bool:
        """One push or pull; whether it completed."""
        zoo.wire = Store(Retrying(wire, pause=lambda _: None) if retry else wire)
        try:
            (push if what == "push" else pull)(zoo, name, "anywhere")
        except (Corrupt, Unavailable, Unsupported) as error:
            self.errors[type(error).__name__] += 1
            return False
        finally:
            self.met += wire.met
            wire.met.clear()
        return True

    def assert_same(self) -> None:
        for name in (BASE, TUNED):
            ref = Reference.parse(name)
            moves = [
                store.history(ref) for store in (self.mine.store, self.shared, self.theirs.store)
            ]
            assert [len(entries) for entries in moves] == [1, 1, 1]
            assert len({entries[0].manifest for entries in moves}) == 1
            assert self.theirs.registry.ref(ref) == moves[0][0].manifest
        for store in (self.mine.store, self.shared, self.theirs.store):
            assert_sound(store)


def endure(folder: Path, made: Path, seed: int) -> Counter[str]:
    """Push and pull again and again until it is done; what was met."""
    line = Line(folder, made)
    wire = FaultyBackend(
        line.shared.backend, seed, share=random.Random(seed).choice([0.03, 0.1, 0.25])
    )
    steps = [(line.mine, "push", BASE), (line.mine, "push", TUNED),
             (line.theirs, "pull", TUNED), (line.theirs, "pull", BASE)]  # fmt: skip
    for zoo, what, name in steps:
        for _ in range(TRIES):
            done = line.attempt(zoo, what, name, wire, retry=False)
            line.assert_sound()
            if done:
                break
        else:
            wire.share = 0
            assert line.attempt(zoo, what, name, wire, retry=False)
    line.assert_same()
    line.close()
    return line.met + line.errors


@pytest.mark.parametrize("seed", sampled(range(12), range(2)))
def test_both_sides_stay_sound_and_a_rerun_completes(tmp_path: Path, made: Path, seed: int) -> None:
    endure(tmp_path, made, seed)


@pytest.mark.long
@pytest.mark.parametrize(
    "seeds", [range(100, 160), pytest.param(range(160, 400), marks=pytest.mark.whole)]
)
def test_for_long(tmp_path: Path, made: Path, told: Callable[[str], None], seeds: range) -> None:
    met: Counter[str] = Counter()
    for seed in seeds:
        met += endure(tmp_path / str(seed), made, seed)
    told(f"faults and errors of a remote | {dict(met)}")
    assert all(met[fault] > 20 for fault in FAULTS)
    assert met["Unavailable"] > 20
    assert met["Corrupt"] > 20


@pytest.mark.parametrize("seed", sampled(range(8), range(2)))
def test_with_retries_nobody_notices(tmp_path: Path, made: Path, seed: int) -> None:
    """What a retry can mend, it does; no name moves twice."""
    line = Line(tmp_path, made)
    wire = FaultyBackend(line.shared.backend, seed, share=0.2, faults=LOUD_FAULTS)
    assert line.attempt(line.mine, "push", BASE, wire, retry=True)
    assert line.attempt(line.mine, "push", TUNED, wire, retry=True)
    assert line.attempt(line.theirs, "pull", TUNED, wire, retry=True)
    assert line.attempt(line.theirs, "pull", BASE, wire, retry=True)
    assert line.met
    line.assert_sound()
    line.assert_same()
    line.close()


@pytest.mark.parametrize("fault", SILENT_FAULTS)
def test_a_line_that_spoils_all_is_given_up(tmp_path: Path, made: Path, fault: str) -> None:
    line = Line(tmp_path, made)
    wire = FaultyBackend(line.shared.backend, 1, share=1.0, faults=(fault,))
    assert not line.attempt(line.mine, "push", BASE, wire, retry=True)
    assert line.errors == {"Corrupt": 1}
    assert line.met[fault] < 60
    assert list(line.shared.refs()) == []
    line.assert_sound()
    work.push(str(line.mine.root), BASE, str(line.shared.root))
    assert not line.attempt(line.theirs, "pull", BASE, wire, retry=True)
    assert list(line.theirs.store.refs()) == []
    line.assert_sound()
    line.close()
