"""An image is tried over HTTP: by whom, with what, and what is refused."""

from __future__ import annotations

import base64
import json
import logging
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import replace
from http.client import HTTPConnection
from io import BytesIO
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from fakes.paged import HTML, NASTY, page, text_of
from fakes.prepared import copy_zoo
from fakes.served import Got, Served, serving
from fakes.tuned import SIDE
from lxml import html
from PIL import Image

import zoo
from zoo.domain.limits import TRIED_IMAGE_BYTES
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.serve.http.multipart import read_multipart
from zoo.serve.keep import tryouts as module
from zoo.serve.pages.table import PAGES
from zoo.serve.pages.try_it import try_form, try_image
from zoo.workspace import Workspace

TRY = "/team/tuned/try"
SENT = {"Sec_Fetch_Site": "same-origin", "Accept": HTML}


@pytest.fixture(scope="module")
def trying(tuned_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The zoo of `tuned`, where images are tried."""
    folder = tmp_path_factory.mktemp("trying")
    (folder / "try").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RATE", 1000)
        with serving(copy_zoo(tuned_home, folder / "zoo"), tries=folder / "try") as served:
            served.accounts.set_level("team", level="private")
            served.accounts.set_level("team/tuned", level="public")
            yield served


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A JPEG, wider than high, with a place in its EXIF."""
    image, file = Image.effect_noise((90, 60), 60).convert("RGB"), BytesIO()
    image.paste((250, 250, 40), (30, 5, 40, 55))
    exif = Image.Exif()
    exif[0x010E] = "SECRET PLACE"
    image.save(file, "JPEG", exif=exif)
    return file.getvalue()


def form(image: bytes, name: str = "photo.jpg", **fields: str) -> tuple[bytes, str]:
    """What a browser sends of a form, and its type."""
    line = b"----WebKitFormBoundaryAb12"
    parts = [(f'image"; filename="{name}', image), *((k, v.encode()) for k, v in fields.items())]
    body = b"".join(
        b'--%b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n' % (line, k.encode(), v)
        for k, v in parts
    )
    return body + b"--%b--\r\n" % line, f"multipart/form-data; boundary={line.decode()}"


def send(served: Served, token: str | None, image: bytes, path: str = TRY, **fields: str) -> Got:
    body, kind = form(image, **fields)
    return served.ask(path, "POST", token=token, body=body, Content_Type=kind, **SENT)


@pytest.mark.long
def test_a_form_is_answered_by_numbers_and_pictures(
    trying: Served, photo: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same numbers as `zoo predict`; pictures of ours; nothing is kept, nothing logged."""
    caplog.set_level(logging.DEBUG)
    token = trying.token("ann")
    before = {path for path in trying.root.rglob("*") if path.is_file()}
    got = send(trying, token, photo, name="SECRET.jpg")
    assert got.status == 200, got.body
    assert got.headers["cache-control"] == "no-store"
    assert "SECRET" not in caplog.text
    tree = html.fromstring(got.body.decode())
    assert "At most 16 MiB." in text_of(tree, "//form[@id='try-form']")
    (tmp_path / "photo.jpg").write_bytes(photo)
    with zoo.open(trying.root) as opened:
        (said,) = opened.predict("team/tuned", tmp_path / "photo.jpg")
    rows = [tuple(cell.text for cell in row) for row in tree.xpath("//tbody/tr")]
    told = [*zip(said.classes, (f"{each:.3f}" for each in said.probabilities), strict=True)]
    assert rows == told
    urls = tree.xpath("//main//img/@src")
    assert len(urls) == 1 + len(told)
    for url in urls:
        data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
        with Image.open(BytesIO(data)) as image:
            assert (image.format, image.size, image.info) == ("PNG", (SIDE, SIDE), {})
    assert said.classes[0] in text_of(tree, "//main//figcaption")
    assert b"SECRET" not in got.body
    after = {path for path in trying.root.rglob("*") if path.is_file()}
    assert {path.suffix for path in after - before} <= {".db-wal", ".db-shm", ".json"}


def test_a_program_sends_the_image_alone(trying: Served, photo: bytes) -> None:
    token = trying.token("ann")
    got = trying.ask(f"{TRY}.json?output=disc", "POST", token=token, body=photo)
    assert got.status == 200, got.body
    assert {each["name"] for each in got.json["outputs"]} == {"bar", "disc", "square"}
    assert sum(each["value"] for each in got.json["outputs"]) == pytest.approx(1)
    (only,) = got.json["explained"]
    assert only["output"] == "disc"
    wrong = trying.ask(f"{TRY}.json?output=dics", "POST", token=token, body=photo)
    assert (wrong.status, wrong.code) == (400, "BadRequest")
    assert "unknown class 'dics'; did you mean disc?" in wrong.json["error"]


@pytest.mark.long
def test_the_line_of_the_docs(trying: Served, photo: bytes, tmp_path: Path) -> None:
    """As docs/pages.md has it."""
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    docs = (Path(__file__).parents[3] / "docs" / "pages.md").read_text()
    found = re.search(r"^(curl .*@photo.jpg.*)http://127\.0\.0\.1:8765/team/flowers(.*)rose'$",
                      docs, re.MULTILINE)  # fmt: skip
    assert found
    (tmp_path / "photo.jpg").write_bytes(photo)
    line = f"{found[1]}{trying.url}/team/tuned{found[2]}disc'"
    environment = {**os.environ, "HF_TOKEN": trying.token("ann")}
    done = subprocess.run(["/bin/sh", "-c", line], cwd=tmp_path, env=environment, check=True,
                          capture_output=True, timeout=60)  # fmt: skip
    assert [each["output"] for each in json.loads(done.stdout)["explained"]] == ["disc"]


def test_who_may_not_is_not_answered(trying: Served, photo: bytes) -> None:
    """Who may not read a model is told what they are of one that is not there."""
    ben = trying.token("ben")
    for path in (TRY, f"{TRY}.json"):
        hidden, gone = (
            send(trying, ben, photo, path.replace("team/tuned", name))
            for name in ("team/base", "team/none")
        )
        assert hidden.status == gone.status == 404
        assert hidden.body.replace(b"base", b"none") == gone.body.replace(b"base", b"none")
    assert send(trying, None, photo).status == 401, "strangers sign in"
    assert "sign in" in text_of(page(trying, TRY)[1])
    body, kind = form(photo)
    for site in ({"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}, {}):
        got = trying.ask(TRY, "POST", token=ben, body=body, Content_Type=kind, **site)
        assert (got.status, got.code) == (403, "Forbidden")


def test_where_it_is_off_the_page_says_so(tuned: Served, photo: bytes) -> None:
    got, tree = page(tuned, TRY, tuned.token("ann"))
    assert got.status == 200
    assert "zoo serve --try" in text_of(tree)
    assert tree.xpath("//main//form") == []
    assert page(tuned, "/team/tuned", tuned.token("ann"))[1].xpath("//form[@id='try-form']") == []
    refused = send(tuned, tuned.token("ann"), photo)
    assert (refused.status, refused.code) == (501, "NotImplemented")


@pytest.mark.parametrize(
    ("image", "status", "said"),
    [
        (b"", 400, "no image was chosen"),
        (b"hello", 400, "not a readable image"),
        (bytes(TRIED_IMAGE_BYTES + 1), 413, "an image has at most 16777216 bytes here"),
        (bytes(TRIED_IMAGE_BYTES + (1 << 20)), 413, "an image has at most 16777216 bytes here"),
    ],
    ids=["none", "text", "large", "larger"],
)
def test_what_is_wrong_is_told_beside_the_form(
    trying: Served, image: bytes, status: int, said: str
) -> None:
    got = send(trying, trying.token("ann"), image, output=NASTY[0])
    tree = html.fromstring(got.body.decode())
    assert (got.status, said in text_of(tree, "//*[@role='alert']")) == (status, True)
    assert tree.xpath("//form[@id='try-form']")
    assert tree.xpath("//main//script") == []


@pytest.mark.parametrize("output", ["a" * 121, "\x01" * 15_000], ids=["letters", "escapes"])
def test_a_class_of_too_long_a_name_is_refused(trying: Served, photo: bytes, output: str) -> None:
    got = send(trying, trying.token("ann"), photo, output=output)
    tree = html.fromstring(got.body.decode())
    assert got.code == "BadRequest"
    assert "more than 120 letters is asked for by its number" in text_of(tree, "//*[@role='alert']")
    assert output not in got.body.decode()


@pytest.mark.parametrize("end", ["", ".json"])
def test_an_image_that_comes_in_drips_is_not_waited_for(
    trying: Served, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    for route in PAGES:
        if route.handler in (try_form, try_image):
            assert route.within == 60
            monkeypatch.setitem(vars(route), "within", 0.3)
    began = time.monotonic()
    with closing(HTTPConnection(urlsplit(trying.url).netloc, timeout=5)) as connection:
        connection.putrequest("POST", f"{TRY}{end}")
        for name, value in (("Content-Length", "9999"), ("Sec-Fetch-Site", "same-origin"),
                            ("Authorization", f"Bearer {trying.token('ann')}")):  # fmt: skip
            connection.putheader(name, value)
        connection.endheaders()
        with suppress(ConnectionError):
            for _ in range(20):
                connection.send(b"x")
                time.sleep(0.05)
        got = connection.getresponse()
        got.read()
        assert (got.status, got.headers["x-error-code"]) == (408, "TooSlow")
    assert time.monotonic() - began < 4


@pytest.mark.long
def test_names_that_would_do_something_are_texts(trying: Served, photo: bytes) -> None:
    for nasty in NASTY:
        got = send(trying, trying.token("ann"), photo, output=nasty)
        tree = html.fromstring(got.body.decode())
        assert got.status == 400
        assert tree.xpath("//main//script | //main//img | //main//svg") == []
        assert tree.xpath("//input[@id='output']/@value") == [nasty.strip()]


def another(served: Served, name: str, change: Callable[[Manifest], Manifest]) -> None:
    """A checkpoint like ``team/tuned``, with a ``change``, which anybody may read."""
    with closing(Workspace(served.root)) as workspace:
        manifest = workspace.store.manifest(workspace.names.resolve("team/tuned")[1])
        workspace.commit(change(manifest), Reference.parse(name), "test")
    served.accounts.set_level(name, level="public")


@pytest.mark.long
@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_labels_and_numbers_are_told_as_predict_does(
    trying: Served, photo: bytes, tmp_path: Path, task: str
) -> None:
    def labels(manifest: Manifest) -> Manifest:
        return replace(manifest, recipe={**(manifest.recipe or {}), "task": task})

    another(trying, f"team/{task}", labels)
    (tmp_path / "photo.jpg").write_bytes(photo)
    with zoo.open(trying.root) as opened:
        (said,) = opened.predict(f"team/{task}", tmp_path / "photo.jpg")
    got = trying.ask(f"/team/{task}/try.json", "POST", token=trying.token("ann"), body=photo).json
    assert got["probable"] == (task == "multi-label")
    values = said.probabilities or said.logits
    assert [(each["name"], each["value"]) for each in got["outputs"]] == [
        *zip(said.classes, values, strict=True)
    ]
    assert sum(values) != pytest.approx(1)


@pytest.mark.long
def test_modules_that_nobody_trusts_are_refused(
    trying: Served, photo: bytes, tmp_path: Path
) -> None:
    """And where the file of the module is, is told in the log only."""

    def own(manifest: Manifest) -> Manifest:
        made = replace(manifest.backbone, plugin="torch", architecture="fakes.own_nets:make")
        return replace(manifest, backbone=made)

    another(trying, "team/own", own)
    got = trying.ask("/team/own/try.json", "POST", token=trying.token("ann"), body=photo)
    assert got.status == 400
    assert "is not trusted on this server" in got.json["error"]
    assert "own_nets.py" not in got.json["error"]


@pytest.mark.long
def test_too_many_are_told_to_wait(
    trying: Served, photo: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = trying.token("hasty")
    monkeypatch.setattr(module, "RATE", 1)
    assert send(trying, token, photo).status == 200
    got = send(trying, token, photo)
    assert (got.status, got.code, got.headers["retry-after"]) == (429, "TooMany", "10")
    monkeypatch.setattr(module, "WAITING", -1)
    got = send(trying, trying.token("ann"), photo)
    assert (got.status, got.code) == (503, "Busy")
    assert "ask again" in got.body.decode()


def test_forms_are_read_as_browsers_send_them() -> None:
    body, kind = form(b"\r\n--\x00\r\n\r\n--x", output="a\r\nb")
    assert read_multipart(kind, body) == {"image": b"\r\n--\x00\r\n\r\n--x", "output": b"a\r\nb"}
    assert read_multipart(kind.replace("=", '="', 1) + '"', body)["output"] == b"a\r\nb"
    quoted = "multipart/form-data; charset=utf-8; boundary=a"
    assert read_multipart(quoted, b"--a\r\nContent-Type: x\r\nContent-Disposition: form-data; "
                          b'name="n"\r\n\r\nv\r\n--a--') == {"n": b"v"}  # fmt: skip
    for wrong in (
        ("application/x-www-form-urlencoded", body),
        ("multipart/form-data", body),
        (kind, b""),
        (kind, b"nothing"),
        (kind, body[:-60]),
        (kind, body.replace(b'name="image', b'nome="image')),
        form(b"", **{str(number): "" for number in range(16)})[::-1],
    ):
        with pytest.raises(ValueError, match="form"):
            read_multipart(*wrong)


def test_the_page_is_data_too(trying: Served) -> None:
    got = trying.ask(f"{TRY}.json", token=trying.token("ann"))
    told = json.loads(got.body)
    assert (told["problem"], told["answer"], told["most"]) == ("", None, TRIED_IMAGE_BYTES)
