"""Where a bucket is: its location as the user writes it, and the clients that reach it.

A location holds no credentials. Those come from the environment, in the variables that each service
has for it (``AWS_…``, ``GOOGLE_…``, ``AZURE_…``), and never leave the client that obstore builds.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from obstore.store import AzureStore, GCSStore, S3Store

from zoo.config import s3_endpoint
from zoo.errors import InvalidOption

if TYPE_CHECKING:
    from obstore.store import BackoffConfig, ClientConfig, ObjectStore, RetryConfig

    Patience = tuple[ClientConfig, timedelta]

__all__ = ["Location"]

LOCATION = re.compile(
    r"(?P<scheme>s3|gs|az)://(?P<bucket>[A-Za-z0-9][A-Za-z0-9._-]{0,221})"
    r"/?(?P<prefix>(?:(?<=/)[A-Za-z0-9_][A-Za-z0-9._=+-]*(?:/|\Z))*)"
)
TRIES = 5
BACKOFF: BackoffConfig = {
    "init_backoff": timedelta(milliseconds=100),
    "max_backoff": timedelta(seconds=3),
}
# A question is answered soon, or not at all: at worst twice the silence, and the pauses. The whole
# is not bounded, because a large download on a slow line takes its time.
ASKING: Patience = (
    {"read_timeout": timedelta(seconds=10), "timeout": timedelta(hours=6)},
    timedelta(seconds=15),
)
# While something is sent, the other side is silent, and a slow line is no failure.
SENDING: Patience = ({"timeout": timedelta(minutes=15)}, timedelta(minutes=3))

_CLIENTS: dict[str, Callable[..., ObjectStore]] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}


@dataclass(frozen=True, slots=True)
class Location:
    """``scheme://bucket/prefix``; prints so.

    Attributes:
        scheme: ``s3``, ``gs`` or ``az``.
        bucket: Name of the bucket.
        prefix: What the names of all keys begin with: empty, or ending with a slash.
    """

    scheme: str
    bucket: str
    prefix: str

    @classmethod
    def parse(cls, location: str) -> Location:
        """Read ``scheme://bucket`` or ``scheme://bucket/prefix``.

        Raises:
            InvalidOption: It is malformed, or holds more than that.
        """
        match = LOCATION.fullmatch(location)
        if match is None or ".." in location:
            # The location is not repeated: what does not belong there may be a password.
            raise InvalidOption(
                "this is not the location of a bucket: write scheme://bucket or "
                "scheme://bucket/prefix, and give credentials in the environment only"
            )
        prefix = match["prefix"].strip("/")
        return cls(match["scheme"], match["bucket"], f"{prefix}/" if prefix else "")

    def __str__(self) -> str:
        return f"{self.scheme}://{self.bucket}/{self.prefix}".rstrip("/")

    def clients(self) -> tuple[ObjectStore, ObjectStore]:
        """One client to ask and read with, and one to send large things with.

        Raises:
            obstore.exceptions.BaseError: The settings in the environment cannot be used.
        """
        return self._client(*ASKING), self._client(*SENDING)

    def _client(self, timeouts: ClientConfig, patience: timedelta) -> ObjectStore:
        # Credentials and data go over plain HTTP only where the user named such an endpoint.
        plain = self.scheme == "s3" and (s3_endpoint() or "").startswith("http://")
        options: ClientConfig = {
            "allow_http": plain,
            "connect_timeout": timedelta(seconds=5),
            **timeouts,
        }
        retry: RetryConfig = {
            "max_retries": TRIES,
            "retry_timeout": patience,
            "backoff": BACKOFF,
        }
        client = _CLIENTS[self.scheme]
        return client(self.bucket, client_options=options, retry_config=retry)
