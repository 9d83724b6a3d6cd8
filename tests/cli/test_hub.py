"""The hub as typed: index, search, show, push and pull, against a hub of our own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer
from fakes.prepared import NET

BASE, TUNED = "timm/tf_efficientnet_lite0.in1k", "team/digits"
SECRET = "hf_secretsecretsecret"
INFO = {"library_name": "timm", "pipeline_tag": "image-classification", "downloads": 1234,
        "safetensors": {"parameters": {"F32": 470_000}, "total": 470_000}}  # fmt: skip

# The client itself uses what its HTTP library would rather see gone.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    yield from own_hub(monkeypatch, tmp_path)


def test_index_search_and_show(run: Any, hub: HubServer) -> None:
    hub.commit("lab/\x1bnet", {}, info=INFO)
    hub.commit("lab/net", {}, card={"license": "mit", "base_model": BASE}, info=INFO)
    hub.commit("lab/words", {}, info={"library_name": "transformers"})
    done = run("index", "hub", "--library", "timm", "--author", "lab")
    assert (done.code, done.out) == (0, "hub: 1 checkpoints\n")
    assert done.err == "1 that cannot be read are skipped: lab/?net\n"
    assert run("index", "hub", "--limit", 2, "--json").json == {
        "source": "hub", "entries": 2, "came": 2, "skipped": ["lab/\x1bnet"],
    }  # fmt: skip
    found = run("search", "source:hub metric.downloads>1000", "license:mit", "--json").json
    assert [row["name"] for row in found] == ["lab/net"]
    assert found[0]["params"] == 470_000
    shown = run("show", "lab/net", "--all").out
    for line in ("metrics.downloads:", "facts.library:", "facts.parameters.F32:", BASE):
        assert line in shown


def test_options_that_a_source_does_not_take(run: Any, hub: HubServer) -> None:
    done = run("index", "timm", "--author", "lab")
    assert (done.code, "listed whole" in done.err) == (1, True)
    assert run("push", TUNED, "--to", "there", "--private").code == 1
    assert hub.log == []


def test_results(run: Any, tmp_path: Path) -> None:
    table = tmp_path / "results-imagenet-real.csv"
    table.write_text("model,top1,top5\nconvnext_tiny.in12k_ft_in1k,84.4,97.3\n")
    assert run("index", "timm", "--results", table).code == 0
    done = run("search", "metric.imagenet_real_top1>84", "--sort", "-metric.imagenet_real_top5")
    assert done.out.split("\n")[1].split()[0] == "timm/convnext_tiny.in12k_ft_in1k"
    assert "97.3" in done.out


def test_push_and_pull(run: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.members.add(SECRET)
    refused = run("push", TUNED, "--to", "hf://lab/digits")
    assert (refused.code, "hf auth login" in refused.err) == (1, True)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    done = run("push", TUNED, "--to", "hf://lab/digits", "--private", "--json")
    commit = hub.repos["lab/digits"].refs["main"]
    assert (done.code, done.err) == (0, "")
    assert (done.json["location"], done.json["revision"]) == ("hf://lab/digits", commit)
    card = hub.repos["lab/digits"].commits[commit]["README.md"].decode()
    assert "- timm/tf_efficientnet_lite0.in1k" in card.split("---")[1]
    hub.commit("lab/digits", {"model.safetensors": b"theirs"})
    refused = run("push", TUNED, "--to", "hf://lab/digits")
    assert (refused.code, "push --force" in refused.err) == (1, True)
    done = run("pull", "team/again", "--from", f"hf://lab/digits@{commit}")
    assert (done.code, done.err) == (0, "")
    assert commit in done.out
    mine, theirs = (run("show", name, "--json").json for name in (TUNED, "team/again"))
    for key in ("preprocessing", "classes"):
        assert mine[key] == theirs[key]
    digest = {file["sha256"] for file in mine["weights"]}
    assert digest == {file["sha256"] for file in theirs["weights"]}


@pytest.mark.parametrize(
    ("how", "why"),
    [
        pytest.param(
            ("--truncate", "layer2"), "it is truncated at layer2.0", marks=pytest.mark.long
        ),
        (("--head", "cosine"), "its head is of the kind 'cosine'"),
    ],
    ids=["truncated", "head"],
)
def test_what_only_zoo_builds_goes_there_and_back(
    small: Any, hub: HubServer, monkeypatch: pytest.MonkeyPatch, digits: Path, how: Any, why: str
) -> None:
    hub.members.add(SECRET)
    monkeypatch.setenv("HF_TOKEN", SECRET)
    run = small
    run("adapt", NET, "team/short", *how, "--classes", "10").done()
    done = run("push", "team/short", "--to", "hf://lab/short")
    assert done.code == 0
    assert f"timm does not load it, for {why}; zoo does: " in done.err
    assert run("pull", "team/back", "--from", "hf://lab/short").code == 0
    image = next((digits / "7").iterdir())
    logits = [run("predict", name, image, "--json").json[0]["logits"]
              for name in ("team/short", "team/back")]  # fmt: skip
    assert logits[0] == logits[1]
