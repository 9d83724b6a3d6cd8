"""zoo sign, signatures, signers; what a pull does with what is not signed; another program that
checks what zoo has signed.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from click.testing import CliRunner, Result
from fakes.prepared import Run
from fakes.signing_keys import Authority, Key, make_key
from fakes.teammates import NAME, grow
from model_signing._cli import main

import zoo
from zoo import config
from zoo.contracts import Backend
from zoo.domain.digest import Digest
from zoo.domain.limits import SIGNATURE_BYTES
from zoo.domain.manifest import Manifest
from zoo.domain.signature import Signed
from zoo.errors import Forbidden, Unsigned
from zoo.signing.sign import sign
from zoo.store.capabilities import read_small
from zoo.transfer.copy import Copied, receive
from zoo.transfer.signed import check_published

OTHER = "team/birds"


@pytest.fixture
def alice(tmp_path: Path) -> Key:
    return make_key(tmp_path, "alice")


@pytest.fixture
def mallory(tmp_path: Path) -> Key:
    return make_key(tmp_path, "mallory", curve="P-384")


@pytest.fixture
def new(tmp_path: Path, lab: Path) -> Path:
    """A zoo that follows ``lab``, and has nothing yet."""
    zoo.clone(str(lab), tmp_path / "new").close()
    return tmp_path / "new"


def manifest_of(home: Path, name: str = NAME) -> Manifest:
    with zoo.open(home) as opened:
        return opened.workspace.store.manifest(opened.workspace.names.resolve(name)[1])


def signatures_in(store: Path) -> list[Path]:
    return sorted((store / "signatures").rglob("*.json"))


def names_in(home: Path) -> list[str]:
    with zoo.open(home) as opened:
        return [str(ref) for ref in opened.workspace.store.refs()]


def push_signed(mine: Run, key: Key) -> None:
    mine("sign", NAME, "--key", key.private).done()
    mine("push", NAME, "--to", "lab").done()


# One who signs, and one who trusts them


def test_a_signature_goes_with_the_checkpoint(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path
) -> None:
    before = manifest_of(mine)
    said = bare("sign", NAME, "--key", alice.private).done()
    assert "signed by the key " in said.out
    assert manifest_of(mine) == before, "it is no part of the checkpoint"
    assert bare("signatures", NAME).code == 1, "nobody is trusted yet"
    bare("signers", "add", "alice", alice.public).done()
    shown = bare("signatures", NAME).done().out
    assert "alice" in shown
    assert shown.rstrip().endswith("yes")
    bare("push", NAME, "--to", "lab").done()
    assert len(signatures_in(lab)) == 1
    bare("signers", "require", "enforce").done()
    pulled = bare("pull", NAME, "--from", "origin", "--home", new).done()
    assert "signed by alice" in pulled.err
    assert bare("signatures", NAME, "--home", new, "--json").done().json[0]["signer"] == "alice"
    # It is the same signature, and so it is there once, however often it comes.
    bare("push", NAME, "--to", "origin", "--home", new).done()
    assert [file.name for file in signatures_in(lab)] == [file.name for file in signatures_in(mine)]


def test_whom_one_trusts_is_said_outside_a_zoo_too(bare: Run, alice: Key) -> None:
    bare("ls").refused("no zoo")
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce", "team/*").done()
    told = bare("signers", "--json").done().json
    assert [each["name"] for each in told["signers"]] == ["alice"]
    assert told["policies"] == {"team/*": "enforce"}
    bare("signers", "remove", "alice").done()
    assert bare("signers", "--json").done().json["signers"] == []


def test_several_may_sign_and_one_that_is_trusted_is_enough(
    bare: Run, mine: Path, new: Path, alice: Key, mallory: Key
) -> None:
    push_signed(bare, mallory)
    bare("signers", "require", "enforce").done()
    bare("signers", "add", "alice", alice.public).done()
    bare("pull", NAME, "--from", "origin", "--home", new).refused("its key is none that you trust")
    push_signed(bare, alice)
    bare("pull", NAME, "--from", "origin", "--home", new).done()
    told = bare("signatures", NAME, "--home", new, "--json").done().json
    assert sorted(each["problem"] for each in told) == ["", "its key is none that you trust"]


def test_what_is_not_signed_is_refused_told_of_or_taken(
    bare: Run, mine: Path, new: Path, lab: Path
) -> None:
    pull = ("pull", NAME, "--from", "origin", "--home", new)
    bare("signers", "require", "enforce", "team/*").done()
    objects = sorted((new / "objects").rglob("*"))
    bare(*pull).refused(f"{NAME} is not kept: nobody has signed it", "zoo sign", "zoo signers")
    assert names_in(new) == []
    assert sorted((new / "objects").rglob("*")) == objects, "nothing was fetched"
    bare(*pull, "--as", "mine/flowers").done()  # what it is called here counts
    bare("signers", "require", "warn", "team/*").done()
    assert f"{NAME}: nobody has signed it" in bare(*pull).done().err
    none = bare("signatures", NAME)
    assert (none.code, none.out) == (1, "")
    assert f"nobody has signed {NAME}" in none.err
    bare("signers", "require", "off", "team/*").done()
    assert bare("pull", NAME, "--from", "origin", "--home", new).done().err == ""


def test_of_several_names_those_that_are_signed_are_pulled(
    bare: Run, mine: Path, new: Path, alice: Key
) -> None:
    for name in ("team/ants", "team/bees", OTHER):
        grow(mine, name, bias=len(name))
        if name == OTHER:
            bare("sign", name, "--key", alice.private).done()
        bare("push", name, "--to", "lab").done()
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce").done()
    pull = ("pull", "team/*", "--from", "origin", "--home", new)
    said = bare(*pull, "--json")
    assert said.code == 1
    assert [each["ref"] for each in said.json] == [OTHER]
    told = bare(*pull).refused("team/bees is not kept: nobody has", "team/ants is not kept: nobody")
    assert "signed by alice" in told.err
    assert told.err.count("zoo signers add NAME FILE") == 1
    assert [name for name in names_in(new) if name.startswith("team/")] == [OTHER]


def test_the_longest_pattern_counts(bare: Run, mine: Path, new: Path) -> None:
    for policy, *names in (("enforce",), ("off", "team/*"), ("enforce", "team/birds*")):
        bare("signers", "require", policy, *names).done()
    bare("pull", NAME, "--from", "origin", "--home", new).done()
    bare("pull", NAME, "--from", "origin", "--as", OTHER, "--home", new).refused("not kept")
    told = bare("signers", "--json").done().json
    assert told["policies"] == {"*": "enforce", "team/*": "off", "team/birds*": "enforce"}


def test_what_is_published_has_no_signature(small: Run) -> None:
    small("signers", "require", "enforce").done()
    small("pull", "timm/resnet50.a1_in1k").refused("zoo signers require published 'timm/*'")
    said = small("pull", "team/flowrs").refused("unknown checkpoint 'team/flowrs'")
    assert "signature" not in said.err


# What somebody who may write to the store does


def test_one_of_another_checkpoint_does_not_count(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path
) -> None:
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce").done()
    grow(mine, OTHER, bias=3)
    bare("sign", OTHER, "--key", alice.private).done()
    bare("push", OTHER, "--to", "lab").done()
    bare("push", NAME, "--to", "lab").done()
    (theirs,) = signatures_in(lab)
    wrong = theirs.parents[3].parent / "moved"
    assert not wrong.exists()
    digest = bare("show", NAME, "--json").json["manifest"].partition(":")[2]
    moved = lab / "signatures" / digest[:2] / digest / "team" / "flowers" / theirs.name
    moved.parent.mkdir(parents=True)
    shutil.copy(theirs, moved)
    says = "it is of something else"
    bare("pull", NAME, "--from", "origin", "--home", new).refused(says)
    assert says in bare("signatures", NAME, "--from", "lab").out
    assert names_in(new) == []


@pytest.mark.parametrize("what", ["a tensor", "the order of tensors", "a class", "the license"])
def test_what_was_changed_is_not_signed(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path, what: str
) -> None:
    push_signed(bare, alice)
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce").done()
    with zoo.open(mine) as opened:
        workspace = opened.workspace
        manifest = manifest_of(mine)
        (weights,) = manifest.weights
        small = [
            tensor for tensor in weights.tensors if tensor.nbytes == weights.tensors[-1].nbytes
        ]
        changed = {
            "a tensor": replace(
                manifest, weights=(replace(weights, tensors=weights.tensors[:-1]),)
            ),
            "the order of tensors": replace(
                manifest, weights=(replace(weights, tensors=(*weights.tensors[::-1],)),)
            ),
            "a class": replace(manifest, classes=("tulip", "rose", "oak")),
            "the license": replace(manifest, license="mit"),
        }[what]
        assert small
        assert changed != manifest
        digest = workspace.keep(changed)
        entry = workspace.move(zoo.Reference.parse(NAME), digest, "test")
    # As whoever may write to the folder would: the name leads on, and the signature goes along.
    (kept,) = signatures_in(lab)
    moved = lab / "signatures" / digest.hex[:2] / digest.hex / "team/flowers" / kept.name
    moved.parent.mkdir(parents=True)
    shutil.copy(kept, moved)
    for name in (f"manifests/{digest.hex[:2]}/{digest.hex}.json",):
        (lab / name).parent.mkdir(exist_ok=True)
        shutil.copy(mine / name, lab / name)
    ref = f"refs/team/flowers/latest/{entry.number:08d}.json"
    shutil.copy(mine / ref, lab / ref)
    bare("pull", NAME, "--from", "origin", "--home", new).refused("it is of something else")
    assert names_in(new) == []


def test_one_that_was_taken_away_is_missed(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path
) -> None:
    push_signed(bare, alice)
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce").done()
    shutil.rmtree(lab / "signatures")
    bare("pull", NAME, "--from", "origin", "--home", new).refused("nobody has signed it")
    # Whoever has it already needs no other; and a push brings it back.
    bare("pull", NAME, "--from", "lab", "--home", mine).done()
    bare("push", NAME, "--to", "lab").done()
    bare("pull", NAME, "--from", "origin", "--home", new).done()


def test_files_that_are_none_cost_nothing(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path
) -> None:
    push_signed(bare, alice)
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce").done()
    (kept,) = signatures_in(lab)
    huge = kept.with_name(f"{'0' * 64}.json")
    with huge.open("wb") as file:
        file.truncate(1 << 30)
    kept.with_name(f"{'1' * 64}.json").symlink_to("/etc/hostname")
    kept.with_name(f"{'2' * 64}.json").write_bytes(kept.read_bytes())
    os.mkfifo(kept.with_name(f"{'3' * 64}.json"))
    kept.with_name("notes.txt").write_text("not ours")
    said = bare("pull", NAME, "--from", "origin", "--home", new).done()
    assert "signed by alice" in said.err
    assert [file.name for file in signatures_in(new)] == [kept.name]
    problems = bare("verify", "lab").out + bare("verify", "lab").err
    assert f"{SIGNATURE_BYTES} bytes" in problems
    assert "does not belong in a store" in problems


def test_only_so_many_are_looked_at(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_signed(bare, alice)
    (kept,) = signatures_in(lab)
    for number in range(1000):
        kept.with_name(f"{number:064x}.json").touch()
    said = bare("signatures", NAME, "--from", "lab", "--json")
    assert len(said.json) <= 16
    bare("pull", NAME, "--from", "origin", "--home", new).done()
    assert len(signatures_in(new)) <= 1


def junk(folder: Path, many: int, beginning: str = "", like: bytes = b"junk") -> None:
    """Files in a store, each under its own digest, that begins so and is before most others."""
    folder.mkdir(parents=True, exist_ok=True)
    number = 0
    while many:
        number += 1
        data = like + b" %d" % number
        if (digest := blake3(data).hexdigest()).startswith(beginning):
            (folder / f"{digest}.json").write_bytes(data)
            many -= 1


def test_what_others_put_there_hides_none_and_goes_no_further(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path, tmp_path: Path
) -> None:
    push_signed(bare, alice)
    (kept,) = signatures_in(lab)
    junk(kept.parents[2] / "mallory" / "x", 300)
    bare("signers", "require", "off").done()
    bare("pull", NAME, "--from", "origin", "--home", new).done()
    assert [file.name for file in signatures_in(new)] == [kept.name]
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce").done()
    assert "signed by alice" in bare("pull", NAME, "--from", "origin", "--home", new).done().err
    told = bare("signatures", NAME, "--from", "lab", "--json").json
    assert [each["signer"] for each in told if not each["problem"]] == ["alice"]
    # What is no signature is not carried on, and does not keep one from being made.
    own = next((new / "signatures").rglob("flowers"))
    junk(own.parents[1] / "mallory" / "x", 16, "0")
    junk(own, 1)
    bare("sign", NAME, "--key", make_key(tmp_path, "new").private, "--home", new).done()
    bare("push", NAME, "--to", tmp_path / "third", "--home", new).done()
    assert len(signatures_in(tmp_path / "third")) == 2


def test_one_that_cannot_be_read_keeps_nobody_from_a_pull(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_signed(bare, alice)
    (kept,) = signatures_in(lab)

    def refuse(backend: Backend, key: str, limit: int) -> bytes:
        if key.endswith(kept.name) and str(lab) in str(backend):
            raise Forbidden(kept, "it is another user's", "chmod a+r")
        return read_small(backend, key, limit)

    monkeypatch.setattr("zoo.store.signatures.read_small", refuse)
    said = bare("pull", NAME, "--from", "origin", "--home", new).done()
    assert "is left out: " in said.err
    assert names_in(new) == [NAME]
    assert signatures_in(new) == []


def test_one_that_is_damaged_here_keeps_nobody_from_a_push(
    bare: Run, mine: Path, alice: Key, lab: Path, tmp_path: Path
) -> None:
    bare("sign", NAME, "--key", alice.private).done()
    (kept,) = signatures_in(mine)
    kept.chmod(0o644)
    kept.write_bytes(kept.read_bytes()[:-1])
    assert "is left out: " in bare("push", NAME, "--to", "lab").done().err
    assert signatures_in(lab) == []
    bare("tag", NAME, "prod/flowers").done()
    bare("sign", NAME, "--key", alice.private).done()
    bare("push", NAME, "--to", "lab").done()
    assert len(signatures_in(lab)) == 1
    bare("export", NAME, tmp_path / "out", "--signed").done()
    assert len([*(tmp_path / "out" / "signatures").iterdir()]) == 1


def test_the_one_that_was_checked_is_kept(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_signed(bare, alice)
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce").done()

    def as_they_go(*given: Any) -> Copied:
        shutil.rmtree(lab / "signatures")
        return receive(*given)

    monkeypatch.setattr("zoo.transfer.sync.receive", as_they_go)
    bare("pull", NAME, "--from", "origin", "--home", new).done()
    assert "alice" in bare("signatures", NAME, "--home", new).done().out


def test_no_folder_s_name_says_more_than_a_name(
    bare: Run, mine: Path, new: Path, alice: Key, lab: Path
) -> None:
    push_signed(bare, alice)
    (kept,) = signatures_in(lab)
    evil = kept.parents[2] / "team" / "x\nsigned by alice"
    evil.mkdir()
    (evil / f"{'0' * 64}.json").write_bytes(b"{}")
    bare("signers", "require", "enforce").done()
    said = bare("pull", NAME, "--from", "origin", "--home", new).refused("none that you trust")
    assert "signed by alice" not in said.err


def test_what_is_said_of_a_name_holds_for_its_tags(
    bare: Run, mine: Path, new: Path, lab: Path
) -> None:
    bare("tag", NAME, f"{NAME}:v2").done()
    bare("push", f"{NAME}:v2", "--to", "lab").done()
    pull = ("pull", f"{NAME}:v2", "--from", "origin", "--home", new)
    for names in (NAME, f"{NAME}:v*"):
        bare("signers", "require", "enforce", names).done()
        bare(*pull).refused(f"{NAME}:v2 is not kept: nobody has signed it")
        bare("signers", "require", "off", names).done()
    bare("signers", "require", "enforce", f"{NAME}:latest").done()
    bare("pull", NAME, "--from", "origin", "--home", new).refused("nobody has signed it")
    bare(*pull).done()


def test_what_is_published_is_let_in_from_there_alone(
    bare: Run, mine: Path, new: Path, lab: Path
) -> None:
    name = "timm/evil_net.v9"
    bare("push", NAME, "--to", "lab", "--as", name).done()
    bare("signers", "require", "enforce").done()
    bare("signers", "require", "published", "timm/*").done()
    bare("pull", name, "--from", "origin", "--home", new).refused("nobody has signed it")
    assert names_in(new) == []
    with zoo.open(new) as opened:
        check_published(opened.workspace, zoo.Reference.parse(name))
        with pytest.raises(Unsigned, match=r"zoo signers require published 'hf/\*'"):
            check_published(opened.workspace, zoo.Reference.parse("hf/net"))


# Certificates


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "lab")


def test_an_authority_vouches_for_those_it_certifies(
    bare: Run, mine: Path, new: Path, alice: Key, authority: Authority
) -> None:
    mine_is = authority.certify(alice, "alice@lab")
    bare(
        "sign", NAME, "--key", alice.private, "--certificate", mine_is, "--chain", authority.file
    ).done()
    bare("push", NAME, "--to", "lab").done()
    bare("signers", "require", "enforce").done()
    no = "its certificate leads to no authority that you trust"
    bare("pull", NAME, "--from", "origin", "--home", new).refused("CN=alice@lab", no)
    other = Authority(new.parent, "other")
    bare("signers", "add", "other", other.file).done()
    bare("pull", NAME, "--from", "origin", "--home", new).refused(no)
    bare("signers", "add", "lab", authority.file).done()
    assert "signed by lab" in bare("pull", NAME, "--from", "origin", "--home", new).done().err
    shown = bare("signatures", NAME, "--home", new).done().out
    assert "CN=alice@lab" in shown


def test_no_name_in_a_certificate_says_more_than_a_name(
    bare: Run, mine: Path, new: Path, mallory: Key, authority: Authority
) -> None:
    evil = authority.certify(mallory, "x\nsigned by alice\x1b[31m", file="evil.crt")
    bare("sign", NAME, "--key", mallory.private, "--certificate", evil).done()
    bare("push", NAME, "--to", "lab").done()
    bare("signers", "require", "enforce").done()
    said = bare("pull", NAME, "--from", "origin", "--home", new).refused("CN=x?signed by alice?")
    assert "\nsigned by" not in said.err
    shown = bare("signatures", NAME)
    assert len(shown.out.splitlines()) == 2
    assert "\x1b" not in shown.out


def test_who_calls_themselves_the_same_is_not(
    bare: Run, mine: Path, new: Path, mallory: Key, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "false").mkdir()
    false = Authority(tmp_path / "false", "lab")
    theirs = false.certify(mallory, "alice@lab")
    bare(
        "sign", NAME, "--key", mallory.private, "--certificate", theirs, "--chain", false.file
    ).done()
    bare("push", NAME, "--to", "lab").done()
    bare("signers", "add", "lab", authority.file).done()
    bare("signers", "require", "enforce").done()
    bare("pull", NAME, "--from", "origin", "--home", new).refused("leads to no authority")


@pytest.mark.parametrize(
    ("when", "says"), [({"days": -1}, "ended on"), ({"began": -1}, "begins on")]
)
def test_a_certificate_counts_from_its_begin_to_its_end(
    bare: Run, mine: Path, alice: Key, authority: Authority, monkeypatch: pytest.MonkeyPatch,
    when: dict[str, Any], says: str,
) -> None:  # fmt: skip
    old = authority.certify(alice, "alice@lab", **when)
    bare("sign", NAME, "--key", alice.private, "--certificate", old).refused(
        f"the certificate of CN=alice@lab {says}", "nobody would take its signature"
    )
    with monkeypatch.context() as then:
        then.setattr("zoo.signing.claim.why_not_now", lambda _: "")
        bare("sign", NAME, "--key", alice.private, "--certificate", old).done()
    bare("signers", "add", "lab", authority.file).done()
    said = bare("signatures", NAME)
    assert said.code == 1
    assert f"the certificate of CN=alice@lab {says}" in said.out


@pytest.mark.parametrize("signs", [False, None])
def test_a_certificate_for_something_else_does_not_count(
    bare: Run, mine: Path, alice: Key, authority: Authority, monkeypatch: pytest.MonkeyPatch,
    signs: bool | None,
) -> None:  # fmt: skip
    encrypts = authority.certify(alice, "alice@lab", signs=signs)
    says = "does not say that it is for digital signatures"
    bare("sign", NAME, "--key", alice.private, "--certificate", encrypts).refused(says)
    with monkeypatch.context() as careless:
        careless.setattr("zoo.signing.claim._may_sign", lambda _: True)
        bare("sign", NAME, "--key", alice.private, "--certificate", encrypts).done()
    bare("signers", "add", "lab", authority.file).done()
    said = bare("signatures", NAME)
    assert said.code == 1
    assert says in said.out


# Slips


def test_what_is_no_key_is_refused(bare: Run, mine: Path, alice: Key, tmp_path: Path) -> None:
    rsa = make_key(tmp_path, "rsa", is_rsa=True)
    odd = make_key(tmp_path, "odd", curve="P-224")
    none = tmp_path / "none.pem"
    none.write_text("hello")
    for file in (rsa.private, odd.private, none, alice.public):
        bare("sign", NAME, "--key", file).refused(f"{file} cannot sign", "openssl ecparam")
    bare("sign", NAME, "--key", tmp_path / "gone.pem").refused("gone.pem")
    for file in (rsa.public, odd.public, none):
        bare("signers", "add", "x", file).refused(str(file))
    bare("signers", "add", "alice", alice.private).refused("is a private key", "-pubout")
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "add", "alice", alice.public).done()
    other = make_key(tmp_path, "other")
    bare("signers", "add", "alice", other.public).refused("another signer")
    certificate = Authority(tmp_path, "lab").certify(other, "other")
    bare("sign", NAME, "--key", alice.private, "--certificate", certificate).refused("not match")
    assert not signatures_in(mine)


def test_what_can_be_no_rule_is_refused(
    bare: Run, mine: Path, alice: Key, mallory: Key, tmp_path: Path
) -> None:
    for pattern in ("", " ", "team", "///", "team/", "/*", "a/b/*", "a\nb/*", "team/\x1b[31m*"):
        said = bare("signers", "require", "enforce", pattern).refused("no name can match")
        assert "\x1b" not in said.err
    for name in ("", " ", "a\nb", "../x"):
        bare("signers", "add", name, alice.public).refused("cannot be the name of a signer")
    two, authority = tmp_path / "two.pem", Authority(tmp_path, "lab").file.read_bytes()
    for more in (mallory.public.read_bytes(), authority):
        two.write_bytes(alice.public.read_bytes() + more)
        bare("signers", "add", "two", two).refused("has several keys", "a file of its own")
    assert "nobody is trusted" in bare("signers").err
    two.write_bytes(authority * 2)
    bare("signers", "add", "two", two).done()


def test_a_key_is_a_small_file(bare: Run, mine: Path, alice: Key, tmp_path: Path) -> None:
    pipe, large = tmp_path / "pipe", tmp_path / "large.pem"
    os.mkfifo(pipe)
    large.write_bytes(alice.private.read_bytes() + b"\n" * 65536)
    for file, says in ((pipe, "is no file"), (large, "65,536 bytes")):
        bare("signers", "add", "x", file).refused(f"{file} ", says)
        bare("sign", NAME, "--key", file).refused(f"{file} ", says)
        given = ("--key", alice.private, "--certificate", file)
        bare("sign", NAME, *given).refused(f"{file} ", says)
    assert not signatures_in(mine)


def test_a_key_with_a_password(
    bare: Run, mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hidden = make_key(tmp_path, "hidden", password="rose")
    bare("sign", NAME, "--key", hidden.private).refused("has a password", "--ask-password")
    with zoo.open(mine) as opened:
        with pytest.raises(zoo.errors.InvalidOption, match="cannot sign"):
            opened.sign(NAME, hidden.private, password="tulip")
        opened.sign(NAME, hidden.private, password="rose")
        (one,) = opened.signatures(NAME, keys=[hidden.public])
        assert not one.problem
    monkeypatch.setattr("click.prompt", lambda *_, **__: "rose")
    bare("sign", NAME, "--key", hidden.private, "--ask-password").done()


def test_no_key_signs_twice(bare: Run, mine: Path, tmp_path: Path, alice: Key, lab: Path) -> None:
    bare("sign", NAME, "--key", alice.private).done()
    said = bare("sign", NAME, "--key", alice.private).done()
    assert "already signed by the key " in said.out
    assert len(signatures_in(mine)) == 1
    ca = Authority(tmp_path, "lab-ca")
    for days in (10, 20):  # a new certificate of the same key
        certificate = ca.certify(alice, "alice", days=days)
        line = ("sign", NAME, "--key", alice.private, "--certificate", certificate)
        assert ["already" in bare(*line).done().out for _ in range(2)] == [False, True]
    assert len(signatures_in(mine)) == 3
    # Who writes her name into what she did not sign keeps her from nothing.
    for file in signatures_in(mine):
        raw = json.loads(file.read_bytes())
        raw["dsseEnvelope"]["signatures"][0]["sig"] = "MEQCIA=="
        data = json.dumps(raw).encode()
        file.unlink()
        file.with_name(f"{blake3(data).hexdigest()}.json").write_bytes(data)
    assert "already" not in bare("sign", NAME, "--key", alice.private).done().out
    assert len(signatures_in(mine)) == 4
    push = ("push", NAME, "--to", "lab")
    assert "4 signatures sent" in bare(*push).done().out
    assert "signature" not in bare(*push).done().out


SIGN = """
import sys, zoo
with zoo.open(sys.argv[1]) as opened:
    print(opened.sign(sys.argv[2], sys.argv[3]).digest)
