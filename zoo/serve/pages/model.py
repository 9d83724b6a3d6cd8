"""Model: what a checkpoint is, and how to use it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from markupsafe import Markup

from zoo.domain.adapter import adapter_of
from zoo.domain.calibration import CARD_SECTION, Calibration, Step
from zoo.domain.digest import Digest
from zoo.domain.manifest import Preprocessing
from zoo.domain.matrix import Matrix
from zoo.domain.preprocessing import check_preprocessing
from zoo.domain.task import SCORE, task_of
from zoo.domain.words import shortened
from zoo.errors import Unsupported, ZooError
from zoo.lookup.calibrated import calibration_of
from zoo.lookup.units import units_of
from zoo.serve.hub.ask import Ask, iso_time
from zoo.serve.hub.reach import sees_all
from zoo.serve.hub.seen import VisibleNames
from zoo.serve.keep.view import CARD, LARGE
from zoo.serve.pages.chart import draw_matrix
from zoo.serve.pages.chosen import PickedVersion, ShownVersion, pick
from zoo.serve.pages.examples import Pictures, pictures_of, pictures_of_run
from zoo.serve.pages.figures import Figure, figures
from zoo.serve.pages.kept_runs import drawable, runs_that_made
from zoo.serve.pages.licensed import LicenseFacts, licensed
from zoo.serve.pages.markdown import markdown
from zoo.serve.pages.reliability import draw_reliability
from zoo.serve.pages.sharing import Share, shares, tensors_by_unit
from zoo.serve.pages.snippets import Snippet, only_zoo, snippets
from zoo.serve.pages.svg import crop
from zoo.serve.pages.try_it import TryPage, why_not
from zoo.serve.who.downloads import Totals
from zoo.store.encoded import read_object
from zoo.store.side_files import EVALUATIONS

__all__ = ["Checkpoint", "EvaluationRow", "ModelPage", "look_model"]

TRUST = re.compile(rf"^{CARD_SECTION}\n.*?(?=\n## |\Z)", re.DOTALL | re.MULTILINE)
CLASSES, LETTERS = 1000, 80
"""So many classes are listed, each with so many letters."""
SHOWN = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRow:
    """An evaluation: on which of which images, the figures, and what was taken for what."""

    data: str
    split: str
    images: int
    at: str
    figures: tuple[Figure, ...]
    matrix: Matrix | None

    @property
    def drawn(self) -> Markup:
        """What images were taken for, drawn."""
        title = f"What images of {self.data} were taken for"
        return (
            draw_matrix(self.matrix.classes, self.matrix.counts, title) if self.matrix else Markup()
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a checkpoint says of itself, and what is known of it here.

    Attributes:
        architecture: What it is built by.
        library: The plugin that does.
        task: What its outputs mean.
        outputs: How many there are.
        params: Number of parameters; None where unknown.
        bytes: Of its files.
        macs: Of one image, as published.
        preprocessing: What becomes of an image.
        guessed: Which of these settings nobody has stated.
        classes: Names of the classes, not too many, and how many ``more`` there are.
        pictures: Images of some of them.
        run: Id of the run here that made it; empty if who asks may see none.
        run_pictures: Whether that kept images; None where it is not for who asks.
        score: The figure by which the better of two is told.
        figures: On the test images of its training, `score` first.
        stated: Who says so, of figures that no zoo has measured; else empty.
        evaluations: What was measured here since.
        calibration: How far its answers can be trusted; None where that is not known.
        licensed: Its license, and what it inherits.
        warnings: What was said against it.
        author: Who made it.
        note: What they said of it.
        created: When it was made.
        data: What it was trained on.
        frozen, trained: Units that its training left, and changed.
        adapter: What it has beside its parent's weights; empty if nothing.
        shares: Who has what of it, byte for byte.
    """

    architecture: str
    library: str
    task: str
    outputs: int
    params: int | None
    bytes: int
    macs: float | None
    preprocessing: Preprocessing
    guessed: tuple[str, ...]
    classes: tuple[str, ...]
    more: int
    pictures: Pictures | None
    run: str
    run_pictures: bool | None
    score: str
    figures: tuple[Figure, ...]
    stated: str
    evaluations: tuple[EvaluationRow, ...]
    calibration: Calibration | None
    licensed: LicenseFacts
    warnings: tuple[str, ...]
    author: str
    note: str
    created: str
    data: str
    frozen: int | None
    trained: int | None
    adapter: str
    shares: tuple[Share, ...]

    @property
    def problem(self) -> str:
        """Why an image cannot be prepared so; empty if it can."""
        try:
            check_preprocessing(self.preprocessing)
        except Unsupported as error:
            return error.message
        return ""

    @property
    def reliability(self) -> Markup:
        """How often it is right where it is so sure, drawn."""
        known = self.calibration
        return draw_reliability(known.bins, known.raw_bins) if known else Markup()

    @property
    def worth(self) -> tuple[Step, ...]:
        """How sure it must be for answers of some accuracies."""
        return self.calibration.worth if self.calibration else ()

    @property
    def seen(self) -> str:
        """What the network sees of an image, in words."""
        how = self.preprocessing
        _, high, wide = how.input_size
        if how.crop_mode == "squash":
            first = f"resized to {round(wide / how.crop_pct)} x {round(high / how.crop_pct)}"
        elif how.crop_mode == "border":
            first = "resized until all of it fits, with a border around it"
        else:
            first = f"resized until its shorter side is {int(min(high, wide) / how.crop_pct)}"
        rest = "" if how.crop_mode == "border" else f", the middle {wide} x {high} cut out"
        return f"{first} ({how.interpolation}){rest}"

    @property
    def drawn(self) -> Markup:
        """The same as a drawing."""
        return crop(self.preprocessing, f"The image is {self.seen}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPage:
    """The page of a repository at a version.

    Attributes:
        chosen: Which.
        moved: Since when the version is what it is; empty where that is not known.
        by: Who moved it.
        deprecated: Why it is to be used no more; empty if it may be.
        downloads: How often it was downloaded within 30 days, and at all.
        card: Its README, in Markdown.
        long_card: Whether that is too long to be shown.
        snippets: How to use it.
        only_zoo: Why its own library does not load it; empty if it does.
        checkpoint: What it is; None if it has files only, or nothing.
        can_write: Whether who asks may send to it.
        owned: Whether they may say who may do what with it.
        server: The URL that it is asked by.
        trying: What is told where an image is tried; None where none can be.
    """

    chosen: ShownVersion
    moved: str
    by: str
    deprecated: str
    downloads: Totals
    card: str
    long_card: bool
    snippets: tuple[Snippet, ...]
    only_zoo: str
    checkpoint: Checkpoint | None
    can_write: bool
    owned: bool
    server: str
    trying: TryPage | None

    @property
    def card_html(self) -> Markup:
        """The card as HTML that can do nothing."""
        at = quote(self.chosen.revision, safe="")
        card = TRUST.sub(_each_once, self.card)
        return markdown(card, f"{urlsplit(self.server).path}/{self.chosen.repo}/blob/{at}")


def look_model(ask: Ask) -> ModelPage:
    """The page of a repository. Raises as `pick`."""
    picked = pick(ask)
    version = ask.hub.history.version(ask.repo, picked.chosen.revision)
    when = version.entry.when if version else None
    card, long = _card(ask, picked)
    return ModelPage(
        chosen=picked.chosen,
        moved=iso_time(when) if when else "",
        by=version.entry.by if version else "",
        deprecated=version.entry.deprecated if version else "",
        downloads=ask.hub.accounts.downloads.of(ask.repo),
        card=card,
        long_card=long,
        snippets=snippets(ask, picked),
        only_zoo=only_zoo(picked),
        checkpoint=_checkpoint(ask, picked),
        can_write=ask.may("write", ask.repo),
        owned=ask.may("share", ask.repo),
        server=ask.call.base,
        trying=None if why_not(ask, picked) else TryPage(chosen=picked.chosen, problem=""),
    )


def _each_once(section: re.Match[str]) -> str:
    """What the card says of trust, without a row that is the one before: older versions of zoo
    wrote such.
    """
    lines = section[0].split("\n")
    pairs = zip(lines, ["", *lines], strict=False)
    return "\n".join(line for line, before in pairs if line != before or line[:1] != "|")


def _card(ask: Ask, picked: PickedVersion) -> tuple[str, bool]:
    """The README, and whether it is too long. One that was made here says what the page does."""
    try:
        holder, size = picked.holder(CARD)
        if size > LARGE:
            return "", True
        data = b"".join(read_object(ask.hub.workspace.store, holder, least=size))[:size]
    except (LookupError, ZooError):  # whoever asks for the file is told of damage
        return "", False
    return data.decode(errors="replace"), False


def _checkpoint(ask: Ask, picked: PickedVersion) -> Checkpoint | None:
    manifest, digest = picked.manifest, picked.checkpoint
    if manifest is None or digest is None:
        return None
    workspace, seen = ask.hub.workspace, VisibleNames(ask)
    task, known = task_of(manifest), workspace.registry.summary(digest) or {}
    shown = [shortened(name, LETTERS) for name in manifest.classes[:CLASSES]]
    provenance, freeze = manifest.provenance, manifest.freeze or {}
    tensors = tensors_by_unit(manifest, units_of(workspace, manifest))
    run = runs_that_made(ask, [digest]).get(digest) if manifest.recipe else None
    return Checkpoint(
        architecture=manifest.backbone.shown,
        library=manifest.backbone.plugin,
        task=task,
        outputs=manifest.head.num_classes,
        params=known.get("params"),
        bytes=manifest.logical_bytes,
        macs=workspace.registry.published_macs(manifest),
        preprocessing=manifest.preprocessing,
        guessed=manifest.guessed,
        classes=tuple(shown),
        more=len(manifest.classes) - len(shown),
        pictures=pictures_of(ask, picked),
        run=run.id if run else "",
        run_pictures=bool(pictures_of_run(ask, run)) if run and sees_all(ask.actor) else None,
        score=SCORE[task],
        figures=figures(manifest.metrics, SCORE[task]),
        stated=provenance.get("metrics", ""),
        evaluations=tuple(_evaluations(ask, digest, SCORE[task])),
        calibration=calibration_of(workspace.store, manifest),
        licensed=licensed(ask, seen, manifest),
        warnings=tuple(filter(None, [provenance.get("warning", "")])),
        author=provenance.get("author", ""),
        note=provenance.get("note", ""),
        created=manifest.created or "",
        data=str((manifest.recipe or {}).get("data", "") or provenance.get("dataset", "")),
        frozen=_count(freeze.get("frozen_units")),
        trained=_count(freeze.get("trainable_units")),
        adapter=str(adapter_of(manifest) or ""),
        shares=shares(ask, seen, digest, manifest, tensors),
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _evaluations(ask: Ask, digest: Digest, first: str) -> Iterator[EvaluationRow]:
    for each in EVALUATIONS.of(ask.hub.workspace.store.disk, digest)[:SHOWN]:
        yield EvaluationRow(
            data=each.data,
            split=each.split,
            images=each.images,
            at=each.at,
            figures=figures(each.metrics, first),
            matrix=drawable(each.matrix),
        )
