"""Predicting: the rows of a table of predictions by Ray Data (https://docs.ray.io/en/latest/data),
on all nodes of a cluster.

Ray Data does not run behind Ray's client (``ray://``). So an actor of the cluster drives it, and
hands out rows as they are asked for. What goes through it are batches, each with its place: they
are of the same images as on one machine, and so have the same digits.
"""

from __future__ import annotations

import logging
import pickle
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from zoo.backbones.decode import Batch, Named, batches
from zoo.backbones.image_files import first_of
from zoo.backbones.load import load
from zoo.backbones.many import PredictOptions, rows_of
from zoo.backbones.preprocess import Picture
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.executors.cluster import Cluster, open_cluster
from zoo.executors.executor import TIMES, carried_out, ended, killed
from zoo.store.rows import Row
from zoo.workspace import Workspace

__all__ = ["ClusterRows", "open_elsewhere"]

BLOCK = 128
"""Images of a task of Ray."""
AT_ONCE = 1 << 28
"""Bytes that are handed to the cluster before their rows are asked for: of paths, two million."""
APART = frozenset({"cuda"})
"""Devices beside which images are decoded by tasks of their own. On a CPU, what runs the network
decodes: it has all cores that it asks for.
"""


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker needs to know.

    Attributes:
        workspace: The zoo.
        digest: The checkpoint.
        asked: How images are predicted.
        device: What the network runs on.
        threads: With how many threads.
        preprocess: What makes its input of an image.
        most: How many run it at once.
        on: What the cluster is called.
    """

    workspace: Workspace
    digest: Digest
    asked: PredictOptions
    device: str
    threads: int
    preprocess: Callable[[Picture], Tensor]
    most: int
    on: str

    @property
    def apart(self) -> bool:
        """Whether images are decoded beside the network."""
        return self.device in APART


@dataclass(frozen=True, slots=True)
class ClusterRows:
    """Gives the rows of images, in their order, as `zoo.backbones.many.Elsewhere`."""

    cluster: Cluster
    workspace: Workspace
    digest: Digest

    @property
    def device(self) -> str:
        """What networks run on."""
        return self.cluster.device

    def __call__(
        self,
        named: Iterator[Named],
        asked: PredictOptions,
        preprocess: Callable[[Picture], Tensor],
    ) -> Generator[list[Row]]:
        """Rows of each batch.

        Raises:
            Unavailable: A worker was killed as often as it began a batch.
        """
        cluster, ray = self.cluster, self.cluster.ray
        most, threads = cluster.places(), 1 if self.device in APART else cluster.threads
        how = (asked, self.device, threads, preprocess, most, cluster.on)
        driver = ray.remote(num_cpus=0, max_restarts=0, max_concurrency=2)(_Driver)
        driver = driver.remote(Work(self.workspace, self.digest, *how))
        try:
            for pieces in _pieces(named, asked.batch_size):
                self._result(driver.begin.remote(pieces))
                while answers := self._result(driver.more.remote()):
                    for each in answers:
                        yield ended(*_read(each))
        finally:
            ray.kill(driver)

    def _result(self, reference: object) -> Any:
        from ray.exceptions import RayError, RayTaskError

        try:
            return self.cluster.ray.get(reference)
        except RayTaskError as error:  # not of a batch, which answers what it raises
            raise RuntimeError(str(error)) from error
        except RayError as error:
            raise killed(self.cluster.on) from error


@contextmanager
def open_elsewhere(
    on: str,
    device: str,
    workspace: Workspace,
    digest: Digest,
    images: Iterable[Picture],
    cache: Path,
    progress: Progress,
) -> Iterator[ClusterRows | None]:
    """The cluster ``on`` (`zoo.executors.cluster.open_cluster`) as what gives rows of ``images``;
    None: nothing but this machine.

    Raises:
        Unavailable: As there; a node does not reach the ``cache`` of the zoo, or the images.
    """
    if not on:
        yield None
        return
    paths = [first_of(each).absolute() for each in images if isinstance(each, str | Path)]
    reached = [cache.absolute(), *(path for path in paths if path.exists())]
    with open_cluster(on, device, reached, progress) as cluster:
        yield ClusterRows(cluster, workspace, digest)


def _pieces(named: Iterator[Named], size: int) -> Iterator[list[list[bytes]]]:
    """Batches, pickled, in blocks of some; as many blocks as are handed out at once."""
    pictures = ((name, _absolute(picture)) for name, picture in named)
    coded = map(pickle.dumps, iter(lambda: [*islice(pictures, size)], []))
    piece, length = list[list[bytes]](), 0
    for block in iter(lambda: [*islice(coded, max(BLOCK // size, 1))], []):
        piece.append(block)
        length += sum(map(len, block))
        if length >= AT_ONCE:
            yield piece
            piece, length = [], 0
    if piece:
        yield piece


def _absolute(picture: Picture) -> Picture:
    """Workers are in another folder."""
    return Path(picture).absolute() if isinstance(picture, str | Path) else picture


class _Driver:
    """An actor of the cluster: asks Ray Data for rows."""

    def __init__(self, work: Work) -> None:
        self.work, self._begun = work, Counter[object]()
        self._blocks: Iterator[Any] = iter(())
        self._batches = 0

    def begin(self, blocks: Sequence[Sequence[bytes]]) -> None:
        """Begin with so many batches, in blocks."""
        import pyarrow as pa
        import ray

        logging.getLogger("ray.data").setLevel(logging.ERROR)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.execution_options.preserve_order = True
        own = ray.get_runtime_context().current_actor
        tables = []
        for block in blocks:
            numbers = range(self._batches, self._batches + len(block))
            tables.append(pa.table({"number": [*numbers], "batch": [*block]}))
            self._batches += len(block)
        data: Any = ray.data.from_arrow(tables)
        if self.work.apart:
            data = data.map(partial(_decoded, own, self.work), num_cpus=1)
        data = data.map(
            _Predictor,
            fn_constructor_args=(own, self.work),
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self.work.most),
            num_cpus=self.work.threads,
            num_gpus=int(self.work.device == "cuda"),
        )
        self._blocks = iter(data.iter_batches(batch_size=None, batch_format="pyarrow"))

    def more(self) -> list[bytes]:
        """What came of the next batches; nothing if all are done."""
        block = next(self._blocks, None)
        return [] if block is None else block["batch"].to_pylist()

    def begun(self, step: object) -> int:
        """Count how often somebody begins with this, and does not end it: Ray replaces a worker
        that is killed, and begins its block again, without end.
        """
        self._begun[step] += 1
        return self._begun[step]

    def over(self, step: object) -> None:
        """Nobody was killed by this."""
        del self._begun[step]


class _Predictor:
    """An actor of Ray Data: has the network."""

    def __init__(self, driver: Any, work: Work) -> None:
        self.driver, self.work = driver, work
        torch.set_num_threads(work.threads)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """The rows of a batch, or what it raises."""
        if not self.work.apart:
            row = _decoded(self.driver, self.work, row)
        return _answered(self.driver, self.work, "predict", row, self._rows)

    def _rows(self, batch: bytes) -> list[Row]:
        return rows_of(self._model, ended(*_read(batch)), self.work.asked)

    @cached_property
    def _model(self) -> nn.Module:
        return load(self.work.workspace.store, self.work.digest, device=self.work.device)


def _read(data: bytes) -> Any:
    # By processes of this cluster, which take any code of each other.
    return pickle.loads(data)  # noqa: S301


def _decoded(driver: Any, work: Work, row: dict[str, Any]) -> dict[str, Any]:
    """The images of a batch, or what opening them raises."""

    def decode(batch: bytes) -> Batch:
        named: list[Named] = _read(batch)
        most, size = work.asked.max_pixels, len(named)
        loader = batches(
            named, work.preprocess, size=size, workers=0, max_pixels=most, pinned=False
        )
        return next(loader)

    return _answered(driver, work, "decode", row, decode)


def _answered(
    driver: Any, work: Work, what: str, row: dict[str, Any], act: Callable[[bytes], object]
) -> dict[str, Any]:
    """What is done with a batch, unless its worker was killed as often as it was begun."""
    import ray

    step = what, int(row["number"])
    if ray.get(driver.begun.remote(step)) > TIMES:
        answer: tuple[object, Exception | None] = None, killed(work.on)
    else:
        answer = carried_out(partial(act, row["batch"]))
        driver.over.remote(step)
    return {"number": row["number"], "batch": pickle.dumps(answer)}
