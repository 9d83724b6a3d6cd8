"""OpenID Connect: what services say of people and jobs, and whether they have said it."""

from __future__ import annotations

from importlib.util import find_spec

from zoo.errors import MissingPackage

__all__ = ["check_sso"]


def check_sso() -> None:
    """See that what checks signatures is here.

    Raises:
        MissingPackage: It is not.
    """
    if find_spec("joserfc") is None:
        what = "joserfc, by which OpenID Connect is checked,"
        raise MissingPackage(what, "pip install 'zoo-registry[sso]'")
