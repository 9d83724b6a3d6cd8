"""Key names of old weights files.

DenseNets were published when a module's name could hold a dot; torchvision renames their keys when
it loads them, and so do we.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

__all__ = ["own_names"]

DOTTED = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..+)")


def own_names(names: Collection[str]) -> Mapping[str, str]:
    """Torchvision's present key for each of ``names``; all but the old ones map to themselves."""
    return {name: DOTTED.sub(r"\1\2", name) for name in names}
