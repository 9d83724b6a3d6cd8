"""Python processes that start in milliseconds: forks of one that has imported torch already.

`run` and `popen` start them. A request to the server is a command line of Python's (``-c``, ``-m``
or a script), an environment, a folder and three open files; the answer is the process id, then the
exit status. What a process was started from has run nothing, and no thread of torch's is alive in
it, so a fork of it is as good as a fresh interpreter, but for what was imported.

This file also is the program: the server with ``serve``; otherwise a stand-in for the interpreter,
which hands its command line, environment, folder and files to the server. A launcher that starts
``sys.executable`` can be given the stand-in.
"""

from __future__ import annotations

import atexit
import fcntl
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from subprocess import PIPE
from typing import Any

__all__ = ["environment", "popen", "run"]

ADDRESS = "ZOO_TEST_WARM"
"""Variable of the environment: where the server listens."""
ABOVE, MOST_FILES = 512, 64
PATH = tuple(entry for entry in sys.path if entry)
"""As tests are collected: those that run may put packages of their own there."""
LIMITS = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_FSIZE", "RLIMIT_NOFILE")
PRELOAD = (
    "torch", "torchvision", "timm", "safetensors.torch", "sklearn.linear_model", "accelerate",
    "torch.distributed.run", "torch.distributed.fsdp", "matplotlib.figure", "alembic.command",
    "zoo.finetune.run", "zoo.finetune.ranks.sharded", "zoo.exchange.importing",
    "zoo.exchange.publishing", "zoo.facade", "zoo.registry", "zoo_cli.main",
)  # fmt: skip


class Server:
    """The warm process, and the stand-in for the interpreter that goes with it. All workers of a
    session have one together, started by the first that needs it; it ends with the session.

    Attributes:
        address: Where it listens.
        python: An executable that takes the place of ``sys.executable``.
        pid: Its process id.
    """

    def __init__(self, folder: Path, session: int) -> None:
        self.address = folder / "socket"
        self.python = folder / "python"
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not self.address.exists():
                self._start(folder, session)
        self.pid = int((folder / "pid").read_text())

    def _start(self, folder: Path, session: int) -> None:
        self.python.write_text(f"#!{sys.executable} -SE\n" + Path(__file__).read_text())
        self.python.chmod(0o755)
        path = os.pathsep.join(PATH)
        process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(self.address), str(session)],
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HOME": str(folder)},
            stdin=subprocess.DEVNULL,
        )
        (folder / "pid").write_text(str(process.pid))
        while not self.address.exists():
            assert process.poll() is None
            time.sleep(0.01)
        process.returncode = 0  # it is not waited for: Python need not warn of that


@cache
def server() -> Server:
    """The one of this session, started when it is needed first."""
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if not run:
        return Server(Path(tempfile.mkdtemp(prefix="warm-")), os.getpid())
    folder = Path(tempfile.gettempdir()) / f"warm-{run}"
    folder.mkdir(mode=0o700, exist_ok=True)
    return Server(folder, os.getppid())


def environment() -> dict[str, str]:
    """What the stand-in is to find in its environment; `server().python` is the stand-in."""
    return {ADDRESS: str(server().address), "PYTHON_EXEC": str(server().python)}


def popen(*arguments: object, **options: Any) -> subprocess.Popen[str]:
    """As ``subprocess.Popen([sys.executable, *arguments])``, with its ``options``; text."""
    env = {**os.environ, **(options.pop("env", None) or {}), **environment()}
    env.setdefault("OMP_NUM_THREADS", "1")
    command = [str(server().python), *map(str, arguments)]
    return subprocess.Popen(command, env=env, text=True, **options)


def run(*arguments: object, **options: Any) -> subprocess.CompletedProcess[str]:
    """As ``subprocess.run([sys.executable, *arguments])``; what it printed is kept."""
    with popen(*arguments, stdout=PIPE, stderr=PIPE, **options) as process:
        try:
            out, err = process.communicate(timeout=900)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def stand_in(address: str) -> None:
    """Have the server start this command line; live, and end, as that process does."""
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208
    files = [number for number in numbers if _is_open(number)]
    asked = {
        "argv": sys.argv[1:],
        "env": dict(os.environ),
        "cwd": os.getcwd(),  # noqa: PTH109 - pathlib takes longer than all the rest
        "files": files,
        "limits": {name: resource.getrlimit(getattr(resource, name)) for name in LIMITS},
    }
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        text = json.dumps(asked).encode()
        head = len(text).to_bytes(8, "big")
        server.sendall(head) if not files else socket.send_fds(server, [head], files)
        server.sendall(text)
        child = int.from_bytes(server.recv(8, socket.MSG_WAITALL), "big")
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda which, _: os.kill(child, which))
        status = int.from_bytes(server.recv(8, socket.MSG_WAITALL), "big", signed=True)
    if status < 0:
        if -status != signal.SIGKILL:
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def serve(address: str, session: int) -> None:
    """Fork for each request, as long as the process ``session`` lives."""
    import gc
    import importlib
    import shutil

    for name in PRELOAD:
        importlib.import_module(name)
    list(sys.modules["zoo_cli.main"].cli.commands.values())  # each is imported when asked for
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address + "-")
        listening.listen(32)
        Path(address + "-").rename(address)
        while Path(f"/proc/{session}").exists():
            if not select.select([listening], [], [], 1.0)[0]:
                continue
            client, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                _look_after(client)
            client.close()
    shutil.rmtree(Path(address).parent)


