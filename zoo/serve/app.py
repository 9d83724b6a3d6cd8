"""App: the ASGI application. It finds the route of a request, sees that it may be asked, and sends
what is answered.
"""

from __future__ import annotations

import logging
import time
from asyncio import get_running_loop
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TypeAlias, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.datastructures import Headers
from starlette.types import Receive, Scope, Send

from zoo import config
from zoo.errors import Conflict, Corrupt, DiskFull, MissingObject, Unavailable, ZooError
from zoo.serve.http.answer import ZERO_COPY, Answer, send_answer
from zoo.serve.http.call import Call, arriving, client_of, read_body, read_head, trace_of
from zoo.serve.http.cookie import read_cookie
from zoo.serve.http.errors import Refused
from zoo.serve.http.guard import SAFE, Address, check_origin
from zoo.serve.http.meter import Meter
from zoo.serve.http.router import Route, Router
from zoo.serve.http.slots import Slots
from zoo.serve.hub.ask import Ask, Hub, repo_of
from zoo.serve.hub.reach import sees_all
from zoo.serve.hub.sealed import seal_of
from zoo.serve.keep.views import NotYet
from zoo.serve.pages.page import Site, asks_for_page
from zoo.serve.pages.problem import problem_page
from zoo.serve.table import ROUTES
from zoo.serve.watch.logs import without_secrets
from zoo.serve.who.audit import Origin, asked_by, asked_from
from zoo.serve.who.devices import network_of
from zoo.serve.who.may import ACTIONS, ANYBODY, Action, Actor, governs, may
from zoo.serve.who.rules import Rules
from zoo.serve.who.tokens import read_secret
from zoo.store.folder import FolderBackend

__all__ = ["App"]

LOG = logging.getLogger("zoo.serve")
T = TypeVar("T")
HubRoute: TypeAlias = Route[Hub]
NO_RULES = Rules({}, ())
THREADS = 40
"""So many requests are answered at once, and so many files taken in."""
SHARE = 10
"""So many of these files come from one token."""
BAD_TOKEN = "Invalid credentials in Authorization header"  # noqa: S105
"""Clients take a 401 without these very words for a repository that is not there."""
BY_LINK = (
    "these are the pages of somebody's own zoo: zoo ui prints the link to them, anew each time"
)

TRIED = ("InvalidToken", "InvalidSeal", "Forbidden", "TooMany")
TRIED_TO_CHANGE = ("NoToken", "RepoNotFound")
"""Refusals that the audit log is told of; the latter where something was to be changed."""


