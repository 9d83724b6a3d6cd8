"""Every error that zoo raises on purpose.

Errors carry data; ``str(error)`` states the fact, with near names, and ``error.advice`` says what
to do about it: what whoever raised the error knows (its ``hint``), else what usually helps with its
kind. Python prints the advice below a traceback, as it does with notes, and the command line below
``error.message``.

    ZooError
    |-- NotFound
    |   |-- NoZoo                no zoo in this folder or above it
    |   |-- UnknownName          a name that nothing answers to, with near names
    |   `-- MissingObject        an object or manifest that the store should hold
    |-- Invalid
    |   |-- InvalidReference     a malformed name, tag or digest
    |   |-- InvalidManifest      a manifest that breaks the format
    |   |-- NoCheckpoint         a name or digest that leads to files, and to no checkpoint
    |   |-- InvalidWeights       a weights file that is damaged, unsafe, or of another network
    |   |-- InvalidFreeze        a freeze spec that this hierarchy does not have
    |   |-- InvalidImage         an image that is missing or unreadable
    |   |-- InvalidData          a dataset that cannot be used
    |   `-- InvalidOption        an option out of range, or one that does not apply
    |-- Diverged                 a training whose loss is NaN or infinite
    |-- OutOfMemory              a training that the memory of its device has no room for
    |-- Conflict                 a name that moved, or is taken
    |   |-- Protected            a name that may be neither moved nor deleted
    |   |-- WouldReplace         a name that would be taken from work that only one side has
    |   `-- OtherClasses         a name that would answer with other classes only, or another task
    |-- Corrupt                  bytes that are not what their digest says
    |   `-- NotAFile             a link, pipe or device where a file or folder should be
    |-- Untrusted                code that a checkpoint names, and that the user has not allowed
    |-- Unsigned                 a checkpoint that nobody whom the user trusts has signed
    |-- Unsupported              a format, plugin or network that this version cannot handle
    |-- Unavailable              a source or remote that does not answer or does not exist
    |-- MissingPackage           an optional dependency that is not installed
    |-- BrokenPlugin             a plugin that fails to import, or shares its name with another
    |-- Forbidden                a folder or file whose rights do not allow what was asked
    `-- DiskFull                 no space left where we write
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from copyreg import __newobj__  # type: ignore[attr-defined]
from errno import EDQUOT, EFBIG, ENOSPC
from pathlib import Path
from shlex import quote
from typing import Literal

__all__ = [
    "INDEXES",
    "MALFORMED",
    "BrokenPlugin",
    "Conflict",
    "Corrupt",
    "DiskFull",
    "Diverged",
    "Forbidden",
    "Invalid",
    "InvalidData",
    "InvalidFreeze",
    "InvalidImage",
    "InvalidManifest",
    "InvalidOption",
    "InvalidReference",
    "InvalidWeights",
    "MissingObject",
    "MissingPackage",
    "MissingParent",
    "NoCheckpoint",
    "NoZoo",
    "NotAFile",
    "NotFound",
    "OtherClasses",
    "OutOfMemory",
    "Protected",
    "Unavailable",
    "UnknownName",
    "Unsigned",
    "Unsupported",
    "Untrusted",
    "WouldReplace",
    "ZooError",
    "disk_errors",
    "how_to_update",
]


CHECKPOINTS = (
    "zoo search WORD lists what is known here; zoo fetch learns what remotes have, and\n"
    "zoo index timm (or hub, torchvision, transformers) what is published"
)
LISTS = {
    "architecture": "zoo list-arch lists the architectures",
    "remote": "zoo remote lists the remotes that have a name; a folder is written ./team or /team",
    "run": "zoo runs lists the runs",
}
"""How to see what there is of a kind."""


class ZooError(Exception):
    """Base of every error that zoo raises on purpose.

    Attributes:
        hint: What to do about it; None is what usually helps, empty is nothing.
        usual: What usually helps with errors of this kind.
        near: Names that resemble one that nothing answers to.
    """

    hint: str | None = None
    usual: str = ""
    near: tuple[str, ...] = ()
    _added: tuple[str, ...] = ()

    def __init__(self, text: str, *, hint: str | None = None) -> None:
        self.hint = hint
        super().__init__(text)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickled as it is, by whatever its class is made with."""
        return __newobj__, (type(self), *self.args), self.__dict__

    def __str__(self) -> str:
        return f"{self.message}; {self._meant}" if self.near else self.message

    @property
    def message(self) -> str:
        """The fact alone, without near names."""
        return super().__str__()

    @property
    def _meant(self) -> str:
        return f"did you mean {' or '.join(self.near)}?"

    @property
    def advice(self) -> str:
        """What to do about it, in lines; empty if nothing is known to help."""
        known = self._usual() if self.hint is None else self.hint
        if known.startswith("zoo delete --restore"):
            return f"the name was deleted; restore it: {known}"
        if known.startswith("zoo pull"):
            return f"it can be pulled: {known}"
        if self.near and "did you mean" not in known:
            known = f"{self._meant}\n{known}"
        return known.strip()

    def _usual(self) -> str:
        return self.usual

    @property
    def __notes__(self) -> list[str]:  # type: ignore[override] # declared as an attribute
        """What Python prints below a traceback, whose last line has near names already."""
        advice = self.advice.replace(self._meant, "", 1).strip() if self.near else self.advice
        return [note for note in (advice, *self._added) if note]

    def add_note(self, note: str) -> None:
        """Add to what Python prints below a traceback."""
        self._added = (*self._added, note)


