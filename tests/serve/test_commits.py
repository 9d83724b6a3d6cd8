"""Files are added and deleted over HTTP, as stock clients and as hostile ones ask for it."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes.checkpoints import assert_sound, store_checkpoint, tensors
from fakes.sending import sha256
from fakes.served import CONFIG, Got, Served, with_files
from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi, get_hf_file_metadata
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RevisionNotFoundError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save

from zoo.domain.digest import Digest
from zoo.domain.reference import Reference
from zoo.domain.snapshot import Snapshot, SnapshotFile
from zoo.errors import DiskFull
from zoo.serve.http.errors import Refused
from zoo.serve.hub.operations import applied, read_operations
from zoo.serve.keep.front import front_matter
from zoo.serve.keep.history import History
from zoo.serve.keep.views import Views
from zoo.store import Store, turn
from zoo.store.prune import execute, plan
from zoo.store.verify import verify

WEIGHTS = save({"a": np.arange(40_000, dtype=np.float32), "b.bias": np.ones(9, np.float32)})


@pytest.fixture(scope="module")
def writer(served: Served) -> str:
    """A token to write with."""
    token = served.token("wen", "write")
    for namespace in ("team", "wen"):
        served.accounts.grant(namespace, "wen", "owner")
    return token


@pytest.fixture
def api(served: Served, writer: str) -> HfApi:
    """A stock client."""
    return HfApi(endpoint=served.url, token=writer)


@pytest.fixture
def repo(api: HfApi, request: pytest.FixtureRequest) -> str:
    """An empty repository of this test's own."""
    name = f"team/{abs(hash(request.node.name)) % 10**9}"
    api.create_repo(name)
    return name


class Plain:
    """Commits as they are sent, without a client."""

    def __init__(self, served: Served, token: str, repo: str) -> None:
        self.served, self.token, self.repo = served, token, repo

    def send(self, *lines: dict[str, Any] | bytes, branch: str = "main", query: str = "") -> Got:
        """Send these lines."""
        body = b"\n".join(x if isinstance(x, bytes) else json.dumps(x).encode() for x in lines)
        path = f"/api/models/{self.repo}/commit/{branch}{query}"
        return self.served.ask(path, "POST", token=self.token, body=body)

    def head(self, revision: str = "main") -> str:
        """The newest commit."""
        path = f"/api/models/{self.repo}/revision/{revision}"
        return str(self.served.ask(path, token=self.token).json["sha"])


@pytest.fixture
def plain(served: Served, writer: str, repo: str) -> Plain:
    return Plain(served, writer, repo)


def header(summary: str = "add", **more: str) -> dict[str, Any]:
    return {"key": "header", "value": {"summary": summary, "description": "", **more}}


def small(path: str, data: bytes = b"hello") -> dict[str, Any]:
    return text(path, base64.b64encode(data).decode(), "base64")


def text(path: str, content: str, encoding: str) -> dict[str, Any]:
    return {"key": "file", "value": {"content": content, "path": path, "encoding": encoding}}


def large(path: str, data: bytes) -> dict[str, Any]:
    value = {"path": path, "algo": "sha256", "oid": sha256(data), "size": len(data)}
    return {"key": "lfsFile", "value": value}


def gone(path: str, kind: str = "deletedFile") -> dict[str, Any]:
    return {"key": kind, "value": {"path": path}}


def test_a_stock_client_adds_edits_and_deletes(
    api: HfApi, repo: str, served: Served, writer: str
) -> None:
    assert api.list_repo_files(repo) == []
    assert list(api.list_repo_commits(repo)) == []
    with pytest.raises(EntryNotFoundError):  # libraries look for a README before they send one
        get_hf_file_metadata(f"{served.url}/{repo}/resolve/main/README.md", token=writer)
    readme = b"---\nlicense: mit\n---\n# Hello\n"
    first = api.create_commit(
        repo, [CommitOperationAdd("README.md", readme), CommitOperationAdd("data/a/x.txt", b"x")],
        commit_message="first  one", commit_description="And more.",
    )  # fmt: skip
    assert first.commit_url == f"{served.url}/{repo}/commit/{first.oid}"
    assert api.list_repo_files(repo) == ["README.md", "data/a/x.txt"]
    second = api.create_commit(
        repo,
        [CommitOperationAdd("b.txt", b"b"), CommitOperationDelete("data/", is_folder=True)],
        commit_message="second",
        parent_commit=first.oid,
    )
    assert api.list_repo_files(repo) == ["README.md", "b.txt"]
    commits = api.list_repo_commits(repo)
    assert [(each.commit_id, each.title, each.message) for each in commits] == [
        (second.oid, "second", ""), (first.oid, "first one", "And more."),
    ]  # fmt: skip
    assert commits[0].authors == ["wen"]
    same = api.upload_file(path_or_fileobj=b"b", path_in_repo="b.txt", repo_id=repo)
    assert same.oid == second.oid, "nothing has changed"
    with pytest.raises(HfHubHTTPError, match="412"):
        api.create_commit(repo, [CommitOperationDelete("b.txt")], commit_message="x",
                          parent_commit=first.oid)  # fmt: skip
    with pytest.raises(EntryNotFoundError):
        api.delete_file("nothing", repo)
    with pytest.raises(ValueError, match="front of README"):
        api.upload_file(path_or_fileobj=b"---\na: [\n---\n", path_in_repo="README.md", repo_id=repo)


