"""zoo serve and its commands, as docs/serve.md shows them."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from fakes.pages import masked
from fakes.prepared import Run

from zoo.store.sent import keep_sent_object, sent_lately
from zoo.workspace import Workspace

PAGE = (Path(__file__).parents[2] / "docs" / "serve.md").read_text()
TOKEN = re.compile(r"zoo_[0-9A-Za-z]{8}_[0-9A-Za-z]{46}")
NET = "team/net"


def shown(line: str) -> str:
    """What the page shows below a line that is typed."""
    text = re.split(rf"^\$ {re.escape(line)}\n", PAGE, flags=re.MULTILINE)[1]
    return re.split(r"^(?:\$ |```)", text, flags=re.MULTILINE)[0]


def plain(text: str) -> str:
    """Without what is another each time."""
    return masked(re.sub(r"\b\w{8}\b(?= (?:ann|is)|  ann)", "ID", TOKEN.sub("TOKEN", text)))


def test_the_readme_shows_what_the_page_does() -> None:
    """README.md has two of its blocks, word for word; what follows runs those of the page."""
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    mark = f"<!-- run by: tests/cli/{Path(__file__).name} -->\n"
    blocks = re.findall(rf"{mark}(```console\n.*?```)", readme, re.DOTALL)
    assert [block in PAGE for block in blocks] == [True, True]


def test_accounts_tokens_and_access_are_as_the_page_says(toy: Run) -> None:
    def typed(line: str) -> str:
        said = toy(*shlex.split(line)[1:])
        assert said.code == 0, said
        return str(said.out + said.err)

    for name in ("team/secret", "shown/net"):
        toy("tag", "team/base", name).done()
    for line in (
        "zoo serve user add ann", "zoo serve access team/secret private",
        "zoo serve access shown public", "zoo serve access", "zoo serve team add lab",
        "zoo serve role lab ann writer", "zoo serve role team/secret ann reader", "zoo serve role",
        "zoo serve protect 'lab/*:v*'",
        "zoo serve token create ann --name laptop --for write --days 90",
    ):  # fmt: skip
        assert plain(typed(line)) == plain(shown(line)), line
    listed = typed("zoo serve token ls")
    # Made in the same second: by their names.
    first, last = sorted(listed.splitlines()[1:], key=lambda line: line.split()[2])
    assert (first.split()[1:3], last.split()[1:3]) == (["ann", "first"], ["ann", "laptop"])
    done = typed(f"zoo serve token revoke {last.split()[0]}")
    assert plain(done) == plain(shown("zoo serve token revoke CXIhqTlP"))
    assert "revoked 20" in typed("zoo serve token ls")


def test_a_rule_for_a_name_that_is_not_there_says_so(toy: Run) -> None:
    toy("serve", "user", "add", "ann").done()
    for words in (("access", "team/bse", "private"), ("role", "team/bse", "ann", "reader")):
        said = toy("serve", *words).done().err
        assert "there is no team/bse yet: what was said holds once there is; did you mean" in said
        assert "team/base" in said
    assert "there is no nobody yet" in toy("serve", "access", "nobody", "private").done().err
    for path in ("team/base", "team", "ann"):
        assert "there is no" not in toy("serve", "access", path, "private").done().err


def test_an_account_has_nothing_of_a_former_one(toy: Run) -> None:
    """What that had sent was there for it for a day."""
    assert toy("serve", "user", "add", "ann").code == 0
    with closing(Workspace(Path.cwd())) as workspace:
        digest = workspace.store.put("objects", b"secret")
        keep_sent_object(workspace.store, "ann", digest)
        again = toy("serve", "user", "add", "ann")
        again.refused("an account 'ann' already", "another token: zoo serve token create ann")
        toy("serve", "user", "add", "ben").done()
        assert sent_lately(workspace.store, "ann", [digest]) == {digest}
        assert toy("serve", "user", "rm", "ann").code == 0
        assert toy("serve", "user", "add", "ann").code == 0
        assert sent_lately(workspace.store, "ann", [digest]) == set()


def test_each_answer_as_json(toy: Run) -> None:
    made = toy("serve", "user", "add", "ann", "--admin", "--json").json
    assert TOKEN.fullmatch(made["token"])
    assert toy("serve", "user", "--json").json == toy("serve", "user", "ls", "--json").json
    assert toy("serve", "user", "--json").json[0]["admin"] is True
    (token,) = toy("serve", "token", "--json").json
    assert token == {key: value for key, value in made.items() if key != "token"}
    team = toy("serve", "team", "add", "lab", "--json").json
    assert (team["name"], team["team"]) == ("lab", True)
    toy("serve", "access", "team/base", "private").done()
    assert toy("serve", "access", "--json").json == [{"path": "team/base", "level": "private"}]
    toy("mv", "team/base", "team/moved").done()
    assert {"path": "team/moved", "level": "private"} in toy("serve", "access", "--json").json
    toy("mv", "team/moved", "team/base").done()
    toy("serve", "role", "lab", "ann", "owner").done()
    toy("serve", "role", "team/base", "lab", "reader").done()
    roles = [{"path": "lab", "who": "ann", "role": "owner"},
             {"path": "team/base", "who": "lab", "role": "reader"}]  # fmt: skip
    assert toy("serve", "role", "--json").json == roles
    assert toy("serve", "role", "lab", "--json").json == roles[:1]
    members = [{"name": "lab", "members": {"ann": "owner"}}]
    assert toy("serve", "team", "--json").json == toy("serve", "team", "ls", "--json").json
    assert toy("serve", "team", "--json").json == members
    assert "ann (owner)" in toy("serve", "team").out
    toy("serve", "role", "team/base", "lab", "none").done()
    assert toy("serve", "team", "rm", "lab", "--json").json == {"name": "lab"}
    assert toy("serve", "role", "--json").json == []
    assert toy("serve", "protect", "*/prod", "--json").json == ["*/prod"]
    assert toy("serve", "protect", "*/prod", "--off", "--json").json == []
    limited = toy("serve", "token", "create", "ann", "--for", "append", "--only", "lab", "--only",
                  "team/base", "--json").json  # fmt: skip
    assert (limited["purpose"], limited["only"]) == ("append", ["lab", "team/base"])
    revoked = toy("serve", "token", "revoke", token["id"], "--json").json
    assert revoked == {"id": token["id"], "linked": []}
    assert toy("serve", "user", "rm", "ann", "--json").json == {"name": "ann"}


def test_the_audit_log_is_shown_and_checked_on_the_command_line(toy: Run) -> None:
    assert "no such rows" in toy("serve", "audit").err
    toy("serve", "user", "add", "ann").done()
    toy("serve", "access", "team/base", "private").done()
    toy("prune", "--keep", "0", "--grace", "0", "--yes").done()
    shown = toy("serve", "audit").out
    assert [line.split()[0] for line in shown.splitlines()[1:]][:3] == ["1", "2", "3"]
    assert "account made" in shown
    (row,) = toy("serve", "audit", "--name", "team", "--json").json
    assert (row["action"], row["name"], row["detail"]) == ("level set", "team/base", "private")
    assert len(toy("serve", "audit", "--limit", "1", "--json").json) == 1
    assert toy("serve", "audit", "--since", "2999-01-01", "--json").json == []
    checked = toy("serve", "audit", "--check")
    assert re.fullmatch(r"\d+ rows as written; the newest is \d+:[0-9a-f]{64}\n", checked.out)
    said = toy("serve", "audit", "--check", "--json").json
    assert said["problems"] == []


def test_the_setup_is_checked(toy: Run) -> None:
    assert (toy("serve", "check").code, toy("serve", "check").out) == (
        0,
        "no scrub has ended yet\n",
    )
    ended = datetime.now(UTC).isoformat(timespec="seconds")
    Path("scrub.json").write_text(
        f'{{"last": {{"began": "2026-11-27T00:00:00+00:00", "ended": "{ended}",'
        ' "files": 3, "bytes": 12000000, "damaged": ["object blake3:00"]}}'
    )
    Path("accounts.db").chmod(0o644)
    said = toy("serve", "check")
    assert said.code == 1
    assert f"to {ended}): 3 files, 12.0 MB, 1 damaged" in said.out
    assert "object blake3:00 is damaged" in said.err
    assert "chmod 600" in said.err
    told = toy("serve", "check", "--json")
    assert told.json["scrub"]["last"]["files"] == 3
    assert told.json["problems"] == [line for line in said.err.splitlines() if line]


def test_quotas_are_set_and_shown(toy: Run) -> None:
    assert "what the disk has room for" in toy("serve", "quota").err
    assert toy("serve", "quota", "team", "1.5MB").out.split()[4:7] == ["team", "1.5", "MB"]
    (row,) = toy("serve", "quota", "--json").json
    assert (row["namespace"], row["bytes"]) == ("team", 1_500_000)
    assert row["holds"] > 1000
    assert toy("serve", "quota", "other", "--json").json == []
    assert toy("serve", "quota", "team", "none", "--json").json == []
    toy("serve", "quota", "team", "much").refused("'much' is no number of bytes", "200GB")


def test_a_backup_is_a_zoo(toy: Run, tmp_path: Path) -> None:
    toy("serve", "user", "add", "ann").done()
    to = str(tmp_path / "to")
    assert re.fullmatch(rf"copied \d+ files, .*B to {to}\n", toy("serve", "backup", to).out)
    assert toy("serve", "backup", to, "--json").json["files"] < 9
    assert toy("serve", "user", "--home", to, "--json").json[0]["name"] == "ann"
    toy("verify", "--home", to).done()
    largest = max(Path("objects").rglob("?" * 64), key=lambda path: path.stat().st_size)
    largest.chmod(0o600)
    os.truncate(largest, 10)
    damaged = toy("serve", "backup", to)
    damaged.refused(f"{largest.name} is damaged", f"zoo verify --repair --from {to}")
    toy("verify", "--repair", "--from", to).done()
    toy("serve", "backup", to).done()
    said = toy("serve", "--cache", "3GB")
    assert (said.code, "goes with --store" in said.err) == (2, True)
    toy("serve", "backup", ".").refused("are within each other")


def test_what_is_wrong_is_told(toy: Run) -> None:
    assert "make one: zoo serve user add NAME" in toy("serve", "user").err
    assert "make one: zoo serve token create ACCOUNT" in toy("serve", "token").err
    assert "all is internal" in toy("serve", "access").err
    assert "make one: zoo serve team add NAME" in toy("serve", "team").err
    assert "there are no roles" in toy("serve", "role").err
    assert "no names are protected" in toy("serve", "protect").err
    toy("serve", "team", "rm", "ann").refused("unknown team 'ann'")
    toy("serve", "role", "lab", "ann", "writer").refused("unknown account 'ann'", "user add ann")
    toy("serve", "protect", "prod").refused("'prod' stands for no names", "*/prod")
    toy("serve", "token", "create", "ann").refused(
        "unknown account 'ann'", "zoo serve user add ann"
    )
    toy("serve", "user", "rm", "ann").refused("unknown account")
    assert "Here it is: zoo serve user rm" in toy("serve", "user", "delete", "ann").err
    toy("serve", "user", "add", "a/b").refused("'a/b' cannot be an account", "letters, digits")
    toy("serve", "access", "a/b/c", "public").refused("is not a reference")
    for command in (("access", "te am", "public"), ("quota", "te am", "1GB")):
        toy("serve", *command).refused("'te am' cannot be a namespace")
    assert "there are no webhooks" in toy("serve", "webhook").err
    toy("serve", "webhook", "add", "http://x.org").refused("plain http", "--private-network")
    toy("serve", "webhook", "rm", "none").refused("unknown webhook 'none'")
    secret = toy("serve", "webhook", "add", "https://x.org/y?z=1", "--for", "lab").out.strip()
    shown = toy("serve", "webhook")
    assert re.search(r"^\w{12}  lab  https://x\.org/y\?z=1  -      -$", shown.out, re.MULTILINE)
    assert secret not in shown.out
    (told,) = toy("serve", "webhook", "ls", "--json").json
    assert (told["secret"], told["path"], told["ended"]) == (secret, "lab", False)
    toy("serve", "webhook", "rm", told["id"]).done()
    assert "there are no webhooks" in toy("serve", "webhook").err
    toy("serve", "--host", "0.0.0.0").refused("can be reached by other machines", "--public-url")
    toy("serve", "--public-url", "zoo.lab.org").refused("is no URL of a server")
    for line in ("access team/base king", "role team/base ann", "role team/base ann king",
                 "protect --off"):  # fmt: skip
        assert toy("serve", *line.split()).code == 2, line


@pytest.mark.long
def test_from_nothing_to_a_network_in_four_commands(small: Run, tmp_path: Path) -> None:
    """The first is `pip install`, which made what runs here."""
    small("mv", NET, "team/flowers").done()
    zoo = [sys.executable, "-m", "zoo_cli"]
    command = [*zoo, "serve", "--port", "0"]
    with (
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as server,
        ExitStack() as stack,
    ):
        assert server.stdout
        assert server.stderr
        stack.callback(server.kill)  # if what follows fails, it would be waited for
        said = server.stdout.readline() + "".join(server.stderr.readline() for _ in range(3))
        url = re.search(r"http://[\d.:]+\d", said)
        assert url
        put = said.replace(url[0], "http://127.0.0.1:8765").replace(
            str(Path.cwd()), "/home/ana/zoo"
        )
        assert re.sub(r"key=\S+", "key=", put) == re.sub(r"key=\S+", "key=", shown("zoo serve"))
        made = subprocess.run([*zoo, "serve", "user", "add", "ann"], check=True, text=True,
                              capture_output=True)  # fmt: skip
        lines = re.search(r"\$ python -c \"(.*)\"\n(.*)\n", PAGE)
        assert lines
        env = {**os.environ, "HF_ENDPOINT": url[0], "HF_TOKEN": made.stdout.strip(),
               "HF_HOME": str(tmp_path / "hf"), "NO_PROXY": "127.0.0.1"}  # fmt: skip
        done = subprocess.run([sys.executable, "-c", lines[1]], env=env, check=False, text=True,
                              capture_output=True)  # fmt: skip
        server.send_signal(signal.SIGINT)
        _, log = server.communicate()
    assert (done.returncode, done.stdout.strip()) == (0, lines[2]), done.stderr
    assert made.stdout.strip() not in log
    assert "GET /team/flowers/resolve/" in log
    assert server.returncode == 0


@pytest.fixture
def begins(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server ends as soon as it has told that it answers."""

    def run(_: object, __: object, told: Callable[[str], None], **___: object) -> None:
        told("http://here")

    monkeypatch.setattr("zoo.serve.run.run", run)


@pytest.mark.usefixtures("begins")
def test_it_begins_and_warns_of_secrets_that_others_can_read(toy: Run) -> None:
    toy("serve", "user", "add", "ann").done()
    assert "others" not in toy("serve").done().err
    for name, mode, does in (("accounts.db", 0o640, "read"), ("seals.key", 0o602, "change")):
        Path(name).chmod(mode)
        for options in ((), ("--json", "--quiet")):
            said = toy("serve", *options).done()
            assert f"others on this machine may {does} {name}: chmod 600 {Path.cwd()}" in said.err
        assert f"others on this machine may {does} {name}" in toy("serve", "check").err
        Path(name).chmod(0o600)


@pytest.mark.usefixtures("begins")
def test_it_says_what_is_only_listed(toy: Run, tmp_path: Path) -> None:
    there = ("--home", tmp_path / "there")
    toy("push", "team/base", "--to", tmp_path / "lab").done()
    toy("push", "team/digits", "--to", tmp_path / "lab").done()
    toy("clone", tmp_path / "lab", tmp_path / "there").done()
    toy("pull", "team/base", *there).done()
    said = toy("serve", *there).done().err
    assert said.startswith("1 name; 1 more only listed, not here yet: zoo pull NAME\n")
