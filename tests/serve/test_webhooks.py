"""Webhooks: what is sent, to whom, again and again, and never into the private network."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import chain, repeat
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fakes.receiver import Receiver, receiving
from fakes.sampled import every
from fakes.served import Served
from fakes.signed import sign_in
from huggingface_hub import HfApi, WebhookPayload
from sqlalchemy import update

from zoo.domain.reference import Reference
from zoo.errors import InvalidOption, InvalidReference, Unavailable, UnknownName
from zoo.registry.engine import writing
from zoo.serve.hub import webhooks as module
from zoo.serve.hub.webhooks import Deliveries
from zoo.serve.watch import outgoing
from zoo.serve.watch.outgoing import post
from zoo.serve.who import schema
from zoo.serve.who.webhooks import MOST_FAILURES, Webhook


@dataclass
class Names:
    """What a name has for addresses, one answer after the other; then it is this machine's."""

    url: str = ""
    answers: list[list[str]] = field(default_factory=list)
    asked: int = 0
    reached: list[str] = field(default_factory=list)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture
def told(served: Served, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Webhook]]:
    """Has all webhooks told; the only one. The server itself tells them later."""
    deliveries = Deliveries(served.server.hub, served.url, Event())

    def tell() -> Webhook:
        deliveries._next.clear()
        wait(deliveries.look())
        (hook,) = served.accounts.webhooks.all()
        return hook

    yield tell
    for hook in served.accounts.webhooks.all():
        served.accounts.webhooks.remove(hook.id)


def test_what_changes_is_sent_as_the_hub_does(
    served: Served, receiver: Receiver, told: Callable[[], Webhook]
) -> None:
    api = HfApi(endpoint=served.url, token=served.token("ann", "write"))
    hook = served.accounts.webhooks.add(receiver.url, "ann", private=True)
    api.create_repo("ann/hooked")
    served.commit("ann/hooked", "one", served.token("ann", "write"))
    served.accounts.add("else")  # not of a repository, nor in the namespace
    api.create_branch("ann/hooked", branch="dev")
    api.delete_branch("ann/hooked", branch="dev")
    api.delete_repo("ann/hooked")
    done = told()
    payloads = [WebhookPayload.model_validate(body) for _, body in receiver.got]
    assert [(each.event.action, each.event.scope) for each in payloads] == [
        ("create", "repo"), ("update", "repo.content"), ("update", "repo.content"),
        ("update", "repo.content"), ("update", "repo.content"), ("delete", "repo"),
    ]  # fmt: skip
    assert {each.repo.name for each in payloads} == {"ann/hooked"}
    assert {each.webhook.id for each in payloads} == {hook.id}
    refs = [ref.ref for each in payloads for ref in each.updatedRefs or ()]
    assert refs == ["refs/heads/main", "refs/heads/dev", "refs/heads/dev", "refs/heads/main"]
    secret = served.server.hub.seals.secret(f"webhook {hook.id}")
    assert {headers["x-webhook-secret"] for headers, _ in receiver.got} == {secret}
    assert secret not in str((served.root / "accounts.db").read_bytes())
    assert (done.status, done.failures) == ("200", 0)
    told()
    assert len(receiver.got) == 6, "each once"


def test_a_namespace_is_told_of_nothing_that_it_may_not_read(
    served: Served, receiver: Receiver, told: Callable[[], Webhook]
) -> None:
    """Neither of one that is called alike but for capitals, nor where something went."""
    accounts = served.accounts
    served.token("Mia")
    accounts.webhooks.add(receiver.url, "Mia", private=True)
    accounts.repos.add("mia/secret")
    accounts.repos.move("Mia/net", "secret/net")
    accounts.repos.move("Mia/net", "team/net")
    told()
    names = [(body["repo"]["name"], body.get("movedTo")) for _, body in receiver.got]
    assert names == [
        ("Mia/net", None), ("Mia/net", {"name": "team/net", "owner": {"id": "team"}}),
    ]  # fmt: skip
    who = sign_in(served.url, served.token("Mia", "write"))
    rows = who.get("/-/audit.json?name=Mia&action=repository%20moved").json["rows"]
    page = who.get("/-/namespaces/Mia/index.json").json["changes"]
    for each in (rows, [row for row in page if row["action"] == "repository moved"]):
        assert [row["detail"] for row in each] == ["to team/net", ""]
    assert "mia/secret" not in who.get("/-/audit?name=Mia").body.decode()
    owner = sign_in(served.url, served.token("admin", "write"))
    rows = owner.get("/-/audit.json?name=Mia&action=repository%20moved").json["rows"]
    assert [row["detail"] for row in rows] == ["to team/net", "to secret/net"]