def test_a_stock_client_sees_folders(
    api: HfApi, repo: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [CommitOperationAdd(path, path.encode()) for path in ("a/b/c", "a/d", "a.txt", "z")]
    api.create_commit(repo, files, commit_message="folders")
    assert [each.path for each in api.list_repo_tree(repo)] == ["a", "a.txt", "z"]
    assert [each.path for each in api.list_repo_tree(repo, "a")] == ["a/b", "a/d"]
    whole = [each.path for each in api.list_repo_tree(repo, recursive=True)]
    assert whole == ["a", "a.txt", "a/b", "a/b/c", "a/d", "z"]
    assert [each.path for each in api.get_paths_info(repo, ["a", "z", "q"])] == ["a", "z"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(repo, "a/q"))
    monkeypatch.setattr("zoo.serve.hub.tree.PAGE", 2)
    assert [each.path for each in api.list_repo_tree(repo, recursive=True)] == whole
    monkeypatch.setattr("zoo.serve.hub.tree.EXPANDED", 1)
    expanded = [*api.list_repo_tree(repo, recursive=True, expand=True)]
    assert [each.path for each in expanded] == whole


def test_weights_are_taken_apart_and_come_back_as_they_were(
    api: HfApi, repo: str, served: Served, writer: str
) -> None:
    api.upload_file(path_or_fileobj=WEIGHTS, path_in_repo="in/model.safetensors", repo_id=repo)
    api.upload_file(path_or_fileobj=b"x" * 2_000_000, path_in_repo="big.bin", repo_id=repo)
    store = served.server.hub.workspace.store
    entry = store.read_ref(Reference.parse(repo))
    assert entry
    snapshot = store.document(entry.manifest)
    assert isinstance(snapshot, Snapshot)
    weights = snapshot.by_path["in/model.safetensors"].weights
    assert weights
    assert len(weights.tensors) == 2
    got = served.ask(f"/{repo}/resolve/{entry_commit(served, repo)}/in/model.safetensors",
                     token=writer)  # fmt: skip
    assert got.body == WEIGHTS
    assert got.headers["etag"] == f'"{sha256(WEIGHTS)}"'
    assert verify(store).damages == ()
    assert_sound(store)


def entry_commit(served: Served, repo: str) -> str:
    hub = served.server.hub
    found = hub.history.commit(repo, "main", 9)
    assert found
    return found.id


def test_a_checkpoint_goes_on_with_files_and_stays_one(
    api: HfApi, served: Served, writer: str
) -> None:
    before = api.list_repo_files("team/net")
    workspace = served.server.hub.workspace
    _, checkpoint = workspace.names.resolve("team/net")
    api.upload_file(path_or_fileobj=b"# Mine\n", path_in_repo="README.md", repo_id="team/net")
    assert api.list_repo_files("team/net") == before
    assert served.ask("/team/net/resolve/main/README.md", token=writer).status == 307
    assert workspace.names.resolve("team/net")[1] == checkpoint
    assert workspace.registry.ref(Reference.parse("team/net")) == checkpoint
    api.delete_file("model.safetensors", "team/net")
    assert workspace.registry.ref(Reference.parse("team/net")) is None
    assert api.model_info("team/net").siblings


def test_a_pickle_is_kept_and_never_opened(
    plain: Plain, served: Served, tmp_path: Path, token: str
) -> None:
    """Not to show it, either."""
    opened = tmp_path / "opened"

    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (opened,)

    data = pickle.dumps(Bomb())
    pickle.loads(data)
    opened.unlink()
    names = ("pytorch_model.bin", "model.safetensors", "x.pt", "examples.png")
    sent = [small(name, data) for name in names]
    assert plain.send(header(), small("config.json", CONFIG), *sent).status == 200
    for path in ("", "/files", "/layers", "/lineage", "/versions", "/examples.png"):
        assert served.ask(f"/{plain.repo}{path}", token=token, Accept="text/html").status < 500
    assert served.ask(f"/api/models/{plain.repo}?full=1&blobs=1", token=token).status == 200
    for name in names:
        got = served.ask(f"/{plain.repo}/resolve/{plain.head()}/{name}", token=token)
        assert (got.body, got.headers["content-type"]) == (data, "application/octet-stream")
    assert not opened.exists()


def test_a_lost_answer_is_given_again(plain: Plain) -> None:
    first = plain.send(header(), small("a"), small("b")).json["commitOid"]
    lines = header("next", parentCommit=first), gone("a"), small("c")
    second = plain.send(*lines).json["commitOid"]
    assert plain.send(*lines).json["commitOid"] == second
    assert plain.send(header("next"), gone("a"), small("c")).json["commitOid"] == second
    other = plain.send(header("other", parentCommit=first), gone("a"), small("c"))
    assert (other.status, other.code) == (412, "Moved")
    assert plain.head() == second


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([b"{"], "BadRequest"),
        ([b"[]"], "BadRequest"),
        ([b"[" * 100_000], "BadRequest"),
        ([{"key": "file", "value": {}}], "BadRequest"),
        ([{"key": "exec", "value": {}}], "BadRequest"),
        ([small("../x")], "BadRequest"),
        ([small("a/.git/config")], "BadRequest"),
        ([small("a\\b")], "BadRequest"),
        ([small("a/" * 33 + "b")], "BadRequest"),
        ([small("a"), small("a/b")], "BadRequest"),
        ([text("a", "?", "base64")], "BadRequest"),
        ([text("a", "x", "rot13")], "BadRequest"),
        ([large("a", b"never sent")], "BadRequest"),
        ([{"key": "lfsFile", "value": {"path": "a", "oid": "x"}}], "BadRequest"),
        ([gone("nothing")], "EntryNotFound"),
        ([gone("nothing", "deletedFolder")], "EntryNotFound"),
    ],
)  # fmt: skip
def test_what_is_no_commit_is_refused(
    plain: Plain, lines: list[dict[str, Any] | bytes], code: str
) -> None:
    got = plain.send(header(), *lines)
    assert got.code == code, got
    assert plain.send(small("a")).code == "BadRequest", "it has no header"
    assert not plain.served.server.hub.history.versions(plain.repo)


