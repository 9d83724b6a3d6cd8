"""A file is chosen or dropped in a real browser, and hashed there; and without JavaScript."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from blake3 import blake3
from fakes.browser import barriers, browsing, sideways, watched
from fakes.served import Served
from playwright.sync_api import Browser, Page
from safetensors.torch import load_file, save_file

import zoo
from zoo.domain.limits import HEADER_BYTES, KEYED_TENSORS
from zoo.exchange.identifying import file_keys
from zoo.lookup.keys import read_keys
from zoo.serve.pages.assets import FOLDER
from zoo.store.tensor_keys import sample_keys

PAGE = "/-/identify"
ANSWER = "section[aria-label=Answer]"
OFFICIAL = {
    0: "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",
    1: "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213",
    1024: "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7",
    1025: "d00278ae47eb27b34faecf67b4fe263f82d5412916c1ffd97c8cb7fb814b8444",
    102400: "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085",
}
"""Some of BLAKE3's own test vectors, by their lengths."""
LENGTHS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 2048, 2049, 3072,
           3073, 4096, 4097, 5120, 5121, 6144, 6145, 7168, 7169, 8192, 8193, 16384, 31744, 102400,
           (4 << 20) - 1, 4 << 20, (4 << 20) + 1, (8 << 20) + 1025, 15 << 20)  # fmt: skip
"""Those of all of them, and some around the pieces in which a file is read."""
HASH = """lengths => {
    const most = new Uint8Array(Math.max(...lengths)).map((_, at) => at % 251);
    return lengths.map(length => blake3(length, (from, to) => most.slice(from, to).buffer));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with browsing() as made:
        yield made


@pytest.fixture(scope="module")
def weights(tuned: Served, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of ``team/tuned``."""
    folder = tmp_path_factory.mktemp("weights")
    with zoo.open(tuned.root) as opened:
        opened.export("team/tuned", folder / "tuned")
    (found,) = (folder / "tuned").glob("*.safetensors")
    return found


def opened(browser: Browser, served: Served, **options: Any) -> tuple[Page, list[str]]:
    page = browser.new_page(**options)
    wrong = watched(page, served.url)
    page.goto(served.url + PAGE)
    return page, wrong


@pytest.mark.long
def test_a_file_is_chosen_and_hashed_in_the_browser(
    browser: Browser, tuned: Served, weights: Path
) -> None:
    """The keys are those that Python makes, and no weights are sent."""
    page, wrong = opened(browser, tuned)
    sent: list[Any] = []
    page.on("request", lambda each: sent.append(each) if each.method == "POST" else None)
    page.set_input_files("#file", weights)
    page.wait_for_selector(ANSWER)
    assert page.inner_text("main h2").startswith("model.safetensors is team/tuned")
    assert "100.0% match" in page.inner_text(ANSWER)
    (one,) = sent
    assert read_keys(one.post_data_json["keys"].encode()).tensors == file_keys(weights).tensors
    assert len(one.post_data) < weights.stat().st_size / 5
    assert wrong == []


SHAPES: tuple[tuple[tuple[int, ...], float], ...] = (
    ((300,), 1.0), ((4, 4), 1e-6), ((2, 3, 7), 3e4), ((17, 1), 1e9), ((15,), 1.0),
    ((16, 64), 2.0**-24), ((), 1.0), ((0, 5), 1.0),
)  # fmt: skip
"""Shapes, and the deviation of what is in them."""


def hashing(browser: Browser) -> Page:
    """A page that has the script, and no worker."""
    page = browser.new_page()
    page.add_script_tag(content=(FOLDER / "hashes.js").read_text())
    return page


