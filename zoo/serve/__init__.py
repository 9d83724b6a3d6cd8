"""The server: a zoo over HTTP, as clients of the model hub know it. See ``docs/serve.md``."""

from __future__ import annotations

from importlib.util import find_spec

from zoo.errors import MissingPackage

__all__ = ["check_installed"]

PACKAGES = (
    "anyio",
    "starlette",
    "uvicorn",
    "httptools",
    "lz4",
    "prometheus_client",
    "jinja2",
    "markupsafe",
    "markdown_it",
    "nh3",
)


TRYING = ("torch", "timm", "PIL")


def check_installed(*, tries: bool = False) -> None:
    """See that what answers requests is here, and what ``tries`` images; accounts need none of it.

    Raises:
        MissingPackage: It is not.
    """
    for package in PACKAGES:
        if find_spec(package) is None:
            what = f"{package}, which the server needs,"
            raise MissingPackage(what, "pip install 'zoo-registry[serve]'")
    for package in TRYING if tries else ():
        if find_spec(package) is None:
            raise MissingPackage(f"{package}, which tries images,", "pip install zoo-registry")
