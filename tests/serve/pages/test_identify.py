"""Identify: keys of a file are sent; what it is comes back, as far as who asks may read that."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import pytest
import torch
from fakes.paged import HTML, NASTY, canaries, text_of
from fakes.prepared import copy_zoo
from fakes.served import Got, Served, serving
from lxml import html
from safetensors.torch import load_file, save_file

import zoo
from zoo.domain.limits import KEYED_TENSORS, REQUEST_BYTES
from zoo.exchange.identifying import file_keys
from zoo.lookup.keys import read_keys
from zoo.serve.who.alone import LinkHolder

PAGE, TWIN = "/-/identify", "/-/identify.json"


@pytest.fixture(scope="module")
def files(tuned: Served, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The files of ``team/tuned`` and ``team/base``."""
    folder = tmp_path_factory.mktemp("weights")
    found = {}
    with zoo.open(tuned.root) as opened:
        for name in ("tuned", "base"):
            opened.export(f"team/{name}", folder / name)
            (found[name],) = (folder / name).glob("*.safetensors")
    return found


@pytest.fixture
def weights(files: dict[str, Path]) -> Path:
    return files["tuned"]


def keys(path: Path) -> bytes:
    return json.dumps(file_keys(path).to_json()).encode()


def asked(served: Served, body: bytes, token: str | None = None) -> Got:
    return served.ask(TWIN, "POST", token=token, body=body)


def names(got: Got) -> list[str]:
    return [one["name"] for one in got.json["matches"]]


def sent(served: Served, body: bytes, token: str | None = None) -> tuple[Got, html.HtmlElement]:
    """The form is sent, by a page of the server."""
    form = urlencode({"file": "mine.safetensors", "keys": body.decode()}).encode()
    got = served.ask(PAGE, "POST", token=token, body=form, Accept=HTML, Origin=served.url)
    return got, html.fromstring(got.body.decode().replace("<wbr>", ""))


def saved(path: Path, state: dict[str, torch.Tensor]) -> Path:
    save_file({name: each.contiguous() for name, each in state.items()}, path)
    return path


def test_it_says_what_the_command_says(tuned: Served, weights: Path, tmp_path: Path) -> None:
    """Of the file itself, of one with other names, a cast, a part, one that was changed."""
    state, token = load_file(weights), tuned.token("ann")
    torch.manual_seed(1)
    name = next(name for name in state if state[name].ndim == 4)
    files = {
        "same": weights,
        "prefixed": saved(tmp_path / "p.safetensors", {f"module.{k}": v for k, v in state.items()}),
        "part": saved(tmp_path / "x.safetensors", {k: v for k, v in state.items() if k != name}),
        "cast": saved(tmp_path / "c.safetensors",
                      {k: v.half() if v.is_floating_point() else v for k, v in state.items()}),
        "derived": saved(tmp_path / "d.safetensors",
                         {**state, name: torch.randn(state[name].shape)}),
        "unknown": saved(tmp_path / "u.safetensors", {"w": torch.randn(40, 40)}),
    }  # fmt: skip
    with zoo.open(tuned.root) as opened:
        for kind, path in files.items():
            theirs = json.loads(json.dumps(opened.identify(path).to_json()))
            ours = asked(tuned, keys(path), token).json
            assert ours["verdict"] == theirs["verdict"] == kind.replace("prefixed", "same")
            assert len(ours["matches"]) == len(theirs["matches"])
            for mine, other in zip(ours["matches"], theirs["matches"], strict=True):
                for field in ("verdict", "share", "prefix", "renamed", "casts", "units",
                              "identical_file"):  # fmt: skip
                    assert mine[field] == other[field], (kind, field)
                assert mine["digest"] == other["manifest"]
                assert (mine["missing"], mine["added"]) == (
                    len(other["missing"]), len(other["added"]))  # fmt: skip
                assert mine["departs"] == (other["departs"] or "")


def test_a_known_hash_gives_nothing_of_what_may_not_be_read(
    tuned: Served, files: dict[str, Path]
) -> None:
    """``team/base`` has the same bytes in five units; to ben there is no such thing."""
    ann, ben = tuned.token("ann"), tuned.token("ben")
    assert names(asked(tuned, keys(files["tuned"]), ann))[:2] == ["team/tuned", "team/base"]
    assert names(asked(tuned, keys(files["base"]), ann))[0] == "team/base"
    for file in files.values():
        told = asked(tuned, keys(file), ben)
        assert names(told)[0].startswith("team/tuned")
        assert not [each for each in names(told) if not each.startswith("team/tuned")]
        assert told.json == asked(tuned, keys(file)).json
    tuned.accounts.set_level("team/tuned", level="private")
    try:
        nothing = asked(tuned, keys(files["base"])).json
        assert (nothing["verdict"], nothing["matches"]) == ("unknown", [])
    finally:
        tuned.accounts.set_level("team/tuned", level="public")


