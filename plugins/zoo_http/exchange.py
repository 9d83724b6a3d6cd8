"""Exchange: a token for what a service says of this job, signed (RFC 8693)."""

from __future__ import annotations

import json
from time import sleep
from urllib.parse import urlencode

import msgspec
from urllib3 import PoolManager, Timeout
from urllib3.exceptions import HTTPError

from zoo import config
from zoo.domain.progress import clean
from zoo.errors import Forbidden, Unavailable
from zoo.logins import ServerUrl
from zoo_http.errors import on_the_way

__all__ = ["AGAIN", "OVER", "another", "exchange", "job_token"]

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
KIND = "urn:ietf:params:oauth:token-type:id_token"
SECONDS, MOST = 20.0, 64 * 1024
"""Of an answer, and bytes of it."""
PAUSES = (2.0, 4.0, 8.0)
"""Seconds before it is asked again where the server is busy, as with its issuer's keys."""


AGAIN = (
    "show another token of OpenID Connect, and do the same again, which resumes where it was: "
    "zoo login {} --oidc < FILE"
)
OVER = "the token of this job has expired"


class _Given(msgspec.Struct):
    access_token: str = ""
    error: str = ""
    error_description: str = ""


class _Job(msgspec.Struct):
    value: str


def job_token(url: ServerUrl) -> str:
    """What GitHub Actions says of this job to a server; empty where this is no such job.

    Raises:
        Unavailable: It does not answer.
    """
    request = config.id_token_request()
    if request is None:
        return ""
    where, token = request
    headers = {"Authorization": f"Bearer {token}"}
    try:
        with PoolManager(retries=False, timeout=Timeout(SECONDS)) as pool:
            asked = f"{where}{'&' if '?' in where else '?'}{urlencode({'audience': str(url)})}"
            answer = pool.request(
                "GET", asked, headers=headers, redirect=False, preload_content=False
            )
            data = answer.read(MOST)
            answer.close()
        return msgspec.json.decode(data, type=_Job).value
    except (HTTPError, msgspec.MsgspecError) as error:
        raise Unavailable("GitHub Actions", "it says nothing of this job", hint="") from error


def exchange(url: ServerUrl, proof: str, name: str) -> str:
    """A token of a server for a repository or a namespace, or for what the job is for.

    Raises:
        Forbidden: The server gives this job none.
        Unavailable: It does not answer.
    """
    asked = {"grant_type": GRANT, "subject_token_type": KIND, "subject_token": proof}
    body = json.dumps(asked | ({"resource": name} if name else {}))
    headers = {"User-Agent": "zoo", "Content-Type": "application/json"}
    for pause in (*PAUSES, 0.0):
        with on_the_way(url), PoolManager(retries=False, timeout=Timeout(SECONDS)) as pool:
            answer = pool.request(
                "POST",
                f"{url}/oauth/token",
                body=body,
                headers=headers,
                redirect=False,
                preload_content=False,
            )
            data = answer.read(MOST)
            answer.close()
        if answer.status != 503:
            break
        sleep(pause)
    if answer.status not in (200, 400):
        message = answer.headers.get("x-error-message", "")[:500] or f"it answers {answer.status}"
        raise Unavailable(str(url), f"it gives this job no token: {clean(message)}", hint="")
    try:
        given = msgspec.json.decode(data, type=_Given)
    except (msgspec.MsgspecError, RecursionError):
        raise Unavailable(str(url), "no zoo answers there", hint="") from None
    if not given.access_token:
        message = clean(given.error_description or given.error)[:500]
        help_ = "whoever runs it says which jobs get one: zoo serve publisher"
        raise Forbidden(str(url), f"it gives this job no token: {message}", help_)
    return given.access_token


def another(url: ServerUrl, name: str) -> str:
    """A token in the place of one that has expired, for a repository, a namespace, or what the job
    is for. GitHub Actions says as often as it is asked which job this is; what others have said is
    good once, but may not have been shown yet.

    Raises:
        Forbidden: There is none.
        Unavailable: The server, or GitHub Actions, does not answer.
    """
    proof = job_token(url) or config.id_token()
    if not proof:
        raise Forbidden(str(url), OVER, AGAIN.format(url))
    try:
        return exchange(url, proof, name)
    except Forbidden as error:
        raise Forbidden(str(url), f"{OVER}, and {error.reason}", AGAIN.format(url)) from error
