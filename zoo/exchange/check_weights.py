"""Weights that were read, and fit their network; nothing of them is stored yet.

Torch is imported only where the network must be built.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from zoo.domain.file_names import fits_everywhere
from zoo.domain.manifest import SETTINGS, Manifest
from zoo.errors import InvalidOption
from zoo.exchange.file_record import file_record, measured, written_beside
from zoo.exchange.import_candidates import MAIN, ImportCandidate
from zoo.exchange.import_report import ImportReport
from zoo.exchange.infer_architecture import BY_SHAPES
from zoo.exchange.metadata import Metadata, metadata_of_checkpoint
from zoo.exchange.origin import outlined
from zoo.exchange.resolve_metadata import resolve_metadata

if TYPE_CHECKING:
    from zoo.exchange.built import BuiltNetwork

__all__ = ["CheckedWeights", "check_weights"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedWeights:
    """A file that was read, and fits its network.

    Attributes:
        candidate: What was read.
        sources: The files that hold the weights.
        manifest: What is known of them; without weights.
        network: The network, if it had to be built.
        taken: What of the file is taken.
        used: Keys of the file that tell the network and the metrics.
    """

    candidate: ImportCandidate
    sources: tuple[Path, ...]
    manifest: Manifest
    network: BuiltNetwork | None
    taken: ImportReport
    used: tuple[str, ...] = ()

    @property
    def metadata(self) -> tuple[Metadata, ...]:
        """What is said of the weights, the user first; nothing of a pull, whose publisher says it
        all.
        """
        saved, origin = self.network.saved if self.network else {}, self.candidate.origin
        if not origin.metadata:
            return ()
        return (*origin.metadata, metadata_of_checkpoint(saved, origin.architecture))

    def resolved(self) -> tuple[Manifest, ImportReport]:
        """With what is told of the weights.

        Raises:
            InvalidOption: The user says what cannot be.
        """
        return self.resolved_with(self.metadata)

    def resolved_with(self, metadata: Sequence[Metadata]) -> tuple[Manifest, ImportReport]:
        """With ``metadata`` of the weights. Keys of the file that it is from are not left out."""
        if not metadata:
            return self.manifest, self.taken
        manifest, report = resolve_metadata(
            self.manifest, self.candidate.origin, metadata, self.taken
        )
        used = set(self.used)
        for facts in metadata:
            names = {"classes"} if report.classes == facts.source else set()
            names |= {"task"} if report.task == facts.source else set()
            names |= set(SETTINGS) if facts.source in report.preprocessing else set()
            used |= {key for what, key in facts.keys.items() if what in names}
        left_out = tuple(key for key in report.left_out if key not in used)
        return manifest, replace(report, left_out=left_out)


AVERAGED = {"state_dict_ema", "model_ema"}
"""Keys of averaged weights."""


def check_weights(candidate: ImportCandidate) -> CheckedWeights:
    """See that weights are of their network, and what is told of them.

    Raises:
        InvalidWeights: They are unreadable, unsafe, or of another network.
        InvalidOption: What the user says cannot be.
        UnknownName: The architecture is unknown.
    """
    path, origin, key = candidate.path, candidate.origin, candidate.key
    sources = candidate.parts or (path,)
    _check_files(candidate.files, [source.name for source in candidate.parts])
    # The header of a file tells what building tells, of most: torch takes seconds to import.
    manifest, network, taken = outlined(sources, origin), None, ImportReport()
    if manifest is None or key is not None:
        from zoo.exchange.built import built

        network = built(sources, origin, path, key, candidate.read)
        manifest, taken = network.manifest(origin), network.taken
    if origin.architecture_by:
        by = origin.architecture_by
        by = by if by == BY_SHAPES else f"from {by}"
        taken = replace(taken, network=f"{origin.architecture} {by}")
    if origin.metadata and (custom := manifest.backbone.custom):
        taken = replace(taken, network=f"a custom config of {origin.architecture} ({custom})")
    checked = CheckedWeights(
        candidate=candidate, sources=sources, manifest=manifest, network=network, taken=taken
    )
    checked = _with_metrics(checked)
    checked.resolved()  # a wrong number of class names, say, before anything large is stored
    return checked


def _with_metrics(checked: CheckedWeights) -> CheckedWeights:
    """With the metrics that the user states, else those that the script of the weights has kept."""
    path, origin, manifest = checked.candidate.path, checked.candidate.origin, checked.manifest
    provenance = {**manifest.provenance, **origin.provenance}
    metrics, taken = origin.metrics or manifest.metrics, checked.taken
    record = file_record(checked.network.saved if checked.network else {})
    used = [record.architecture_key] if record.architecture == origin.architecture else []
    if origin.metadata and not metrics and AVERAGED & {*taken.other_keys}:
        # timm evaluates the averaged weights where there are some, and writes down no others.
        taken = replace(taken, metrics="no figures, which its script has of the averaged weights")
    elif origin.metadata and not metrics:
        metrics, by = measured(path, origin.architecture, record, written_beside(path))
        if metrics:
            provenance["metrics"] = f"from {by}, not measured here"
            figures = ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
            taken = replace(taken, metrics=f"{figures} from {by}")
    if metrics == record.metrics:
        used += record.metric_keys
    manifest = replace(manifest, metrics=metrics, provenance=provenance)
    return replace(checked, taken=taken, manifest=manifest, used=tuple(used))


def _check_files(files: Sequence[Path], taken: Sequence[str]) -> None:
    names = {MAIN, *taken}
    for file in files:
        if not file.is_file():
            raise InvalidOption(f"{file}: {'is a folder' if file.is_dir() else 'no such file'}")
        if not fits_everywhere(file.name):
            raise InvalidOption(f"{file!s:.200}: no name that every system can keep a file under")
        if file.name in names:
            raise InvalidOption(f"{file}: there is a '{file.name}' already")
        names.add(file.name)
