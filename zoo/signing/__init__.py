"""Signing: signatures of checkpoints, in the form and by the library of OpenSSF's model signing."""

from __future__ import annotations

from importlib.util import find_spec

from zoo.errors import MissingPackage

__all__ = ["check_installed"]

PACKAGES = ("model_signing", "OpenSSL", "cryptography")


def check_installed() -> None:
    """See that what signs and checks is here; whom one trusts is known without it.

    Raises:
        MissingPackage: It is not.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            what = f"{package}, which signatures need,"
            raise MissingPackage(what, "pip install 'zoo-registry[sign]'")