def test_what_is_hidden_does_not_crowd_out_what_may_be_read(
    tuned: Served, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who may not read what is closest would learn that there is something closer."""
    monkeypatch.setattr("zoo.lookup.identify.CANDIDATES", 1)
    assert names(asked(tuned, keys(files["base"]), tuned.token("ann")))[0] == "team/base"
    assert names(asked(tuned, keys(files["base"])))[0].startswith("team/tuned")


def test_the_form(tuned: Served, weights: Path) -> None:
    got, tree = sent(tuned, keys(weights), tuned.token("ann"))
    assert got.status == 200
    assert "mine.safetensors is team/tuned" in text_of(tree)
    assert "100.0% match; byte for byte its own file" in text_of(tree)
    (link,) = tree.xpath("//main//h2/a/@href")
    assert tuned.ask(link, token=tuned.token("ann")).status == 200


@pytest.mark.parametrize("body", [
    b"", b"{}", b"[]", b"nonsense", b'{"zoo_keys": 2, "tensors": []}', b"[" * 100_000,
    b'{"zoo_keys": 1, "tensors": []}', b'{"zoo_keys": 1, "tensors": [["a", "F32", [1]]]}',
    b'{"zoo_keys": 1, "tensors": [["a", "F32", [-1], "%b", []]]}' % (b"0" * 64),
    b'{"zoo_keys": 1, "tensors": [["a", "F99", [1], "%b", []]]}' % (b"0" * 64),
    b'{"zoo_keys": 1, "tensors": [["a", "F32", [1], "../../etc", []]]}',
    b'{"zoo_keys": 1, "tensors": [["a", "F32", [%b], "%b", []]]}'
    % (b",".join([b"9223372036854775807"] * 64), b"0" * 64),
    b'{"zoo_keys": 1, "tensors": [["a", "F32", [%b], "%b", []]]}'
    % (b",".join([b"1"] * 65), b"0" * 64),
    b'{"zoo_keys": 1, "tensors": [["a", "F32", [1], "%b", []], ["a", "F32", [1], "%b", []]]}'
    % (b"0" * 64, b"0" * 64),
    b'{"zoo_keys": 1, "tensors": [["a", "F32", [1], "%b", ["0000000000000000\\n"]]]}' % (b"0" * 64),
])  # fmt: skip
def test_what_are_no_keys(tuned: Served, body: bytes) -> None:
    got = asked(tuned, body)
    assert (got.status, got.code) == (400, "BadRequest")
    shown, tree = sent(tuned, body)
    assert shown.status == 400
    assert "These are no keys" in text_of(tree)
    assert canaries(tree) == tree.xpath("//head/script")


def test_too_many_tensors_and_too_much(tuned: Served) -> None:
    row = ["", "U8", [1], "0" * 64, []]
    rows = [[f"{n}", *row[1:]] for n in range(KEYED_TENSORS + 1)]
    with pytest.raises(ValueError, match="length <= 10000"):
        read_keys(json.dumps({"zoo_keys": 1, "tensors": rows}).encode())
    assert asked(tuned, b" " * (REQUEST_BYTES + 1)).code == "TooLarge"


def test_names_of_strangers_do_nothing(tuned: Served, weights: Path) -> None:
    document = json.loads(keys(weights))
    document["tensors"] += [[each, "U8", [1], "0" * 64, []] for each in NASTY]
    form = urlencode({"file": NASTY[1], "keys": json.dumps(document)}).encode()
    got = tuned.ask(PAGE, "POST", body=form, Accept=HTML, Origin=tuned.url)
    tree = html.fromstring(got.body.decode())
    assert (got.status, canaries(tree)) == (200, tree.xpath("//head/script"))
    assert NASTY[0] in text_of(tree)


def test_another_sites_form_is_refused(tuned: Served, weights: Path) -> None:
    form = urlencode({"keys": keys(weights).decode()}).encode()
    got = tuned.ask(PAGE, "POST", body=form, Origin="https://evil.example")
    assert got.code == "Forbidden"


@pytest.mark.long
def test_the_line_of_the_docs(tuned: Served, weights: Path, tmp_path: Path) -> None:
    """As docs/pages.md has it, in a folder that is no zoo."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    page = (Path(__file__).parents[3] / "docs" / "pages.md").read_text()
    found = re.search(r"^zoo( identify .*)http://127\.0\.0\.1:8765(/.*)$", page, re.MULTILINE)
    assert found
    torch.save({"state_dict": load_file(weights)}, tmp_path / "best.pth")
    line = f"{sys.executable} -m zoo_cli{found[1]}{tuned.url}{found[2]}"
    environment = {**os.environ, "HF_TOKEN": tuned.token("ann")}
    done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, env=environment, check=True,
                          capture_output=True, timeout=60)  # fmt: skip
    said = json.loads(done.stdout)
    assert (said["verdict"], said["matches"][0]["name"]) == ("same", "team/tuned")
    assert not said["matches"][0]["identical_file"], "it is a pickle of the same tensors"


def test_what_has_a_name_now_is_before_what_had_it(tuned: Served, files: dict[str, Path]) -> None:
    """They have the same weights: of the later one more is stated."""
    with zoo.open(tuned.root) as opened:
        assert opened.edit("team/base", license="mit").changed
    found = names(asked(tuned, keys(files["base"]), tuned.token("ann")))
    assert found[:2] == ["team/base", "team/base, earlier"]


@pytest.mark.long
def test_all_names_are_told_in_ones_own_zoo_also_those_that_it_had(
    tuned_home: Path, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, body = copy_zoo(tuned_home, tmp_path / "zoo"), keys(files["tuned"])
    with zoo.open(root) as opened, serving(root) as served:
        monkeypatch.setattr(served.server.hub, "alone", alone := LinkHolder())
        cookie = f"zoo-{urlsplit(served.url).port}={alone.open(alone.key)}"

        def told() -> str:
            form = urlencode({"keys": body.decode()}).encode()
            got = served.ask(PAGE, "POST", body=form, Accept=HTML, Origin=served.url, Cookie=cookie)
            return text_of(html.fromstring(got.body.decode().replace("<wbr>", "")), "//section/h2")

        opened.tag("team/tuned", "exp/one")
        assert told() == "The file is exp/one also team/tuned"
        opened.protect("team/tuned:v1", on=False)
        for row in opened.search(pulled=True):
            opened.delete(row.name)
        assert "no name has it now ; it was" in told()
        assert "exp/one" in told()