class NotFound(ZooError):
    """Something that was asked for does not exist."""


class NoZoo(NotFound):
    """There is no zoo in the folder ``start`` or, if looked ``upward``, in any above it."""

    usual = "create one here: zoo init\nor name one: --home DIR, or ZOO_HOME=DIR"

    def __init__(self, start: Path, *, upward: bool) -> None:
        self.start, self.upward = start, upward
        super().__init__(f"no zoo in {start}" + (" or any folder above it" if upward else ""))


class UnknownName(NotFound):
    """Nothing of this ``kind`` is called ``name``, at the remote ``where`` if it is one; ``near``
    holds similar names.
    """

    def __init__(
        self,
        kind: str,
        name: str,
        near: Sequence[str] = (),
        hint: str | None = None,
        *,
        where: str = "",
    ) -> None:
        self.kind, self.name, self.near = kind, name, tuple(near)
        super().__init__(f"unknown {kind} '{name}'{where and f' in {where}'}", hint=hint)

    def _usual(self) -> str:
        if self.near:
            return ""
        return CHECKPOINTS if self.kind.startswith("checkpoint") else LISTS.get(self.kind, "")


class MissingParent(UnknownName):
    """A checkpoint derives from one that is not here."""

    def __init__(self, parent: str, child: str, hint: str) -> None:
        super().__init__("checkpoint", parent, hint=hint)
        self.args = (f"{parent}, which {child} derives from, is not in this zoo",)


class MissingObject(NotFound):
    """The store lacks an object or manifest that something refers to, or has it only ``encoded``,
    as a push sends it: pulled from there it is decoded.
    """

    usual = "pull it again from a remote with an intact copy, or: zoo verify --repair --from REMOTE"

    def __init__(self, kind: str, digest: str, where: str, *, encoded: bool = False) -> None:
        self.kind, self.digest, self.where, self.encoded = kind, digest, where, encoded
        state, hint = "is missing from", None
        if encoded:
            state = "is, as a push sends it, only encoded in"
            hint = f"in another zoo, which decodes it: zoo pull NAME --from {quote(where)}"
        super().__init__(f"{kind} {digest} {state} {where}", hint=hint)


class Invalid(ZooError):
    """An input that cannot be used; the text says what was found."""


class InvalidReference(Invalid):
    """A malformed name, tag or digest."""

    usual = (
        "a reference looks like team/flowers or team/flowers:v3; a digest is blake3: and 64 hex "
        "digits, of which the first eight do"
    )


class InvalidManifest(Invalid):
    """A manifest that breaks the format."""


class NoCheckpoint(Invalid):
    """What is called so holds files, and no network that is known."""

    usual = (
        "zoo serve has its files for clients of the hub: hf download\n"
        "where they came just now, a server may still be reading them: ask again in a while"
    )

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} holds files, no checkpoint")


class InvalidWeights(Invalid):
    """A weights file that is damaged, unsafe, or belongs to another network."""

    def __init__(self, file: Path | str, reason: str) -> None:
        self.file, self.reason = str(file), reason
        super().__init__(f"{file}: {reason}")


class InvalidFreeze(Invalid):
    """A freeze spec that this hierarchy does not have; ``near`` holds names that it has."""

    usual = (
        "a freeze spec is none, all, a unit or stage (zoo tree lists them), a count (6, or -2 for "
        "all but two), or a share (75%)"
    )

    def __init__(self, spec: str, reason: str, near: Sequence[str] = ()) -> None:
        self.spec, self.reason, self.near = spec, reason, tuple(near)
        super().__init__(f"cannot freeze '{spec}': {reason}")


