"""A repository is made of what another one has, within rights and quotas, and no byte is copied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fakes.checkpoints import objects_in
from fakes.served import Served
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

from zoo.domain.reference import Reference
from zoo.errors import Conflict, DiskFull
from zoo.serve.hub import repos
from zoo.serve.hub.adoption import adopt_what_is_left

pytestmark = pytest.mark.skipif(
    not hasattr(HfApi, "duplicate_repo"), reason="this version of the client has no duplicates"
)
API = "/api/models/dup/one/duplicate"


@pytest.fixture
def api(served: Served) -> HfApi:
    """Somebody who may read a private repository with two versions, a branch and a tag."""
    owner = HfApi(endpoint=served.url, token=served.token("dup", "write"))
    if not owner.repo_exists("dup/one"):
        owner.create_repo("dup/one", private=True)
        for text in (b"first", b"second"):
            owner.upload_file(path_or_fileobj=text, path_in_repo="README.md", repo_id="dup/one")
        owner.create_branch("dup/one", branch="dev")
        owner.create_tag("dup/one", tag="v1")
    token = served.token("kit", "write")
    served.accounts.grant("dup/one", "kit", "reader")
    return HfApi(endpoint=served.url, token=token)


def level_of(served: Served, repo: str) -> str:
    return served.accounts.rules().access(repo).level


def test_a_stock_client_makes_one(api: HfApi, served: Served, tmp_path: Path) -> None:
    store = served.server.hub.workspace.store
    before = objects_in(store)
    made = api.duplicate_repo("dup/one")
    assert (made.repo_id, made.files_copy_pending) == ("kit/one", False)
    refs = api.list_repo_refs("kit/one")
    assert ([each.name for each in refs.branches], [each.name for each in refs.tags]) == (
        ["main", "dev"], ["v1"],
    )  # fmt: skip
    assert [each.title for each in api.list_repo_commits("kit/one")] == ["duplicate"]
    file = api.hf_hub_download("kit/one", "README.md", cache_dir=tmp_path)
    assert Path(file).read_bytes() == b"second"
    assert objects_in(store) == before
    assert api.model_info("kit/one").private
    with pytest.raises(HfHubHTTPError, match="409"):
        api.duplicate_repo("dup/one")
    assert api.duplicate_repo("dup/one", exist_ok=True) == made
    done = served.accounts.audit.rows(name="kit/one", limit=100)
    assert {"repository made", "name made"} <= {row.action for row in done}
    api.upload_file(path_or_fileobj=b"third", path_in_repo="README.md", repo_id="kit/one")
    assert len(api.list_repo_commits("dup/one")) == 2, "they go on apart"


def test_a_checkpoint_stays_one_and_is_found(api: HfApi, served: Served) -> None:
    served.server.hub.workspace.deprecate(Reference.parse("shown/net"), "use team/net")
    api.duplicate_repo("shown/net", "kit/net")
    served.server.hub.workspace.deprecate(Reference.parse("shown/net"), "")
    entry = served.server.hub.workspace.store.read_ref(Reference.parse("kit/net"))
    assert entry
    assert entry.deprecated == "use team/net"
    assert api.model_info("kit/net").safetensors
    assert "kit/net" in {each.id for each in api.list_models(author="kit")}
    assert level_of(served, "kit/net") == "internal", "as its namespace; it was public"


@pytest.mark.parametrize(
    ("visibility", "level"), [(None, "private"), ("private", "private"), ("public", "public")]
)
def test_it_is_shown_to_no_more_unless_its_owner_says_so(
    api: HfApi, served: Served, visibility: Any, level: str
) -> None:
    repo = f"kit/{visibility}"
    api.duplicate_repo("dup/one", repo, visibility=visibility)
    assert level_of(served, repo) == level
    served.token("den")
    served.accounts.grant("den", "kit", "writer")
    api.duplicate_repo("dup/one", f"den/{visibility}", visibility=visibility)
    assert level_of(served, f"den/{visibility}") == "private", "who owns it has not said so"


def test_who_may_not_is_told_nothing(api: HfApi, served: Served) -> None:
    stranger = HfApi(endpoint=served.url, token=served.token("lee", "write"))
    for source in ("dup/one", "dup/none"):
        with pytest.raises(RepositoryNotFoundError):
            stranger.duplicate_repo(source, "lee/one")
    for there in ("dup/one", "dup/free", "secret/net"):  # whether it is there or not
        with pytest.raises(HfHubHTTPError, match="role of writer"):
            api.duplicate_repo("dup/one", there)
    append = HfApi(endpoint=served.url, token=served.token("kit", "append"))
    assert append.duplicate_repo("shown/net", "kit/appended").repo_id == "kit/appended"
    read = HfApi(endpoint=served.url, token=served.token("kit"))
    with pytest.raises(HfHubHTTPError, match="to read only"):
        read.duplicate_repo("shown/net", "kit/other")
    got = served.ask("/api/models/shown/net/duplicate", "POST", body=b'{"repository": "kit/x"}')
    assert (got.status, got.code) == (401, "NoToken")
    for name in ("x", "kit/a b", "KIT/one", "kit/ONE"):
        body = b'{"repository": "%b"}' % name.encode()
        assert served.ask(API, "POST", token=str(api.token), body=body).code in (
            "BadRequest", "Forbidden",
        )  # fmt: skip


def test_it_counts_for_its_namespace(served: Served) -> None:
    api = HfApi(endpoint=served.url, token=served.token("pia", "write"))
    served.accounts.quotas.set("pia", 100)
    with pytest.raises(HfHubHTTPError, match="pia may hold 100 bytes"):
        api.duplicate_repo("shown/net")
    assert not api.repo_exists("pia/net")
    served.accounts.quotas.set("pia", None)
    assert api.duplicate_repo("shown/net").repo_id == "pia/net"


def test_all_of_it_or_nothing(api: HfApi, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of before is no part of what is made later."""
    workspace = served.server.hub.workspace
    move = workspace.move

    def stopped(ref: Reference, *args: Any, **options: Any) -> Any:
        if ref.tag == "v1":
            raise Conflict("a prune is under way")
        return move(ref, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "move", stopped)
        body = b'{"repository": "kit/half"}'
        assert served.ask(API, "POST", token=str(api.token), body=body).code == "Busy"
    assert not api.repo_exists("kit/half")
    api.duplicate_repo("dup/one", "kit/half")
    assert len(api.list_repo_commits("kit/half")) == 1
    api.create_repo("kit/empty")
    assert api.duplicate_repo("kit/empty", "kit/empty2").repo_id == "kit/empty2"


