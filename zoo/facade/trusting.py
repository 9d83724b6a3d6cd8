"""Trust: the user's word for modules that a checkpoint names."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from zoo.errors import InvalidOption, MissingPackage, ZooError
from zoo.facade.opened import Opened
from zoo.trust import import_path, locate

__all__ = ["Trusting"]

LOG = logging.getLogger("zoo")


class Trusting(Opened):
    """What may be imported because a checkpoint names it (`zoo.trust`)."""

    def trusted(self) -> dict[str, list[str]]:
        """The import paths that were allowed in this zoo, each with the files it was found in."""
        return self.workspace.trust.all()

    def trust(self, name: str) -> str:
        """Allow the import path ``name`` (``acme.nets:make``) from where its module is now.

        Nothing is imported.

        Returns:
            The file that building such a network runs from now on.

        Raises:
            InvalidOption: It is no import path, or one of the standard library.
            MissingPackage: There is no such module here.
        """
        path = import_path(name)
        if path is None:
            raise InvalidOption(
                f"'{name}' is no import path of a network: write package.module:name, of something "
                "outside the standard library"
            )
        try:
            file = locate(path[0])
        except ModuleNotFoundError as error:
            raise MissingPackage(
                f"'{error.name}', which '{name}' needs,",
                "install the package that has it, or name its folder: PYTHONPATH=DIR",
            ) from error
        self.workspace.trust.allow(name, file)
        return file

    def distrust(self, name: str) -> None:
        """Take back what `trust` allowed.

        Raises:
            UnknownName: It was not allowed.
        """
        self.workspace.trust.forbid(name)

    @contextmanager
    def _named_by_user(self, name: str) -> Iterator[None]:
        """An architecture that the user has typed is allowed meanwhile, and kept so if all went
        well.
        """
        with self.workspace.trust.asked(name) as imported:
            yield
            file = imported[name]
        if not file:
            return
        try:
            self.workspace.trust.allow(name, file)
        except (ZooError, OSError) as error:  # what was asked for is done
            LOG.warning(
                "that %s is trusted could not be kept (%s): zoo trust %s", name, error, name
            )
