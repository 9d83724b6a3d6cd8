"""Webhooks, made and changed by clients of the hub; what they are sent is signed."""

from __future__ import annotations

import hmac
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import closing
from inspect import getsource
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fakes.receiver import receiving
from fakes.served import Served
from huggingface_hub import HfApi, WebhookInfo, WebhookWatchedItem
from huggingface_hub.errors import BadRequestError, HfHubHTTPError, RepositoryNotFoundError

from zoo.serve.hub import hooks
from zoo.serve.hub.webhooks import Deliveries
from zoo.serve.who.webhooks import MOST_FAILURES

URL = "https://ci.lab.org/zoo"
USER = WebhookWatchedItem("user", "ida")


@pytest.fixture
def api(served: Served) -> Iterator[HfApi]:
    """The client of somebody who owns a namespace, and a team's."""
    if "self.endpoint" not in getsource(HfApi.create_webhook):
        pytest.skip("this version of the client has webhooks at one server only")
    token = served.token("ida", "write")
    if "lab" not in [each.name for each in served.accounts.all()]:
        served.accounts.add("lab", team=True)
        served.accounts.grant("lab", "ida", "owner")
    yield HfApi(endpoint=served.url, token=token)
    for hook in served.accounts.webhooks.all():
        served.accounts.webhooks.remove(hook.id)


@pytest.fixture
def tell(served: Served) -> Callable[[], None]:
    """Has all webhooks told; the server itself tells them later."""
    deliveries = Deliveries(served.server.hub, served.url, Event())

    def tell() -> None:
        deliveries._next.clear()
        wait(deliveries.look())

    return tell


def test_a_stock_client_makes_changes_and_deletes_them(api: HfApi, served: Served) -> None:
    made = api.create_webhook(url=URL, watched=[USER], domains=["repo"])
    secret = served.server.hub.seals.secret(f"webhook {made.id}")
    assert made == WebhookInfo(
        id=made.id, url=URL, job=None, watched=[USER], domains=["repo"], secret=secret,
        disabled=False,
    )  # fmt: skip
    assert api.list_webhooks() == [made] == [api.get_webhook(made.id)]
    for path in ("", f"/{made.id}"):  # each has the secret
        got = served.ask(f"/api/settings/webhooks{path}", token=str(api.token))
        assert (got.status, got.headers["cache-control"]) == (200, "no-store")
    assert api.disable_webhook(made.id).disabled
    assert served.accounts.webhooks.all()[0].disabled
    assert not api.enable_webhook(made.id).disabled
    other: Any = [{"type": "org", "name": "lab"}]
    changed: Any = api.update_webhook(made.id, url=f"{URL}/2", watched=other)
    assert (changed.url, changed.watched) == (f"{URL}/2", [WebhookWatchedItem("org", "lab")])
    assert api.update_webhook(made.id, domains=["repo"]) == changed, "the rest stays"
    (kept,) = served.accounts.webhooks.all()
    assert (kept.url, kept.path, kept.private) == (f"{URL}/2", "lab", False)
    api.create_repo("ida/one", exist_ok=True)
    of_repo = api.create_webhook(url=URL, watched=[{"type": "model", "name": "ida/one"}])
    assert of_repo.watched == [WebhookWatchedItem("model", "ida/one")]
    for hook in (made, of_repo):
        api.delete_webhook(hook.id)
    assert api.list_webhooks() == []
    done = [row.action for row in served.accounts.audit.rows(who="ida", limit=1000)]
    assert {"webhook added", "webhook changed", "webhook disabled", "webhook enabled",
            "webhook removed"} <= {*done}  # fmt: skip


def test_nobody_sees_or_makes_those_of_others(api: HfApi, served: Served) -> None:
    """Neither of what they may not read, nor of what they may write; a token for less may not."""
    mine = api.create_webhook(url=URL, watched=[USER])
    served.accounts.webhooks.add(URL)
    other = HfApi(endpoint=served.url, token=served.token("ben", "write"))
    served.accounts.grant("ida", "ben", "maintainer")
    assert other.list_webhooks() == []
    for call in (
        lambda: other.get_webhook(mine.id), lambda: other.delete_webhook(mine.id),
        lambda: other.update_webhook(mine.id, url=URL), lambda: other.disable_webhook(mine.id),
        lambda: other.get_webhook("none"),
        lambda: other.create_webhook(url=URL, watched=[USER]),
        lambda: other.create_webhook(url=URL, watched=[WebhookWatchedItem("org", "nobody")]),
    ):  # fmt: skip
        with pytest.raises(HfHubHTTPError, match="404"):
            call()
    hidden: Any = [WebhookWatchedItem("model", "secret/net")]
    with pytest.raises(RepositoryNotFoundError):
        other.create_webhook(url=URL, watched=hidden)
    for purpose, only in (("read", ()), ("append", ()), ("write", ("ida",))):
        less = HfApi(endpoint=served.url, token=served.token("ida", purpose, only=only))
        for name, asked in (
            ("list_webhooks", {}), ("create_webhook", {"url": URL, "watched": [USER]}),
            ("get_webhook", {"webhook_id": mine.id}),
        ):  # fmt: skip
            with pytest.raises(HfHubHTTPError, match="for some names only"):
                getattr(less, name)(**asked)
    admin = HfApi(endpoint=served.url, token=served.token("admin", "write"))
    assert sorted(len(each.watched) for each in admin.list_webhooks()) == [0, 1]
    served.accounts.grant("ida", "ben", None)