def test_one_that_is_disabled_follows_its_repository(
    served: Served, receiver: Receiver, told: Callable[[], Webhook]
) -> None:
    accounts, token = served.accounts, served.token("leo", "write")
    hook = accounts.webhooks.add(receiver.url, "leo/one", private=True)
    api = HfApi(endpoint=served.url, token=token)
    api.create_repo("leo/one")
    told()
    accounts.webhooks.switch(hook.id, on=False)
    api.move_repo("leo/one", "leo/two")
    told()
    accounts.webhooks.switch(hook.id, on=True)
    served.commit("leo/two", "one", token)
    assert told().path == "leo/two"
    names = [body["repo"]["name"] for _, body in receiver.got]
    assert names == ["leo/one", "leo/two"]


@pytest.mark.usefixtures("told")
def test_those_of_a_repository_follow_it_within_its_namespace(
    served: Served, receiver: Receiver
) -> None:
    """Of what was missed before, and of the move, they are told by the old name."""
    accounts, token = served.accounts, served.token("leo", "write")
    deliveries = Deliveries(served.server.hub, served.url, Event())
    api = HfApi(endpoint=served.url, token=token)
    for _ in range(2):
        accounts.webhooks.add(receiver.url, "leo/old", private=True)
    api.create_repo("leo/old")
    api.move_repo("leo/old", "leo/new")
    wait(deliveries.look())
    served.commit("leo/new", "one", token)
    wait(deliveries.look())
    names = [body["repo"]["name"] for _, body in receiver.got]
    assert sorted(names) == sorted(["leo/old", "leo/old", "leo/new"] * 2)
    accounts.grant("team", "leo", "owner")
    api.move_repo("leo/new", "team/leos")
    wait(deliveries.look())
    assert {each.path for each in accounts.webhooks.all() if each.path[:3] == "leo"} == {"leo/new"}


def test_the_newest_commit_is_told(
    served: Served, receiver: Receiver, told: Callable[[], Webhook]
) -> None:
    served.accounts.webhooks.add(receiver.url, private=True)
    HfApi(endpoint=served.url, token=served.token("ann", "write")).create_repo("ann/head")
    served.commit("ann/head", "one", served.token("ann", "write"))
    told()
    sha = HfApi(endpoint=served.url, token=served.token("ann")).model_info("ann/head").sha
    _, body = receiver.got[-1]
    assert body["repo"]["headSha"] == body["updatedRefs"][0]["newSha"] == sha


def test_what_fails_is_sent_again_and_nothing_is_left_out(
    served: Served, receiver: Receiver, told: Callable[[], Webhook]
) -> None:
    hooks, token = served.accounts.webhooks, served.token("ann", "write")
    hooks.add(receiver.url, "ann/again", private=True)
    HfApi(endpoint=served.url, token=token).create_repo("ann/again")
    served.commit("ann/again", "one", token)
    receiver.statuses += [500, 302, 200, 404]
    assert [told().failures for _ in range(3)] == [1, 2, 1]
    assert told().failures == 0
    actions = [body["event"]["action"] for _, body in receiver.got]
    assert actions == ["create", "create", "create", "update", "update"], "no redirect was followed"
    served.commit("ann/again", "two", token)
    receiver.statuses += [500] * (MOST_FAILURES + 5)
    for _ in range(MOST_FAILURES + 3):
        last = told()
    assert (last.failures, last.ended, last.status) == (MOST_FAILURES, True, "500")
    (tries,) = served.accounts.webhooks.tries().values()
    assert {(each.row > last.after, each.status) for each in tries} == {(True, "500")}
    assert len(tries) == MOST_FAILURES