class App:
    """Answers requests about a zoo."""

    def __init__(self, hub: Hub, address: Address) -> None:
        self.hub, self.address = hub, address
        self.router: Router[Hub] = Router(ROUTES)
        # Apart, so that slow uploads keep nobody else waiting.
        self._answering, self._arriving = CapacityLimiter(THREADS), CapacityLimiter(THREADS)
        self._looking = CapacityLimiter(THREADS)
        self._sending, self._telling = Slots(THREADS, SHARE), Slots(THREADS, SHARE)
        self._waiting = Slots(THREADS, SHARE)
        # On the event loop nothing waits for a database or a bucket across a network.
        in_folder = isinstance(hub.workspace.store.backend, FolderBackend)
        self._near = in_folder and hub.accounts.is_near

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        assert scope["type"] == "http", scope["type"]
        self.hub.under_way += 1
        try:
            await self._answer_one(scope, receive, send)
        finally:
            self.hub.under_way -= 1

    async def _answer_one(self, scope: Scope, receive: Receive, send: Send) -> None:
        began, headers = time.monotonic(), Headers(scope=scope)
        meter, zero_copy = Meter(receive, send), ZERO_COPY in scope.get("extensions", {})
        trace, client = trace_of(headers), client_of(scope)
        with asked_from(client, trace) as origin:
            route, answer = await self._answer(scope, meter.receive, headers, origin)
        whole = replace(answer, headers={**SAFE, **answer.headers, "X-Request-Id": trace})
        is_head = scope["method"] == "HEAD"
        try:
            await send_answer(whole, meter.send, head=is_head, zero_copy=zero_copy)
        finally:
            seconds = time.monotonic() - began
            _log(scope, route, whole, origin, meter, seconds)
            sizes = meter.received, meter.sent
            self.hub.metrics.answered(route, whole.status, seconds, *sizes)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: Headers, origin: Origin
    ) -> tuple[str, Answer]:
        """The row of the table that a request is for, and the answer."""
        call: Call | None = None
        route: HubRoute | None = None
        try:
            base, prefix = self.address.base(headers), self.address.prefix
            call = read_head(scope, base=base, prefix=prefix, id=origin.request)
            if headers.get("transfer-encoding", "chunked").lower() != "chunked":
                raise Refused("BadRequest", "a body is sent as it is, or in chunks")
            route, fields = self.router.find(call)
            if route.slow:
                async with self._waiting.taken(self.hub.seals.token(seal_of(call))):
                    looking = self._looking
                    answer = await run_sync(self.answer, call, route, fields, limiter=looking)
            elif known := self._known(call, route, fields):
                answer = known
            elif route.method == "GET":
                limiter = self._answering
                answer = await run_sync(self.answer, call, route, fields, limiter=limiter)
            else:
                answer = await self._answer_sent(call, route, fields, receive)
        except Refused as refused:
            answer = refused.answer()
        if answer.code and call and (route is None or route.page) and asks_for_page(call, answer):
            answer = problem_page(Site.of(call, origin.who, self.hub.alone), answer)
        return f"{route.method} {route.path}" if route else "-", answer

    async def _answer_sent(
        self, call: Call, route: HubRoute, fields: Mapping[str, str], receive: Receive
    ) -> Answer:
        """The answer to a request with a body, of which nothing is taken from who may not ask."""
        asked = await run_sync(self._admitted, call, route, fields, limiter=self._answering)
        if isinstance(asked, Answer):
            return asked
        if route.streams:
            call = replace(call, pieces=arriving(receive, get_running_loop(), route.within))
            async with self._sending.taken(asked.actor.id or self.hub.seals.token(seal_of(call))):
                done = replace(asked, call=call), route, fields
                with self.hub.metrics.uploads.track_inprogress():
                    return await run_sync(self._handled, *done, limiter=self._arriving)
        if route.scope != "open":  # no handler of those looks at it
            async with self._telling.taken(asked.actor.id or network_of(call.address)):
                call = replace(call, body=await read_body(call.headers, receive))
        done = replace(asked, call=call), route, fields
        return await run_sync(self._handled, *done, limiter=self._answering)

    def _known(self, call: Call, route: HubRoute, fields: Mapping[str, str]) -> Answer | None:
        """What is answered out of memory, on the event loop: threads that take turns with it, for
        as little as that, take more than twice the time of the processor (ADR 71).
        """
        if route.known is None or not self._near:
            return None
        try:
            ask = self._asked(route, call, fields, blocking=False)
            return route.known(ask, **_own(route, fields))
        except Exception:  # noqa: BLE001 - a thread tries it again, and tells
            return None

    def answer(self, call: Call, route: HubRoute, fields: Mapping[str, str]) -> Answer:
        """What is answered; whatever fails is told, too."""
        asked = self._admitted(call, route, fields)
        return asked if isinstance(asked, Answer) else self._handled(asked, route, fields)

    def _admitted(self, call: Call, route: HubRoute, fields: Mapping[str, str]) -> Ask | Answer:
        return self._tried(call, route, fields, lambda: self._asked(route, call, fields))

    def _handled(self, asked: Ask, route: HubRoute, fields: Mapping[str, str]) -> Answer:
        def handle() -> Answer:
            with config.acting_as(asked.actor.name):
                if route.method == "DELETE":
                    return self.hub.reserve.spend(lambda: route.handler(asked, **own))
                return route.handler(asked, **own)

        own = _own(route, fields)

        return self._tried(asked.call, route, fields, handle)

    def _tried(
        self, call: Call, route: HubRoute, fields: Mapping[str, str], what: Callable[[], T]
    ) -> T | Answer:
        """What something gives, or the answer that says why it fails."""
        try:
            try:
                return what()
            except Refused as refused:
                lacks = refused.code == "RepoNotFound" and _action(route)
                if lacks and (there := self._new_name(call, route, repo_of(fields))):
                    return there
                raise
        except Refused as refused:
            self._note(refused, call, route, fields)
            return refused.answer()
        except (Conflict, Unavailable) as error:  # a prune is under way, or somebody was faster
            again = {} if isinstance(error, NotYet) else {"Retry-After": "2"}
            return _failure("Busy", error, call, again)
        except (Corrupt, MissingObject) as error:
            return _failure("Damaged", error, call)
        except DiskFull as error:
            return _failure("DiskFull", error, call)
        except ZooError as error:
            return _failure("Failed", error, call)
        except Exception:
            LOG.exception("request %s failed", call.id)
            return Refused("Failed").answer()

    def _note(
        self, refused: Refused, call: Call, route: HubRoute, fields: Mapping[str, str]
    ) -> None:
        """Tell the audit log of a token that is none, and of what somebody may not change."""
        changes = call.method not in ("GET", "HEAD")
        if refused.code in TRIED or (changes and refused.code in TRIED_TO_CHANGE):
            name = repo_of(fields) if _action(route) else ""
            asked = f"{call.method} {route.path}: {refused.message}"
            self.hub.accounts.audit.refuse(refused.code, name, asked)

    def _asked(
        self, route: HubRoute, call: Call, fields: Mapping[str, str], *, blocking: bool = True
    ) -> Ask:
        """The request with who asks.

        Raises:
            BlockingIOError: Not ``blocking``, and that is not known out of memory.
            Refused: Whoever asks may not; nobody learns what is there and what is not.
        """
        if route.scope == "open":
            return Ask(hub=self.hub, call=call, actor=ANYBODY, rules=NO_RULES)
        if route.page and route.method != "GET":
            check_origin(call.headers, call.base)
        repo = repo_of(fields) if _action(route) else ""
        actor, rules = self._identify(route, call, repo, blocking=blocking)
        if actor is None:
            secret = read_secret(_token(call) or "")
            asked_by("", secret.id if secret else "")
            raise Refused("InvalidToken", BAD_TOKEN)
        asked_by(actor.name, actor.id)
        if route.scope in ("account", "admin") and not actor.name:
            raise Refused("NoToken")
        owns = self.hub.alone and route.alone
        governing = governs if route.page and not owns else sees_all
        if route.scope == "admin" and not governing(actor):
            raise Refused("Forbidden", "that is for admins, with a token for everything")
        ask = Ask(hub=self.hub, call=call, actor=actor, rules=rules, repo=repo)
        if action := _action(route):
            ask.require(action)
        return ask

    def _identify(
        self, route: HubRoute, call: Call, repo: str = "", *, blocking: bool = True
    ) -> tuple[Actor | None, Rules]:
        """Who asks, as `Accounts.authenticate` tells. A session counts for pages and for reading a
        repository; nothing else is done for a browser that a stranger's page may have sent.
        """
        accounts, alone, sent = self.hub.accounts, self.hub.alone, _token(call)
        counts = route.page or (route.method == "GET" and route.scope == "read")
        session = read_cookie(call) if counts and sent is None else ""
        if not blocking and (alone or session):
            raise BlockingIOError
        if alone and not alone.knows(session):
            raise Refused("NoToken", BY_LINK)
        if alone:
            return alone.actor, accounts.rules()
        if session:
            actor, rules = accounts.holder(accounts.sessions.token(session), repo)
            return actor or ANYBODY, rules
        return accounts.authenticate(sent, repo, blocking=blocking)

    def _new_name(self, call: Call, route: HubRoute, repo: str) -> Answer | None:
        """Where to go instead, if a repository has another name now, and both may be read."""
        accounts = self.hub.accounts
        new = accounts.repos.moved(repo) if repo else None
        match = route.pattern.fullmatch(call.path)
        if not new or not match:
            return None
        actor, rules = self._identify(route, call)
        if not actor or not all(may(actor, "read", rules.access(path)) for path in (repo, new)):
            return None
        # Without the host, as for files.
        path = f"{call.path[: match.start('namespace')]}{new}{call.path[match.end('name') :]}"
        query = f"?{call.query}" if call.query else ""
        return Answer(status=307, headers={"Location": f"{self.address.prefix}{path}{query}"})


