"""Shards of samples in tar files, in the form of WebDataset: ``wds/data/flowers``.

Files of one sample lie beside one another and share their name up to the first dot: ``0001.jpg``
with ``0001.cls``, a class index or name, or ``0001.json``, in which ``label`` names a field. The
shards of a split are those that ``_info.json`` lists (as timm reads it), or that a pattern names
(``flowers-train-{0000..0009}.tar``), or in whose names the split's is a word, if all have one.
"""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from zoo.backbones.image_files import SUFFIXES
from zoo.domain.task import Task
from zoo.domain.words import up_to
from zoo.errors import InvalidData
from zoo.finetune.dataset.dataset import PART_NAMES, Listing
from zoo.finetune.dataset.images import EncodedImages
from zoo.finetune.dataset.named import ELSEWHERE, Entry, list_entries
from zoo.finetune.dataset.spec import DatasetSpec

__all__ = ["ShardImages", "ByteRange", "list_shards", "samples"]

INFO = ("_info.json", "info.json")
WORDS = re.compile(r"[-_.\d]+")
"""What is between the words of a name."""
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
LISTED = 3
MEMBER = re.compile(r"((?:.*/)?[^.]+)\.([^/]*)")


class ByteRange(NamedTuple):
    """Bytes of a file."""

    file: Path
    offset: int
    size: int

    def read(self) -> bytes:
        """The bytes."""
        with self.file.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


class Shards(NamedTuple):
    """The shards of a split, and the field of their JSON files that holds targets, if one does."""

    files: list[Path]
    label: str


class ShardImages(EncodedImages):
    """Implements `Images`: keys are the shard's file name and the sample's name in it."""

    def __init__(self, spans: Mapping[str, ByteRange]) -> None:
        self.spans = spans

    def encoded(self, key: str) -> bytes:
        """See `EncodedImages.encoded`."""
        return self.spans[key].read()

    def file(self, key: str) -> Path:
        """See `Images.file`: the shard."""
        return self.spans[key].file


def list_shards(named: DatasetSpec, task: Task | None) -> Listing:
    """Read through the shards of all splits once, for what is where.

    Raises:
        InvalidData: There are none, or one is no plain tar file.
    """
    location = named.options.get("root", named.name)
    if ELSEWHERE.match(location):
        raise InvalidData(named.spec, ["shards that are not here can only be read in sequence"])
    root = Path(location).expanduser()
    spans: dict[str, ByteRange] = {}
    entries: list[Entry] = []
    suffixes = named.options.get(
        "image", ";".join(suffix[1:] for suffix in sorted(SUFFIXES))
    ).split(";")
    parts = _parts(named, root)
    for part, shards in parts.items():
        for file in shards.files:
            for name, members in samples(file):
                key = f"{file.name}/{name}"
                image = next((members[s] for s in suffixes if s in members), None)
                if key in spans or image is None:
                    problem = "is there before" if key in spans else "has no image"
                    entries.append(Entry(f"{key} in {part or file}", part, None, problem))
                    continue
                spans[key] = image
                entries.append(Entry(key, part, _target(members, shards.label)))
    listing = list_entries(named.spec, entries, (), ShardImages(spans), task)
    drawn = parts[""].files if "" in parts and root.is_dir() else []
    return replace(listing, remarks=tuple(_not_taken(drawn)))


def _parts(named: DatasetSpec, root: Path) -> dict[str, Shards]:
    parts: dict[str, Shards] = {}
    label = named.options.get("label", "")
    if root.is_file():
        return {"": Shards([root], label)}
    info = next((root / name for name in INFO if (root / name).is_file()), None)
    known = json.loads(info.read_bytes())["splits"] if info else {}
    if named.splits or known:
        asked = named.splits or {PART_NAMES[n]: n for n in known if n in PART_NAMES}
        for part, name in asked.items():
            split = known.get(name, {"filenames": _expand(name)})
            files = [root / file for file in split["filenames"]]
            parts[part] = Shards(files, label or split.get("alt_label", ""))
        return parts
    files = _called(named, root)
    for file in files:
        parts.setdefault(_part(file), Shards([], label)).files.append(file)
    # With a shard that is in no split there are no splits.
    return {"": Shards(files, label)} if "" in parts else parts


def _called(named: DatasetSpec, root: Path) -> list[Path]:
    """The shards in a folder: all if the data set is called as that is, else those whose names
    begin with its name. timm looks at no name, and has no shards that nobody lists.
    """
    files, name = sorted(root.glob("*.tar")), Path(named.name).name
    if not files or name in ("", root.absolute().name):  # it has no name in wds/. alone
        return files
    own = re.compile(rf"{re.escape(name)}(?=[-_.\d])")
    if matches := [file for file in files if own.match(file.name)]:
        return matches
    has = up_to([file.name for file in files], LISTED)
    raise InvalidData(
        named.spec, [f"no tar file in {root} has a name that begins with '{name}': {has}"]
    )


def _part(file: Path) -> str:
    """The split that a shard's name has in it as a word; empty if it has none, or several."""
    splits = _splits(file)
    return splits.pop() if len(splits) == 1 else ""


def _splits(file: Path) -> set[str]:
    words = WORDS.split(file.name.lower())
    return {PART_NAMES[word] for word in words if word in PART_NAMES}


def _not_taken(files: Sequence[Path]) -> Iterator[str]:
    """That names of splits are not taken, where some of the shards have one."""
    if count := sum(bool(_splits(file)) for file in files):
        odd = next(file for file in files if not _part(file))
        yield (
            f"{count} of {len(files)} tar files have a split's name in theirs, '{odd.name}' has "
            f"{'several' if _splits(odd) else 'none'}: these splits are not taken (train=…, "
            "validation=… and test=… after the name of the dataset say which is which)"
        )


def _expand(pattern: str) -> Iterator[str]:
    """File names of a pattern with ranges in braces; a count after a bar is left out."""
    for piece in pattern.split("|")[0].split("::"):
        match = RANGE.search(piece)
        if not match:
            yield piece
            continue
        first, last = match[1], match[2]
        for number in range(int(first), int(last) + 1):
            yield from _expand(piece.replace(match[0], f"{number:0{len(first)}}", 1))


def samples(file: Path) -> Iterator[tuple[str, dict[str, ByteRange]]]:
    """The samples of a tar file: a name, and by suffix where its files lie.

    Raises:
        InvalidData: It is no plain tar file.
    """
    name, members = "", dict[str, ByteRange]()
    try:
        with tarfile.open(file, "r:") as tar:  # a compressed one has no places to go to
            for member in tar:
                match = MEMBER.fullmatch(member.name)
                if not match or not member.isreg():
                    continue
                if match[1] != name and members:
                    yield name, members
                    members = {}
                name = match[1]
                span = ByteRange(file, member.offset_data, member.size)
                members[match[2].lower()] = span
    except (tarfile.TarError, OSError) as error:
        raise InvalidData(file, [f"is not a readable, uncompressed tar file: {error}"]) from error
    if members:
        yield name, members


def _target(members: Mapping[str, ByteRange], label: str) -> object:
    with suppress(KeyError, ValueError):
        if label:
            return json.loads(members["json"].read())[label]
        text = members["cls"].read().decode().strip()
        return int(text) if text.lstrip("-").isdecimal() else text
    return None