def test_one_that_cannot_be_told_keeps_no_other_from_it(
    served: Served, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks, asked = served.accounts.webhooks, list[str]()
    urls = ["https://fails.org", receiver.url, "https://fails.org"]
    made = [hooks.add(url, "ann/odd", private=True) for url in urls]
    HfApi(endpoint=served.url, token=served.token("ann", "write")).create_repo("ann/odd")

    def sends(url: str, *args: Any, **options: Any) -> int:
        asked.append(url)
        if "fails" in url:
            raise RuntimeError
        return post(url, *args, **options)

    monkeypatch.setattr(module, "post", sends)
    wait(Deliveries(served.server.hub, served.url, Event()).look())
    assert sorted(asked) == sorted(urls)
    assert len(receiver.got) == 1
    for hook in made:
        hooks.remove(hook.id)


@pytest.mark.parametrize("host", ["a..org", f"{'a' * 70}.org"])
def test_what_can_be_no_name_of_a_machine(host: str) -> None:
    with pytest.raises(Unavailable, match="leads to no address"):
        post(f"https://{host}/", b"{}", {}, private=False)


def test_what_is_mended_while_it_fails_is_told(
    served: Served, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last try that may fail is under way as its owner enables it."""
    hooks = served.accounts.webhooks
    hook = hooks.add(receiver.url, "ann/late", private=True)
    HfApi(endpoint=served.url, token=served.token("ann", "write")).create_repo("ann/late")
    receiver.statuses += [500]
    deliveries = Deliveries(served.server.hub, served.url, Event())

    def sends(*args: Any, **options: Any) -> int:
        if not receiver.got:
            hooks.switch(hook.id, on=True)
            hooks.change(hook.id, url=None, path=None)
        return post(*args, **options)

    monkeypatch.setattr(module, "post", sends)
    with writing(hooks._engine) as connection:
        connection.execute(update(schema.webhook).values(failures=MOST_FAILURES - 1))
    for _ in range(3):
        wait(deliveries.look())
    assert len(receiver.got) == 2
    hooks.remove(hook.id)


def test_a_failure_is_waited_for(served: Served, receiver: Receiver) -> None:
    hook = served.accounts.webhooks.add(receiver.url, "ann/slow", private=True)
    HfApi(endpoint=served.url, token=served.token("ann", "write")).create_repo("ann/slow")
    receiver.statuses += [500]
    deliveries = Deliveries(served.server.hub, served.url, Event())
    for _ in range(3):
        wait(deliveries.look())
    assert len(receiver.got) == 1
    served.accounts.webhooks.switch(hook.id, on=True)  # whoever runs the receiver has mended it
    wait(deliveries.look())
    assert len(receiver.got) == 2
    served.accounts.webhooks.remove(hook.id)
    with pytest.raises(UnknownName):
        served.accounts.webhooks.remove(hook.id)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "10.0.0.7",
        "192.168.1.1",
        "169.254.169.254",
        "::1",
        "fe80::1%lo",
        "0.0.0.0",
        "224.0.0.1",
        "ff0e::1",
        "::10.0.0.7",
        "::ffff:10.0.0.7",
        "64:ff9b::10.0.0.7",
        "64:ff9b:1::8.8.8.8",
        "2002:a00:7::1",
        "fec0::1",
    ],
)
def test_the_private_network_is_out_of_reach(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    asked = []

    def look_up(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))]

    monkeypatch.setattr("zoo.serve.watch.outgoing.getaddrinfo", look_up)
    with pytest.raises(Unavailable, match="private network"):
        post("https://hooks.example.org/x", b"{}", {}, private=False)
    assert asked == ["hooks.example.org"]


PUBLIC = "93.184.215.14"


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch, receiver: Receiver) -> Iterator[Names]:
    """A network in which one name has other addresses each time, and all public ones lead to the
    receiver, as do those of this machine.
    """
    names, really, connect = Names(), socket.getaddrinfo, socket.socket.connect

    def look_up(host: str, port: int, *more: Any, **options: Any) -> list[Any]:
        if host != "hooks.example.org":
            return really(host, port, *more, **options)
        names.asked += 1
        addresses = names.answers.pop(0) if names.answers else ["127.0.0.1"]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port)) for each in addresses]

    def connected(line: socket.socket, address: tuple[str, int]) -> None:
        names.reached.append(address[0])
        connect(line, ("127.0.0.1", address[1]))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    monkeypatch.setattr(outgoing, "getaddrinfo", look_up)
    monkeypatch.setattr(socket.socket, "connect", connected)
    names.url = receiver.url.replace("127.0.0.1", "hooks.example.org")
    yield names
    monkeypatch.undo()


def test_a_name_that_changes_its_mind_leads_where_was_checked(
    names: Names, receiver: Receiver
) -> None:
    """It is public for who checks, and of this machine from then on."""
    names.answers += [[PUBLIC]]
    assert post(names.url, b"{}", {}, private=False) == 200
    assert names.reached == [PUBLIC]
    assert names.asked == 1
    assert receiver.got[0][0]["host"].startswith("hooks.example.org:")
    with pytest.raises(Unavailable, match="private network"):
        post(names.url, b"{}", {}, private=False)
    assert (names.asked, names.reached) == (2, [PUBLIC])


def test_of_several_addresses_the_one_that_is_checked_is_reached(names: Names) -> None:
    names.answers += [[PUBLIC, "127.0.0.1"], ["10.0.0.7", PUBLIC]]
    assert post(names.url, b"{}", {}, private=False) == 200
    with pytest.raises(Unavailable, match="private network"):
        post(names.url, b"{}", {}, private=False)
    assert names.reached == [PUBLIC]


def test_who_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outgoing, "SECONDS", 0.2)
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        began = time.monotonic()
        with pytest.raises(Unavailable):
            post(f"http://127.0.0.1:{silent.getsockname()[1]}", b"{}", {}, private=True)
    assert time.monotonic() - began < 10
    with pytest.raises(Unavailable):
        post("http://no.such.host.invalid/", b"{}", {}, private=True)


@pytest.mark.parametrize("address", ["8.8.8.8", "2001:4860::1", "64:ff9b::8.8.8.8"])
def test_the_rest_of_the_world_is_reached(address: str) -> None:
    assert outgoing._is_public(ip_address(address))


@contextmanager
def answering(*pieces: bytes, pause: float = 0.05) -> Iterator[int]:
    """The port of who sends ``pieces``, the last of them again and again, whatever is asked."""
    ended = Event()

    def answer(line: socket.socket) -> None:
        with line, suppress(OSError):
            for piece in chain(pieces, repeat(pieces[-1])):
                if ended.wait(pause):
                    return
                line.sendall(piece)

    def accept() -> None:
        with suppress(OSError):
            while not ended.is_set():
                threading.Thread(target=answer, args=[server.accept()[0]]).start()

    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


@pytest.mark.parametrize(
    "piece", every(3, [b"x", b"x" * 9 + b"\r\nX-A: ", b"x" * 65536], beside=pytest.mark.long)
)
def test_who_answers_without_end_is_not_waited_for(
    monkeypatch: pytest.MonkeyPatch, piece: bytes
) -> None:
    monkeypatch.setattr(outgoing, "SECONDS", 1.0)
    began = time.monotonic()
    with answering(b"HTTP/1.1 200 OK\r\nX-A: ", piece) as port, pytest.raises(Unavailable) as told:
        post(f"http://127.0.0.1:{port}/", b"{}", {}, private=True)
    assert time.monotonic() - began < 5
    assert str(port) not in str(told.value)


def test_who_is_slow_keeps_nobody_else_waiting(served: Served, receiver: Receiver) -> None:
    hooks, url = served.accounts.webhooks, served.url
    token = served.token("ann", "write")
    with answering(b"HTTP/1.1 200 OK\r\nX-A: ", b"x") as port:
        slow = [hooks.add(f"http://127.0.0.1:{port}/", "ann", private=True) for _ in range(3)]
        mine = hooks.add(receiver.url, "ben/quick", private=True)
        HfApi(endpoint=url, token=token).create_repo("ann/stalls")
        HfApi(endpoint=url, token=served.token("ben", "write")).create_repo("ben/quick")
        deliveries, began = Deliveries(served.server.hub, url, Event()), time.monotonic()
        deliveries.look()
        while not receiver.got:
            assert time.monotonic() < began + 8
            time.sleep(0.02)
        deliveries._ended.set()
    for hook in (*slow, mine):
        hooks.remove(hook.id)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://x",
        "https://",
        "https://u:p@x",
        "http://x",
        "https://x:99999",
        "javascript:1",
        "",
        "https://[::",
    ],
)
def test_what_is_no_address(served: Served, url: str) -> None:
    with pytest.raises(InvalidOption):
        served.accounts.webhooks.add(url)
    with pytest.raises(InvalidReference):
        served.accounts.webhooks.add("https://x", "a b")
    assert not served.accounts.webhooks.all()


@pytest.mark.long
def test_a_server_tells(
    tmp_path: Path, receiver: Receiver, make_zoo: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from fakes.served import serving

    make_zoo(tmp_path / "zoo")
    monkeypatch.setattr(module, "LOOK_SECONDS", 0.05)
    with serving(tmp_path / "zoo") as served:
        served.accounts.webhooks.add(receiver.url, private=True)
        ref = Reference.parse("team/net:v2")
        entry = served.server.hub.workspace.store.history(Reference.parse("team/net"))[-1]
        moved = served.server.hub.workspace.move(ref, entry.manifest, "tag")
        served.server.hub.tell("name made", ref, moved)
        ends = time.monotonic() + 60
        while not receiver.got:
            assert time.monotonic() < ends
            time.sleep(0.02)
    assert receiver.got[0][1]["updatedRefs"][0]["ref"] == "refs/heads/v2"
