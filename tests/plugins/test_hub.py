from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import pytest
from fakes.hub_protocol import git_hash
from fakes.hub_server import HubServer, Raw, Status
from huggingface_hub import constants, hf_hub_download

from zoo.contracts import Source
from zoo.domain.catalog import Release, SourceFile
from zoo.errors import InvalidReference, Unavailable, UnknownName, Unsupported
from zoo_hub.source import HubSource

REPO = "team/flowers"
WEIGHTS = random.Random(7).randbytes(3_000_000)
FILES = {"model.safetensors": WEIGHTS, "config.json": b'{"architecture": "resnet18"}'}
SECRET = "hf_secretsecretsecret"


def read(
    source: HubSource, release: Release, path: str = "model.safetensors", at: int = 0
) -> bytes:
    return b"".join(source.open(release, path, at))


def test_is_a_source_that_asks_the_network(source: HubSource) -> None:
    assert isinstance(source, Source)
    assert source.network
    assert source.version()


def test_resolve_pins_the_commit_with_sizes_and_digests(
    hub_server: HubServer, source: HubSource
) -> None:
    commit = hub_server.commit(REPO, FILES, card={"license": "apache-2.0"})
    assert source.resolve(REPO) == Release(
        source="hub",
        locator=REPO,
        revision=commit,
        files=(
            SourceFile(
                "config.json", len(FILES["config.json"]), git=git_hash(FILES["config.json"])
            ),
            SourceFile("model.safetensors", len(WEIGHTS), hashlib.sha256(WEIGHTS).hexdigest()),
        ),
        weights="model.safetensors",
        license="apache-2.0",
    )


def test_resolve_of_a_branch_a_commit_and_a_revision_with_a_slash(
    hub_server: HubServer, source: HubSource
) -> None:
    first = hub_server.commit(REPO, FILES)
    second = hub_server.commit(REPO, FILES)
    dev = hub_server.commit(REPO, FILES, branch="dev/a")
    assert source.resolve(f"{REPO}@main").revision == second
    assert source.resolve(f"{REPO}@{first}").revision == first
    assert source.resolve(f"{REPO}@dev/a").revision == dev


@pytest.mark.parametrize(
    ("paths", "weights"),
    [
        (["pytorch_model.bin", "model.safetensors", "open_clip.safetensors"], "model.safetensors"),
        (["pytorch_model.bin", "adapter_model.safetensors", "eva.safetensors"], "eva.safetensors"),
        (["pytorch_model.bin", "unet/part.safetensors"], "pytorch_model.bin"),
        (["a.safetensors", "b.safetensors", "pytorch_model.bin"], "pytorch_model.bin"),
        (["model.safetensors.index.json", "m-1.safetensors"], "model.safetensors.index.json"),
        (["pytorch_model.bin.index.json", "m-1.bin"], "pytorch_model.bin.index.json"),
        (["README.md", "open_clip_pytorch_model.bin"], "open_clip_pytorch_model.bin"),
    ],
)
def test_resolve_chooses_the_weights(
    hub_server: HubServer, source: HubSource, paths: list[str], weights: str
) -> None:
    hub_server.commit(REPO, dict.fromkeys(paths, b"x"))
    assert source.resolve(REPO).weights == weights


@pytest.mark.parametrize(
    ("paths", "text"),
    [
        (["README.md", "flax_model.msgpack"], "found README.md, flax_model.msgpack"),
        ([], "found no files"),
        (["adapter_model.safetensors"], "found adapter_model.safetensors"),
        (["a.safetensors", "b.safetensors"], "found a.safetensors, b.safetensors"),
        (["../model.safetensors"], "outside of itself"),
    ],
)
def test_resolve_refuses_what_it_cannot_read(
    hub_server: HubServer, source: HubSource, paths: list[str], text: str
) -> None:
    hub_server.commit(REPO, dict.fromkeys(paths, b"x"))
    with pytest.raises(Unsupported, match=text):
        source.resolve(REPO)


@pytest.mark.parametrize(
    "locator",
    ["flowers", "a/b/c", "../flowers", "team/..", "/etc/passwd", "team/x.git", "", "team/", "@main"]
    + [f"{REPO}@{revision}" for revision in ("", "../../x", "x/../../y", "a b", "a@b", "/x")],
)
def test_malformed_locators_never_reach_the_hub(
    hub_server: HubServer, source: HubSource, locator: str
) -> None:
    with pytest.raises(InvalidReference):
        source.resolve(locator)
    assert hub_server.log == []


