"""Jobs of CI that push to a server, by what an issuer says of them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from fakes.oidc import OidcProvider, signed
from fakes.served import Served, serving

from zoo.workspace import Workspace

__all__ = ["CLAIMS", "github", "job", "serving_jobs"]

CLAIMS = {"repository": "lab/flowers", "ref": "refs/heads/main"}
"""What a publisher asks of a job."""


@contextmanager
def serving_jobs(root: Path) -> Iterator[Served]:
    """A zoo whose account ``ci`` writes in the team ``lab``, served."""
    Workspace.create(root).close()
    with serving(root) as served:
        served.accounts.add("lab", team=True)
        served.accounts.add("ci")
        served.accounts.grant("lab", "ci", "writer")
        yield served


def job(served: Served, issuer: OidcProvider, **claims: Any) -> str:
    """What the issuer says of a job to the server; a claim that is None is left out."""
    made = issuer.told(served.url, jti=str(time.monotonic_ns()), **claims)
    return signed({name: value for name, value in made.items() if value is not None})


@contextmanager
def github(issuer: OidcProvider) -> Iterator[tuple[dict[str, str], list[tuple[str, str]]]]:
    """A service as that of GitHub, which says anew of a job what the issuer does, as often as it is
    asked: the environment of the job, and what was asked, by whom.
    """
    asked: list[tuple[str, str]] = []

    def send(request: Any, path: str, document: Any) -> None:
        asked.append((request.path, request.headers["Authorization"]))
        audience = parse_qs(urlsplit(request.path).query)["audience"][0]
        value = signed(issuer.told(audience, jti=str(time.monotonic_ns())))
        request.send_response(200)
        request.end_headers()
        request.wfile.write(json.dumps({"value": value}).encode())

    with OidcProvider() as actions:
        actions._send = send  # type: ignore[method-assign]
        url = f"{actions.url}/job?api-version=2.0"
        yield {
            "ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "job",
            "GITHUB_ACTIONS": "true",
        }, asked  # fmt: skip
