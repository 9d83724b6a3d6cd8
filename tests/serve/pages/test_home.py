"""Home: what there is for who asks."""

from __future__ import annotations

from fakes.served import Served
from lxml import html

HTML = "text/html,application/xhtml+xml,*/*;q=0.8"


def names(served: Served, token: str | None) -> set[str]:
    body = served.ask("/", token=token, Accept=HTML).body.decode()
    return {*html.fromstring(body).xpath("//main//th[@scope='row']/a/@href")}


def test_it_lists_what_may_be_read(served: Served, token: str) -> None:
    assert names(served, None) == {"/shown/net", "/secret/open"}
    assert names(served, token) == {"/team/net", "/shown/net", "/secret/open"}
