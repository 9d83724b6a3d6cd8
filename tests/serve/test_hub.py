"""What clients of the hub ask, request by request."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path
from urllib.parse import quote, urlencode

import pytest
from fakes.served import Served
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zoo.domain.reference import Reference
from zoo.serve.table import ROUTES
from zoo.store.files import restore_file

MODEL = "/api/models/team/net"


def head_of(served: Served, token: str, repo: str = "team/net") -> str:
    sha: str = served.ask(f"/api/models/{repo}", token=token).json["sha"]
    return sha


def whole(served: Served, name: str = "model.safetensors") -> bytes:
    """A file as `zoo export` would write it."""
    workspace = served.server.hub.workspace
    entry = workspace.store.read_ref(Reference.parse("team/net"))
    assert entry
    manifest = workspace.store.manifest(entry.manifest)
    files = {file.name: file for files in (manifest.weights, manifest.files) for file in files}
    target = served.root / "tmp" / "whole"
    restore_file(workspace.store, files[name], target)
    return target.read_bytes()


def test_what_every_client_asks_first(served: Served, token: str) -> None:
    assert served.ask("/api/agent-harnesses").json == {"standardEnvVars": [], "harnesses": {}}
    assert served.ask("/api/telemetry/a/b", "HEAD").status == 200
    assert served.ask("/v1/telemetry", "POST", body=b"{}").status == 200
    assert served.ask("/healthz").body == b"ok\n"
    who = served.ask("/api/whoami-v2", token=token).json
    assert (who["name"], who["orgs"]) == ("ann", [])
    assert who["auth"]["accessToken"] == {"displayName": "test", "role": "read"}
    assert served.ask("/api/whoami-v2").code == "NoToken"
    assert served.url in served.ask("/").body.decode()


def test_a_repository_is_described(served: Served, token: str) -> None:
    info = served.ask(f"{MODEL}?blobs=true", token=token).json
    assert (info["id"], info["author"], info["private"]) == ("team/net", "team", True)
    assert info["pipeline_tag"] == "image-classification"
    assert {"zoo", "toy", "license:mit", "base_model:team/net"} <= set(info["tags"])
    assert info["config"] == {}, "its text is in an object, and no request reads one for this"
    assert info["safetensors"] == {"parameters": {"F32": 16443}, "total": 16443}
    files = {each["rfilename"]: each for each in info["siblings"]}
    assert list(files) == ["README.md", "config.json", "model.safetensors", "more.safetensors"]
    weights = whole(served)
    assert files["model.safetensors"]["lfs"]["sha256"] == hashlib.sha256(weights).hexdigest()
    assert files["model.safetensors"]["size"] == len(weights)
    only = served.ask(f"{MODEL}?expand=sha&expand=unheard", token=token).json
    assert only == {"_id": "team/net", "id": "team/net", "modelId": "team/net", "sha": info["sha"]}
    assert served.ask(f"{MODEL}/revision/{info['sha']}", token=token).json["sha"] == info["sha"]


def test_versions_are_branches_and_protected_ones_tags_of_git(served: Served, token: str) -> None:
    refs = served.ask(f"{MODEL}/refs?include_prs=true", token=token).json
    assert [each["name"] for each in refs["branches"]] == ["main", "dev"]
    assert [each["ref"] for each in refs["tags"]] == ["refs/tags/v1"]
    assert (refs["converts"], refs["pullRequests"]) == ([], [])
    for each in (*refs["branches"], *refs["tags"]):
        found = served.ask(f"{MODEL}/revision/{each['name']}", token=token).json
        assert found["sha"] == each["targetCommit"]


def test_commits_are_what_git_makes_of_the_same_files(
    served: Served, token: str, tmp_path: Path
) -> None:
    commits = served.ask(f"{MODEL}/commits/main?expand[]=formatted", token=token).json
    assert [each["title"] for each in commits] == ["finetune", "import"]
    assert commits[0]["formatted"] == {"title": "finetune", "message": ""}
    git = shutil.which("git")
    if git is None:
        pytest.skip("git is not installed")

    def run(*arguments: str, **environment: str) -> str:
        env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), **environment}
        done = subprocess.run([git, *arguments], cwd=tmp_path, env=env, check=True,
                              capture_output=True, text=True)  # fmt: skip
        return done.stdout.strip()

    run("init", "--quiet")
    for commit in reversed(commits):
        at = commit["date"].replace(".000Z", " +0000")
        for file in served.ask(f"{MODEL}/tree/{commit['id']}", token=token).json:
            url = f"/team/net/raw/{commit['id']}/{file['path']}"
            (tmp_path / file["path"]).write_bytes(served.ask(url, token=token).body)
        run("add", "--all")
        said = {"NAME": commit["authors"][0]["user"], "EMAIL": "", "DATE": at}
        who = {f"GIT_{role}_{what}": value for role in ("AUTHOR", "COMMITTER")
               for what, value in said.items()}  # fmt: skip
        run("commit", "--quiet", "--message", commit["title"], **who)
        assert run("rev-parse", "HEAD") == commit["id"]


def test_protecting_a_name_makes_no_commit(served: Served, token: str) -> None:
    ref, before = Reference.parse("team/net:dev"), head_of(served, token)
    served.server.hub.workspace.protect(ref, on=True)
    assert len(served.ask(f"{MODEL}/commits/dev", token=token).json) == 1
    served.server.hub.workspace.protect(ref, on=False)
    assert head_of(served, token) == before


def test_files_of_a_commit(served: Served, token: str) -> None:
    tree = served.ask(f"{MODEL}/tree/main?recursive=true&expand=true", token=token).json
    files = {each["path"]: each for each in tree}
    commits = [each["id"] for each in served.ask(f"{MODEL}/commits/main", token=token).json]
    assert files["model.safetensors"]["lastCommit"]["id"] == commits[0]
    assert files["config.json"]["lastCommit"]["id"] == commits[1]
    form = b"paths=config.json&paths=nothing&paths=..%2Fx&expand=False"
    kind = "application/x-www-form-urlencoded"
    some = served.ask(f"{MODEL}/paths-info/main", "POST", token=token, body=form, Content_Type=kind)
    assert [each["path"] for each in some.json] == ["config.json"]
    folder = served.ask(f"{MODEL}/tree/main/folder%2Fwithin", token=token)
    assert (folder.status, folder.code) == (404, "EntryNotFound")
    bad = served.ask(f"{MODEL}/paths-info/main", "POST", token=token, body=b"\xff\xfe")
    assert bad.code == "BadRequest"
    large = served.ask(f"{MODEL}/paths-info/main", "POST", token=token, body=b"x" * (1 << 21))
    assert large.code == "TooLarge"


def test_a_file_is_pinned_and_byte_identical(served: Served, token: str) -> None:
    sha = head_of(served, token)
    moved = served.ask("/team/net/resolve/main/model.safetensors", "HEAD", token=token)
    pinned = f"/team/net/resolve/{sha}/model.safetensors"
    assert (moved.status, moved.headers["location"]) == (307, pinned)
    assert moved.headers["x-repo-commit"] == sha
    weights = whole(served)
    head = served.ask(pinned, "HEAD", token=token)
    got = served.ask(pinned, token=token)
    assert got.body == weights
    assert head.headers["content-length"] == str(len(weights))
    assert head.headers["etag"] == f'"{hashlib.sha256(weights).hexdigest()}"'
    assert "immutable" in head.headers["cache-control"]
    assert head.headers["cache-control"].startswith("private")
    assert head.headers["content-disposition"].startswith("attachment")
    assert head.headers["x-content-type-options"] == "nosniff"
    assert {**head.headers, "x-request-id": "", "date": ""} == {
        **got.headers, "x-request-id": "", "date": ""
    }  # fmt: skip
    known = served.ask(pinned, token=token, If_None_Match=f'"x", W/{head.headers["etag"]}')
    assert (known.status, known.body) == (304, b"")
    text = served.ask(f"/team/net/resolve/{sha}/config.json", token=token)
    assert text.body == whole(served, "config.json")
    git = hashlib.sha1(b"blob %d\0%b" % (len(text.body), text.body)).hexdigest()
    assert text.headers["etag"] == f'"{git}"'


def test_an_old_client_is_sent_nowhere_without_its_token(served: Served, token: str) -> None:
    """It would leave the token behind."""
    url, weights = "/team/net/resolve/main/model.safetensors", whole(served)
    for agent, status in (
        ("unknown/None; hf_hub/0.20.3; python/3.11", 200), ("x; hf_hub/0.9.1", 200),
        ("x; hf_hub/0.21.0", 307), ("x; hf_hub/0.200.1", 307), ("x; hf_hub/2.4.0", 307),
    ):  # fmt: skip
        got = served.ask(url, token=token, User_Agent=agent)
        assert (got.status, got.body) == (status, weights if status == 200 else b"")
        assert got.headers["x-repo-commit"] == head_of(served, token)
        assert got.headers["cache-control"] == "no-cache"


def test_raw_is_what_git_keeps(served: Served, token: str) -> None:
    sha, weights = head_of(served, token), whole(served)
    assert served.ask("/team/net/raw/main/README.md", token=token).status == 307
    pointer = served.ask(f"/team/net/raw/{sha}/model.safetensors", token=token)
    assert f"oid sha256:{hashlib.sha256(weights).hexdigest()}\nsize {len(weights)}\n" in (
        pointer.body.decode()
    )
    text = served.ask(f"/team/net/raw/{sha}/README.md", token=token)
    assert text.headers["content-type"] == "text/plain; charset=utf-8"
    assert "| accuracy | 0.5000 |" in text.body.decode()
    assert "finetune of `team/net:v1`" in text.body.decode()
    again = served.ask(f"/team/net/raw/{sha}/README.md", token=token,
                       If_None_Match=text.headers["etag"])  # fmt: skip
    assert again.status == 304


RANGES = st.one_of(
    st.builds("bytes={}-{}".format, st.integers(0, 70_000), st.integers(0, 70_000)),
    st.builds("bytes={}-".format, st.integers(0, 70_000)),
    st.builds("bytes=-{}".format, st.integers(0, 70_000)),
    st.sampled_from(["bytes=-", "bytes=x-1", "items=0-1", "bytes=0-1,4-5", "bytes=5-1", "bytes"]),
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(asked=RANGES)
def test_ranges_are_those_of_the_bytes(served: Served, token: str, asked: str) -> None:
    pinned = f"/team/net/resolve/{head_of(served, token)}/model.safetensors"
    data = whole(served)
    got = served.ask(pinned, token=token, Range=asked)
    first, dash, last = asked.removeprefix("bytes=").partition("-")
    digits = (not first or first.isdigit()) and (not last or last.isdigit())
    if not (asked.startswith("bytes=") and dash and digits and (first or last)) or (
        first and last and int(first) > int(last)
    ):
        assert (got.status, got.body) == (200, data), "what is malformed is as if it were not there"
        return
    begin, end = (int(first), int(last) + 1 if last else len(data)) if first else (
        max(len(data) - int(last), 0), len(data)
    )  # fmt: skip
    expected = data[begin:end]
    if not expected:
        assert (got.status, got.headers["content-range"]) == (416, f"bytes */{len(data)}")
        assert got.code == "RangeNotSatisfiable"
        return
    assert (got.status, got.body) == (206, expected)
    span = f"bytes {begin}-{min(end, len(data)) - 1}/{len(data)}"
    assert got.headers["content-range"] == span


def test_a_part_of_another_file_is_not_gone_on_with(served: Served, token: str) -> None:
    pinned = f"/team/net/resolve/{head_of(served, token)}/model.safetensors"
    got = served.ask(pinned, token=token, Range="bytes=5-9", If_Range='"other"')
    assert (got.status, got.body) == (200, whole(served))


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ("", ["secret/open", "shown/net", "team/net"]),
        ("?search=NET", ["shown/net", "team/net"]),
        ("?author=team", ["team/net"]),
        ("?filter=toy&filter=license:mit", ["team/net"]),
        ("?filter=pytorch", []),
        ("?pipeline_tag=image-classification", ["secret/open", "shown/net", "team/net"]),
        ("?num_parameters=min:1K,max:1M", ["secret/open", "shown/net", "team/net"]),
        ("?num_parameters=min:1B", []),
        ("?gated=true", []),
        ("?unheard_of=1", []),
        ("?sort=downloads&full=true&limit=5", ["secret/open", "shown/net", "team/net"]),
    ],
)
def test_lists_have_what_fits_and_may_be_read(
    served: Served, token: str, query: str, names: list[str]
) -> None:
    assert sorted(each["id"] for each in served.ask(f"/api/models{query}", token=token).json) == (
        names
    )
    public = [name for name in names if name != "team/net"]
    assert sorted(each["id"] for each in served.ask(f"/api/models{query}").json) == public


def test_a_list_goes_on_where_it_is_told(served: Served, token: str) -> None:
    url, seen = "/api/models?limit=2&expand=sha", []
    while url:
        page = served.ask(url, token=token)
        seen += [(each["id"], each["sha"]) for each in page.json]
        link = page.headers.get("link", "")
        assert not link or link.startswith(f"<{served.url}/api/models?")
        url = link.partition(">")[0].removeprefix(f"<{served.url}")
    assert len(dict(seen)) == len(seen) == 3
    assert served.ask("/api/datasets").json == served.ask("/api/spaces").json == []


def test_what_is_not_done_is_told_so(served: Served, token: str) -> None:
    for method, path in (
        ("POST", f"{MODEL}/super-squash/main"), ("POST", "/api/datasets/a/b/commit/main"),
        ("GET", "/api/collections"), ("PATCH", "/api/collections/x"), ("GET", "/api/buckets/a/b"),
        ("PUT", "/api/buckets/a/b"), ("DELETE", "/api/buckets/a/b"), ("POST", "/api/jobs/a"),
        ("GET", "/api/scheduled-jobs/a"), ("POST", f"{MODEL}/discussions"),
        ("POST", "/api/spaces/a/b/secrets"), ("PUT", "/api/datasets/a/b/settings"),
    ):  # fmt: skip
        got = served.ask(path, method, token=token)
        assert (got.status, got.code) == (501, "NotImplemented"), path
        assert got.json["error"]
    # An empty list would have transformers send the token elsewhere.
    assert served.ask(f"{MODEL}/discussions?p=0", token=token).status == 404
    assert served.ask("/api/datasets/team/net", token=token).code == "RepoNotFound"
    assert served.ask("/api/models/bert", token=token).code == "RepoNotFound"
    assert served.ask("/bert/resolve/main/x", token=token).code == "RepoNotFound"
    wrong = served.ask(MODEL, "DELETE", token=token)
    assert (wrong.code, wrong.headers["allow"]) == ("MethodNotAllowed", "GET")
    assert served.ask(f"{MODEL}/auth-check", token=token).status == 200
    assert served.ask(f"{MODEL}/auth-check/write", token=token).code == "Forbidden"


def test_a_revision_is_one_part_of_a_path(served: Served, token: str) -> None:
    for revision in ("no%2Fsuch", "%2e%2e", "refs%2Fpr%2F1", "f" * 40, "%00", "main%0d%0aX:y"):
        got = served.ask(f"{MODEL}/revision/{revision}", token=token)
        assert (got.status, got.code) == (404, "RevisionNotFound"), revision
        assert "x" not in got.headers
    assert served.ask(f"{MODEL}/revision/%ff", token=token).code == "NotFound"


@pytest.mark.parametrize(
    "path",
    ["..%2f..%2fzoo.json", "%2e%2e/%2e%2e/zoo.json", "%252e%252e%252fzoo.json", "..%5czoo.json",
     "config.json%00.txt", "%c0%ae%c0%ae/zoo.json", "/etc/passwd", "config.json/",
     "%0d%0aSet-Cookie:a", "CONFIG.JSON", "a" * 3000, "objects", "."],
)  # fmt: skip
def test_no_path_leads_out_of_a_commit(served: Served, token: str, path: str) -> None:
    for what in ("resolve", "raw"):
        got = served.ask(f"/team/net/{what}/main/{path}", token=token)
        assert got.status == 404
        assert got.code in ("EntryNotFound", "NotFound", "RepoNotFound"), got
        assert "set-cookie" not in got.headers
        assert b"format" not in got.body


def test_a_name_that_is_deleted_is_gone_and_its_commits_too(served: Served, token: str) -> None:
    assert served.ask("/api/models/team/parts", token=token).code == "RepoNotFound"
    workspace, sha = served.server.hub.workspace, head_of(served, token)
    workspace.delete(Reference.parse("team/net"))
    try:
        assert served.ask(f"{MODEL}", token=token).code == "RevisionNotFound"
        assert served.ask(f"{MODEL}/revision/{sha}", token=token).code == "RevisionNotFound"
        assert served.ask(f"{MODEL}/revision/v1", token=token).status == 200
    finally:
        workspace.restore(Reference.parse("team/net"))
    assert head_of(served, token) == sha


WORDS = [
    "team", "net", "secret", "open", "main", "dev", "v1", "config.json", "model.safetensors", "..",
    "%", "%2e", "%ff", "%00", "a b", "\u00e9", "-", "{x}", "zoo_", "x" * 200, "api", "resolve",
]  # fmt: skip
NAMES = [
    "expand", "limit", "cursor", "p", "search", "filter", "sort", "full", "x", "num_parameters",
    "expand[]", "blobs", "author",
]  # fmt: skip
VALUES = ["", "true", "-1", "9" * 30, "siblings", "min:1M", "\u0000", "%", "a,b", "secret"]
QUERIES = st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(VALUES)), max_size=3).map(
    urlencode
)


@st.composite
def paths(draw: st.DrawFn) -> str:
    """The path of a route, or of none, with anything in its fields."""
    path = draw(st.sampled_from([*(route.path for route in ROUTES), "/{a}/{b}/{c}"]))
    return re.sub(r"\{[\w.]+\}", lambda _: draw(st.sampled_from(WORDS)), path)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    method=st.sampled_from(["GET", "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"]),
    path=paths(),
    query=QUERIES,
    body=st.binary(max_size=20),
)
def test_no_request_fails_the_server(
    served: Served, token: str, method: str, path: str, query: str, body: bytes
) -> None:
    sent = body if method in ("POST", "PUT", "PATCH") else b""
    got = served.ask(f"{quote(path, safe='/%')}?{query}", method, token=token, body=sent)
    assert got.status < 500 or got.status == 501, (got.status, got.code)
    assert got.headers["x-content-type-options"] == "nosniff"
    assert b"secret/net" not in got.body
