"""Quantize: a checkpoint as ONNX in whole numbers of eight bits, measured beside its floats.

By ONNX Runtime's static quantization (https://onnxruntime.ai/docs/performance/model-optimizations/
quantization.html): weights by channel, and ranges of what runs through the network from images that
it was trained on or chosen by. Those that it is measured on have no part in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from zoo.backbones.bench import milliseconds
from zoo.backbones.preprocess import Picture
from zoo.domain.paired import Paired
from zoo.domain.progress import Progress
from zoo.domain.result import Result
from zoo.domain.task import Task
from zoo.errors import InvalidData, Unsupported
from zoo.exchange.convert import FILE, INPUT, READ, Converted, Run, convert, refusing
from zoo.exchange.exporting import check_free, new_folder
from zoo.finetune.dataset.augment import training_transform
from zoo.finetune.dataset.batches import Batches, evenly
from zoo.finetune.dataset.dataset import Dataset, Sample
from zoo.finetune.dataset.spec import DatasetOptions
from zoo.finetune.evaluation import (
    EvaluationSetting,
    Model,
    choose,
    known_of,
    matched_of,
    model_of,
    report_of,
)
from zoo.finetune.features.write import labeled_images
from zoo.finetune.results.paired import paired
from zoo.finetune.results.report import LabeledOutputs
from zoo.workspace import Workspace

__all__ = ["Quantized", "Side", "quantize"]

INT8 = "model-int8.onnx"
IMAGES = 128
"""So many give the ranges; ONNX Runtime keeps what runs through the network for each."""
COMPARED = 16
"""So many of them are compared with the checkpoint, if no others are given."""
BATCH = 32
SECONDS = 2.0
HEAVY = ("Conv", "ConvTranspose", "Gemm", "MatMul")
"""Operators with most of the work, all of which ONNX Runtime has in eight bits."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Side(Result):
    """One of the two files.

    Attributes:
        file: Where it is.
        bytes: Its size.
        milliseconds: Of one image by itself, on this CPU, by ONNX Runtime.
        metrics: Its figures on the test images.
    """

    file: Path
    bytes: int
    milliseconds: float
    metrics: Mapping[str, float]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Quantized(Result):
    """What quantization keeps.

    Attributes:
        converted: The file in floats.
        task: What the outputs mean.
        data: The images.
        split: Which of them both are measured on.
        calibrated: From how many other images the ranges are.
        operators: How many of `HEAVY` compute in eight bits.
        of: How many there are.
        fp32: The file in floats.
        int8: The other.
        paired: The paired test; the first is int8.
        verdict: That in words.
    """

    converted: Converted
    task: Task
    data: str
    split: str
    calibrated: int
    operators: int
    of: int
    fp32: Side
    int8: Side
    paired: Paired
    verdict: str


def quantize(
    workspace: Workspace,
    name: str,
    folder: Path,
    data: str,
    *,
    images: Sequence[Picture],
    opening: DatasetOptions,
    progress: Progress,
) -> Quantized:
    """Write ``model.onnx`` and ``model-int8.onnx`` into ``folder``; see `Zoo.quantize`."""
    check_free(folder)
    model = model_of(workspace, name)
    dataset = labeled_images(workspace, data, model.task, False, opening, progress)
    own = known_of(workspace, dataset, opening, [model])[model.digest].split
    split, samples = choose(dataset, own, None)
    known = _known(own or dataset, split, samples)
    asked = replace(dataset, test=samples, groups=(own or dataset).groups)
    setting = EvaluationSetting(workspace, asked, split, 0, BATCH, "cpu", False, 1, progress)
    matched_of(model, asked)  # before anything is exported
    with new_folder(folder) as whole:
        given = images or [asked.read(known[at]) for at in evenly(len(known), COMPARED)]
        converted = convert(workspace, model.digest, whole, format="onnx", images=given)
        paths = {"fp32": whole / FILE["onnx"], "int8": whole / INT8}
        with progress("quantizing", len(known)) as task, refusing(model.manifest, "int8"):
            _quantize(paths["fp32"], paths["int8"], _inputs(model, asked, known, task.advance))
            counted = _count(paths["int8"])
        sides = {kind: _side(setting, model, kind, path) for kind, path in paths.items()}
    difference = paired(sides["int8"][0], sides["fp32"][0])
    return Quantized(
        converted=replace(converted, files=tuple(folder / file.name for file in converted.files)),
        task=model.task,
        data=data,
        split=split,
        calibrated=len(known),
        operators=counted[0],
        of=counted[1],
        fp32=replace(sides["fp32"][1], file=folder / FILE["onnx"]),
        int8=replace(sides["int8"][1], file=folder / INT8),
        paired=difference,
        verdict=difference.in_words("int8", "fp32"),
    )


