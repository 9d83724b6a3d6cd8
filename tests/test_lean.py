"""What the user waits for: looking things up never imports what only training needs."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from fakes.checkpoints import add_checkpoint
from fakes.hub_server import HubServer
from fakes.plugin_code import Install
from fakes.sampled import every
from safetensors.torch import save

import zoo
from zoo.domain.catalog import CatalogEntry
from zoo.domain.manifest import Backbone, Head
from zoo.lookup.runs import Run
from zoo_cli.main import SECTIONS
from zoo_timm import known

HEAVY = ("torch", "timm", "torchvision", "safetensors", "sklearn", "PIL", "numpy")
RUN = f"""
import json, sys
from zoo_cli.main import main
for line in json.loads(sys.argv[1]):
    try:
        main(line)
    except SystemExit as left:
        assert left.code in (0, None), (line, left.code)
    heavy = [name for name in {HEAVY} if name in sys.modules]
    assert not heavy, (line, heavy)
"""
HELP_SECONDS, WRONG_SECONDS = 0.24, 0.5
NET = "test_resnet"
KNOWN = ("test_resnet", "squeezenet1_1", "torchvision/resnet18", "dinov2-small", "team/flowers")
"""Of timm, torchvision, transformers, and a checkpoint with a head of its own."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zoo that knows two catalog entries, a checkpoint, and the layers of some networks."""
    with zoo.init(tmp_path_factory.mktemp("lean") / "zoo") as made:
        entry = CatalogEntry(
            name="timm/resnet50.a1_in1k",
            architecture="resnet50",
            backbone="timm",
            tag="a1_in1k",
            license="apache-2.0",
            input_size=(3, 224, 224),
            num_classes=1000,
        )
        tiny = replace(entry, name="timm/test_resnet.r160_in1k", architecture="test_resnet")
        made.workspace.registry.replace_entries("timm", "1", [entry, tiny], "2026-01-01T00:00:00Z")
        add_checkpoint(
            made.workspace,
            "team/flowers",
            backbone=Backbone(plugin="timm", architecture="test_resnet"),
            head=Head(kind="linear", num_classes=3),
        )
        for name in KNOWN:
            made.tree(name)  # once with torch
        untraced = Backbone(plugin="timm", architecture="test_vit")
        add_checkpoint(made.workspace, "team/untraced", backbone=untraced)
        return made.root


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """A hub with weights of a network of timm's, whose configuration has nothing unusual."""
    if known.outline(NET) is None:
        pytest.skip("what is known of timm is of another version than the one installed")
    module = timm.create_model(NET, num_classes=3)
    config = {
        "architecture": NET,
        "num_classes": 3,
        "pretrained_cfg": {"input_size": [3, 160, 160]},
    }
    files = {
        "config.json": json.dumps(config).encode(),
        "model.safetensors": save(module.state_dict()),
    }
    listed = timm.create_model(NET)
    with HubServer() as server:
        server.commit("lab/net", files)
        server.commit(
            "timm/test_resnet.r160_in1k",
            {"config.json": b"{}", "model.safetensors": save(listed.state_dict())},
        )
        yield server


@pytest.mark.parametrize(
    "arguments",
    [
        ("team/net", "--from", "hf://lab/net"),
        pytest.param(("timm/test_resnet.r160_in1k",), marks=pytest.mark.long),
    ],
    ids=" ".join,
)
def test_a_first_pull_from_the_hub_builds_nothing(
    hub: HubServer, tmp_path: Path, arguments: tuple[str, ...],
    record_property: Callable[[str, object], None],
) -> None:  # fmt: skip
    zoo.init(tmp_path / "zoo").close()
    environment = {
        **os.environ, "HF_ENDPOINT": hub.url, "NO_PROXY": "127.0.0.1",
        "HF_HOME": str(tmp_path / "hf"), "ZOO_HOME": str(tmp_path / "zoo"),
    }  # fmt: skip
    before = _seconds()
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([["pull", *arguments]])],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    record_property("table", f"zoo pull {' '.join(arguments)} | {_seconds() - before:.2f} s of CPU")
    assert done.returncode == 0, done.stderr
    with zoo.open(tmp_path / "zoo") as opened:  # and what it holds is a network
        module = opened.load(arguments[0])
    assert torch.isfinite(module(torch.zeros(1, 3, 160, 160))).all()


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param(["--help"], marks=pytest.mark.long),
        ["--version"],
        ["finetune --help"],
        pytest.param(["search resnet"], marks=pytest.mark.long),
        pytest.param(["index timm"], marks=pytest.mark.long),
        [
            "search --json",
            "show timm/resnet50.a1_in1k",
            "tree timm/test_resnet.r160_in1k",
            *(f"tree {name}" for name in KNOWN),
            "remote",
            "runs",
            "serve user add ann",
            "serve token",
            "serve team",
            "serve role team ann writer",
            "serve protect team/*",
            "serve access team public",
            "init",
        ],
    ],
    ids=lambda lines: lines[0],
)
def test_looking_up_imports_nothing_heavy(
    small: Path, lines: list[str], record_property: Callable[[str, object], None]
) -> None:
    """One after the other in one process."""
    before = _seconds()
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps([line.split() for line in lines])],
        cwd=small, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if len(lines) == 1:
        record_property("table", f"zoo {lines[0]} | {_seconds() - before:.2f} s of CPU")
    assert done.returncode == 0, done.stderr


