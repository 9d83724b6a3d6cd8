"""zoo log: where a checkpoint comes from, checked against bytes, and what derives from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from zoo_cli.command import as_json, home_option, open_zoo
from zoo_cli.output import clean, note, print_json, table
from zoo_cli.search_table import at_remote

if TYPE_CHECKING:
    from zoo.lookup.check import Check
    from zoo.lookup.lineage import Lineage, Step

__all__ = ["log"]

DEEPEST = 20
"""Generations that are indented; a line has an end."""
OF_REF = ("name", "manifest", "deleted", "at_remotes", "history")


@click.command()
@click.argument("name")
@click.option("--ref", is_flag=True, help="Only what the name pointed at.")
@as_json
@home_option
def log(name: str, ref: bool, as_json: bool) -> None:
    """Show the lineage of NAME to its root, all that derives from it, what fetched remotes have
    under that name, and what the name pointed at before.

    A declared parent is checked against bytes: the share of the weights that are the parent's, and
    the units that wholly are. A warning says where the bytes disagree, or where a license leaves
    out a limit that an ancestor has. The shares of all units are in the JSON.

    \b
    Examples:
      zoo log team/flowers
      zoo log team/flowers --ref
      zoo log team/flowers --json
    """
    found = open_zoo().log(name)
    if as_json:
        data = found.to_json()
        print_json({key: data[key] for key in OF_REF} if ref else data)
        return
    if not ref:
        _print_lineage(found)
    if found.deleted:
        note(f"{found.name} was deleted; restore it: zoo delete --restore {found.name}")
    for there in found.at_remotes:
        click.echo(clean(f"at {at_remote(there.to_json())}"))
    if found.history:
        click.echo(f"history of {found.name}")
        entries = [logged.entry for logged in found.history]
        rows = [
            (f"  #{entry.number}", entry.at, entry.by, entry.manifest.short, entry.why)
            for entry in entries
        ]
        table(("  ENTRY", "AT", "BY", "CHECKPOINT", "WHY"), rows)


def _print_lineage(found: Lineage) -> None:
    click.echo("lineage")
    for depth, step in enumerate(found.ancestors):
        indent = "  " * min(depth, DEEPEST)
        click.echo(f"  {indent}{_step(step)}")
        if step.check:
            click.echo(f"  {indent}  {_check(step.check)}")
    if found.descendants:
        click.echo("descendants")
    for step in found.descendants:
        click.echo(f"  {'  ' * min((step.depth or 1) - 1, DEEPEST)}{_step(step)}")
    for limit in found.terms.limits:
        click.echo(clean(f"{limit.limit}: {limit.license}, from {limit.of}"))
    for warning in found.warnings:
        note(f"warning: {warning}")


def _check(check: Check) -> str:
    """What the bytes say, in one line."""
    if check.share is None:
        return "cannot be checked"
    whole = sum(unit.identical == unit.tensors for unit in check.units)
    text = (
        f"{'agrees' if check.agrees else 'DISAGREES'}: {check.share:.1%} of the weights, "
        f"{whole} of {len(check.units)} units are its parent's"
    )
    return text if check.cosine is None else f"{text}; cosine {check.cosine:.3f}"


def _step(step: Step) -> str:
    parts = [step.name, step.manifest.short]
    if step.problem:
        parts.append(f"(cannot be read: {step.problem})")
    elif not step.here:
        parts.append("(not in this zoo)")
    elif step.freeze:
        parts.append(_frozen(step.freeze))
    if accuracy := step.metrics.get("accuracy"):
        parts.append(f"accuracy {accuracy:.4f}")
    if step.source:
        parts.append(f"from {step.source}")
    return clean("  ".join(parts))


def _frozen(freeze: Mapping[str, Any]) -> str:
    none = freeze.get("frozen_units") == 0
    return "nothing frozen" if none else f"frozen below {freeze['boundary']}"