class InvalidImage(Invalid):
    """An image that is missing, unreadable, or cannot be transformed."""

    def __init__(self, path: Path | str, reason: str) -> None:
        self.path, self.reason = str(path), reason
        super().__init__(f"{path}: {reason}")


class InvalidData(Invalid):
    """A dataset that cannot be trained or measured on; ``problems`` lists every finding."""

    def __init__(
        self, where: Path | str, problems: Sequence[str], *, hint: str | None = None
    ) -> None:
        self.where, self.problems = str(where), tuple(problems)
        super().__init__(f"{where}: " + "; ".join(problems), hint=hint)

    def _usual(self) -> str:
        if Path(self.where).suffix.lower() not in (".csv", ".tsv", ".parquet"):
            return ""
        return (
            "a table has a row for each image: its path, and its label (a class), labels (a|b), or "
            "target (a number)"
        )


class InvalidOption(Invalid):
    """An option out of range, or one that does not apply here."""


class Diverged(ZooError):
    """The loss of a training became NaN or infinite at ``step``; ``lr`` was the recipe's
    rate, or that of the ``phase`` that has its own.
    """

    def __init__(self, step: int, lr: float, phase: str = "") -> None:
        self.step, self.lr, self.phase = step, lr, phase
        option = f"--phases {phase}@" if phase else "--lr "
        super().__init__(
            f"the training diverged at step {step}: its loss is NaN or infinite",
            hint=f"nothing was saved; try a smaller rate: {option}{lr / 10:g}",
        )