def cut_off(api: HfApi, served: Served, monkeypatch: pytest.MonkeyPatch, repo: str) -> None:
    """A copy that was not finished, and of which nothing could be deleted."""
    workspace = served.server.hub.workspace
    with monkeypatch.context() as patch:
        patch.setattr(workspace, "protect", lambda *_, **options: 1 / 0)
        patch.setattr(workspace, "delete", lambda *_, **options: 1 / 0)
        body = f'{{"repository": "{repo}"}}'.encode()
        assert served.ask(API, "POST", token=str(api.token), body=body).status == 500


def test_what_was_cut_off_is_made_anew(
    api: HfApi, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a kill, or a disk on which not even a deletion has room."""
    workspace = served.server.hub.workspace

    def full(*_: Any, **options: Any) -> Any:
        raise DiskFull(workspace.root)

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "protect", full)
        patch.setattr(workspace, "delete", full)
        body = b'{"repository": "kit/part"}'
        assert served.ask(API, "POST", token=str(api.token), body=body).code == "DiskFull"
    HfApi(endpoint=served.url, token=served.token("dup", "write")).create_branch(
        "dup/one", branch="since"
    )
    api.duplicate_repo("dup/one", "kit/part")
    refs = api.list_repo_refs("kit/part")
    assert {each.name for each in refs.branches} == {"main", "dev", "since"}
    assert [each.name for each in refs.tags] == ["v1"]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.duplicate_repo("dup/one", "kit/part")


def test_a_part_is_no_repository_to_copy_or_move(
    api: HfApi, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut_off(api, served, monkeypatch, "kit/some")
    move = b'{"fromRepo": "kit/some", "toRepo": "kit/all"}'
    assert served.ask("/api/repos/move", "POST", token=str(api.token), body=move).status == 409
    copy = b'{"repository": "kit/copy"}'
    path = "/api/models/kit/some/duplicate"
    assert served.ask(path, "POST", token=str(api.token), body=copy).status == 409
    adopt_what_is_left(served.server.hub)  # as when the server is started again
    api.duplicate_repo("dup/one", "kit/some")
    body = b'{"fromRepo": "kit/some", "toRepo": "kit/all"}'
    assert served.ask("/api/repos/move", "POST", token=str(api.token), body=body).status == 200


def test_a_name_that_was_made_beside_stays_where_a_copy_fails(
    api: HfApi, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = served.server.hub.workspace
    there = workspace.store.read_ref(Reference.parse("dup/one"))
    assert there
    protect, mine = workspace.protect, Reference.parse("kit/beside:mine")

    def stopped(ref: Reference, **options: Any) -> Any:
        if ref.namespace == "kit" and ref != mine and options["on"]:
            workspace.move(mine, there.manifest, "tag")  # on the command line
            raise Conflict("a prune is under way")
        return protect(ref, **options)

    with monkeypatch.context() as patch:
        patch.setattr(workspace, "protect", stopped)
        body = b'{"repository": "kit/beside"}'
        assert served.ask(API, "POST", token=str(api.token), body=body).code == "Busy"
    names = [version.ref for version in served.server.hub.history.all_versions("kit/beside")]
    assert names == [mine]


def test_a_part_with_which_somebody_has_gone_on_stays(
    api: HfApi, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where its files are as they were by now."""
    cut_off(api, served, monkeypatch, "kit/used")
    before = api.model_info("kit/used").sha
    api.upload_file(path_or_fileobj=b"mine", path_in_repo="mine.txt", repo_id="kit/used")
    api.delete_file("mine.txt", "kit/used")
    assert served.server.hub.history.versions("kit/used")
    assert api.model_info("kit/used").sha != before
    with pytest.raises(HfHubHTTPError, match="409"):
        api.duplicate_repo("dup/one", "kit/used")


def test_a_disk_with_hardly_any_room_takes_no_copy_and_no_move(
    api: HfApi, served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be full amid the names."""
    api.create_repo("kit/old")
    monkeypatch.setattr(repos, "LEFT_BYTES", 1 << 62)
    move = b'{"fromRepo": "kit/old", "toRepo": "kit/full"}'
    for path, body in ((API, b'{"repository": "kit/full"}'), ("/api/repos/move", move)):
        assert served.ask(path, "POST", token=str(api.token), body=body).code == "DiskFull"
    assert [api.repo_exists(f"kit/{name}") for name in ("full", "old")] == [False, True]
