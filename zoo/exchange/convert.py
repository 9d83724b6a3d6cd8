"""Convert a checkpoint to one file that other runtimes run, without the code of the network.

``onnx`` is what `torch.onnx.export` writes (https://docs.pytorch.org/docs/stable/onnx.html), for
ONNX Runtime, TensorRT and browsers; ``openvino`` is what OpenVINO makes of that, ``model.xml`` and
``model.bin`` (https://docs.openvino.ai); ``pt2`` is an exported program of torch
(https://docs.pytorch.org/docs/stable/export.html), for C++, AOTInductor and `torch.export.load`.
"""

from __future__ import annotations

import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.overrides import TorchFunctionMode

from zoo.backbones.image_files import named_images, unusable
from zoo.backbones.load import Card, load
from zoo.backbones.predict import guesses
from zoo.backbones.preprocess import Picture
from zoo.domain.adapter import adapter_of, without_adapter
from zoo.domain.calibration import CALIBRATION_FILE
from zoo.domain.description import KEY, description
from zoo.domain.digest import Digest
from zoo.domain.manifest import Manifest
from zoo.domain.network import CONFIG
from zoo.domain.plain import Json
from zoo.domain.preprocessing import steps_of
from zoo.domain.result import Result
from zoo.domain.surgery import Surgery
from zoo.domain.task import task_of
from zoo.errors import MissingPackage, Unsupported, ZooError
from zoo.exchange.exporting import check_free, configuration, new_folder
from zoo.lookup.calibrated import calibration_of
from zoo.store.atomic import write_whole
from zoo.workspace import Workspace

__all__ = ["FILE", "OUTPUT", "READ", "Checked", "Converted", "Format", "Run", "convert", "refusing"]

LOG = logging.getLogger("zoo")

Format = Literal["onnx", "openvino", "pt2"]
NEEDED: Mapping[Format, tuple[str, ...]] = {
    "onnx": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
    "pt2": (),
}
FILE: Mapping[Format, str] = {"onnx": "model.onnx", "openvino": "model.xml", "pt2": "model.pt2"}
IMAGES = 16
"""So many images are compared."""
TOLERANCE = 1e-3
"""Of the largest output: runtimes add up in another order. What differs more is another network."""
INPUT, OUTPUT, FEATURES, BATCH = "images", "logits", "features", "batch"
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Checked(Result):
    """How far the file's outputs are from the checkpoint's own.

    Attributes:
        images: How many images were compared.
        noise: Whether they were noise, as none were given.
        largest: The largest output of the checkpoint, in absolute value.
        difference: The largest difference of an output.
        same: For how many images the likeliest class is the same; None where outputs are no
            classes.
    """

    images: int
    noise: bool
    largest: float
    difference: float
    same: int | None


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Converted(Result):
    """A folder with a file that other runtimes run.

    Attributes:
        format: ``onnx``, ``openvino`` or ``pt2``.
        files: The files in it.
        input_shape: Of a batch: a name where any number goes.
        outputs: How many each image gets.
        checked: How far its outputs are from the checkpoint's own.
        temperature: What outputs are divided by before they become probabilities, which the file
            leaves to who runs it; None: nothing.
    """

    format: Format
    files: tuple[Path, ...]
    input_shape: tuple[int | str, ...]
    outputs: int
    checked: Checked
    temperature: float | None = None


def convert(
    workspace: Workspace,
    digest: Digest,
    folder: Path,
    *,
    format: Format,  # noqa: A002
    images: Sequence[Picture] = (),
) -> Converted:
    """Write `FILE` of a ``format`` into ``folder``, and ``config.json`` and ``calibration.json`` as
    `export` does.

    The file takes float32 images (N, C, H, W) as `zoo.backbones.load.Card.preprocess` makes them,
    and gives (N, outputs). Preprocessing, its steps (`steps_of`) and class names are in it, too:
    the key ``zoo`` of an ONNX file's metadata and of OpenVINO's runtime information, ``zoo.json``
    among a ``pt2`` file's extra files. What was written is run and compared with the checkpoint
    before it has its name.

    Args:
        workspace: Where the checkpoint is.
        digest: Which it is.
        folder: Where to write; an empty folder, or none.
        format: The kind of file.
        images: Files, folders of them, or images to compare with; noise if there are none.

    Raises:
        Conflict: ``folder`` holds files already.
        MissingPackage: What writes such a file, or runs it, is not installed.
        Unsupported: The network cannot be exported so, or what was written computes something else.
        InvalidImage: An image cannot be read.
    """
    check_free(folder)
    if lacking := [name for name in NEEDED[format] if not find_spec(name)]:
        raise MissingPackage(lacking[0], f"pip install 'zoo-registry[{format}]'")
    manifest = workspace.store.manifest(digest)
    calibration = calibration_of(workspace.store, manifest)
    if adapter_of(manifest):  # it is merged into the weights
        manifest = without_adapter(manifest)
    module = load(workspace.store, digest)
    card = cast(Card, module.zoo)
    for guess in guesses(manifest):
        LOG.warning(guess)
    tried = list(_inputs(card, images))
    surgery = Surgery.parse(manifest.backbone.options)
    whole_run = not (surgery.truncate or surgery.taps)
    with new_folder(folder) as whole:
        path = whole / FILE[format]
        # Nothing is trained: with gradients, other kernels of attention are traced than exported.
        with refusing(manifest, format), torch.no_grad():
            WRITE[format](module if whole_run else _AsOne(module), tried[0], path, manifest)
            run = READ[format](path)
        classes = manifest.head.num_classes > 1 and task_of(manifest) == "classification"
        checked = _compare(module, run, tried, noise=not images, classes=classes)
        for name, text in _texts(manifest).items():
            (whole / name).write_text(text, encoding="utf-8")
        if calibration:
            write_whole(whole / CALIBRATION_FILE, [calibration.to_bytes()])
        names = sorted(each.name for each in whole.iterdir())
        outputs = int(run(tried[0][None].numpy()).shape[1])
    return Converted(
        format=format,
        files=tuple(folder / name for name in names),
        input_shape=(BATCH, *tried[0].shape),
        outputs=outputs,
        checked=checked,
        temperature=calibration.temperature if calibration else None,
    )


