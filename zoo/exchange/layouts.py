"""What the files beside published weights say of the network: zoo, timm, transformers, open_clip.

All of it is JSON that anybody may have written. Nothing is run, and the weights must fit it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zoo import plugins
from zoo.contracts import SupportsConfigFiles
from zoo.domain.description import KEY, described
from zoo.domain.file_names import why_unsafe
from zoo.domain.limits import CONFIG_BYTES, HEADER_BYTES
from zoo.domain.manifest import Manifest, Preprocessing, is_file_name
from zoo.domain.network import CONFIG, PROCESSOR, Network
from zoo.domain.plain import Json
from zoo.domain.preprocessing import check_preprocessing
from zoo.domain.surgery import Surgery
from zoo.domain.task import task_of_problem, with_task
from zoo.errors import MALFORMED, UnknownName, Unsupported, ZooError
from zoo.exchange import clip
from zoo.exchange.folder_record import RECORD, FolderRecord, read_record
from zoo.exchange.origins import base_models_in

__all__ = [
    "CARD",
    "CONFIG",
    "INDEX",
    "PROBLEM",
    "PublishedLayout",
    "explains",
    "parts",
    "read_layouts",
]

INDEX = ".index.json"
"""How the file ends that says which tensors are in which of several files."""
CARD, OPEN_CLIP = "README.md", "open_clip_config.json"
CLIP_WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
PROBLEM = "problem_type"
EXPLAINS = re.compile(
    r"README\.md|LICENSE[\w.-]*|NOTICE[\w.-]*|"
    + "|".join(map(re.escape, (CONFIG, PROCESSOR, OPEN_CLIP)))
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedLayout:
    """A network as its publisher describes it.

    Attributes:
        plugin: The backbone plugin that builds it.
        network: What it is.
        file: The file that says so.
        weights: Names of files that such a description is for, if one of them is there.
        tower: Whether the weights are those of a pair of image and text encoder.
        as_outlined: Whether the network is as the outline of its architecture says, but for the
            number of outputs.
        record: What the folder says of its weights, where zoo wrote it.
        recorded: Whether it is of just these weights, so that ``whole`` has it.
        whole: All of the network, with its surgery and kind of head, where zoo wrote the files; a
            manifest without weights.
    """

    plugin: str
    network: Network
    file: str = CONFIG
    weights: tuple[str, ...] = ()
    tower: bool = False
    as_outlined: bool = False
    record: FolderRecord | None = None
    recorded: bool = False
    whole: Manifest | None = None


def explains(name: str, size: int) -> bool:
    """Whether a file of that name and size in bytes is one that explains the weights beside it."""
    return bool(EXPLAINS.fullmatch(name)) and size <= CONFIG_BYTES and not why_unsafe(name)


def read_layouts(
    folder: Path, names: Sequence[str], there: Collection[str]
) -> list[PublishedLayout]:
    """The networks that the files in ``folder`` describe, likeliest first; empty if none does.

    Several libraries may have their files in one place, each with weights of its own: whose weights
    are there, whoever reads them finds out.

    Args:
        folder: Holds what there is of configurations, and the card.
        names: What the repository, and those that it derives from, are called: transformers'
            configurations do not say which published network they are of.
        there: Names of the files of weights.

    Raises:
        Unsupported: All that is described are networks that no plugin here builds, or the files
            cannot be read.
        MissingPackage: What builds the only one is not installed.
    """
    config, processor, clips = (_read(folder / name) for name in (CONFIG, PROCESSOR, OPEN_CLIP))
    repositories = [*names, *base_models_in(_text(folder / CARD))]
    # Likeliest first: what zoo wrote knows most; open_clip's repositories often have a config.json
    # of transformers beside, whose weights are other files.
    readers: list[tuple[str, Callable[[], PublishedLayout]]] = []
    if KEY in config:
        readers.append((CONFIG, lambda: _zoo(config)))
    elif "architecture" in config:
        readers.append((CONFIG, lambda: _configured("timm", config, {}, repositories)))
    if "model_cfg" in clips:
        readers.append((OPEN_CLIP, lambda: _open_clip(clips, there)))
    if KEY not in config and "architecture" not in config and "model_type" in config:
        readers.append(
            (CONFIG, lambda: _configured("transformers", config, processor, repositories))
        )
    outcomes = list(_all_read(readers))
    layouts = [each for each in outcomes if isinstance(each, PublishedLayout)]
    refusals = [each for each in outcomes if isinstance(each, ZooError)]
    if refusals and not layouts:
        raise refusals[0]
    return layouts


def _all_read(
    readers: Sequence[tuple[str, Callable[[], PublishedLayout]]],
) -> Iterator[PublishedLayout | ZooError]:
    """What each of the readers finds in its file, or why it cannot."""
    for file, read in readers:
        try:
            layout = read()
            if layout.network.preprocessing:
                _check(layout.network.preprocessing, file)
            yield layout
        except ZooError as error:
            yield error
        except MALFORMED as error:
            yield Unsupported(f"{file}, beside the weights, is malformed: {error!r:.200}")


def _check(how: Preprocessing, file: str) -> None:
    try:
        check_preprocessing(how)
    except Unsupported as error:
        raise Unsupported(f"{file}: {error}") from None
    channels, *_ = how.input_size
    if not len(how.mean) == len(how.std) == channels:
        raise Unsupported(f"{file}: the mean or the std is not that of {channels} channels")


def _text(path: Path) -> str:
    """What is in a file; nothing if it is not there.

    Raises:
        Unsupported: It is larger than such files are.
    """
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        data = file.read(CONFIG_BYTES + 1)
    if len(data) > CONFIG_BYTES:
        raise Unsupported(f"{path.name} has more than {CONFIG_BYTES:,} bytes")
    return data.decode("utf-8-sig", errors="replace")


def _read(path: Path) -> Json:
    text = _text(path)
    try:
        config = json.loads(text) if text else {}
    except RecursionError:
        raise Unsupported(f"{path.name}, beside the weights, is nested too deeply") from None
    except ValueError as error:
        raise Unsupported(f"{path.name}, beside the weights, is not JSON: {error}") from error
    return config if isinstance(config, dict) else {}


def _zoo(config: Mapping[str, Any]) -> PublishedLayout:
    whole = described(config[KEY])
    if labels := config.get("id2label"):  # transformers hands our part on with other classes
        named = {int(key): str(name) for key, name in labels.items()}
        classes = tuple(named[index] for index in range(len(named)))
        whole = replace(whole, classes=() if classes[:1] == ("LABEL_0",) else classes)
    names = config.get("label_names")  # what timm reads, where somebody has renamed them
    if not labels and isinstance(names, list) and len(names) == whole.head.num_classes:
        whole = replace(whole, classes=tuple(map(str, names)))
    if task := task_of_problem(config.get(PROBLEM)):  # of who trained on with transformers, too
        whole = with_task(whole, task)
    network = Network(
        architecture=whole.backbone.architecture,
        surgery=Surgery(num_classes=whole.head.num_classes),
        preprocessing=whole.preprocessing,
        classes=whole.classes,
    )
    record = read_record(config[KEY].get(RECORD))
    return PublishedLayout(
        plugin=whole.backbone.plugin, network=network, record=record, whole=whole
    )


def _configured(
    plugin: str, config: Mapping[str, object], processor: Mapping[str, object], names: Sequence[str]
) -> PublishedLayout:
    task = task_of_problem(config.get(PROBLEM)) or "classification"
    known = plugins.known(plugin)
    with plugins.blaming("zoo.backbones", plugin):
        plain = known.read_config(config) if known else None
    if plain:
        network = replace(plain, task=task)
        return PublishedLayout(plugin=plugin, network=network, as_outlined=True)
    backbone = plugins.backbone(plugin)
    if not isinstance(backbone, SupportsConfigFiles):
        raise Unsupported(f"{CONFIG} is of {plugin}, and the plugin here does not read it")
    network = backbone.read_config(config, processor, names)
    if network.architecture not in backbone.architectures():
        raise UnknownName(f"{plugin} architecture", f"{network.architecture:.100}")
    return PublishedLayout(plugin=plugin, network=replace(network, task=task))


def _open_clip(config: Mapping[str, object], there: Collection[str]) -> PublishedLayout:
    own = tuple(name for name in CLIP_WEIGHTS if name in there)
    network = clip.read(config, OPEN_CLIP)
    return PublishedLayout(plugin="timm", network=network, file=OPEN_CLIP, weights=own, tower=True)


def parts(index: Path, origin: str, there: Collection[str]) -> list[str]:
    """Names of the files of weights that ``index`` lists, sorted.

    Args:
        index: The file, which anybody may have written.
        origin: Where it is from, for messages.
        there: Names of the files that are beside it.

    Raises:
        Unsupported: It is malformed, or names a file that is not there.
    """
    where = f"'{origin}/{index.name}'"
    try:
        with index.open("rb") as file:
            data = file.read(HEADER_BYTES + 1)
        if len(data) > HEADER_BYTES:
            raise ValueError(f"it has more than {HEADER_BYTES:,} bytes")
        names = sorted(set(json.loads(data)["weight_map"].values()), key=str)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unsupported(f"{where} is not an index of weights: {error!r:.200}") from error
    for name in names:
        if not isinstance(name, str) or not is_file_name(name) or name not in there:
            raise Unsupported(f"{where} names a file that is not there: '{name!s:.100}'")
    if not names:
        raise Unsupported(f"{where} names no files")
    return names
