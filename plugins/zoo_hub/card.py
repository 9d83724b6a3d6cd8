"""The model card of a repository: what it says already, with the lineage added."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from huggingface_hub import ModelCard

__all__ = ["completed_card"]

HEADING = "## Lineage"


def completed_card(text: str, facts: Mapping[str, Any], lineage: Sequence[str]) -> str:
    """A card with ``facts`` in its front matter, and ``lineage``, lines of Markdown, at its end.

    What the front matter states already stays, but tags are joined and the base models replaced.
    """
    card = ModelCard(text, ignore_metadata_errors=True)
    data = cast(Any, card.data)
    for key, value in facts.items():
        stated = data.get(key)
        if key == "tags":
            value = list(dict.fromkeys([*(stated or []), *value]))
        elif stated and not key.startswith("base_model"):
            continue
        data[key] = value
    body = card.text.partition(f"\n{HEADING}\n")[0].rstrip()
    card.text = "\n".join([body, "", HEADING, "", *lineage]) + "\n"
    return f"---\n{data.to_yaml()}\n---\n{card.text}"
