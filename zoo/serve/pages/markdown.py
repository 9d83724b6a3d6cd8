"""Markdown: a card, which is somebody's text, as HTML that can do nothing.

No HTML of the text's own is taken. What is made of it goes through a list of tags and attributes
that are allowed. Images are shown as links: to load one would tell its host who reads the card.
"""

from __future__ import annotations

import re
from functools import cache
from urllib.parse import quote, unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.token import Token
from markupsafe import Markup

from zoo.serve.keep.front import BETWEEN

__all__ = ["markdown"]

LETTERS = 60_000
"""So much of a card is shown."""
DEEPER = 2
"""A heading of the first level is one of the third: two are above it on the page."""
TAGS = {
    "a", "blockquote", "br", "code", "del", "em", "h3", "h4", "h5", "h6", "hr", "li", "ol", "p",
    "pre", "s", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul",
}  # fmt: skip
ATTRIBUTES = {"a": {"href", "title"}, "ol": {"start"}, "table": {"tabindex"}}
SCHEMES = {"http", "https", "mailto"}
SAFE_PATH = re.compile(r"[\w./~%@+,=-]+", re.ASCII)


def markdown(text: str, home: str = "") -> Markup:
    """A text in Markdown, its front matter left out; what its links name without a host is below
    ``home``.
    """
    front = BETWEEN.match(text)  # at the beginning only: to look for it anywhere takes hours
    body = text[front.end() if front else 0 :][:LETTERS]
    tokens = _parser().parse(body)
    for token in tokens:
        _change(token, home)
    html = _parser().renderer.render(tokens, _parser().options, {})
    clean = nh3.clean(
        html, tags=TAGS, attributes=ATTRIBUTES, url_schemes=SCHEMES, link_rel="nofollow noopener"
    )
    return Markup(clean)  # noqa: S704 - the one place where somebody's text becomes HTML


@cache
def _parser() -> MarkdownIt:
    options = {"html": False, "linkify": False, "maxNesting": 20}
    return MarkdownIt("commonmark", options).enable(["table", "strikethrough"])


def _change(token: Token, home: str) -> None:
    if token.type in ("heading_open", "heading_close"):
        token.tag = f"h{min(6, int(token.tag[1:]) + DEEPER)}"
    if token.type == "table_open":  # a wide one scrolls by itself, by keys, too
        token.attrSet("tabindex", "0")
    if token.type == "link_open":
        token.attrSet("href", _target(str(token.attrGet("href") or ""), home))
    token.children = [new for each in token.children or () for new in _inline(each, home)] or None


def _inline(token: Token, home: str) -> list[Token]:
    """An inline token; of an image a link to it."""
    if token.type != "image":
        _change(token, home)
        return [token]
    opening, closing = Token("link_open", "a", 1), Token("link_close", "a", -1)
    opening.attrSet("href", _target(str(token.attrGet("src") or ""), home))
    return [opening, Token("text", "", 0, content=f"image: {token.content or 'no title'}"), closing]


def _target(url: str, home: str) -> str:
    """Where a link leads. One without a host is a file of the repository."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "#"
    if parts.scheme in SCHEMES:
        return url
    inside = not parts.scheme and not parts.netloc and SAFE_PATH.fullmatch(parts.path)
    if not inside or parts.path.startswith("/") or ".." in unquote(parts.path).split("/"):
        return "#"
    return f"{home}/{quote(parts.path, safe='/%')}"
