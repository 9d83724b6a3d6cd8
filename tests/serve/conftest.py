"""Zoos that are served, one for each file of tests."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from fakes import leaks, postgres, warm
from fakes import served as servers
from fakes.checkpoints import add_checkpoint, store_weights, tensors
from fakes.served import CONFIG, Served, serving, with_files
from fakes.trained import trained  # noqa: F401 - a fixture of the pages
from sqlalchemy import Engine

from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.serve.hub import webhooks
from zoo.serve.keep import reserve
from zoo.serve.who import open as opening
from zoo.workspace import Workspace


def make(root: Path) -> None:
    """Names with several versions; each has a ``config.json``, so that nothing needs torch."""
    with closing(Workspace.create(root)) as workspace:
        first = add_checkpoint(workspace, "team/parts")
        for name in ("team/net", "secret/net", "shown/net", "secret/open"):
            more = bytes(range(256)) * 9
            whole = with_files(workspace, first, config_json=CONFIG, more_safetensors=more)
            workspace.commit(whole, Reference.parse(name), "import")
        values = tensors(1)
        parent = Parent(manifest=first, relation="finetune", ref="team/net:v1")
        with workspace.store.upload():
            weights = store_weights(workspace.store, values)
        second = replace(
            whole, weights=(weights,), parents=(parent,), metrics={"accuracy": 0.5},
            classes=("a", "b", "c"), license="mit",
        )  # fmt: skip
        base = workspace.store.read_ref(Reference.parse("team/net"))
        assert base
        workspace.move(Reference.parse("team/net:v1"), base.manifest, "tag")
        workspace.protect(Reference.parse("team/net:v1"), on=True)
        workspace.commit(second, Reference.parse("team/net"), "finetune")
        workspace.move(Reference.parse("team/net:dev"), base.manifest, "tag")
        workspace.delete(Reference.parse("team/parts"))


@pytest.fixture(autouse=True, scope="module")
def warm_helpers() -> Iterator[None]:
    """The processes with torch that a server starts need not import it: that takes most of them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in warm.environment().items():
            patch.setenv(name, value)
        python = SimpleNamespace(executable=str(warm.server().python))
        for module in ("worker", "adopter", "tryouts"):
            patch.setattr(f"zoo.serve.keep.{module}.sys", python)
        yield


@pytest.fixture(autouse=True, scope="module")
def webhooks_by_hand() -> Iterator[None]:
    """No server here tells webhooks by itself, not even once while a test begins."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(webhooks, "LOOK_SECONDS", 3600.0)
        yield


@pytest.fixture(autouse=True, scope="package")
def accounts_are_copied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The steps by which a new database of accounts is made are taken once: they are half of what
    it takes to start a server here.
    """
    made, really = tmp_path_factory.mktemp("accounts") / opening.FILE, opening.open_file
    really(made).dispose()

    def open_file(path: Path) -> Engine:
        if not path.exists():
            copy = Path(shutil.copy(made, path.with_name(f"{uuid.uuid4().hex}.db")))
            with suppress(FileExistsError):  # as of two that open it at the same time
                path.hardlink_to(copy)
            copy.unlink()
        return really(path)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(opening, "open_file", open_file)
        yield


@pytest.fixture(autouse=True, scope="package")
def reserves_are_small() -> Iterator[None]:
    """The folders of tests may be in memory."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reserve, "RESERVE_BYTES", 1 << 16)
        yield


KEPT_BY_CLIENTS = {"tokens.json", "token", "stored_tokens"}
WATCH = pytest.StashKey[leaks.Leaks]()


@pytest.fixture(autouse=True, scope="package")
def watch(request: pytest.FixtureRequest) -> Iterator[leaks.Leaks]:
    """No token, session or code that tests here make is in what a server logs, or answers where
    something is wrong, and none is in a file but at home, where clients keep their own.
    """
    with leaks.watching() as watch, pytest.MonkeyPatch.context() as patch:
        request.config.stash[WATCH] = watch
        patch.setattr(servers, "ask", watch.asking(servers.ask))
        yield watch


def _is_of_client(path: Path) -> bool:
    return path.name in KEPT_BY_CLIENTS or any(part.startswith("home") for part in path.parts)


@pytest.fixture(autouse=True, scope="module")
def no_secret_is_kept(
    watch: leaks.Leaks, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Those that the tests of a file share have their folders until now."""
    root = tmp_path_factory.getbasetemp()
    before = {*root.iterdir()}
    yield
    watch.search_files({*root.iterdir()} - before, _is_of_client)
    for server in postgres.RUNNING:
        for name, dump in server.dumps():
            watch.search(f"a dump of the database {name}", dump)
    found, watch.found = watch.found, []
    assert found == []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Function) -> Iterator[None]:
    """The folders of a test are deleted right after it."""
    watch, folder = item.config.stash.get(WATCH, None), item.funcargs.get("tmp_path")
    if watch and isinstance(folder, Path):
        watch.search_files([folder], _is_of_client)
    yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What processes of their own have written is known once they have ended."""
    report = yield
    if report.when == "teardown" and (watch := item.config.stash.get(WATCH, None)):
        watch.judge(report)
    return report


@pytest.fixture(scope="session")
def make_zoo() -> Callable[[Path], None]:
    """What makes such a zoo, for tests that change it."""
    return make


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``team/net`` with three versions; ``secret`` is private but for ``secret/open``, and
    ``shown/net`` is public.
    """
    root = tmp_path_factory.mktemp("served") / "zoo"
    make(root)
    with serving(root) as served:
        served.accounts.set_level("secret", level="private")
        served.accounts.set_level("secret/open", level="public")
        served.accounts.set_level("shown", level="public")
        yield served


@pytest.fixture(scope="module")
def token(served: Served) -> str:
    """The token of somebody who has an account, and no more."""
    return served.token("ann")