"""


@pytest.mark.long
def test_no_key_signs_twice_in_another_process(mine: Path, alice: Key, tmp_path: Path) -> None:
    """Where the library writes the same statement in another order."""
    (tmp_path / "sign.py").write_text(SIGN)

    def signed(seed: str) -> str:
        line = (sys.executable, tmp_path / "sign.py", mine, NAME, alice.private)
        settings = {**os.environ, "PYTHONHASHSEED": seed}
        return subprocess.run(line, env=settings, check=True, capture_output=True, text=True).stdout

    assert len({signed(seed) for seed in ("1", "2", "3")}) == 1
    assert len(signatures_in(mine)) == 1


def test_one_of_something_else_by_the_same_key_is_replaced(
    bare: Run, mine: Path, tmp_path: Path, alice: Key
) -> None:
    bare("sign", NAME, "--key", make_key(tmp_path, "ben").private).done()
    theirs = signatures_in(mine)
    folder = theirs[0].parent
    for number in range(15):  # she has all the places that are left
        other = Signed(manifest=Digest("blake3", "a" * 64), files={"x": f"{number:064x}"})
        data = sign(other, alice.private)
        (folder / f"{blake3(data).hexdigest()}.json").write_bytes(data)
    assert "already" not in bare("sign", NAME, "--key", alice.private).done().out
    assert len(signatures_in(mine)) == 2
    assert theirs[0] in signatures_in(mine)
    bare("signatures", NAME, "--key", alice.public).done()


def test_a_refusal_has_a_line_for_each_key(
    bare: Run, mine: Path, new: Path, alice: Key, mallory: Key
) -> None:
    for key in (alice, mallory):
        bare("sign", NAME, "--key", key.private).done()
    folder = signatures_in(mine)[0].parent
    other = Signed(manifest=Digest("blake3", "a" * 64), files={"x": "b" * 64})
    for _ in range(3):
        data = sign(other, alice.private)
        (folder / f"{blake3(data).hexdigest()}.json").write_bytes(data)
    bare("push", NAME, "--to", "lab").done()
    bare("signers", "require", "enforce").done()
    said = bare("pull", NAME, "--from", "origin", "--home", new)
    assert said.code != 0
    lines = [line for line in said.err.splitlines() if "none that you trust" in line]
    assert len(lines) == 2
    assert all(line.count("of the signature by the key") == 1 for line in lines)
    bare("signers", "require", "warn").done()
    told = bare("pull", NAME, "--from", "origin", "--home", new).done().err
    assert len([line for line in told.splitlines() if "none that you trust" in line]) == 2


def test_one_is_taken_away_again(bare: Run, mine: Path, alice: Key, mallory: Key) -> None:
    push_signed(bare, mallory)
    bare("sign", NAME, "--key", alice.private).done()
    bare("tag", NAME, "team/again").done()
    bare("signers", "add", "alice", alice.public).done()
    told = bare("signatures", NAME, "--json").done().json
    (hers,) = (each["digest"] for each in told if each["signer"] == "alice")
    short = hers.removeprefix("blake3:")[:12]
    assert short in bare("signatures", NAME).out
    bare("signatures", NAME, "--remove", "x").refused("unknown signature 'x'")
    bare("signatures", NAME, "--remove", "").refused("unknown signature ''")
    assert bare("signatures", NAME, "--remove", short, "--from", "lab").code == 2
    assert "where it was pushed it stays" in bare("signatures", NAME, "--remove", short).done().err
    for name in (NAME, "team/again"):
        (left,) = bare("signatures", name, "--json").json
        assert left["digest"] != hers
    assert len(bare("signatures", NAME, "--from", "lab", "--json").json) == 1


def test_a_key_that_others_can_read_signs_nothing(bare: Run, mine: Path, alice: Key) -> None:
    for mode in (0o640, 0o604):
        alice.private.chmod(mode)
        bare("sign", NAME, "--key", alice.private).refused("others can read this key", "chmod 600")
    assert not signatures_in(mine)


def test_no_more_are_made_than_are_looked_at(bare: Run, mine: Path, tmp_path: Path) -> None:
    for number in range(16):
        bare("sign", NAME, "--key", make_key(tmp_path, f"key{number}").private).done()
    alice = make_key(tmp_path, "alice")
    bare("sign", NAME, "--key", alice.private).refused("16 signatures")
    assert len(signatures_in(mine)) == 16


def test_who_is_removed_counts_no_more(bare: Run, mine: Path, alice: Key) -> None:
    bare("sign", NAME, "--key", alice.private).done()
    bare("signers", "add", "alice", alice.public).done()
    assert "alice" in bare("signers").out
    bare("signatures", NAME).done()
    bare("signers", "remove", "alice").done()
    assert bare("signatures", NAME).code == 1
    bare("signatures", NAME, "--key", alice.public).done()
    bare("signers", "remove", "alice").refused("unknown signer 'alice'")
    assert "nobody is trusted to sign" in bare("signers").err


def test_without_the_library_nothing_that_must_be_signed_is_kept(
    bare: Run, mine: Path, new: Path, alice: Key, monkeypatch: pytest.MonkeyPatch
) -> None:
    push_signed(bare, alice)
    bare("signers", "add", "alice", alice.public).done()
    bare("signers", "require", "enforce").done()
    monkeypatch.setattr("zoo.signing.find_spec", lambda _: None)
    bare("pull", NAME, "--from", "origin", "--home", new).refused("zoo-registry[sign]")
    assert names_in(new) == []
    bare("signers", "require", "warn").done()
    assert "zoo-registry[sign]" in bare("pull", NAME, "--from", "origin", "--home", new).done().err
    assert len(signatures_in(new)) == 1, "it comes along, for when it can be checked"


def test_rules_that_are_damaged_let_nothing_through(bare: Run, mine: Path, new: Path) -> None:
    bare("signers", "require", "enforce").done()
    kept = config.settings() / "signers.json"
    for text in ("{", '{"policies": {"*": "of"}}', '{"signers": {"a": {}}}'):
        kept.write_text(text)
        bare("pull", NAME, "--from", "origin", "--home", new).refused("signers.json is damaged")
        assert names_in(new) == []


# Names, prunes


def test_another_name_of_the_same_has_it_too(bare: Run, mine: Path, alice: Key) -> None:
    bare("sign", NAME, "--key", alice.private).done()
    bare("tag", NAME, "prod/flowers").done()
    bare("mv", NAME, "team/garden").done()
    paths = {"/".join(file.parts[-3:-1]) for file in signatures_in(mine)}
    assert paths == {"team/flowers", "prod/flowers", "team/garden"}
    for name in ("prod/flowers", "team/garden"):
        told = bare("signatures", name, "--key", alice.public, "--json").done().json
        assert len(told) == 1


def test_a_prune_takes_it_with_its_checkpoint(bare: Run, mine: Path, alice: Key) -> None:
    grow(mine, OTHER, bias=3)
    for name in (NAME, OTHER):
        bare("sign", name, "--key", alice.private).done()
    bare("delete", OTHER).done()
    prune = ("prune", "--keep", 0, "--grace", 0, "--yes", "--json")
    gone = bare(*prune).done().json
    assert [item["kind"] for item in gone["items"]].count("signature") == 1
    bare("signatures", NAME, "--key", alice.public).done()
    assert len(signatures_in(mine)) == 1
    assert len([*(mine / "signatures").iterdir()]) == 1, "nor are there empty folders"
    bare("verify").done()


# Another program


def program(*arguments: object) -> Result:
    """OpenSSF's own program, in this process: to start it takes a second."""
    return CliRunner().invoke(main, [*map(str, arguments)])


