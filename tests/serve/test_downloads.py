"""Downloads are counted once each, without a write for each, and told to who may read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from fakes.postgres import Server as Postgres
from fakes.served import Served, serving
from fakes.signed import sign_in
from huggingface_hub import HfApi
from sqlalchemy import insert, select

from zoo.domain.reference import Reference
from zoo.registry.engine import reading, writing
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.downloads import TABLE, Totals
from zoo.workspace import Workspace
from zoo_cli.main import cli


def settled(accounts: Accounts, repo: str) -> tuple[int, int]:
    """Downloads of a repository, once all that was counted is written down."""
    accounts.downloads.settle()
    accounts.downloads._known = (-1e9, {})
    return accounts.downloads.of(repo)


def api_of(served: Served, who: str, purpose: str = "read") -> HfApi:
    return HfApi(endpoint=served.url, token=served.token(who, purpose))


def test_a_download_by_the_hubs_client_is_one(served: Served, tmp_path: Path) -> None:
    api, accounts = api_of(served, "ann"), served.accounts
    before = settled(accounts, "shown/net")[0]
    api.snapshot_download("shown/net", cache_dir=tmp_path)
    api.hf_hub_download("shown/net", "config.json", cache_dir=tmp_path)
    api.hf_hub_download("shown/net", "model.safetensors", cache_dir=tmp_path)
    api.model_info("shown/net", files_metadata=True)
    api.get_safetensors_metadata("shown/net")
    assert settled(accounts, "shown/net")[0] == before + 2
    found = api.model_info("shown/net", expand=["downloads", "downloadsAllTime"])
    assert (found.downloads, found.downloads_all_time) == (before + 2, before + 2)
    (listed,) = api.list_models(author="shown")
    assert listed.downloads == before + 2
    page = sign_in(served.url, str(api.token)).get("/shown/net").body.decode()
    assert f"downloaded {before + 2} times in 30 days, {before + 2} in all" in page


@pytest.mark.parametrize(
    ("method", "path", "headers", "counted"),
    [
        ("GET", "config.json", {}, 1), ("HEAD", "config.json", {}, 1),
        ("GET", "config.json", {"Range": "bytes=0-9"}, 0),
        ("GET", "config.json", {"User_Agent": "x; hf_hub/2.4.0"}, 0),
        ("GET", "model.safetensors", {}, 0), ("GET", "README.md", {}, 0),
        ("GET", "params.json", {}, 0),
    ],
)  # fmt: skip
def test_what_is_one(
    served: Served, token: str, method: str, path: str, headers: dict[str, Any], counted: int
) -> None:
    before, _ = settled(served.accounts, "team/net")
    sha = served.ask("/api/models/team/net?expand=sha", token=token).json["sha"]
    for revision in ("main", sha):  # at a branch, clients are sent on
        served.ask(f"/team/net/resolve/{revision}/{path}", method, token=token, **headers)
    assert settled(served.accounts, "team/net")[0] == before + counted


def test_weights_alone_and_other_configurations_are_counted(served: Served) -> None:
    api = api_of(served, "dora", "write")
    for name, files in (("one", ["params.json", "meta.yaml"]), ("two", ["model.safetensors"])):
        api.create_repo(f"dora/{name}")
        for file in [*files, "other.txt"]:
            weights = b"\x02\0\0\0\0\0\0\0{}" if file.endswith("tensors") else b"{}"
            api.upload_file(path_or_fileobj=weights, path_in_repo=file, repo_id=f"dora/{name}")
        sha = api.model_info(f"dora/{name}").sha
        before, _ = settled(served.accounts, f"dora/{name}")
        for file in [*files, "other.txt"]:
            served.ask(f"/dora/{name}/resolve/{sha}/{file}", token=str(api.token))
        assert settled(served.accounts, f"dora/{name}")[0] == before + 1


def test_strangers_count_nothing_and_learn_nothing(served: Served) -> None:
    admin, ann = api_of(served, "admin"), api_of(served, "ann")
    sha = admin.model_info("secret/net").sha
    before, _ = settled(served.accounts, "secret/net")
    for who in (None, str(ann.token)):
        refused = served.ask(f"/secret/net/resolve/{sha}/config.json", token=who)
        assert refused.code == "RepoNotFound"
        assert "secret/net" not in served.ask("/api/models?sort=downloads", token=who).body.decode()
    assert settled(served.accounts, "secret/net")[0] == before
    served.ask(f"/secret/net/resolve/{sha}/config.json", token=str(admin.token))
    assert settled(served.accounts, "secret/net")[0] == before + 1
    assert admin.model_info("secret/net").downloads == before + 1


def test_what_is_downloaded_most_comes_first(served: Served) -> None:
    api, downloads = api_of(served, "ann"), served.accounts.downloads
    for _ in range(1000):
        downloads.count("secret/open")
    settled(served.accounts, "secret/open")
    assert next(iter(api.list_models(sort="downloads"))).id == "secret/open"


def test_nothing_is_written_for_each(served: Served, token: str) -> None:
    def rows() -> list[tuple[object, ...]]:
        with reading(served.accounts._engine) as connection:
            return [tuple(row) for row in connection.execute(select(TABLE))]

    sha = served.ask("/api/models/team/net?expand=sha", token=token).json["sha"]
    settled(served.accounts, "team/net")
    before = rows()
    for _ in range(5):
        served.ask(f"/team/net/resolve/{sha}/config.json", token=token)
    assert rows() == before
    settled(served.accounts, "team/net")
    assert rows() != before


def test_they_go_along_with_a_repository(served: Served) -> None:
    api, accounts = api_of(served, "dora", "write"), served.accounts
    api.create_repo("dora/old")
    accounts.downloads.count("dora/old")
    assert settled(accounts, "dora/old") == (1, 1)
    accounts.downloads.count("dora/old")  # and not written down when it is moved
    api.move_repo("dora/old", "dora/new")
    accounts.downloads.count("dora/new")
    assert (settled(accounts, "dora/new"), settled(accounts, "dora/old")) == ((3, 3), (0, 0))
    accounts.repos.move("dora/old", "dora/new")  # as after a move that was cut off
    assert settled(accounts, "dora/new") == (3, 3)
    api.delete_repo("dora/new")
    accounts.downloads.count("dora/new")  # by another process, just now
    assert settled(accounts, "dora/new") == (1, 1)
    api.create_repo("dora/new")
    assert settled(accounts, "dora/new") == (0, 0), "another repository"


def test_a_server_that_ends_loses_none(
    tmp_path: Path, make_zoo: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_zoo(tmp_path / "zoo")
    for before in (0, 2):
        with serving(tmp_path / "zoo") as served:
            assert served.accounts.downloads.of("team/net").all == before
            for _ in range(2):
                served.accounts.downloads.count("team/net")
    monkeypatch.chdir(tmp_path / "zoo")
    with closing(Workspace(tmp_path / "zoo")) as workspace:
        with closing(Accounts.of(workspace)) as accounts:
            hook = accounts.webhooks.add("https://lab.org/hook", "team/net")
        for line in (
            "team/net team/other",
            "team/other team/net",
            "--all-tags team/net team/other",
        ):
            with closing(Accounts.of(workspace)) as accounts:
                assert settled(accounts, "team/net") == (4, 4), "while one of its tags is there"
                assert accounts.webhooks.all() == [hook]
            workspace.protect(Reference.parse("team/net:v1"), on=False)
            assert not CliRunner().invoke(cli, ["mv", *line.split()]).exit_code
        with closing(Accounts.of(workspace)) as accounts:
            assert settled(accounts, "team/other") == (4, 4)
            assert accounts.webhooks.all() == [replace(hook, path="team/other")]


@pytest.fixture(params=["sqlite", "postgresql"])
def two(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Accounts, Accounts]]:
    """The accounts of a zoo, as two processes have them."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres_server")
        patch: pytest.MonkeyPatch = request.getfixturevalue("monkeypatch")
        patch.setenv("ZOO_DB", server.database("accounts"))
    with (
        closing(Workspace.create(tmp_path / "zoo")) as workspace,
        closing(Accounts.of(workspace)) as one,
        closing(Accounts.of(workspace)) as other,
    ):
        yield one, other


