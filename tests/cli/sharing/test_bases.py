"""What a push codes a checkpoint against, where its parent is not at the remote."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes.checkpoints import add_checkpoint, assert_sound, objects_in, tensors
from fakes.prepared import TUNED, Run

import zoo
from zoo.domain.digest import Digest
from zoo.domain.manifest import Parent
from zoo.store import Store
from zoo.store.encoded import encoded_header

LARGE = "layer1.0.conv.weight"


@pytest.fixture
def line(toy: Run) -> Run:
    """In the zoo ``toy``: ``team/later``, a fine-tune of ``team/digits``, which is one of
    ``team/base``.
    """
    values = tensors()
    values[LARGE] = values[LARGE] * values[LARGE].dtype.type(1.0003)
    with zoo.open() as opened:
        workspace = opened.workspace
        digest = workspace.names.resolve(TUNED)[1]
        parent = Parent(manifest=digest, relation="found", ref=TUNED)
        above = {digest: workspace.store.manifest(digest).parents}
        add_checkpoint(workspace, "team/later", values, parents=(parent,), ancestors=above)
    return toy


def test_a_grandparent_is_the_base_where_the_parent_is_not_there(line: Run, tmp_path: Path) -> None:
    line("push", "team/base", "--to", "../lab").done()
    sent = line("push", "team/later", "--to", "../lab", "--json").json
    assert sent["sent_bytes"] < 0.6 * sent["logical_bytes"]
    lab = Store.open(tmp_path / "lab")
    assert len(objects_in(lab, "encoded")) == 1
    assert len(objects_in(lab, "encoded-manifests")) == 1
    line("init", "--home", tmp_path / "theirs").done()
    line("pull", "team/later", "--from", tmp_path / "lab", "--home", tmp_path / "theirs").done()
    assert_sound(Store.open(tmp_path / "theirs"))
    assert line("verify", "../lab").code == 0


def test_a_grandparent_that_is_damaged_there_is_no_base(line: Run, tmp_path: Path) -> None:
    line("push", "team/base", "--to", "../lab").done()
    lab = Store.open(tmp_path / "lab")
    with zoo.open() as opened:
        base = opened.workspace.store.manifest(opened.workspace.names.resolve("team/base")[1])
    large = next(tensor.object for tensor in base.tensors if tensor.name == LARGE)
    path = lab.path("objects", large)
    path.chmod(0o644)
    path.write_bytes(bytes(path.stat().st_size))
    done = line("push", "team/later", "--to", "../lab")
    assert (done.code, "is damaged, here or there" in done.err) == (0, True)
    encoded = [Digest("blake3", each) for each in objects_in(lab, "encoded")]
    assert [encoded_header(lab, each).base for each in encoded] == [None]  # it stands alone


def test_a_parent_that_was_found_is_marked_where_it_is_not_here(line: Run, tmp_path: Path) -> None:
    line("push", "team/later", "--to", "../lab").done()
    line("init", "--home", tmp_path / "theirs").done()
    pulled = ("--home", tmp_path / "theirs")
    line("pull", "team/later", "--from", tmp_path / "lab", *pulled).done()
    log = line("log", "team/later", *pulled).out.splitlines()
    (step,) = (each for each in log if TUNED in each)
    assert step.endswith("(not in this zoo)  (found, not declared)")
    (base,) = (each for each in log if "team/base" in each)
    assert base.endswith("(not in this zoo)")
    compared = line("compare", "team/later", "team/later", *pulled).out
    assert f"from {TUNED} (found, not declared), team/base\n" in compared
    column = line("compare", "team/later", "team/later", "--json", *pulled).json["columns"][0]
    assert (column["lineage"], column["found"]) == ([TUNED, "team/base"], [TUNED])
