"""Export a checkpoint as a folder that its own library loads."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import nn

from zoo.backbones.load import build, converted_state, state_of
from zoo.backbones.predict import guessed_preprocessing
from zoo.backbones.save import save_state
from zoo.backbones.surgery import backbone_of
from zoo.backbones.untrained import on_meta
from zoo.contracts import Backbone, SupportsConfigFiles
from zoo.domain.adapter import adapter_of, without_adapter
from zoo.domain.calibration import CALIBRATION_FILE, CALIBRATION_TOLD, subject
from zoo.domain.card import card_data, card_text, only_zoo_line
from zoo.domain.description import KEY, description, only_zoo_builds, only_zoo_loads
from zoo.domain.digest import Digest
from zoo.domain.file_names import why_unsafe
from zoo.domain.hashes import sha256_of
from zoo.domain.manifest import Manifest, WeightsFile
from zoo.domain.network import CONFIG
from zoo.domain.plain import Json
from zoo.domain.result import Result
from zoo.domain.task import PROBLEM_TYPES, task_of
from zoo.errors import Conflict, DiskFull, Unsupported, disk_errors
from zoo.exchange.exporting_adapter import write_adapter
from zoo.exchange.folder_record import RECORD, folder_record
from zoo.exchange.layouts import CARD, PROBLEM
from zoo.exchange.origins import base_models
from zoo.lookup.calibrated import calibration_of
from zoo.store import Store
from zoo.store.atomic import write_whole
from zoo.store.files import restore_file
from zoo.workspace import Workspace

__all__ = ["Exported", "check_free", "configuration", "described", "export", "new_folder"]

LOG = logging.getLogger("zoo")
NAMED_BY = {"timm": "architecture", "transformers": "model_type"}
"""By which field of ``config.json`` a library knows the network."""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Exported(Result):
    """A folder that was written.

    Attributes:
        files: The files in it.
        left_out: The checkpoint's files that are not, and why; ``all_files`` writes them.
        library: The library of the network.
        only_zoo: Why that does not load it, but only zoo; None if it does.
    """

    files: tuple[Path, ...]
    left_out: Mapping[str, str]
    library: str
    only_zoo: str | None

    def to_json(self) -> Json:
        """Plain data for JSON."""
        return {"files": [str(file) for file in self.files]}


def export(
    workspace: Workspace,
    digest: Digest,
    folder: Path,
    *,
    all_files: bool = False,
    adapter: bool = False,
    card: bool = True,
) -> Exported:
    """Write ``model.safetensors``, ``config.json`` and any other files of a checkpoint.

    ``config.json`` (and transformers' ``preprocessor_config.json``) is what the network's own
    library reads, with a part for `zoo.exchange.importing.import_folder`. Weights are
    byte-identical to what was imported; only foreign names without a ``config.json`` that explains
    them are replaced, and an adapter is merged. With ``card``, a ``README.md`` is made where the
    checkpoint has none. Files whose names are not harmless are written with ``all_files`` only.
    With ``adapter``, nothing is written but that, as `write_adapter` does.

    Raises:
        Conflict: ``folder`` holds files already; nothing was written.
        Unsupported: Weights have a name of another kind of file, and not ``all_files``; or there is
            no ``adapter`` that peft could load.
        Corrupt: The store is damaged.
    """
    check_free(folder)
    store, manifest = workspace.store, workspace.store.manifest(digest)
    skipped = {} if all_files else _left_out(manifest)
    kept = tuple(file for file in manifest.files if file.name not in skipped)
    manifest = replace(manifest, files=kept)
    backbone = backbone_of(manifest)
    with on_meta():  # only its names and configuration count
        module = build(backbone, manifest)
    if guess := guessed_preprocessing(manifest):
        LOG.warning(guess)
    with new_folder(folder) as whole:
        if adapter:
            names = write_adapter(workspace, digest, whole)
        else:
            _write(store, manifest, backbone, module, whole)
            if card and not (whole / CARD).exists():
                write_whole(whole / CARD, [_card(workspace, digest, manifest).encode()])
            names = sorted(path.name for path in whole.iterdir())
    return Exported(
        files=tuple(folder / name for name in names),
        left_out=skipped,
        library=manifest.backbone.plugin,
        only_zoo=only_zoo_builds(manifest),
    )


def check_free(folder: Path) -> None:
    """See that nothing is in the way of a new folder.

    Raises:
        Conflict: Something is.
    """
    for above in folder.parents:
        if above.exists() and not above.is_dir():
            raise Conflict(f"{above} is no folder")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise Conflict(f"{folder} exists and is not an empty folder")


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """An empty folder that becomes ``folder`` if all goes well: nobody sees half of it."""
    target = Path(os.path.realpath(folder))  # where a link leads
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            TemporaryDirectory(dir=target.parent, prefix=".zoo-export-") as scratch,
            disk_errors(folder),
        ):
            whole = Path(scratch, "made")
            whole.mkdir()
            yield whole
            if target.exists():
                target.rmdir()
            whole.rename(target)
    except DiskFull as error:  # of a file in it, whose name means nothing to anybody
        raise DiskFull(folder) from error


def _left_out(manifest: Manifest) -> dict[str, str]:
    """The files of a checkpoint that are not written unasked, and why: anybody may have named them,
    and what is called ``torch.py`` is run by whoever starts Python beside it.

    Raises:
        Unsupported: Weights have a name of another kind of file.
    """
    names = [weights.name for weights in manifest.weights]
    for name in names:
        if why_unsafe(name) or not name.endswith(".safetensors") or names.count(name) > 1:
            raise Unsupported(
                f"weights of this checkpoint are called '{name}', which is no name for them; to "
                "write them all the same: zoo export --all-files"
            )
    explained = any(file.name == CONFIG for file in manifest.files)
    there = {name.lower() for name in names} | (set() if explained else {CONFIG})
    out: dict[str, str] = {}
    for file in manifest.files:
        reason = why_unsafe(file.name)
        if reason is None and file.name.lower() in there:  # as some systems see it
            reason = "has the name of another file"
        if reason:
            out[file.name] = reason
        there.add(file.name.lower())
    return out


def _write(
    store: Store, manifest: Manifest, backbone: Backbone, module: nn.Module, folder: Path
) -> None:
    """Write into an empty ``folder``."""
    whole, merges = manifest, adapter_of(manifest) is not None
    if merges:
        manifest = without_adapter(whole)
    own = backbone.convert(module, [tensor.name for tensor in manifest.tensors])
    explained = any(file.name == CONFIG for file in manifest.files)
    same = all(name == foreign for foreign, name in own.items())
    verbatim = not merges and (explained or same)
    for file in manifest.files:
        restore_file(store, file, folder / file.name)
    for weights in manifest.weights:
        if verbatim:
            restore_file(store, weights, folder / weights.name)
        else:
            stored = state_of(store, whole, weights.name)
            state = converted_state(backbone, module, stored)
            save_state(state, folder / weights.name)
    hashes = {each.name: _hash(folder / each.name, each, verbatim) for each in manifest.weights}
    if not verbatim and (calibration := calibration_of(store, whole)):
        calibration = replace(calibration, of=subject(_with_hashes(manifest, hashes)))
        write_whole(folder / CALIBRATION_FILE, [calibration.to_bytes()])
    record = folder_record(manifest, hashes)
    if explained:
        if record:
            described(folder / CONFIG, manifest, record)
        return
    for name, text in _configuration(manifest, backbone, module, record).items():
        if not (folder / name).exists():
            write_whole(folder / name, [text.encode()])


def _card(workspace: Workspace, digest: Digest, manifest: Manifest) -> str:
    """The README of a checkpoint that brings none."""
    why = only_zoo_builds(manifest)
    remarks = [only_zoo_line(manifest, why)] if why else []
    if guess := guessed_preprocessing(manifest):
        remarks.append(f"{guess[0].upper()}{guess[1:]}.")
    if any(file.name == CALIBRATION_FILE for file in manifest.files):
        remarks.append(CALIBRATION_TOLD)
    front = card_data(manifest, base_models(workspace, manifest))
    return card_text(digest, manifest, front, remarks)


def _with_hashes(manifest: Manifest, hashes: Mapping[str, str]) -> Manifest:
    """The checkpoint, whose weights are these files."""
    digests = {name: Digest.parse(f"sha256:{found}") for name, found in hashes.items()}
    weights = (replace(each, sha256=digests[each.name]) for each in manifest.weights)
    return replace(manifest, weights=tuple(weights))


def _hash(path: Path, weights: WeightsFile, verbatim: bool) -> str:
    return weights.sha256.hex if verbatim else sha256_of(path)


def described(path: Path, manifest: Manifest, record: Json) -> None:
    """See that a ``config.json`` has zoo's part, too; that of a pulled checkpoint is as it came."""
    try:
        config = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError, RecursionError):
        return
    if isinstance(config, dict) and KEY not in config:
        text = (
            json.dumps({**config, KEY: _part(manifest, record)}, indent=2, ensure_ascii=False)
            + "\n"
        )
        path.write_text(text, encoding="utf-8")


