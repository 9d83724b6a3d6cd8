"""An image is chosen, dropped, and tried again in a real browser; and without JavaScript."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.browser import barriers, browsing, sideways, watched
from fakes.paged import make_tuned
from fakes.served import Served, serving
from fakes.tuned import draw
from playwright.sync_api import Browser, Page

from zoo.serve.keep import tryouts as module

ANSWER = "#answer section"
MODEL, TRY = "/team/tuned", "/team/tuned/try"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def trying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("trying")
    (folder / "try").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RATE", 1000)
        with serving(make_tuned(folder), tries=folder / "try") as served:
            yield served


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    draw(path, "disc", 3)
    return path


def opened(browser: Browser, served: Served, path: str, **options: Any) -> tuple[Page, list[str]]:
    token = served.token("ann")
    page = browser.new_context(
        extra_http_headers={"Authorization": f"Bearer {token}"}, **options
    ).new_page()
    wrong = watched(page, served.url)
    page.goto(served.url + path)
    return page, wrong


def shown(page: Page) -> list[list[int]]:
    """Sizes of the pictures that the browser has decoded."""
    page.wait_for_function(
        "() => [...document.querySelectorAll('.tried img')].every(each => each.complete)"
    )
    found: list[list[int]] = page.evaluate(
        "[...document.querySelectorAll('.tried img')].map(e => [e.naturalWidth, e.naturalHeight])"
    )
    return found


@pytest.mark.long
def test_an_image_is_chosen_on_the_page_of_a_model(
    browser: Browser, trying: Served, photo: Path
) -> None:
    """The answer comes without a reload, and so does the next one; what is no image is told."""
    page, wrong = opened(browser, trying, MODEL)
    page.evaluate("window.mark = 1")
    page.set_input_files("#image", photo)
    page.wait_for_selector(ANSWER)
    assert shown(page) == [[32, 32]] * 4
    assert page.locator("#answer tbody tr").count() == 3
    assert page.inner_text("#told").startswith("Answered: ")
    page.fill("#output", "bar")
    page.press("#output", "Enter")
    page.wait_for_function("() => document.querySelectorAll('.tried img').length == 2")
    assert page.inner_text("figure >> nth=1").strip().endswith("for bar")
    page.set_input_files("#image", {"name": "a.png", "mimeType": "image/png", "buffer": b"hi"})
    page.wait_for_selector("#told.error")
    assert "not a readable image" in page.inner_text("#told")
    assert page.locator(ANSWER).count() == 0
    assert page.evaluate("window.mark") == 1
    assert wrong == []


@pytest.mark.long
def test_without_javascript_a_form_is_sent(browser: Browser, trying: Served, photo: Path) -> None:
    page, wrong = opened(browser, trying, MODEL, java_script_enabled=False)
    page.set_input_files("#image", photo)
    page.fill("#output", "square")
    page.focus("#try-form button")
    page.keyboard.press("Enter")
    page.wait_for_selector(ANSWER)
    assert page.url.endswith(TRY)
    assert page.locator(".tried img").count() == 2
    page.set_input_files("#image", photo)
    page.fill("#output", "nonsense")
    page.click("#try-form button")
    page.wait_for_selector("[role=alert]")
    assert "unknown class 'nonsense'" in page.inner_text("[role=alert]")
    assert page.input_value("#output") == "nonsense"
    assert wrong == []


DROP = """bytes => {
    const data = new DataTransfer();
    data.items.add(new File([Uint8Array.from(bytes)], "<b>mine.png", {type: "image/png"}));
    const place = document.getElementById("try-form");
    place.dispatchEvent(new DragEvent("dragover", {dataTransfer: data, cancelable: true}));
    place.dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
}"""


@pytest.mark.long
def test_an_image_is_dropped(browser: Browser, trying: Served, photo: Path) -> None:
    page, wrong = opened(browser, trying, TRY)
    page.evaluate(DROP, [*photo.read_bytes()])
    page.wait_for_selector(ANSWER)
    assert len(shown(page)) == 4
    assert wrong == []


@pytest.mark.long
def test_an_image_that_is_too_large_is_not_sent(browser: Browser, trying: Served) -> None:
    page, wrong = opened(browser, trying, TRY)
    sent: list[Any] = []
    page.on("request", lambda each: sent.append(each) if each.method == "POST" else None)
    large = bytes((16 << 20) + 1)
    page.set_input_files("#image", {"name": "a.png", "mimeType": "image/png", "buffer": large})
    page.wait_for_selector("#told.error")
    assert "the most are 16777216" in page.inner_text("#told")
    assert sent == wrong == []


@pytest.mark.long
def test_a_server_that_has_died_is_told(browser: Browser, trying: Served, photo: Path) -> None:
    page, _ = opened(browser, trying, TRY)
    page.route("**/try", lambda route: route.abort())
    page.set_input_files("#image", photo)
    page.wait_for_selector("#told.error")
    page.unroute("**/try")
    page.click("#try-form button")
    page.wait_for_selector(ANSWER)


@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("path", [MODEL, TRY])
def test_nobody_is_kept_out(
    browser: Browser, trying: Served, photo: Path, theme: Any, path: str
) -> None:
    page, wrong = opened(browser, trying, path, color_scheme=theme)
    for asked in (False, True):
        if asked:
            page.set_input_files("#image", photo)
            page.wait_for_selector(ANSWER)
        for width in (320, 768, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            assert sideways(page) == []
        assert barriers(page) == []
    assert wrong == []
