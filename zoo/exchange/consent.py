"""Consent: what the user allows to be imported, by naming it (`zoo.trust`)."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from zoo.errors import InvalidOption, MissingPackage, ZooError
from zoo.trust import Trust, import_path, locate

__all__ = ["allow", "named_by_user"]

LOG = logging.getLogger("zoo")


def allow(trust: Trust, name: str) -> str:
    """Allow the import path ``name`` from where its module is now. Nothing is imported.

    Returns:
        The file that building such a network runs from now on.

    Raises:
        InvalidOption: It is not an import path, or one of the standard library.
        MissingPackage: There is no such module here.
    """
    path = import_path(name)
    if path is None:
        raise InvalidOption(
            f"'{name}' is not an import path of a network: write package.module:name, of something "
            "outside the standard library"
        )
    try:
        file = locate(path[0])
    except ModuleNotFoundError as error:
        raise MissingPackage(
            f"'{error.name}', which '{name}' needs,",
            "install the package that has it, or name its folder: PYTHONPATH=DIR",
        ) from error
    trust.allow(name, file)
    return file


@contextmanager
def named_by_user(trust: Trust, name: str) -> Iterator[None]:
    """Allow an architecture that the user has typed: meanwhile, and if all goes well for good."""
    with trust.asked(name) as imported:
        yield
        file = imported[name]
    if not file:
        return
    try:
        trust.allow(name, file)
    except (ZooError, OSError) as error:  # what was asked for is done
        LOG.warning("that %s is trusted could not be kept (%s): zoo trust %s", name, error, name)
