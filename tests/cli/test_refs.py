"""zoo log --ref, zoo tag --at, zoo protect, as typed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fakes.checkpoints import add_checkpoint, tensors

import zoo
from zoo.domain.digest import Digest
from zoo.domain.manifest import Backbone, Parent

BASE, TUNED = "timm/tf_efficientnet_lite0.in1k", "team/digits"


def manifest(run: Any, name: str) -> str:
    found: str = run("show", name, "--json").json["manifest"]
    return found


def test_the_history_alone(run: Any, home: Path) -> None:
    got = run("log", TUNED, "--ref", "--json").json
    assert set(got) == {"name", "manifest", "deleted", "at_remotes", "history"}
    text = run("log", TUNED, "--ref").out
    assert ("lineage" in text, "ENTRY" in text) == (False, True)


def test_a_tag_from_the_past(run: Any, home: Path) -> None:
    before = manifest(run, TUNED)
    run("tag", BASE, TUNED, "--force")
    assert manifest(run, TUNED) == manifest(run, BASE)
    moves = run("log", TUNED, "--json").json["history"]
    when = moves[-1]["at"].rstrip("Z")
    if moves[0]["at"] != moves[-1]["at"]:
        run("tag", TUNED, "team/then", "--at", when)
        assert manifest(run, "team/then") == before
    early = run("tag", TUNED, "team/never", "--at", "2020-01-01T10:00")
    assert (early.code, "2020-01-01" in early.err) == (1, True)
    run("tag", before, TUNED)  # and back
    assert manifest(run, TUNED) == before


def test_a_protected_name_stays(run: Any, home: Path) -> None:
    before = manifest(run, TUNED)
    assert "is protected" in run("protect", TUNED).out
    for line in (("tag", BASE, TUNED), ("delete", TUNED)):
        refused = run(*line)
        assert (refused.code, "protected" in refused.err) == (1, True)
    assert manifest(run, TUNED) == before
    run("protect", "--off", TUNED)
    assert run("tag", BASE, TUNED, "--force").code == 0
    assert run("verify").code == 0


def test_a_name_that_moves_says_what_it_was(toy: Any) -> None:
    base, tuned = (toy("show", name, "--json").json["manifest"] for name in ("team/base", TUNED))
    assert toy("tag", "team/base", "team/new").out == f"team/new  {base[7:19]}\n"
    assert toy("tag", "team/base", "team/new").out == f"team/new  {base[7:19]}\n"
    moved = f"team/new  {tuned[7:19]}\n  moved; was {base[7:19]} (zoo log team/new)\n"
    assert toy("tag", TUNED, "team/new").out == moved
    assert toy("tag", TUNED, "team/new").out == f"team/new  {tuned[7:19]}\n"


def test_a_name_moves_to_what_derives_from_it_alone_unless_forced(toy: Any) -> None:
    base, tuned = (manifest(toy, name) for name in ("team/base", TUNED))
    with zoo.open() as opened:
        values = tensors(seed=5)
        parent = Parent(manifest=Digest.parse(base), relation="finetune", ref="team/base")
        data = {"provenance": {"data_digest": "blake3:1"}, "parents": (parent,)}
        for number, more in enumerate((data, data, {})):
            values = {name: value + 1 for name, value in values.items()}
            add_checkpoint(opened.workspace, f"team/run-{number}", values, **more)
    says = f"{TUNED} is another checkpoint here, {tuned[7:19]}, and the new one does not derive"
    for unrelated in ("team/base", "team/run-0", "team/run-2"):
        toy("tag", unrelated, TUNED).refused(says, "--force", f"zoo log {TUNED} keeps")
    assert manifest(toy, TUNED) == tuned
    # Forwards; again on the same data; back to what it was; to a tag of its own.
    toy("tag", "team/base", "team/next").done()
    for name in (TUNED, base, "team/run-0", "team/run-1", tuned, "team/base"):
        toy("tag", name, "team/next").done()
    toy("tag", "team/run-2", "team/next:v2").done()
    toy("tag", "team/next:v2", "team/next").done()
    assert "moved; was" in toy("tag", "team/run-2", TUNED, "--force").done().out


def test_a_name_of_another_network_moves_only_if_forced(toy: Any) -> None:
    with zoo.open() as opened:
        backbone = Backbone(plugin="toy", architecture="other")
        add_checkpoint(opened.workspace, "team/other", backbone=backbone)
        same = Backbone(plugin="timm", architecture="toynet")
        add_checkpoint(opened.workspace, "team/theirs", backbone=same)
    before = manifest(toy, TUNED)
    says = f"{TUNED} is of the architecture toynet here, and would become one of other"
    toy("tag", "team/other", TUNED).refused(says, "--force", f"zoo log {TUNED} keeps")
    toy("tag", "team/theirs", TUNED).refused("toynet of toy here, and would become that of timm")
    assert manifest(toy, TUNED) == before
    assert "moved; was" in toy("tag", "team/other", TUNED, "--force").done().out
    toy("delete", TUNED).done()
    toy("tag", "team/base", TUNED).done()  # a name that was deleted is free


def test_the_first_digits_of_a_digest_name_a_checkpoint(toy: Any) -> None:
    base = manifest(toy, "team/base")
    digits = base.removeprefix("blake3:")
    for text in (base, base[:11], base[:20], digits[:8], digits):
        assert manifest(toy, text) == base, text
        assert toy("diff", text, "team/base", "--json").done().json["same"], text
    for text in (base, base[:11], digits[:8]):
        found = toy("search", f"parent:{text}", "--json").done().json
        assert [row["name"] for row in found] == [TUNED], text
    assert toy("search", "parent:blake3:0000", "--json").done().json == []
    toy("show", base[:10]).refused("the first eight do")
    toy("show", digits[:7]).refused("the first eight do")
    toy("show", "blake3:0000").refused("unknown checkpoint 'blake3:0000'")
