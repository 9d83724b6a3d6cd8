"""Jobs of CI that push to a server, by what an issuer says of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fakes.oidc import OidcProvider, signed
from fakes.served import Served, serving

from zoo.workspace import Workspace

__all__ = ["CLAIMS", "job", "serving_jobs"]

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
