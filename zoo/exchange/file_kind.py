"""What a file is that has the name of weights, by its first bytes. It imports neither torch nor
numpy, so that what is no file of weights is refused at once.
"""

from __future__ import annotations

from pathlib import Path

from zoo.errors import InvalidWeights

__all__ = ["check_kind"]

LOOKED_AT = 512
LFS = b"version https://git-lfs.github.com/spec/"
POINTER = (
    "is a Git LFS pointer: a few lines that stand for the weights, which are not here. Get them, "
    "in the repository that it is of: git lfs install && git lfs pull"
)
OTHERS = {
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"\xff\xd8\xff": "JPEG",
    b"GIF8": "GIF",
    b"%PDF-": "PDF",
    b"\x1f\x8b": "gzip (unpack it first)",
}
"""What other files begin with, and no file of weights does."""
PAGES = (b"<!doctype html", b"<html", b"<head", b"<?xml", b"<!--", b"<error")
PAGE = (
    "is {kind}, not weights: what a server answered instead of the file, as on a login page or an "
    "address of a page. Download it again, from the address of the file itself (on the HF Hub: "
    "/resolve/ in place of /blob/)"
)


def check_kind(path: Path) -> None:
    """See that there is a file that can hold weights.

    Raises:
        InvalidWeights: It is missing, empty, a folder, a Git LFS pointer, a page of a web site,
            or a picture or the like.
    """
    if not path.is_file():
        raise InvalidWeights(path, "is a folder" if path.is_dir() else "no such file or folder")
    with path.open("rb") as file:
        head = file.read(LOOKED_AT)
    if not head:
        raise InvalidWeights(path, "the file is empty")
    if head.startswith(LFS):
        raise InvalidWeights(path, POINTER)
    for begin, kind in OTHERS.items():
        if head.startswith(begin):
            raise InvalidWeights(path, f"is no file of weights, but {kind}")
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith(PAGES):
        raise InvalidWeights(path, PAGE.format(kind="XML" if b"html" not in text else "HTML"))
