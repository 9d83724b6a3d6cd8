"""The hub's listing: what is taken from it, and how it is asked."""

from __future__ import annotations

import pytest
from fakes.hub_server import Cut, HubServer, Raw, Status

from zoo.contracts import PagedCatalog
from zoo.domain.catalog import CatalogEntry, Location
from zoo.errors import Unavailable
from zoo_hub.source import HubSource

SECRET = "hf_secretsecretsecret"
CARD = {
    "license": "apache-2.0",
    "datasets": ["imagenet-1k"],
    "base_model": "timm/resnet50.a1_in1k",
    "model-index": [
        {
            "name": "flowers",
            "results": [
                {
                    "task": {"type": "image-classification"},
                    "dataset": {"type": "flowers", "name": "flowers"},
                    "metrics": [
                        {"type": "accuracy", "value": 0.97},
                        {"type": "f1", "value": "n/a"},
                        {"type": "f-score", "value": 0.9},
                    ],
                }
            ],
        }
    ],
}
INFO = {
    "library_name": "timm",
    "pipeline_tag": "image-classification",
    "tags": ["timm", "safetensors", "license:apache-2.0", "region:us"],
    "downloads": 1234,
    "likes": 5,
    "createdAt": "2025-05-06T07:08:09.000Z",
    "config": {"architecture": "resnet50", "num_classes": 102},
    "safetensors": {"parameters": {"F32": 23_700_000, "I64": 53}, "total": 23_700_053},
}


def names(source: HubSource, **asked: str) -> list[str]:
    return [entry.name for page in source.pages(**asked) for entry in page.entries]


def test_what_an_entry_tells(hub_server: HubServer, source: HubSource) -> None:
    assert isinstance(source, PagedCatalog)
    commit = hub_server.commit("team/flowers", {}, card=CARD, info=INFO)
    assert list(source.entries()) == [
        CatalogEntry(
            name="team/flowers",
            backbone="timm",
            architecture="resnet50",
            license="apache-2.0",
            hub_id="team/flowers",
            num_classes=102,
            params=23_700_053,
            datasets=("imagenet-1k",),
            keywords=("timm", "safetensors", "license:apache-2.0", "region:us"),
            updated="2026-01-01T00:01:00Z",
            metrics={"downloads": 1234.0, "likes": 5.0, "card.accuracy": 0.97, "card.f_score": 0.9},
            facts={
                "sha": commit,
                "library": "timm",
                "pipeline": "image-classification",
                "parameters": {"F32": 23_700_000, "I64": 53},
                "base_model": ["timm/resnet50.a1_in1k"],
                "created": "2025-05-06T07:08:09Z",
                "card_data": {key: CARD[key] for key in ("license", "datasets", "base_model")},
            },
            location=Location("hub", "team/flowers"),
        )
    ]


def test_what_is_missing_or_odd_is_no_obstacle(hub_server: HubServer, source: HubSource) -> None:
    tags = ["license:mit", "dataset:digits", "base_model:a/b", "base_model:finetune:a/b"]
    hub_server.commit("team/vit.x", {}, card={"model-index": "none"}, info={"tags": tags})
    hub_server.commit("no-owner", {})
    hub_server.commit("team/auto", {}, info={"config": {"architectures": ["ViTModel"]}})
    told = "only zoo loads this, for it is truncated at layer2"
    hub_server.commit("team/short", {}, info={"config": {"architecture": told}})
    short, auto, vit = source.entries()
    assert short.architecture == "short", "a reason is no name"
    assert (auto.backbone, auto.architecture, auto.license) == ("unknown", "ViTModel", None)
    assert (vit.architecture, vit.license, vit.datasets) == ("vit", "mit", ("digits",))
    assert vit.facts is not None
    assert vit.facts["base_model"] == ["a/b"]


def test_queries_and_pages_newest_first(hub_server: HubServer, source: HubSource) -> None:
    hub_server.page = 2
    for number in range(5):
        hub_server.commit(f"team/net{number}", {}, info={"library_name": "timm"})
    hub_server.commit("other/net", {}, info={"library_name": "timm"})
    hub_server.commit("team/words", {}, info={"library_name": "transformers"})
    expected = [f"team/net{number}" for number in (4, 3, 2, 1, 0)]
    assert names(source, library="timm", author="team") == expected
    assert len(hub_server.requests("/api/models")) == 3
    first, *_ = source.pages(library="timm", author="team")
    assert first.cursor is not None
    assert names(source, cursor=first.cursor) == expected[2:]


def test_private_repositories_need_a_token_which_goes_to_the_hub_alone(
    hub_server: HubServer, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub_server.page = 1
    hub_server.commit("team/open", {})
    hub_server.commit("team/secret", {}, info={"private": True})
    hub_server.members.add(SECRET)
    assert names(source) == ["team/open"]
    monkeypatch.setenv("HF_TOKEN", SECRET)
    assert names(source) == ["team/secret", "team/open"]
    with HubServer() as thief:
        link = {"Link": f'<{thief.url}/api/models?limit=9&expand=sha>; rel="next"'}
        hub_server.fail_next(Raw(b"[]", headers=link))
        assert names(source) == ["team/secret", "team/open"]
        assert thief.log == []


def test_a_cursor_that_has_expired_begins_anew(hub_server: HubServer, source: HubSource) -> None:
    hub_server.commit("team/net", {})
    assert names(source, cursor="cursor=old&limit=5&expand=sha") == ["team/net"]


def test_it_waits_as_long_as_the_hub_asks(
    hub_server: HubServer, source: HubSource, pauses: list[float]
) -> None:
    hub_server.commit("team/net", {})
    hub_server.fail_next(
        Cut(10),
        Status(429, {"RateLimit": '"api";r=0;t=290'}),
        Status(503, {"Retry-After": "3"}),
        Status(500),
    )
    assert names(source) == ["team/net"]
    assert pauses == [0.5, 290, 3, 4]
    hub_server.fail_next(Status(429, {"Retry-After": "3600"}))
    with pytest.raises(Unavailable, match="to wait 3600 s"):
        names(source)


@pytest.mark.parametrize("body", [b"<html>log in</html>", b'{"error": 1}', b'[{"sha": "x"}]'])
def test_an_answer_that_is_no_listing(
    hub_server: HubServer, source: HubSource, body: bytes
) -> None:
    hub_server.fail_next(Raw(body))
    with pytest.raises(Unavailable, match="not that of a model hub"):
        names(source)


def test_offline_asks_nothing(
    hub_server: HubServer, source: HubSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Unavailable, match="HF_HUB_OFFLINE"):
        names(source)
    assert hub_server.log == []
