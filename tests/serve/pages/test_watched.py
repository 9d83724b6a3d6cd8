"""A run is watched in a real browser, from its first steps to its end."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import pytest
from fakes.served import Served, serving
from fakes.tuned import drawings, small_zoo

pytestmark = pytest.mark.long
CHROMIUM = shutil.which("chromium")
TUNE = """
import sys, zoo
z = zoo.open(sys.argv[1])
z.finetune("team/base", sys.argv[2], "team/live", device="cpu", image_size=32, batch_size=2,
           epochs=150, strategy="full")
"""
EVENTS = "window.violations = []; addEventListener('securitypolicyviolation', e => violations.push(e.blockedURI || e.violatedDirective))"  # noqa: E501


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("Debian's chromium is not here")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield made
        made.close()


@pytest.fixture
def training(tmp_path: Path) -> Iterator[tuple[Served, Popen[bytes]]]:
    """A zoo that is served while it trains."""
    data = drawings(tmp_path / "drawn")
    small_zoo(tmp_path).close()
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with serving(tmp_path / "zoo") as served:
        command = [sys.executable, "-c", TUNE, str(tmp_path / "zoo"), str(data)]
        process = Popen(command, env=environment, stdout=DEVNULL, stderr=DEVNULL)
        yield served, process
        process.kill()
        process.wait()


def opened(browser: Any, served: Served, **options: Any) -> Any:
    """A page of a browser that asks as an admin."""
    token = {"Authorization": f"Bearer {served.token('admin')}"}
    context = browser.new_context(extra_http_headers=token, **options)
    context.add_init_script(EVENTS)
    return context.new_page()


def begun(page: Any, served: Served) -> None:
    """Wait in the list of runs until one is training, and open it."""
    for _ in range(120):
        page.goto(f"{served.url}/runs")
        link = page.locator("tbody th a")
        if link.count():
            link.click()
            if page.locator("#live svg.chart").count():
                return
        page.wait_for_timeout(500)
    raise AssertionError("no run began")


def step(page: Any) -> int:
    text = page.locator("#live").inner_text()
    match = re.search(r"Step\s+([\d,]+)", text)
    return int(match[1].replace(",", "")) if match else 0


def test_it_moves_while_it_trains_and_ends_with_its_results(
    browser: Any, training: tuple[Served, Popen[bytes]]
) -> None:
    served, process = training
    page, errors = opened(browser, served), list[str]()
    page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    begun(page, served)
    assert page.locator("[role=status]").first.inner_text() == "running"
    page.evaluate("window.same = true")
    before = step(page)
    shown = page.locator("#live dd", has_text=re.compile(f"^{before:,}$"))
    shown.first.wait_for(state="detached", timeout=30_000)
    assert page.evaluate("window.same"), "it was not loaded anew"
    assert step(page) > before
    for word in ("Time left", "Images per second", "Learning rate"):
        assert word in page.locator("#live").inner_text()
    page.locator("[role=status]", has_text="done").wait_for(timeout=240_000)
    assert process.wait(60) == 0
    assert page.locator("svg.matrix").count() == 1
    assert page.locator("script").count() == 0, "nothing is asked for any more"
    assert "150 of 150" in page.locator("#live").inner_text()
    assert errors == []
    assert page.evaluate("window.violations") == []


def test_without_scripts_it_is_loaded_again(
    browser: Any, training: tuple[Served, Popen[bytes]]
) -> None:
    served, _ = training
    page = opened(browser, served, java_script_enabled=False)
    begun(page, served)
    before = step(page)
    with page.expect_navigation(timeout=15_000):
        pass
    assert step(page) > before
