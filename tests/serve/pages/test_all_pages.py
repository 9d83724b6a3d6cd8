"""All pages in a real browser: nothing keeps people out, scrolls sideways, or breaches the policy.
A page that is new is tried, too, as they are those of the table.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import pytest
from fakes.browser import barriers, browsing, sideways, watched
from fakes.served import Served
from playwright.sync_api import Browser, Page

from zoo.domain.catalog import CatalogEntry
from zoo.serve.table import ROUTES
from zoo.serve.who import devices

pytestmark = pytest.mark.long
FIELDS = {"namespace": "team", "name": "tuned", "owner": "lab", "user": "ann"}
MORE: Mapping[str, tuple[str, ...]] = {
    "/": ("?q=tuned", "?q=licence:mit", "?q=zzz"),
    "/compare": ("?names=team/tuned&names=team/base",),
    "/{namespace}/{name}": ("?revision=v1",),
    "/-/storage/prune": ("?keep=0&grace=0",),
    "/-/audit": ("?action=token%20made&who=no",),
    "/-/device": ("?user_code=CODE", "?user_code=BBBB-BBBB", "?done=let-in"),
}
"""What else of a page is looked at."""
ONLY: Mapping[str, tuple[str, ...]] = {"/-/listed": ("?name=timm/net.in1k",)}
"""What a page is only there with."""
PAGES = [route.path for route in ROUTES if route.summary.startswith("page: ")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def admin(tuned: Served) -> Iterator[str]:
    """The token of an admin of a zoo in which there is something of all kinds. They may type as
    many wrong codes as they like.
    """
    accounts = tuned.accounts
    accounts.add("lab", team=True)
    accounts.grant("lab", "ann", "owner")
    accounts.grant("team", "lab", "writer")
    accounts.protect("*/prod", on=True)
    accounts.protect("lab/*:v*", on=True)
    accounts.quotas.set("team", 10**9)
    accounts.quotas.set("lab", 10**6)
    hook = accounts.webhooks.add("https://ci.lab.org/zoo", "lab")
    accounts.webhooks.note(hook, 2, after=1, status="it does not answer", failures=3)
    entry = CatalogEntry(
        name="timm/net.in1k", architecture="net", backbone="timm", tag="in1k", license="mit",
        params=1_000_000, num_classes=1000, datasets=("imagenet-1k",), metrics={"top1": 50.0},
    )  # fmt: skip
    registry = tuned.server.hub.workspace.registry
    registry.replace_entries("timm", "1", [entry], "2026-01-01T00:00:00Z")
    token = tuned.token("admin", "write")
    tuned.token("admin", "read", only=("team/tuned",), lasts=3600)
    accounts.revoke(tuned.token("admin")[4:12])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(devices, "MOST_TRIES", 1000)
        yield token


def addresses(served: Served, path: str) -> Iterator[str]:
    """The addresses of a page at which it shows something."""
    (run, *_) = [
        row["id"] for row in served.ask("/runs.json", token=served.token("ann")).json["rows"]
    ]
    filled = re.sub(r"\{(\w+)\}", lambda f: {**FIELDS, "id": run}[f[1]], path)
    for more in ONLY.get(path) or ("", *MORE.get(path, ())):
        if "CODE" in more:
            more = more.replace("CODE", served.ask("/oauth/device", "POST").json["user_code"])
        yield f"{filled}{more}"


@contextmanager
def opened(browser: Browser, token: str, *, scripts: bool) -> Iterator[Page]:
    context = browser.new_context(
        java_script_enabled=scripts, extra_http_headers={"Authorization": f"Bearer {token}"}
    )
    try:
        yield context.new_page()
    finally:
        context.close()


@pytest.mark.parametrize("path", PAGES)
def test_a_page_is_for_everybody(tuned: Served, admin: str, browser: Browser, path: str) -> None:
    """In both themes, by axe at two widths, and at three with and without scripts."""
    there = [*addresses(tuned, path)]
    for scripts in (True, False):
        with opened(browser, admin, scripts=scripts) as page:
            wrong = watched(page, tuned.url)
            for theme, width in itertools.product(("light", "dark"), (320, 768, 1920)):
                page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
                page.set_viewport_size({"width": width, "height": 800})
                for address in there:
                    got = page.goto(f"{tuned.url}{address}")
                    assert got
                    assert got.status < 400, (address, got.status)
                    assert page.locator("h1").count() == 1
                    assert sideways(page) == [], (address, width)
                    if scripts and width != 768:
                        assert barriers(page) == [], (address, theme, width)
            assert not wrong
