"""zoo sign, signatures, signers: who vouches for a checkpoint, and whose word counts."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from zoo.domain.signature import POLICIES
from zoo_cli.command import PATH, command, group, open_zoo
from zoo_cli.output import note, print_json, result, table

if TYPE_CHECKING:
    from zoo.domain.signature import Policy, Signature

__all__ = ["sign", "signatures", "signers"]


@command()
@click.argument("name")
@click.option("--key", type=PATH, required=True, help="Your private key, in PEM (EC).")
@click.option("--certificate", type=PATH, help="The certificate of the key, in PEM.")
@click.option(
    "--chain",
    type=PATH,
    multiple=True,
    help="The certificates between that and an authority; several times for more.",
)
@click.option(
    "--ask-password", is_flag=True, help="Ask for the password of the key, on the terminal."
)
def sign(
    name: str,
    key: Path,
    certificate: Path | None,
    chain: tuple[Path, ...],
    ask_password: bool,
    as_json: bool,
) -> None:
    """Sign what NAME points at, with your key.

    The signature is of the manifest, which has the digest of every tensor and all that is said of
    them, and of every file. It lies beside the checkpoint, whose digest stays the same, goes with
    it wherever it is pushed or pulled, and several may be there, one by each key or certificate.
    Push again what others have. A key that other users of this machine may read is refused.

    It is made by OpenSSF's model signing (pip install 'zoo-registry[sign]'), whose own program
    checks what zoo export --signed writes.

    \b
    Examples:
      openssl ecparam -name prime256v1 -genkey -noout -out key.pem
      zoo sign team/flowers --key key.pem
      zoo sign team/flowers --key key.pem --certificate me.pem --chain lab.pem
    """
    if chain and not certificate:
        raise click.UsageError("--chain leads on from a --certificate")
    password = click.prompt("password", hide_input=True, err=True) if ask_password else ""
    done = open_zoo().sign(name, key, certificate=certificate, chain=chain, password=password)
    if as_json:
        print_json(done.to_json())
    else:
        by = f"signed by {done.maker}"
        line = f"already {by}, on {done.at[:10]}: nothing is added" if done.at else by
        result(name, done.manifest, line)


@command(extra="--from")
@click.argument("name")
@click.option("--from", "remote", metavar="REMOTE", help="A remote's name, a URL, or a folder.")
@click.option(
    "--key",
    "keys",
    type=PATH,
    multiple=True,
    help="A public key or certificate that counts, too, this time.",
)
@click.option(
    "--remove", metavar="ID", help="Take that one away here; where it is pushed, it stays."
)
def signatures(
    name: str, remote: str | None, keys: tuple[Path, ...], remove: str | None, as_json: bool
) -> None:
    """Show who has signed what NAME points at.

    It counts if it is of this checkpoint, and by somebody whom you trust (zoo signers) or whose
    --key you give. The exit status is 1 if none does.

    \b
    Examples:
      zoo signatures team/flowers
      zoo signatures team/flowers --key alice.pub
      zoo signatures team/flowers --from lab
      zoo signatures team/flowers --remove b51d52bf3389
    """
    if remove is not None:
        _remove(name, remove, as_json=as_json, others=remote or keys)
        return
    listed = open_zoo().signatures(name, remote=remote, keys=keys)
    if as_json:
        print_json([each.to_json() for each in listed])
    elif listed:
        table(("SIGNED BY", "TRUSTED AS", "SINCE", "ID", "COUNTS"), [_row(each) for each in listed])
    else:
        note(f"nobody has signed {name}: zoo sign {name} --key FILE")
    if all(each.problem for each in listed):
        sys.exit(1)


def _row(signature: Signature) -> Sequence[str]:
    counts = f"no: {signature.problem}" if signature.problem else "yes"
    since, short = signature.at[:10], signature.digest.short
    return signature.maker, signature.signer or "-", since, short, counts


def _remove(name: str, beginning: str, *, as_json: bool, others: object) -> None:
    if others:
        raise click.UsageError("--remove is of what is here, and goes with no other option")
    gone = open_zoo().remove_signature(name, beginning)
    if as_json:
        print_json(gone.to_json())
    else:
        remark = "is gone here; where it was pushed it stays"
        note(f"the signature {gone.digest.short} of {name} {remark}")


@group
@click.pass_context
def signers(context: click.Context, as_json: bool) -> None:
    """List whom you trust to sign, or change that.

    And which names have to be signed. It holds for you on this machine, in all zoos, and lies in
    your own settings.

    \b
    Examples:
      zoo signers
      zoo signers add alice alice.pub
      zoo signers require enforce 'team/*'
    """
    if context.invoked_subcommand:
        return
    from zoo import Zoo

    known = Zoo.signers()
    if as_json:
        print_json(known.to_json())
        return
    if known.signers:
        rows = [(each.name, each.kind, each.by) for each in known.signers]
        table(("NAME", "KIND", "WHO"), rows)
    else:
        note("nobody is trusted to sign; trust somebody: zoo signers add NAME FILE")
    for pattern, policy in sorted(known.policies.items()):
        note(f"{pattern}: {policy}")


@command("add", of=signers)
@click.argument("name")
@click.argument("file", type=PATH)
def signers_add(name: str, file: Path, as_json: bool) -> None:
    """Have signatures by the key in FILE count.

    That is a public key, or the certificates of an authority, in PEM. An authority vouches for
    whomever it certifies: take one that certifies nobody else.
    """
    from zoo import Zoo

    done = Zoo.add_signer(name, file)
    if as_json:
        print_json(done.to_json())
    else:
        note(f"{name} is trusted to sign: {done.kind} {done.by}")


@command("remove", of=signers)
@click.argument("name")
def signers_remove(name: str, as_json: bool) -> None:
    """Have the signatures of NAME count no more. What was pulled stays."""
    from zoo import Zoo

    Zoo.remove_signer(name)
    if as_json:
        print_json({"name": name})
    else:
        note(f"{name} is no longer trusted to sign")


@command("require", of=signers)
@click.argument("policy", type=click.Choice(POLICIES))
@click.argument("names", default="*", metavar="[PATTERN]")
def signers_require(policy: Policy, names: str, as_json: bool) -> None:
    """Say what a pull does with what nobody trusted has signed.

    off takes it, warn says so, enforce refuses it: nothing is fetched then, and no name is kept.
    published refuses what comes from a store, and takes it from who publishes it (timm, the HF
    Hub). It holds for names that PATTERN matches, in which * stands for any characters, all if
    there is none, and for all of their tags; what is said of the longest one counts.

    \b
    Examples:
      zoo signers require enforce
      zoo signers require published 'timm/*'
    """
    from zoo import Zoo

    Zoo.require_signatures(policy, names)
    if as_json:
        print_json({"names": names, "policy": policy})
    else:
        note(f"{names}: {policy}")
