"""Any ``nn.Module`` that a user hands over: its layers are found by tracing it.

    zoo_torch.register("my-net", make_net)

gives it a name in this process. Where nobody can register anything, as in a shell, it goes by its
import path, ``acme.nets:make_net``.
"""

from __future__ import annotations

import secrets

from zoo import packages
from zoo_torch.registered import REGISTRATIONS, Network, register

__all__ = ["Network", "register", "version"]

PROCESS = secrets.token_hex(4)


def version() -> str:
    """Another one in each process, and after each registration: nobody tells when the code behind
    a name has changed.
    """
    return f"torch {packages.version('torch')}, {PROCESS} {len(REGISTRATIONS)}"
