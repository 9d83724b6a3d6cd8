"""How commands fail: with a hint that fits, as JSON where JSON was asked for, and not because a
reader left.
"""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TextIO

import numpy as np
import pytest
from fakes.checkpoints import add_checkpoint
from fakes.hub_home import own_hub
from fakes.hub_server import HubServer, Status
from fakes.prepared import Run

import zoo
from zoo import errors as e
from zoo_cli.errors import failure
from zoo_cli.main import main

NAME = "team/flowers"
DIGEST = f"blake3:{'0' * 64}"
DOCS = Path(__file__).parents[2] / "docs" / "cli.md"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo of one checkpoint, which tests copy."""
    root = tmp_path_factory.mktemp("tiny") / "zoo"
    with zoo.init(root) as made:
        add_checkpoint(made.workspace, NAME)
    return root


@pytest.fixture
def home(tiny: Path, bare: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, for this test alone; the current folder."""
    root = shutil.copytree(tiny, tmp_path / "zoo")
    monkeypatch.chdir(root)
    return root


def error_of(done: Any) -> dict[str, Any]:
    """The failure that a command line left as JSON."""
    assert done.out == ""
    found: dict[str, Any] = json.loads(done.err.splitlines()[-1])["error"]
    assert set(found) == {"code", "message", "hint"}
    return found


# JSON


