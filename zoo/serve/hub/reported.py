"""Reported: one of the runs on other machines that were told to this server."""

from __future__ import annotations

from zoo.domain.plain import Json
from zoo.domain.reference import Reference
from zoo.serve.http.errors import Refused
from zoo.serve.hub.ask import Ask
from zoo.serve.keep.reported import ReportedRun

__all__ = ["delete_reported", "no_run", "reported_by"]


def no_run() -> Refused:
    """That there is no such run, or that it may not be seen: nobody learns which."""
    return Refused("NotFound", "there is no such run, or you may not see it")


def reported_by(ask: Ask, name: str) -> tuple[ReportedRun, Json]:
    """A run that was reported, and what is kept of it, for who may read the name that it is of.

    Raises:
        Refused: There is none, or they may not.
    """
    run = ask.hub.reported.find(name)
    record = run.read_record() if run else None
    if run is None or record is None or not ask.may("read", Reference.parse(record["save"]).path):
        raise no_run()
    return run, record


def delete_reported(ask: Ask, name: str) -> None:
    """Delete a run that was reported, for a maintainer of the name that it is of.

    Raises:
        Refused: There is none, or they may not.
    """
    run, record = reported_by(ask, name)
    path = Reference.parse(record["save"]).path
    ask.check_may("protect", path)
    with run.alone():
        run.delete()
    ask.hub.accounts.audit.note("run deleted", path, name)
