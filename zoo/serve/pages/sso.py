"""SSO: a browser is sent to a provider, and comes back with a code that says who sits there.

A try to sign in is known by a cookie, of which all else is made: who comes back without it was sent
by somebody else. Before the provider has said who it is, nothing is kept of it but that it came
back: who comes back again does not have the provider asked again.
"""

from __future__ import annotations

import re
import secrets
import time
from dataclasses import replace
from functools import partial
from hmac import compare_digest
from itertools import islice
from shlex import quote

from sqlalchemy import Connection

from zoo.domain.progress import clean
from zoo.domain.reference import check_namespace
from zoo.errors import (
    Conflict,
    Forbidden,
    InvalidReference,
    MissingPackage,
    Unavailable,
    UnknownName,
    ZooError,
)
from zoo.serve.http.answer import NO_STORE, Answer
from zoo.serve.http.cookie import read_cookie, set_cookie
from zoo.serve.http.errors import Refused
from zoo.serve.http.guard import check_origin
from zoo.serve.hub.ask import Ask
from zoo.serve.pages.page import show, site_of
from zoo.serve.pages.sign_in import DAY, away, form_of, local_path
from zoo.serve.sso import check_sso
from zoo.serve.sso.claims import Claims, InvalidToken
from zoo.serve.sso.code import AuthorizationRequest, address, claims_of
from zoo.serve.sso.issuer import Issuer
from zoo.serve.who.audit import asked_by
from zoo.serve.who.devices import network_of
from zoo.serve.who.groups import follow, wanted
from zoo.serve.who.newcomer import add_account
from zoo.serve.who.providers import SIGNED_IN, Provider, link_new, note_entry
from zoo.serve.who.publishers import fits
from zoo.serve.who.reserved import NOT_CHOSEN
from zoo.serve.who.seals import Seal
from zoo.serve.who.sessions import LASTS_DAYS
from zoo.store.capabilities import folders

__all__ = ["begin", "come_back"]

COOKIE, LASTS = "sso", 600
"""What the browser has of a try, and seconds that it may take."""
LONGEST_PATH, LONGEST_CODE = 1000, 4096
NOT_BEGUN = "That was not begun in this browser, or too long ago, or is done already: begin again."
NOT_LOCAL = frozenset(' @,;:<>()[]\\"')
"""What is not before the ``@`` of a plain address."""
CALLED = ("preferred_username", "email")
"""Claims that say what somebody is called, best first."""
LETTERS, MOST_NAMES = 32, 10_000


class _Not(Exception):
    """Nobody is signed in, for what is told to who sits there, and to who runs the server."""

    def __init__(self, message: str, why: str) -> None:
        self.said, self.why = message, why
        super().__init__(why)


def begin(ask: Ask, provider: str) -> Answer:
    """Send the browser to a provider; with ``?link=1``, so that who comes back from there is the
    account that is signed in.
    """
    identity_provider, issuer = _provider(ask, provider)
    linking = ask.call.flag("link")
    if linking:
        check_origin(ask.call.headers, ask.call.base)  # or a stranger could have it begun
        _check_links(ask)
    goes = local_path(ask.call.query.get("next", ""))
    seal = Seal(
        token=ask.actor.id if linking else "",
        repo=goes if len(goes) <= LONGEST_PATH else "/",
        what=COOKIE,
        of=identity_provider.name,
        upload=secrets.token_urlsafe(32),
        expires=int(time.time()) + LASTS,
    )
    cookie = ask.hub.seals.write(seal)
    try:
        check_sso()  # now, and not when somebody comes back
        to = address(issuer, identity_provider, _way(ask, identity_provider, cookie), again=linking)
    except (Unavailable, MissingPackage) as error:
        return _again(ask, goes, _down(identity_provider, error), 503)
    headers = {
        "Location": to,
        "Set-Cookie": set_cookie(ask.call, cookie, LASTS, COOKIE),
        **NO_STORE,
    }
    return Answer(status=303, headers=headers)


def come_back(ask: Ask, provider: str) -> Answer:
    """Begin a session of who has signed in at a provider, or link them to the one who is signed in
    here; or the form to sign in, with why not.
    """
    identity_provider, issuer = _provider(ask, provider)
    cookie, goes = read_cookie(ask.call, COOKIE), "/"
    try:
        seal = _begun(ask, identity_provider, issuer, cookie)
        goes = seal.repo
        claims = _claims(ask, identity_provider, issuer, cookie)
        if seal.token:
            return _linked(ask, identity_provider, claims, seal)
        return _signed_in(ask, identity_provider, claims, seal)
    except (Unavailable, Forbidden, MissingPackage) as error:
        return _again(ask, goes, _down(identity_provider, error), 503)
    except _Not as error:
        return _again(ask, goes, error, 403)


