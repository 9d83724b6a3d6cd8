"""Ask: a request with what is known of who asks, and what answers rest on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from urllib.parse import urlencode

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import Manifest
from zoo.domain.reference import Reference
from zoo.domain.words import up_to
from zoo.errors import InvalidReference
from zoo.serve.http.call import Call
from zoo.serve.http.errors import Refused
from zoo.serve.hub.blobs import Blobs
from zoo.serve.hub.reach import Reach
from zoo.serve.keep.adopter import Adopter
from zoo.serve.keep.alone import alone_in
from zoo.serve.keep.deprecations import Deprecations
from zoo.serve.keep.distances import DistanceWorker
from zoo.serve.keep.files import Files
from zoo.serve.keep.history import ID, MAIN, Commit, History
from zoo.serve.keep.reported import ReportedRuns
from zoo.serve.keep.reserve import Reserve
from zoo.serve.keep.room import UsageCounter
from zoo.serve.keep.sharers import Sharers
from zoo.serve.keep.tryouts import Tryouts
from zoo.serve.keep.view import View
from zoo.serve.keep.views import Views
from zoo.serve.sso.issuer import Issuers
from zoo.serve.watch.health import Health
from zoo.serve.watch.metrics import Metrics
from zoo.serve.watch.waiting import Waiting
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.alone import LinkHolder
from zoo.serve.who.may import ACTIONS, PURPOSES, Access, Action, Actor, as_seen, kind_of_move, may
from zoo.serve.who.rules import Rules
from zoo.serve.who.seals import Seals, seals_of
from zoo.store.cached import CachedBackend
from zoo.workspace import Workspace

__all__ = ["Ask", "Hub", "iso_time", "repo_of"]

SOON, LATER = 8.0, 300.0
"""Seconds that a client may have to wait: for an answer to HEAD it waits ten."""


@dataclass(slots=True)
class Hub:
    """What a server knows: a zoo, its accounts, and its names as clients of the hub see them.

    Attributes:
        alone: Who has the link to it, where it is somebody's own, on their own machine.
        public_url: The URL that others reach it by, where requests come through another program.
        under_way: Requests that are being answered.
        tryouts: What tries images, where that is on.
        issuers: Who vouches for people and jobs.
    """

    workspace: Workspace
    accounts: Accounts
    public_url: str = ""
    alone: LinkHolder | None = None
    under_way: int = 0
    metrics: Metrics = field(default_factory=Metrics)
    tryouts: Tryouts | None = None
    issuers: Issuers = field(default_factory=Issuers)
    health: Health = field(init=False)
    views: Views = field(init=False)
    adopter: Adopter = field(init=False)
    history: History = field(init=False)
    files: Files = field(init=False)
    blobs: Blobs = field(init=False)
    room: UsageCounter = field(init=False)
    seals: Seals = field(init=False)
    reach: Reach = field(init=False)
    distances: DistanceWorker = field(init=False)
    sharers: Sharers = field(init=False)
    deprecations: Deprecations = field(init=False)
    reported: ReportedRuns = field(init=False)
    waiting: Waiting = field(init=False)
    reserve: Reserve = field(init=False)

    def __post_init__(self) -> None:
        """Make the rest of the zoo's store."""
        store = self.workspace.store
        self.views = Views(store)
        self.history, self.files = History(store, self.views), Files(store)
        self.adopter = Adopter(self.workspace, partial(self.tell, "name moved"))
        self.blobs, self.seals = Blobs(store, self.history), seals_of(store)
        self.reach = Reach(store, self.accounts.reach_table)
        self.distances, self.sharers = DistanceWorker(self.workspace), Sharers(self.workspace)
        self.deprecations = Deprecations(store)
        self.room, self.reported = UsageCounter(store), ReportedRuns(store.disk)
        self.waiting, self.health = Waiting(store), Health(store, self.accounts.audit.head)
        self.reserve = Reserve(self.workspace.root)
        self.accounts.watch(self.look_again)

    def changing(self) -> AbstractContextManager[None]:
        """What is held while a name moves, or a repository is made, moved or deleted: else what
        goes on in one that was deleted meanwhile would make it again.
        """
        return self.taking_turns("refs")

    @contextmanager
    def taking_turns(self, folder: str) -> Iterator[None]:
        """Wait until nobody else, of all that serve this zoo, is in here with the same folder; what
        is told of the store in here is as it is now.
        """
        with alone_in(self.workspace.store.disk, folder), self.accounts.locks.alone(folder):
            self.look_again()
            yield

    def look_again(self) -> None:
        """Tell nothing more of a shared store that was seen before."""
        if isinstance(backend := self.workspace.store.backend, CachedBackend):
            backend.look_again()

    def exists(self, repo: str) -> bool:
        """Whether there is a repository: a name with a version, or one that was made over HTTP and
        of which none was deleted since, on the command line.
        """
        if self.history.versions(repo):
            return True
        created = self.accounts.repos.made(repo)
        return created is not None and created >= self.history.emptied(repo)

    def tell(self, action: str, ref: Reference, entry: RefEntry) -> None:
        """Tell the audit log that a name was moved, made, protected or deleted."""
        at = f"entry {entry.number}: {entry.why}, {entry.manifest}"
        self.accounts.audit.note(action, str(ref), at)

    def stop(self) -> None:
        """Begin nothing more beside answering."""
        self.adopter.close()
        self.views.close()
        self.distances.close()
        if self.tryouts:
            self.tryouts.close()

    def close(self) -> None:
        """Let go of all."""
        self.stop()
        self.accounts.close()
        self.workspace.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A request: with ``repo``, if it is about one, ``actor`` may do what the route is for. If that
    is only to read it, it need not be there.
    """

    hub: Hub
    call: Call
    actor: Actor
    rules: Rules
    repo: str = ""

    @property
    def patience(self) -> float:
        """Seconds that an answer may take."""
        return SOON if self.call.method == "HEAD" else LATER

    @property
    def access(self) -> Access:
        """Who may do what with the repository."""
        return self.rules.access(self.repo)

    def may(self, action: Action, repo: str) -> bool:
        """Whether who asks may do something with a repository."""
        return may(self.actor, action, self.rules.access(repo))

    def knowing_all(self) -> Ask:
        """The same with what was said of all repositories, and not of this one alone."""
        return replace(self, rules=self.hub.accounts.rules())

    def require(self, action: Action, repo: str = "") -> None:
        """See that who asks may do something with the repository, or with another one.

        Raises:
            Refused: They may not; who may not read it does not learn whether it is there.
        """
        repo = repo or self.repo
        if not repo or not self.may("read", repo):
            raise self.no_repo()
        if action == "read":
            return
        if not self.hub.exists(repo):
            raise self.no_repo()
        self.check_may(action, repo)

    def check_may(self, action: Action, repo: str) -> None:
        """See that who asks may do something with a repository, whether it is there or not.

        Raises:
            Refused: They may not.
        """
        if not self.may(action, repo):
            raise self._forbidden(action, repo)

    def _forbidden(self, action: Action, path: str) -> Refused:
        actor, access, needs = self.actor, self.rules.access(path), ACTIONS[action]
        if not actor.name:
            return Refused("NoToken")
        if as_seen(actor, access) != actor:
            return Refused("Forbidden", f"this token is not for {path}")
        less = PURPOSES.index(actor.purpose) < PURPOSES.index(needs.purpose)
        token = f"this token is to {actor.purpose} only; that needs one to {needs.purpose}"
        if may(replace(actor, purpose="write"), action, access):
            return Refused("Forbidden", token)
        given = f"zoo serve role {path} {actor.name} {needs.role}"
        text = f"that needs the role of {needs.role} in {path}, which an admin can give: {given}"
        return Refused("Forbidden", f"{text}; and {token}" if less else text)

    def check_move(self, ref: Reference, now: RefEntry | None, *, onward: bool) -> None:
        """See that who asks may move or delete a name whose newest entry is ``now``; ``onward`` if
        it goes to what was made from what it has.

        Raises:
            Refused: They may not.
        """
        # Of what they may not read nobody learns whether it is there, or protected.
        there = now is not None and not now.deleted and self.may("read", ref.path)
        fixed = bool(now and now.protected) or self.hub.accounts.is_protected(ref)
        action = kind_of_move(there=there, onward=onward, protected=fixed)
        if not self.may(action, ref.path):
            refused = self._forbidden(action, ref.path)
            text = f"{ref} is protected: {refused}" if action == "protect" else str(refused)
            raise Refused(refused.code, text)

    def check_unlimited(self) -> None:
        """See that the token of who asks is for all that its account may.

        Raises:
            Refused: It is not.
        """
        if not self.actor.unlimited:
            text = "that takes a token to write, which is not for some names only"
            raise Refused("Forbidden", text)

    def check_there(self) -> None:
        """See that the repository was neither deleted nor moved since the request came.

        Raises:
            Refused: It was.
        """
        if not self.hub.exists(self.repo):
            raise Refused("Conflict", f"{self.repo} was deleted or moved meanwhile: look again")

    def no_repo(self) -> Refused:
        """That there is no such repository, or that it may not be read: nobody learns which."""
        text = "there is no such repository, or you may not read it"
        if self.actor.name:
            return Refused("RepoNotFound", text)
        return Refused("RepoNotFound", f"{text}: a token may help (HF_TOKEN)", status=401)

    def commit(self, revision: str, repo: str = "") -> Commit:
        """What a revision of the repository, or of another one, is.

        Raises:
            Refused: There is no such repository, or no such revision of it.
        """
        history, repo = self.hub.history, repo or self.repo
        if commit := history.commit(repo, revision, self.patience):
            return commit
        names = [version.name for version in history.versions(repo)]
        if not names and not self.hub.exists(repo):
            raise self.no_repo()
        there = up_to(names, 10) or "none yet"
        raise Refused("RevisionNotFound", f"{repo} has no revision '{revision}'; it has {there}")

    def pointed(self, revision: str, repo: str = "") -> Digest:
        """What a revision of the repository, or of another one, points at. Of a branch or a tag no
        id of a commit is needed, which takes the files of all before it: the first time some
        seconds, as their networks are built for that. Raises as `commit`.
        """
        repo = repo or self.repo
        version = None if ID.fullmatch(revision) else self.hub.history.version(repo, revision)
        return version.entry.manifest if version else self.commit(revision, repo).manifest

    def view(self, commit: Commit) -> View:
        """The files of a commit."""
        return self.hub.history.view(commit, self.patience)

    def is_empty(self, revision: str) -> bool:
        """Whether the repository is there, and nothing was committed to its main branch yet."""
        empty = revision == MAIN and not self.hub.history.versions(self.repo)
        return empty and self.hub.exists(self.repo)

    def commits(self, revision: str) -> tuple[Commit, ...]:
        """The commits that lead to a revision, newest first. Raises as `commit`."""
        wanted, history = self.commit(revision), self.hub.history
        for version in history.likely(self.repo, revision):
            line = history.commits(version, self.patience)
            if wanted in line:
                return line[line.index(wanted) :]
        return (wanted,)

    def manifest(self, digest: Digest) -> Manifest:
        """What a checkpoint, or that of a snapshot, says of itself.

        Raises:
            Refused: It was deleted since.
            NoCheckpoint: It is a snapshot that has none.
        """
        self.check_here(digest)
        return self.hub.files.manifest(digest)

    def check_here(self, digest: Digest) -> None:
        """See that a checkpoint or a snapshot was not deleted. Raises `Refused` if it was."""
        # Asked each time: what is in memory may have been deleted.
        if not self.hub.workspace.store.has_manifest(digest):
            raise Refused("EntryNotFound", f"checkpoint {digest.short} was deleted here")

    def next_page(self, **changed: object) -> Mapping[str, str]:
        """The header that leads to the next page of this list."""
        query = [each for each in self.call.query.multi_items() if each[0] not in changed]
        url = f"{self.call.base}{self.call.path}?{urlencode([*query, *changed.items()])}"
        return {"Link": f'<{url}>; rel="next"'}


def repo_of(fields: Mapping[str, str]) -> str:
    """The repository that the fields of a path name; empty if nothing can be called so."""
    try:
        return Reference(fields["namespace"], fields["name"]).path
    except InvalidReference:
        return ""


def iso_time(time: datetime) -> str:
    """A time as clients of the hub read it."""
    return time.strftime("%Y-%m-%dT%H:%M:%S.000Z")
