"""What a zoo does, as functions of plain arguments: for processes that are killed or compete."""

from __future__ import annotations

import fcntl
import random
import resource
import signal
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from blake3 import blake3
from fakes.checkpoints import entry, manifest_of, tensors
from fakes.moves import append
from safetensors.numpy import save_file

# Imported on use: that would be most of the time in which there is something to kill.
import zoo.codec.choose
import zoo.registry  # noqa: F401
from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.errors import Conflict, ZooError
from zoo.reflog import append_deletion
from zoo.store import Store
from zoo.store import prune as pruning
from zoo.store.files import add_weights, restore_file
from zoo.transfer import sync
from zoo.workspace import Workspace

__all__ = ["delete", "import_file", "prune", "pull", "push", "save", "tag"]

AT_ONCE = timedelta(seconds=-2)  # moves are timed in whole seconds, and just now is not before now


def save(path: Path, seed: int, *, scale: float = 1.0) -> Path:
    """A weights file; those of one seed are fine-tunes of one another."""
    values = tensors(seed)
    conv = values["layer1.0.conv.weight"]
    save_file(
        {**values, "layer1.0.conv.weight": conv * conv.dtype.type(scale)}, path, {"format": "pt"}
    )
    return path


def import_file(root: str, path: str, name: str, parent: str = "") -> str:
    """Import weights under a name; the checkpoint's digest."""
    return str(import_into(Workspace(Path(root)), path, name, parent))


def import_into(workspace: Workspace, path: str, name: str, parent: str = "") -> Digest:
    """As the importer does it, without a network to build."""
    parents = (
        (Parent(manifest=Digest.parse(parent), relation="finetune", ref="team/base"),)
        if parent
        else ()
    )
    try:
        with workspace.store.upload():
            weights = add_weights(workspace.store, Path(path))
            manifest = manifest_of(weights, parents=parents)
            return workspace.commit(manifest, Reference.parse(name), "import")
    finally:
        workspace.close()


def push(root: str, name: str, to: str) -> int:
    """Push; the number of objects sent."""
    return sync.push(Workspace(Path(root)), name, to)[1].sent_objects


def pull(root: str, name: str, source: str) -> int:
    """Pull; the number of objects that came."""
    workspace = Workspace(Path(root))
    try:
        return sync.pull(workspace, name, source)[1].sent_objects
    finally:
        workspace.close()


def tag(root: str, digest: str, name: str) -> int:
    """Point a name at a checkpoint; the number of the move."""
    workspace = Workspace(Path(root))
    try:
        return workspace.move(Reference.parse(name), Digest.parse(digest), "tag").number
    finally:
        workspace.close()


def delete(root: str, name: str) -> int:
    """Delete a name; the number of the move."""
    workspace = Workspace(Path(root))
    try:
        return workspace.delete(Reference.parse(name)).number
    finally:
        workspace.close()


def prune(root: str) -> int:
    """Delete all that nothing needs, at once; the number of files."""
    store = Store.open(Path(root))
    shown = pruning.plan(store, keep=AT_ONCE, grace=AT_ONCE)
    return len(pruning.execute(store, shown, keep=AT_ONCE, grace=AT_ONCE).doomed)


def race(root: str, me: str, rounds: int) -> dict[str, Any]:
    """Move one ref ``rounds`` times, against everybody else; what was won, and what losing said."""
    fcntl.flock = fcntl.lockf = lambda *_: None  # as on some network file systems
    store, ref = Store.open(Path(root)), Reference("team", "race")
    won: list[int] = []
    lost: list[str] = []
    current = None  # all begin with number 1
    while len(won) < rounds:
        number = current.number + 1 if current else 1
        manifest = Digest("blake3", blake3(f"{me} {number}".encode()).hexdigest())
        move = entry(number, manifest, current.manifest if current else None)
        try:
            store.append_ref(ref, move)
        except Conflict as conflict:
            lost.append(conflict.current)
        else:
            won.append(number)
        current = store.read_ref(ref)
    return {"won": won, "lost": lost}


def contribute(root: str, to: str, me: int, share: int) -> list[int]:
    """Make a zoo, import what ``share`` processes import too, its child and an own one; push them.

    Names are of ``me``, so that nobody loses a race for one.
    """
    folder = Path(root)
    common = save(folder.with_suffix(".common"), me // share)
    child = save(folder.with_suffix(".child"), me // share, scale=1.0001)
    own = save(folder.with_suffix(".own"), 1000 + me)
    workspace = Workspace.create(folder)
    base = import_into(workspace, str(common), f"team/common{me}")
    import_into(workspace, str(child), f"team/child{me}", str(base))
    import_into(workspace, str(own), f"team/own{me}")
    return [
        push(root, name, to) for name in (f"team/common{me}", f"team/child{me}", f"team/own{me}")
    ]


def churn(root: str, to: str, me: int, seconds: float) -> dict[str, Any]:
    """Push and delete names of ``me`` in a remote, while somebody prunes it.

    Two processes do so with the same checkpoints, so that what one deletes the other may rely on.
    Returns what each name must be at the end.
    """
    draw = random.Random(me)
    workspace = Workspace.create(Path(root))
    base, tuned = f"team/base{me}", f"team/tuned{me}"
    path = save(Path(root).with_suffix(".safetensors"), me // 2)
    made = {base: import_into(workspace, str(path), base)}
    save(path, me // 2, scale=1.0001)
    made[tuned] = import_into(workspace, str(path), tuned, str(made[base]))
    kept: dict[str, str | None] = {}
    counts = {"pushes": 0, "sent": 0, "deletions": 0, "pushes refused": 0}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        name = draw.choice([base, tuned])
        try:
            if kept.get(name):
                append_deletion(Store.open(Path(to)), Reference.parse(name))
                kept[name] = None
                counts["deletions"] += 1
            else:
                counts["sent"] += push(root, name, to)
                kept[name] = str(made[name])
                counts["pushes"] += 1
        except Conflict:
            counts["pushes refused"] += 1
        time.sleep(draw.uniform(0.0, 0.01))
    return {"kept": kept, **counts}


def keep_pruning(root: str, me: int, seconds: float) -> dict[str, int]:
    """Prune again and again."""
    draw = random.Random(-me)
    pruned = deleted = refused = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            deleted += prune(root)
            pruned += 1
        except Conflict:
            refused += 1
        time.sleep(draw.uniform(0.001, 0.02))
    return {"prunes": pruned, "pruned files": deleted, "prunes refused": refused}


def limited(work: str, limit: int, *args: Any) -> str:
    """Do it with a limit to the size of files: each longer write fails as if the disk were full.

    What is raised comes back as text.
    """
    works: dict[str, Callable[..., Any]] = {
        "import": import_file, "push": push, "pull": pull, "tag": point, "restore": restore
    }  # fmt: skip
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        works[work](*args)
    except ZooError as error:
        return type(error).__name__
    return ""


def point(root: str, digest: str, name: str) -> None:
    """Point a name at a checkpoint, without an index."""
    append(Store.open(Path(root)), Reference.parse(name), Digest.parse(digest), "tag")


def restore(root: str, name: str, target: str) -> None:
    """Write the weights of a checkpoint out."""
    store = Store.open(Path(root))
    move = store.read_ref(Reference.parse(name))
    assert move is not None
    restore_file(store, store.manifest(move.manifest).weights[0], Path(target))
