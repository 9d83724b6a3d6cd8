"""Refs: branches, tags and commits of a repository."""

from __future__ import annotations

from msgspec.json import encode

from zoo.domain.plain import Json
from zoo.serve.http.answer import JSON, Answer, json_answer
from zoo.serve.hub.ask import Ask, iso_time
from zoo.serve.keep.history import Commit, Version

__all__ = ["list_commits", "list_refs"]

PAGE = 50


def list_refs(ask: Ask) -> Answer:
    """The branches, and the tags: names that are protected."""
    versions = ask.hub.history.versions(ask.repo)
    if not versions and not ask.hub.exists(ask.repo):
        raise ask.no_repo()

    def ref(version: Version, kind: str) -> Json:
        commit = ask.hub.history.commits(version, ask.patience)[0]
        name = version.name
        return {"name": name, "ref": f"refs/{kind}/{name}", "targetCommit": commit.id}

    refs = {
        "branches": [ref(each, "heads") for each in versions if not each.fixed],
        "converts": [],
        "tags": [ref(each, "tags") for each in versions if each.fixed],
    }
    return json_answer(refs | ({"pullRequests": []} if ask.call.flag("include_prs") else {}))


def list_commits(ask: Ask, revision: str) -> Answer:
    """The commits that lead to a revision, newest first, a page of them."""
    commits = () if ask.is_empty(revision) else ask.commits(revision)
    page = ask.call.query.get("p", "0")
    begin = PAGE * (int(page) if page.isdecimal() and len(page) < 9 else 0)
    formatted = "formatted" in ask.call.query.getlist("expand[]")
    more = begin + PAGE < len(commits)
    return Answer(
        headers={**JSON, **(ask.next_page(p=begin // PAGE + 1) if more else {})},
        body=encode([_commit(each, formatted=formatted) for each in commits[begin:][:PAGE]]),
    )


def _commit(commit: Commit, *, formatted: bool) -> Json:
    texts = {"title": commit.title, "message": commit.message}
    return {
        "id": commit.id,
        **texts,
        "date": iso_time(commit.at),
        "authors": [{"user": commit.author}],
        **({"formatted": texts} if formatted else {}),
    }