def test_what_several_processes_count_adds_up(two: tuple[Accounts, Accounts]) -> None:
    """What is more than 30 days ago is one number, whoever tidies up."""
    today = datetime.now(UTC).date()
    ago = [str(today - timedelta(days=days)) for days in (29, 30, 31, 400)]
    with writing(two[0]._engine) as connection:
        rows = [{"repo": "a/b", "day": day, "count": 10} for day in ago]
        connection.execute(insert(TABLE), rows)
    assert settled(two[0], "a/b") == Totals(10, 40), "before anybody tidies up"
    for accounts in two:
        for repo in ("a/b", "a/b", "a/c"):
            accounts.downloads.count(repo)
        settled(accounts, "a/b")
    for accounts in two:
        assert settled(accounts, "a/b") == Totals(14, 44)
        assert settled(accounts, "a/c") == Totals(2, 2)
    with reading(two[0]._engine) as connection:
        days = connection.execute(select(TABLE.c.day, TABLE.c.count).where(TABLE.c.repo == "a/b"))
        assert sorted(tuple(row) for row in days) == [("", 30), (ago[0], 10), (str(today), 4)]


def test_what_cannot_be_written_is_counted_still(
    two: tuple[Accounts, Accounts], monkeypatch: pytest.MonkeyPatch
) -> None:
    accounts, _ = two
    accounts.downloads.count("a/b")
    with monkeypatch.context() as patch:
        patch.setattr("zoo.serve.who.downloads._add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            accounts.downloads.settle()
    assert settled(accounts, "a/b") == (1, 1)