def model_signing(*arguments: object) -> subprocess.CompletedProcess[str]:
    """The same as it is started."""
    return subprocess.run(
        [sys.executable, "-m", "model_signing", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.long
def test_the_page_can_be_followed_where_others_are_needed(
    bare: Run, mine: Path, tmp_path: Path
) -> None:
    """The blocks of signing.md that take an authority, and another program."""
    page = (Path(__file__).parents[3] / "docs" / "signing.md").read_text()
    blocks = re.findall(r"<!-- run by: .+? -->\n```bash\n(.+?)^```", page, re.DOTALL | re.MULTILINE)
    key, authority = make_key(mine, "key"), Authority(mine, "lab-root")
    shutil.copy(key.public, "ana.pub")
    shutil.copy(authority.certify(key, "ana@lab"), "ana.pem")
    shutil.copy(authority.file, "lab.pem")
    shutil.copy(authority.file, "lab-root.pem")
    bare("sign", NAME, "--key", key.private).done()
    assert [len(block.splitlines()) for block in blocks] == [2, 2]
    for line in "".join(blocks).splitlines():
        program, *words = shlex.split(line)
        if program == "zoo":
            bare(*words).done()
            continue
        certified, plain = by_kind(bare)
        words = [re.sub(r"\b[0-9a-f]{12}\b", plain, word) for word in words]
        assert program == "model_signing"
        assert model_signing(*words).returncode == 0
        chain = ("--signature", f"flowers-signed/signatures/{certified}.sig", "--certificate_chain")
        check = ("verify", "certificate", "flowers-signed", *chain)
        assert model_signing(*check, "lab-root.pem").returncode == 0
        other = Authority(tmp_path, "other")
        assert model_signing(*check, other.file).returncode


def by_kind(run: Run) -> list[str]:
    """The signatures that were made with a certificate, and with a key, as their files are called
    in an exported folder.
    """
    told = run("signatures", NAME, "--json").json
    return [each["digest"][7:19] for each in sorted(told, key=lambda each: str(each["kind"]))]


def test_the_library_s_own_program_checks_what_is_exported(
    bare: Run, mine: Path, alice: Key, mallory: Key, tmp_path: Path
) -> None:
    folder = tmp_path / "signed"
    bare("export", NAME, folder, "--signed").refused("nobody has signed it", "zoo sign")
    bare("sign", NAME, "--key", alice.private).done()
    said = bare("export", NAME, folder, "--signed").done()
    (signature,) = (folder / "signatures").iterdir()
    assert f"model_signing verify key {folder} --signature {signature}" in said.err
    check = ("verify", "key", folder, "--signature", signature, "--public_key")
    done = program(*check, alice.public)
    assert done.exit_code == 0, done.output
    assert program(*check, mallory.public).exit_code
    manifest = json.loads((folder / "zoo-manifest.json").read_text())
    (folder / "zoo-manifest.json").write_text(json.dumps({**manifest, "license": "mit"}))
    assert "Hash mismatch for 'zoo-manifest.json'" in program(*check, alice.public).output