class _Session(nn.Module):
    """What ONNX Runtime runs, as a network of torch."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self.run = run
        self.register_parameter("place", nn.Parameter(torch.zeros(()), requires_grad=False))

    def forward(self, images: Tensor) -> Tensor:
        """Images (N, C, H, W) to outputs (N, K)."""
        return torch.from_numpy(self.run(images.numpy()))


def _known(parts: Dataset, split: str, samples: Sequence[Sample]) -> tuple[Sample, ...]:
    """Images to take ranges from: none of those to measure on, nor a copy of one.

    Raises:
        InvalidData: There are none.
    """
    tested = {parts.digests.get(sample.key, sample.key) for sample in samples}
    left = parts.train if split == "validation" else (*parts.train, *parts.validation)
    others = [each for each in left if parts.digests.get(each.key, each.key) not in tested]
    if split not in ("test", "validation") or not others:
        raise InvalidData(
            parts.spec,
            ["it has no training images beside those to measure on"],
            hint="ranges of int8 are taken from training images and its accuracy from others: give "
            "the images that the checkpoint was trained on, or a folder with train/ and test/",
        )
    return tuple(others[at] for at in evenly(len(others), IMAGES))


def _inputs(
    model: Model, dataset: Dataset, samples: Sequence[Sample], advance: Any
) -> Iterator[dict[str, NDArray[np.float32]]]:
    """What the network gets of each image by itself, as ONNX Runtime asks for it."""
    manifest = model.manifest
    transform = training_transform(manifest.preprocessing, manifest.backbone.plugin)
    batches = Batches(dataset, samples, transform, 1, once=True)
    for batch in batches.view(0):
        yield {INPUT: batch.images.numpy()}
        advance(1)


def _quantize(floats: Path, path: Path, inputs: Iterator[dict[str, NDArray[np.float32]]]) -> None:
    from onnxruntime.quantization import CalibrationDataReader, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def get_next(self) -> dict[str, NDArray[np.float32]] | None:
            return next(inputs, None)

    with TemporaryDirectory(dir=path.parent) as scratch:
        ready = Path(scratch, floats.name)
        # Without symbolic shapes, which are for text: they fail on some transformers.
        with _unheard():
            quant_pre_process(floats, ready, skip_symbolic_shape=True)
            quantize_static(ready, path, Reader(), per_channel=True)
    _keep_description(floats, path)


@contextmanager
def _unheard() -> Iterator[None]:
    """Warnings of each norm, which has no channels, go to the root logger, and would set it up."""
    nowhere = logging.NullHandler()
    logging.getLogger().addHandler(nowhere)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(nowhere)


def _keep_description(floats: Path, path: Path) -> None:
    """Give what was quantized the metadata of what it was made of."""
    import onnx

    known = onnx.load(floats, load_external_data=False).metadata_props
    model = onnx.load(path)
    del model.metadata_props[:]
    model.metadata_props.extend(known)
    onnx.save(model, path)


def _count(path: Path) -> tuple[int, int]:
    """How many of the operators with most of the work compute in eight bits, of how many.

    Raises:
        Unsupported: None does.
    """
    import onnx

    nodes = onnx.load(path).graph.node
    whole = {name for node in nodes if node.op_type == "DequantizeLinear" for name in node.output}
    heavy = [node for node in nodes if node.op_type in HEAVY]
    inside = sum({*node.input[:2]} <= whole for node in heavy)
    if not inside:
        raise Unsupported("none of its operators is one that ONNX Runtime has in eight bits")
    return inside, len(heavy)


def _side(
    setting: EvaluationSetting, model: Model, kind: str, path: Path
) -> tuple[LabeledOutputs, Side]:
    """What a file says of the images, and its figures."""
    matched = matched_of(model, setting.dataset)
    images = f"{len(matched.samples):,} images of {setting.dataset.spec}, {setting.split} split"
    setting.progress.say(f"{kind} on {images}")
    with refusing(model.manifest, kind):
        session = _Session(READ["onnx"](path))
    outputs = setting.outputs(model, matched, session)
    took = milliseconds(session, model.manifest.preprocessing.input_size, SECONDS)
    return outputs, Side(
        file=path,
        bytes=path.stat().st_size,
        milliseconds=round(took, 3),
        metrics=report_of(model, outputs).metrics,
    )
