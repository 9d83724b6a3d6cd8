"""What a stranger sees does not depend on what is private.

Two zoos get the same requests of a stranger, and the same that is public. In one of them others
work in private beside that. After each step the stranger asks all sorts of things, and has to be
answered the same by both.
"""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64encode
from pathlib import Path
from tempfile import mkdtemp

import pytest
from blake3 import blake3
from fakes.checkpoints import add_checkpoint, tensors
from fakes.served import CONFIG, with_files
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)
from starlette.datastructures import Headers, QueryParams

from zoo.domain.digest import Digest
from zoo.domain.history import RefEntry
from zoo.domain.manifest import WeightsFile
from zoo.domain.reference import Reference
from zoo.serve.app import App
from zoo.serve.http.answer import Answer
from zoo.serve.http.call import Call
from zoo.serve.http.guard import Address
from zoo.serve.hub.ask import Hub
from zoo.serve.who.accounts import Accounts
from zoo.serve.who.may import LEVELS, ROLES
from zoo.store.listing import name_of
from zoo.store.signatures import folder_of
from zoo.workspace import Workspace

STRANGER, INSIDER = "eve", "ann"
OWN = ("eve/a", "eve/b")
OPEN = ("team/net", "shown/net")
PRIVATE = ("secret/a", "secret/b", "team/hidden", "lab/x")
"""``secret`` is a namespace that is private, ``lab`` a team; of ``team``, one name is."""
ANYWHERE = (*OWN, *OPEN, *PRIVATE)
TEAMS = ("lab", "secret")
RESTS = ("", "/refs", "/auth-check/write", "/revision/v1")
LOOKS = (
    "/api/models", "/api/models?search=h&full=1", "/api/whoami-v2",
    *(f"/api/users/{who}/overview" for who in ("ann", "ben", "secret")),
    *(f"/api/models?author={name}" for name in ("team", "lab", "secret")),
    *(f"/api/organizations/{team}/{what}" for team in TEAMS for what in ("overview", "members")),
    *(f"/api/models/{repo}{rest}" for repo in ANYWHERE for rest in RESTS),
)  # fmt: skip


class World:
    """A zoo, and what it answers."""

    def __init__(self, template: Path) -> None:
        self.root = Path(mkdtemp(dir=template.parent))
        shutil.copytree(template, self.root, dirs_exist_ok=True)
        self.workspace = Workspace(self.root)
        self.workspace.registry  # noqa: B018 - opened by this thread
        self.accounts = Accounts.of(self.workspace)
        self.hub = Hub(self.workspace, self.accounts)
        self.app = App(self.hub, Address("127.0.0.1", 80))
        self.tokens = {
            (who, purpose): str(self.accounts.new_token(who, "x", purpose)[1])
            for who in (STRANGER, INSIDER) for purpose in ("read", "write")
        }  # fmt: skip

    def close(self) -> None:
        """Delete it."""
        self.hub.close()
        shutil.rmtree(self.root)

    def ask(self, method: str, path: str, token: str | None, **said: object) -> Answer:
        """One request."""
        return self.send(method, path, token, json.dumps(said).encode())

    def send(
        self, method: str, path: str, token: str | None, body: bytes, *, first: bool = False
    ) -> Answer:
        """One request with a body."""
        path, _, query = path.partition("?")
        headers = {"authorization": f"Bearer {token}"} if token else {}
        headers |= {"if-none-match": "*"} if first else {}
        call = Call(method=method, path=path, query=QueryParams(query), headers=Headers(headers),
                    body=body, pieces=iter([body]), base="http://zoo", id="x")  # fmt: skip
        return self.app.answer(call, *self.app.router.find(call))

    def put(self, repo: str, digest: Digest) -> None:
        """Give a repository a version, as a program beside the server does."""
        self.workspace.move(Reference.parse(repo), digest, "import")


def plain(answer: Answer) -> tuple[object, ...]:
    assert isinstance(answer.body, bytes)
    return answer.status, dict(answer.headers), answer.body


def named(repo: str) -> dict[str, str]:
    namespace, _, name = repo.partition("/")
    return {"organization": namespace, "name": name}


def commit(text: str) -> bytes:
    """What a client sends to add a file."""
    file = {"content": b64encode(text.encode()).decode(), "path": "x.txt", "encoding": "base64"}
    lines = ({"key": "header", "value": {"summary": text}}, {"key": "file", "value": file})
    return b"\n".join(json.dumps(line).encode() for line in lines)