def _part(manifest: Manifest, record: Json) -> dict[str, object]:
    """Zoo's part of a ``config.json``."""
    return {**description(manifest), **({RECORD: record} if record else {})}


def configuration(manifest: Manifest) -> dict[str, str]:
    """The texts of ``config.json`` and what its library looks for beside it, by name.

    Raises:
        ZooError: What builds the network is not here, or not allowed, or cannot build it.
    """
    backbone = backbone_of(manifest)
    with on_meta():
        module = build(backbone, manifest)
    record = folder_record(manifest, {each.name: each.sha256.hex for each in manifest.weights})
    return _configuration(manifest, backbone, module, record)


def _configuration(
    manifest: Manifest, backbone: Backbone, module: nn.Module, record: Json
) -> dict[str, str]:
    # Other libraries would read the weights without the adapter.
    own = {} if adapter_of(manifest) else backbone.export_config(module, manifest)
    task = task_of(manifest)
    if own and task != "classification":
        own = {**own, PROBLEM: PROBLEM_TYPES[task]}
    config = {**(own or _config_note(manifest)), KEY: _part(manifest, record)}
    beside = (
        backbone.companions(module, manifest) if isinstance(backbone, SupportsConfigFiles) else {}
    )
    return {
        name: json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        for name, content in {**beside, CONFIG: config}.items()
    }


def _config_note(manifest: Manifest) -> Json:
    """What a library that cannot build a network says by itself: it calls by name what it does not
    know, and a ``config.json`` without that name is an error that tells nothing.
    """
    name, why = NAMED_BY.get(manifest.backbone.plugin), only_zoo_loads(manifest)
    if name is None or why is None:
        return {}
    return {name: f"only zoo loads this, for {why}: zoo pull NAME --from its URL"}