@pytest.mark.long
def test_blake3_of_all_lengths(browser: Browser) -> None:
    found = dict(zip(LENGTHS, hashing(browser).evaluate(HASH, LENGTHS), strict=True))
    cycle = bytes(range(251))
    for length, digest in found.items():
        assert digest == blake3((cycle * (length // 251 + 1))[:length]).hexdigest(), length
    assert OFFICIAL.items() <= found.items()


@pytest.mark.long
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16", "F64", "I64", "U8", "F8_E4M3", "BOOL"])
def test_keys_of_how_a_tensor_begins(browser: Browser, dtype: str) -> None:
    """As Python makes them: rounded to the even, tiny, huge, too few, constant."""
    random = np.random.default_rng(7)
    page = hashing(browser)
    for shape, scale in SHAPES:
        count = int(np.prod(shape))
        values = random.normal(size=count) * scale
        if dtype == "F16":
            values = np.clip(values, -65000, 65000)
        data = {
            "F32": lambda v: v.astype("<f4").tobytes(), "F16": lambda v: v.astype("<f2").tobytes(),
            "F64": lambda v: v.tobytes(), "I64": lambda v: v.astype("<i8").tobytes(),
            "BF16": lambda v: (v.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes(),
        }.get(dtype, lambda v: (v > 0).astype("u1").tobytes())(values)  # fmt: skip
        for each in (data, data[: len(data) // max(count, 1)] * count):
            start = [*each[: 256 * 8]]
            found = page.evaluate(
                "([dtype, shape, start]) => samples(dtype, shape, Uint8Array.from(start))",
                [dtype, shape, start],
            )
            numbers = {int.from_bytes(bytes.fromhex(one), "big", signed=True) for one in found}
            assert numbers == sample_keys(dtype, shape, each), (shape, scale)


@pytest.mark.long
def test_a_file_is_dropped(browser: Browser, tuned: Served, weights: Path) -> None:
    page, wrong = opened(browser, tuned)
    page.evaluate("""bytes => {
        const data = new DataTransfer();
        data.items.add(new File([Uint8Array.from(bytes)], "<b>mine.safetensors"));
        const place = document.getElementById("drop");
        place.dispatchEvent(new DragEvent("dragover", {dataTransfer: data, cancelable: true}));
        place.dispatchEvent(new DragEvent("drop", {dataTransfer: data, cancelable: true}));
    }""", [*weights.read_bytes()])  # fmt: skip
    page.wait_for_selector(ANSWER)
    assert page.inner_text("main h2").startswith("<b>mine.safetensors is team/tuned")
    assert wrong == []


@pytest.mark.long
def test_without_javascript_the_keys_of_the_command_are_pasted(
    browser: Browser, tuned: Served, weights: Path
) -> None:
    page, wrong = opened(browser, tuned, java_script_enabled=False)
    assert not page.locator("#drop").is_visible()
    page.fill("#sent", json.dumps(file_keys(weights).to_json()))
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector(ANSWER)
    assert "byte for byte its own file" in page.inner_text(ANSWER)
    assert wrong == []


def header(text: str | bytes, more: int = 0) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return len(data).to_bytes(8, "little") + data + bytes(more)


def entry(shape: str = "[1]", offsets: str = "[0, 4]", dtype: str = "F32") -> str:
    return f'{{"w": {{"dtype": "{dtype}", "shape": {shape}, "data_offsets": {offsets}}}}}'


HOSTILE = {
    "a pickle": (b"PK\3\4" + bytes(60), "no safetensors file"),
    "nothing": (b"", "no safetensors file"),
    "a header that is too long": ((HEADER_BYTES + 1).to_bytes(8, "little") + b"{", "the most are"),
    "a header of 16 EiB": (b"\xff" * 8 + b"{}", "the most are"),
    "a header that ends early": (header("{}")[:9], "ends within its header"),
    "no JSON": (header("{nonsense}"), "JSON"),
    "no UTF-8": (header(b'{"\xff": 1}'), "not valid"),
    "nothing in it": (header("{}"), "no tensors"),
    "an unknown dtype": (header(entry(dtype="toString"), 4), "not described"),
    "a negative size": (header(entry("[-1]"), 4), "not described"),
    "a size that is no number": (header(entry('["1"]'), 4), "not described"),
    "a size past 2**53": (header(entry("[9007199254740993]"), 4), "not described"),
    "too many dimensions": (header(entry(str([1] * 65)), 4), "not described"),
    "offsets past the end": (header(entry("[2]", "[0, 8]"), 4), "does not have the bytes"),
    "offsets that lie": (header(entry("[1]", "[0, 3]"), 4), "does not have the bytes"),
    "null for a tensor": (header('{"w": null}'), "not described"),
    "too many tensors": (
        header(json.dumps({str(n): {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
                           for n in range(KEYED_TENSORS + 1)})), "the most are"),
    "names that take too much": (
        header(json.dumps({f"{n}{'{' * 400}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]}
                           for n in range(1000)})), "the most are"),
}  # fmt: skip


@pytest.mark.long
def test_files_that_are_none_are_told_and_nothing_is_sent(browser: Browser, tuned: Served) -> None:
    page, wrong = opened(browser, tuned)
    sent: list[Any] = []
    page.on("request", lambda each: sent.append(each) if each.method == "POST" else None)
    for kind, (data, said) in HOSTILE.items():
        page.set_input_files("#file", {"name": "bad.safetensors", "mimeType": "", "buffer": data})
        page.wait_for_selector("#told.error")
        assert said in page.inner_text("#told"), kind
        page.evaluate("document.getElementById('told').className = ''")
    assert sent == wrong == []


@pytest.mark.long
def test_a_large_file_takes_seconds(browser: Browser, tuned: Served, tmp_path: Path) -> None:
    """Some 350 MB, one tensor of which is large: with a bar that moves, and the keys of Python."""
    state = {f"blocks.{n}.w": torch.randn(1000, 1024) for n in range(60)}
    state["embedding"] = torch.randn(26_000, 1024)
    path = tmp_path / "large.safetensors"
    save_file(state, path)
    page, wrong = opened(browser, tuned)
    sent: list[Any] = []
    page.on("request", lambda each: sent.append(each) if each.method == "POST" else None)
    moved: list[float] = []
    page.expose_function("moved", lambda share: moved.append(share))
    page.evaluate("""() => {
        const bar = document.getElementById("progress");
        new MutationObserver(() => window.moved(bar.value / bar.max))
            .observe(bar, {attributes: true, attributeFilter: ["value"]});
    }""")
    began = time.monotonic()
    page.set_input_files("#file", path)
    page.wait_for_selector("#told:has-text('hashed'), " + ANSWER, timeout=120_000)
    speed = path.stat().st_size / 1e6 / (time.monotonic() - began)
    page.wait_for_selector(ANSWER)
    assert "is unknown" in page.inner_text("main h2")
    assert read_keys(sent[0].post_data_json["keys"].encode()).tensors == file_keys(path).tensors
    assert speed > 15
    assert len({*moved}) > 20
    assert sorted(moved) == moved
    assert wrong == []


@pytest.mark.long
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out(
    browser: Browser, tuned: Served, weights: Path, theme: Any, tmp_path: Path
) -> None:
    state = load_file(weights)
    state = {name: each.half() if each.is_floating_point() else each
             for name, each in [*state.items()][: len(state) // 2]}  # fmt: skip
    save_file({**state, "more.weight": torch.randn(20, 20)}, tmp_path / "other.safetensors")
    page, wrong = opened(
        browser, tuned, color_scheme=theme, viewport={"width": 1280, "height": 900}
    )
    for asked in (False, True):
        if asked:
            page.set_input_files("#file", tmp_path / "other.safetensors")
            page.wait_for_selector(ANSWER)
        assert barriers(page) == []
        for width in (320, 768, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            assert sideways(page) == []
    assert wrong == []
