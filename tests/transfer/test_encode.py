"""What travels encoded, against what, and that it comes back bit for bit."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, flip_byte, objects_in
from fakes.wired import Wired

from zoo.codec.header import Codec
from zoo.domain.digest import Digest
from zoo.domain.manifest import Backbone, Parent
from zoo.errors import Corrupt, MissingObject
from zoo.store import Store
from zoo.store.encoded import encoded_header
from zoo.store.retry import Retrying
from zoo.transfer.sync import pull, push
from zoo.workspace import Workspace

COUNT = 60_000
BASE, CHILD, GRANDCHILD = "team/base", "team/child", "team/grandchild"


def weights(seed: int, step: float = 0.0) -> dict[str, np.ndarray]:
    """A network of one large tensor, nudged by ``step``, and a vector."""
    base = np.random.default_rng(seed).standard_normal(COUNT).astype(np.float32) * 0.05
    noise = np.random.default_rng(99).standard_normal(COUNT).astype(np.float32)
    return {
        "blocks.0.conv.weight": (base + np.float32(step) * noise).reshape(100, -1),
        "blocks.0.conv.bias": base[:64] + np.float32(step),
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `mine` copies."""
    workspace = Workspace.create(tmp_path_factory.mktemp("encode") / "mine")
    base = add_checkpoint(workspace, BASE, weights(0))
    child = add_checkpoint(workspace, CHILD, weights(0, 1e-5), parents=(_parent(base),))
    add_checkpoint(workspace, GRANDCHILD, weights(0, 2e-5), parents=(_parent(child),))
    workspace.close()
    return workspace.root


@pytest.fixture
def mine(made: Path, tmp_path: Path) -> Workspace:
    """A base, its child, and the child's child."""
    return Workspace(shutil.copytree(made, tmp_path / "mine"))


@pytest.fixture
def shared(tmp_path: Path) -> str:
    return str(tmp_path / "shared")


def _parent(digest: Digest) -> Parent:
    return Parent(manifest=digest, relation="finetune", ref=BASE)


def large_object(workspace: Workspace, name: str) -> Digest:
    _, digest = workspace.names.resolve(name)
    tensors = workspace.store.manifest(digest).tensors
    return next(tensor.object for tensor in tensors if tensor.nbytes == 4 * COUNT)


def test_what_has_no_parent_goes_into_a_folder_as_it_is(mine: Workspace, shared: str) -> None:
    push(mine, BASE, shared)
    assert objects_in(Store.open(Path(shared)), "encoded") == set()


def test_over_a_network_what_has_no_parent_stands_alone(mine: Workspace, shared: str) -> None:
    remote = Store(Retrying(Store.create(Path(shared)).backend))
    wired = Wired(mine.root)
    wired.wire = remote
    push(wired, BASE, "anywhere")
    assert encoded_header(remote, large_object(mine, BASE)).codec == Codec.FULL


def test_what_has_no_parent_stands_alone(mine: Workspace, shared: str) -> None:
    _, sent = push(mine, BASE, shared, smallest=True)
    header = encoded_header(Store.open(Path(shared)), large_object(mine, BASE))
    assert (header.codec, header.base) == (Codec.FULL, None)
    assert sent.sent_bytes < 0.9 * sent.logical_bytes


@pytest.mark.parametrize(("smallest", "codec"), [(False, Codec.FAST), (True, Codec.MAX)])
def test_a_fine_tune_is_a_delta_against_its_parent(
    mine: Workspace, shared: str, smallest: bool, codec: Codec
) -> None:
    push(mine, BASE, shared)
    _, sent = push(mine, CHILD, shared, smallest=smallest)
    header = encoded_header(Store.open(Path(shared)), large_object(mine, CHILD))
    assert (header.codec, header.base) == (codec, large_object(mine, BASE))
    assert sent.sent_bytes < 0.7 * sent.logical_bytes


def test_a_delta_against_a_parent_whose_file_has_the_names_of_its_library(
    mine: Workspace, shared: str
) -> None:
    backbone = Backbone(plugin="transformers", architecture="vit-base-patch16-224")
    file, own = "vit.encoder.layer.0.output.dense.weight", "vit.layers.0.mlp.fc2.weight"
    base, child = (weights(0, step)["blocks.0.conv.weight"] for step in (0.0, 1e-5))
    parent = _parent(add_checkpoint(mine, "a/base", {file: base}, backbone=backbone))
    add_checkpoint(mine, "a/child", {own: child}, backbone=backbone, parents=(parent,))
    for name in ("a/base", "a/child"):
        push(mine, name, shared)
    header = encoded_header(Store.open(Path(shared)), large_object(mine, "a/child"))
    assert header.base == large_object(mine, "a/base")


