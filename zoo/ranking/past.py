"""The zoo's own history: what came of its networks on other images than those that are asked about.

Three kinds of figures: what fine-tunes of a network reach, on test images of their own data or on
others (`zoo evaluate`); what `zoo advise` has tried; and what `zoo rank` has measured before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from zoo.domain.digest import Digest
from zoo.domain.task import SCORE
from zoo.finetune.setup.seen import manifest_if_here
from zoo.lookup.history import history as tried
from zoo.ranking.measured import kept_in
from zoo.ranking.prior import Figure
from zoo.store.side_files import EVALUATIONS
from zoo.workspace import Workspace

__all__ = ["past_figures"]

MOST = 200
"""Fine-tunes of a network that are looked at: the newest."""


def past_figures(
    workspace: Workspace, networks: Iterable[Digest], folders: Iterable[Path], data_digest: str
) -> list[Figure]:
    """All figures of networks on other data than that of this digest.

    ``folders`` are where measurements are kept (`zoo.ranking.measured`).
    """
    figures = [
        figure
        for network in networks
        for child in workspace.registry.children(network)[-MOST:]
        for figure in _of_fine_tune(workspace, network, child, data_digest)
    ]
    for past in tried(workspace):
        if past.data_digest != data_digest:
            size = "x".join(map(str, past.image_size))
            what = f"{past.kind} {past.measure} at {size}"
            figures.append(Figure(past.manifest, past.data_digest, what, past.score))
    for kept in (each for folder in folders for each in kept_in(folder)):
        if kept.data_digest != data_digest:
            what = f"probes at {kept.image_size}"
            figures.append(Figure(kept.manifest, kept.data_digest, what, kept.score))
    return figures


def _of_fine_tune(
    workspace: Workspace, network: Digest, child: Digest, but: str
) -> Iterator[Figure]:
    known = manifest_if_here(workspace, child)
    if known is None or (data := known.provenance.get("data_digest")) in (None, but):
        return
    task = next((task for task in SCORE if task == (known.recipe or {}).get("task")), None)
    if task is None:
        return
    measure = SCORE[task]
    if measure in known.metrics:
        split = known.provenance.get("split_digest", "")
        what = f"{measure} in split {split}"
        yield Figure(str(network), str(data), what, float(known.metrics[measure]))
    for each in EVALUATIONS.of(workspace.store.disk, child):
        if each.data_digest != but and measure in each.metrics:
            what = f"{measure} of {each.images_digest} after {data}"
            yield Figure(str(network), each.data_digest, what, each.metrics[measure])