def _check_links(ask: Ask) -> None:
    """See that who asks may link their account: what is linked outlasts the session."""
    ask.check_unlimited()
    if not ask.actor.may_link:
        text = "that takes being signed in by a token that does not expire"
        raise Refused("Forbidden", f"{text}; whoever runs this server can: zoo serve sso link")


def _provider(ask: Ask, name: str) -> tuple[Provider, Issuer]:
    try:
        provider = ask.hub.accounts.providers.get(name)
    except UnknownName:
        raise Refused("NotFound") from None
    return provider, ask.hub.issuers.at(provider.issuer, provider.hosts)


def _way(ask: Ask, provider: Provider, cookie: str) -> AuthorizationRequest:
    return AuthorizationRequest.of(
        ask.hub.seals, cookie, f"{ask.call.base}/-/sso/{provider.name}/back"
    )


def _begun(ask: Ask, provider: Provider, issuer: Issuer, cookie: str) -> Seal:
    """What the browser began that comes back, once."""
    seal = ask.hub.seals.read(cookie, COOKIE) if cookie else None
    state = ask.call.query.get("state", "").encode()
    right = compare_digest(state, _way(ask, provider, cookie).state.encode())
    if seal is None or seal.of != provider.name or not right:
        raise _Not(NOT_BEGUN, "state is of another browser, or expired")
    if not issuer.tries.spend(seal.upload, seal.expires):
        raise _Not(NOT_BEGUN, "it came back already")
    return seal


def _claims(ask: Ask, provider: Provider, issuer: Issuer, cookie: str) -> Claims:
    sent = ask.call.query
    if "error" in sent:
        message = f"{provider.name} has not signed you in."
        raise _Not(message, f"the provider answers {clean(sent['error'])[:100]}")
    code, distrusted = sent.get("code", ""), f"{provider.name} does not say who you are."
    if sent.get("iss", issuer.url) != issuer.url or not 0 < len(code) <= LONGEST_CODE:
        raise _Not(distrusted, "the answer is of another provider, or has no code")
    try:
        way, who = _way(ask, provider, cookie), network_of(ask.call.address)
        return claims_of(issuer, provider, way, code, who)
    except InvalidToken as error:
        raise _Not(distrusted, str(error)) from error


def _linked(ask: Ask, provider: Provider, claims: Claims, seal: Seal) -> Answer:
    """Have who has signed in be the account that is signed in here, as it was when they began."""
    if ask.actor.id != seal.token or not ask.actor.may_link:
        raise _Not("Sign in again, and link it then.", "the session has ended, or is another's")
    try:
        ask.hub.accounts.providers.link_own(
            provider.issuer, str(claims["sub"]), ask.actor.name, seal.upload, LASTS
        )
    except Conflict as error:
        raise _Not(f"Nothing was linked: {error.message}.", error.message) from error
    return away(ask.call, "/-/settings?done=link")


def _signed_in(ask: Ask, provider: Provider, claims: Claims, seal: Seal) -> Answer:
    """Begin a session, by a token that lasts as long and that nobody has."""
    accounts, subject = ask.hub.accounts, str(claims["sub"])
    account = _account(ask, provider, claims)
    asked_by(account, "")
    detail = f"by {provider.name}: {subject}{_more(claims)}"
    roles = wanted(provider.rules, claims.get(provider.groups_claim))

    def also(connection: Connection) -> None:
        by = provider, subject
        note_entry(
            connection, by=by, account=account, detail=detail, entry=seal.upload, seconds=LASTS
        )
        follow(connection, provider.name, account, roles)

    name, lasts = f"{SIGNED_IN}{provider.name}", LASTS_DAYS * DAY
    try:
        token, _ = accounts.new_token(
            account, name, "write", lasts=lasts, ends_with=provider.id, also=also
        )
    except (Conflict, UnknownName) as error:
        raise _Not(NOT_BEGUN, error.message) from error
    if before := read_cookie(ask.call):
        accounts.sessions.end(before)
    secret = accounts.sessions.new(token.id, own=True)
    return away(ask.call, seal.repo, set_cookie(ask.call, secret, LASTS_DAYS * DAY))


