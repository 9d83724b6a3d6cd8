"""Versions: what moved a name and why, and each version beside the one before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest
from fakes.checkpoints import add_checkpoint, tensors
from fakes.paged import page, text_of
from fakes.served import CONFIG, Served, serving, with_files

import zoo
from zoo.domain.reference import Reference
from zoo.errors import UnknownName
from zoo.workspace import Workspace

NET = Reference.parse("team/net")
TAG = Reference.parse("team/net:v3")


@pytest.fixture(scope="module")
def moved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """``team/net`` that was moved twice, and ``team/net:v3``; ann may read them."""
    root = tmp_path_factory.mktemp("moved") / "zoo"
    with closing(Workspace.create(root)) as workspace:
        for number in range(3):
            first = add_checkpoint(workspace, f"team/n{number}", tensors(number))
            made = replace(
                with_files(workspace, first, config_json=CONFIG),
                provenance={"note": f"made at rate {number}"},
                metrics={"accuracy": 0.5 + number / 10},
                license="mit" if number else None,
            )
            digest = workspace.keep(made)
            workspace.move(NET, digest, "tag", note=f"reason {number}")
        workspace.move(TAG, digest, "tag")
    with serving(root) as served:
        served.accounts.set_level("team", level="private")
        served.token("ann")
        served.accounts.grant("team", "ann", "reader")
        yield served


def commits(served: Served) -> list[dict[str, Any]]:
    """Newest first."""
    found: list[dict[str, Any]] = served.ask(
        "/team/net/versions.json", token=served.token("ann")
    ).json["commits"]
    return found


def test_each_is_compared_with_the_one_before(moved: Served) -> None:
    ann = moved.token("ann")
    _, tree = page(moved, "/team/net/versions", ann)
    links = tree.xpath("//ol//a[text()='compare with the one before']/@href")
    assert len(links) == 2
    got, tree = page(moved, links[1], ann)
    assert got.status == 200
    said = text_of(tree)
    assert "accuracy 0.5000 (not measured here) 0.6000 (not measured here)" in said
    assert "license \N{EN DASH} mit" in said
    one, two = commits(moved)[:0:-1]
    assert tree.xpath("//table[1]/thead//a/text()")[:2] == [one["checkpoint"], two["checkpoint"]]
    told = tree.xpath("//table[1]/thead//*[@class='note']/text()")
    assert told == [f"team/net, commit {each['id'][:10]}" for each in (one, two)]
    for link in tree.xpath("//table[1]/thead//a/@href")[:2]:
        assert moved.ask(link, token=ann).status == 200


def test_a_commit_is_named_by_the_beginning_of_its_id(moved: Served) -> None:
    ann, ids = moved.token("ann"), [each["id"] for each in commits(moved)]
    names = f"names=team/net:{ids[2][:8]}&names=team/net:{ids[1][:8]}"
    sides = moved.ask(f"/compare.json?{names}", token=ann).json["sides"]
    assert [side["where"]["tag"] for side in sides] == [ids[2], ids[1]]
    missing = "0000" if not any(each.startswith("0000") for each in ids) else "1111"
    got = moved.ask(f"/compare.json?names=team/net&names=team/net:{missing}", token=ann)
    assert got.code == "RevisionNotFound"
    refused = moved.ask(f"/compare.json?{names}", token=moved.token("ben"))
    nothing = moved.ask(f"/compare.json?{names.replace('net', 'no')}", token=moved.token("ben"))
    assert (refused.code, refused.body) == ("RepoNotFound", nothing.body)


def test_an_earlier_version_is_called_the_same_in_commands(moved: Served) -> None:
    """What the pages call it, commands take; and who may not read it does not learn of it."""
    ann, first = moved.token("ann"), commits(moved)[2]
    _, tree = page(moved, "/team/net/versions", ann)
    assert f"checkpoint {first['checkpoint']} ·" in text_of(tree, "//ol/li[3]")
    with zoo.open(moved.root) as z:
        assert z.diff(first["checkpoint"], "team/net").identical_share < 1
        with pytest.raises(UnknownName) as caught:
            z.show(f"team/net:{first['id'][:10]}")
    assert "an earlier version is the digest alone: zoo log team/net" in caught.value.advice
    names = f"names=team/net&names={first['checkpoint']}"
    _, tree = page(moved, f"/compare?{names}", ann)
    assert tree.xpath("//table[1]/thead//a/text()") == ["team/net", first["checkpoint"]]
    assert tree.xpath("//input[@name='names']/@value")[1] == first["checkpoint"]
    refused = moved.ask(f"/compare.json?{names[15:]}", token=moved.token("ben"))
    nothing = moved.ask("/compare.json?names=0123456789ab", token=moved.token("ben"))
    assert (refused.code, refused.body) == ("EntryNotFound", nothing.body)


def test_why_it_moved_and_what_was_noted_of_it(moved: Served) -> None:
    _, tree = page(moved, "/team/net/versions", moved.token("ann"))
    newest = text_of(tree, "//ol/li[1]")
    assert "Why: reason 2 Note of the checkpoint: made at rate 2" in newest
    (first,) = tree.xpath("//ol/li[1]//time")
    assert first.text == first.get("datetime").replace("T", " ")[:16]
    kinds = [text_of(row, "./td[1]") for row in tree.xpath("//table[1]/tbody/tr")]
    assert kinds == ["branch", "tag"]
