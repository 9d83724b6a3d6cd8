"""Example images on the pages: served as pixels of ours, and to whom they are meant for."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest
from fakes.browser import barriers, browsing, watched
from fakes.paged import NASTY, canaries, page
from fakes.prepared import copy_zoo
from fakes.served import Served, serving
from msgspec import json
from PIL import Image, PngImagePlugin

import zoo
from zoo.domain.reference import Reference
from zoo.exchange.commit import new_checkpoint
from zoo.lookup.examples import EXAMPLES, SHEET, Example, Examples
from zoo.lookup.runs import RUN, Run
from zoo.serve.pages.examples import SIGNATURE, pixels_of, png
from zoo.store.files import add_file

NAME = "/team/shown"


@pytest.fixture
def own(tuned_home: Path, tmp_path: Path) -> Iterator[Served]:
    """The zoo of `tuned`, to be changed: anybody may read ``team/tuned`` and ``team/shown``."""
    with serving(copy_zoo(tuned_home, tmp_path / "zoo")) as served:
        served.accounts.set_level("team", level="private")
        for name in ("tuned", "shown"):
            served.accounts.set_level(f"team/{name}", level="public")
        yield served


def kept(served: Served) -> Run:
    """The run that has kept examples."""
    with zoo.open(served.root) as opened:
        return next(run for run in opened.runs() if (run.folder / SHEET).exists())


def published(served: Served, sheet: bytes, text: bytes) -> None:
    """As ``team/shown``, a checkpoint that has such files."""
    with zoo.open(served.root) as opened:
        workspace = opened.workspace
        manifest = workspace.store.manifest(workspace.names.resolve("team/tuned")[1])
        with new_checkpoint(workspace, Reference.parse("team/shown"), "test") as new:
            files = []
            for name, data in ((SHEET, sheet), (EXAMPLES, text)):
                (new.scratch / name).write_bytes(data)
                files.append(add_file(workspace.store, new.scratch / name, name=name))
            new.commit(replace(manifest, files=tuple(files)))


def drawn(width: int = 128, height: int = 64, mode: str = "RGB") -> bytes:
    data = BytesIO()
    Image.effect_noise((width, height), 80).convert(mode).save(data, "png")
    return data.getvalue()


def text(*shown: Example, side: int = 64, columns: int = 2) -> bytes:
    return json.encode(Examples(side, columns, shown))


TWO = (Example("bar"), Example("bar", "disc"))


def test_a_run_shows_what_it_kept_to_who_sees_all_of_it(own: Served) -> None:
    run, admin, ben = kept(own), own.token("admin"), own.token("ben")
    at = f"/-/runs/{run.id}"
    _, tree = page(own, at, admin)
    labels = tree.xpath("//table[.//th[text()='Some of them']]//svg/@aria-label")
    assert labels
    assert all(", taken for " in each for each in labels)
    assert {*tree.xpath("//svg/image/@href")} == {f"{at}/{SHEET}"}
    sheet = own.ask(f"{at}/{SHEET}", token=admin)
    assert (sheet.status, sheet.headers["content-type"]) == (200, "image/png")
    assert sheet.headers["cache-control"] == "private, no-cache"
    with Image.open(BytesIO(sheet.body)) as ours, Image.open(run.folder / SHEET) as theirs:
        assert ours.tobytes() == theirs.convert("RGB").tobytes()
    _, tree = page(own, at, ben)
    shown = tree.xpath("//main/p[1]/code/text()")
    assert shown == [run.id], "ben may see the run, and none of its images"
    assert not tree.xpath("//svg/image")
    for token in (ben, None):
        assert own.ask(f"{at}/{SHEET}", token=token).code == "NotFound"
    assert own.ask(f"/-/runs/20200101-000000-000000/{SHEET}", token=admin).code == "NotFound"


def test_a_model_shows_what_the_run_kept_to_who_sees_all(own: Served) -> None:
    _, tree = page(own, "/team/tuned", own.token("admin"))
    classes = tree.xpath("//section[.//h2[@id='classes']]//svg/@aria-label")
    assert {*classes} == {"bar", "disc", "square"}
    assert len(classes) == 6
    for token in (own.token("ben"), None):
        _, tree = page(own, "/team/tuned", token)
        assert not tree.xpath("//svg/image")
        assert own.ask("/team/tuned/index.json", token=token).json["checkpoint"]["pictures"] is None
        assert own.ask(f"/team/tuned/{SHEET}", token=token).code == "EntryNotFound"


def test_what_was_published_is_for_who_may_read_the_checkpoint(own: Served) -> None:
    published(own, drawn(), text(*TWO))
    _, tree = page(own, NAME)
    assert tree.xpath("//section[.//h2[@id='classes']]//svg/@aria-label") == ["bar"]
    assert tree.xpath("//svg/image/@href") == [f"{NAME}/{SHEET}"]
    assert own.ask(f"{NAME}/{SHEET}").status == 200
    run = kept(own)
    recipe = {**run.recipe, "publish_examples": True}
    replace(run, recipe=recipe).write()
    assert own.ask(f"/-/runs/{run.id}/{SHEET}", token=own.token("ben")).status == 200
    own.accounts.set_level("team/shown", level="private")
    assert own.ask(f"{NAME}/{SHEET}").code == "RepoNotFound"


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def head(width: int, height: int, *more: int) -> bytes:
    return SIGNATURE + chunk(
        b"IHDR", struct.pack(">II5B", width, height, *(more or (8, 2, 0, 0, 0)))
    )


ROWS = 64 * (1 + 3 * 128)
BAD = {
    "html": b"<html><script>alert(1)</script>",
    "svg": b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
    "nothing": b"",
    "a signature": SIGNATURE,
    "half": drawn()[:3000],
    "another size": drawn(64, 64),
    "gray": drawn(mode="L"),
    "a palette": drawn(mode="P"),
    "alpha": drawn(mode="RGBA"),
    "interlaced": head(128, 64, 8, 2, 0, 0, 1) + chunk(b"IDAT", zlib.compress(bytes(ROWS))),
    "too few rows": head(128, 64) + chunk(b"IDAT", zlib.compress(bytes(ROWS - 1))),
    "a bomb": head(128, 64) + chunk(b"IDAT", zlib.compress(bytes(100 << 20))),
    "no zlib": head(128, 64) + chunk(b"IDAT", b"\x00" * 100),
    "a filter that there is not": head(128, 64) + chunk(b"IDAT", zlib.compress(b"\x09" * ROWS)),
    "a length past the end": head(128, 64) + b"\xff\xff\xff\xffIDAT",
    "too large": drawn() + bytes(4 << 20),
}


@pytest.mark.long
def test_what_is_no_sheet_is_not_served(own: Served) -> None:
    for kind, sheet in BAD.items():
        published(own, sheet, text(*TWO))
        got = own.ask(f"{NAME}/{SHEET}")
        assert (got.status, got.code) == (404, "EntryNotFound"), kind
        assert page(own, NAME)[0].status == 200


def test_only_pixels_are_served(own: Served) -> None:
    """Whatever else is in the file, before, between and after."""
    info = PngImagePlugin.PngInfo()
    info.add_text("Comment", "<script>alert(1)</script>", zip=False)
    data = BytesIO()
    Image.effect_noise((128, 64), 80).convert("RGB").save(
        data, "png", pnginfo=info, dpi=(300, 300), exif=b"Exif\0\0SECRET", icc_profile=b"SECRET"
    )
    sent = data.getvalue() + b"<script>alert(2)</script>"
    published(own, sent, text(*TWO))
    got = own.ask(f"{NAME}/{SHEET}")
    assert b"script" not in got.body
    assert b"SECRET" not in got.body
    assert got.body == png(128, 64, pixels_of(sent, 128, 64))
    with Image.open(BytesIO(got.body)) as ours, Image.open(data) as theirs:
        assert ours.tobytes() == theirs.tobytes()
        assert not ours.info


SAID = (
    b"", b"{}", b"[" * 50_000, text(), text(*TWO, side=0), text(*TWO, side=100_000),
    text(*TWO, columns=0), text(*TWO, columns=1 << 40), text(*TWO * 200), text(*TWO, side=-64),
    b'{"side": 64, "columns": 2, "shown": [{"true": 7}]}', text(*TWO) + b" " * (1 << 20),
)  # fmt: skip


@pytest.mark.long
def test_what_the_images_show_is_looked_at_too(own: Served) -> None:
    for said in SAID:
        published(own, drawn(), said)
        assert own.ask(f"{NAME}/{SHEET}").code == "EntryNotFound", said[:60]
        got, tree = page(own, NAME)
        assert got.status == 200
        assert not tree.xpath("//svg/image")


def test_names_of_classes_do_nothing(own: Served) -> None:
    run = kept(own)
    (run.folder / EXAMPLES).write_bytes(text(*(Example(each, each) for each in NASTY), columns=5))
    report = json.decode((run.folder / "report.json").read_bytes())
    report["confusions"] = [
        {"true": each, "predicted": each, "images": 1, "share": 0.5, "low": 0.1, "high": 0.9}
        for each in NASTY
    ]
    (run.folder / "report.json").write_bytes(json.encode(report))
    got, tree = page(own, f"/-/runs/{run.id}", own.token("admin"))
    assert got.status == 200
    assert len(tree.xpath("//svg/image")) >= len(NASTY) - 1
    assert canaries(tree) == []


def test_a_damaged_run_has_none(own: Served) -> None:
    run, admin = kept(own), own.token("admin")
    (run.folder / SHEET).write_bytes(b"<script>")
    assert own.ask(f"/-/runs/{run.id}/{SHEET}", token=admin).code == "NotFound"
    (run.folder / SHEET).unlink()
    (run.folder / SHEET).symlink_to(run.folder / RUN)
    assert own.ask(f"/-/runs/{run.id}/{SHEET}", token=admin).code == "NotFound"


@pytest.mark.long
def test_a_browser_shows_them(own: Served) -> None:
    published(own, drawn(), text(*TWO))
    admin = {"Authorization": f"Bearer {own.token('admin')}"}
    with browsing() as browser:
        page = browser.new_context(extra_http_headers=admin).new_page()
        wrong = watched(page, own.url)
        for path in (NAME, "/team/tuned", f"/-/runs/{kept(own).id}"):
            with page.expect_response(lambda each: each.url.endswith(SHEET)) as loaded:
                page.goto(own.url + path)
            assert loaded.value.status == 200
            image = page.locator(".pictures svg").first
            image.scroll_into_view_if_needed()
            shot = Image.open(BytesIO(image.screenshot()))
            assert len(shot.convert("RGB").getcolors(1 << 16) or ()) > 3, "it is no empty square"
            assert barriers(page) == []
        assert wrong == []
