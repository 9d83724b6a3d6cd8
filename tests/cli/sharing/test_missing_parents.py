"""A checkpoint that was pulled without its base: what needs that names it, and how it is got."""

from __future__ import annotations

from pathlib import Path

from fakes.prepared import TUNED, Run

import zoo


def pulled_alone(toy: Run, tmp_path: Path) -> tuple[str, Path]:
    """``team/digits`` in a zoo without its base; the first digits of that, and the zoo."""
    toy("push", TUNED, "--to", "../lab").done()
    home = tmp_path / "theirs"
    toy("clone", "../lab", home).done()
    toy("pull", TUNED, "--from", "origin", "--home", home).done()
    with zoo.open(home) as there:
        manifest = there.workspace.store.manifest(there.workspace.names.resolve(TUNED)[1])
    return str(manifest.parents[0].manifest), home


def test_it_is_named_with_what_pulls_it(toy: Run, tmp_path: Path) -> None:
    digest, home = pulled_alone(toy, tmp_path)
    where = ("--home", home)
    wanted = f"{digest[7:19]}, which {TUNED} derives from, is not in this zoo"
    toy("diff", TUNED, digest, *where).refused(
        f"team/base {wanted}", "it can be pulled: zoo pull team/base --from origin"
    )
    toy("push", "team/base", "--to", "../lab").done()
    toy("fetch", "origin", *where).done()
    toy("show", digest[:15], *where).refused("it can be pulled: zoo pull team/base --from origin")
    toy("pull", "team/base", "--from", "origin", *where).done()
    toy("diff", TUNED, digest, *where).done()
    toy("show", f"blake3:{'0' * 64}", *where).refused("unknown checkpoint 'blake3:000")
