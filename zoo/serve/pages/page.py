"""Page: the one way in which a page is made.

A page is one function that looks at what is known and gives a frozen value of plain data, and one
template that shows it. The same value is the page's twin in JSON.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from typing import Self
from urllib.parse import quote, urlencode, urlsplit

from jinja2 import Environment, PackageLoader, StrictUndefined

from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.call import Call
from zoo.serve.http.router import Route, Scope
from zoo.serve.hub.ask import Ask, Hub
from zoo.serve.pages import shown
from zoo.serve.pages.assets import asset_path
from zoo.serve.pages.number import number_in
from zoo.serve.pages.search import of_data
from zoo.serve.who.alone import LinkHolder
from zoo.serve.who.may import governs

__all__ = [
    "CSP",
    "Site",
    "asks_for_page",
    "compile_templates",
    "page_routes",
    "show",
    "site_of",
    "wants_page",
]

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; script-src 'self'; "
    "connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
BOTH = {
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
    "Vary": "Accept, Authorization, Cookie",
}
"""What a page and its twin have."""
HEADERS = {
    **BOTH,
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": CSP,
    # Without it, a form of ours would be sent without the origin that it is checked by.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}
ODD = 20
"""Letters of a page that there is none of."""
Look = Callable[..., object]
"""From a request and the fields of its path, what a page tells: a frozen dataclass. One that has a
``http_status`` is answered with it.
"""


@dataclass(frozen=True, slots=True)
class Site:
    """What all templates know.

    Attributes:
        base: The URL of this server, without a slash at the end.
        path: The path of this page.
        query: What follows the question mark.
        who: Who is signed in; empty: nobody.
        alone: Whether it is somebody's own, without accounts.
        twin: The path of this page as JSON; empty: it has none.
        admin: Whether they govern all.
        limited: Whether they would with another token.
        done: What of its forms was done just now.
        error: Why what was sent with a form was not done.
        secret: What came of it, and is shown this once.
        odd_page: Which page of a list was asked for, where that is no number; the first is shown.
    """

    base: str
    path: str
    query: str
    who: str
    alone: bool
    twin: str = ""
    admin: bool = False
    limited: bool = False
    done: str = ""
    error: str = ""
    secret: str = ""
    odd_page: str = ""

    @classmethod
    def of(cls, call: Call, who: str, alone: LinkHolder | None) -> Self:
        """The site as a request of somebody sees it."""
        page = call.query.get("page", "")
        odd = "" if number_in(call, "page", least=0) else page[:ODD]
        return cls(call.base, call.path, str(call.query), who, alone is not None, odd_page=odd)

    @property
    def root(self) -> str:
        """What the path of each address here begins with."""
        return urlsplit(self.base).path

    @property
    def here(self) -> str:
        """The path and query of this page, as the server sees them."""
        return f"{self.path}{f'?{self.query}' if self.query else ''}"

    def url(self, *parts: str, **query: object) -> str:
        """The address of a page: ``url("team/net", "layers", revision="v1")``. What of the query is
        empty is left out, and of a list each is there.
        """
        path = "/".join(quote(part, safe="/:@") for part in parts)
        given = {name: text for name, text in query.items() if text not in ("", None)}
        asked = urlencode(given, doseq=True)
        return f"{self.root}/{path}{f'?{asked}' if asked else ''}"

    def static(self, name: str) -> str:
        """The address of a file in ``static``."""
        return f"{self.root}{asset_path(name)}"


def page_routes(
    path: str,
    template: str,
    look: Look,
    summary: str,
    *,
    scope: Scope = "read",
    errors: tuple[str, ...] = (),
    twin: str = "",
    alone: bool = False,
    slow: bool = False,
) -> tuple[Route[Hub], Route[Hub]]:
    """The rows of a page, and of its twin at ``twin``, or at the page's path and ``.json``."""
    twin = twin or f"{path}.json"

    def page(ask: Ask, **fields: str) -> Answer:
        value = look(ask, **fields)
        site = site_of(ask, twin.removeprefix(path))
        return show(site, template, value, getattr(value, "http_status", 200))

    def data(ask: Ask, **fields: str) -> Answer:
        value = look(ask, **fields)
        return json_answer(value, getattr(value, "http_status", 200), BOTH)

    errors = ("RepoNotFound", *errors) if scope == "read" else errors
    row = partial(
        Route[Hub], method="GET", scope=scope, errors=errors, page=True, alone=alone, slow=slow
    )
    return (
        row(path=path, handler=page, summary=f"page: {summary}"),
        row(path=twin, handler=data, summary=f"{summary}, in JSON"),
    )


def site_of(ask: Ask, twin: str = "") -> Site:
    """The site as who asks sees it, on a page whose ``twin`` is at its path and that."""
    site = Site.of(ask.call, ask.actor.name, ask.hub.alone)
    done = ask.call.query.get("done", "")
    twin = f"{site.path}{twin}" if twin else ""
    admin = governs(ask.actor)
    limited = ask.actor.admin and not admin
    return replace(site, twin=twin, admin=admin, limited=limited, done=done)


def show(
    site: Site,
    template: str,
    value: object,
    status: int = 200,
    headers: Mapping[str, str] = HEADERS,
) -> Answer:
    """The page that shows a value: a template in which that is ``page``, and `Site` is ``site``."""
    page_template = _templates().get_template(template)
    text = page_template.render(page=value, site=site, url=site.url, static=site.static)
    body = text.encode("utf-8", "replace")
    return Answer(status=status, headers={**HEADERS, **headers}, body=body)


def wants_page(call: Call) -> bool:
    """Whether who asks is a browser that is to show a page."""
    return "text/html" in call.headers.get("accept", "").lower()


def asks_for_page(call: Call, answer: Answer) -> bool:
    """Whether a refusal is to be shown by a page, and is none yet."""
    return wants_page(call) and not answer.headers.get("Content-Type", "").startswith("text/html")


def compile_templates() -> None:
    """Compile all of them, or the first to look at a page would wait for it."""
    for name in _templates().list_templates():
        _templates().get_template(name)


@cache
def _templates() -> Environment:
    env = Environment(
        loader=PackageLoader("zoo.serve.pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    env.filters |= {name: getattr(shown, name) for name in shown.__all__} | {"of_data": of_data}
    return env
