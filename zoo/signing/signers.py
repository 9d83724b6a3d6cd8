"""Signers: whom the user of this machine trusts to sign, and what has to be signed.

It is kept in the user's own settings, as what may be imported is (`zoo.workspace.trust_in`), and
for all zoos: what is cloned has no settings yet, and what lies in a shared folder, others change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, cast

from zoo.domain.plain import Json
from zoo.domain.progress import clean
from zoo.domain.reference import Reference, check_namespace, is_pattern
from zoo.domain.signature import POLICIES, Policy, Signer
from zoo.domain.signature import Signers as Known
from zoo.errors import Conflict, InvalidOption, UnknownName

if TYPE_CHECKING:
    from zoo.store.json_file import JsonFile

__all__ = ["Signers"]


PATTERN = re.compile(r"[A-Za-z0-9._:/*?\[\]!-]+")


class Signers:
    """The signers that count, and what is wanted of which names.

    Args:
        kept: The file in the user's settings.
    """

    def __init__(self, kept: JsonFile) -> None:
        self._kept = kept

    def all(self) -> Known:
        """All of that.

        Raises:
            Invalid, NotAFile, Forbidden: The file is damaged, or cannot be read.
        """
        return self._read(self._kept.read())

    def policy_of(self, ref: Reference) -> Policy:
        """What is done if ``ref`` is to be the name of what nobody trusted has signed: what is said
        of the longest pattern that it matches, with its tag or without. Raises as `all` does.
        """
        names = ref.path, f"{ref.path}:{ref.tag}"
        matches = {
            pattern: policy
            for pattern, policy in self.all().policies.items()
            if any(fnmatchcase(name, pattern) for name in names)
        }
        return matches[max(matches, key=len)] if matches else "off"

    def add(self, signer: Signer) -> None:
        """Trust somebody. Raises as `all` does.

        Raises:
            Conflict: That name is somebody else's.
            InvalidReference: It has other letters than names do.
        """
        check_namespace(signer.name, "the name of a signer")
        with self._kept.change() as kept:
            known = {each.name: each for each in self._read(kept).signers}
            if known.get(signer.name, signer) != signer:
                hint = f"take that one away first: zoo signers remove {signer.name}"
                raise Conflict(f"{signer.name} is another signer", hint=hint)
            entry = {"kind": signer.kind, "by": signer.by, "pem": signer.pem}
            kept.setdefault("signers", {})[signer.name] = entry

    def remove(self, name: str) -> None:
        """Trust somebody no more. Raises as `all` does.

        Raises:
            UnknownName: There is nobody of that name.
        """
        with self._kept.change() as kept:
            known = [each.name for each in self._read(kept).signers]
            if name not in known:
                raise UnknownName("signer", name, known, hint="zoo signers lists them")
            del kept["signers"][name]

    def require(self, policy: str, pattern: str) -> None:
        """Say what is done of names that a pattern matches. Raises as `all` does.

        Raises:
            InvalidOption: There is no such policy, or no name can match.
        """
        if policy not in POLICIES:
            raise InvalidOption(f"'{policy}' is none of {', '.join(POLICIES)}")
        parts = pattern.split("/")  # a name has two
        one = len(parts) == 1 and not is_pattern(pattern)
        if not PATTERN.fullmatch(pattern) or one or len(parts) > 2 or "" in parts:
            hint = "such as team/*, or team/flowers for all of its tags"
            raise InvalidOption(f"no name can match '{clean(pattern)}'", hint=hint)
        with self._kept.change() as kept:
            self._read(kept)
            kept.setdefault("policies", {})[pattern] = policy

    def _read(self, kept: Json) -> Known:
        try:
            signers = tuple(
                Signer(name=name, kind=each["kind"], by=each["by"], pem=each["pem"])
                for name, each in kept.get("signers", {}).items()
            )
            policies: Mapping[str, str] = {**kept.get("policies", {})}
            if wrong := {*policies.values()} - {*POLICIES}:
                raise ValueError(f"a policy is {wrong.pop()!r:.40}")
            if not all(each.kind in ("key", "authority") for each in signers):
                raise ValueError("a signer is neither a key nor an authority")
        except (TypeError, KeyError, AttributeError, ValueError) as error:
            raise self._kept.damaged(error) from error
        return Known(signers=signers, policies=cast("Mapping[str, Policy]", policies))
