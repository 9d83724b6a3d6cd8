"""What a server tells of itself: whether it is ready, figures, and a log without secrets."""

from __future__ import annotations

import json
import logging
import re
import time

import pytest
from blake3 import blake3
from fakes.program import zoo as program
from fakes.sending import xorb
from fakes.served import Served, serving

from zoo.domain.digest import Digest
from zoo.errors import Corrupt, Unavailable
from zoo.serve.hub.ask import Hub
from zoo.serve.watch import health, waiting
from zoo.serve.watch.logs import logging_as, without_secrets
from zoo.serve.who.tokens import new_secret
from zoo.store import Store
from zoo.store.listing import name_of


def test_ready_or_what_is_not(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    well = {"store": True, "database": True, "space": True}
    got = served.ask("/readyz")
    assert (got.status, got.json) == (200, well)

    def fail(*_: object) -> None:
        raise Unavailable(str(served.root), "no such file")

    monkeypatch.setattr(health, "SPARE_BYTES", 1 << 62)
    assert served.ask("/readyz").json == well, "it was looked at just now"
    monkeypatch.setattr(health, "SECONDS", 0.0)
    got = served.ask("/readyz")
    assert (got.status, got.json) == (503, well | {"space": False})
    monkeypatch.setattr(health, "_try_store", fail)
    got = served.ask("/readyz")
    assert got.json == well | {"space": False, "store": False}
    assert str(served.root) not in str(got)
    made = health.Health(served.server.hub.workspace.store, fail)
    assert not made.look()["database"]


def test_the_store_is_tried(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    store: Store = served.server.hub.workspace.store
    health._try_store(store)
    assert not [name for name in store.disk.names("tmp") if name.startswith("tmp")]
    monkeypatch.setattr(store.disk, "read", lambda *_: b"x")
    with pytest.raises(Corrupt):
        health._try_store(store)


def figures(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if not line.startswith("#")]
    return {name: float(number) for name, _, number in lines}


def test_figures(served: Served, token: str) -> None:
    admin = served.token("admin")
    file = "/team/net/resolve/main/config.json"
    route = "GET /{namespace}/{name}/resolve/{revision}/{path...}"
    before = figures(served.ask("/metrics").body.decode())
    there = served.ask(file, token=token).headers["location"]
    size = len(served.ask(there, token=token).body)
    served.ask("/no/such/address/at/all", "PUT", body=b"12345")
    text = served.ask("/metrics", token=admin).body.decode()
    now = figures(text)
    assert now[f'zoo_requests_total{{route="{route}",status="200"}}'] >= 1
    assert now[f'zoo_request_seconds_count{{route="{route}"}}'] >= 2
    assert now['zoo_requests_total{route="-",status="404"}'] >= 1
    assert now["zoo_sent_bytes_total"] - before["zoo_sent_bytes_total"] >= size
    head = served.accounts.audit.head()
    assert now["zoo_audit_rows"] == head.number
    assert f"{int(now['zoo_audit_hash']):013x}" == head.hash[:13]
    assert now["zoo_free_bytes"] > 0
    assert now["zoo_uploads"] == 0
    assert not re.search(r"team|net/|ann|admin", text.replace("{namespace}/{name}", ""))


def test_what_was_sent_and_has_no_name_is_counted(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Xorbs and parts apart, in the figures, on the page and in what is checked."""
    monkeypatch.setattr(waiting, "SECONDS", 0.0)
    token, data = served.token("ann", "write"), bytes(70_000)
    key = name_of("objects", Digest("blake3", "0" * 64))
    part = f"/zoo/v1/parts/0-{blake3(data).hexdigest()}/{key}"
    assert served.ask(part, "PUT", token=token, body=data).status == 201
    assert served.ask("/api/repos/create", "POST", token=token, body=b'{"name": "x"}').status == 200
    told = served.ask("/api/models/ann/x/xet-write-token/main", token=token).json
    name, sent, _ = xorb(data)
    to = f"{told['casUrl'].removeprefix(served.url)}/v1/xorbs/default/{name}"
    assert served.ask(to, "POST", token=told["accessToken"], body=sent).status == 200
    now = figures(served.ask("/metrics").body.decode())
    assert (now["zoo_part_files"], now["zoo_part_bytes"]) == (1, len(data))
    assert now["zoo_xorb_files"] == 1
    assert len(data) < now["zoo_xorb_bytes"] < len(data) + 200, "with the hashes of its chunks"
    admin = served.token("admin", "write")
    rows = served.ask("/-/storage.json", token=admin).json["beside"]
    beside = {row["kind"]: (row["files"], row["bytes"]) for row in rows}
    assert beside["parts of files that are being sent"] == (1, len(data))
    assert beside["xorbs of files that are being sent"] == (1, now["zoo_xorb_bytes"])
    said = program("--home", served.root, "serve", "check").done().out
    assert "sent and not committed, parts: 1 file, 70.0 kB" in said
    for path in (served.root / "sent").glob("*/*/*"):
        path.unlink()
    now = figures(served.ask("/metrics").body.decode())
    assert [now[f"zoo_{kind}_files"] for kind in ("part", "xorb")] == [0, 0]


def test_who_reads_figures(served: Served, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.ask("/metrics").status == 200, "this machine"
    assert served.ask("/metrics", token=token).code == "Forbidden"
    monkeypatch.setattr(served.server.hub, "public_url", "https://zoo.lab.org")
    assert served.ask("/metrics").code == "NoToken"
    assert served.ask("/metrics", token=served.token("admin")).status == 200


def test_whose_address_it_is_a_proxy_says(served: Served) -> None:
    with serving(served.root, "https://lab.org") as behind:
        secret, said = str(new_secret()), "198.51.100.7"
        behind.ask("/api/whoami-v2", token=secret, Host="lab.org", X_Forwarded_For=said)
        assert behind.accounts.audit.newest(limit=1)[0].address == said
        assert behind.ask("/metrics", Host="lab.org").code == "NoToken"
    served.ask("/api/whoami-v2", token=secret, X_Forwarded_For=said)
    assert served.accounts.audit.newest(limit=1)[0].address == "127.0.0.1"


def said_until(what: str, capsys: pytest.CaptureFixture[str]) -> str:
    """What was logged, up to what is logged when an answer was read already."""
    said = ""
    while what not in said:
        time.sleep(0.005)
        said += capsys.readouterr().err
    return said


def test_the_log_in_json(
    served: Served, token: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError(f"token {token} of Bearer {token} at ?seal=abc.def\nforged")

    with logging_as("json", logging.INFO):
        got = served.ask("/api/models/team/net", token=token)
        served.ask(f"/api/models/team/{token}", token=token)
        monkeypatch.setattr(Hub, "exists", fail)
        monkeypatch.setattr(served.server.hub.history, "versions", fail)
        served.ask("/api/models/team/net/refs", token=token, X_Request_Id="mine")
        said = said_until("mine", capsys)
        logging.getLogger("zoo.serve").warning("it is %s", token)
    said += capsys.readouterr().err
    assert token[13:20] not in said
    first, _, failed, last, other = map(json.loads, said.splitlines())
    assert first["request"] == got.headers["x-request-id"]
    assert first | {"at": "", "message": "", "request": "", "ms": 0} == {
        "at": "", "level": "info", "message": "", "request": "", "address": "127.0.0.1",
        "account": "ann", "token": token[4:12], "method": "GET", "path": "/api/models/team/net",
        "route": "GET /api/models/{namespace}/{name}", "status": 200, "code": "", "ms": 0,
        "received": 0, "sent": len(got.body),
    }  # fmt: skip
    assert "RuntimeError: token zoo_" in failed["traceback"]
    assert "seal=…" in failed["traceback"]
    assert "abc.def" not in said
    assert (last["request"], last["status"]) == ("mine", 500)
    assert other["message"] == f"it is zoo_{token[4:12]}_…"


def test_no_form_of_a_secret_is_logged() -> None:
    secret = str(new_secret())
    for text in (
        secret, secret[:-1], secret[:30], f"x{secret}y", f"Bearer {secret}", "hf_" + "a" * 34,
        "authorization: bearer eyJh.bGci", "/lfs/objects/1?seal=WyJ.abc&x=1",
    ):  # fmt: skip
        hidden = without_secrets(text)
        assert "…" in hidden, text
        for part in (secret[13:], secret[13:30], "aaaa", "eyJh", "WyJ"):
            assert part not in hidden
    for text in ("zoo_serve", "seal", "hf_hub_download", "zoo_fine_tunes_last"):
        assert without_secrets(text) == text
