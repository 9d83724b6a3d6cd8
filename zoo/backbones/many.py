"""Many: the classes of any number of images into a table, batch by batch, on several devices.

What is done so far is kept beside the table (`zoo.store.rows`), so nothing is lost that was
predicted, and an image that cannot be read is a row with the reason.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Container, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Protocol, cast

import torch
from torch import Tensor, nn

from zoo import config
from zoo.backbones.decode import Batch, Named, batches
from zoo.backbones.features import shared_threads
from zoo.backbones.image_files import count_images
from zoo.backbones.load import Card
from zoo.backbones.predict import (
    Picture,
    card_of,
    each_image,
    likely,
    output_names,
    predict_batch,
)
from zoo.backbones.predicted import Columns, PredictionsFile, check_out, write_table
from zoo.backbones.preprocess import EncodedImage
from zoo.backbones.table_record import Names, TableRecord
from zoo.backbones.trust import Trust
from zoo.domain.digest import Digest
from zoo.domain.progress import Progress
from zoo.domain.task import decided, task_of
from zoo.errors import Conflict, Unsupported
from zoo.store.rows import Row, Rows, open_rows

__all__ = [
    "Elsewhere",
    "PredictOptions",
    "complete",
    "count_pictures",
    "made_with",
    "predict_many",
    "rows_of",
    "usual_batch",
]

AHEAD = 2
"""Batches that are handed to each device before their rows are asked for."""


def usual_batch(device: str) -> int:
    """Images that run at once on a device, if nobody says how many.

    On the CPU few: what a layer makes of more is larger than what the allocator of the C library
    keeps for the next one (32 MB), and the system then clears that memory each time.
    """
    return 4 if device == "cpu" else 32


class Elsewhere(Protocol):
    """Other machines, where networks like the one here run.

    Attributes:
        device: What they run on, as `usual_batch` wants it.
    """

    @property
    def device(self) -> str: ...  # noqa: D102

    def __call__(
        self,
        named: Iterator[Named],
        asked: PredictOptions,
        preprocess: Callable[[Picture], Tensor],
    ) -> Generator[list[Row]]:
        """The rows of batches of these images, in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictOptions:
    """How images are predicted.

    Attributes:
        top: How many classes are named.
        max_pixels: Of the largest image that is opened; None: Pillow's limit.
        trust: What comes of whether it is calibrated, and of when it abstains.
        views: Of each image, as in `zoo.backbones.predict.predict`.
        batch_size: Images that run at once.
        workers: Processes that decode; None: as many as there are cores.
        made_with: What decides of this what is in the rows, plain data (`made_with`).
    """

    top: int
    max_pixels: int | None
    trust: Trust
    views: int
    batch_size: int
    workers: int | None
    made_with: Mapping[str, object]


def made_with(
    checkpoint: Digest,
    top: int,
    max_pixels: int | None,
    calibration: bool,
    abstain_at: float | None,
    views: int,
) -> dict[str, object]:
    """What decides what is in the rows of a table, as it is kept with them."""
    return {
        "checkpoint": str(checkpoint),
        "top": top,
        "max-pixels": max_pixels,
        "calibration": calibration,
        "abstain-at": abstain_at,
        "views": views,
    }


def complete(
    out: Path, images: Iterable[Picture], made_with: Mapping[str, object], cache: Path
) -> PredictionsFile:
    """See that the table ``out`` is complete, and of these images; none of them is read.

    Raises:
        Conflict: This zoo does not know so, as of images in memory; or they are others, or made in
            another way; or another process writes it.
    """
    record, names = TableRecord.of(cache, out), Names()
    for name, picture in each_image(images):
        if not isinstance(picture, str | Path | EncodedImage):
            raise Conflict(f"{out} exists: images in memory may be others than it is of")
        names.add(name)
    record.check(out, made_with, names)
    with open_rows(out, made_with, resume=True, force=False) as kept:
        kept.delete()  # of whoever was killed as soon as the table was there
    return PredictionsFile(
        path=out,
        manifest=Digest.parse(str(made_with["checkpoint"])),
        images=record.images,
        unreadable=record.unreadable,
        calibrated=record.calibrated,
        already=True,
    )