class OutOfMemory(ZooError):
    """The memory of ``device`` has no room for a training: ``reason`` is what torch says of it,
    ``peak`` the bytes that were in use at most, ``batch_size`` the images of a batch, ``fits`` how
    many of these do fit, by trying; None where that was not tried.
    """

    def __init__(
        self,
        device: str,
        reason: str,
        peak: int,
        batch_size: int,
        accumulate: int,
        kept: str,
        fits: int | None = None,
    ) -> None:
        self.device, self.peak, self.batch_size, self.fits = device, peak, batch_size, fits
        smaller = ""
        if batch_size > 1:
            fewer = range(fits or max(batch_size // 4, 1), 0, -1)
            each = next(size for size in fewer if batch_size % size == 0)
            several = accumulate * (batch_size // each)
            smaller = f"--batch-size {each} --accumulate {several} (steps of as many images), "
        tried = "not even 2 images fit (measured); " if fits == 0 else ""
        if fits:
            tried = f"{fits} images fit (measured); "
        super().__init__(
            f"out of memory on {device} with {batch_size} images in a batch, and "
            f"{peak / 1e9:.1f} GB in use at most: {reason}",
            hint=f"{kept}\n{tried}a new run takes less with "
            f"{'' if fits == 0 else smaller}--grad-checkpointing, or a higher boundary (--freeze)",
        )


class Conflict(ZooError):
    """A name that somebody else moved meanwhile, or that is taken; ``current`` is its value."""

    usual = "nothing was changed"

    def __init__(self, what: str, current: str = "", *, hint: str | None = None) -> None:
        self.what, self.current = what, current
        super().__init__(f"{what}; it is now {current}" if current else what, hint=hint)


class Protected(Conflict):
    """The name ``ref`` may be neither moved nor deleted here, or at the remote ``where``."""

    def __init__(self, ref: str, current: str, where: str = "") -> None:
        self.ref, self.where = ref, where
        at, option = (f" at {where}", f" --at {quote(where)}") if where else ("", "")
        hint = f"end that first: zoo protect --off {ref}{option}"
        super().__init__(f"{ref} is protected{at}", current, hint=hint)


class WouldReplace(Conflict):
    """A push to ``other``, or a pull from there, would take the name ``ref`` from work that is not
    known where the new one comes from; ``doing`` says which. ``behind`` says that what is here is
    an older version of that work.
    """

    def __init__(
        self,
        doing: Literal["push", "pull"],
        ref: str,
        current: str,
        other: str,
        what: str,
        *,
        behind: bool = False,
    ) -> None:
        self.doing, self.ref, self.other, self.behind = doing, ref, other, behind
        super().__init__(what, current)

    def _usual(self) -> str:
        mine, theirs = (_other_tag(self.ref, whose) for whose in ("mine", "theirs"))
        other, tag = quote(self.other), f"zoo tag {self.ref} {mine}"
        if self.behind:
            return (
                f"nothing was changed; bring the newer one here: zoo pull {self.ref} --from {other}"
            )
        if self.doing == "push":
            return (
                f"nothing was changed; zoo pull {self.ref} --from {other} --as {theirs} brings "
                f"that one here\nor send yours under another name: push --as {mine}\n"
                "or move the name there: push --force (its history keeps the other one)"
            )
        pull = f"zoo pull {self.ref} --from {other} --as {theirs}"
        if self.other.lower().startswith("hf:"):
            pull = f"zoo pull {theirs} --from {other}"
        return (
            f"nothing was changed; bring theirs under another name: {pull}\n"
            f"or move the name: pull --force (zoo log {self.ref} keeps yours; {tag} names it)"
        )


class OtherClasses(Conflict):
    """What is trained, pushed or pulled has no class in common with what the name ``ref`` holds, or
    is of another task; ``other`` is the place of a push or pull, and ``free`` another name.
    """

    def __init__(
        self,
        doing: Literal["finetune", "push", "pull"],
        ref: str,
        current: str,
        what: str,
        free: str,
        other: str = "",
    ) -> None:
        self.doing, self.ref, self.free, self.other = doing, ref, free, other
        super().__init__(what, current)

    def _usual(self) -> str:
        other, keeps = quote(self.other), f"zoo log {self.ref} keeps what it was"
        if self.doing == "finetune":
            return (
                f"nothing was trained; take another name: --save {self.free}\n"
                f"or move this one: --force ({keeps})"
            )
        if self.doing == "push" and self.other.startswith("hf:"):
            return (
                f"it was not sent; publish it elsewhere: zoo push {self.ref} --to {self.free}\n"
                "or there all the same: push --force (the repository keeps its earlier commits)"
            )
        if self.doing == "push":
            return (
                f"it was not sent; send it under another name: push --as {self.free}\n"
                "or move the name there: push --force (its history keeps the other one)"
            )
        pull = f"zoo pull {self.ref} --from {other} --as {self.free}"
        if self.other.lower().startswith("hf:"):
            pull = f"zoo pull {self.free} --from {other}"
        return (
            f"nothing was changed; bring it under another name: {pull}\n"
            f"or move the name: pull --force ({keeps})"
        )


FOLDERS = {
    "object": "objects",
    "encoded object": "encoded",
    "manifest": "manifests",
    "encoded manifest": "encoded-manifests",
}
"""Where a store keeps what."""
INDEXES = ("registry.db", "registry.id")
"""A zoo has one of them beside its store (the id of an index on a server), and a remote none."""


class Corrupt(ZooError):
    """Bytes that are not what their digest says; ``where`` is the store that holds them."""

    def __init__(self, what: str, expected: str, found: str, where: str = "") -> None:
        self.what, self.expected, self.found, self.where = what, expected, found, where
        at = f" in {where}" if where else ""
        super().__init__(f"{what} is damaged{at}: expected {expected}, found {found}")

    def _usual(self) -> str:
        if self.what.endswith("registry.db"):
            home = quote(str(Path(self.what).parent))
            return (
                f"it is an index only: zoo reindex --home {home} sets it aside and makes it again "
                "from the store"
            )
        kind, _, digest = self.what.partition(" blake3:")
        if kind in FOLDERS and digest:
            suffix = ".json" if kind == "manifest" else ""
            return (
                f"nothing was stored or loaded; {_mending(self.where)}\n"
                f"it is {FOLDERS[kind]}/{digest[:2]}/{digest}{suffix}"
            )
        return "nothing was stored or loaded; pull it again from a remote with an intact copy"


class NotAFile(Corrupt):
    """A link, pipe or device where a file or folder should be; nothing was read through it."""

    def _usual(self) -> str:
        return (
            "zoo follows no links inside a zoo or remote, and opens nothing but files there; look "
            f"what it is:\nls -l {quote(self.what)}\nto keep a zoo on another disk, move all of it "
            "there and link its own folder"
        )


class Unsigned(ZooError):
    """The user's rules want a signature of a checkpoint that is to be called ``ref``, and it has
    none of somebody whom the user trusts; ``why`` says what it has.
    """

    def __init__(self, ref: str, why: str) -> None:
        self.ref, self.why = ref, why
        super().__init__(f"{ref} is not kept: {why}")

    def _usual(self) -> str:
        return (
            "have it signed by somebody whom you trust (zoo sign), or trust who signed it: "
            "zoo signers add NAME FILE\nwhat is wanted of whom: zoo signers"
        )


class Unsupported(ZooError):
    """A format, plugin or network that this version cannot handle."""

    def _usual(self) -> str:
        newer = re.search(r"\b(format|codec) \d", str(self))
        return f"a newer zoo may know it: {how_to_update()}" if newer else ""


class Untrusted(ZooError):
    """The import path ``name`` would import ``module`` from ``file``, which its user has not
    allowed; ``others`` are files that he has allowed it from.
    """

    def __init__(self, name: str, module: str, file: str, others: Sequence[str] = ()) -> None:
        self.name, self.module, self.file, self.others = name, module, file, tuple(others)
        allowed = f" (only from {', '.join(others)})" if others else ""
        super().__init__(
            f"the network '{name}' is not trusted{allowed}: to build it, zoo would import the "
            f"module '{module}', and so run {file}"
        )

    def _usual(self) -> str:
        return (
            f"if you trust that file: zoo trust {self.name}\nor, in Python, register what makes "
            f"it: zoo_torch.register({self.name!r}, factory)"
        )


class Unavailable(ZooError):
    """A source or remote that does not answer or does not exist."""

    def __init__(self, what: str, reason: str, *, hint: str | None = None) -> None:
        self.what, self.reason = what, reason
        super().__init__(f"{what}: {reason}", hint=hint)

    def _usual(self) -> str:
        if not self.what.endswith("registry.db"):
            return ""
        if "index" in self.reason:  # it says who can help, and how
            return "what is here can be read all the same; nothing was changed"
        return "the zoo's folder must be writable: its index is a database"


class MissingPackage(ZooError):
    """An optional dependency that is not installed; ``install`` is the command that helps."""

    def __init__(self, what: str, install: str) -> None:
        self.what, self.install = what, install
        super().__init__(f"{what} is not installed", hint=install)


class BrokenPlugin(ZooError):
    """A plugin that fails to import, or shares its name with another."""

    usual = "zoo plugins lists which plugins work"


class Forbidden(ZooError):
    """Rights of ``path`` that do not allow what was asked; ``mend`` is the command that helps."""

    def __init__(self, path: Path | str, reason: str, mend: str) -> None:
        self.path, self.reason, self.mend = str(path), reason, mend
        super().__init__(f"{path}: {reason}", hint=mend)


class DiskFull(ZooError):
    """No space left (or a quota or size limit reached) at ``path``."""

    usual = "free some space and run the same command again; nothing was lost"

    def __init__(self, path: Path | str) -> None:
        self.path = str(path)
        super().__init__(f"no space left while writing {path}")


MALFORMED = (
    ValueError,
    KeyError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    InvalidReference,
)
"""What reading plain data raises that is not as it should be."""


@contextmanager
def disk_errors(path: Path | str) -> Iterator[None]:
    """Turn 'no space left', 'over quota' and 'file too large' into `DiskFull`.

    Raises:
        DiskFull: When the body raises one of these.
    """
    try:
        yield
    except OSError as error:
        if error.errno in (ENOSPC, EDQUOT, EFBIG):
            raise DiskFull(path) from error
        raise


def how_to_update() -> str:
    """What a user does to get a newer zoo.

    No command for a package index: zoo is on none, and what is there under its name is not ours.
    """
    from importlib import metadata

    # What pip notes of a folder, file or repository (PEP 610); nothing, where it asked an index.
    with suppress(metadata.PackageNotFoundError, *MALFORMED):
        source = json.loads(
            metadata.distribution("zoo-registry").read_text("direct_url.json") or ""
        )
        return f"update zoo where it was installed from, {source['url']}"
    return "update zoo where it was installed from"


def _other_tag(ref: str, tag: str) -> str:
    path, _, old = ref.partition(":")
    return f"{path}:{old}-{tag}" if old else f"{path}:{tag}"


def _mending(where: str) -> str:
    """The command that replaces what is damaged."""
    if where and not any(Path(where, name).exists() for name in INDEXES):
        return f"repair it from a zoo that has an intact copy: zoo verify {quote(where)} --repair"
    here = "repair this zoo from an intact copy: zoo verify --repair --from REMOTE"
    return here if where else f"{here}\n(a remote from this zoo: zoo verify REMOTE --repair)"
