"""The page of a model: what it is, what may be seen of others, and texts that are hostile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from fakes.browser import browsing, watched
from fakes.checkpoints import add_checkpoint, tensors
from fakes.paged import HTML, NASTY, canaries, page, text_of
from fakes.prepared import copy_zoo
from fakes.sampled import every
from fakes.served import CONFIG, Served, serving, with_files
from lxml import html
from playwright.sync_api import Dialog

import zoo
from zoo.domain.calibration import WORTH
from zoo.domain.manifest import Backbone, Parent
from zoo.domain.reference import Reference
from zoo.lookup.calibrated import calibration_of
from zoo.serve.pages import model
from zoo.serve.pages.markdown import markdown
from zoo.serve.who.alone import LinkHolder
from zoo.workspace import Workspace

CARD = "\n\n".join(f"# {text}\n\n* {text}\n\n`{text}`\n\n[{text}]({text})" for text in NASTY)


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``team/nasty``, in which each text that can be would do harm, and ``team/many`` with many
    classes.
    """
    root = tmp_path_factory.mktemp("hostile") / "zoo"
    with closing(Workspace.create(root)) as workspace:
        first = add_checkpoint(workspace, "team/base", license="cc-by-nc-4.0")
        base = with_files(workspace, first, config_json=CONFIG, README_md=CARD.encode())
        said = dict.fromkeys(("note", "author", "warning", "dataset"), NASTY[0])
        nasty = replace(
            base,
            classes=NASTY,
            license=NASTY[2],
            provenance=said,
            metrics={NASTY[1]: 0.5, f"{NASTY[1]}_low": 0.4, f"{NASTY[1]}_high": 0.6},
            recipe={"task": NASTY[3], "data": NASTY[4]},
            parents=(Parent(manifest=first, relation=NASTY[5], ref=NASTY[0]),),
        )
        workspace.commit(nasty, Reference.parse("team/nasty"), NASTY[1])
        many = replace(base, classes=tuple(f"class {n}" for n in range(1200)), files=())
        workspace.commit(many, Reference.parse("team/many"), "import")
    with serving(root) as served:
        served.accounts.set_level("team", level="public")
        yield served


def test_it_says_what_a_fine_tune_is(tuned: Served) -> None:
    got, tree = page(tuned, "/team/tuned", tuned.token("ann"))
    with zoo.open(tuned.root) as opened:
        manifest = opened.workspace.store.manifest(opened.workspace.names.resolve("team/tuned")[1])
    assert (got.status, tree.xpath("string(//h1)")) == (200, "team/tuned")
    said = text_of(tree)
    value, low, high = (manifest.metrics[f"accuracy{end}"] for end in ("", "_low", "_high"))
    shown = f"{value:.4f}"
    assert f"accuracy {shown} {low:.3f} to {high:.3f}" in said
    drawn = tree.xpath("//svg[@class='interval']/@aria-label")
    assert drawn[0] == f"accuracy {shown}, {low:.3f} to {high:.3f}"
    assert [*manifest.classes] == [each.text_content() for each in tree.xpath("//ol/li")]
    assert "5 frozen, 2 trained" in said
    assert "two units trained" in said
    assert "Measured here on data, test" in said
    assert tree.xpath("//section[.//h2[@id='license']]//a/@href") == ["/team/base"]
    assert tree.xpath("//section[.//h2[@id='shared']]//a/@href") == [
        "/team/base", "/team/tuned?revision=v1"
    ]  # fmt: skip
    (drawn,) = tree.xpath("//svg[@class='crop']/title/text()")
    side = int(32 / manifest.preprocessing.crop_pct)
    assert f"shorter side is {side} (bilinear), the middle 32 x 32" in drawn
    assert len(got.body) < 100_000


