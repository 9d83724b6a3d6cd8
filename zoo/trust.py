"""Trust: which modules zoo may import because a checkpoint names them (``acme.nets:make``).

To import a module is to run it. A checkpoint may come from anybody, so a name in it imports nothing
by itself: its user has to say so, by naming it on a command line (`zoo import --architecture`,
``zoo trust``). That is kept in the user's zoo, with the file that the module was then in; a module
of that name in another file, as one that lies in the current folder, is another module.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from typing import TYPE_CHECKING
from weakref import WeakSet

from zoo.domain.plain import Json
from zoo.errors import UnknownName, Untrusted

if TYPE_CHECKING:
    from zoo.store.json_file import JsonFile

__all__ = ["Trust", "check_trusted", "import_path", "locate"]

WORD = r"[A-Za-z_][A-Za-z0-9_]*"
PATH = re.compile(rf"({WORD}(?:\.{WORD})*):({WORD})")
"""``package.module:name``."""


def import_path(name: str) -> tuple[str, str] | None:
    """The module and the name in it; None if ``name`` is not an import path, or one of the standard
    library: some modules of that do things when they are imported, and none has a network.
    """
    match = PATH.fullmatch(name)
    if match is None or match[1].partition(".")[0] in {*sys.stdlib_module_names, "__main__"}:
        return None
    return match[1], match[2]


def locate(module: str) -> str:
    """The file that ``import module`` would run; nothing is imported, nor are its parents.

    Raises:
        ModuleNotFoundError: There is none; ``name`` says which part of it is missing.
    """
    spec = _spec(module)
    if spec.has_location and spec.origin:
        return os.path.abspath(spec.origin)  # noqa: PTH100 - links stay as they are
    return ", ".join(spec.submodule_search_locations or ()) or str(spec.origin)  # has no file


def _spec(module: str) -> ModuleSpec:
    """What an import would find; `importlib.util.find_spec` imports the parents first."""
    parent, _, _ = module.rpartition(".")
    within = _spec(parent).submodule_search_locations if parent else None
    spec: ModuleSpec | None = None
    if module in sys.modules:
        spec = getattr(sys.modules[module], "__spec__", None)
    elif within is not None or not parent:
        finders = [each for each in sys.meta_path if hasattr(each, "find_spec")]
        specs = (finder.find_spec(module, within) for finder in finders)
        spec = next((each for each in specs if each is not None), None)
    if spec is None:
        raise ModuleNotFoundError(f"no module named '{module}'", name=module)
    return spec


class Trust:
    """The import paths that the user of a zoo has allowed, and where from.

    Until it is closed, what it allows is allowed in this process (`check_trusted`).

    Args:
        kept: The list of this user in the zoo: nobody consents for somebody else.
    """

    def __init__(self, kept: JsonFile) -> None:
        self._kept = kept
        self._asked: dict[str, str] = {}
        OPEN.add(self)

    def close(self) -> None:
        """Allow nothing any more."""
        OPEN.discard(self)

    def all(self) -> dict[str, list[str]]:
        """The import paths, each with the files that it was allowed from.

        Raises:
            Invalid, NotAFile, Forbidden: The list is damaged, or cannot be read.
        """
        return self._read(self._kept.read())

    def allow(self, name: str, file: str) -> None:
        """Allow an import path from a file, from now on. Raises as `all` does, and `Conflict`."""
        if file not in self.all().get(name, ()):
            # Read again under the lock: another process may have added to it since.
            with self._kept.change() as known:
                known[name] = sorted({*self._read(known).get(name, ()), file})

    def forbid(self, name: str) -> None:
        """Take back what was allowed. Raises as `allow` does.

        Raises:
            UnknownName: It was not allowed.
        """
        with self._kept.change() as known:
            if name not in known:
                raise UnknownName("trusted import path", name, hint="zoo trust lists them")
            del known[name]

    def _read(self, kept: Json) -> dict[str, list[str]]:
        try:
            return {name: [str(each) for each in files] for name, files in kept.items()}
        except TypeError as error:
            raise self._kept.damaged(error) from error

    @contextmanager
    def asked(self, name: str) -> Iterator[dict[str, str]]:
        """Allow an import path meanwhile, from wherever it is: the user has just named it. What is
        imported so is in the dictionary, with its file.
        """
        self._asked = {name: ""}
        try:
            yield self._asked
        finally:
            self._asked = {}

    def allows(self, name: str, file: str) -> bool:
        """Whether the import path ``name`` may be imported from ``file``."""
        if name in self._asked:
            self._asked[name] = file
            return True
        return file in self.all().get(name, ())


OPEN: WeakSet[Trust] = WeakSet()


def check_trusted(name: str) -> None:
    """See that the user has allowed an import path, before it is imported.

    Raises:
        Untrusted: He has not.
        ModuleNotFoundError: There is no such module.
    """
    module = name.partition(":")[0]
    file = locate(module)
    # Several zoos may be open in one process: what any of them allows is allowed.
    zoos = list(OPEN)
    if any(trust.allows(name, file) for trust in zoos):
        return
    others = sorted({other for trust in zoos for other in trust.all().get(name, ())})
    raise Untrusted(name, module, file, others)
