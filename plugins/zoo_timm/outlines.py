"""Outlines of all of timm's architectures, for those who do not import timm (`zoo_timm.known`).

    python -m zoo_timm.outlines

writes ``outlines.zip`` anew, for the timm that is installed: about ten minutes.
"""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast
from zipfile import ZIP_LZMA, ZipFile, ZipInfo

import timm
from torch import nn

from zoo.backbones.untrained import on_meta
from zoo.domain.catalog import CatalogEntry, Location
from zoo.domain.outline import Outline
from zoo.domain.plain import Json
from zoo.domain.surgery import BuildOptions
from zoo.errors import Unsupported
from zoo_timm.backbone import TimmBackbone, resolved
from zoo_timm.heads import pool_of
from zoo_timm.known import BODIES, CATALOG, OUTLINES, by_body, made_for

__all__ = ["listed", "outlined", "write"]

TOGETHER = 32
"""Architectures in one member of the file: more are smaller, and take longer to read."""
Shapes = dict[str, tuple[int, ...]]


def outlined(architecture: str) -> Outline | None:
    """What building an architecture tells; None if it does not follow the rules of an outline.

    Raises:
        Unsupported: It cannot be traced.
    """
    backbone = TimmBackbone()
    with on_meta():
        module = backbone.build(architecture)
    own = timm.get_pretrained_cfg(architecture)
    configs: dict[str, Json] = {"": cast(Any, module).pretrained_cfg}
    for name in timm.list_pretrained(f"{architecture}.*"):
        config = _pretrained(name).to_dict()
        configs[config["tag"]] = config
    shapes, classes = _shapes(module), int(getattr(module, "num_classes", 0))
    outputs = _outputs(backbone, module)
    others = _built(architecture, outputs + 1) if outputs else {}
    per_output = tuple(n for n, shape in shapes.items() if others.get(n, shape) != shape)
    heads = {f"{path}.weight" for path in backbone.head_modules(module)}
    outline = Outline(
        hierarchy=backbone.hierarchy(architecture, module),
        shapes=shapes,
        outputs=outputs,
        per_output=per_output,
        preprocessing={tag: resolved(config) for tag, config in configs.items()},
        settings={
            "global_pool": pool_of(module),
            "num_classes": classes,
            "input_size": list(own.input_size) if own else None,
            "fixed_input_size": bool(own and own.fixed_input_size),
        },
    )
    named = any(config.get("label_names") for config in configs.values())
    whole = classes == outputs and heads & {*shapes} <= {*per_output}
    if named or not whole:
        return None
    # It must be built as the outline says with other numbers of outputs, and its own.
    counts = (1, outputs + 1) if outputs else (0,)
    holds = all(outline.fits(_built(architecture, count)) == count for count in counts)
    return outline if holds else None


def _built(architecture: str, outputs: int) -> Shapes:
    with on_meta():
        return _shapes(TimmBackbone().build(architecture, BuildOptions(num_classes=outputs)))


def _shapes(module: nn.Module) -> Shapes:
    return {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}


def _outputs(backbone: TimmBackbone, module: nn.Module) -> int:
    paths = backbone.head_modules(module)
    weights = (getattr(module.get_submodule(path), "weight", None) for path in paths)
    return next((int(weight.shape[0]) for weight in weights if weight is not None), 0)


def _pretrained(name: str) -> Any:
    # One that is listed has a configuration with an architecture, which timm's types do not say.
    return timm.get_pretrained_cfg(name)


def listed() -> Iterator[CatalogEntry]:
    """One entry per pretrained tag, as timm lists them."""
    for name in timm.list_pretrained():
        config = _pretrained(name)
        hub_id = config.hf_hub_id
        yield CatalogEntry(
            name=f"timm/{name}",
            backbone="timm",
            architecture=config.architecture,
            tag=config.tag or None,
            license=config.license,
            hub_id=hub_id,
            input_size=tuple(config.input_size),
            mean=tuple(config.mean),
            std=tuple(config.std),
            interpolation=config.interpolation,
            crop_pct=config.crop_pct,
            crop_mode=config.crop_mode,
            num_classes=config.num_classes,
            location=Location("hub", hub_id) if hub_id else None,
        )


def write(architectures: Iterable[str], path: Path) -> None:
    """Write the outlines of ``architectures``, those that have one."""
    with ZipFile(path, "w", ZIP_LZMA) as file:
        file.comment = made_for().encode()
        names, outlines = sorted(architectures), dict[str, Outline]()
        for first in range(0, len(names), TOGETHER):
            for name in names[first : first + TOGETHER]:
                try:
                    if outline := outlined(name):
                        outlines[name] = outline
                except Unsupported as error:
                    warnings.warn(f"{name}: {error}", stacklevel=1)
            together = {
                name: outlines[name].to_json() if name in outlines else None
                for name in names[first : first + TOGETHER]
            }
            _put(file, names[first], together)
        params = {name: each.hierarchy.params for name, each in outlines.items()}
        _put(file, CATALOG, [_row(entry, params.get(entry.architecture)) for entry in listed()])
        _put(file, BODIES, by_body(outlines))


def _put(file: ZipFile, name: str, data: object) -> None:
    member = ZipInfo(name)  # without the time of writing: the same outlines are the same file
    member.compress_type = ZIP_LZMA
    file.writestr(member, json.dumps(data, separators=(",", ":")))


def _row(entry: CatalogEntry, params: int | None) -> Json:
    row = asdict(replace(entry, location=None, params=params))
    return {name: value for name, value in row.items() if value is not None}


if __name__ == "__main__":
    write(sys.argv[1:] or TimmBackbone().architectures(), OUTLINES)