def _account(ask: Ask, provider: Provider, claims: Claims) -> str:
    """Whose account it is who has signed in; a new one, where the provider makes accounts."""
    subject = str(claims["sub"])
    known = ask.hub.accounts.providers.identity(provider.issuer, subject)
    if known and known.account:
        return known.account
    if known:
        raise _Not("Your account was deleted.", f"the account of {subject} was deleted")
    if not provider.creates:
        raise _Not(
            f"{provider.name} knows you, and you have no account here. Who has one links it on "
            "their page of settings; for others, whoever runs this server makes one: "
            f"zoo serve sso link {provider.name} {quote(subject)} ACCOUNT",
            f"{subject} has no account, and {provider.name} makes none",
        )
    if why := _not_made(provider, claims):
        raise _Not(
            f"No account is made for you: {why}.", f"no account for {subject}{_more(claims)}: {why}"
        )
    also = partial(link_new, issuer=provider.issuer, subject=subject)
    for name in _names(ask, claims):
        try:
            own = partial(also, account=name)
            add_account(ask.hub.workspace, ask.hub.accounts, name, admin=False, also=own)
        except Conflict:  # somebody was faster, or they themselves in another window
            known = ask.hub.accounts.providers.identity(provider.issuer, subject)
            if known and known.account:
                return known.account
            continue
        return name
    raise _Not("No name is free for your account.", f"no name is free for {subject}")


def _not_made(provider: Provider, claims: Claims) -> str:
    """Why somebody gets no account; empty if they do."""
    if not fits(provider.claims, claims):
        return f"{provider.name} does not say of you what it takes"
    if not provider.domains:
        return ""
    if "email_verified" not in claims:
        return (
            f"{provider.name} does not say whether your e-mail is verified, so its domain proves "
            "nothing; whoever runs this server may ask for a claim: zoo serve sso add --claim"
        )
    email = claims.get("email")
    if claims["email_verified"] is not True or not isinstance(email, str):
        return "your e-mail is not verified"
    local, _, domain = email.rpartition("@")
    # What is no single plain address may have been verified as another one.
    plain = bool(local) and local.isprintable() and not set(local) & NOT_LOCAL
    if plain and domain.lower() in provider.domains:
        return ""
    return "your e-mail is of another domain"


def _names(ask: Ask, claims: Claims) -> list[str]:
    """What a new account may be called, best first: nothing that anybody is or was called, or under
    which there is anything.
    """
    plain = next((plain for name in CALLED if (plain := _plain(claims.get(name)))), "user")
    numbered = (plain, *(f"{plain}-{number}" for number in range(2, MOST_NAMES)))
    accounts, backend = ask.hub.accounts, ask.hub.workspace.store.backend
    taken = {each.name for each in accounts.all()} | set(folders(backend, "refs/"))
    taken |= {given.path.partition("/")[0] for given in accounts.rules().given()}
    lower = {each.lower() for each in taken} | NOT_CHOSEN
    unused = (
        name
        for name in numbered
        if name not in lower and not accounts.audit.newest(name=name, limit=1)
    )
    return [*islice(unused, 3)]


def _plain(value: object) -> str:
    """What somebody is called, as the name of an account; empty if nothing of it can be in one."""
    text = value.partition("@")[0].lower() if isinstance(value, str) else ""
    plain = re.sub(r"[^a-z0-9._-]+", "-", text)[:LETTERS].strip("-._")
    try:
        check_namespace(plain)
    except InvalidReference:
        return ""
    return plain


def _more(claims: Claims) -> str:
    """What else a provider says of somebody, for the audit log."""
    email, name = claims.get("email"), claims.get("preferred_username")
    sure = "" if claims.get("email_verified") is True else ", not verified"
    return f"{f', {name}' if name else ''}{f', {email}{sure}' if email else ''}"


def _down(provider: Provider, error: ZooError) -> _Not:
    if isinstance(error, MissingPackage):
        message = (
            f"This server cannot check what {provider.name} says: whoever runs it is to install it."
        )
        return _Not(message, str(error))
    return _Not(f"{provider.name} does not answer now: try again.", str(error))


def _again(ask: Ask, goes: str, why: _Not, status: int) -> Answer:
    """The form to sign in, with why somebody is not."""
    ask.hub.accounts.audit.refuse("Forbidden", "", f"{ask.call.path}: {why.why}")
    form = form_of(ask, goes, why.said)
    shown = show(site_of(ask), "sign_in.html", form, status, NO_STORE)
    return replace(shown, code="Busy" if status == 503 else "Forbidden", message=why.said)
