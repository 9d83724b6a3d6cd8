"""What a server answers, and what fails on the way, as errors of zoo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from urllib3 import exceptions as e

from zoo.errors import Conflict, Corrupt, DiskFull, Forbidden, Unavailable, Unsupported, ZooError
from zoo.logins import ServerUrl

__all__ = ["on_the_way", "refusal"]

LETTERS = 500
QUOTA = (
    "delete there what nobody needs, and have it pruned; or an admin allows more: zoo serve quota"
)


@contextmanager
def on_the_way(url: ServerUrl) -> Iterator[None]:
    """Raise what fails between here and the server as `Unavailable`."""
    try:
        yield
    except e.SSLError as error:
        raise Unavailable(str(url), f"its certificate cannot be trusted: {_inner(error)}") from None
    except (e.NameResolutionError, e.LocationParseError):
        raise Unavailable(str(url), f"no machine is called {url.host}") from None
    except e.NewConnectionError as error:
        raise Unavailable(str(url), f"no server answers there: {_inner(error)}") from None
    except e.TimeoutError:
        raise Unavailable(str(url), "it does not answer in time") from None
    except (e.HTTPError, OSError):
        raise Unavailable(str(url), "the connection was lost") from None


def refusal(url: ServerUrl, status: int, headers: Mapping[str, str], *, known: bool) -> ZooError:
    """What a status that is no success means; ``known`` says whether a token was sent."""
    code = headers.get("x-error-code", "")
    message = headers.get("x-error-message", "")[:LETTERS] or f"it answers {status}"
    login = f"zoo login {url}"
    if 300 <= status < 400:
        return Unavailable(str(url), "it leads elsewhere: use the URL that it has now")
    if status == 401:
        what = (
            "it does not take the token, which has expired, was revoked, or is of another server"
            if known
            else "a token is needed"
        )
        anew = f"{login} asks for another, which who runs the server makes: zoo serve token create"
        return Forbidden(str(url), what, anew if known else login)
    if code == "DiskFull":
        return DiskFull(str(url))
    if status == 403:
        return Forbidden(str(url), message, _mend(message, headers, login))
    if status == 422:
        return Corrupt("what was sent", "what its digest says", message, str(url))
    if code == "Lacking":
        return Conflict(f"{url}: {message}", hint="nothing was changed; push it again")
    if code == "Conflict":
        return Conflict(f"{url}: {message}")
    if not code and status == 404:
        return Unavailable(str(url), "no zoo answers there", hint="")
    if status >= 500 or status in (408, 421, 429) or not code:
        return Unavailable(str(url), message)
    return Unsupported(f"{url}: {message}")


def _mend(message: str, headers: Mapping[str, str], login: str) -> str:
    """What helps where something is not allowed; of what else that is, a server says it itself."""
    if " may hold " in message:
        return QUOTA
    by_token = "token" in message or "x-error-message" not in headers
    return f"with another token: {login}" if by_token else ""


def _inner(error: Exception) -> str:
    return str(error).rpartition("] ")[2].rpartition(": ")[2].strip(" ()'\"")[:LETTERS]
