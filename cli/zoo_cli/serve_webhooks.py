"""zoo serve webhook: who is told of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from zoo_cli.command import command, flag, group, open_accounts, open_zoo
from zoo_cli.output import note, print_json, table

if TYPE_CHECKING:
    from zoo.serve.who.webhooks import Webhook

__all__ = ["webhook"]


@group
@click.pass_context
def webhook(context: click.Context, as_json: bool) -> None:
    """List webhooks, or add and remove them.

    A webhook is an address that is told of each change of a repository over HTTP, as the model hub
    does it: huggingface_hub.WebhooksServer reads it. One that fails is tried again, after pauses
    that grow to an hour, for half a day.

    \b
    Examples:
      zoo serve webhook
      zoo serve webhook add https://ci.lab.org/zoo --for lab
      zoo serve webhook rm 1f0c2a9b77de
    """
    if not context.invoked_subcommand:
        context.invoke(webhook_ls, as_json=as_json)


@command("ls", of=webhook)
def webhook_ls(as_json: bool) -> None:
    """List webhooks, and what came of the last try of each."""
    hooks = open_accounts().webhooks.all()
    if as_json:
        print_json([_as_json(each) for each in hooks])
    elif hooks:
        rows = [
            (each.id, each.path or "all", each.url, each.tried or "-", _state(each))
            for each in hooks
        ]
        table(("ID", "FOR", "URL", "TRIED", "STATUS"), rows)
    else:
        note("there are no webhooks; this adds one: zoo serve webhook add URL")


@command("add", of=webhook)
@click.argument("url")
@click.option(
    "--for", "path", default="", metavar="PATH", help="A namespace or a repository; else all."
)
@flag("--private-network", help="It may be in a private network, and be reached over plain http.")
def webhook_add(url: str, path: str, private_network: bool, as_json: bool) -> None:
    """Tell URL of changes from now on, and print the secret that it is told with.

    What is sent has the secret in the header X-Webhook-Secret. It can be seen again: ls --json.
    """
    added = open_accounts().webhooks.add(url, path, private=private_network)
    if as_json:
        print_json(_as_json(added))
    else:
        click.echo(_secret(added))
        note(f"webhook {added.id} is told of changes in {added.path or 'all'}, with that secret")


@command("rm", of=webhook)
@click.argument("webhook_id", metavar="ID")
def webhook_rm(webhook_id: str, as_json: bool) -> None:
    """Tell an address no more."""
    open_accounts().webhooks.remove(webhook_id)
    if as_json:
        print_json({"id": webhook_id})
    else:
        note(f"webhook {webhook_id} is told no more")


def _state(hook: Webhook) -> str:
    if hook.disabled:
        return "disabled"
    if not hook.failures:
        return hook.status or "-"
    return f"{hook.status} ({hook.failures} failures{', ended' if hook.ended else ''})"


def _as_json(hook: Webhook) -> dict[str, object]:
    return {**hook.to_json(), "ended": hook.ended, "secret": _secret(hook)}


def _secret(hook: Webhook) -> str:
    from zoo.serve.who.seals import Seals

    return Seals(open_zoo(quiet=True).workspace.store.disk).secret(f"webhook {hook.id}")
