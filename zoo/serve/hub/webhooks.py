"""Webhooks: changes of repositories, sent as the model hub sends them.

What changed is read off the audit log, row by row, so that nothing is lost where the server or the
receiver stands still; a receiver may be told of the same twice. What is sent is version 3 of
https://huggingface.co/docs/hub/webhooks, which `huggingface_hub.WebhooksServer` reads.
"""

from __future__ import annotations

import hmac
import logging
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Event

import msgspec

from zoo.domain.reference import DEFAULT_TAG
from zoo.errors import InvalidReference, Unavailable, ZooError
from zoo.serve.hub.ask import Hub
from zoo.serve.keep.history import MAIN
from zoo.serve.watch.outgoing import post
from zoo.serve.who.audit import Row
from zoo.serve.who.may import ANYBODY, Actor, may
from zoo.serve.who.webhooks import Webhook

__all__ = ["Deliveries", "signature"]

LOG = logging.getLogger("zoo.serve")
LOOK_SECONDS = 2.0
ROWS = 100
"""So many rows of the audit log are looked at in one go."""
LONGEST_PAUSE = 3600.0
FIRST_PAUSE = 10.0
THREADS = 16
"""So many namespaces are told at once, each by one thread: who is slow keeps their own waiting."""
TURN_SECONDS = 30.0
"""After so long it is the turn of another namespace."""
REPOS = {"repository made": "create", "repository deleted": "delete", "repository moved": "move"}
CONTENT = ("name made", "name moved", "name deleted", "name restored")


def signature(secret: str, at: int, body: bytes) -> str:
    """What proves a body without the secret, and when it was sent, in seconds since 1970."""
    digest = hmac.digest(secret.encode(), b"%d." % at + body, "sha256").hex()
    return f"t={at},sha256={digest}"


