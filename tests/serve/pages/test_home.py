"""Home: what there is for who asks, and what of it they look for."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from fakes.browser import barriers, browsing, sideways, watched
from fakes.checkpoints import add_checkpoint, tensors
from fakes.paged import HTML, canaries, page, text_of
from fakes.served import Served, serving
from lxml import html

import zoo
from zoo.domain.catalog import CatalogEntry
from zoo.domain.query import FIELDS
from zoo.domain.reference import Reference
from zoo.serve.pages import home
from zoo.workspace import Workspace

HOSTILE = '"><img src=x onerror=alert(1)>'


@pytest.fixture(scope="module", autouse=True)
def listed(served: Served) -> None:
    """What sources list: sixty networks, one with texts that attack."""
    entries = [
        CatalogEntry(
            name=f"timm/net{number}.in1k", architecture=f"net{number % 3}", backbone="timm",
            tag="in1k", license=("mit", "apache-2.0")[number % 2], params=number * 1_000_000,
            num_classes=1000, datasets=("imagenet-1k",), metrics={"top1": 50 + number / 10},
        )
        for number in range(59)
    ]  # fmt: skip
    odd = CatalogEntry(
        name=f"org/{HOSTILE}", architecture=HOSTILE, backbone="timm", license=HOSTILE,
        datasets=(HOSTILE, "two words", "with*star"),
    )  # fmt: skip
    registry = served.server.hub.workspace.registry
    registry.replace_entries("timm", "1", [*entries, odd], "2026-01-01T00:00:00Z")


def tree(served: Served, token: str | None = None, **query: object) -> html.HtmlElement:
    body = served.ask(f"/?{urlencode(query)}", token=token, Accept=HTML).body.decode()
    return html.fromstring(body)


def data(served: Served, token: str | None = None, **query: object) -> Any:
    return served.ask(f"/index.json?{urlencode(query)}", token=token).json


def names(found: html.HtmlElement) -> list[str]:
    return [each.text_content().strip() for each in found.xpath("//main//th[@scope='row']")]


def test_what_is_new_is_a_link_away(served: Served, token: str) -> None:
    (link,) = tree(served, token).xpath("//main//a[starts-with(., 'New in')]/@href")
    asked = parse_qs(urlsplit(link).query)
    assert asked["sort"] == ["-updated"]
    found = data(served, token, q=asked["q"][0], sort="-updated")
    assert found["error"] == ""
    assert {row["repo"] for row in found["rows"]} == {"team/net", "shown/net", "secret/open"}
    later = asked["q"][0].replace("updated>=2", "updated>=3")
    assert data(served, token, q=later)["rows"] == []


def test_it_lists_what_may_be_read(served: Served, token: str) -> None:
    here = {"team/net", "team/net:dev also v1", "shown/net", "secret/open"}
    assert {*names(tree(served))} == {"shown/net", "secret/open"}
    assert {*names(tree(served, token, q="pulled:yes"))} == here
    shown = tree(served, token, q="name:team/net*")
    assert {*shown.xpath("//main//th[@scope='row']//a/@href")} == {
        "/team/net", "/team/net?revision=v1", "/team/net?revision=dev",
    }  # fmt: skip
    admin = served.token("admin")
    assert {*names(tree(served, admin, q="pulled:yes"))} == here | {"secret/net"}


def test_what_sources_list_is_for_who_has_an_account(served: Served, token: str) -> None:
    assert data(served, q="net1")["rows"] == []
    assert "timm/net1.in1k" in names(tree(served, token, q="net1"))


def test_the_page_and_its_twin_say_the_same(served: Served, token: str) -> None:
    query = {"q": "net1 license:mit", "sort": "-params"}
    page, twin = tree(served, token, **query), data(served, token, **query)
    assert names(page) == [row["name"] for row in twin["rows"]]
    assert twin["rows"] != []
    (link,) = page.xpath("//footer//a/@href")
    assert served.ask(link, token=token).json == twin


def test_what_is_asked_is_in_the_address_alone(served: Served, token: str) -> None:
    page = tree(served, token, q='dataset:"two words"', sort="-params")
    assert page.xpath("string(//input[@name='q']/@value)") == 'dataset:"two words"'
    assert page.xpath("string(//form//input[@name='sort']/@value)") == "-params"
    assert len(names(page)) == 1


def links(page: html.HtmlElement, label: str) -> Iterator[tuple[str, int, str]]:
    """What a facet offers: label, count, query."""
    heading = page.xpath(f"//nav[@aria-label='Narrow down']//h2[.='{label}']")
    for link in heading[0].getnext().xpath(".//a") if heading else []:
        text, count = (span.text_content() for span in link.xpath("span"))
        query = parse_qs(urlsplit(link.get("href")).query)["q"][0]
        yield text, int(count.replace(",", "")), query


def test_each_link_of_a_facet_leads_to_as_many_as_it_says(served: Served, token: str) -> None:
    page = tree(served, token)
    seen = 0
    for label in ("Where", "Library", "Architecture", "Parameters", "License", "Trained on"):
        for text, count, query in links(page, label):
            assert data(served, token, q=query)["total"] == count, (label, text, query)
            seen += 1
    assert seen > 15
    licenses = {text: count for text, count, _ in links(page, "License")}
    assert (licenses["mit"], licenses["apache-2.0"], licenses[HOSTILE]) == (31, 29, 1)
    trained = {text for text, _, _ in links(page, "Trained on")}
    assert trained == {"imagenet-1k", "two words", HOSTILE}, "no filter asks for a star"
    chosen = tree(served, token, q="license:mit")
    assert [*links(chosen, "License")] == []


def test_each_part_of_a_query_can_be_taken_out(served: Served, token: str) -> None:
    parts = data(served, token, q='net1 "a b" params<30M license:mit')["parts"]
    assert [(each["text"], each["without"]) for each in parts] == [
        ("net1", '"a b" params<30M license:mit'),
        ('"a b"', "net1 params<30M license:mit"),
        ("params<30M", 'net1 "a b" license:mit'),
        ("license:mit", 'net1 "a b" params<30M'),
    ]


def test_a_range_is_one_part_that_joins_others(served: Served, token: str) -> None:
    asked = "net1 params>=1M params<10M license:mit"
    parts = data(served, token, q=asked)["parts"]
    assert [(each["text"], each["without"]) for each in parts] == [
        ("net1", "params>=1M params<10M license:mit"),
        ("params>=1M params<10M", "net1 license:mit"),
        ("license:mit", "net1 params>=1M params<10M"),
    ]
    alone = data(
        served, token, q="params>=1M params<10M net1 updated>2026-01-01 updated>2026-01-02"
    )
    assert [each["text"] for each in alone["parts"]][1:] == [
        "params>=1M params<10M",
        "updated>2026-01-01 updated>2026-01-02",
    ]


def test_a_page_that_is_not_there_leads_back(served: Served, token: str) -> None:
    for number in ("9999", "20"):
        page = tree(served, token, q="arch:net*", page=number)
        assert f"There is no page {int(number):,}" in text_of(page)
        assert page.xpath("//table") == []
        (back,) = page.xpath("//section[@class='empty']//a/@href")
        assert "page=" not in back
        assert names(html.fromstring(served.ask(back, token=token, Accept=HTML).body.decode()))
    assert data(served, token, q="arch:net*")["beyond"] == 0


@pytest.mark.long
def test_the_button_to_compare_stays_in_sight(served: Served, token: str) -> None:
    with browsing() as browser:
        context = browser.new_context(
            java_script_enabled=False, extra_http_headers={"Authorization": f"Bearer {token}"}
        )
        page = context.new_page()
        for width in (320, 1280):
            page.set_viewport_size({"width": width, "height": 250})
            page.goto(f"{served.url}/?q=pulled:yes")
            page.get_by_role("checkbox").first.check()
            table, box = (
                page.locator("table").bounding_box(),
                page.get_by_role("button", name="Compare").bounding_box(),
            )
            assert table
            assert box
            assert table["y"] + table["height"] > 250 >= box["y"] + box["height"], width


def test_results_are_sorted_and_turned(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tree(served, token, q="arch:net*", sort="-params")
    shown = names(page)
    assert shown[:2] == ["timm/net58.in1k", "timm/net57.in1k"]
    (column,) = page.xpath("//th[@aria-sort]")
    assert (column.text_content(), column.get("aria-sort")) == ("Params", "descending")
    assert "sort=params" in column.xpath("string(a/@href)"), "once more turns it around"
    (after,) = page.xpath("//a[@rel='next']/@href")
    rest = html.fromstring(served.ask(after, token=token, Accept=HTML).body.decode())
    assert len(shown) == 50
    assert len(shown + names(rest)) == len({*shown, *names(rest)}) == 59
    assert rest.xpath("//a[@rel='next']") == []
    assert rest.xpath("//a[@rel='prev']/@href") == [after.rpartition("&page=")[0]]
    assert data(served, token, sort="metric.top1", q="arch:net*")["metric"] == ""
    for wrong in ("0", "-1", "x", "9" * 30, "٣", ""):
        assert data(served, token, page=wrong)["number"] in (1, home.PAGES)
        text = tree(served, token, page=wrong).text_content()
        assert (f"There is no page “{wrong[:20]}”: this is the first" in text) == bool(wrong)
    monkeypatch.setattr(home, "PAGES", 1)
    assert tree(served, token).xpath("//a[@rel='next']") == [], "no further than so many"


def test_more_than_can_be_counted_are_said_to_be_more(
    served: Served, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(home, "COUNTED", 7)
    page = tree(served, token)
    assert "more than 7" in page.xpath("string(//main//h1/following-sibling::p)")
    assert page.xpath("//a[@rel='next']")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"q": "licence:mit"}, "did you mean license?"),
        ({"q": "params<lots"}, "write params<30M"),
        ({"q": '"open'}, "a quote is not closed"),
        ({"sort": "beauty"}, "one of"),
        ({"q": "a " * 200}, "at most 100 words"),
        ({"q": f"name:{'*' * 10_000}"}, "at most 1,000 letters"),
        ({"sort": f"metric.{'a' * 30_000}"}, "at most 1,000 letters"),
        ({"q": "\ud800".encode("utf-8", "surrogatepass")}, ""),
        ({"q": "a\x00b"}, ""),
    ],
)
def test_what_is_wrong_is_said_at_the_box(
    served: Served, token: str, query: dict[str, Any], said: str
) -> None:
    got = served.ask(f"/?{urlencode(query)}", token=token, Accept=HTML)
    assert got.status == 200
    page = html.fromstring(got.body.decode())
    if said:
        (box,) = page.xpath("//form//input[@name='q'][@aria-invalid='true']")
        (error,) = page.xpath(f"//form//*[@id='{box.get('aria-describedby')}'][@role='alert']")
        assert said in error.text_content()
        assert box.get("value") == query.get("q", "")[:1000]
    assert len(got.body) < 100_000


def instead(served: Served, token: str | None, query: str) -> tuple[list[str], str]:
    """What a page links to instead of a query, each of which can be read, and what it says."""
    page = tree(served, token, q=query)
    asked = [
        parse_qs(urlsplit(link).query)["q"][0]
        for link in page.xpath("//main//section[@class='empty']//a[code]/@href")
    ]
    assert all(data(served, token, q=each)["error"] == "" for each in asked)
    return asked, page.xpath("string(//main//section[@class='empty'])")


def test_what_was_meant_is_a_link_away(served: Served, token: str) -> None:
    asked, said = instead(served, token, "net1 dataset:imagenet1k")
    assert asked == ["net1 dataset:imagenet-1k"]
    assert "nothing has dataset:imagenet1k; there is dataset:imagenet-1k" in said
    asked, said = instead(served, token, "dataset:imagenet1k")
    assert asked == ["dataset:imagenet-1k"]
    assert said.count("dataset:imagenet-1k") == 1, "and not beside itself"
    assert data(served, token, q=asked[0])["rows"]
    asked, said = instead(served, token, "timm/nett58.in1k license:mit")
    assert "timm/net58.in1k license:mit" in asked
    assert "did you mean" in said
    asked, said = instead(served, token, "licence:mit net1")
    assert asked == ["license:mit net1"]
    assert "unknown field 'licence'" in said
    assert instead(served, token, "ds:digits")[0] == ["dataset:digits"]


def test_what_may_not_be_read_is_no_hint(served: Served, token: str) -> None:
    admin = served.token("admin")
    assert "secret/net" in instead(served, admin, "secret/nett")[0]
    assert "secret/net" not in instead(served, token, "secret/nett")[0]
    assert instead(served, None, "dataset:imagenet1k")[0] == [], "sources are for accounts"


def test_how_to_search_is_shown_with_examples(served: Served, token: str) -> None:
    for query, shown in (("", None), ("zzz", None), ("ds:x", "")):
        (how,) = tree(served, token, q=query).xpath("//main//details[@class='how']")
        assert how.get("open") == shown
        fields = how.xpath(".//dt")
        assert [each.text_content() for each in fields] == [f.example for f in FIELDS.values()]
        asked = [parse_qs(urlsplit(link).query)["q"][0] for link in how.xpath(".//a/@href")]
        assert len(asked) == 5
        assert [data(served, token, q=each)["error"] for each in asked] == [""] * 5


def test_texts_that_attack_stay_texts(served: Served, token: str) -> None:
    for query in ({"q": f'name:"org/{HOSTILE}"'.replace('org/"', 'org/\\"')}, {"q": HOSTILE}, {}):
        got = served.ask(f"/?{urlencode(query)}", token=token, Accept=HTML)
        assert b"<img" not in got.body
    page = tree(served, token, q="owner:org")
    assert names(page) == [f"org/{HOSTILE}"]


def test_an_empty_list_says_what_to_do(served: Served, token: str) -> None:
    assert "Take one of them out" in tree(served, token, q="zzz").xpath("string(//main)")
    assert "sign in to see more" in tree(served, q="zzz").xpath("string(//main)")


def test_what_may_be_told_is_what_may_be_read(served: Served) -> None:
    """Said once for all names, in the words of a search, it is the same as for each by itself."""
    accounts = served.accounts
    accounts.add("lab", team=True)
    for path, said in (("team", "private"), ("shown/net", "internal"), ("secret", "internal")):
        accounts.set_level(path, level=said)
    repos = ["team/net", "shown/net", "secret/net", "secret/open"]
    tokens = [
        None, served.token("admin"), served.token("admin", only=("team",)), served.token("team"),
        served.token("eve"), served.token("eve", only=("secret",)), served.token("fay"),
        served.token("eve", only=("team/net", "shown")), served.token("gus"),
    ]  # fmt: skip
    accounts.grant("team/net", "fay", "reader")
    accounts.grant("team", "lab", "writer")
    accounts.grant("lab", "gus", "writer")
    try:
        for token, level in itertools.product(tokens, ("private", "public", None)):
            accounts.set_level("secret/open", level=level)
            may = {repo for repo in repos if served.ask(
                f"/api/models/{repo}", token=token).status == 200}  # fmt: skip
            found = data(served, token, q="pulled:yes")["rows"]
            assert {row["repo"] for row in found} == may, (token, level)
    finally:
        for path in ("team", "shown/net"):
            accounts.set_level(path)
        accounts.set_level("secret", level="private")
        accounts.set_level("secret/open", level="public")


@pytest.mark.long
@pytest.mark.parametrize("scripts", [True, False])
def test_home_in_a_browser(served: Served, token: str, scripts: bool) -> None:
    """By keyboard, in both themes, at three widths: nothing scrolls sideways but tables."""
    with browsing() as browser:
        context = browser.new_context(
            java_script_enabled=scripts, extra_http_headers={"Authorization": f"Bearer {token}"}
        )
        page = context.new_page()
        wrong = watched(page, served.url)
        for theme, width in itertools.product(("light", "dark"), (320, 768, 1920)):
            page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            page.set_viewport_size({"width": width, "height": 800})
            for path in ("/", "/?q=net1", "/?q=licence:mit", "/?q=zzz", "/sign-in", "/no/thing/x"):
                page.goto(f"{served.url}{path}")
                assert sideways(page) == [], (path, width)
                if scripts and width != 768:
                    assert barriers(page) == [], (path, theme, width)
        page.set_viewport_size({"width": 1280, "height": 800})
        page.goto(f"{served.url}/")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.type("net1 license:apache-2.0")
        page.keyboard.press("Enter")
        page.wait_for_url("**q=net1*")
        assert page.locator("tbody tr").count() > 5
        page.get_by_role("link", name="Params", exact=True).press("Enter")
        page.wait_for_url("**sort=-params*")
        page.get_by_role("link", name="Without license:apache-2.0").press("Enter")
        page.wait_for_url("**q=net1&sort=-params")
        assert not wrong


def test_what_is_listed_has_a_page(served: Served, token: str) -> None:
    (link,) = tree(served, token, q="name:timm/net58.in1k").xpath("//tbody//th/a/@href")
    got, found = page(served, link, token)
    assert got.status == 200
    said = text_of(found)
    assert "/?q=dataset%3Aimagenet-1k" in found.xpath("//main//dl//a/@href")
    for each in ("net1", "58.0M", "55.80%", "mit", "imagenet-1k", "zoo pull timm/net58.in1k"):
        assert each in said
    assert page(served, link)[0].status == 404, "sources are for accounts"
    (odd,) = tree(served, token, q="owner:org").xpath("//tbody//th/a/@href")
    got, found = page(served, odd, token)
    assert got.status == 200
    assert canaries(found) == []
    assert "zoo pull" not in text_of(found), "no zoo can have that name"
    got, found = page(served, "/timm/net58.in1k", token)
    (search,) = found.xpath("//a[starts-with(., 'Search for')]/@href")
    assert got.status == 404
    assert link in page(served, search, token)[1].xpath("//tbody//th/a/@href")


def test_what_is_only_listed_is_told_where_it_is_to_be_compared(served: Served, token: str) -> None:
    path = "/compare?names=team/public&names=timm/net58.in1k"
    got, found = page(served, path, token)
    assert got.status == 404
    assert "zoo pull timm/net58.in1k brings it" in text_of(found, "//*[@role='alert']")
    assert "zoo pull" not in text_of(page(served, path)[1]), "sources are for accounts"


@pytest.mark.long
def test_an_accuracy_is_said_of_which_images_it_is(tuned: Served) -> None:
    _, found = page(tuned, "/?q=team/tuned", tuned.token("admin"))
    said = text_of(found, "//table[@class='models']/tbody")
    assert re.search(r"\d\.\d{4} on data \d\.\d{3} to \d\.\d{3}, \d+ images", said)


def test_a_stranger_to_whom_nothing_is_shown_is_asked_to_sign_in(tmp_path: Path) -> None:
    Workspace.create(tmp_path / "zoo").close()
    with serving(tmp_path / "zoo") as empty:
        _, found = page(empty, "/")
        assert found.xpath("//main//section//a/@href")[0].startswith("/sign-in")
        _, found = page(empty, "/", empty.token("ann"))
        assert found.xpath("//main//section//a[starts-with(@href, '/sign-in')]") == []


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Two on the same images, of which one has two tags, and one on data of the same name."""
    root = tmp_path_factory.mktemp("digits") / "zoo"
    with closing(Workspace.create(root)) as workspace:
        for seed, (name, data) in enumerate((("a", "one"), ("other", "two"), ("b", "one"))):
            digest = add_checkpoint(
                workspace, f"team/{name}", tensors(seed), recipe={"data": "/data/digits"},
                metrics={"accuracy": 0.9 - seed / 10}, provenance={"data_digest": data},
            )  # fmt: skip
            if name == "a":
                for tag in ("production", "v3"):
                    workspace.move(Reference.parse(f"team/a:{tag}"), digest, "tag")
    with serving(root) as served:
        yield served