def test_what_is_not_done_is_said(api: HfApi, monkeypatch: pytest.MonkeyPatch) -> None:
    both: Any = [USER, WebhookWatchedItem("org", "lab")]
    wanted: Any = {"url": URL, "watched": [USER]}
    undone: list[tuple[str, Any]] = [
        ("leave it out", {"secret": "s"}), ("one for each", {"watched": both}),
        ("no datasets here", {"watched": [WebhookWatchedItem("dataset", "ida/x")]}),
        ("no discussions here", {"domains": ["discussion"]}),
        ("no jobs run here", {"url": None, "job_id": "x"}),
    ]  # fmt: skip
    for text, asked in undone:
        with pytest.raises(HfHubHTTPError, match=f"501[\\s\\S]*{text}"):
            api.create_webhook(**{**wanted, **asked})
    wrong: list[tuple[str, Any]] = [
        ("plain http", {"url": "http://10.0.0.1"}), ("is no address", {"url": "ftp://x"}),
        ("is no user", {"watched": [WebhookWatchedItem("user", "ida/one")]}),
        ("is no user", {"watched": [WebhookWatchedItem("user", "")]}), ("a url", {"watched": []}),
        ("is no model", {"watched": [WebhookWatchedItem("model", "ida/one/two")]}),
        ("is no model", {"watched": [WebhookWatchedItem("model", "../objects")]}),
    ]  # fmt: skip
    for text, asked in wrong:
        with pytest.raises(BadRequestError, match=text):
            api.create_webhook(**{**wanted, **asked})
    monkeypatch.setattr(hooks, "MOST", 1)
    api.create_webhook(url=URL, watched=[USER])
    second = api.create_webhook(url=URL, watched=[both[1]])
    with pytest.raises(BadRequestError, match="already"):
        api.create_webhook(**wanted)
    with pytest.raises(BadRequestError, match="already"):
        api.update_webhook(second.id, watched=[USER])


def test_none_comes_into_the_private_network_by_a_change(api: HfApi, served: Served) -> None:
    """An admin has allowed one address there, and no other."""
    with receiving() as receiver:
        allowed = served.accounts.webhooks.add(receiver.url, "ida", private=True)
        with pytest.raises(BadRequestError, match="plain http"):
            api.update_webhook(allowed.id, url=receiver.url)
        inside = api.update_webhook(allowed.id, url="https://127.0.0.1:1/x")
        assert not served.accounts.webhooks.all()[0].private
        api.create_repo("ida/inside")
        wait(Deliveries(served.server.hub, served.url, Event()).look())
        (tries,) = served.accounts.webhooks.tries().values()
        assert "private network" in tries[0].status
        assert api.get_webhook(inside.id).url == "https://127.0.0.1:1/x"
        assert not receiver.got


def test_one_that_is_disabled_is_told_nothing_and_one_that_ended_what_it_missed(
    api: HfApi, served: Served, tell: Callable[[], None]
) -> None:
    with receiving() as receiver:
        hook = served.accounts.webhooks.add(receiver.url, "ida", private=True)
        api.disable_webhook(hook.id)
        api.create_repo("ida/missed")
        tell()
        api.enable_webhook(hook.id)
        tell()
        assert not receiver.got
        receiver.statuses += [500] * MOST_FAILURES
        api.create_repo("ida/late")
        for _ in range(MOST_FAILURES):
            tell()
        assert api.get_webhook(hook.id).disabled
        receiver.got.clear()
        api.enable_webhook(hook.id)
        tell()
        assert [body["repo"]["name"] for _, body in receiver.got] == ["ida/late"]


def check(header: str, body: bytes, secret: str) -> bool:
    """What docs/operate.md tells receivers to do."""
    page = (Path(__file__).parents[2] / "docs/operate.md").read_text()
    code = page.partition("`X-Zoo-Signature`")[2].partition("```python\n")[2].partition("```")[0]
    named: dict[str, Any] = {"hmac": hmac, "time": time}
    exec(code, named)
    return bool(named["check"](header, body, secret))


def test_what_is_sent_is_signed(
    api: HfApi, served: Served, tell: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with receiving() as receiver:
        hook = served.accounts.webhooks.add(receiver.url, "ida", private=True)
        secret = str(api.get_webhook(hook.id).secret)
        api.create_repo("ida/signed")
        tell()
        (headers, _), (body,) = receiver.got[0], receiver.bodies
        signed = headers["x-zoo-signature"]
        assert check(signed, body, secret)
        assert not check(signed, body.replace(b"signed", b"forged"), secret)
        assert not check(signed, body, "another")
        assert not check(signed.replace("t=1", "t=2"), body, secret), "the time is signed, too"
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + 301)
        assert not check(signed, body, secret), "it is sent once more by somebody else"


SERVER = Path(__file__).parent / "stock_webhooks.py"


@pytest.mark.clients
def test_the_hubs_own_server_of_webhooks_takes_it(
    api: HfApi, served: Served, tell: Callable[[], None], tmp_path: Path
) -> None:
    """It runs on gradio, which is installed from the package index."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    folder = tmp_path / "site"
    wanted = ["huggingface_hub", "gradio", "fastapi"]
    subprocess.run([*pip, "--target", str(folder), *wanted], check=True, capture_output=True)
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/webhooks/note"
    hook = served.accounts.webhooks.add(url, "ida", private=True)
    environment = {
        **os.environ, "PYTHONPATH": str(folder), "NO_PROXY": "*", "HF_HOME": str(tmp_path),
        "WEBHOOK_SECRET": str(api.get_webhook(hook.id).secret), "GRADIO_ANALYTICS_ENABLED": "0",
        "TOLD": str(tmp_path / "told"),
    }  # fmt: skip
    command = [sys.executable, "-W", "ignore", str(SERVER), str(port)]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout
        assert "ready\n" in iter(server.stdout.readline, "")
        api.create_repo("ida/told")
        tell()
        server.communicate()
    assert served.accounts.webhooks.all()[0].status == "200"
    assert (tmp_path / "told").read_text() == "create ida/told\n"