class Deliveries:
    """Tells the webhooks of a zoo, until ``ended``; ``url`` is where clients reach the server."""

    def __init__(self, hub: Hub, url: str, ended: Event) -> None:
        self._hub, self._url, self._ended = hub, url, ended
        self._next: dict[tuple[str, str, int], float] = {}
        self._told: dict[str, float] = {}
        self._busy: dict[str, Future[None]] = {}
        self._threads = ThreadPoolExecutor(THREADS, "webhooks")

    def work(self) -> None:
        """Tell all of them, again and again."""
        with self._threads:
            while not self._ended.wait(LOOK_SECONDS):
                try:
                    if self._hub.accounts.locks.leads():
                        self.look()
                except ZooError as error:
                    LOG.warning("webhooks are not told: %s", error)
                except Exception:
                    LOG.exception("webhooks are not told")

    def look(self) -> list[Future[None]]:
        """Begin to tell each of them of what is new, unless it has failed just now; what is under
        way for the namespaces.
        """
        self._busy = {name: turn for name, turn in self._busy.items() if not turn.done()}
        due: dict[str, list[Webhook]] = {}
        for hook in self._hub.accounts.webhooks.all():
            # By address and failures: one that was changed or enabled is not waited for.
            pause = self._next.get((hook.id, hook.url, hook.failures), 0.0)
            if not (hook.ended or hook.disabled) and time.monotonic() >= pause:
                # Those for all are the admins' own.
                due.setdefault(hook.path.partition("/")[0] or f"/{hook.id}", []).append(hook)
        for name, hooks in due.items():
            if name not in self._busy:
                self._busy[name] = self._threads.submit(self._turn, hooks)
        return [*self._busy.values()]

    def _turn(self, hooks: list[Webhook]) -> None:
        """Tell those of one namespace, each of a row in turn; first who has waited longest."""
        ends = time.monotonic() + TURN_SECONDS
        waits = sorted(hooks, key=lambda each: self._told.get(each.id, 0.0))
        left = deque((hook, self._tell(hook)) for hook in waits)
        while left and time.monotonic() < ends and not self._ended.is_set():
            hook, rows = left.popleft()
            self._told[hook.id] = time.monotonic()
            try:
                if next(rows, None):
                    left.append((hook, rows))
            except Exception:  # the others are told all the same
                LOG.exception("webhook %s is not told", hook.id)
                self._next[hook.id, hook.url, hook.failures] = time.monotonic() + LONGEST_PAUSE

    def _tell(self, hook: Webhook) -> Iterator[Row]:
        """Tell one of them of a row, each time that it is asked for the next."""
        hooks, after, failures = self._hub.accounts.webhooks, hook.after, hook.failures
        rows = self._hub.accounts.audit.rows(name=hook.path, after=after, limit=ROWS)
        for row in rows:
            if row.result == "done" and (row.action in REPOS or row.action in CONTENT):
                status = self._sent(hook, row)
                if not status.startswith("2"):
                    hooks.note(hook, row.number, after=after, status=status, failures=failures + 1)
                    self._wait(hook, status, failures + 1)
                    return
                hooks.note(hook, row.number, after=row.number, status=status, failures=0)
                hook, failures = replace(hook, failures=0), 0
                if row.action == "repository moved" and row.name == hook.path:
                    hooks.follow(hook, row.other)
                    return  # what it is called now is looked up the next time
                yield row
            after = row.number
        if rows:
            hooks.skip(hook, after)

    def _wait(self, hook: Webhook, status: str, failures: int) -> None:
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1))
        self._next[hook.id, hook.url, failures] = time.monotonic() + pause
        LOG.warning("webhook %s: %s; %s failures", hook.id, status, failures)

    def _sent(self, hook: Webhook, row: Row) -> str:
        """Send one row; the status of the answer, or why there is none."""
        try:
            body = msgspec.json.encode(self._payload(hook, row))
            secret = self._hub.seals.secret(f"webhook {hook.id}")
            headers = {
                "Content-Type": "application/json",
                "X-Webhook-Secret": secret,
                "X-Zoo-Signature": signature(secret, int(time.time()), body),
            }
            return str(post(hook.url, body, headers, private=hook.private))
        except Unavailable as error:
            return str(error)

    def _payload(self, hook: Webhook, row: Row) -> dict[str, object]:
        repo, _, tag = row.name.partition(":")
        content = row.action in CONTENT
        event = {"action": "update" if content else REPOS[row.action]}
        event["scope"] = "repo.content" if content else "repo"
        payload: dict[str, object] = {
            "event": event,
            "repo": self._repo(repo),
            "webhook": {"id": hook.id, "version": 3},
        }
        if row.action == "repository moved" and self._may_read(hook, new := row.other):
            payload["movedTo"] = {"name": new, "owner": {"id": new.partition("/")[0]}}
        if content:
            payload["updatedRefs"] = [*self._refs(repo, tag or DEFAULT_TAG, row)]
        return payload

    def _may_read(self, hook: Webhook, repo: str) -> bool:
        """Whether the namespace that a webhook is of may read a repository."""
        if not (namespace := hook.path.partition("/")[0]):
            return True  # an admin has made it
        accounts = self._hub.accounts
        actor = accounts.actor(namespace) or Actor(name=namespace)
        return may(actor, "read", accounts.rules().access(repo))

    def _repo(self, repo: str) -> dict[str, object]:
        private = not may(ANYBODY, "read", self._hub.accounts.rules().access(repo))
        fields: dict[str, object] = {
            "type": "model",
            "name": repo,
            "id": repo,
            "private": private,
            "owner": {"id": repo.partition("/")[0]},
            "url": {"web": f"{self._url}/{repo}", "api": f"{self._url}/api/models/{repo}"},
        }
        if head := self._head(repo, MAIN):
            fields["headSha"] = fields["head_sha"] = head
        return fields

    def _refs(self, repo: str, tag: str, row: Row) -> Iterator[dict[str, str | None]]:
        name = MAIN if tag == DEFAULT_TAG else tag
        version = self._hub.history.version(repo, name)
        kind = "tags" if version and version.fixed else "heads"
        new = None if row.action == "name deleted" else self._head(repo, name)
        yield {"ref": f"refs/{kind}/{name}", "oldSha": None, "newSha": new}

    def _head(self, repo: str, name: str) -> str | None:
        """The newest commit of a branch; None if there is none, or it is not described yet."""
        with suppress(ZooError, InvalidReference):
            if version := self._hub.history.version(repo, name):
                return self._hub.history.commits(version, LOOK_SECONDS)[0].id
        return None