def test_it_leads_to_the_run_that_made_it_and_says_whether_that_kept_images(tuned: Served) -> None:
    admin, told = tuned.token("admin"), "keep-examples"
    with zoo.open(tuned.root) as opened:
        runs = {run.result["manifest"]: run.id for run in opened.runs()}
        made = [
            runs[opened.show(name).to_json()["manifest"]]
            for name in ("team/tuned", "team/tuned:v1")
        ]
    for path, run, kept in (("", made[0], True), ("?revision=v1", made[1], False)):
        _, tree = page(tuned, f"/team/tuned{path}", admin)
        (line,) = tree.xpath("//p[a[text()='The run that made it']]")
        assert line.xpath("./a/@href") == [f"/-/runs/{run}"]
        assert ("with images" in text_of(line, "."), told in text_of(line, ".")) == (kept, not kept)
        _, tree = page(tuned, f"/-/runs/{run}", admin)
        worst = tree.xpath("//table[contains(caption, 'worst pairs')]")
        assert (told in text_of(tree)) == (bool(worst) and not kept)
    _, tree = page(tuned, "/team/tuned?revision=v1", tuned.token("ann"))
    assert tree.xpath("//a[text()='The run that made it']")
    assert told not in text_of(tree), "whether it kept some is not for everybody"


@pytest.mark.parametrize("place", ["", "/layers", "/files", "/versions"])
def test_each_page_leads_to_its_twin(tuned: Served, place: str) -> None:
    _, tree = page(tuned, f"/team/tuned{place}?revision=v1")
    (link,) = tree.xpath("//footer//a/@href")
    assert tuned.ask(link).json["chosen"]["revision"] == "v1"


def test_its_twin_says_the_same(tuned: Served) -> None:
    found = tuned.ask("/team/tuned/index.json?revision=v1", token=tuned.token("ann")).json
    with zoo.open(tuned.root) as opened:
        shown = opened.show("team/tuned:v1").to_json()
    one = found["checkpoint"]
    assert found["chosen"]["checkpoint"] == shown["manifest"]
    assert (one["params"], one["bytes"]) == (shown["params"], shown["bytes"])
    assert one["classes"] == shown["classes"]
    figures = {each["name"]: each["value"] for each in one["figures"]}
    assert figures["accuracy"] == shown["metrics"]["accuracy"]
    assert one["figures"][0]["low"] == shown["metrics"]["accuracy_low"]


def test_who_may_not_read_the_parent_sees_a_digest(tuned: Served) -> None:
    for token in (None, tuned.token("ben")):
        _, tree = page(tuned, "/team/tuned", token)
        license_ = text_of(tree, "//section[.//h2[@id='license']]")
        assert "a checkpoint that you may not see" in license_
        assert not tree.xpath("//section[.//h2[@id='license']]//a")
        found = tuned.ask("/team/tuned/index.json", token=token).json
        card = found.pop("card")  # a file of the checkpoint, which is read with it
        assert card
        assert "team/base" not in json.dumps(found)
        (above,) = found["checkpoint"]["licensed"]["above"]
        assert (above["license"], above["other"]["path"]) == (None, "")
        shared = [each["other"]["name"] for each in found["checkpoint"]["shares"]]
        assert shared == ["team/tuned:v1"], "the checkpoint itself may be read, the parent not"


def test_a_parent_that_another_name_shows_is_seen(tuned: Served) -> None:
    with zoo.open(tuned.root) as opened:
        opened.tag("team/base", "shown/base")
    tuned.accounts.set_level("shown/base", level="public")
    found = tuned.ask("/team/tuned/index.json").json["checkpoint"]["licensed"]["above"][0]["other"]
    tuned.accounts.set_level("shown/base", level="private")
    assert (found["name"], found["path"]) == ("shown/base", "/shown/base")
    found = tuned.ask("/team/tuned/index.json").json["checkpoint"]["licensed"]["above"][0]["other"]
    assert (found["name"], found["path"]) == ("a checkpoint that you may not see", "")