def _inputs(card: Card, images: Sequence[Picture]) -> Iterator[Tensor]:
    """What the network gets of the first images; of noise if there are none."""
    if not images:
        draw = np.random.default_rng(0)
        channels, height, width = card.manifest.preprocessing.input_size
        for _ in range(IMAGES):
            if channels in (1, 3):
                yield card.preprocess(draw.integers(0, 256, (height, width, 3), np.uint8))
            else:  # no image file has them
                yield torch.from_numpy(draw.standard_normal((channels, height, width), np.float32))
        return
    paths = [each for each in images if isinstance(each, str | Path)]
    others = [each for each in images if not isinstance(each, str | Path)]
    for bad in filter(None, map(unusable, paths)):
        raise bad
    pictures = [*others, *named_images(paths)]
    for each in pictures[:: -(-len(pictures) // IMAGES)]:  # of all folders: those are often classes
        yield card.preprocess(each)


def _program(module: nn.Module, image: Tensor) -> torch.export.ExportedProgram:
    """The network as a graph that takes batches of any size; traced with two images, as a size of
    one would be taken for a constant.
    """
    batch = torch.export.Dim(BATCH, min=1)
    images = image.expand(2, *image.shape).clone()
    return torch.export.export(module, (images,), dynamic_shapes=({0: batch},))


class _AsOne(nn.Module):
    """A network that ends at a unit as a single module, with the same tensors by the same names.

    Its run is ended by an exception, and an exporter that keeps account of the modules that are
    entered never sees these left.
    """

    def __init__(self, own: nn.Module) -> None:
        super().__init__()
        self._own = (own,)  # in a tuple it is no module of this one
        for name, child in _holder(own).named_children():
            self.add_module(name, child)
        self._parameters, self._buffers = own._parameters, own._buffers

    def forward(self, images: Tensor) -> Tensor:
        """What the network gives."""
        tensors = dict((*self.named_parameters(), *self.named_buffers()))
        return cast(Tensor, torch.func.functional_call(self._own[0], tensors, (images,)))


def _holder(module: nn.Module) -> nn.Module:
    """Nothing but the tensors of a module, and of those inside it."""
    holder = nn.Module()
    for name, child in module._modules.items():
        holder.add_module(name, child and _holder(child))
    holder._parameters, holder._buffers = module._parameters, module._buffers
    return holder


def _write_onnx(module: nn.Module, image: Tensor, path: Path, manifest: Manifest) -> None:
    output = OUTPUT if manifest.head.num_classes else FEATURES
    with _FourDimensionalAttention():
        exported = _program(module, image)
    program = torch.onnx.export(
        exported,
        (),
        dynamo=True,  # which older versions of torch have to be told
        input_names=[INPUT],
        output_names=[output],
        verbose=False,
    )
    assert program
    _register_constants(program.model.graph)
    _name_batch(program.model.graph)
    program.model.metadata_props["zoo"] = _described(manifest)
    program.save(str(path))


class _FourDimensionalAttention(TorchFunctionMode):
    """Gives `torch.onnx` what alone it takes: attention between tensors of four dimensions. Of
    others, as Hiera's of five, all but the last three are taken for one.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """The same numbers."""
        known = kwargs or {}
        mask = known.get("attn_mask")
        broadcast = mask is None or mask.dim() <= 3  # it goes to each of the others as it is
        is_other = func is not scaled_dot_product_attention or len(args) != 3
        if is_other or args[0].dim() == 4 or not broadcast:
            return func(*args, **known)
        flat = [each.reshape(-1, *each.shape[-3:]) for each in args]
        return func(*flat, **known).reshape(*args[0].shape[:-1], args[2].shape[-1])


def _register_constants(graph: Any) -> None:
    """Where one value is clamped twice, the optimizer of onnxscript (0.7) gives the bounds of both
    the same names, and keeps in the graph those of the second alone.
    """
    for value in (value for node in graph for value in node.inputs if value is not None):
        if not (value.producer() or value.is_graph_input() or value.is_initializer()):
            graph.register_initializer(value)


def _name_batch(graph: Any) -> None:
    """Call the number of images what it is; torch has a symbol for it, such as ``s77``."""
    symbol = graph.inputs[0].shape[0]
    values = [*graph.inputs, *(value for node in graph for value in node.outputs)]
    for shape in (value.shape for value in values if value.shape):
        for at, size in enumerate(shape):
            if size == symbol:
                shape[at] = BATCH


def _write_pt2(module: nn.Module, image: Tensor, path: Path, manifest: Manifest) -> None:
    # Through memory: on a full disk torch's own writer names no reason, and ends the process.
    whole = BytesIO()
    described = {"zoo.json": _described(manifest)}
    torch.export.save(_program(module, image), whole, extra_files=described)
    write_whole(path, [whole.getbuffer()])


def _described(manifest: Manifest) -> str:
    return json.dumps({**description(manifest), **_steps(manifest)}, ensure_ascii=False)


def _steps(manifest: Manifest) -> Json:
    """What is done to an image: no library that does it reads the file."""
    return {"steps": steps_of(manifest.preprocessing, manifest.backbone.plugin)}


def _texts(manifest: Manifest) -> dict[str, str]:
    """The texts beside the file, by name; ``config.json`` says the steps, too."""
    texts = configuration(manifest)
    config = json.loads(texts[CONFIG])
    config[KEY] |= _steps(manifest)
    return {**texts, CONFIG: json.dumps(config, indent=2, ensure_ascii=False) + "\n"}


def _write_openvino(module: nn.Module, image: Tensor, path: Path, manifest: Manifest) -> None:
    import openvino

    with TemporaryDirectory(dir=path.parent) as scratch:
        source = Path(scratch, FILE["onnx"])
        _write_onnx(module, image, source, manifest)
        # Not `openvino.convert_model`: that tells its makers of each conversion, unless the user
        # has opted out.
        network = openvino.Core().read_model(source)
        network.set_rt_info(_described(manifest), ["zoo"])
        # The weights as they are: by default they are halved.
        openvino.save_model(network, path, compress_to_fp16=False)
        del network  # it has the scratch file mapped


def _read_onnx(path: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return lambda images: cast(NDArray[np.float32], session.run(None, {INPUT: images})[0])


def _read_openvino(path: Path) -> Run:
    import openvino

    # Some processors would compute in bfloat16, which says nothing of what was written.
    exact = {"INFERENCE_PRECISION_HINT": "f32"}
    network = openvino.Core().compile_model(path, "CPU", exact)
    return lambda images: cast(NDArray[np.float32], network(images)[0])


def _read_pt2(path: Path) -> Run:
    module = torch.export.load(path).module()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return cast(NDArray[np.float32], module(torch.from_numpy(images)).numpy())

    return run


WRITE: Mapping[Format, Callable[[nn.Module, Tensor, Path, Manifest], None]] = {
    "onnx": _write_onnx,
    "openvino": _write_openvino,
    "pt2": _write_pt2,
}
READ: Mapping[Format, Callable[[Path], Run]] = {
    "onnx": _read_onnx,
    "openvino": _read_openvino,
    "pt2": _read_pt2,
}


@contextmanager
def refusing(manifest: Manifest, format: str) -> Iterator[None]:  # noqa: A002
    """Exporters raise anything at what they cannot take, and warn of what is their own."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (OSError, ZooError):
        raise
    except Exception as error:
        first: BaseException = error
        while first.__cause__:  # an exporter's own tells how to report it, and no reason
            first = first.__cause__
        reason = str(first).strip().partition("\n")[0] or type(first).__name__
        raise Unsupported(
            f"{manifest.backbone.architecture} cannot be written as {format}: {reason:.300}"
        ) from error
    finally:
        logger.setLevel(level)


@torch.no_grad()
def _compare(
    module: nn.Module, run: Run, tried: Sequence[Tensor], *, noise: bool, classes: bool
) -> Checked:
    """Run both on the same images: one by one, and together, which a batch of any size allows.

    Raises:
        Unsupported: They compute something else, or nothing that could be compared.
    """
    batch = torch.stack([*tried])
    own = torch.cat([module(image[None]) for image in tried]).numpy()
    alone = np.concatenate([run(image[None].numpy()) for image in tried])
    together = run(batch.numpy())
    largest = float(np.abs(own).max())
    if not np.isfinite(largest):
        raise Unsupported(
            "the checkpoint's own outputs are NaN or infinite, so that nothing can be compared "
            "(zoo verify names weights that are); nothing was kept"
        )
    difference = max(float(np.abs(outputs - own).max()) for outputs in (alone, together))
    if not difference <= TOLERANCE * max(1.0, largest):
        raise Unsupported(
            "the file that was written computes something else: an output is "
            f"{difference:.3g} from the checkpoint's own; nothing was kept"
        )
    return Checked(
        images=len(tried),
        noise=noise,
        largest=largest,
        difference=difference,
        same=int((alone.argmax(1) == own.argmax(1)).sum()) if classes else None,
    )
