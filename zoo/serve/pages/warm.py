"""Warm: some pages are looked at before anybody does, so that nobody has to wait for what is made
once in a process: plugins that are found, statements of the index, what of it is not in memory.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from starlette.datastructures import Headers, QueryParams

from zoo.errors import ZooError
from zoo.serve.http.call import Call
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask, Hub
from zoo.serve.keep.history import MAIN
from zoo.serve.pages.home import look_home
from zoo.serve.pages.model import look_model
from zoo.serve.pages.page import show, site_of
from zoo.serve.who.may import Actor

__all__ = ["warm"]

EVERYBODY = Actor(name="-", admin=True), Actor(name="-")
"""Who sees all, and who sees what most do: the index is asked for these in other words. Nobody is
called so.
"""


def warm(hub: Hub, base: str) -> None:
    """Look at the first page as a server at ``base`` shows it, and at that of what is first on it
    of which all is known: for another one, a process with torch would be started. What cannot be
    read, whoever asks for it is told.
    """
    call = Call(
        method="GET", path="/", query=QueryParams(), headers=Headers(), base=base, id="warm"
    )
    for actor in EVERYBODY:
        ask = Ask(hub=hub, call=call, actor=actor, rules=hub.accounts.rules())
        with suppress(ZooError, OSError, Refused):
            home = look_home(ask)
            show(site_of(ask), "home.html", home)
            here = (row for row in home.rows if row.repo and not row.tag)
            asks = (replace(ask, repo=row.repo) for row in here)
            known = (each for each in asks if hub.views.knows(each.pointed(MAIN)))
            if first := next(known, None):
                show(site_of(first), "model.html", look_model(first))