repos = st.sampled_from(ANYWHERE)
hidden = st.sampled_from(PRIVATE)


class TwoTenants(RuleBasedStateMachine):
    """``busy`` has what is private, ``quiet`` has not."""

    template: Path
    digests: tuple[Digest, ...]
    file: WeightsFile
    keys: tuple[str, ...]
    """Of what private names alone have."""
    open_keys: tuple[str, ...]
    private_entry: bytes
    signed = f"{folder_of(Digest('blake3', 'a' * 64))}team/hidden/{'b' * 64}.json"
    """The signature of an insider that was put there last."""

    @initialize()
    def begin(self) -> None:
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr("zoo.reflog.now", lambda: "2026-01-01T00:00:00Z")
        self.busy, self.quiet = World(self.template), World(self.template)
        self.worlds, self.touched = (self.busy, self.quiet), PRIVATE[0]
        for path in ("secret", "lab", "team/hidden"):
            self.busy.accounts.set_level(path, level="private")
        self.busy.accounts.add("lab", team=True)
        self.busy.accounts.grant("lab", INSIDER, "owner")
        self.busy.accounts.grant("secret", "lab", "owner")
        self.busy.accounts.grant("team/hidden", INSIDER, "owner")
        self.both("POST", "/api/repos/create", **named("eve/a"))

    def teardown(self) -> None:
        """Delete both."""
        if hasattr(self, "worlds"):
            self.patch.undo()
            for world in self.worlds:
                world.close()

    def both(self, method: str, path: str, **said: object) -> None:
        """A request of the stranger, who is answered the same."""
        answers = [plain(world.ask(method, path, world.tokens[STRANGER, "write"], **said))
                   for world in self.worlds]  # fmt: skip
        assert answers[0] == answers[1], (method, path, said)

    def private(self, method: str, path: str, **said: object) -> None:
        """A request of somebody else, in one of them."""
        answer = self.busy.ask(method, path, self.busy.tokens[INSIDER, "write"], **said)
        assert answer.status < 500 or answer.status == 501

    @rule(repo=repos, private=st.booleans())
    def stranger_creates(self, repo: str, private: bool) -> None:
        self.both("POST", "/api/repos/create", **named(repo), private=private)

    @rule(repo=repos)
    def stranger_deletes(self, repo: str) -> None:
        self.both("DELETE", "/api/repos/delete", **named(repo))

    @rule(old=repos, new=repos)
    def stranger_moves(self, old: str, new: str) -> None:
        self.both("POST", "/api/repos/move", fromRepo=old, toRepo=new)

    @rule(repo=repos, level=st.sampled_from(LEVELS))
    def stranger_shows(self, repo: str, level: str) -> None:
        self.both("PUT", f"/api/models/{repo}/settings", visibility=level)

    @rule(repo=repos, text=st.sampled_from(("a", "b")))
    def stranger_commits(self, repo: str, text: str) -> None:
        answers = [
            plain(world.send("POST", f"/api/models/{repo}/commit/main",
                             world.tokens[STRANGER, "write"], commit(text)))
            for world in self.worlds
        ]  # fmt: skip
        assert answers[0] == answers[1]

    @rule(repo=hidden, text=st.sampled_from(("a", "b")))
    def insider_commits(self, repo: str, text: str) -> None:
        there, token = self.busy.hub.exists(repo), self.busy.tokens[INSIDER, "write"]
        done = self.busy.send("POST", f"/api/models/{repo}/commit/main", token, commit(text))
        assert (done.status == 200) == there
        self.touched = repo

    @rule(repo=st.sampled_from((*OWN, *OPEN)), which=st.integers(0, 1))
    def something_public_moves(self, repo: str, which: int) -> None:
        for world in self.worlds:
            world.put(repo, self.digests[which])

    @rule(repo=hidden, which=st.sampled_from((2, 2, 0)), tag=st.sampled_from(("", ":v1")))
    def something_private_moves(self, repo: str, which: int, tag: str) -> None:
        self.busy.put(repo + tag, self.digests[which])
        self.touched = repo

    @rule(repo=hidden, which=st.integers(0, 2))
    def insider_signs(self, repo: str, which: int) -> None:
        """Also what others have, too."""
        data = repo.encode()
        key = f"{folder_of(self.digests[which])}{repo}/{blake3(data).hexdigest()}.json"
        token = self.busy.tokens[INSIDER, "write"]
        self.busy.send("PUT", f"/zoo/v1/store/{key}", token, data, first=True)
        self.signed = key

    @rule(repo=hidden)
    def insider_creates(self, repo: str) -> None:
        self.private("POST", "/api/repos/create", **named(repo), visibility="private")
        self.touched = repo

    @rule(repo=hidden)
    def insider_deletes(self, repo: str) -> None:
        self.private("DELETE", "/api/repos/delete", **named(repo))
        self.touched = repo

    @rule(old=hidden, new=hidden)
    def insider_moves(self, old: str, new: str) -> None:
        self.private("POST", "/api/repos/move", fromRepo=old, toRepo=new)
        self.touched = new

    @rule(path=st.sampled_from((*PRIVATE, *TEAMS)), role=st.sampled_from(ROLES))
    def role_is_given(self, path: str, role: str) -> None:
        self.busy.accounts.grant(path, "ben", role)

    @rule(repo=hidden)
    def insider_is_told_the_truth(self, repo: str) -> None:
        """Else all might look alike because nobody sees anything."""
        there = self.busy.hub.exists(repo)
        answer = self.busy.ask("GET", f"/api/models/{repo}/auth-check",
                               self.busy.tokens[INSIDER, "read"])  # fmt: skip
        moved = bool(self.busy.accounts.repos.moved(repo))
        assert answer.status == (200 if there else 307 if moved else 404)

    @rule(path=st.sampled_from(LOOKS), known=st.booleans())
    def stranger_looks(self, path: str, known: bool) -> None:
        self.same(path, known=known)

    @invariant()
    def a_stranger_sees_no_difference(self) -> None:
        """Nor in what they may not do to what is private and was touched last."""
        if not hasattr(self, "worlds"):
            return
        repo = self.touched
        for path in ("/api/models", *(f"/api/models/{repo}{rest}" for rest in RESTS)):
            self.same(path, known=True)
        self.both("POST", "/api/repos/create", **named(repo))
        self.both("DELETE", "/api/repos/delete", **named(repo))
        self.both("POST", "/api/repos/move", fromRepo=repo, toRepo="eve/a")
        self.both("POST", "/api/repos/move", fromRepo="eve/a", toRepo=repo)
        self.both("PUT", f"/api/models/{repo}/settings", visibility="public")
        self.a_known_hash_gives_nothing()
        self.a_known_digest_gives_nothing()

    def a_known_hash_gives_nothing(self) -> None:
        """A file that private names alone have has to be sent, and cannot be committed unsent."""
        file = {"oid": self.file.sha256.hex, "size": self.file.size}
        link = {"path": "x", "algo": "sha256", **file}
        lines = ({"key": "header", "value": {"summary": "x"}}, {"key": "lfsFile", "value": link})
        body = b"\n".join(json.dumps(line).encode() for line in lines)
        for world in self.worlds:
            token = world.tokens[STRANGER, "write"]
            if not world.hub.exists("eve/a"):
                continue
            world.hub.blobs.holders.look_at_all()
            told = world.ask("POST", "/eve/a.git/info/lfs/objects/batch", token,
                             operation="upload", objects=[file])  # fmt: skip
            assert isinstance(told.body, bytes)
            assert "upload" in json.loads(told.body)["objects"][0]["actions"]
            done = world.send("POST", "/api/models/eve/a/commit/main", token, body)
            assert done.status == 400

    def a_known_digest_gives_nothing(self) -> None:
        """Nor to zoo's own client: not by asking, nor by relying on it."""
        number = self.busy.workspace.store.newest_number(Reference.parse(self.touched))
        keys = [*self.keys, f"refs/{self.touched}/latest/{max(number, 1):08d}.json"]
        self.both("POST", "/zoo/v1/stat", keys=[*keys, *self.open_keys, self.signed])
        for digest in self.digests:
            self.same(f"/zoo/v1/list/{folder_of(digest)[:-1]}", known=True, dated=True)
        self.same(f"/zoo/v1/store/{self.signed}", known=True)
        for path in (f"/zoo/v1/store/{keys[-1]}", f"/zoo/v1/list/refs/{self.touched}",
                     f"/zoo/v1/store/{keys[0]}", "/zoo/v1/refs", "/zoo/v1/list/refs"):  # fmt: skip
            self.same(path, known=True, dated=True)
        for path in ("eve/c", self.touched):
            self.both_put(f"refs/{path}/v9/00000001.json", self.private_entry)
        for world in self.worlds:
            told = world.ask("POST", "/zoo/v1/stat", world.tokens[STRANGER, "read"],
                             keys=[*self.keys, *self.open_keys])  # fmt: skip
            assert isinstance(told.body, bytes)
            found = {name for name, _, _ in json.loads(told.body)["stored"]}
            assert not found & {*self.keys}

    def both_put(self, key: str, body: bytes) -> None:
        """Something that a stranger puts under a key."""
        answers = [plain(world.send("PUT", f"/zoo/v1/store/{key}",
                                    world.tokens[STRANGER, "write"], body, first=True))
                   for world in self.worlds]  # fmt: skip
        assert answers[0] == answers[1], key
        assert answers[0][0] in (403, 424)

    def same(self, path: str, *, known: bool, dated: bool = False) -> None:
        """A stranger, with a token or without, is answered the same by both."""
        answers = [
            plain(world.ask("GET", path, world.tokens[STRANGER, "write"] if known else None))
            for world in self.worlds
        ]
        if dated:  # files of two zoos, made one after the other
            assert [undated(each) for each in answers] == [undated(answers[0])] * 2, path
        else:
            assert answers[0] == answers[1], path


