"""The one translation of what obstore raises."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    UnauthenticatedError,
)

from zoo.errors import Unavailable, Unsupported, ZooError
from zoo_bucket.location import Location

__all__ = ["NO_BUCKET", "NoSuchRange", "translated"]

NO_BUCKET = "the bucket does not exist"

_STATUS = re.compile(r"status code: (\d{3})")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
# Who asks the machine itself for credentials has found none in the environment.
_NO_CREDENTIALS = re.compile(r"169\.254\.169\.254|169\.254\.170\.2|metadata\.google")


class NoSuchRange(Exception):
    """A part was asked for of an object that has no bytes there."""


@contextmanager
def translated(location: Location) -> Iterator[None]:
    """Raise what is wrong with ``location``; that something is not there, or is already, stays."""
    try:
        yield
    except AlreadyExistsError:
        raise
    except (BaseError, NotImplementedError, ValueError) as error:
        if _status(error) == "416":
            raise NoSuchRange from None
        # Not from the original: its text may hold key ids, signed URLs and the server's words.
        raise _translation(str(location), error) from None


def _status(error: Exception) -> str:
    match = _STATUS.search(str(error))
    return match[1] if match else ""


def _translation(location: str, error: Exception) -> ZooError:
    text, number = str(error), _status(error)
    code = _CODE.search(text)
    word = f" ({code[1]})" if code else ""
    if isinstance(error, NotImplementedError) or number == "501":
        return Unsupported(
            f"{location} cannot do what a store needs: its service says 'not implemented'"
        )
    if _NO_CREDENTIALS.search(text):
        why = "no credentials: set those of the service in the environment"
        return Unavailable(location, why, hint="")
    if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
        reason = f"access is refused{word}: check the credentials and their rights"
    elif number == "404":
        reason = NO_BUCKET
    elif "redirect" in text:
        reason = "the bucket is in another region: set AWS_REGION"
    elif number:
        reason = f"the service answered {number}{word}"
    elif "builder error" in text:
        reason = "the endpoint is not an https:// address"
    elif "HTTP error" in text:
        reason = "no answer from the service, or the connection was lost"
    else:
        reason = (
            "its answer cannot be used: the service is faulty, or its settings in the "
            "environment are incomplete or wrong"
        )
    # Most reasons say themselves what to do.
    return Unavailable(location, reason, hint=None if reason == NO_BUCKET else "")