def _token(call: Call) -> str | None:
    """The token that was sent; empty if something else was, None if nothing."""
    header = call.headers.get("authorization")
    if header is None:
        return None
    kind, _, text = header.partition(" ")
    return text.strip() if kind.lower() == "bearer" else ""


def _action(route: HubRoute) -> Action | None:
    """What a route does with the repository in its path; None if there is none."""
    return next((action for action in ACTIONS if action == route.scope), None)


def _own(route: HubRoute, fields: Mapping[str, str]) -> dict[str, str]:
    """The fields that a handler takes: the repository is in the request."""
    if _action(route):
        return {name: text for name, text in fields.items() if name not in ("namespace", "name")}
    return dict(fields)


def _failure(
    code: str, error: ZooError, call: Call, headers: Mapping[str, str] | None = None
) -> Answer:
    """What a client is told of a failure; the log has the rest, such as paths of this machine."""
    LOG.warning("request %s: %s", call.id, error)
    return Refused(code, headers=headers).answer()


def _log(
    scope: Scope, route: str, answer: Answer, origin: Origin, meter: Meter, seconds: float
) -> None:
    path = without_secrets(scope["raw_path"].decode("ascii", "replace"))
    what, ms = f"{answer.status} {answer.code}".strip(), round(1000 * seconds)
    fields = {
        "request": origin.request,
        "address": origin.address,
        "account": origin.who,
        "token": origin.token,
        "method": scope["method"],
        "path": path,
        "route": route,
        "status": answer.status,
        "code": answer.code,
        "ms": ms,
        "received": meter.received,
        "sent": meter.sent,
    }
    line = origin.address or "-", scope["method"], path, what, ms, origin.request
    LOG.info("%s %s %s %s %s ms %s", *line, extra={"fields": fields})