def test_what_was_measured_on_other_images_is_marked_in_a_list_of_one_data_set(
    digits: Served,
) -> None:
    for query in ("dataset:digits", "dataset:digits pulled:yes"):
        found = tree(digits, digits.token("ann"), q=query, sort="-accuracy")
        marked = found.xpath("//tbody/tr[contains(., 'other images')]/th//a/@href")
        assert marked == ["/team/other"]
    assert not tree(digits, digits.token("ann")).xpath("//*[contains(@class, 'warn')]")
    with zoo.open(digits.root) as z:
        rows = z.search("dataset:digits", sort="-accuracy")
        assert [row.name for row in rows if row.other_images] == ["team/other"]
        assert not any(row.other_images for row in z.search("team"))


def test_tags_of_one_checkpoint_are_one_row(digits: Served) -> None:
    token = digits.token("ann")
    found = tree(digits, token, q="dataset:digits", sort="-accuracy")
    assert names(found) == ["team/a also production, v3", "team/other", "team/b"]
    assert {"/team/a?revision=production", "/team/a?revision=v3"} <= {*found.xpath("//th//a/@href")}
    assert "5 names" in text_of(found, "//*[@class='heading']")
    with zoo.open(digits.root) as z:
        z.deprecate("team/a:v3", "use team/a")
    try:
        found = tree(digits, token, q="dataset:digits", sort="-accuracy")
        assert len(names(found)) == 4
        assert "to be used no more" in next(name for name in names(found) if "v3" in name)
    finally:
        with zoo.open(digits.root) as z:
            z.deprecate("team/a:v3", "")