def test_texts_of_others_are_texts(hostile: Served) -> None:
    got, tree = page(hostile, "/team/nasty")
    assert got.status == 200
    assert canaries(tree) == []
    said = text_of(tree)
    for text in NASTY[:6]:
        assert " ".join(text.split()) in said, text
    assert "49" not in tree.xpath("//h1")[0].text_content()
    assert "{{ 7 * 7 }}" in said
    for link in tree.xpath("//section[@class='readme']//a"):
        assert {*link.get("rel").split()} == {"nofollow", "noopener"}


def test_terms_follow_lineage(hostile: Served) -> None:
    _, tree = page(hostile, "/team/nasty")
    said = text_of(tree, "//section[.//h2[@id='license']]")
    assert "non-commercial cc-by-nc-4.0, of team/base" in said
    assert "which it derives from, is non-commercial" in said


@pytest.mark.parametrize(
    ("license_", "base", "said"),
    [
        ("mit", "Apache-2.0", "commercial use allowed on the terms of these licenses"),
        ("mit", None, "commercial use not known"),
        ("mit", "other", "commercial use not known"),
        ("our-own", "mit", "commercial use not known"),
        ("mit", "cc-by-nc-4.0", "non-commercial cc-by-nc-4.0, of team/base"),
    ],
)
def test_commercial_use_is_allowed_where_all_licenses_are_known_to(
    tmp_path: Path, license_: str, base: str | None, said: str
) -> None:
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        first = add_checkpoint(workspace, "team/base", license=base)
        parent = Parent(manifest=first, relation="finetune", ref="team/base")
        add_checkpoint(workspace, "own/child", license=license_, parents=(parent,))
    with serving(tmp_path / "zoo") as served:
        served.accounts.set_level("own", level="public")
        hidden = text_of(page(served, "/own/child")[1], "//section[.//h2[@id='license']]")
        shown = page(served, "/own/child", served.token("ann"))[1]
    told = text_of(shown, "//section[.//h2[@id='license']]")
    assert said in told
    assert ("commercial use allowed" in told) is ("allowed" in said)
    assert "commercial use not known" in hidden, "of what one may not see, nothing is told"


def test_figures_that_nobody_measured_say_so_and_an_adapter_is_told_of(tmp_path: Path) -> None:
    factors = {f"layer1.0.conv.lora_{key}": np.zeros((2, 2), np.float32) for key in "AB"}
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        said = {"metrics": "stated on import, not measured"}
        add_checkpoint(
            workspace,
            "own/net",
            {**tensors(), **factors},
            metrics={"accuracy": 0.9},
            provenance=said,
            backbone=Backbone(plugin="toy", architecture="toynet", options={"lora": 2}),
        )
    with serving(tmp_path / "zoo") as served:
        served.accounts.set_level("own", level="public")
        told = text_of(page(served, "/own/net")[1])
    assert "LoRA of rank 2 on 1 layer" in told
    assert "Figures stated on import, not measured" in told
    assert "On the test images" not in told


def test_many_classes_are_folded_and_have_an_end(hostile: Served) -> None:
    got, tree = page(hostile, "/team/many")
    assert len(tree.xpath("//ol[not(ancestor::details)]/li")) == 12
    assert len(tree.xpath("//details//ol/li")) == 988
    assert "1,188 more" in text_of(tree)
    assert "and 200 more" in text_of(tree)
    assert len(got.body) < 100_000


