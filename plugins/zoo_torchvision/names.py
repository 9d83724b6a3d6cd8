"""Foreign key names: DenseNets were published when a module's name could hold a dot."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

__all__ = ["own_names"]

DOTTED = re.compile(r"(.*denselayer\d+\.(?:norm|conv))\.([12]\..+)")


def own_names(own: Collection[str], names: Collection[str]) -> Mapping[str, str]:
    """Torchvision's present key for each of ``names``; all but the old ones map to themselves."""
    del own  # the rules name their layers in full
    return {name: DOTTED.sub(r"\1\2", name) for name in names}