@pytest.mark.parametrize(
    ("line", "code", "says", "hint"),
    [
        (("show", "team/flower"), "unknown_name", "'team/flower'", f"did you mean {NAME}?"),
        (("show", "a/b/c"), "invalid_reference", "is not a reference", "team/flowers:v3"),
        (("push", NAME, "--to", "lap"), "unknown_name", "unknown remote 'lap'", "./lap"),
        (("push", NAME, "--to", "/no/such/lab"), "unavailable", "does not exist", "zoo remote"),
        (("verify", "hf://a/b"), "invalid_option", "is not a store", "publishes there"),
        (("search", "licence:mit"), "unknown_name", "'licence'", "license"),
        (("--home", "nowhere", "search"), "no_zoo", "nowhere", "zoo init"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_failure_is_json_where_json_is_asked_for(
    bare: Run, home: Path, line: tuple[str, ...], code: str, says: str, hint: str
) -> None:
    done = bare(*line, "--json")
    told = error_of(done)
    assert (done.code, told["code"]) == (1, code)
    assert len(done.err.splitlines()) == 1
    assert says in told["message"]
    assert hint in told["hint"]
    plain = bare(*line)
    assert (plain.code, plain.err.startswith(f"error: {told['message']}")) == (1, True)


@pytest.mark.parametrize(
    "line",
    [("show",), ("show", NAME, "--nosuch"), ("nosuch",), ("search", "--limit", "0")],
    ids=str,
)
def test_so_is_wrong_usage(bare: Run, home: Path, line: tuple[str, ...]) -> None:
    done = bare(*line, "--json")
    told = error_of(done)
    assert (done.code, told["code"], "--help" in told["hint"]) == (2, "usage", True)
    assert told["message"] in bare(*line).err


def test_what_is_no_option_asks_for_no_json(bare: Run, home: Path) -> None:
    assert bare("show", "--", "--json").err.startswith("error: ")


def test_no_hint_is_null(bare: Run, home: Path) -> None:
    assert error_of(bare("remote", "add", "a/b", "/lab", "--json"))["hint"] is None


@pytest.mark.parametrize(
    ("raised", "code", "status"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (PermissionError(13, "Permission denied", "/lab/x"), "os_error", 1),
        (OSError(28, "No space left", "/lab/x"), "disk_full", 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_so_is_what_no_command_foresees(
    bare: Run, home: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: str,
    status: int,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise raised

    monkeypatch.setattr("zoo.facade.Zoo.show", fail)
    done = bare("show", NAME, "--json")
    assert (done.code, error_of(done)["code"]) == (status, code)


def test_a_fetch_reports_those_that_answered(bare: Run, home: Path) -> None:
    bare("push", NAME, "--to", "./lab")
    bare("remote", "add", "lab", "./lab")
    bare("remote", "add", "away", "/no/such/lab")
    done = bare("fetch", "--json")
    assert done.code == 1
    found = {row["remote"]: row for row in done.json}
    assert [*found["lab"]["refs"]] == [NAME]
    assert found["away"]["error"]["code"] == "unavailable"
    assert json.loads(done.err)["error"] == found["away"]["error"]


def test_the_message_of_data_is_whole(tmp_path: Path) -> None:
    problems = [f"{number}.png is not a readable image" for number in range(12)]
    told = failure(e.InvalidData(tmp_path, problems))
    assert all(problem in told.message for problem in problems)
    assert "and 2 more" in str(told)


def test_each_error_has_a_code_that_the_documents_list() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (\d+) \| \S", DOCS.read_text(), re.MULTILINE)
    classes = [getattr(e, name) for name in e.__all__ if isinstance(getattr(e, name), type)]
    assert len(classes) > 20
    for kind in classes:
        error = kind.__new__(kind)
        Exception.__init__(error, "text")
        snake = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", kind.__name__).lower()
        assert (snake, "1") in listed
    others = {("os_error", "1"), ("usage", "2"), ("interrupted", "130")}
    assert others <= set(listed)
    assert len(listed) == len(set(listed)) == len(classes) + len(others)


def test_an_error_of_a_plugin_has_the_code_of_its_kind() -> None:
    class Away(e.Unavailable):
        """A plugin's own."""

    assert failure(Away("lab", "sleeps")).code == "unavailable"


# Hints


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (e.Conflict("the run 1 is done"), "nothing was changed"),
        (e.Conflict("x was moved by someone else", DIGEST), "nothing was changed"),
        (e.Protected(NAME, DIGEST), f"end that first: zoo protect --off {NAME}"),
        (e.UnknownName("hub file", "x"), ""),
        (e.UnknownName("unit of resnet50", "x", hint=""), ""),
        (e.UnknownName("run", "x"), "zoo runs lists the runs"),
        (e.UnknownName("unit of a", "x", ["y"], "more"), "did you mean y?\nmore"),
        (e.Unavailable("hub", "is away"), ""),
        (e.Unsupported("no information on transformers"), ""),
        (e.Unsupported("manifest format 9; this program reads 1"), "a newer zoo may know it: "
                                                                   + e.how_to_update()),
        (e.InvalidWeights("a.pth", "is empty"), ""),
        (e.InvalidData("flowers", ["one class only"]), ""),
        (e.InvalidManifest("breaks the format"), ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)  # fmt: skip
def test_a_hint_fits(error: e.ZooError, hint: str) -> None:
    assert failure(error).hint == hint


@pytest.mark.parametrize(
    ("noted", "told"),
    [
        ('{"url": "file:///home/me/zoo", "dir_info": {}}', ", file:///home/me/zoo"),
        (None, ""),
        ("[]", ""),
    ],
)
def test_a_newer_zoo_is_sought_where_this_one_came_from(
    monkeypatch: pytest.MonkeyPatch, noted: str | None, told: str
) -> None:
    """Whoever has the name at a package index is somebody else."""
    found = SimpleNamespace(read_text={"direct_url.json": noted}.get)
    monkeypatch.setattr("importlib.metadata.distribution", {"zoo-registry": found}.__getitem__)
    assert e.how_to_update() == f"update zoo where it was installed from{told}"


def test_a_protected_name_is_no_conflict_of_a_push(bare: Run, home: Path) -> None:
    bare("tag", NAME, "team/y")
    bare("protect", "team/y")
    with zoo.open(home) as made:
        add_checkpoint(made.workspace, "team/z", {"a": np.ones(3, "f4")})
    for line in (("delete", "team/y"), ("tag", "team/z", "team/y")):
        err = bare(*line).err
        assert "zoo protect --off team/y" in err
        for other in ("--force", "--from", "another tag"):
            assert other not in err


def test_data_that_can_be_skipped_says_so(tmp_path: Path) -> None:
    from zoo.finetune.dataset.open import open_dataset

    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(3):
            (tmp_path / name / f"{number}.png").write_bytes(b"junk")
    with pytest.raises(e.InvalidData) as caught:
        open_dataset(str(tmp_path))
    assert failure(caught.value).hint == "--skip-bad leaves out the 6 images that cannot be used"
    for spec, hint in ((tmp_path / "gone", "a folder of its own"), (tmp_path / "cat", "its own")):
        with pytest.raises(e.InvalidData) as caught:
            open_dataset(str(spec))
        assert hint in failure(caught.value).hint
        assert "--skip-bad" not in failure(caught.value).hint


def test_identify_imports_nothing_and_says_nothing_of_it(bare: Run, home: Path) -> None:
    done = bare("identify", "gone.pth")
    assert (done.code, "nothing was imported" in done.err) == (1, False)


# Hints of the hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    monkeypatch.setattr("zoo_hub.client.sleep", lambda _: None)
    yield from own_hub(monkeypatch, tmp_path)


def hint_of(locator: str) -> str:
    from zoo_hub.source import HubSource

    with pytest.raises(e.ZooError) as caught:
        HubSource().resolve(locator)
    told = failure(caught.value).hint
    for wrong in ("zoo remote", "zoo search", "team/flowers"):
        assert wrong not in told
    return told


@pytest.mark.parametrize(
    ("status", "helps"),
    [
        (403, "lacks that right"),
        (413, "no room"),
        (429, "five minutes"),
        (500, ""),
        (507, "no room"),
    ],
)
def test_a_refusal_of_the_hub(hub: HubServer, status: int, helps: str) -> None:
    hub.commit("lab/net", {})
    hub.fail_next(*[Status(status)] * 10)
    told = hint_of("lab/net")
    assert helps in told
    assert bool(told) == bool(helps)


def test_what_the_hub_does_not_have(hub: HubServer) -> None:
    hub.commit("lab/net", {})
    hub.commit("lab/gated", {}, gated=True)
    assert hint_of("lab/gated") == "", "the message says it all"
    assert "hf auth login" in hint_of("lab/other")
    assert "branch, tag or commit" in hint_of("lab/net@v9")
    assert hint_of("lab").startswith("write hf://ORG/NAME")
    assert hint_of("lab/net@a..b").startswith("write hf://ORG/NAME")


def test_a_hub_that_is_not_asked(hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    assert "HF_HUB_OFFLINE=1" in hint_of("lab/net")
    monkeypatch.setenv("HF_ENDPOINT", "nonsense")
    assert "unset HF_ENDPOINT" in hint_of("lab/net")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "unset HF_HUB_OFFLINE" in hint_of("lab/net")


# Readers that leave


def left_by_its_reader(monkeypatch: pytest.MonkeyPatch, name: str) -> TextIO:
    """A pipe that nobody reads any more, as the standard stream ``name``."""
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w")
    monkeypatch.setattr(sys, name, stream)
    return stream


@pytest.mark.parametrize("line", [("search",), ("log", NAME), ("show", NAME, "--json")], ids=str)
def test_a_closed_pipe_is_no_failure(
    home: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...]
) -> None:
    pipe, err = left_by_its_reader(monkeypatch, "stdout"), io.StringIO()
    monkeypatch.setattr(sys, "stderr", err)
    with pytest.raises(SystemExit) as left:
        main([*line])
    assert (left.value.code, err.getvalue()) == (0, "")
    assert sys.stdout is pipe
    pipe.close()  # and nothing is left over that fails at the end


def test_work_is_done_though_nobody_reads_of_it(
    home: Path, bare: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("zoo.reflog.now", lambda: "2026-01-01T00:00:00Z")
        bare("delete", NAME)
    assert list(home.glob("manifests/*/*"))
    with monkeypatch.context() as patch:
        pipe = left_by_its_reader(patch, "stdout")
        with pytest.raises(SystemExit) as left:
            main(["prune", "--keep", "0", "--grace", "0", "--yes"])
        pipe.close()
    assert left.value.code == 0
    assert not list(home.glob("manifests/*/*")), "the plan is printed before it is run"


def test_a_failure_stays_one_though_nobody_reads_of_it(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipe = left_by_its_reader(monkeypatch, "stderr")
    with pytest.raises(SystemExit) as left:
        main(["show", "team/none"])
    assert left.value.code == 1
    pipe.close()


def test_ctrl_c_as_it_ends_is_told_nothing() -> None:
    code = """
import os, signal, sys, threading, time
import zoo_cli.main as module
def main():
    threading.Thread(target=lambda: (time.sleep(0.3), os.kill(os.getpid(), signal.SIGINT))).start()
    sys.exit(130)
module.main = main
module.program()
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")


# In Python


def test_a_traceback_ends_with_the_hint_of_the_command_line(
    bare: Run, home: Path, tmp_path: Path
) -> None:
    def told(name: str) -> list[str]:
        with zoo.open(home) as made, pytest.raises(e.ZooError) as caught:
            made.show(name)
        return traceback.format_exception_only(caught.value)

    for name in ("other/birds", "a/b/c"):
        lines = "".join(told(name)[1:]).splitlines()
        assert lines == [line.strip() for line in bare("show", name).err.splitlines()[1:]], name
        assert lines
    (line,) = told("team/flower")
    assert line.endswith(f": unknown checkpoint 'team/flower'; did you mean {NAME}?\n")


def test_notes_of_others_come_after_the_hint() -> None:
    error = e.Conflict("x moved")
    error.add_note("found by a test")
    assert traceback.format_exception_only(error)[1:] == [
        "nothing was changed\n",
        "found by a test\n",
    ]


@pytest.mark.parametrize(
    "line",
    [("diff", NAME, "other/birds"), ("diff", "other/birds", NAME), ("show", "other/birds"),
     ("log", "other/birds"), ("tree", "other/birds"), ("predict", "other/birds", "a.png")],
    ids=" ".join,
)  # fmt: skip
def test_a_name_that_no_index_lists_is_met_with_where_to_look(
    bare: Run, home: Path, line: tuple[str, ...]
) -> None:
    done = bare(*line)
    assert (done.code, done.err.splitlines()[0]) == (1, "error: unknown checkpoint 'other/birds'")
    for command in ("zoo search WORD", "zoo fetch", "zoo index timm"):
        assert command in done.err
