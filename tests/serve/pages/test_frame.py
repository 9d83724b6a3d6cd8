"""What all pages have: a frame, a policy, a twin, refusals that people can read."""

from __future__ import annotations

import re

from fakes.paged import HTML, page
from fakes.served import Served

from zoo.serve.pages.page import CSP


def test_a_page_has_a_policy_without_anything_inline(served: Served, token: str) -> None:
    got, tree = page(served, "/", token)
    assert got.status == 200
    assert got.headers["content-security-policy"] == CSP
    assert got.headers["referrer-policy"] == "same-origin"
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "private" in got.headers["cache-control"]
    assert not tree.xpath(
        "//style | //script[not(@src)] | //@style | //@*[starts-with(name(), 'on')]"
    )


def test_neither_it_nor_its_twin_is_kept_or_embedded(served: Served, token: str) -> None:
    for path in ("/", "/index.json"):
        headers = served.ask(path, token=token, Accept=HTML).headers
        assert headers["cross-origin-resource-policy"] == "same-origin"
        assert headers["cache-control"] == "private, no-cache"
        assert {"Authorization", "Cookie"} <= {*headers["vary"].split(", ")}


def test_its_landmarks_and_labels(served: Served) -> None:
    _, tree = page(served, "/")
    assert tree.xpath("string(/html/@lang)") == "en"
    assert [len(tree.xpath(f"//{each}")) for each in ("header", "main", "footer", "h1")] == [1] * 4
    assert tree.xpath("//body/*[1]/@href") == ["#main"]
    for field in tree.xpath("//input"):
        assert field.get("aria-label") or tree.xpath(f"//label[@for='{field.get('id')}']")
    for table in tree.xpath("//table"):
        assert table.xpath("caption")
        assert not table.xpath(".//th[not(@scope)]")


def test_static_files_are_kept_for_long_under_the_name_of_their_content(served: Served) -> None:
    _, tree = page(served, "/")
    (sheet,) = tree.xpath("//link[@rel='stylesheet']/@href")
    got = served.ask(sheet)
    assert (got.status, got.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "immutable" in got.headers["cache-control"]
    old = served.ask(re.sub("/-/[0-9a-f]{16}/", "/-/0123/", sheet))
    assert (old.status, old.headers["cache-control"]) == (200, "no-cache")
    assert old.body == got.body
    assert served.ask("/-/0123/../table.py").status == 404
    assert served.ask("/-/0123/..%2Ftable.py").status == 404


def test_who_is_no_browser_gets_the_words_for_programs(served: Served) -> None:
    assert b"HF_ENDPOINT=" in served.ask("/").body
    assert b"HF_ENDPOINT=" in served.ask("/", Accept="*/*").body


def test_a_refusal_is_a_page_for_a_browser_only(served: Served) -> None:
    got, tree = page(served, "/nothing/at/all")
    assert (got.status, got.code) == (404, "NotFound")
    assert tree.xpath("string(//h1)") == "Not found"
    assert got.headers["content-security-policy"] == CSP
    assert served.ask("/nothing/at/all").json == {"error": "There is nothing at this address."}
    assert (
        served.ask("/api/models/no/net", Accept=HTML).headers["content-type"] == "application/json"
    )
