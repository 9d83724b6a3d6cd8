"""Texts of others on every page, in a real browser that heeds no policy: none of them does
anything. And forms that another site sends change nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from html import escape

import pytest
from fakes.browser import browsing
from fakes.checkpoints import add_checkpoint, tensors
from fakes.elsewhere import elsewhere
from fakes.served import CONFIG, Served, with_files
from playwright.sync_api import Browser, Dialog, Page

from zoo.domain.catalog import CatalogEntry
from zoo.domain.manifest import Parent
from zoo.domain.reference import Reference
from zoo.serve.table import ROUTES

pytestmark = pytest.mark.long
CANARY = "\"'></title></textarea><img src=x onerror=sing()><script>sing()</script>"
CARD = f"# {CANARY}\n\n{CANARY}\n\n`{CANARY}` [{CANARY}](javascript:sing()) ![{CANARY}](x'{CANARY})"
PAGES = [row.path for row in ROUTES if row.method == "GET" and row.summary.startswith("page: ")]
FORMS = [row.path for row in ROUTES if row.method == "POST" and row.page]
REPOS = ("team/net", "team/nasty", "eve/files")
MORE = {
    "/": ("", f"?q={CANARY}"),
    "/compare": ("?names=team/net&names=team/nasty", f"?names={CANARY}"),
    "/-/listed": ("?name=timm/net.in1k",),
    "/-/device": ("?user_code=CODE", f"?user_code={CANARY}"),
    "/-/audit": ("", f"?who={CANARY}&name={CANARY}"),
    "/sign-in": (f"?next=/{CANARY}",),
    "/-/storage/prune": ("?keep=0&grace=0", f"?keep={CANARY}"),
}
"""What else is in the address of a page."""
PLAIN = {
    "/-/access/{namespace}/{name}", "/-/identify", "/-/patterns", "/-/people", "/-/storage",
    "/-/storage/prune", "/runs", "/{namespace}/{name}/runs", "/{namespace}/{name}/try",
}  # fmt: skip
"""Pages on which nothing is that somebody may write as they like: names, dates and numbers."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def nasty(trained: Served) -> Served:
    """A zoo in which each text that somebody else can write is a canary."""
    workspace, accounts = trained.server.hub.workspace, trained.accounts
    values = {**tensors(), f"{CANARY}.weight": tensors(1)["fc.bias"]}
    first = add_checkpoint(workspace, "team/plain", values, license=CANARY)
    with_card = with_files(workspace, first, config_json=CONFIG, README_md=CARD.encode())
    manifest = replace(
        with_card,
        classes=(CANARY, f"{CANARY}2"),
        provenance=dict.fromkeys(("note", "author", "warning", "dataset"), CANARY),
        metrics={CANARY: 0.5},
        recipe={"task": CANARY, "data": CANARY},
        parents=(Parent(manifest=first, relation=CANARY, ref=CANARY),),
    )
    workspace.commit(manifest, Reference.parse("team/nasty"), CANARY)
    workspace.deprecate(Reference.parse("team/nasty"), CANARY)
    entry = CatalogEntry(
        name="timm/net.in1k", architecture=CANARY, backbone="timm", tag=CANARY, license=CANARY,
        params=1_000_000, num_classes=1000, datasets=(CANARY,), metrics={CANARY: 50.0},
    )  # fmt: skip
    workspace.registry.replace_entries("timm", "1", [entry], "2026-01-01T00:00:00Z")
    token = trained.token("eve", "write")
    assert (
        trained.ask("/api/repos/create", "POST", token=token, body=b'{"name": "files"}').status
        == 200
    )
    lines = [
        {"key": "header", "value": {"summary": CANARY, "description": CANARY}},
        {"key": "file", "value": {"path": "README.md", "content": f"---\nlicense: '{CANARY[2:]}'\n"
                                  f"tags: ['{CANARY[2:]}']\n---\n{CARD}"}},
        {"key": "file", "value": {"path": CANARY.replace("/", "|"), "content": CANARY}},
    ]  # fmt: skip
    body = "\n".join(map(json.dumps, lines)).encode()
    path = "/api/models/eve/files/commit/main"
    assert trained.ask(path, "POST", token=token, body=body).status == 200
    accounts.new_token("eve", CANARY)
    trained.token("admin")
    accounts.new_token("admin", CANARY)
    hook = accounts.webhooks.add(f"https://ci.lab.org/{CANARY}", "eve")
    accounts.webhooks.note(hook, 2, after=1, status=CANARY, failures=3)
    accounts.audit.note("refused", CANARY, CANARY)
    return trained


