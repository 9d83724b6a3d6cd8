"""What is built other than it comes, as checks: for other images, with weights fitted to them, with
a new head; and what a plugin tells of itself.
"""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d

from zoo.backbones.adapt import misfits
from zoo.backbones.untrained import on_meta
from zoo.contracts import Backbone
from zoo.domain import manifest as m
from zoo.domain.surgery import BuildOptions
from zoo.errors import Unsupported

__all__ = [
    "CHANNELS",
    "check_adapted",
    "check_config",
    "check_head_input",
    "check_version",
    "sizes_of",
]

CHANNELS = (1, 4)
"""Gray images, and colors with a fourth channel."""


def sizes_of(how: m.Preprocessing) -> tuple[tuple[int, int], ...]:
    """Image sizes (height, width) other than the native one: larger, and not square."""
    _, height, width = how.input_size
    return (2 * height, 2 * width), (height, 2 * width)


def check_adapted(
    backbone: Backbone, architecture: str, state: Mapping[str, Tensor], **options: Any
) -> nn.Module | None:
    """Assert that the network is built for images of another ``image_size`` or ``channels`` and
    says so, and that weights are fitted to it: wholly to other channels, as far as there is a rule
    to another size. ``state``, weights of the network as it comes, is not changed.

    All of that may be refused: then the answer is None, else the network on the meta device.
    """
    before = {name: tensor._version for name, tensor in state.items()}
    try:
        with on_meta():
            module = backbone.build(architecture, BuildOptions(**options)).eval()
        channels, *size = backbone.preprocessing(module).input_size
        assert channels == options.get("channels", channels)
        assert tuple(size) == options.get("image_size", tuple(size))
        fitted = backbone.fit_weights(module, state)
    except Unsupported:
        return None
    assert {name: tensor._version for name, tensor in state.items()} == before
    wrong = misfits(module, state)
    for name in state.keys() & fitted.keys() - wrong.keys():
        assert fitted[name] is state[name], f"{name} fits, and is to stay as it is"
    for name in misfits(module, fitted):
        assert fitted[name] is state[name], f"{name} was changed, and does not fit"
    if "channels" in options:
        assert not misfits(module, fitted)
    return module


def check_config(backbone: Backbone, architecture: str, module: nn.Module, outputs: int) -> None:
    """Assert that ``export_config`` gives plain data that tells of the checkpoint's own classes."""

    def config(classes: tuple[str, ...]) -> dict[str, object]:
        manifest = m.Manifest(
            backbone=m.Backbone(plugin="any", architecture=architecture),
            head=m.Head(kind="native", num_classes=outputs),
            preprocessing=backbone.preprocessing(module),
            classes=classes,
            weights=(),
        )
        return backbone.export_config(module, manifest)

    names = tuple(f"class {index}" for index in range(outputs))
    for exported in (config(()), config(names)):
        assert json.loads(json.dumps(exported))


def check_version(backbone: Backbone) -> None:
    """Assert that the package of a plugin's module can be asked for its version quickly: it imports
    no torch, and answers the same each time.
    """
    package, is_package, _ = type(backbone).__module__.partition(".")
    if not is_package:
        return
    code = (
        f"import sys; sys.path[:] = {sys.path!r}; import {package} as package; "
        "version = getattr(package, 'version', str); "
        "assert isinstance(version(), str) and version() == version(); "
        "assert 'torch' not in sys.modules, 'imports torch'"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def check_head_input(backbone: Backbone, module: nn.Module, images: Tensor) -> None:
    """Assert that a new head gets, bit for bit and in eval mode, what the old one got: the features
    (N, F), averaged where the old one took maps (N, F, H, W). ``module`` is not changed.
    """
    old = [module.get_submodule(path) for path in backbone.head_modules(module)]
    with _entering(old) as before, torch.no_grad():
        module.eval()(images)
    swapped, new = copy.deepcopy(module), []

    def build(features: int) -> nn.Module:
        new.append(nn.Linear(features, 7))
        return new[-1]

    backbone.replace_head(swapped, 7, build)
    with _entering(new) as after, torch.no_grad():
        swapped.eval()(images)
    assert len(after) == len(before)
    for was, now in zip(before, after, strict=True):
        expected = adaptive_avg_pool2d(was, 1).flatten(1) if was.dim() == 4 else was
        assert torch.equal(now, expected)


@contextmanager
def _entering(modules: Sequence[nn.Module]) -> Iterator[list[Tensor]]:
    """The first argument of each call of the modules, in the order of the calls."""
    inputs: list[Tensor] = []
    with ExitStack() as hooks:
        for module in modules:
            note = module.register_forward_pre_hook(lambda _, args: inputs.append(args[0].clone()))
            hooks.enter_context(note)
        yield inputs
