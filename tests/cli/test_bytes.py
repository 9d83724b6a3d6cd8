"""Bytes and their proofs: whatever is damaged, on whichever side, nobody hears that it is well."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from blake3 import blake3
from fakes.checkpoints import flip_byte
from fakes.family import BASE, CONV, TUNED, Family, family
from fakes.places import BucketPlace, Place, flip, write
from fakes.program import zoo as typed
from safetensors.torch import save_file

from zoo.codec.header import FIXED, read_header
from zoo.contracts import Kind
from zoo.domain.digest import Digest
from zoo.store import Store


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Family:
    return family(tmp_path_factory.mktemp("made") / "zoo")


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("empty") / "zoo"
    assert typed("init", home).code == 0
    return home


@pytest.fixture
def mine(made: Family, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Family:
    shutil.copytree(made.home, tmp_path / "mine")
    monkeypatch.chdir(tmp_path / "mine")
    return replace(made, home=tmp_path / "mine")


@pytest.fixture
def team(tmp_path: Path) -> Path:
    return tmp_path / "team"


@pytest.fixture
def theirs(empty: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(empty, tmp_path / "theirs"))


def file_of(root: Path, kind: str, digest: Digest) -> Path:
    return root / kind / digest.hex[:2] / (digest.hex + (".json" if kind == "manifests" else ""))


def arrives(name: str, team: Path, theirs: Path) -> None:
    """A teammate gets it whole, and nothing at the remote that he needs is damaged."""
    done = typed("--home", theirs, "pull", name, "--from", team)
    assert done.code == 0, done.err
    assert "all sound" in typed("--home", theirs, "verify").out


# A push


@pytest.mark.parametrize("side", ["here", "there", "both"])
@pytest.mark.parametrize("repack", ["fast", "max"])
def test_nothing_is_coded_against_a_damaged_base(
    mine: Family, team: Path, theirs: Path, side: str, repack: str
) -> None:
    assert typed("push", BASE, "--to", team).code == 0
    base = mine.conv(BASE)
    for root in {"here": [mine.home], "there": [team], "both": [mine.home, team]}[side]:
        flip_byte(file_of(root, "objects", base))
    done = typed("push", TUNED, "--to", team, "--repack", repack)
    assert done.code == 0
    assert f"{base} of a parent is damaged" in done.err
    arrives(TUNED, team, theirs)


def test_a_sound_base_is_used_without_a_word(mine: Family, team: Path, theirs: Path) -> None:
    typed("push", BASE, "--to", team)
    done = typed("push", TUNED, "--to", team)
    assert (done.code, done.err) == (0, "")
    assert file_of(team, "encoded", mine.conv(TUNED)).exists()
    arrives(TUNED, team, theirs)


def test_a_base_that_is_encoded_and_damaged_there_is_not_used(
    mine: Family, team: Path, theirs: Path
) -> None:
    typed("push", BASE, "--to", team, "--repack", "max")
    for position in (-1, 10):  # in the last chunk, and in the size that the header tells
        shutil.copytree(team, team.with_name(f"team{position}"))
        flip_byte(file_of(team.with_name(f"team{position}"), "encoded", mine.conv(BASE)), position)
        done = typed("push", TUNED, "--to", team.with_name(f"team{position}"))
        assert (done.code, "of a parent is damaged" in done.err) == (0, True)
    arrives(TUNED, team.with_name("team-1"), theirs)


def test_a_damaged_manifest_of_a_parent_stops_no_push(
    mine: Family, team: Path, theirs: Path
) -> None:
    typed("push", BASE, "--to", team)
    flip_byte(file_of(mine.home, "manifests", mine.base))
    assert typed("push", TUNED, "--to", team).code == 0
    arrives(TUNED, team, theirs)


def test_what_is_far_too_large_there_is_replaced_unread(
    mine: Family, team: Path, theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed("push", BASE, "--to", team)
    grown = file_of(team, "objects", mine.conv(BASE))
    grown.chmod(0o644)
    os.truncate(grown, 1 << 40)
    view = Store.view

    def small_view(store: Store, kind: Kind, digest: Digest) -> memoryview:
        assert store.size(kind, digest) < 1 << 30
        return view(store, kind, digest)

    monkeypatch.setattr(Store, "view", small_view)
    assert "1 object there was damaged and replaced" in typed("push", BASE, "--to", team).err
    arrives(BASE, team, theirs)


def test_what_was_there_is_read_and_replaced_where_it_is_damaged(
    mine: Family, team: Path, theirs: Path
) -> None:
    typed("push", BASE, "--to", team)
    shared = {item for item, _ in mine.manifest(BASE).objects()} - {mine.conv(BASE)}
    for item in shared:
        flip_byte(file_of(team, "objects", item))
    done = typed("push", TUNED, "--to", team, "--json")
    assert (done.code, done.json["healed_objects"]) == (0, len(shared))
    assert done.json["shared_read"] is True
    assert "were damaged and replaced" in done.err
    arrives(TUNED, team, theirs)


def test_a_pull_says_what_it_has_replaced_here(mine: Family, team: Path) -> None:
    typed("push", BASE, "--to", team)
    flip_byte(file_of(mine.home, "objects", mine.conv(BASE)))
    done = typed("pull", BASE, "--from", team, "--json")
    assert (done.code, done.json["healed_objects"]) == (0, 1)
    assert "1 object here was damaged and replaced" in done.err
    assert "all sound" in typed("verify").out


def test_the_same_push_again_replaces_what_has_been_damaged_since(
    mine: Family, team: Path, theirs: Path
) -> None:
    """Deltas, which need decoding to be seen through, and the manifest."""
    typed("push", BASE, "--to", team)
    typed("push", TUNED, "--to", team)
    flip_byte(file_of(team, "encoded", mine.conv(TUNED)))
    flip_byte(file_of(team, "encoded-manifests", mine.tuned))
    assert typed("push", TUNED, "--to", team).code == 0
    assert "all sound" in typed("verify", team).out
    arrives(TUNED, team, theirs)


def test_what_only_a_folder_has_is_looked_at_before_a_push_is_a_success(
    mine: Family, team: Path
) -> None:
    for name in (BASE, TUNED):
        typed("push", name, "--to", team)
    for name in (BASE, TUNED):
        file_of(mine.home, "objects", mine.conv(name)).unlink()
    assert typed("push", TUNED, "--to", team, "--json").json["shared_read"] is True
    flip_byte(file_of(team, "objects", mine.conv(BASE)))
    for name in (BASE, TUNED):  # as it is, and as a difference from what is damaged
        done = typed("push", name, "--to", team)
        assert (done.code, str(mine.conv(name)) in done.err) == (1, True)
        assert f"zoo verify {team} --repair" in done.err


def test_what_a_newer_version_encoded_there_is_left_alone_and_not_called_read(
    mine: Family, team: Path
) -> None:
    typed("push", BASE, "--to", team, "--repack", "max")
    form = file_of(team, "encoded", mine.conv(BASE))
    newer = form.read_bytes()[:4] + b"\2" + form.read_bytes()[5:]
    write(form, newer)
    again = typed("push", BASE, "--to", team, "--json")
    assert (again.code, again.json["shared_read"]) == (0, False)
    tuned = typed("push", TUNED, "--to", team, "--json")
    assert (tuned.code, tuned.json["damaged_bases"]) == (0, [])
    sent = read_header(file_of(team, "encoded", mine.conv(TUNED)).read_bytes())
    assert sent.base is None, "it stands alone"
    file_of(mine.home, "objects", mine.conv(BASE)).unlink()
    lacking = typed("push", BASE, "--to", team, "--json")
    assert (lacking.code, lacking.json["shared_read"]) == (0, False)
    assert form.read_bytes() == newer


def test_what_is_damaged_on_both_sides_is_no_success(mine: Family, team: Path) -> None:
    typed("push", BASE, "--to", team)
    for root in (mine.home, team):
        flip_byte(file_of(root, "objects", mine.conv(BASE)))
    done = typed("push", BASE, "--to", team)
    assert done.code == 1
    assert str(mine.conv(BASE)) in done.err


@pytest.mark.long
def test_in_a_bucket_sizes_are_compared_and_that_is_said(
    mine: Family, s3: str, theirs: Path
) -> None:
    bucket = BucketPlace(s3)
    typed("push", BASE, "--to", s3)
    (name,) = [name for name in bucket.names("objects", "encoded") if mine.conv(BASE).hex in name]
    bucket.plant(name, bucket.read(name)[:-4] if "objects" in name else bucket.read(name)[:40])
    done = typed("push", BASE, "--to", s3)
    assert done.code == 0
    assert f"what was there already was not read again; zoo verify {s3} reads it" in done.err
    assert "1 object there was damaged and replaced" in done.err
    assert "all sound" in typed("verify", s3).out
    typed("push", TUNED, "--to", s3)
    assert typed("push", TUNED, "--to", s3, "--json").json["shared_read"] is False


def test_what_a_zoo_has_only_encoded_is_to_be_pulled_from_it(
    mine: Family, team: Path, theirs: Path, tmp_path: Path
) -> None:
    """Somebody pushed to it: nothing is missing, and no other remote need have it."""
    typed("init", team)
    for name in (BASE, TUNED):
        typed("push", name, "--to", team)
    typed("--home", team, "reindex")
    done = typed("--home", team, "push", TUNED, "--to", tmp_path / "far")
    assert done.code == 1
    told, helps, *_ = done.err.splitlines()
    assert f"object {mine.conv(TUNED)} is, as a push sends it, only encoded in {team}" in told
    assert helps.endswith(f"zoo pull NAME --from {team}")
    arrives(TUNED, team, theirs)
    assert typed("--home", theirs, "push", TUNED, "--to", tmp_path / "far").code == 0


# A pull


def test_a_damaged_base_here_is_the_one_that_is_named(
    mine: Family, team: Path, theirs: Path
) -> None:
    for name in (BASE, TUNED):
        typed("push", name, "--to", team)
    typed("--home", theirs, "pull", BASE, "--from", team)
    flip_byte(file_of(theirs, "objects", mine.conv(BASE)))
    done = typed("--home", theirs, "pull", TUNED, "--from", team)
    assert done.code == 1
    assert f"object {mine.conv(BASE)} is damaged in {theirs}" in done.err
    assert "zoo verify --repair --from REMOTE" in done.err
    assert str(mine.conv(TUNED)) not in done.err
    assert typed("--home", theirs, "verify", "--repair", "--from", team).code == 0
    arrives(TUNED, team, theirs)


def test_a_damaged_base_there_is_named_with_the_command_for_it(
    mine: Family, team: Path, theirs: Path
) -> None:
    for name in (BASE, TUNED):
        typed("push", name, "--to", team)
    flip_byte(file_of(team, "objects", mine.conv(BASE)))
    done = typed("--home", theirs, "pull", TUNED, "--from", team)
    assert done.code == 1
    assert f"object {mine.conv(BASE)} is damaged in {team}" in done.err
    assert f"zoo verify {team} --repair" in done.err
    found = typed("verify", team, "--json").json["damages"]
    problems = {damage["name"]: damage["problem"] for damage in found}
    assert str(mine.conv(BASE)) in problems[str(mine.conv(TUNED))], "why the delta is unreadable"


@pytest.mark.parametrize("command", ["pull", "prune"])
def test_an_encoded_object_that_claims_too_much_is_named(
    mine: Family, team: Path, theirs: Path, command: str
) -> None:
    typed("push", BASE, "--to", team, "--repack", "max")
    form = file_of(team, "encoded", mine.conv(BASE))
    data = form.read_bytes()
    words = 1 << 44
    chunks = FIXED.unpack(data[: FIXED.size])[:8]
    head = FIXED.pack(*chunks[:1], *chunks[1:4], words, *chunks[5:7], 1 << 31, words >> 33)
    write(form, head + data[FIXED.size :])
    line = ("pull", BASE, "--from", team) if command == "pull" else ("prune", team)
    done = typed("--home", theirs, *line)
    assert done.code == 1
    assert f"encoded object {mine.conv(BASE)}" in done.err


# Manifests that lie


def forge(mine: Family, team: Path, change: Callable[[dict[str, Any]], None]) -> Digest:
    """Put another manifest in the place of `TUNED` at the remote; all its objects are sound."""
    typed("push", TUNED, "--to", team)
    raw = json.loads(file_of(team, "manifests", mine.tuned).read_bytes())
    change(raw)
    data = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    digest = Digest("blake3", blake3(data).hexdigest())
    write(file_of(team, "manifests", digest), data)
    entry = team / "refs" / TUNED / "latest" / "00000001.json"
    move = {**json.loads(entry.read_bytes()), "manifest": str(digest)}
    del move["checksum"]
    write(entry, json.dumps(move).encode())
    return digest


def by_name(raw: dict[str, Any], name: str) -> dict[str, Any]:
    return next(each for each in raw["weights"][0]["tensors"] if each["name"] == name)


def exchange_bytes(raw: dict[str, Any]) -> None:
    one, other = (by_name(raw, f"layer1.0.bn.{name}") for name in ("weight", "bias"))
    for key in ("object", "offset"):
        one[key], other[key] = other[key], one[key]


def exchange_names(raw: dict[str, Any]) -> None:
    one, other = (by_name(raw, f"layer1.0.bn.{name}") for name in ("weight", "bias"))
    one["name"], other["name"] = other["name"], one["name"]


def other_shape(raw: dict[str, Any]) -> None:
    by_name(raw, CONV)["shape"] = [64, 256]


def other_file(raw: dict[str, Any]) -> None:
    raw["weights"][0]["sha256"] = "sha256:" + "0" * 64


LIES = [exchange_bytes, exchange_names, other_shape, other_file]


@pytest.mark.parametrize("lie", LIES)
def test_a_pull_proves_files_against_their_sha256(
    mine: Family, team: Path, theirs: Path, lie: Callable[[dict[str, Any]], None]
) -> None:
    digest = forge(mine, team, lie)
    done = typed("--home", theirs, "pull", TUNED, "--from", team)
    assert done.code == 1
    assert str(digest) in done.err
    assert "model.safetensors" in done.err
    assert not file_of(theirs, "manifests", digest).exists()
    assert typed("--home", theirs, "show", TUNED).code == 1, "the name has not moved"


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("repack", ["fast", "max"])
def test_verify_proves_files_here_and_there(
    mine: Family, team: Path, lie: Callable[[dict[str, Any]], None], repack: str
) -> None:
    if repack == "max":
        typed("push", TUNED, "--to", team, "--repack", "max")
    digest = forge(mine, team, lie)
    done = typed("verify", team, "--json")
    (damage,) = done.json["damages"]
    assert (done.code, damage["kind"], damage["name"]) == (1, "manifest", str(digest))
    assert "model.safetensors" in damage["problem"]
    assert damage["needed_by"] == [TUNED]
    assert "repair it" not in typed("verify", team).err, "a repair would change nothing"


def test_a_file_of_another_sha256_that_is_said_to_be_its_origin_is_not_called_proven(
    mine: Family, team: Path, theirs: Path
) -> None:
    forge(mine, team, lambda raw: raw["provenance"].update(sha256="0" * 64))
    assert typed("--home", theirs, "pull", TUNED, "--from", team).code == 0
    assert "not proven: " in typed("--home", theirs, "show", TUNED).out


@pytest.mark.parametrize(
    "change",
    [
        lambda raw: raw["weights"][0].update(size=2**62),
        lambda raw: raw["weights"][0].update(size=9),
        lambda raw: by_name(raw, CONV).update(nbytes=2**62),
        lambda raw: by_name(raw, CONV).update(offset=2**62),
        lambda raw: by_name(raw, CONV).update(shape=[2**62]),
        lambda raw: raw["provenance"].update(source=["text"]),
        lambda raw: raw["provenance"].update(source=None),
    ],
)
def test_sizes_and_texts_that_cannot_be_are_refused(
    mine: Family, team: Path, theirs: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    forge(mine, team, change)
    done = typed("--home", theirs, "pull", TUNED, "--from", team)
    assert (done.code, "not a manifest" in done.err) == (1, True)


# Names


def test_a_newest_move_that_is_gone_is_missed(mine: Family) -> None:
    typed("tag", BASE, TUNED, "--force")
    (mine.home / "refs" / TUNED / "latest" / "00000002.json").unlink()
    (damage,) = typed("verify", "--json").json["damages"]
    assert (damage["kind"], damage["name"]) == ("ref", TUNED)
    assert "entry 2" in damage["problem"]
    assert "repair it" not in typed("verify").err


def test_a_name_that_is_gone_is_missed(mine: Family) -> None:
    shutil.rmtree(mine.home / "refs" / TUNED)
    (damage,) = typed("verify", "--json").json["damages"]
    assert (damage["kind"], damage["name"]) == ("ref", TUNED)


def test_a_newest_move_that_is_gone_from_a_remote_is_missed(mine: Family, team: Path) -> None:
    typed("push", BASE, "--to", team)
    typed("push", TUNED, "--to", team)
    typed("remote", "add", "lab", team)
    assert typed("fetch", "lab").code == 0
    shutil.rmtree(team / "refs" / TUNED)
    found = typed("verify", "lab", "--json").json["damages"]
    assert [(damage["kind"], damage["name"]) for damage in found] == [("ref", TUNED)]


def test_a_history_whose_moves_do_not_follow_is_noticed(mine: Family) -> None:
    typed("tag", BASE, TUNED, "--force")
    entry = mine.home / "refs" / TUNED / "latest" / "00000001.json"
    raw = {**json.loads(entry.read_bytes()), "manifest": str(mine.base)}
    raw.pop("checksum")  # as early versions wrote them
    write(entry, json.dumps(raw).encode())
    (damage,) = typed("verify", "--json").json["damages"]
    assert (damage["kind"], damage["name"]) == ("ref", TUNED)
    assert "entry 2" in damage["problem"]


@pytest.mark.parametrize("field", ["by", "why", "at"])
def test_a_changed_text_of_a_move_is_noticed_and_stops_nobody(mine: Family, field: str) -> None:
    entry = mine.home / "refs" / TUNED / "latest" / "00000001.json"
    write(entry, json.dumps({**json.loads(entry.read_bytes()), field: "2001-01-01"}).encode())
    (damage,) = typed("verify", "--json").json["damages"]
    assert (damage["kind"], damage["name"]) == ("ref", TUNED)
    assert "text was changed" in damage["problem"]
    assert typed("show", TUNED).code == 0


def test_entries_of_early_versions_have_no_checksum(mine: Family) -> None:
    for entry in (mine.home / "refs").rglob("*.json"):
        raw = json.loads(entry.read_bytes())
        assert raw.pop("checksum")
        write(entry, json.dumps(raw, sort_keys=True, separators=(",", ":")).encode())
    assert "all sound" in typed("verify").out


# What a repair leaves alone


def test_a_newer_format_is_not_called_damaged(mine: Family) -> None:
    data = b'{"format":9}'
    digest = Digest("blake3", blake3(data).hexdigest())
    write(file_of(mine.home, "manifests", digest), data)
    done = typed("verify")
    assert done.code == 0
    assert f"newer    manifest {digest}: manifest format 9" in done.out
    assert "the rest sound; 1 of a newer format, not checked" in done.out
    assert "damaged" not in done.out
    assert "repair it" not in done.err
    assert "update zoo where it was installed from" in done.err
    report = typed("verify", "--json").json
    assert (report["damages"], [each["name"] for each in report["newer"]]) == ([], [str(digest)])


def test_what_a_repair_leaves_alone_is_not_said_to_be_mended_by_it(mine: Family) -> None:
    typed("tag", BASE, TUNED, "--force")
    (mine.home / "refs" / TUNED / "latest" / "00000001.json").unlink()
    write(mine.home / "objects" / "notes.txt", b"mine")
    done = typed("verify")
    assert done.code == 1
    assert "repair it" not in done.err
    assert "does not fix refs" in done.err
    flip_byte(file_of(mine.home, "objects", mine.conv(BASE)))
    assert "repair it: zoo verify --repair" in typed("verify").err


def test_flipped_bits_anywhere_in_a_place_are_found(mine: Family, place: Place) -> None:
    """In a bucket too, where objects are read for the files that they are in."""
    typed("push", BASE, "--to", place.location)
    typed("push", TUNED, "--to", place.location)
    assert "all sound" in typed("verify", place.location).out
    name = next(name for name in place.names("encoded", "objects") if mine.conv(TUNED).hex in name)
    flip(place, name)
    found = typed("verify", place.location, "--json").json["damages"]
    assert [damage["name"] for damage in found] == [str(mine.conv(TUNED))]


# Weights


def test_nan_is_imported_and_said(mine: Family, tmp_path: Path) -> None:
    state = timm.create_model("test_vit").state_dict()
    state["head.weight"][0, 0] = float("nan")
    state["head.bias"][:2] = torch.tensor([float("inf"), -float("inf")])
    save_file(state, tmp_path / "x.safetensors")
    line = ("import", tmp_path / "x.safetensors", "--architecture", "test_vit", "--as", "team/x")
    done = typed(*line)
    assert (done.code, done.err) == (
        0,
        "x.safetensors: NaN or infinite values in head.bias, head.weight\n",
    )
    assert typed(*line, "--json").json["nan_tensors"] == ["head.bias", "head.weight"]
    assert typed("ls").err == "with NaN or infinite weights: team/x\n"
    done = typed("verify")
    assert (done.code, done.err) == (0, "")
    assert "unfit    team/x: NaN or infinite values in head.bias, head.weight\n" in done.out
    assert "all sound" in done.out
    assert typed("show", "team/x").out.count("NaN or infinite") == 1  # the manifest says it
    said = "WARNING: team/x: NaN or infinite values in head.bias, head.weight\n"
    again = ("push", BASE, "team/x", "--to", tmp_path / "far")
    assert said in typed(*again).err, "of which it is"
    assert "WARNING" not in typed(*again, "team/x:main").err, "what is there was told"


def test_several_names_are_pushed_at_once_and_none_if_one_has_a_slip(
    mine: Family, team: Path
) -> None:
    refused = typed("push", BASE, "team/tunde", "--to", team)
    assert (refused.code, team.exists()) == (1, False)
    assert TUNED in refused.err, "it is suggested"
    done = typed("push", BASE, f"{TUNED}*", BASE, "--to", team, "--json").json
    assert [each["ref"] for each in done] == [BASE, TUNED]
    assert "takes one checkpoint" in typed("push", BASE, TUNED, "--to", "hf://team/x").err
