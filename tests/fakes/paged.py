"""Pages as a browser gets them, and a zoo that has something to show."""

from __future__ import annotations

from pathlib import Path

from fakes.served import Got, Served
from fakes.tuned import SIDE, drawings, quick, small_zoo
from lxml import html

__all__ = ["HTML", "NASTY", "canaries", "make_tuned", "page", "text_of"]

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
NASTY = (
    "<script>fetch('https://evil.example/')</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg/onload=alert(1)>",
    "'-alert(1)-'",
    "{{ 7 * 7 }}{% raw %}",
    "</title></textarea></style><script>alert(1)</script>",
    "javascript:alert(1)",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "\u202etxt.exe\u2066",
    "<a href=\"javascript:alert(1)\">x</a>",
)  # fmt: skip
"""Texts that would do something if a page took them for more than that."""


def page(served: Served, path: str, token: str | None = None) -> tuple[Got, html.HtmlElement]:
    """A page, and what a browser makes of it."""
    got = served.ask(path, token=token, Accept=HTML)
    # A place where a line may break is not read.
    return got, html.fromstring(got.body.decode().replace("<wbr>", ""))


def text_of(tree: html.HtmlElement, path: str = "//main") -> str:
    """What is read there, in one line."""
    return " ".join(" ".join(text for each in tree.xpath(path) for text in each.itertext()).split())


def canaries(tree: html.HtmlElement) -> list[object]:
    """What of a page could do something that none of ours does."""
    found: list[object] = tree.xpath(
        "//script | //iframe | //img | //style | //object | //embed | //base | //meta[@http-equiv]"
        " | //@*[starts-with(name(), 'on')] | //@style | //@srcdoc"
        " | //@href[not(starts-with(., '/') or starts-with(., '#') or starts-with(., '?')"
        " or starts-with(., 'https://fine.example'))]"
    )
    return found


def make_tuned(root: Path) -> Path:
    """A zoo with ``team/base``, and ``team/tuned`` that was made from it twice: ``v1`` is a probe
    of it, and since then the last two of its seven units were trained.
    """
    with quick(), small_zoo(root) as made:
        data = drawings(root / "data")
        made.finetune("team/base", data, "team/tuned", strategy="probe", image_size=SIDE)
        made.tag("team/tuned", "team/tuned:v1")
        made.protect("team/tuned:v1")
        made.finetune(
            "team/base", data, "team/tuned", strategy="partial", freeze="-2", epochs=2,
            image_size=SIDE, lr=0.01, note="two units trained", force=True, keep_examples=2,
        )  # fmt: skip
        made.evaluate("team/tuned", data)
    return root / "zoo"