def addresses(served: Served, path: str) -> Iterator[str]:
    """The addresses of a page at which it shows something."""
    run = served.ask("/runs.json", token=served.token("admin")).json["rows"][0]["id"]
    for repo in REPOS if "{name}" in path else REPOS[:1]:
        namespace, _, name = repo.partition("/")
        fields = {"namespace": namespace, "name": name, "owner": "eve", "user": "eve", "id": run}
        filled = path
        for field, value in fields.items():
            filled = filled.replace(f"{{{field}}}", value)
        for more in MORE.get(path, ("",)):
            if "CODE" in more:
                asked = served.ask("/oauth/device", "POST", User_Agent=CANARY)
                more = more.replace("CODE", asked.json["user_code"])
            yield f"{filled}{more}"


@contextmanager
def heard(browser: Browser, token: str) -> Iterator[tuple[Page, list[str]]]:
    """A page, and what sings in it."""
    context = browser.new_context(
        bypass_csp=True, extra_http_headers={"Authorization": f"Bearer {token}"}
    )
    songs: list[str] = []

    def hear(dialog: Dialog) -> None:
        songs.append(dialog.message)
        dialog.dismiss()

    try:
        page = context.new_page()
        page.expose_function("sing", lambda: songs.append(page.url))
        page.on("dialog", hear)
        yield page, songs
    finally:
        context.close()


def test_a_canary_sings_where_it_is_let_out(browser: Browser) -> None:
    """As the others would."""
    with elsewhere(f'<p title="{CANARY}">') as url, heard(browser, "") as (page, songs):
        page.goto(url)
        page.wait_for_timeout(100)
        assert len(songs) == 2
    with elsewhere(escape(CANARY)) as url, heard(browser, "") as (page, songs):
        page.goto(url)
        page.wait_for_timeout(100)
        assert songs == []


def test_no_text_does_anything(nasty: Served, browser: Browser) -> None:
    """On any page; nearly all of them show some."""
    token, without = nasty.token("admin", "write"), set[str]()
    with heard(browser, token) as (page, songs):
        for path in PAGES:
            shows = False
            for address in addresses(nasty, path):
                got = page.goto(f"{nasty.url}{address}")
                assert got
                assert got.status < 500, address
                page.wait_for_load_state("networkidle")
                shows |= any(text in page.content() for text in ("sing()", "alert(1)"))
                assert songs == [], address
            if not shows:
                without.add(path)
    assert without == PLAIN


def test_no_form_of_another_site_does_anything(nasty: Served, browser: Browser) -> None:
    """With the session of an admin, from a page of another site and from one without an origin."""
    token, before = nasty.token("admin", "write"), state(nasty)
    context = browser.new_context()
    page = context.new_page()
    page.goto(f"{nasty.url}/sign-in")
    page.fill("#token", token)
    page.press("#token", "Enter")
    page.wait_for_url(f"{nasty.url}/")
    for path in FORMS:
        filled = next(addresses(nasty, path)).partition("?")[0]
        for more in ("", " target=in"):
            form = (
                f'<form method=post action="{nasty.url}{filled}"{more}><input name=do value=delete>'
                "<button>x</button></form><iframe name=in sandbox=allow-forms></iframe>"
            )
            with elsewhere(form) as other:
                page.goto(other)
                with page.expect_response(f"{nasty.url}{filled}") as answered:
                    page.click("button")
                assert answered.value.status == 403, filled
    assert state(nasty) == before
    page.goto(f"{nasty.url}/-/people")
    assert page.locator("h1").inner_text() != "Sign in"
    context.close()


def state(served: Served) -> object:
    """What a form could change."""
    accounts = served.accounts
    each = accounts.all(), accounts.rules().given(), accounts.patterns(), accounts.webhooks.all()
    return [*map(repr, each), len(served.server.hub.workspace.registry.refs())]
