"""People: accounts and teams, as far as who asks may read their namespaces."""

from __future__ import annotations

from zoo.domain.plain import Json
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask, iso_time
from zoo.serve.hub.listing import entries_of, having_files, readable

__all__ = ["members", "organization", "repositories", "user"]


def user(ask: Ask, user: str) -> Answer:
    """An account, and the teams that it is in."""
    _check_there(ask, user, team=False)
    teams = [each.name for each in ask.hub.accounts.all() if each.team]
    of = [team for team in teams if user in _members(ask, team)]
    counts = {"numModels": _models(ask, user), "numDatasets": 0, "numSpaces": 0}
    return json_answer(_user(user) | counts | {"orgs": [{"name": team} for team in of]})


def organization(ask: Ask, organization: str) -> Answer:
    """A team."""
    _check_there(ask, organization, team=True)
    return json_answer(
        {
            "name": organization,
            "fullname": organization,
            "type": "org",
            "avatarUrl": "",
            "numUsers": len(_members(ask, organization)),
            "numModels": _models(ask, organization),
            "numDatasets": 0,
            "numSpaces": 0,
        }
    )


def members(ask: Ask, organization: str) -> Answer:
    """Who is in a team."""
    _check_there(ask, organization, team=True)
    return json_answer([_user(name) for name in _members(ask, organization)])


def repositories(ask: Ask, organization: str = "") -> Answer:
    """The repositories of a team, or of who asks, with the room that they take."""
    if organization:
        _check_there(ask, organization, team=True)
    own = having_files(ask, organization or ask.actor.name)
    rows = [*entries_of(own, lambda each: (each, each.storage))]
    total = sum(size for _, size in rows)
    return json_answer(
        [
            {
                "id": info.repo,
                "type": "model",
                "updatedAt": iso_time(info.modified),
                "visibility": ask.rules.access(info.repo).level,
                "storage": size,
                "storagePercent": 100 * size / total if total else 0,
            }
            for info, size in rows
        ]
    )


def _check_there(ask: Ask, name: str, *, team: bool) -> None:
    """See that there is such an account, or team, and that who asks may know."""
    there = any((each.name, each.team) == (name, team) for each in ask.hub.accounts.all())
    if not there or not ask.may("read", name):
        raise Refused("NotFound", f"there is no {'team' if team else 'account'} '{name}'")


def _user(name: str) -> Json:
    return {"user": name, "fullname": name, "type": "user", "isPro": False, "avatarUrl": ""}


def _members(ask: Ask, team: str) -> list[str]:
    """Who is in a team, by name; nobody if who asks may not know of it."""
    return sorted(ask.rules.access(team).roles) if ask.may("read", team) else []


def _models(ask: Ask, namespace: str) -> int:
    paths = ask.hub.accounts.repos.all()
    own = [path for path in paths if path.startswith(f"{namespace}/") and ask.may("read", path)]
    return len({*readable(ask, namespace), *filter(ask.hub.exists, own)})