def count_pictures(images: Iterable[Picture]) -> int:
    """How many images there are in folders, and beside them."""
    return sum(count_images(each) if isinstance(each, str | Path) else 1 for each in images)


def predict_many(
    models: Sequence[nn.Module],
    images: Iterable[Picture],
    out: Path,
    asked: PredictOptions,
    *,
    count: int | None,
    resume: bool,
    force: bool,
    cache: Path,
    progress: Progress,
    elsewhere: Elsewhere | None,
) -> PredictionsFile:
    """Write a row for each image into the table ``out``.

    Columns are ``path``; ``class_1``, ``probability_1``, …, the likeliest first, or of numbers that
    were learned their names; ``labels``, of a network of labels those above 0.5; ``abstained``,
    ``unlike`` and ``distance`` as far as ``asked.trust`` knows; and ``problem``, why an image has
    no prediction.

    Args:
        models: The network, once for each device that it runs on.
        images: As for `zoo.backbones.predict.predict`.
        out: Called ``.csv`` or ``.parquet``.
        asked: How.
        count: Of images, as far as it is known.
        resume: Go on with what an earlier call has left.
        force: Replace the table, or begin anew.
        cache: Where the zoo remembers the table (`complete`).
        progress: Learns how far it is.
        elsewhere: Where batches are run in place of here.

    Raises:
        Conflict: The table exists, another process writes it, something is left of another call, or
            what is left is of other images or was made in another way.
        Unsupported: As `zoo.backbones.predict.predict`, or the memory is too small.
        DiskFull: There is no space; what was predicted is kept.
    """
    card = card_of(models[0])
    with open_rows(out, asked.made_with, resume=resume, force=force) as kept:
        check_out(out, force=force)  # whoever had the lock may have written it
        named = each_image(images)
        done, named = _resumed(kept, named, asked.batch_size) if resume else (0, named)
        left = None if count is None else max(count - done, 0)
        try:
            if elsewhere:
                rows = elsewhere(named, asked, card.preprocess)
            else:
                rows = _predict(models, named, asked, left)
            _keep(rows, kept, left, progress)
            written = _write(kept, out, card, asked, cache)
        except KeyboardInterrupt as error:
            error.add_note(f"{kept.path} has what was predicted; --resume continues it")
            raise
        kept.delete()
    return written


def _resumed(kept: Rows, named: Iterator[Named], size: int) -> tuple[int, Iterator[Named]]:
    """How many rows there are, in whole batches, and the images that have none."""
    again: list[Named] = []
    for number, row in enumerate(kept.read(), 1):
        again.append(next(named, ("none", "")))
        if again[-1][0] != row[0]:
            raise Conflict(
                f"{kept.path} is of other images: number {number} was {row[0]}, and is "
                f"{again[-1][0]} now",
                hint="--force begins anew",
            )
        if number % size == 0:
            again.clear()
    return kept.cut(size), chain(again, named)


