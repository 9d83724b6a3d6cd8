"""Whatever is typed into the forms of pages, and into their addresses: a refusal, or a page, and
never a failure of the server, on either database.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote_from_bytes

import pytest
from fakes.paged import HTML
from fakes.postgres import Server as Postgres
from fakes.served import Served, ask, serving
from fakes.signed import SAME, Signed, sign_in

from zoo.serve.pages import access, device, hooks, patterns, people, settings, storage
from zoo.serve.pages.form import Change
from zoo.serve.table import ROUTES
from zoo.workspace import Workspace

ODD = (b"\0", b"a\0b", b"\xed\xa0\x80", b"\xff", "\u202e".encode(), b"../x", b"a/b/c", b"a:b", b"*",
       b"[", b"'; DROP TABLE token; --", b"{{ 7 * 7 }}", b"%", b" ", b"a" * 3000, b"-1", b"9" * 40,
       "\u0663".encode(), b"http://[", b"https://a..b/")  # fmt: skip
FIELDS = ("name", "id", "purpose", "days", "only", "kind", "admin", "pattern", "url", "path",
          "private", "namespace", "bytes", "user_code", "level", "who", "role")  # fmt: skip
QUERY = ("name", "who", "action", "q", "before", "keep", "grace", "user_code", "done")
FORMS: dict[str, Mapping[str, Change]] = {
    "/-/settings": settings.FORMS, "/-/people": people.FORMS,
    "/-/people/admin": people.PERSON_FORMS, "/-/patterns": patterns.FORMS,
    "/-/webhooks": hooks.FORMS, "/-/storage": storage.FORMS, "/-/device": device.FORMS,
    "/-/namespaces/lab": access.NAMESPACE_FORMS,
}  # fmt: skip


@pytest.fixture(
    scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.long)]
)
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    root: Path = tmp_path_factory.mktemp("odd") / "zoo"
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "postgresql":
            server: Postgres = request.getfixturevalue("postgres_server")
            patch.setenv("ZOO_DB", server.database("odd"))
        Workspace.create(root).close()
        with serving(root) as served:
            yield served


@pytest.fixture(scope="module")
def admin(served: Served) -> Signed:
    return sign_in(served.url, served.token("admin", "write"))


@pytest.mark.long
@pytest.mark.parametrize("path", FORMS)
def test_what_is_typed(admin: Signed, path: str) -> None:
    """One field after the other by what is odd, and all of them."""
    for do in FORMS[path]:
        for number, odd in enumerate(ODD):
            text = quote_from_bytes(odd)
            for fields in (FIELDS, FIELDS[number % len(FIELDS) :][:1]):
                body = "&".join([f"do={do}", *(f"{field}={text}" for field in fields)])
                got = ask(
                    admin.url, path, "POST", body=body.encode(), Accept=HTML,
                    Cookie=admin.cookie, **SAME,
                )  # fmt: skip
                assert got.status in (200, 303, 400, 404, 429), (do, fields, odd, got)


@pytest.mark.long
def test_what_is_in_the_address(admin: Signed) -> None:
    paths = [route.path for route in ROUTES
             if route.page and route.method == "GET" and route.path.startswith("/-/")]  # fmt: skip
    assert len(paths) > 20
    for path in paths:
        for odd in ODD:
            text = quote_from_bytes(odd, safe="")
            filled = re.sub(r"\{\w+\}", text, path)
            asked = "&".join(f"{name}={text}" for name in QUERY)
            assert admin.get(f"{filled}?{asked}").status in (200, 400, 404, 429), (path, odd)


def test_what_programs_send(served: Served) -> None:
    grant = "grant_type=urn:ietf:params:oauth:grant-type:device_code"
    for odd in ODD:
        text = quote_from_bytes(odd)
        for path in ("/oauth/device", "/oauth/token"):
            for field in ("scope", "client_id", "device_code", "grant_type"):
                body = f"{grant}&{field}={text}".encode()
                got = served.ask(path, "POST", body=body)
                assert got.status in (200, 400, 429), (path, field, odd)
            assert served.ask(path, "POST", body=odd).status in (200, 400, 429)