def test_a_card_can_do_nothing() -> None:
    text = """---
license: mit
---
# One
![a cat](https://evil.example/cat.png) ![own](docs/cat.png "t")
[out](https://fine.example/x?a=b&c=d) [script](javascript:alert(1)) [odd](JaVaScript:alert(1))
[data](data:text/html;base64,PHN2Zz4=) [up](../../../api/x) [root](/api/whoami-v2)
[above](%2e%2e/%2E./x)
[file](docs/a%20b.md#x) [back\\slash](\\\\evil.example) [two](//evil.example/x) <b onclick=x>b</b>

| a | b |
| :- | -: |
| 1 | <script>x</script> |

~~gone~~ <https://fine.example> <javascript:alert(1)>
"""
    tree = html.fromstring(f"<div>{markdown(text, '/team/net/blob/main')}</div>")
    assert canaries(tree) == ["https://evil.example/cat.png"], "it is a link, nothing is fetched"
    links = {each.text_content(): each.get("href") for each in tree.xpath("//a")}
    assert links == {
        "image: a cat": "https://evil.example/cat.png",
        "image: own": "/team/net/blob/main/docs/cat.png",
        "out": "https://fine.example/x?a=b&c=d",
        "up": "#", "above": "#", "root": "#", "two": "#",
        "back\\slash": "/team/net/blob/main/%5Cevil.example",
        "file": "/team/net/blob/main/docs/a%20b.md",
        "https://fine.example": "https://fine.example",
    }  # fmt: skip
    assert tree.xpath("//h3/text()") == ["One"]
    assert "license" not in tree.text_content()
    assert "<b onclick=x>b</b>" in tree.text_content()
    assert {each.get("rel") for each in tree.xpath("//a")} == {"nofollow noopener"}