def test_unknown_repository_revision_and_file(
    hub_server: HubServer, source: HubSource, release: Release
) -> None:
    found = []
    for call in (
        lambda: source.resolve("team/nothing"),
        lambda: source.resolve(f"{REPO}@v9"),
        lambda: read(source, release, "modell.safetensors"),
    ):
        with pytest.raises(UnknownName) as caught:
            call()
        found.append((caught.value.kind, caught.value.name, caught.value.near))
    assert found == [
        ("hub repository", "team/nothing", ()),
        ("hub revision", f"{REPO}@v9", ()),
        ("hub file", f"{REPO}@{release.revision}/modell.safetensors", ("model.safetensors",)),
    ]


def test_a_file_that_the_hub_has_lost(
    hub_server: HubServer, source: HubSource, release: Release
) -> None:
    hub_server.repos[REPO].commits[release.revision] = {}
    with pytest.raises(UnknownName, match=r"hub file 'team/flowers@\w+/model.safetensors'"):
        read(source, release)


def test_404_without_a_code_is_no_statement_about_the_name(
    hub_server: HubServer, source: HubSource, release: Release, pauses: list[float]
) -> None:
    hub_server.fail_next(Status(404), Status(404))
    with pytest.raises(Unavailable, match="answered 404 Not Found when asked for 'team/flowers'"):
        source.resolve(REPO)
    with pytest.raises(Unavailable, match=r"404 .*model\.safetensors"):
        read(source, release)
    assert pauses == []


ODD_FILES: tuple[dict[str, object], ...] = (
    {"size": "12"},
    {"size": -1},
    {"size": True},
    {"blobId": 5},
    {"lfs": {"sha256": 5}},
)


def with_file(told: dict[str, object]) -> bytes:
    sibling = {"rfilename": "model.safetensors", "size": 1, **told}
    return json.dumps({"id": REPO, "sha": "0" * 40, "siblings": [sibling]}).encode()


@pytest.mark.parametrize(
    "body", [b"<html>log in to the network</html>", b"[]", b"{}", *map(with_file, ODD_FILES)]
)
def test_an_answer_that_is_not_a_hubs(
    hub_server: HubServer, source: HubSource, body: bytes
) -> None:
    hub_server.fail_next(Raw(body))
    with pytest.raises(Unavailable, match="not that of a model hub"):
        source.resolve(REPO)


@pytest.mark.parametrize(
    ("changed", "text"), [({"sha": "main"}, "names no commit"), ({"size": None}, "states no size")]
)
def test_an_answer_that_pins_nothing(
    hub_server: HubServer, source: HubSource, changed: dict[str, str | None], text: str
) -> None:
    sibling = {"rfilename": "model.safetensors", "size": changed.get("size", 1)}
    info = {"id": REPO, "sha": changed.get("sha", "0" * 40), "siblings": [sibling]}
    hub_server.fail_next(Raw(json.dumps(info).encode()))
    with pytest.raises(Unavailable, match=text):
        source.resolve(REPO)


def test_a_cached_file_is_not_asked_for(
    hub_server: HubServer, source: HubSource, release: Release
) -> None:
    cached = hf_hub_download(REPO, "model.safetensors", endpoint=hub_server.url)
    hub_server.log.clear()
    assert read(source, release) == WEIGHTS
    assert read(source, release, at=2_000_000) == WEIGHTS[2_000_000:]
    assert hub_server.log == []

    hub_server.commit(REPO, {"model.safetensors": b"other"})
    assert read(source, source.resolve(REPO)) == b"other"  # a commit that is not cached
    Path(cached).resolve().write_bytes(b"damaged")
    assert read(source, release) == WEIGHTS


def test_offline_says_so_and_asks_nothing(
    hub_server: HubServer, source: HubSource, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_server.log.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for call in (lambda: source.resolve(REPO), lambda: read(source, release)):
        with pytest.raises(Unavailable, match=r"HF_HUB_OFFLINE forbids .*'team/flowers"):
            call()
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)  # as set before the library was loaded
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE"):
        source.resolve(REPO)
    assert hub_server.log == []


def test_offline_delivers_what_is_cached(
    hub_server: HubServer, source: HubSource, release: Release, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in FILES:
        hf_hub_download(REPO, path, endpoint=hub_server.url)
    hub_server.log.clear()
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for locator in (REPO, f"{REPO}@{release.revision}"):
        cached = source.resolve(locator)
        assert cached.revision == release.revision
        assert cached.files == release.files
        assert cached.weights == "model.safetensors"
        assert read(source, cached) == WEIGHTS
    assert hub_server.log == []