def test_what_an_import_can_refuse_without_torch_it_refuses_at_once(tmp_path: Path) -> None:
    """And what a header tells needs none either."""
    if known.outline(NET) is None:
        pytest.skip("what is known of timm is of another version than the one installed")
    zoo.init(tmp_path).close()
    (tmp_path / "names.txt").write_text("ant\nbee\n")
    (tmp_path / "empty.pth").touch()
    (tmp_path / "page.pth").write_text("<!doctype html><title>Sign in</title>")
    weights = timm.create_model(NET, num_classes=3).state_dict()
    (tmp_path / "net.safetensors").write_bytes(save(weights))
    refused = [
        "import empty.pth --as team/x", "import page.pth --as team/x",
        "import gone.pth --as team/x",
        "import net.safetensors --as team/x --classes names.txt",
        "import net.safetensors --as team/x --classes gone.txt",
        "import net.safetensors --as team/x --parent team/gone",
    ]  # fmt: skip
    told = [
        "import net.safetensors --as team/net --dry-run",
        "import net.safetensors --as team/net",
    ]
    for lines, run in ((refused, RUN.replace("(0, None)", "(1,)")), (told, RUN)):
        done = subprocess.run(
            [sys.executable, "-c", run, json.dumps([line.split() for line in lines])],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr


TUNE = "finetune team/flowers --save team/x"
REFUSED = (
    "finetune team/flower --data . --save team/x",
    f"{TUNE} --data nowhere",
    f"{TUNE} --data registry.db",
    f"{TUNE} --data . --task regression",
    f"{TUNE} --data . --root photos",
    f"{TUNE} --data odd.csv",
    f"{TUNE} --data tfds/mnist",
    f"{TUNE} --data hfds/x?tomato=1",
    f"{TUNE} --data . --freeze stage9",
    f"{TUNE} --data . --strategy probe --at stage9",
    f"{TUNE} --data . --strategy probe --epochs 3",
    f"{TUNE} --data . --head linea",
    f"{TUNE} --data . --log tensorbord",
    f"{TUNE} --data . --log none",
    f"{TUNE} --data . --recipe smal-data",
    f"{TUNE} --data . --recipe nowhere.toml",
    f"{TUNE} --data nowhere --seeds 2",
    f"{TUNE} --data nowhere --launch 2",
    f"{TUNE} --data . --launch two",
    "finetune team/flowers --data nowhere --dry-run",
    "finetune team/flowers --data nowhere --find-lr",
    "finetune timm/resnet50.a1_in1k --data . --save timm/resnet50.a1_in1k",
    "finetune --resume 2020",
    "finetune --resume 1999",
    "finetune --resume 2020 --launch 2",
    "rerun team/flower --save team/x",
    "rerun team/flowers --save team/x",
    "advise . --base team/flower",
    "advise nowhere --base team/flowers",
    "advise . --base team/flowers --out registry.db",
    "evaluate team/flower .",
    "predict team/flower odd.csv",
    "predict team/flowers nowhere.png",
    "predict team/flowers odd.csv",
    "predict team/flowers runs",
    "predict registry.db team/flowers",
    "predict team/flowers . --out registry.db",
    "predict team/flowers nowhere.png --out x.csv",
    "predict team/flowers nowhere.png --out x.csv --device mps",
    "evaluate team/flowers . --against team/flower",
    "evaluate team/flowers nowhere",
    "evaluate team/flowers . --out registry.db",
    "evaluate team/flowers . --device mps",
    "features team/flower . --out x",
    "features team/flowers nowhere --out x",
)
WRONG = f"""
import json, sys
from zoo_cli.main import main
for line in json.loads(sys.argv[1]):
    try:
        main(line)
    except SystemExit as left:
        assert left.code == 1, (line, left.code)
    heavy = [name for name in {HEAVY} if name in sys.modules]
    assert not heavy, (line, heavy)
"""


@pytest.mark.long
def test_what_is_wrong_is_found_without_torch(
    small: Path, install: Install, tmp_path: Path
) -> None:
    """All that can be: what a network or an image must be asked for comes later."""
    needs = "acme_lib; extra == 'none'"
    point = "none = acme_none:Plugin [none]"
    install("acme_none", "zoo.trackers", point, "import torch", requires=needs)
    folder = small / "runs/19991231-000000"
    Run(
        folder=folder,
        base="team/flowers",
        parent="",
        save="team/x",
        recipe={},
        device="cpu",
        started="",
        status="done",
    ).write()
    (small / "odd.csv").write_text("name;label\nx;y\n")
    before = _seconds()
    done = subprocess.run(
        [sys.executable, "-c", WRONG, json.dumps([line.split() for line in REFUSED])],
        cwd=small, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("error: ") == len(REFUSED)
    assert _seconds() - before < WRONG_SECONDS * len(REFUSED)


@pytest.mark.parametrize("line", every(3, [
    "finetune team/flowers --data {} --save team/x",
    "finetune team/untraced --data {} --save team/x",
    "finetune team/flowers --data {} --dry-run --quiet",
    "advise {} --base team/flowers --json",
    "rank {} --budget 1m",
], beside=pytest.mark.long))  # fmt: skip
def test_long_work_says_what_it_begins_with_before_torch_is_there(
    small: Path, tmp_path: Path, line: str
) -> None:
    data = tmp_path / "data"
    for name in ("ant", "bee"):
        (data / name).mkdir(parents=True)
        for number in range(4):
            (data / name / f"{number}.png").touch()
    (tmp_path / "torch.py").write_text(
        "import os\nprint('it spins', os.environ['GOMP_SPINCOUNT'])\nraise KeyboardInterrupt"
    )
    kept = {key: value for key, value in os.environ.items() if "OMP_" not in key}
    done = subprocess.run(
        [sys.executable, "-m", "zoo_cli", *line.format(data).split()],
        cwd=small, capture_output=True, text=True, check=False,
        env={**kept, "PYTHONPATH": f"{tmp_path}:{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    assert done.returncode == 130, done.stderr
    assert "it spins 10000" in done.stdout  # which is read once, with torch
    told = re.search(rf"^loading PyTorch, to read .*{data}$", done.stderr, re.MULTILINE)
    assert bool(told) is not line.endswith("--quiet")


@pytest.mark.parametrize(
    ("line", "left_out"),
    [
        ("--help", ("zoo.facade", "sqlalchemy", "importlib.metadata")),
        ("search resnet", ("zoo.store.prune", "zoo.lookup.history", "sqlalchemy.orm")),
    ],
)
def test_a_command_imports_no_other(small: Path, line: str, left_out: tuple[str, ...]) -> None:
    code = "import sys; from zoo_cli.main import main\ntry: main()\nfinally: print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *line.split()],
        cwd=small, capture_output=True, text=True, check=True,
    )  # fmt: skip
    imported = set(done.stdout.splitlines()[-1].split())
    rows = [row for rows in SECTIONS.values() for row in rows.values()]
    modules = {f"zoo_cli.{where.split(':')[0]}" for where, _ in rows}
    assert imported & {*modules, *left_out} == {f"zoo_cli.{line.split()[0]}"} & modules


def test_help_is_quick() -> None:
    command = [sys.executable, "-m", "zoo_cli", "--help"]
    subprocess.run(command, check=True, capture_output=True)  # compiles what was not yet
    seconds = []
    for _ in range(3):
        before = _seconds()
        subprocess.run(command, check=True, capture_output=True)
        seconds.append(_seconds() - before)
    assert min(seconds) < HELP_SECONDS


def _seconds() -> float:
    """CPU time of all child processes so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_import_zoo_imports_the_standard_library_only() -> None:
    code = "import sys; had = set(sys.modules); import zoo; print(*set(sys.modules) - had)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ
    )
    new = done.stdout.split()
    assert "zoo" in new
    foreign = {name for name in new if name.partition(".")[0] not in sys.stdlib_module_names}
    assert foreign == {"zoo"}


def test_public_names_are_sorted_and_resolve() -> None:
    assert zoo.__all__ == sorted(zoo.__all__)
    assert len(set(zoo.__all__)) == len(zoo.__all__)
    for name in zoo.__all__:
        assert getattr(zoo, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = zoo.no_such_name


TORCH = "import zoo_cli.main as it; it.main = lambda: __import__('torch'); it.program()"


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="GNU's OpenMP is that of torch on Linux")
@pytest.mark.parametrize(
    ("asked", "spins"),
    [({}, "10000"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")],
)
def test_threads_that_wait_soon_hand_over_the_core(asked: dict[str, str], spins: str) -> None:
    """What GNU's OpenMP itself says as it is loaded."""
    theirs = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")
    kept = {key: value for key, value in os.environ.items() if key not in theirs}
    done = subprocess.run(
        [sys.executable, "-c", TORCH],
        env={**kept, **asked, "OMP_DISPLAY_ENV": "VERBOSE"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"GOMP_SPINCOUNT = '{spins}'" in done.stderr
