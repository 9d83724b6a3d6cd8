"""Both sides of a report are killed, again and again: at the end the server has each event of the
local journal, once, in order.
"""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from fakes.postgres import Server as Postgres
from fakes.reported import told_here
from fakes.tuned import drawings, small_zoo

from zoo.lookup.runs import METRICS, list_runs
from zoo.serve.who.accounts import Accounts
from zoo.workspace import Workspace

pytestmark = pytest.mark.long
TUNE = (
    "finetune", "team/base", "--save", "ann/net", "--image-size", "32", "--batch-size", "2",
    "--strategy", "full", "--device", "cpu",
)  # fmt: skip
KILLS = 8


class Machines:
    """A server, and another machine that trains, each a process."""

    def __init__(self, folder: Path, workers: int = 1, database: str = "") -> None:
        self.served, self.mine, self.port = folder / "served", folder / "zoo", "0"
        self.workers, self.database = workers, {"ZOO_DB": database} if database else {}
        with pytest.MonkeyPatch.context() as patch:
            for name, url in self.database.items():
                patch.setenv(name, url)
            with closing(Workspace.create(self.served)) as made, closing(Accounts.of(made)) as who:
                who.add("ann")
                self.token = str(who.new_token("ann", "x", "append")[1])
        self.data = drawings(folder / "flowers")
        self.processes: list[subprocess.Popen[str]] = []
        small_zoo(folder).close()

    def serve(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "zoo_cli", "--home", str(self.served), "serve", "--quiet",
                   "--port", self.port, "--workers", str(self.workers)]  # fmt: skip
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
            env={**os.environ, **self.database},
        )  # fmt: skip
        self.processes.append(process)
        assert process.stdout
        url = re.search(r"http://[\d.:]+\d", process.stdout.readline())
        assert url
        self.url, self.port = url[0], url[0].rpartition(":")[2]
        return process

    def start(self, *words: str) -> subprocess.Popen[str]:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "ZOO_TOKEN": self.token,
                       "ZOO_SERVER": self.url}  # fmt: skip
        command = [sys.executable, "-m", "zoo_cli", *words, "--home", str(self.mine)]
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        self.processes.append(process)
        return process

    def train(self, *words: str) -> subprocess.Popen[str]:
        how = ("--data", str(self.data), "--report", self.url, "--save-every", "5")
        return self.start(*TUNE, *how, *words)

    def wait(self, lines: int) -> None:
        """Until the server has so many lines of a run."""
        ends = time.monotonic() + 120
        while not any(len(each) > lines for each in self.there().values()):
            assert time.monotonic() < ends
            time.sleep(0.1)

    def close(self) -> None:
        for process in self.processes:
            kill(process)

    def there(self) -> dict[str, list[object]]:
        """The lines that the server has, by the run's local id."""
        return {
            path.parent.name.rpartition("-")[0]: [*map(json.loads, path.read_text().splitlines())]
            for path in (self.served / "reported").glob(f"*/*/{METRICS}")
        }

    def done(self) -> bool:
        with closing(Workspace(self.mine)) as workspace:
            return all(run.status == "done" for run in list_runs(workspace))

    def here(self) -> dict[str, list[object]]:
        with closing(Workspace(self.mine)) as workspace:
            return {run.id: told_here(run.folder) for run in list_runs(workspace)}


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream:
            stream.close()


def ended(process: subprocess.Popen[str]) -> str:
    """What a process that ends well has said."""
    assert process.stderr
    said = process.stderr.read()
    assert process.wait(300) == 0, said
    process.stderr.close()
    return said


def test_each_event_is_there_once(tmp_path: Path) -> None:
    draw, resumes = random.Random(20), 0
    with closing(Machines(tmp_path)) as machines:
        server = machines.serve()
        trainer = machines.train("--epochs", "240")
        machines.wait(1)
        for number in range(KILLS):
            time.sleep(draw.uniform(0.5, 4) + 4 * (number % 2))  # to begin takes a while
            if number % 2:
                kill(server)
                time.sleep(draw.uniform(0, 2))
                server = machines.serve()
            elif trainer.poll() is None:
                kill(trainer)
                if machines.done():  # it was about to send the end
                    break
                trainer = machines.start("finetune", "--resume", "last")
                resumes += 1
        if trainer.returncode == -signal.SIGKILL or "reported to" not in ended(trainer):
            ended(machines.start("runs", "report", "last"))
        assert resumes > 1
        here = machines.here()
        assert machines.there() == here
        (lines,) = here.values()
        assert len([each for each in lines if each["kind"] == "step"]) == 240 * 9  # type: ignore[index]
        (path,) = (machines.served / "reported").glob("*/*/run.json")
        assert json.loads(path.read_text())["status"] == "done"


def test_of_one_that_is_killed_and_left_the_rest_is_sent_by_a_command(tmp_path: Path) -> None:
    with closing(Machines(tmp_path)) as machines:
        server = machines.serve()
        trainer = machines.train("--epochs", "500")
        machines.wait(20)
        kill(server)
        time.sleep(2)
        kill(trainer)
        assert machines.there() != machines.here(), "something is left to be sent"
        machines.serve()
        ended(machines.start("runs", "report", "last"))
        assert machines.there() == machines.here()
        (path,) = (machines.served / "reported").glob("*/*/run.json")
        assert json.loads(path.read_text())["status"] == "interrupted"


def test_several_processes_and_seeds_report_each_run_once(tmp_path: Path) -> None:
    with closing(Machines(tmp_path)) as machines:
        machines.serve()
        ended(machines.train("--epochs", "2", "--launch", "2"))
        ended(machines.train("--epochs", "2", "--seeds", "2"))
        ended(machines.start("rerun", "ann/net:seed-1", "--save", "ann/again", "--report",
                             machines.url))  # fmt: skip
        assert machines.there() == machines.here()
        assert len(machines.there()) == 4


def test_several_workers_with_postgresql(tmp_path: Path, postgres_server: Postgres) -> None:
    """Runs that are reported at once, to whichever worker answers; one of these is killed."""
    database = postgres_server.database("reports")
    with closing(Machines(tmp_path, workers=2, database=database)) as machines:
        server = machines.serve()
        trainers = [machines.train("--epochs", "30", "--seed", str(seed)) for seed in range(2)]
        time.sleep(8)
        tasks = Path(f"/proc/{server.pid}/task/{server.pid}/children").read_text().split()
        os.kill(int(tasks[0]), signal.SIGKILL)
        for trainer in trainers:
            ended(trainer)
        assert machines.there() == machines.here()
        assert len(machines.there()) == 2
        server.terminate()
        server.wait()
