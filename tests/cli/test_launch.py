"""Of several processes, each tells what went wrong with it alone, and one what did with all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fakes.plugin_code import Install
from fakes.prepared import Run
from torch.distributed.elastic.multiprocessing import SignalException

TUNE = ("finetune", "team/net", "--save", "team/new", "--image-size", "32", "--epochs", "1")
ONE = (
    "compute_environment: LOCAL_MACHINE\ndistributed_type: 'NO'\nuse_cpu: true\n"
    "num_processes: 1\nnum_machines: 1\nmachine_rank: 0\nmixed_precision: 'no'\n"
)
RAISE = "raise ImportError('this is of ' + rank)"
KILL = "os.kill(os.getpid(), signal.SIGKILL)"


@pytest.mark.parametrize(
    ("failing", "fail", "code", "said"),
    [
        pytest.param("1", RAISE, 1, "this is of 1", marks=pytest.mark.long),  # it waits 20 s
        pytest.param("01", RAISE, 1, "this is of 0", marks=pytest.mark.long),
        ("1", KILL, 137, "error: process 1 was killed by SIGKILL"),
    ],
)
def test_what_went_wrong_is_said_once(
    console: Run, small: Run, few: Path, install: Install, tmp_path: Path,
    failing: str, fail: str, code: int, said: str,
) -> None:  # fmt: skip
    """A head's plugin fails as it is imported, in some of the processes."""
    program = (
        "import os, signal\nfrom zoo.backbones.heads.linear import LinearHead as Head\n"
        f"rank = os.environ['RANK']\nif rank in '{failing}':\n    {fail}\n"
    )
    install("acme", "zoo.heads", "acme = acme:Head", program)
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    path = os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))
    done = console(
        *TUNE, "--data", few, "--head", "acme", "--device", "cpu", "--launch", 2, cwd=Path.cwd(),
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "TMPDIR": str(scratch)},
    )  # fmt: skip
    assert done.code == code
    assert not list(scratch.glob("*/*_*")), "what the launcher records is not left behind"
    assert said in done.err
    assert done.err.count("error: ") == 1
    for other in ("Traceback", "ChildFailed", "SIGTERM", "exitcode"):
        assert other not in done.err


def test_of_several_that_are_interrupted_the_first_says_so(
    small: Run, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def shut_down(*_: object) -> None:
        raise SignalException("", sigval=sent)

    monkeypatch.setattr("zoo_cli.launch._start", shut_down)
    line = (*TUNE, "--data", few)
    sent = signal.SIGINT
    done = small(*line, "--launch", 2)
    assert (done.code, done.err) == (130, "")
    sent = signal.SIGTERM  # of which the others said nothing
    done = small(*line, "--launch", 2)
    assert (done.code, done.err) == (130, "\ninterrupted\n")
    monkeypatch.setattr("zoo.finetune.preflight.check_new", interrupt)
    monkeypatch.setattr(
        "zoo_cli.launch.sleep", lambda _: pytest.fail("it waits")
    )  # the launcher kills who is late
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, said in (("0", "\ninterrupted\n"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        done = small(*line)
        assert (done.code, done.err) == (130, said)


def test_a_configured_single_process_fails_as_any_other(
    console: Run, small: Run, tmp_path: Path
) -> None:
    config = tmp_path / "one.yaml"
    config.write_text(ONE)
    done = console(
        *TUNE, "--data", "nowhere", "--device", "cpu", "--launch", config, cwd=Path.cwd()
    )
    assert done.code == 1
    assert done.err.count("error: ") == 1
    assert "no such folder" in done.err
    assert "Traceback" not in done.err


def test_a_configured_single_process_says_that_it_is_interrupted(
    small: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    config = tmp_path / "one.yaml"
    config.write_text(ONE)
    monkeypatch.setattr("accelerate.commands.launch.launch_command", interrupt)
    done = small(*TUNE, "--data", few, "--launch", config)
    assert (done.code, done.err) == (130, "")


def test_an_interrupt_of_the_launcher_alone_reaches_the_single_process(
    small: Run, few: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would train on, and nobody would be told."""
    reader, writer = os.pipe()
    program = "import os, signal, time\nos.write({0}, b'on ')\ntry:\n    time.sleep(60)\n"
    program += "except KeyboardInterrupt:\n    os.write({0}, b'interrupted')\n"

    child: list[subprocess.Popen[bytes]] = []

    def start(_: object) -> None:
        line = [sys.executable, "-c", program.format(writer)]
        child.append(subprocess.Popen(line, pass_fds=[writer]))
        os.close(writer)
        assert os.read(reader, 3) == b"on "
        raise KeyboardInterrupt

    config = tmp_path / "one.yaml"
    config.write_text(ONE)
    monkeypatch.setattr("accelerate.commands.launch.launch_command", start)
    monkeypatch.setattr("zoo_cli.launch.HASTE", 0.01)
    assert small(*TUNE, "--data", few, "--launch", config).code == 130
    with os.fdopen(reader, "rb") as said:
        assert said.read() == b"interrupted"
    child[0].wait(1)


@pytest.mark.long
def test_a_config_says_that_processes_share_the_weights(
    small: Run, console: Run, few: Path, tmp_path: Path
) -> None:
    config = tmp_path / "fsdp.yaml"
    config.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: FSDP\nuse_cpu: true\n"
        "num_processes: 2\nnum_machines: 1\nmachine_rank: 0\nmixed_precision: 'no'\n"
        "fsdp_config:\n  fsdp_version: 2\n  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP\n"
    )
    done = console(*TUNE, "--data", few, "--launch", config, cwd=Path.cwd())
    assert done.code == 0, done.err
    said = small("show", TUNE[TUNE.index("--save") + 1], "--json").json
    assert said["provenance"]["processes"] == "2, sharded"
    config.write_text(config.read_text().replace("version: 2", "version: 1"))
    done = console(*TUNE, "--data", few, "--launch", config, cwd=Path.cwd())
    assert done.code == 1
    assert "accelerate to-fsdp2" in done.err
    assert done.err.count("error: ") == 1
