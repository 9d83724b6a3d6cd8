"""A run is watched in a real browser, from its first steps to its end."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import DEVNULL, Popen
from typing import Any

import pytest
from fakes.browser import browsing, watched
from fakes.served import Served, serving
from fakes.tuned import drawings, small_zoo
from playwright.sync_api import Browser, Page

from zoo.workspace import Workspace

pytestmark = pytest.mark.long
TUNE = """
import sys, zoo
z = zoo.open(sys.argv[1])
z.finetune("team/base", sys.argv[2], "team/live", device="cpu", image_size=32, batch_size=2,
           epochs=150, strategy="full", report="".join(sys.argv[3:]))
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as made:
        yield made


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


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[tuple[Served, Popen[bytes]]]:
    """A server of another zoo, that is told by a machine which trains."""
    data = drawings(tmp_path / "drawn")
    small_zoo(tmp_path).close()
    Workspace.create(tmp_path / "served").close()
    with serving(tmp_path / "served") as served:
        said = {"ZOO_SERVER": served.url, "ZOO_TOKEN": served.token("team", "append")}
        command = [sys.executable, "-c", TUNE, str(tmp_path / "zoo"), str(data), served.url]
        environment = {**os.environ, **said, "OMP_NUM_THREADS": "1"}
        process = Popen(command, env=environment, stdout=DEVNULL, stderr=DEVNULL)
        yield served, process
        process.kill()
        process.wait()


def opened(browser: Browser, served: Served, who: str = "admin", **options: Any) -> Page:
    """A page of a browser that asks as an admin, or as somebody else."""
    token = {"Authorization": f"Bearer {served.token(who)}"}
    context = browser.new_context(extra_http_headers=token, **options)
    return context.new_page()


def begun(page: Page, served: Served) -> None:
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


def step(page: Page) -> int:
    text = page.locator("#live").inner_text()
    match = re.search(r"Step\s+([\d,]+)", text)
    return int(match[1].replace(",", "")) if match else 0


def test_it_moves_while_it_trains_and_ends_with_its_results(
    browser: Browser, training: tuple[Served, Popen[bytes]]
) -> None:
    served, process = training
    page = opened(browser, served)
    wrong = watched(page, served.url)
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
    assert wrong == []


def test_without_scripts_it_is_loaded_again(
    browser: Browser, training: tuple[Served, Popen[bytes]]
) -> None:
    served, _ = training
    page = opened(browser, served, java_script_enabled=False)
    begun(page, served)
    before = step(page)
    with page.expect_navigation(timeout=15_000):
        pass
    assert step(page) > before


def test_one_on_another_machine_is_watched_to_its_end(
    browser: Browser, elsewhere: tuple[Served, Popen[bytes]]
) -> None:
    served, process = elsewhere
    page = opened(browser, served, "ben")
    wrong = watched(page, served.url)
    begun(page, served)
    assert "Reported by team from another machine" in page.locator("main").inner_text()
    page.evaluate("window.same = true")
    before = step(page)
    shown = page.locator("#live dd", has_text=re.compile(f"^{before:,}$"))
    shown.first.wait_for(state="detached", timeout=30_000)
    assert page.evaluate("window.same"), "it was not loaded anew"
    assert step(page) > before
    page.locator("[role=status]", has_text="done").wait_for(timeout=240_000)
    assert process.wait(60) == 0
    assert page.locator("svg.matrix").count() == 1
    assert "150 of 150" in page.locator("#live").inner_text()
    assert wrong == []


def test_one_that_falls_silent_says_so(
    browser: Browser, elsewhere: tuple[Served, Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    served, process = elsewhere
    page = opened(browser, served, "ben")
    begun(page, served)
    process.kill()
    monkeypatch.setattr("zoo.lookup.reported.SILENT_SECONDS", 3.0)
    page.locator("[role=status]", has_text="silent").wait_for(timeout=60_000)
    assert "Last heard 0 minutes ago" in page.locator("main").inner_text()
    assert page.locator("script").count() == 0
    plain = opened(browser, served, "ben", java_script_enabled=False)
    plain.goto(page.url)
    assert plain.locator("[role=status]").inner_text() == "silent"


@pytest.mark.parametrize("width", [320, 768, 1920])
def test_pages_fit_and_do_nothing_but_show(browser: Browser, trained: Served, width: int) -> None:
    """At each width, in both themes: nothing is wider than the page, and no policy is broken."""
    token = {"Authorization": f"Bearer {trained.token('ann')}"}
    runs = trained.ask("/runs.json", token=trained.token("ann")).json["rows"]
    paths = [
        "/team/base/lineage", "/team/grand/lineage", "/compare", "/runs", "/team/net/runs",
        "/compare?names=team/base&names=team/net&names=team/strange&names=team/probe",
        *(f"/-/runs/{row['id']}" for row in runs),
    ]  # fmt: skip
    for scheme in ("light", "dark"):
        context = browser.new_context(
            extra_http_headers=token, color_scheme=scheme, viewport={"width": width, "height": 800}
        )
        page = context.new_page()
        wrong = watched(page, trained.url)
        for path in paths:
            page.goto(f"{trained.url}{path}")
            wide = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            assert not page.evaluate(wide), (path, width)
        assert wrong == []
        context.close()


def test_a_lineage_by_keyboard_alone(browser: Browser, trained: Served) -> None:
    token = {"Authorization": f"Bearer {trained.token('ann')}"}
    page = browser.new_context(extra_http_headers=token).new_page()
    page.goto(f"{trained.url}/team/base/lineage")
    seen = set[str]()
    for _ in range(40):
        page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if focused.locator("xpath=ancestor::*[local-name()='svg']").count():
            seen.add(focused.locator(".name").text_content() or "")
            if "team/grand" in seen:
                page.keyboard.press("Enter")
                page.wait_for_url("**/team/grand")
                break
    assert {"team/base", "team/net", "team/strange", "team/grand"} <= seen
