"""Reserved: namespaces that nothing new is in, as the server's own addresses begin so; and those
that nobody chooses by signing in, as they look as if they were somebody else's.
"""

from __future__ import annotations

from zoo.errors import InvalidReference

__all__ = ["ADDRESSES", "NOT_CHOSEN", "check_free", "is_address"]

ADDRESSES = frozenset({
    "-", "api", "compare", "compare.json", "datasets", "healthz", "index.json", "kernels", "lfs",
    "metrics", "models", "oauth", "readyz", "refs", "runs", "runs.json", "settings", "sign-in",
    "sign-out", "spaces", "static", "v1", "xet", "zoo",
})  # fmt: skip
"""With what addresses begin, here or on the hub; a test compares them with the routes."""
NOT_CHOSEN = ADDRESSES | {"admin", "hf", "root", "timm", "torchvision", "transformers"}


def is_address(name: str) -> bool:
    """Whether addresses of the server begin as a namespace is called."""
    return name.lower() in ADDRESSES


def check_free(name: str) -> None:
    """See that an account, or a team, can be called so.

    Raises:
        InvalidReference: Addresses of the server begin so.
    """
    if is_address(name):
        raise InvalidReference(f"'{name}' can be no account: addresses of the server begin so")