def undated(answer: tuple[object, ...]) -> str:
    """An answer without the times in it."""
    return re.sub(r"\d{4}-\d\d-\d\dT[^\"]*|Last-Modified[^,]*,[^,]*", "", repr(answer))


@pytest.fixture
def template(tmp_path: Path) -> None:
    """A zoo with two checkpoints under names of everybody, one under none, and who asks. Each has a
    ``config.json``, so that nothing needs torch.
    """
    workspace = Workspace.create(tmp_path / "zoo")
    patch = pytest.MonkeyPatch()
    patch.setattr("zoo.reflog.now", lambda: "2026-01-01T00:00:00Z")
    toy, other = add_checkpoint(workspace, "toy/a"), add_checkpoint(workspace, "toy/b", tensors(1))
    digests = tuple(
        workspace.commit(with_files(workspace, digest, config_json=CONFIG, more=more),
                         Reference.parse(name), "import")
        for name, digest, more in zip((*OPEN, "toy/c"), (toy, toy, other), (b"1", b"2", b"3"),
                                      strict=True)
    )  # fmt: skip
    (TwoTenants.file,) = workspace.store.manifest(other).weights
    hidden = {item for item, _ in workspace.store.document(digests[2]).objects()}
    seen = {item for each in digests[:2] for item, _ in workspace.store.document(each).objects()}
    TwoTenants.keys = (*(name_of("objects", item) for item in sorted(hidden - seen)),
                       name_of("manifests", digests[2]))  # fmt: skip
    TwoTenants.open_keys = tuple(name_of("objects", item) for item in sorted(seen))[:3]
    TwoTenants.private_entry = RefEntry(number=1, manifest=digests[2], previous=None, at="",
                                        by="", why="").to_bytes()  # fmt: skip
    for name in "abc":
        workspace.delete(Reference("toy", name))
    patch.undo()
    accounts = Accounts.of(workspace)
    for who in (STRANGER, INSIDER, "ben"):
        accounts.add(who)
    accounts.set_level("shown", level="public")
    accounts.close()
    workspace.close()
    TwoTenants.template, TwoTenants.digests = tmp_path / "zoo", digests


def run(examples: int) -> None:
    found = settings(max_examples=examples, stateful_step_count=8, deadline=None)
    run_state_machine_as_test(TwoTenants, settings=found)


@pytest.mark.long
@pytest.mark.usefixtures("template")
def test_a_stranger_sees_nothing_of_what_is_private() -> None:
    run(3)


@pytest.mark.long
@pytest.mark.usefixtures("template")
@pytest.mark.parametrize("examples", [30, pytest.param(100, marks=pytest.mark.whole)])
def test_a_stranger_never_does(examples: int) -> None:
    run(examples)