def test_deltas_are_one_hop_deep(mine: Workspace, shared: str) -> None:
    for name in (BASE, CHILD, GRANDCHILD):
        push(mine, name, shared)
    header = encoded_header(Store.open(Path(shared)), large_object(mine, GRANDCHILD))
    assert header.base == large_object(mine, BASE)


def test_no_delta_against_what_the_remote_lacks(mine: Workspace, shared: str) -> None:
    push(mine, CHILD, shared, smallest=True)
    assert encoded_header(Store.open(Path(shared)), large_object(mine, CHILD)).base is None


@pytest.mark.parametrize("smallest", [False, True])
def test_it_comes_back_bit_for_bit(
    mine: Workspace, shared: str, tmp_path: Path, smallest: bool
) -> None:
    for name in (BASE, CHILD, GRANDCHILD):
        push(mine, name, shared, smallest=smallest)
    assert_sound(Store.open(Path(shared)))
    theirs = Workspace.create(tmp_path / "theirs")
    for name in (GRANDCHILD, CHILD):  # the base was never pulled by name
        _, got = pull(theirs, name, shared)
        assert got.sent_bytes < got.logical_bytes
    assert_sound(theirs.store)
    assert objects_in(theirs.store, "encoded") == set()


def test_a_second_push_sends_nothing(mine: Workspace, shared: str) -> None:
    push(mine, CHILD, shared)
    _, again = push(mine, CHILD, shared)
    assert (again.sent_bytes, again.sent_objects) == (0, 0)


def test_a_damaged_encoding_is_never_kept(mine: Workspace, shared: str, tmp_path: Path) -> None:
    push(mine, CHILD, shared, smallest=True)
    flip_byte(Store.open(Path(shared)).path("encoded", large_object(mine, CHILD)))
    theirs = Workspace.create(tmp_path / "theirs")
    with pytest.raises(Corrupt):
        pull(theirs, CHILD, shared)
    assert large_object(mine, CHILD).hex not in objects_in(theirs.store)
    assert theirs.store.history(mine.names.reference(CHILD)) == ()


def test_a_swapped_encoding_is_never_kept(mine: Workspace, shared: str, tmp_path: Path) -> None:
    """Sound in itself, but another object: the digest of what it decodes to tells."""
    push(mine, BASE, shared, smallest=True)
    push(mine, CHILD, shared)
    store = Store.open(Path(shared))
    one, other = (store.path("encoded", large_object(mine, name)) for name in (BASE, CHILD))
    other.unlink()
    other.write_bytes(one.read_bytes())
    theirs = Workspace.create(tmp_path / "theirs")
    with pytest.raises(Corrupt):
        pull(theirs, CHILD, shared)


def test_a_lost_base_is_reported(mine: Workspace, shared: str, tmp_path: Path) -> None:
    push(mine, BASE, shared, smallest=True)
    push(mine, CHILD, shared)
    Store.open(Path(shared)).path("encoded", large_object(mine, BASE)).unlink()
    with pytest.raises(MissingObject, match=large_object(mine, BASE).hex):
        pull(Workspace.create(tmp_path / "theirs"), CHILD, shared)


def test_a_base_that_is_here_is_not_fetched(mine: Workspace, shared: str, tmp_path: Path) -> None:
    push(mine, BASE, shared, smallest=True)
    push(mine, CHILD, shared)
    theirs = Workspace.create(tmp_path / "theirs")
    pull(theirs, BASE, shared)
    Store.open(Path(shared)).path("encoded", large_object(mine, BASE)).unlink()
    pull(theirs, CHILD, shared)
    assert_sound(theirs.store)


def test_a_damaged_object_is_never_encoded(mine: Workspace, shared: str) -> None:
    """Encoded, nobody would notice before a teammate's pull."""
    flip_byte(mine.store.path("objects", large_object(mine, BASE)))
    with pytest.raises(Corrupt, match=large_object(mine, BASE).hex):
        push(mine, BASE, shared)
    remote = Store.open(Path(shared))
    assert objects_in(remote, "manifests") == set()
    assert list(remote.refs()) == []


def test_a_pull_heals_what_is_damaged_here(mine: Workspace, shared: str) -> None:
    push(mine, BASE, shared)
    _, digest = mine.names.resolve(BASE)
    for path in (
        mine.store.path("objects", large_object(mine, BASE)),
        mine.store.path("manifests", digest),
    ):
        flip_byte(path)
        pull(mine, BASE, shared)
        assert_sound(mine.store)
