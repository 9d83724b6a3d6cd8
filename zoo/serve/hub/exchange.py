"""Exchange: a job shows what its issuer says of it, signed, and gets a token for a while, as on the
hub (RFC 8693). It is to append, for what its publisher is for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from zoo.domain.progress import clean
from zoo.domain.reference import Reference, check_namespace
from zoo.errors import Conflict, InvalidReference, UnknownName
from zoo.serve.http.answer import Answer, json_answer
from zoo.serve.http.errors import Refused
from zoo.serve.hub import device
from zoo.serve.hub.ask import Ask
from zoo.serve.sso.claims import LEEWAY, MOST, Claims, InvalidToken, issuer_of, verified
from zoo.serve.who.audit import asked_by, record
from zoo.serve.who.publishers import LASTS, Publisher, check_there, text_of
from zoo.serve.who.spent import spend_once

__all__ = ["give"]

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
KINDS = tuple(f"urn:ietf:params:oauth:token-type:{kind}" for kind in ("id_token", "jwt"))
MADE = "urn:ietf:params:oauth:token-type:access_token"
TOLD = ("sub", "repository", "project_path", "ref", "workflow_ref", "run_id", "pipeline_id", "jti")
"""Claims that the audit log has beside those that were asked for."""
LETTERS = 100
"""Of a claim there, and of what a token is called."""
NONE_FITS = "no publisher fits this token, or it is not for this server, or was used: its log says"


class _Asked(msgspec.Struct, frozen=True):
    grant_type: str = ""
    subject_token_type: str = ""
    subject_token: Annotated[str, Meta(max_length=MOST)] = ""
    resource: Annotated[str, Meta(max_length=300)] = ""


class _Not(Exception):
    """What RFC 8693 calls an error, what is told of it, and why, for who runs the server."""

    def __init__(self, code: str, message: str, why: str) -> None:
        self.code, self.told, self.why = code, message, why
        super().__init__(why)


def give(ask: Ask) -> Answer:
    """A token, for a program that somebody has let in, or for a job."""
    if ask.call.headers.get("content-type", "").startswith("application/json"):
        asked = ask.call.read(_Asked)
    else:
        sent = ask.call.fields
        if sent.get("grant_type") != GRANT:
            return device.poll(ask)
        asked = _read(sent)
    if asked.grant_type != GRANT:
        return device.error("unsupported_grant_type")
    try:
        return _exchanged(ask, asked)
    except _Not as error:
        ask.hub.accounts.audit.refuse("InvalidToken", "", f"POST /oauth/token: {error.why}")
        return device.error(error.code, error.told)


def _read(sent: Mapping[str, str]) -> _Asked:
    try:
        return msgspec.convert(sent, _Asked)
    except msgspec.ValidationError:
        raise Refused("BadRequest") from None


def _exchanged(ask: Ask, asked: _Asked) -> Answer:
    if asked.subject_token_type not in KINDS:
        text = "a job shows a token of the kind id_token"
        raise _Not("invalid_request", text, text)
    fitting, claims = _fitting(ask, asked.subject_token)
    publisher, path = _chosen(fitting, asked.resource)
    asked_by(publisher.account, "")

    def spend(connection: Connection) -> None:
        check_there(connection, publisher)
        left = float(str(claims["exp"])) - time.time() + LEEWAY
        # The signature is left out: there may be several good ones.
        spend_once(connection, asked.subject_token.rpartition(".")[0], left)
        record(
            connection,
            "token exchanged",
            path,
            f"{publisher.id}: {_shown_claims(publisher, claims)}",
        )

    name = f"{publisher.id} {clean(str(claims['sub']))}"[:LETTERS]
    try:
        _, secret = ask.hub.accounts.new_token(
            publisher.account,
            name,
            "append",
            only=(path,),
            lasts=LASTS,
            ends_with=publisher.id,
            also=spend,
        )
    except (Conflict, UnknownName) as error:
        raise _Not("invalid_grant", NONE_FITS, error.message) from error
    body = {"access_token": str(secret), "issued_token_type": MADE, "token_type": "bearer"}
    more = {"expires_in": int(LASTS), "scope": "append"}
    return json_answer({**body, **more}, headers=device.SECRET)


def _fitting(ask: Ask, token: str) -> tuple[list[Publisher], Claims]:
    """The publishers that a token fits, and what it says."""
    try:
        issuer = issuer_of(token)
        of_issuer = [each for each in ask.hub.accounts.publishers.all() if each.issuer == issuer]
        if not of_issuer:
            raise InvalidToken("no publisher has its issuer")
        hosts = tuple(sorted({host for each in of_issuer for host in each.hosts}))
        audience = ask.hub.public_url or ask.call.base
        claims = verified(token, ask.hub.issuers.at(issuer, hosts), audience)
    except InvalidToken as error:
        raise _Not("invalid_grant", NONE_FITS, f"a job's token: {error}") from error
    fitting = [each for each in of_issuer if each.fits(claims)]
    if not fitting:
        why = f"no publisher fits the job {clean(str(claims['sub']))[:LETTERS]}"
        raise _Not("invalid_grant", NONE_FITS, why)
    return fitting, claims


def _chosen(fitting: Sequence[Publisher], resource: str) -> tuple[Publisher, str]:
    """The publisher that a token is made by, and what it is for."""
    if not resource:
        if len(fitting) == 1 and not fitting[0].is_pattern:
            return fitting[0], fitting[0].path
        text = "say for which repository: several publishers fit, or one for several"
        raise _Not("invalid_target", text, "a job does not say for which repository")
    try:
        if "/" in resource:
            named = Reference.parse(resource)
            right = str(named) == resource == named.path
        else:
            check_namespace(resource)
            right = True
    except InvalidReference:
        right = False
    covering = [each for each in fitting if right and each.covers(resource)]
    if not covering:
        text = "no publisher that fits this token is for that repository"
        raise _Not(
            "invalid_target", text, f"a job asks for {clean(resource)}, which is not its own"
        )
    return covering[0], resource


def _shown_claims(publisher: Publisher, claims: Claims) -> str:
    names = dict.fromkeys((*publisher.claims, *TOLD))
    texts = {name: text_of(claims.get(name)) for name in names}
    return ", ".join(f"{name}={clean(text)[:LETTERS]}" for name, text in texts.items() if text)