KEYS = st.sampled_from(
    [
        "header",
        "file",
        "lfsFile",
        "deletedFile",
        "deletedFolder",
        "path",
        "content",
        "oid",
        "size",
        "summary",
        "parentCommit",
        "encoding",
        "key",
        "value",
    ]
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9) | KEYS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=6,
)
LINES = st.binary(max_size=40) | st.fixed_dictionaries({"key": KEYS, "value": VALUES}).map(
    lambda line: json.dumps(line).encode()
)


@settings(max_examples=150, deadline=None)
@given(st.lists(LINES, max_size=4), st.integers(1, 40))
def test_any_bytes_are_a_commit_or_refused(lines: list[bytes], size: int) -> None:
    body = b"\n".join(lines)
    pieces = [body[at : at + size] for at in range(0, len(body), size)]
    file = SnapshotFile(path="file", size=1, sha256=Digest("sha256", "0" * 64),
                        object=Digest("blake3", "0" * 64))  # fmt: skip
    try:
        sent = read_operations(pieces, add=lambda _: file, find=lambda _: file)
        tree = applied(sent.each, {})
        status = 200
    except Refused as refused:
        tree, status = {}, refused.status
    assert status in (200, 400, 404, 413)
    Snapshot.from_bytes(Snapshot.of(tree.values()).to_bytes())


