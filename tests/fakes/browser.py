"""A browser: Debian's Chromium without a window, and what must not happen in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

__all__ = ["barriers", "browsing", "sideways", "watched"]

CHROMIUM = Path("/usr/bin/chromium")
WATCH = """
document.addEventListener("securitypolicyviolation", event =>
    console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`));
"""


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser; the test is skipped where there is none."""
    if not CHROMIUM.exists():
        pytest.skip("Chromium is not installed: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu"]
        )
        try:
            yield browser
        finally:
            browser.close()


def watched(page: Page, root: str) -> list[str]:
    """What goes wrong in a page from now on: errors, breaches of its policy, and requests to
    elsewhere than ``root``. An answer with a status above 399 is none.
    """
    wrong: list[str] = []

    def told(kind: str, text: str) -> None:
        if kind == "error" and not text.startswith("Failed to load resource"):
            wrong.append(text)

    page.add_init_script(WATCH)
    page.on("console", lambda message: told(message.type, message.text))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("request", lambda request: wrong.extend(
        [] if request.url.startswith((root, "data:")) else [f"asks {request.url}"]
    ))  # fmt: skip
    return wrong


def barriers(page: Page) -> list[str]:
    """What of a page keeps people out, by axe: each rule that is broken, and where."""
    package = find_spec("axe_playwright_python")
    if package is None or package.origin is None:
        pytest.skip("axe is not installed: pip install axe-playwright-python")
    page.evaluate((Path(package.origin).parent / "axe.min.js").read_text())
    found: dict[str, Any] = page.evaluate("axe.run()")
    return [
        f"{rule['id']} ({rule['impact']}): {node['html']}: {node['failureSummary']}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


def sideways(page: Page) -> list[str]:
    """What makes a page scroll sideways; nothing does that of which only a part does."""
    found: list[str] = page.evaluate("""() => {
        const wide = document.documentElement.clientWidth;
        if (document.documentElement.scrollWidth <= wide) return [];
        return [...document.querySelectorAll("body *")]
            .filter(each => each.getBoundingClientRect().right > wide + 1)
            .map(each => each.outerHTML.slice(0, 120));
    }""")
    return found
