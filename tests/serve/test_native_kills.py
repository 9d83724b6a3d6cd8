"""A push whose server is killed ends as if nothing had been, or goes on when it is back."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint, assert_sound

from zoo.errors import Unavailable
from zoo.logins import ServerUrl, keep_token
from zoo.serve.who.accounts import Accounts
from zoo.transfer.sync import push
from zoo.workspace import Workspace

MOMENTS = (0.02, 0.1, 0.3, 0.6)


def serve(root: Path, port: str) -> tuple[subprocess.Popen[str], str]:
    """A server in a process of its own, and its URL."""
    command = [sys.executable, "-m", "zoo_cli", "--home", str(root), "serve", "--port", port]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout
    url = re.search(r"http://[\d.:]+\d", server.stdout.readline())
    assert url
    return server, url[0]


def ended(server: subprocess.Popen[str]) -> None:
    """Wait for a server that was told to end."""
    server.wait()
    assert server.stdout
    server.stdout.close()


@pytest.mark.long
def test_a_server_that_is_killed_under_a_push(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zoo.store.retry.FIRST_PAUSE", 0.02)
    with closing(Workspace.create(tmp_path / "served")) as made, closing(Accounts.of(made)) as who:
        who.add("ann")
        token = str(who.new_token("ann", "x", "append")[1])
    server, url = serve(tmp_path / "served", "0")
    keep_token(ServerUrl.parse(url), token)
    with closing(Workspace.create(tmp_path / "mine")) as mine:
        for number, moment in enumerate(MOMENTS):
            values = {
                f"layer{at}": np.random.default_rng(number).standard_normal((900, 900), "f4")
                for at in range(6)
            }
            large = np.random.default_rng(number).standard_normal((2300, 2300), "f4")
            add_checkpoint(mine, f"ann/net{number}", {**values, "large": large})
            killing = threading.Timer(moment, os.kill, (server.pid, signal.SIGKILL))
            killing.start()
            with suppress(Unavailable):
                push(mine, f"ann/net{number}", url)
            killing.join()
            ended(server)
            server, url = serve(tmp_path / "served", url.rpartition(":")[2])
            push(mine, f"ann/net{number}", url)
    server.send_signal(signal.SIGTERM)
    ended(server)
    with closing(Workspace(tmp_path / "served")) as there:
        assert_sound(there.store)
        assert len([*there.store.refs()]) == len(MOMENTS)
