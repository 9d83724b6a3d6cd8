"""What a listing of the hub may hold, whose a name is, and how a listing is taken back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer, Raw
from fakes.hub_zoo import repository
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

GOOD = {"id": "lab/good", "library_name": "timm", "tags": ["timm"], "downloads": 3}
FIELDS = (
    "author", "cardData", "config", "createdAt", "downloads", "gated", "id", "lastModified",
    "library_name", "likes", "pipeline_tag", "private", "safetensors", "sha", "tags",
)  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    yield from own_hub(monkeypatch, tmp_path)


def found(small: Any, *asked: str) -> list[str]:
    return [row["name"] for row in small("search", "source:hub", *asked, "--json").json]


@pytest.mark.long
def test_a_listing_takes_no_name_from_the_user(
    small: Any, hub: HubServer, digits: Path, tmp_path: Path
) -> None:
    few = tmp_path / "few"
    for image in [path for kind in "01" for path in sorted((digits / kind).iterdir())[:4]]:
        (few / image.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(image, few / image.parent.name)
    for name in ("team/net", "team/new", "team/tagged", "team/adapted", "team/pulled", "team/file"):
        hub.commit(name, repository(3))
    assert small("index", "hub", "--author", "team").code == 0
    weights = tmp_path / "net.safetensors"
    weights.write_bytes(repository(4)["model.safetensors"])
    for command in (
        ("tag", "team/net", "team/tagged"),
        ("tag", "team/net", "team/net:v2"),
        ("import", weights, "--architecture", "test_resnet", "--as", "team/file"),
        ("adapt", "team/net", "team/adapted", "--classes", 4),
        ("finetune", "team/net", "--data", few, "--save", "team/net", "--image-size", 32,
         "--epochs", 1),
        ("pull", "team/pulled", "--from", "hf://team/new"),
    ):  # fmt: skip
        done = small(*command)
        assert done.code == 0, done.err
    # One's own names win, and what is listed under them can still be had.
    before = small("show", "team/net", "--json").json["manifest"]
    refused = small("pull", "team/net")
    assert refused.code == 1
    assert "zoo pull OTHER/NAME --from hf://team/net" in refused.err
    assert small("show", "team/net", "--json").json["manifest"] == before
    assert small("pull", "other/net", "--from", "hf://team/net").code == 0
    # What was pulled from there is renewed as ever.
    assert small("pull", "team/new").code == 0
    assert small("pull", "team/new").code == 0


@pytest.mark.long
def test_the_names_of_catalogs_stay_reserved_but_for_those_that_were_there_before(
    small: Any, hub: HubServer
) -> None:
    name, own = "timm/test_resnet.r160_in1k", "timm/test_vit.r160_in1k"
    assert small("tag", "team/net", own).code == 0
    assert small("index", "timm").code == 0
    assert small("tag", "team/net", own).code == 0
    assert small("tag", "team/net", f"{own}:v2").code == 1
    refused = small("tag", "team/net", name)
    assert (refused.code, "published checkpoint" in refused.err) == (1, True)
    refused = small("pull", own)
    assert (refused.code, "is your own checkpoint here" in refused.err) == (1, True)


def test_a_listing_is_taken_back(small: Any, hub: HubServer) -> None:
    for name in ("lab/a", "lab/b", "lab_2/c", "team/net"):
        hub.commit(name, {})
    small("index", "hub")
    small("index", "hub", "--author", "lab_2")
    done = small("index", "hub", "--forget", "--author", "lab")
    assert (done.code, done.out) == (0, "hub: 2 checkpoints are no longer listed\n")
    assert found(small) == ["team/net", "lab_2/c"]
    assert small("index", "hub").code == 0  # from the beginning
    assert len(found(small)) == 4
    assert small("index", "hub", "--forget", "--json").json == {"source": "hub", "forgotten": 4}
    assert found(small) == []
    assert small("show", "team/net", "--json").json["kind"] == "checkpoint"
    assert small("index", "hub", "--forget").code == 1
    assert small("index", "hub", "--forget", "--limit", 3).code == 2
    small("index", "timm")
    refused = small("index", "timm", "--forget")
    assert (refused.code, "listed again" in refused.err) == (1, True)


def test_one_bad_row_costs_that_row_alone(small: Any, hub: HubServer) -> None:
    deep = '{"id": "lab/deep", "cardData": ' + "[" * 100_000 + "]" * 100_000 + "}"
    changes: tuple[dict[str, object], ...] = (
        {"tags": [2024, "cats"]}, {"library_name": 5}, {"lastModified": "yesterday"},
        {"config": {"num_classes": 1 << 63}}, {"safetensors": {"total": 1 << 70}},
        {"cardData": {"model-index": [{"results": [{"metrics": [
            {"type": "accuracy", "value": 10**400}]}]}]}},
        {"cardData": {"license": "\ud800\0", "base_model": {}}},
    )  # fmt: skip
    rows = [{**GOOD, "id": f"lab/bad{at}", **change} for at, change in enumerate(changes)]
    unnamed = [{**GOOD, "id": name} for name in (7, "lab/a..b", "a/b/c", None, "a/")]
    texts = [*map(json.dumps, [GOOD, *rows, *unnamed]), deep, json.dumps({**GOOD, "id": "lab/z"})]
    hub.fail_next(Raw(f"[{', '.join(texts)}]".encode()))
    done = small("index", "hub")
    assert done.code == 0
    assert done.err == (
        "6 that cannot be read are skipped: one without a name, lab/a..b, a/b/c, …\n"
    )
    assert set(found(small)) == {"lab/good", "lab/z", *(row["id"] for row in rows)}
    hub.fail_next(Raw(f"[{deep}]".encode()))
    done = small("index", "hub", "--author", "lab", "--json")
    assert (done.code, done.json["skipped"]) == (0, ["lab/deep"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(min_value=1 << 62) | st.floats()
    | st.text(st.characters(codec=None)) | st.sampled_from(["lab/x", "2026-01-01T00:00:00Z"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["license", "model-index", "results", "metrics", "type", "value", "total",
                         "parameters", "num_classes", "architectures", "datasets"]) | st.text(),
        inner, max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


ROWS = st.lists(
    VALUES | st.dictionaries(st.sampled_from(FIELDS), VALUES, min_size=5), min_size=10, max_size=40
)
DRAWN: Any = {"deadline": None, "database": None, "derandomize": True,
         "suppress_health_check": [HealthCheck.function_scoped_fixture]}  # fmt: skip


@given(rows=ROWS)
@settings(max_examples=3, **DRAWN)
def test_no_row_stops_a_listing(small: Any, hub: HubServer, rows: list[Any]) -> None:
    small("index", "hub", "--forget")
    hub.fail_next(Raw(json.dumps([*rows, GOOD]).encode()))
    done = small("index", "hub")
    assert done.code == 0, done.err
    assert "lab/good" in found(small)
    assert small("show", "lab/good").code == 0


@pytest.mark.long
@given(rows=ROWS)
@settings(max_examples=40, **DRAWN)
def test_none_of_many_rows_stops_a_listing(small: Any, hub: HubServer, rows: list[Any]) -> None:
    test_no_row_stops_a_listing.hypothesis.inner_test(small, hub, rows)  # type: ignore[attr-defined]


def test_what_came_is_told_and_a_name_that_nobody_has_is_seen(small: Any, hub: HubServer) -> None:
    for number in range(3):
        hub.commit(f"lab/net{number}", {})
    assert small("index", "hub").out == "hub: 3 checkpoints\n"
    for _ in range(2):
        done = small("index", "hub", "--author", "nobody")
        assert (done.code, done.out) == (0, "hub: 0 added, 3 checkpoints\n")
        assert "hub lists nothing for --author nobody" in done.err
    hub.commit("lab/net3", {})
    done = small("index", "hub", "--author", "lab", "--limit", 1)
    assert (done.out, done.err) == ("hub: 1 added, 4 checkpoints\n", "")
