"""Several processes that train, and are ended from outside."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from subprocess import PIPE, Popen

import pytest
from fakes.prepared import Run

from zoo.finetune.run import _ended_as_by_ctrl_c

COMMAND = (sys.executable, "-m", "zoo_cli")
TUNE = ("finetune", "team/net", "--image-size", "32", "--device", "cpu", "--epochs", "500")


@pytest.mark.parametrize("count", ["1", "2"])
def test_sigterm_is_as_ctrl_c_in_each_process(monkeypatch: pytest.MonkeyPatch, count: str) -> None:
    monkeypatch.setenv("WORLD_SIZE", count)
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with _ended_as_by_ctrl_c():
            assert signal.getsignal(signal.SIGTERM) is signal.default_int_handler
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


@pytest.mark.long
@pytest.mark.parametrize("launched", ["each", "torchrun", "zoo"])
def test_what_ends_all_of_them_tells_how_to_go_on(small: Run, few: Path, launched: str) -> None:
    """A batch system sends SIGTERM to each, or to the launcher, which passes it on."""
    command = (*TUNE, "--data", str(few), "--save", "team/new", "--save-every", "5")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    if launched == "zoo":
        line: tuple[str, ...] = (*COMMAND, *command, "--launch", "2")
        running = [Popen(line, env=environment, stderr=PIPE, text=True)]
    elif launched == "torchrun":
        torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
        line = (sys.executable, *torchrun, "-m", "zoo_cli", *command)
        running = [Popen(line, env=environment, stderr=PIPE, text=True)]
    else:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            meet = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(probe.getsockname()[1])}
        running = []
        for rank in "01":
            place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
            env = {**environment, **meet, **place}
            running.append(Popen((*COMMAND, *command), env=env, stderr=PIPE, text=True))
    try:
        run = _run_of(300)
        for process in running:
            process.send_signal(signal.SIGTERM)
        said = [process.communicate(timeout=60)[1] for process in running]
    finally:
        for process in running:
            process.kill()
    assert f"zoo finetune --resume {run}" in said[0], said
    assert "Traceback" not in said[0] or launched == "torchrun", "which has one of its own"
    if launched == "zoo":
        assert running[0].returncode == 130
    if launched == "each":
        assert [process.returncode for process in running] == [130, 130], said
        assert "--resume" not in said[1], "one of them says so"
    assert json.loads(small("runs", "show", run, "--json").out)["status"] == "interrupted"


def _run_of(seconds: float) -> str:
    """The run, once some of its state was kept."""
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        for file in Path("runs").glob("*/metrics.jsonl"):
            if file.read_text().count('"step"') > 12:
                return file.parent.name
        time.sleep(0.1)
    raise AssertionError("it does not train")
