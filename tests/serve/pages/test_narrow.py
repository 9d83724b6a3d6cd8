"""A token for a few names finds these, also where nothing was said of who may read them."""

from __future__ import annotations

import pytest
from fakes.served import Served

OPEN = {"shown/net", "secret/open"}


@pytest.mark.parametrize(
    ("only", "more"),
    [(("team",), {"team/net"}), (("team/net",), {"team/net"}), (("secret",), set()),
     (("team/other", "nobody"), set())],
)  # fmt: skip
def test_what_a_narrow_token_finds(served: Served, only: tuple[str, ...], more: set[str]) -> None:
    token = served.token("hal", only=only)
    rows = served.ask("/index.json?q=pulled:yes", token=token).json["rows"]
    assert {row["repo"] for row in rows} == OPEN | more
    for repo in ("team/net", "secret/net", *OPEN):
        found = served.ask(f"/api/models/{repo}", token=token).status == 200
        assert found is (repo in OPEN | more), "the same as for each by itself"