def _predict(
    models: Sequence[nn.Module], named: Iterator[Named], asked: PredictOptions, count: int | None
) -> Generator[list[Row]]:
    """The rows of each batch, in their order."""
    device = next(models[0].parameters()).device.type
    # This process decodes one batch of them itself: a single one is worth no other process.
    most = config.cores() if asked.workers is None else asked.workers
    workers = most if count is None else min(most, max(count - 1, 0) // asked.batch_size)
    decoded = batches(
        named,
        cast(Card, models[0].zoo).preprocess,
        size=asked.batch_size,
        workers=workers,
        max_pixels=asked.max_pixels,
        pinned=device == "cuda",
    )
    with shared_threads(len(models) if device == "cpu" else 1):
        yield from _spread(models, decoded, asked)


def _keep(batches: Generator[list[Row]], kept: Rows, count: int | None, progress: Progress) -> None:
    began, images = time.monotonic(), 0
    with closing(batches), progress("predict", count) as task:
        for rows in batches:
            kept.add(rows)
            images += len(rows)
            rate = images / max(time.monotonic() - began, 1e-3)
            task.advance(len(rows), f"{rate:,.1f} images/s")


def _spread(
    models: Sequence[nn.Module], decoded: Iterable[Batch], asked: PredictOptions
) -> Iterator[list[Row]]:
    """The rows of each batch, in their order; devices take turns, each in a thread of its own."""
    waiting = deque[Future[list[Row]]]()
    with ExitStack() as threads:
        pools = [threads.enter_context(ThreadPoolExecutor(1)) for _ in models]
        for number, batch in enumerate(decoded):
            at = number % len(models)
            waiting.append(pools[at].submit(rows_of, models[at], batch, asked))
            if len(waiting) > AHEAD * len(models):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def rows_of(model: nn.Module, batch: Batch, asked: PredictOptions) -> list[Row]:
    """The rows of a batch: those of its images, and between them those that have a problem."""
    card = cast(Card, model.zoo)
    width = len(_columns(card, asked)) - 2
    names = [name for name, problem in zip(*batch[:2], strict=True) if not problem]
    answers = iter(_answers(model, card, batch, names, asked) if names else ())
    return [
        (name, *([None] * width if problem else next(answers)), problem or None)
        for name, problem in zip(*batch[:2], strict=True)
    ]


def _answers(
    model: nn.Module, card: Card, batch: Batch, names: Sequence[str], asked: PredictOptions
) -> Iterator[list[str | float]]:
    """What there is to say of each image that was read; see `_columns`."""
    images = batch.images.to(next(model.parameters()).device, non_blocking=True)
    try:
        logits, distances = predict_batch(model, images, names, asked.trust, asked.views)
    except (MemoryError, torch.OutOfMemoryError) as error:
        raise Unsupported(
            f"the memory is too small for {len(images)} images at once",
            hint=f"--resume --batch-size {max(len(images) // 4, 1)} continues with fewer",
        ) from error
    likeliest, outputs = (
        likely(logits, card, asked.top, asked.trust),
        output_names(card, logits.shape[1]),
    )
    shares = likeliest.shares.tolist() if likeliest else logits.tolist()
    indices = likeliest.indices.tolist() if likeliest else [()] * len(shares)
    for at, values in enumerate(shares):
        cells: list[str | float] = [] if likeliest else [*values]
        for index, share in zip(indices[at], values, strict=bool(likeliest)):
            cells += [outputs[index], round(share, 6)]
        if task_of(card.manifest) == "multi-label":
            cells.append(decided(outputs, logits[at].tolist()))
        if likeliest and likeliest.abstained:
            cells.append("yes" if likeliest.abstained[at] else "no")
        if distances:
            cells += ["yes" if distances[at] > 1 else "no", round(distances[at], 4)]
        yield cells


def _columns(card: Card, asked: PredictOptions) -> Columns:
    """The columns of the table. Numbers that were learned keep their names: what would be called
    as one of them gets a `_`.
    """
    count = card.manifest.head.num_classes
    columns: list[tuple[str, type[str] | type[float]]] = []
    if task_of(card.manifest) == "regression":
        columns += [(name, float) for name in output_names(card, count)]
    else:
        for at in range(1, min(asked.top, count) + 1):
            columns += [(f"class_{at}", str), (f"probability_{at}", float)]
        columns += [("labels", str)] if task_of(card.manifest) == "multi-label" else []
        columns += [("abstained", str)] if asked.trust.answers else []
    near: Columns = [("unlike", str), ("distance", float)] if asked.trust.nearness else []
    taken = {name for name, _ in columns}
    path, *others = (
        (_free(name, taken), kind) for name, kind in [("path", str), *near, ("problem", str)]
    )
    return [path, *columns, *others]


def _free(name: str, taken: Container[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _write(
    kept: Rows, out: Path, card: Card, asked: PredictOptions, cache: Path
) -> PredictionsFile:
    images, unreadable, names = 0, 0, Names()
    calibrated = asked.trust.temperature is not None and task_of(card.manifest) != "regression"

    def counted() -> Iterator[Row]:
        nonlocal images, unreadable
        for row in kept.read():
            images += 1
            unreadable += row[-1] is not None
            names.add(str(row[0]))
            yield row

    def remember(table: str) -> None:
        record = TableRecord(
            made_with=asked.made_with,
            names=names.digest(),
            images=images,
            unreadable=unreadable,
            calibrated=calibrated,
        )
        record.keep(cache, table)

    write_table(out, _columns(card, asked), counted(), remember)
    return PredictionsFile(
        path=out,
        manifest=card.digest,
        images=images,
        unreadable=unreadable,
        calibrated=calibrated,
    )
