"""Lists come in the order that is asked for, or it is said why not."""

from __future__ import annotations

from typing import Any

import pytest
from fakes.checkpoints import stored_snapshot
from fakes.clock import earlier
from fakes.served import Served
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from zoo.domain.reference import Reference


@pytest.fixture(scope="module")
def api(served: Served) -> HfApi:
    """A client that sees three repositories: ``b`` is the oldest, ``c`` was changed last."""
    workspace = served.server.hub.workspace
    for seconds, name, branch in (
        (50, "b", ""), (40, "c", ""), (30, "a", ""), (20, "b:two", "branch of latest at 1"),
        (10, "c", ""),
    ):  # fmt: skip
        with earlier(seconds=seconds):
            text = f"{name} {seconds}".encode()
            snapshot = stored_snapshot(workspace.store, {"README.md": text})
            workspace.move(Reference.parse(f"order/{name}"), snapshot, branch or "commit")
    return HfApi(endpoint=served.url, token=served.token("ann"))


def listed(api: HfApi, **asked: Any) -> str:
    return "".join(each.id[-1] for each in api.list_models(author="order", **asked))


@pytest.mark.parametrize(
    ("sort", "order"),
    [(None, "cab"), ("last_modified", "cab"), ("created_at", "acb"), ("likes", "cab"),
     ("trending_score", "cab"), ("stars", "cab")],
)  # fmt: skip
def test_a_list_is_sorted(api: HfApi, sort: Any, order: str) -> None:
    assert listed(api, sort=sort) == order
    assert listed(api, sort=sort, limit=2) == order[:2]
    assert listed(api, sort=sort, search="order/A") == "a"


def test_when_a_repository_began_is_when_its_first_commit_was_made(
    api: HfApi, served: Served
) -> None:
    for name in "abc":
        first = api.list_repo_commits(f"order/{name}")[-1]
        assert api.model_info(f"order/{name}").created_at == first.created_at
    workspace, began = served.server.hub.workspace, served.server.hub.history.began
    branch = Reference.parse("order/b:two")
    workspace.delete(branch)
    snapshot = stored_snapshot(workspace.store, {"README.md": b"again"})
    workspace.move(branch, snapshot, "commit")
    version = served.server.hub.history.version_of(branch)
    assert version
    assert began(version) == api.list_repo_commits("order/b", revision="two")[-1].created_at


def test_an_older_client_may_ask_for_the_other_end_first(api: HfApi, served: Served) -> None:
    for direction, order in (("-1", "acb"), ("1", "bca")):
        query = f"author=order&sort=createdAt&direction={direction}&limit=2"
        first = served.ask(f"/api/models?{query}", token=str(api.token))
        rest = first.headers["link"].partition(">")[0].removeprefix(f"<{served.url}")
        assert "direction" in rest
        pages = [first, served.ask(rest, token=str(api.token))]
        assert "".join(each["id"][-1] for page in pages for each in page.json) == order
        assert "link" not in pages[1].headers


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("sort=downloads&direction=up", "direction is -1"), ("limit=0", "from 1 on"),
        ("limit=-1", "limit is a number"), ("cursor=x", "cursor is a number"),
        ("gated=maybe", "gated is true or false"), ("num_parameters=6M", "min:6M,max:128M"),
        ("num_parameters=min:6M,most:7M", "most:7M"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said(served: Served, query: str, told: str) -> None:
    got = served.ask(f"/api/models?{query}")
    assert (got.status, got.code) == (400, "BadRequest")
    assert told in got.json["error"]


def test_a_client_is_told_so(api: HfApi) -> None:
    with pytest.raises(HfHubHTTPError, match="min:6M,max:128M"):
        list(api.list_models(num_parameters="6M"))