@pytest.mark.parametrize(
    "piece",
    every(
        4,
        [
            "[",
            "![](",
            "*a_",
            "`",
            "> ",
            "- ",
            "<a",
            "|a\n|-\n",
            "[a]: ",
            "\n",
            "\t",
            "a---\n",
            "---\n\n",
        ],
        beside=pytest.mark.long,
    ),
)
def test_a_card_takes_no_time(piece: str) -> None:
    began = time.process_time()
    markdown(piece * (1_000_000 // len(piece)))
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    "changed",
    [{"crop_pct": 0.0}, {"crop_pct": 1e-320}, {"crop_pct": -1.0}, {"input_size": (3, 0, 0)}],
)
def test_an_input_that_cannot_be_is_told(tmp_path: Path, changed: dict[str, Any]) -> None:
    """Anybody may have written it."""
    with closing(Workspace.create(tmp_path / "zoo")) as workspace:
        first = workspace.store.manifest(add_checkpoint(workspace, "team/base"))
        how = replace(first.preprocessing, **changed)
        workspace.commit(replace(first, preprocessing=how), Reference.parse("team/odd"), "import")
    with serving(tmp_path / "zoo") as served:
        got = served.ask("/team/odd", token=served.token("ann"), accept="text/html")
    assert (got.status, "It cannot be used as it is" in got.body.decode()) == (200, True)


def test_what_is_empty_or_not_there_is_told(hostile: Served) -> None:
    token = hostile.token("eve", "write")
    made = json.dumps({"name": "new"}).encode()
    assert hostile.ask("/api/repos/create", "POST", token=token, body=made).status == 200
    for place in ("", "/layers", "/files", "/versions"):
        got, tree = page(hostile, f"/eve/new{place}", token)
        assert got.status == 200
        assert "Nothing was sent yet" in text_of(tree)
        assert f"zoo push eve/new --to {hostile.url}" in text_of(tree)
    for path in ("/team/none", "/team/none/layers", "/team/none/files", "/eve/new/files.json"):
        assert hostile.ask(path).code == "RepoNotFound"
    assert hostile.ask("/team/nasty?revision=no").code == "RevisionNotFound"
    assert hostile.ask("/api/anything").code == "NotFound"


def test_a_name_that_is_to_be_used_no_more_says_so(tuned: Served) -> None:
    with zoo.open(tuned.root) as opened:
        ref = Reference.parse("team/tuned:v1")
        opened.workspace.deprecate(ref, f"use main {NASTY[0]}")
        shown = [page(tuned, f"/team/tuned{path}")[1] for path in ("?revision=v1", "/versions", "")]
        listed = page(tuned, "/?q=tuned")[1]
        opened.workspace.deprecate(ref, "")
    assert f"To be used no more: use main {NASTY[0]}" in text_of(shown[0])
    assert f"to be used no more use main {NASTY[0]}" in text_of(shown[1])
    assert "used no more" not in text_of(shown[2])
    assert [canaries(tree) for tree in (*shown, listed)] == [[], [], [], []]
    (marked,) = [text_of(row, ".") for row in listed.xpath("//tbody/tr/th[.//*[@class='tag bad']]")]
    assert marked.startswith(f"team/tuned:v1 to be used no more use main {NASTY[0]}")


def test_files_alone_have_a_page(hostile: Served) -> None:
    token = hostile.token("eve", "write")
    made = json.dumps({"name": "files"}).encode()
    hostile.ask("/api/repos/create", "POST", token=token, body=made)
    assert hostile.commit("eve/files", "# Words <script>alert(1)</script>", token).status == 200
    got, tree = page(hostile, "/eve/files", token)
    assert (got.status, canaries(tree)) == (200, [])
    assert "Words <script>alert(1)</script>" in text_of(tree, "//section[@class='readme']")
    assert "files only" in text_of(tree)
    assert "Layers are those of a checkpoint" in text_of(
        page(hostile, "/eve/files/layers", token)[1]
    )
    assert f"{hostile.url}/eve/files/resolve/main/README.md" in text_of(tree)


def test_behind_a_path_all_links_have_it(tuned_home: Path, tmp_path: Path) -> None:
    root = copy_zoo(tuned_home, tmp_path / "zoo")
    with serving(root, "https://lab.example/zoo") as served:
        served.accounts.set_level("team", level="public")
        for place in ("", "/layers", "/files", "/versions"):
            got = served.ask(f"/zoo/team/tuned{place}", Host="lab.example", Accept=HTML)
            assert got.status == 200
            tree = html.fromstring(got.body.decode())
            links = [*tree.xpath("//@href | //@src | //form/@action")]
            assert [link for link in links if not link.startswith(("/zoo/", "#"))] == []
            assert place or "https://lab.example/zoo/team/tuned/resolve/main/" in text_of(tree)
        got = served.ask("/zoo/team/tuned/tree/main", Host="lab.example")
        assert got.headers["location"] == "/zoo/team/tuned/files?revision=main"


@pytest.mark.parametrize(
    ("path", "leads"),
    [
        ("tree/main", "files?revision=main"),
        ("tree/dev%2Fa/docs", "files?revision=dev%2Fa&path=docs"),
        ("blob/main/a%20b.html", "files?revision=main&path=a+b.html"),
        ("commits/v1", "versions?revision=v1"),
    ],
)
def test_addresses_of_the_hub_lead_somewhere(tuned: Served, path: str, leads: str) -> None:
    got = tuned.ask(f"/team/tuned/{path}")
    assert (got.status, got.headers["location"]) == (307, f"/team/tuned/{leads}")
    assert tuned.ask(f"/team/base/{path}").code == "RepoNotFound"


def test_a_name_with_a_tag_leads_to_that_version(tuned: Served) -> None:
    for tag, leads in (("v1", "?revision=v1"), ("latest", "")):
        got = tuned.ask(f"/team/tuned:{tag}")
        assert (got.status, got.headers["location"]) == (307, f"/team/tuned{leads}")
        assert tuned.ask(got.headers["location"], Accept=HTML).status == 200
    assert tuned.ask("/team/base:v1").code == "RepoNotFound"


def test_a_commit_leads_to_the_model_as_it_was(tuned: Served) -> None:
    sha = tuned.ask("/api/models/team/tuned/revision/v1").json["sha"]
    got = tuned.ask(f"/team/tuned/commit/{sha}")
    assert got.headers["location"] == f"/team/tuned?revision={sha}"
    _, tree = page(tuned, got.headers["location"])
    with zoo.open(tuned.root) as opened:
        digest = opened.show("team/tuned:v1").to_json()["manifest"]
    assert tree.xpath(f"//code[@title='{digest}']")


def copied(home: Path, found: Sequence[Mapping[str, str]], shows: Mapping[str, str]) -> None:
    """Run lines as somebody does who copies them, and see what the tools print."""
    zoo.init(home / "zoo").close()
    environment = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HF_HOME": str(home / "hf"), "NO_PROXY": "127.0.0.1", "ZOO_HOME": str(home / "zoo"),
    }  # fmt: skip
    environment.pop("HF_TOKEN", None)
    assert [each["tool"] for each in found] == [*shows]
    for each in found:
        done = subprocess.run(
            ["bash", "-ec", each["text"]],
            cwd=home, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (each["tool"], done.stderr)
        assert shows[each["tool"]] in done.stdout, (each["tool"], done.stdout)


@pytest.mark.long
def test_a_library_that_cannot_build_a_network_is_not_offered(
    tuned_home: Path, tmp_path: Path
) -> None:
    root = copy_zoo(tuned_home, tmp_path / "zoo")
    with zoo.open(root) as opened:
        opened.adapt("team/tuned", "team/short", truncate="layer2", classes=3)
    with serving(root) as served:
        token = served.token("ann")
        tools = {}
        for name in ("team/tuned", "team/short"):  # the configuration is made by another process
            assert served.ask(f"/{name}/resolve/main/config.json", token=token).status < 400
            found = served.ask(f"/{name}/index.json", token=token).json
            tools[name] = [each["tool"] for each in found["snippets"]]
            assert found["only_zoo"] == (name == "team/short") * (
                "timm does not load it, for it is truncated at layer2.0"
            )
            lines = {each["tool"]: each["text"] for each in found["snippets"]}
            assert all(map(str.isascii, lines.values())), "a client sends them in a header"
            assert lines["curl"].startswith("export HF_TOKEN=zoo_XXXX\n")
    assert tools["team/tuned"] == ["zoo", "timm", "transformers", "hf", "curl"]
    assert tools["team/short"] == ["zoo", "hf", "curl"]


def test_nor_is_it_in_ones_own_zoo_which_has_lines_for_earlier_versions(
    tuned_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = copy_zoo(tuned_home, tmp_path / "zoo")
    with zoo.open(root) as opened:
        opened.adapt("team/tuned", "team/short", truncate="layer2", classes=3)
        first = opened.show("team/tuned:v1").to_json()["manifest"].partition(":")[2][:12]
    with serving(root) as served:
        sha = served.ask("/api/models/team/tuned/revision/v1", token=served.token("ann"))
        monkeypatch.setattr(served.server.hub, "alone", alone := LinkHolder())
        cookie = f"zoo-{urlsplit(served.url).port}={alone.open(alone.key)}"
        got = served.ask("/team/short", Cookie=cookie, Accept=HTML)  # nothing was made for others
        use = text_of(html.fromstring(got.body.decode()), "//section[@aria-labelledby='use']")
        assert "timm does not load it, for it is truncated at layer2.0; zoo does" in use
        assert "create_model" not in use
        assert "Other programs get it from zoo serve" in use
        path = f"/team/tuned/index.json?revision={sha.json['sha']}"
        found = served.ask(path, Cookie=cookie).json["snippets"]
    assert [each["tool"] for each in found] == ["zoo", "timm"]
    assert f"load('{first}')" in found[0]["text"]
    assert f"zoo export {first} tuned-model" in found[1]["text"]


@pytest.mark.long
def test_the_lines_to_copy_work_as_they_stand(tuned: Served, tmp_path: Path) -> None:
    """In a shell, by somebody without an account."""
    shows = {
        "zoo": "Conv2d(", "timm": "ResNet(", "transformers": "TimmWrapper",
        "hf": "snapshots/", "curl": "",
    }  # fmt: skip
    copied(tmp_path, tuned.ask("/team/tuned/index.json").json["snippets"], shows)
    with zoo.open(tuned.root) as opened:
        (file,) = opened.workspace.store.manifest(
            opened.workspace.names.resolve("team/tuned")[1]
        ).weights
    assert (tmp_path / "model.safetensors").stat().st_size == file.size


@pytest.mark.long
def test_so_do_those_of_ones_own_zoo(
    tuned: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers one browser, and no client."""
    alone = LinkHolder()
    monkeypatch.setattr(tuned.server.hub, "alone", alone)
    cookie = f"zoo-{urlsplit(tuned.url).port}={alone.open(alone.key)}"
    found = tuned.ask("/team/tuned/index.json?revision=v1", Cookie=cookie).json["snippets"]
    copied(tmp_path, found, {"zoo": "Conv2d(", "timm": "ResNet("})
    assert "team/tuned:v1" in found[0]["text"]


PAGES = ("", "/layers", "/files", "/versions")


def _told(wrong: list[str], dialog: Dialog) -> None:
    wrong.append(dialog.message)
    dialog.dismiss()


@pytest.mark.long
def test_forms_are_not_printed(tuned: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    alone = LinkHolder()
    monkeypatch.setattr(tuned.server.hub, "alone", alone)
    with browsing() as browser:
        tab = browser.new_page()
        tab.goto(f"{tuned.url}/-/open?key={alone.key}")
        tab.goto(f"{tuned.url}/team/tuned")
        assert tab.locator("form:visible").count()
        tab.emulate_media(media="print")
        assert not tab.locator("form:visible").count()
        assert tab.get_by_role("heading", name="Use it").is_visible()


@pytest.mark.long
@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_in_a_browser(tuned: Served, hostile: Served, *, scripts: bool) -> None:
    with browsing() as browser:
        for theme, width in (("light", 320), ("dark", 768), ("light", 1920), ("dark", 1280)):
            context = browser.new_context(
                color_scheme=theme,  # type: ignore[arg-type]
                viewport={"width": width, "height": 900},
                java_script_enabled=scripts,
            )
            shown = context.new_page()
            wrong = watched(shown, "http://127.0.0.1")
            shown.on("dialog", partial(_told, wrong))
            for served, name in ((tuned, "team/tuned"), (hostile, "team/nasty")):
                for place in PAGES:
                    shown.goto(f"{served.url}/{name}{place}")
                    if scripts:
                        wide = shown.evaluate("document.documentElement.scrollWidth")
                        assert wide <= width, (name, place, width)
            shown.goto(f"{tuned.url}/team/tuned/layers")
            first = shown.locator("details").first
            first.locator("summary").press("Enter")
            assert first.locator("table").is_visible(), "with the keyboard, and without scripts"
            assert wrong == []
            context.close()


def test_a_row_of_trust_is_there_once() -> None:
    """Cards that were made before have some twice; what else a card has twice is its own."""
    row = "| 0.562 | 1.000 | 0.9500, at least 0.784 |\n"
    card = f"{row}{row}\n## Trust\n\n{row}{row}| 0.9 | 1 | 1 |\n\n## Outputs\n\n{row}{row}"
    shown = model.TRUST.sub(model._each_once, card)
    assert shown == card.replace(f"## Trust\n\n{row}{row}", f"## Trust\n\n{row}")


def test_how_far_it_can_be_trusted_is_drawn(tuned: Served) -> None:
    with closing(Workspace(tuned.root)) as workspace:
        _, digest = workspace.names.resolve("team/tuned")
        kept = calibration_of(workspace.store, workspace.store.manifest(digest))
    assert kept
    _, shown = page(tuned, "/team/tuned")
    (section,) = shown.xpath("//section[@aria-labelledby='trust']")
    assert str(kept) in text_of(section, ".")
    rows = [[cell.text for cell in row.xpath("td")] for row in section.xpath(".//tbody/tr")]
    steps = dict.fromkeys(filter(None, map(kept.step_for, WORTH)))
    assert [row[0] for row in rows] == [f"{step.confidence:.3f}" for step in steps]
    assert [row[3] for row in rows] == [f"{step.low:.3f}" for step in steps]
    (chart,) = section.xpath(".//*[local-name()='svg']")
    assert "ideal measured" in text_of(chart, ".")
