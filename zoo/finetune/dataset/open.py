"""Open a dataset by what the user typed: list it, check every image, apply the rules, split it.

| spec | is |
| --- | --- |
| a folder | class folders, or splits of class folders (`zoo.finetune.dataset.folders`) |
| a ``.csv``, ``.tsv`` or ``.parquet`` file, or a folder of the last | a table \
(`zoo.finetune.dataset.table`) |
| ``torch/…``, ``hfds/…``, ``wds/…`` | a named dataset (`zoo.finetune.dataset.named`) |
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from itertools import chain
from pathlib import Path

from blake3 import blake3

from zoo.domain.progress import Progress, silent
from zoo.domain.task import Task
from zoo.domain.words import plural
from zoo.errors import InvalidData, InvalidOption
from zoo.finetune.dataset.columns import is_rule
from zoo.finetune.dataset.dataset import (
    PARTS,
    Dataset,
    Listing,
    Row,
    Sample,
    SkippedImage,
    composed,
    content_digest,
    parts_digest,
)
from zoo.finetune.dataset.folders import list_folders, one_below, split_beside
from zoo.finetune.dataset.images import CheckedImages, check_images
from zoo.finetune.dataset.named import list_named, located, without_folders
from zoo.finetune.dataset.spec import AS_IT_IS, DatasetOptions, check_spec, is_named
from zoo.finetune.dataset.split import Parts, Shares, by_rule, fold_of, joined, split
from zoo.finetune.dataset.table import list_table
from zoo.lookup.runs import DIGITS

__all__ = ["absolute", "open_dataset", "open_labeled", "without_folders_above"]

ONE, NO = "one image; training and test need one each", "no image"
FEW = (
    "add images of what has too few, or take it out of the data; zoo advise without --run leaves "
    "such classes out, and says what the others show"
)
"""What to do where there are such classes or labels."""


def open_dataset(
    spec: str,
    *,
    task: Task | None = None,
    validation_share: float = 0.1,
    test_share: float = 0.2,
    seed: int = 0,
    group_by: str = "",
    opening: DatasetOptions = AS_IT_IS,
    split_copies: bool = False,
    fold: str = "",
    seen: Set[str] = frozenset(),
    skip_bad: bool = False,
    skip_alone: bool = False,
    cache: Path | None = None,
    progress: Progress = silent,
) -> Dataset:
    """Open what ``spec`` names; every image is decoded once. Raises all that is wrong together.

    Args:
        spec: See the table above.
        task: What is learned; None: what the data looks like.
        validation_share: Share of each class to choose options on, if there is no such split.
        test_share: Share of each class to measure the result on, if there is no such split.
        seed: Of the split.
        group_by: What stays in one part: a column of a table, or a rule on paths (`by_rule`).
        opening: Columns and root of a table, and how large images may be.
        fold: Of training and validation images together, what is held out (`fold_of`).
        split_copies: Whether copies of an image may be in several parts.
        seen: Of images that are not to be drawn to choose and test on where enough others are left
            (`split`), the first `DIGITS` digits of their digests.
        skip_bad: Leave out images that cannot be read or have no label.
        skip_alone: Leave out classes of which fewer than two images can be used.
        cache: A folder that remembers which images were in order (see `check_images`).
        progress: Progress callback, called once per image.
    """
    shares = Shares(validation_share, test_share)
    listing, checked, bad = _checked(spec, task, group_by, opening, cache, progress)
    if skip_bad and listing.task == "classification":
        listing = _without_empty(listing)
    known = listing.classes
    if skip_alone and listing.task == "classification":
        listing, bad = _without_alone(listing, bad)
    rows = _usable(spec, listing, bad, skip_bad, _broken_rules)
    rows = joined(rows, {} if split_copies else checked.digests)
    before = {row.key for row in rows if checked.digests[row.key][:DIGITS] in seen}
    dataset = _dataset(spec, listing, checked, bad, rows, shares, seed, fold, before)
    alone = tuple(name for name in known if name not in listing.classes)
    path = Path(spec).expanduser()
    beside = split_beside(path) if path.is_dir() and not is_named(spec) else ""
    remarks = (*filter(None, [beside]), *dataset.remarks)
    return replace(dataset, alone=alone, remarks=remarks)


def open_labeled(
    spec: str,
    *,
    task: Task | None,
    group_by: str,
    opening: DatasetOptions,
    skip_bad: bool,
    cache: Path | None,
    progress: Progress,
) -> Dataset:
    """Open what ``spec`` names to train nothing on: its parts are the splits that the data has;
    images that are in none are all in ``test``.

    The rest is as for `open_dataset`, but a class may have one image.
    """
    listing, checked, bad = _checked(spec, task, group_by, opening, cache, progress)
    rows = joined(_usable(spec, listing, bad, skip_bad, _none_labeled), checked.digests)

    def part(name: str) -> list[Sample]:
        samples = listing.samples(row for row in rows if (row.part or "test") == name)
        return sorted(samples, key=lambda sample: sample.key)

    parts = Parts(*map(part, PARTS))
    return _dataset_of(spec, listing, checked, bad, parts, _groups(rows))


def _checked(
    spec: str,
    task: Task | None,
    group_by: str,
    opening: DatasetOptions,
    cache: Path | None,
    progress: Progress,
) -> tuple[Listing, CheckedImages, dict[str, str]]:
    """What is listed, every image of it decoded, and what is wrong with those that are bad."""
    listing = composed(_list(spec, task, group_by, opening, cache))
    listing.images.max_pixels = opening.max_pixels
    if cache:
        # What one limit allows another may not.
        key = (
            f"{listing.cache_key}\n{opening.max_pixels}"
            if opening.max_pixels
            else listing.cache_key
        )
        cache /= f"{blake3(key.encode()).hexdigest()[:32]}.json"
    keys = [row.key for row in listing.rows if not row.problem]
    checked = check_images(listing.images, keys, progress, cache)
    # In the order of the listing, as they are reported.
    problems = {row.key: row.problem or checked.problems.get(row.key, "") for row in listing.rows}
    return listing, checked, {key: problem for key, problem in problems.items() if problem}


def _without_empty(listing: Listing) -> Listing:
    """Without classes of which there is no image at all, good or bad."""
    labels = {row.label for row in listing.rows}
    remarks = [
        f"the class '{name}' has no image, and is left out"
        for name in listing.classes
        if name not in labels
    ]
    classes = tuple(name for name in listing.classes if name in labels)
    return replace(listing, classes=classes, remarks=(*listing.remarks, *remarks))


def _without_alone(listing: Listing, bad: dict[str, str]) -> tuple[Listing, dict[str, str]]:
    """Without classes of which fewer than two images can be used: these are as good as bad."""
    usable = [row for row in listing.rows if row.key not in bad]
    counts = Counter(row.label for row in usable)
    alone = [name for name in listing.classes if counts[name] < 2]
    if not alone:
        return listing, bad
    remarks = [
        f"the class '{name}' has {'one image' if counts[name] else 'no image'} that can be used, "
        "and is left out here; zoo finetune asks for two of each"
        for name in alone
    ]
    left_out = {row.key: "is alone in its class" for row in usable if row.label in alone}
    classes = tuple(name for name in listing.classes if name not in alone)
    kept = replace(listing, classes=classes, remarks=(*listing.remarks, *remarks))
    return kept, {**bad, **left_out}


def _none_labeled(_: Listing, rows: Sequence[Row]) -> list[str]:
    return [] if rows else ["no images"]


def _dataset(
    spec: str,
    listing: Listing,
    checked: CheckedImages,
    bad: Mapping[str, str],
    rows: Sequence[Row],
    shares: Shares,
    seed: int,
    fold: str,
    seen: Set[str],
) -> Dataset:
    groups = _groups(rows)
    parts = _parts(listing, rows, shares, seed, groups, seen)
    if fold:
        parts = fold_of(parts, fold, listing.task, seed, groups)
    if len(parts.train) < 2:
        raise InvalidData(spec, ["fewer than two images to train on"])
    if shares.test and not parts.test:
        raise InvalidData(spec, ["no image is left to test on: all are in one group"])
    return replace(
        _dataset_of(spec, listing, checked, bad, parts, groups),
        copies=_copies(rows, checked.digests),
        remarks=(*listing.remarks, *_find_leaks(parts, checked.digests, groups)),
    )


def _dataset_of(
    spec: str,
    listing: Listing,
    checked: CheckedImages,
    bad: Mapping[str, str],
    parts: Parts,
    groups: Mapping[str, str],
) -> Dataset:
    """What is listed, divided into ``parts``."""
    return Dataset(
        spec=spec,
        task=listing.task,
        classes=listing.classes,
        train=tuple(parts.train),
        validation=tuple(parts.validation),
        test=tuple(parts.test),
        digest=content_digest(listing.classes, chain.from_iterable(parts), checked.digests),
        split_digest=parts_digest(parts),
        skipped=tuple(SkippedImage(key, reason) for key, reason in bad.items()),
        images=listing.images,
        states=checked.states,
        groups=groups,
        digests=checked.digests,
        remarks=listing.remarks,
    )


def _groups(rows: Sequence[Row]) -> dict[str, str]:
    """The group of each image that is in one, by its key."""
    return {row.key: row.group for row in rows if row.group}


def _copies(rows: Sequence[Row], digests: Mapping[str, str]) -> dict[str, str]:
    counts = Counter(digests[row.key] for row in rows)
    return {row.key: digests[row.key] for row in rows if counts[digests[row.key]] > 1}


def _usable(
    spec: str,
    listing: Listing,
    bad: Mapping[str, str],
    skip_bad: bool,
    broken_rules: Callable[[Listing, Sequence[Row]], list[str]],
) -> list[Row]:
    """The rows that are trained and measured on."""
    # Counts are those of what is used: with bad images, unless these are left out.
    rows = [row for row in listing.rows if not (row.key in bad if skip_bad else row.problem)]
    labeled = [row for row in rows if row.label is not None]
    problems, hint = [*listing.problems, *broken_rules(listing, labeled)], ""
    # Not of images alone that cannot be read: the columns are what they were taken for.
    taken = listing.taken if problems or any(x.label is None for x in listing.rows) else ""
    few = FEW if any(problem.endswith((ONE, NO)) for problem in problems) else ""
    folder = Path(spec).expanduser()
    if problems and not is_named(spec) and folder.is_dir():
        contents, hint = one_below(folder)
        problems += [contents] if contents else []
    if problems and skip_bad:  # why a class has too few images, perhaps
        problems += [f"{key} {reason}, and is left out" for key, reason in bad.items()]
    if bad and not skip_bad:
        problems += [f"{key} {reason}" for key, reason in bad.items()]
        images = "the image" if len(bad) == 1 else f"the {len(bad)} images"
        more = f"\nbeside that, {few}" if few else ""
        hint = hint or f"--skip-bad leaves out {images} that cannot be used{more}"
    hint = hint or few
    if not problems:
        lost = {row.part for row in listing.rows if row.part} - {row.part for row in rows}
        problems = [f"no image of the {part} split can be used" for part in sorted(lost)]
    if problems:
        hint = "\n".join(filter(None, (taken, hint)))
        raise InvalidData(spec, problems, hint=hint or None)
    return rows


def absolute(spec: str) -> str:
    """What ``spec``, which was opened, is called from any folder."""
    if is_named(spec):
        return located(spec)
    path = Path(spec).expanduser().absolute()
    # What leads up through a link leads elsewhere than it reads.
    return str(path.resolve() if ".." in path.parts else path)


def without_folders_above(spec: str) -> str:
    """What data that is called ``spec`` from any folder (`absolute`) is called for others: a
    checkpoint is pushed, and does not say where its images lie on this machine.
    """
    return without_folders(spec) if is_named(spec) else Path(spec).name


def _list(
    spec: str, task: Task | None, group_by: str, opening: DatasetOptions, cache: Path | None
) -> Listing:
    path = Path(spec).expanduser()
    if check_spec(spec, opening, task):
        listing = list_table(path, task, group_by, opening, cache)
    else:
        listing = list_named(spec, task) if is_named(spec) else list_folders(path)
    if not group_by or any(row.group for row in listing.rows):
        return listing
    if not is_rule(group_by):
        what = "only tables have columns to group by: --group-by takes 'folder' or a pattern"
        raise InvalidOption(f"{what} with a group in it, such as '([^/_]+)_', for {spec}")
    return replace(listing, rows=tuple(by_rule(listing.rows, group_by)))


def _parts(
    listing: Listing,
    rows: Sequence[Row],
    shares: Shares,
    seed: int,
    groups: Mapping[str, str],
    seen: Set[str],
) -> Parts:
    """The splits that are given; those that are not, from what is to train on."""
    named = {row.part for row in rows}
    if named == {""}:
        return split(listing.samples(rows), listing.task, shares, seed, groups, seen)
    if "validation" in named:
        shares = replace(shares, validation=0.0)
    if "test" in named:
        shares = replace(shares, test=0.0)
    base = [row for row in rows if row.part == "train"]
    drawn = split(listing.samples(base), listing.task, shares, seed, groups, seen)

    def part(name: str, drawn: list[Sample]) -> list[Sample]:
        rest = listing.samples(row for row in rows if row.part == name)
        return sorted([*drawn, *rest], key=lambda sample: sample.key)

    return Parts(drawn.train, part("validation", drawn.validation), part("test", drawn.test))


def _broken_rules(listing: Listing, rows: Sequence[Row]) -> list[str]:
    """What is wrong with these rows of the listing, each of which has a label."""
    if not rows:
        return ["no images"]
    check = _regression if listing.task == "regression" else _counts
    return [
        *check(listing, rows),
        *(_split_rules(listing, rows) if any(x.part for x in rows) else ()),
    ]


def _counts(listing: Listing, rows: Sequence[Row]) -> Iterator[str]:
    kind = _kind(listing)
    if listing.task == "classification" and len(listing.classes) == 1:
        yield "only one class is there: training needs at least two classes"
    counts = Counter(name for row in rows for name in _names(row))
    for name in listing.classes:
        if counts[name] < 2:
            yield f"{kind} '{name}' has {ONE if counts[name] else NO}"


def _regression(listing: Listing, rows: Sequence[Row]) -> Iterator[str]:
    if len(rows) < 3:
        yield "fewer than three images: two to train on, one to test"
    for index, name in enumerate(listing.classes):
        values = {row.label[index] for row in rows if row.label is not None}
        if len(values) == 1:
            yield f"the column '{name}' has one value only: there is nothing to learn"


def _split_rules(listing: Listing, rows: Sequence[Row]) -> Iterator[str]:
    if not any(row.part == "train" for row in rows):
        yield "there are splits, but none to train on"
        return
    if listing.task == "regression":
        return
    kind = _kind(listing)
    names: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        names[row.part].update(_names(row))
    for part in PARTS[1:]:
        if part not in names:
            continue
        for name in listing.classes:
            if name in names[part] - names["train"]:
                yield f"{kind} '{name}' is in the {part} split, but not in that to train on"
        # A rare label may well miss a split; without a class its accuracy says nothing of that.
        for name in listing.classes if listing.task == "classification" else ():
            if name in names["train"] - names[part]:
                yield f"{kind} '{name}' is in the train split, but not in {part}"


def _names(row: Row) -> Iterable[str]:
    return (row.label,) if isinstance(row.label, str) else map(str, row.label or ())


def _kind(listing: Listing) -> str:
    return "class" if listing.task == "classification" else "label"


def _find_leaks(
    parts: Parts, digests: Mapping[str, str], groups: Mapping[str, str]
) -> Iterator[str]:
    """Remarks on copies of images: that there are any, that their labels differ, and, where parts
    are given or copies may be in several parts, that training has seen what measures it.

    ``digests`` and ``groups`` are of images, by key.
    """
    copies: dict[str, list[tuple[str, Sample]]] = defaultdict(list)
    for name, samples in zip(PARTS, parts, strict=True):
        for sample in samples:
            copies[digests[sample.key]].append((name, sample))
    several = [each for each in copies.values() if len(each) > 1]
    if several:
        number = sum(len(each) - 1 for each in several)
        copies_of = plural(number, "image is a copy of another", "images are copies of others")
        yield f"{copies_of}, such as {_pair(several[0])}"
    if odd := [each for each in several if len({sample.target for _, sample in each}) > 1]:
        have = plural(len(odd), "image has copies", "images have copies")
        yield f"{have} with another label, such as {_pair(odd[0])}"
    yield from _across(parts, several, groups)


def _across(
    parts: Parts, several: list[list[tuple[str, Sample]]], groups: Mapping[str, str]
) -> Iterator[str]:
    for at, part in enumerate(PARTS[1:], 1):
        pairs = [
            [before[0], *seen]
            for each in several
            if (seen := [one for one in each if one[0] == part])
            and (before := [one for one in each if one[0] in PARTS[:at]])
        ]
        if pairs:
            number, of = (
                sum(len(pair) - 1 for pair in pairs),
                plural(len(parts[at]), f"{part} image"),
            )
            chosen = " or chosen by" if any(pair[0][0] != "train" for pair in pairs) else ""
            yield (
                f"{number} of {of} {'is' if number == 1 else 'are'} trained on{chosen}, too, such "
                f"as {_pair(pairs[0])}: figures on these say nothing about new images"
            )
        own_groups, train_groups = (
            {groups.get(x.key, "") for x in each} for each in (parts[at], parts.train)
        )
        shared = (own_groups & train_groups) - {""}
        if shared and not pairs:
            number_of = plural(len(shared), "group is", "groups are")
            yield f"{number_of} in the {part} split and in that to train on"


def _pair(each: list[tuple[str, Sample]]) -> str:
    (_, one), (_, other) = each[:2]
    return f"'{one.key}' and '{other.key}'"