def _look_after(client: socket.socket) -> None:
    """Start what ``client`` asks for, and tell how it ended; if it hangs up, kill it."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, files, _, _ = socket.recv_fds(client, 8, MOST_FILES)
    left, text = int.from_bytes(head, "big"), b""
    while len(text) < left:
        text += client.recv(left - len(text))
    asked = json.loads(text)
    child = os.fork()
    if child == 0:
        client.close()
        _become(asked, files)
    client.sendall(child.to_bytes(8, "big"))
    for file in files:
        os.close(file)
    ended = os.pidfd_open(child)
    either: list[Any] = [client, ended]
    ready, _, _ = select.select(either, [], [])
    if ended not in ready:
        os.kill(child, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ended in ready:
        client.sendall(status.to_bytes(8, "big", signed=True))
    os._exit(0)


def _become(asked: dict[str, Any], files: list[int]) -> None:
    """Be a Python process with that command line; never returns."""
    import multiprocessing
    import random

    import torch

    _take_files(dict(zip(asked["files"], files, strict=True)))
    os.chdir(asked["cwd"])
    _take_environment(asked["env"])
    # What this process starts is started in the same way.
    sys.executable = os.environ["PYTHON_EXEC"]
    multiprocessing.set_executable(sys.executable)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name, limits in asked["limits"].items():
        resource.setrlimit(getattr(resource, name), limits)
    random.seed()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    os._exit(_ended(asked["argv"]))


def _take_files(files: dict[int, int]) -> None:
    """Have open files under the numbers that they have where they are from."""
    moved = {number: fcntl.fcntl(file, fcntl.F_DUPFD, ABOVE) for number, file in files.items()}
    os.closerange(0, ABOVE)
    for number, file in moved.items():
        os.dup2(file, number)
        os.close(file)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        stream = None
        if number in files:
            by_line = 1 if number == 2 or os.isatty(number) else -1
            mode = "w" if number else "r"
            stream = open(number, mode, by_line, "utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _take_environment(environment: dict[str, str]) -> None:
    known = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None  # TMPDIR may be another
    asked = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [entry for entry in asked if entry and entry not in known]


def _ended(argv: list[str]) -> int:
    """Run a command line, as the interpreter does; its exit status."""
    import traceback

    status = 0
    try:
        _run(argv)
    except SystemExit as left:
        status = left.code if isinstance(left.code, int) else int(left.code is not None)
        if isinstance(left.code, str):
            sys.stderr.write(left.code + "\n")
    except BaseException:  # noqa: BLE001 - whatever it is, it ends the process
        traceback.print_exc()
        status = 1
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream:
                stream.flush()
        except OSError:
            status = 120
    return status


def _run(argv: list[str]) -> None:
    """What the interpreter does with its command line."""
    import runpy

    left = list(argv)
    while left[0].startswith("-") and left[0] not in ("-c", "-m"):
        if left.pop(0) in ("-W", "-X"):
            left.pop(0)
    kind = left.pop(0)
    if kind == "-c":
        code, sys.argv = left[0], ["-c", *left[1:]]
        sys.path.insert(0, "")
        names = {"__name__": "__main__", "__builtins__": __builtins__}
        exec(compile(code, "<string>", "exec"), names)
    elif kind == "-m":
        sys.argv = left
        sys.path.insert(0, str(Path.cwd()))
        sys.modules.pop(left[0], None)  # else runpy warns that it is there already
        runpy.run_module(left[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [kind, *left]
        sys.path.insert(0, str(Path(kind).resolve().parent))
        runpy.run_path(kind, run_name="__main__")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        serve(sys.argv[2], int(sys.argv[3]))
    else:
        stand_in(os.environ[ADDRESS])