def test_a_full_disk_changes_nothing(
    plain: Plain, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = plain.send(header(), small("a")).json["commitOid"]
    for name in ("append_ref", "put"):
        with monkeypatch.context() as patch:
            patch.setattr(Store, name, raiser(DiskFull(served.root)))
            got = plain.send(header("full"), small("b"))
            assert got.code == "DiskFull", name
        assert plain.head() == first
    assert verify(served.server.hub.workspace.store).damages == ()
    assert plain.send(header("full"), small("b")).status == 200


def raiser(error: Exception) -> Callable[..., None]:
    def fails(*_: object) -> None:
        raise error

    return fails


def test_bounds_are_kept(plain: Plain, monkeypatch: pytest.MonkeyPatch) -> None:
    module_name = "zoo.serve.hub.operations"
    for name, value in (("COMMIT_BYTES", 900), ("COMMIT_LINE_BYTES", 500), ("COMMIT_LINES", 2)):
        with monkeypatch.context() as patch:
            patch.setattr(f"{module_name}.{name}", value)
            many = [
                small(f"{number}", b"x" * (600 if "LINE_" in name else 300)) for number in range(3)
            ]
            got = plain.send(header(), *many)
            assert (got.status, got.code) == (413, "TooLarge"), name
    sent = plain.send(header("x" * 99_999 + "\0"), small("a"))
    assert sent.status == 200


def test_of_two_at_once_both_are_kept(
    plain: Plain, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else commits between the look and the move."""
    raced: list[bool] = []

    def race(*args: Any) -> Any:
        if not raced:
            raced.append(True)
            sent = plain.send(header("theirs"), small("b", plain.head().encode()))
            assert sent.status == 200
        return applied(*args)

    plain.send(header(), small("a"))
    monkeypatch.setattr("zoo.serve.hub.commit.applied", race)
    assert plain.send(header("mine"), small("c")).status == 200
    tree = served.ask(f"/api/models/{plain.repo}/tree/main", token=plain.token).json
    assert [each["path"] for each in tree] == ["a", "b", "c"]
    raced.clear()
    late = plain.send(header("late", parentCommit=plain.head()), small("d"))
    assert late.code == "Moved"


def test_a_known_hash_of_somebody_elses_file_gives_nothing(plain: Plain, served: Served) -> None:
    """``secret/own`` has it, which who asks may not read."""
    workspace = served.server.hub.workspace
    bare = store_checkpoint(workspace.store, tensors(77))
    whole = with_files(workspace, bare, config_json=CONFIG)
    workspace.commit(whole, Reference.parse("secret/own"), "import")
    (weights,) = whole.weights
    served.server.hub.blobs.holders.look_at_all()
    known, unknown = (
        plain.send(header(), {"key": "lfsFile", "value": {"path": "a", "oid": oid}})
        for oid in (weights.sha256.hex, "0" * 64)
    )
    assert (known.status, known.code) == (unknown.status, unknown.code) == (400, "BadRequest")
    assert known.body.replace(weights.sha256.hex.encode(), b"0" * 64) == unknown.body
    served.accounts.grant("secret/own", "wen", "reader")
    mine = {"key": "lfsFile", "value": {"path": "a", "oid": weights.sha256.hex}}
    assert plain.send(header(), mine).status == 200
    served.accounts.grant("secret/own", "wen", None)


def test_many_at_once_all_come_in(plain: Plain, served: Served) -> None:
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda n: plain.send(header(f"{n}"), small(f"f{n}")), range(16)))
    assert {got.status for got in sent} == {200}
    tree = served.ask(f"/api/models/{plain.repo}/tree/main", token=plain.token).json
    assert len(tree) == 16
    history = served.server.hub.history
    version = history.version(plain.repo, "main")
    assert version
    line = history.commits(version, 9)
    assert len({each.id for each in line}) == 16
    assert {got.json["commitOid"] for got in sent} == {each.id for each in line}
    other = History(served.server.hub.workspace.store, served.server.hub.views)
    assert other.commits(version, 9) == line, "whoever works them out, and in whichever steps"


def test_commits_stay_when_a_prune_takes_their_files(plain: Plain, served: Served) -> None:
    old = plain.send(header(), small("a", b"old")).json["commitOid"]
    new = plain.send(header("new"), small("a", b"new")).json["commitOid"]
    store, now = served.server.hub.workspace.store, timedelta(seconds=-2)
    shown = plan(store, keep=now, grace=now)
    execute(store, shown, keep=now, grace=now)
    fresh = History(store, Views(store))
    version = fresh.version(plain.repo, "main")
    assert version
    assert [each.id for each in fresh.commits(version, 9)] == [new, old]
    path = f"/{plain.repo}/resolve/{old}/a"
    assert served.ask(path, token=plain.token).code == "EntryNotFound"
    assert verify(store).damages == ()


def test_repositories_of_files_are_listed_by_what_they_say(api: HfApi, repo: str) -> None:
    card = b"---\nlicense: mit\ntags: [birds, 7]\npipeline_tag: image-classification\n---\n# Hi\n"
    api.upload_file(path_or_fileobj=card, path_in_repo="README.md", repo_id=repo)
    config = b'{"model_type": "vit", "architectures": ["ViT"], "x": 1}'
    api.upload_file(path_or_fileobj=config, path_in_repo="config.json", repo_id=repo)
    info = api.model_info(repo)
    assert info.config == {"model_type": "vit", "architectures": ["ViT"]}
    assert (info.pipeline_tag, info.safetensors) == ("image-classification", None)
    assert info.card_data
    assert info.card_data.license == "mit"
    assert repo in {each.id for each in api.list_models(filter=["license:mit", "birds"])}
    assert repo in {each.id for each in api.list_models(author="team", search=repo[5:])}
    assert repo not in {each.id for each in api.list_models(filter="zoo")}
    assert repo not in {each.id for each in api.list_models(author="ann")}


@pytest.mark.parametrize(
    "front",
    [
        "a: &x [1]\nb: *x", "- 1", "[" * 99, "{" * 60_000, "a: " + "x" * 70_000, "a: !!python/x 1",
        "a: [", "x: !!bool foo", 'x: !!int ""', 'x: !!float ""', "x: !!timestamp foo", "x: ! a",
        "? [a]\n: b", "!!map {a: b}", "a: !<tag:yaml.org,2002:null> b", 'a: "\\ud800"', "%YAML 9.9",
    ],
)  # fmt: skip
def test_a_hostile_front_is_refused(front: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        front_matter(f"---\n{front}\n---\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("# Hi", {}),
        ("---\n---\n", {}),
        (
            "---\na: 2024-01-01\nb: .nan\n1: yes\nc: True\nd: 'true'\ne: tRue\nf:\ng: -07\nh: 1e999"
            "\ni: 2.5e1\nj: [null, ~, 0x1]\n---",
            {
                "a": "2024-01-01", "b": ".nan", "1": "yes", "c": True, "d": "true", "e": "tRue",
                "f": None, "g": -7, "h": "1e999", "i": 25.0, "j": [None, None, "0x1"],
            },
        ),
        ("---\nn: " + "9" * 9999 + "\n---\n", {"n": "9" * 9999}),
        ("---\nx: 1" + ":1" * 9999 + "\n---\n", {"x": "1" + ":1" * 9999}),
        ("", {}),
    ],
)  # fmt: skip
def test_a_front_is_plain_data(text: str, said: Any) -> None:
    assert front_matter(text) == said


def test_no_file_of_one_repository_breaks_a_list(
    plain: Plain, served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    front = b"---\nx: !!bool foo\n---\n"
    config = b'{"model_type": "\\ud800", "architectures": [{"a": 1}]}'
    got = plain.send(header(), small("README.md", front), small("config.json", config))
    assert got.status == 200
    listed = f"/api/models?full=true&config=true&search={plain.repo[5:]}"
    assert [each["id"] for each in served.ask(listed, token=plain.token).json] == [plain.repo]
    plain.head()

    def fails(*_: object) -> None:
        raise RuntimeError("of one repository")

    for where in ("hub.info.ModelInfo.to_json", "keep.views.Views.of"):
        with monkeypatch.context() as patch:
            patch.setattr(f"zoo.serve.{where}", fails)
            got = served.ask(listed, token=plain.token)
            assert (got.status, got.json) == (200, []), where
            caplog.clear()
    with monkeypatch.context() as patch:
        patch.setattr("zoo.serve.keep.history.History.version_of", fails)
        served.server.hub.blobs.holders.look_at_all()
    assert "cannot be described" in caplog.text


def test_branches_and_tags(api: HfApi, repo: str, served: Served) -> None:
    first = api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo).oid
    api.create_branch(repo, branch="dev")
    api.create_tag(repo, tag="v1", tag_message="good")
    second = api.upload_file(
        path_or_fileobj=b"2", path_in_repo="a", repo_id=repo, revision="dev"
    ).oid
    refs = api.list_repo_refs(repo)
    assert {each.name: each.target_commit for each in refs.branches} == {
        "main": first,
        "dev": second,
    }
    assert {each.name: each.target_commit for each in refs.tags} == {"v1": first}
    assert [each.commit_id for each in api.list_repo_commits(repo, revision="dev")] == [
        second,
        first,
    ]
    api.create_branch(repo, branch="again", revision=second)
    api.create_branch(repo, branch="again", exist_ok=True)
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(repo, tag="v1")
    with pytest.raises(RevisionNotFoundError):
        api.create_branch(repo, branch="x", revision="nowhere")
    with pytest.raises(HfHubHTTPError, match="Bad request"):
        api.create_branch(repo, branch="a/b")
    with pytest.raises(HfHubHTTPError, match="40 hex digits"):
        api.create_branch(repo, branch="0" * 40)
    for name in ("main", "latest"):
        with pytest.raises(HfHubHTTPError, match="403"):
            api.delete_branch(repo, branch=name)
    with pytest.raises(HfHubHTTPError, match="403"):
        api.upload_file(path_or_fileobj=b"3", path_in_repo="a", repo_id=repo, revision="v1")
    with pytest.raises(HfHubHTTPError, match="Bad request"):
        api.upload_file(path_or_fileobj=b"3", path_in_repo="a", repo_id=repo, revision=first)
    with pytest.raises(RevisionNotFoundError):
        api.delete_branch(repo, branch="v1")
    api.delete_branch(repo, branch="dev")
    api.delete_tag(repo, tag="v1")
    refs = api.list_repo_refs(repo)
    assert ([each.name for each in refs.branches], refs.tags) == (["main", "again"], [])
    assert verify(served.server.hub.workspace.store).damages == ()


def test_a_branch_that_is_made_again_begins_anew(api: HfApi, repo: str) -> None:
    api.upload_file(path_or_fileobj=b"1", path_in_repo="a", repo_id=repo)
    api.create_branch(repo, branch="dev")
    api.upload_file(path_or_fileobj=b"old", path_in_repo="old", repo_id=repo, revision="dev")
    api.delete_branch(repo, branch="dev")
    api.create_branch(repo, branch="dev")
    assert api.list_repo_files(repo, revision="dev") == ["a"]
    assert len(api.list_repo_commits(repo, revision="dev")) == 1


def test_who_may_only_read_or_append_is_refused(served: Served, plain: Plain) -> None:
    plain.send(header(), small("a"))
    for who, purpose, code in (("ann", "write", "Forbidden"), ("wen", "read", "Forbidden")):
        plain.token = served.token(who, purpose)
        assert plain.send(header(), small("b")).code == code
    plain.token = served.token("wen", "append")
    assert plain.send(header(), small("b"), small("a")).status == 200
    assert plain.send(header(), small("a", b"of another training")).status == 200
    got = plain.send(header(), small("c"), gone("a"))
    assert got.code == "Forbidden"
    assert b"'a' would be deleted" in got.body
    plain.send(header(), small("d/a"))
    assert plain.send(header(), gone("d", "deletedFolder")).code == "Forbidden"
    path = f"/api/models/{plain.repo}/branch/dev"
    assert served.ask(path, "POST", token=plain.token).status == 200
    assert served.ask(path, "DELETE", token=plain.token).code == "Forbidden"


def test_while_a_prune_is_under_way_a_commit_waits(
    plain: Plain, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turn, "UPLOAD_PATIENCE", 0.0)
    with served.server.hub.workspace.store.pruning():
        got = plain.send(header(), small("a"))
        assert (got.status, got.code, got.headers["retry-after"]) == (503, "Busy", "2")
    assert plain.send(header(), small("a")).status == 200


def test_no_pull_requests(plain: Plain) -> None:
    assert plain.send(header(), small("a"), query="?create_pr=1").status == 501


@pytest.mark.long
def test_what_is_remembered_is_bounded_by_files_not_by_commits(
    served: Served, writer: str, plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = served.server.hub
    for recent in (hub.views._recent, hub.history._folders, hub.files._documents):
        monkeypatch.setattr(recent, "_room", 100)
    for number in range(9):
        lines = [small(f"{number}/{each}", b"%d" % each) for each in range(30)]
        assert plain.send(header(f"{number}"), *lines).status == 200
        tree = served.ask(f"/api/models/{plain.repo}/tree/main?expand=1&recursive=1", token=writer)
        assert tree.status == 200
    first = tree.json[1]
    assert (first["path"], first["lastCommit"]["title"]) == ("0/0", "0")
    views = [view for view, _ in hub.views._recent._values.values()]
    assert hub.views._recent._total == sum(1 + len(view.files) for view in views)
    assert len(views) == 1 or hub.views._recent._total <= 100
    assert len(hub.files._documents._values) == 1
    version = hub.history.version(plain.repo, "main")
    assert version
    assert not any(hasattr(each, "view") for each in hub.history.commits(version, 9))
