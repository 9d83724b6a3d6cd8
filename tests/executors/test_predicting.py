"""Tables of predictions by a Ray cluster on this machine: to the byte those of one process."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes.trials import Deadly
from fakes.tuned import drawings, small_zoo
from PIL import Image

import zoo
from zoo.errors import InvalidOption, Unavailable
from zoo.executors import predicting
from zoo.store.rows import Row, Rows

NET = "team/base"
pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(find_spec("ray") is None, reason="ray is not installed"),
    pytest.mark.filterwarnings("ignore"),  # Ray's own, of files that it leaves open
]


@pytest.fixture(scope="module", autouse=True)
def nodes() -> Iterator[None]:
    """A cluster of one node, which all tests here share: to start it takes seconds."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # Of fakes, for the nodes themselves: not all that a driver starts has the environment of
        # its job.
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
        ray.init("local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture(scope="module")
def z(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zoo.Zoo]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with closing(small_zoo(tmp_path_factory.mktemp("ray"))) as made:
        yield made
    torch.set_num_threads(threads)


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """45 drawings, and two files among them that are none; the path is no path of a worker."""
    drawings(tmp_path / "photos")
    (tmp_path / "photos" / "train" / "disc" / "bad.png").write_bytes(b"text")
    (tmp_path / "photos" / "val" / "bar" / "bad \udcff.png").write_bytes(b"\x89PNG")
    monkeypatch.chdir(tmp_path)
    return "photos"


@pytest.mark.parametrize("apart", [False, True])
def test_the_table_is_that_of_one_process(
    z: zoo.Zoo, photos: str, monkeypatch: pytest.MonkeyPatch, apart: bool
) -> None:
    """With images decoded where the network runs, and by tasks beside it, as on GPUs."""
    monkeypatch.setattr(predicting, "BLOCK", 8)
    monkeypatch.setattr(predicting, "AT_ONCE", 7000)
    monkeypatch.setattr(predicting, "APART", {"cpu"} if apart else set())
    how: dict[str, Any] = {"batch_size": 4, "device": "cpu"}
    alone = z.write_predictions(NET, photos, "alone.csv", **how)
    assert (alone.images, alone.unreadable) == (47, 2)
    many = z.write_predictions(NET, photos, "many.csv", on="ray", **how)
    assert (many.images, many.unreadable) == (47, 2)
    assert Path("many.csv").read_bytes() == Path("alone.csv").read_bytes()
    again = z.write_predictions(NET, photos, "many.csv", on="ray", resume=True, **how)
    assert again.already


def test_a_cluster_goes_on_with_what_one_machine_began(
    z: zoo.Zoo, photos: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stops(self: Rows, rows: Iterable[Row]) -> None:
        add(self, rows)
        if len([*self.read()]) >= 12:
            raise KeyboardInterrupt

    add = Rows.add
    z.write_predictions(NET, photos, "alone.csv", batch_size=4)
    with monkeypatch.context() as patch:
        patch.setattr(Rows, "add", stops)
        with pytest.raises(KeyboardInterrupt):
            z.write_predictions(NET, photos, "many.csv", batch_size=4, workers=0)
    z.write_predictions(NET, photos, "many.csv", batch_size=4, on="ray", resume=True)
    assert Path("many.csv").read_bytes() == Path("alone.csv").read_bytes()


def test_a_client_of_the_cluster_gets_the_same(z: zoo.Zoo, photos: str) -> None:
    """`ray://`, behind which Ray Data itself does not run."""
    from ray.util.client.server.server import serve

    z.write_predictions(NET, photos, "alone.csv", batch_size=4)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = serve("127.0.0.1", port)
    try:
        line = ["--home", str(z.workspace.root), "predict", NET, photos, "--out", "many.csv"]
        more = ["--batch-size", "4", "--on", f"ray://127.0.0.1:{port}"]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        program = [sys.executable, "-m", "zoo_cli", *line, *more]
        said = subprocess.run(program, env=env, capture_output=True, text=True, check=False)
    finally:
        server.stop(0)
    assert "2 of 47 images cannot be read" in said.stderr, said
    assert Path("many.csv").read_bytes() == Path("alone.csv").read_bytes()


def test_images_in_memory_go_there(z: zoo.Zoo, photos: str) -> None:
    pixels = np.arange(64 * 64 * 3, dtype=np.uint8).reshape(64, 64, 3)
    few: list[Any] = [pixels, Image.fromarray(pixels), np.zeros((2, 2)), f"{photos}/test/*/*.png"]
    for out, on in (("alone.csv", ""), ("many.csv", "ray")):
        z.write_predictions(NET, few, out, batch_size=2, on=on)
    assert Path("many.csv").read_bytes() == Path("alone.csv").read_bytes()


def test_a_batch_that_kills_its_worker_is_begun_twice(z: zoo.Zoo, photos: str) -> None:
    (first, second, *_) = sorted(Path(photos).rglob("*.png"))
    once: list[Any] = [first, Deadly(Path("once").absolute(), 1, second.absolute())]
    z.write_predictions(NET, once, "once.csv", on="ray", batch_size=1)
    z.write_predictions(NET, [first, second], "alone.csv", batch_size=1)
    rows = Path("alone.csv").read_text().replace(str(second), "image 1")
    assert Path("once.csv").read_text() == rows
    ever: list[Any] = [first, Deadly(Path("ever").absolute(), 9, second.absolute())]
    with pytest.raises(Unavailable, match="the worker on ray: it was killed 2 times"):
        z.write_predictions(NET, ever, "ever.csv", on="ray", batch_size=1)
    assert len(Path("ever").read_text().splitlines()) == 2
    assert len(Path("ever.csv.partial").read_text().splitlines()) == 2  # the first image is kept


def test_what_is_refused(z: zoo.Zoo, photos: str) -> None:
    with pytest.raises(InvalidOption, match="workers are of this machine"):
        z.write_predictions(NET, photos, "p.csv", on="ray", workers=1)
    with pytest.raises(InvalidOption, match="'moon' is no cluster"):
        z.write_predictions(NET, photos, "p.csv", on="moon")
    with pytest.raises(Unavailable, match="no node of the cluster has a cuda device"):
        z.write_predictions(NET, photos, "p.csv", on="ray", device="cuda")
