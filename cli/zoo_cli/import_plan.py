"""Show the plan of an import of a folder, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import TYPE_CHECKING

import click

from zoo.domain.words import not_finite, plural, up_to
from zoo_cli.output import (
    clean,
    fitted,
    note,
    paragraph,
    percent,
    shortened,
    size,
    with_short_digests,
)

if TYPE_CHECKING:
    from zoo.exchange.importing import PlannedImport
    from zoo.exchange.planned import ImportPlan, PlannedFile

__all__ = ["show_imported", "show_plan", "show_planned"]

NAMED = 4
"""Names that a line lists."""


def show_plan(plan: ImportPlan) -> None:
    """Print what would be imported, run by run, and what it comes to."""
    files = [file for file in plan.files if file.status != "bad"]
    rows = [
        (
            ", ".join(map(str, file.refs)),
            f"{file.architecture}{_custom(file)}" if file.architecture else "-",
            size(file.size),
            _what(file),
            _parent(file),
            _within(plan, file),
        )
        for file in files
    ]
    if rows:
        least = ("SIZE", "NETWORK") if plan.parent else ("PARENT", "SIZE", "NETWORK")
        fitted(("NAME", "NETWORK", "SIZE", "WHAT", "PARENT", "FILE"), rows, least)
    runs = [(run, len(list(each))) for run, each in groupby(files, key=lambda file: file.run)]
    several = [f"{run}: {count} checkpoints of one run" for run, count in runs if count > 1]
    for line in several:
        paragraph(line)
    _tell("left out: ", plan.left_out.items())
    _tell_bad(plan, plan.having("bad"))
    new = plan.having("new")
    odd = [each for each in new if each.nan_tensors]
    _tell("", [(_within(plan, each), not_finite(each.nan_tensors)) for each in odd])
    twins = sum(file.duplicate_of is not None for file in new)
    counts = (
        (len(new), "to import"),
        (twins, "of these twice"),
        (len(plan.having("here")), "here already"),
        (len(plan.having("bad")), "bad"),
    )
    total = ", ".join(f"{number} {what}" for number, what in counts if number)
    saved = f"; sharing saves {size(plan.shared_bytes)} of {size(plan.weights_bytes)}"
    paragraph(f"{plural(len(plan.files), 'file')}: {total or 'none'}{saved if new else ''}")


def show_planned(planned: PlannedImport) -> None:
    """Print what the import of one file or folder would make."""
    network = f"{planned.architecture}{_custom(planned)}, {planned.outputs:,} outputs"
    click.echo(clean(f"{planned.ref}  would be {network}, from {planned.file}"))
    for line in filter(
        None, (str(planned.taken), planned.taken.summary, not_finite(planned.nan_tensors))
    ):
        paragraph(with_short_digests(line), "  ")
    if before := planned.moves_from:
        paragraph(
            f"{planned.ref} is {before.short} now; it moves with --force alone, unless this "
            "derives from that",
            "  ",
        )


def _custom(planned: PlannedImport | PlannedFile) -> str:
    return " (custom config)" if planned.custom else ""


def show_imported(plan: ImportPlan) -> None:
    """Print what was imported, and what there is to say of it: once, with the names it is of."""
    done = plan.having("imported")
    _tell("", [(str(file.refs[0]), text) for file in done for text in [*file.notes, *_kept(file)]])
    _tell_bad(plan, [file for file in plan.having("bad") if file.refs])  # the plan told the others
    click.echo(f"imported {len(done)} of {plural(len(plan.files), 'file')}")


def _kept(file: PlannedFile) -> Iterator[str]:
    """What became of the checkpoint that was here already with the bytes of a file."""
    if file.adds:
        yield f"has the bytes of {shortened(file.of)}, and what that lacked: {', '.join(file.adds)}"
    if file.keeps:
        yield f"has the bytes of {shortened(file.of)}, whose {', '.join(file.keeps)} it keeps"
    for name, before in file.moves.items():
        yield f"{name} moved; was {before.short} (zoo log {name})"


def _tell_bad(plan: ImportPlan, files: Iterable[PlannedFile]) -> None:
    _tell("bad: ", [(_within(plan, file), file.problem) for file in files])


def _within(plan: ImportPlan, file: PlannedFile) -> str:
    """Where a file lies in the folder of the plan."""
    return str(file.path.relative_to(plan.folder))


def _tell(what: str, remarks: Iterable[tuple[str, str]]) -> None:
    """Print what there is to say of files: once, with those that it is of."""
    names: dict[str, list[str]] = {}
    for name, text in remarks:
        names.setdefault(text, []).append(name)
    for text, each in names.items():
        note(f"{what}{up_to(each, NAMED)}: {text}")


def _what(file: PlannedFile) -> str:
    averaged = [part for part in (file.key, file.stripped.rstrip(".")) if "ema" in part]
    parts = [file.script, *averaged, "no head" if file.headless else ""]
    if file.metrics:
        name = "accuracy" if "accuracy" in file.metrics else next(iter(file.metrics))
        parts.append(f"{name} {file.metrics[name]:.4g}")
    if file.chosen and file.chosen != "best":
        parts.append(f"{file.chosen} of its run")
    if file.status == "here":
        parts += ["here already", *file.notes]
    elif file.duplicate_of:
        parts.append(f"the same as {file.duplicate_of.name}")
    elif file.manifest:
        parts.append(f"here already as {shortened(file.of)}")
    elif file.alike and file.verdict != "same":
        parts.append(f"the same weights as {file.alike.name}")
    elif file.of and file.share:
        parts.append(_resembles(file, shortened(file.of), file.share))
    parts += [f"moves {name} from {before.short}" for name, before in file.moves.items()]
    if file.adds and not file.duplicate_of:
        parts.append(f"adds its {' and '.join(file.adds)}")
    if file.keeps:
        parts.append(f"its {' and '.join(file.keeps)} not recorded: other ones are")
    return ", ".join(filter(None, parts)) or "-"


def _resembles(file: PlannedFile, name: str, share: float) -> str:
    whole = {"cast": "a cast of", "part": "part of"}.get(file.verdict, "the same weights as")
    return f"{whole} {name}" if share == 1 else f"{file.verdict}: {percent(share)} of {name}"


def _parent(file: PlannedFile) -> str:
    """The parent that it gets, in few letters."""
    if (parent := file.parent) is None:
        return "-"
    if parent.apart is None:
        return shortened(parent.ref)
    far = f"{percent(parent.share)} of the weights" if parent.share else f"{parent.apart:.2g} apart"
    remark = f"; {parent.remark}" if parent.remark else ""
    return f"{shortened(parent.ref)} ({far}{remark})"
