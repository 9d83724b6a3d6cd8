"""Registered networks as a backbone plugin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict

from torch import Tensor, nn

from zoo.backbones.adapt import adapt_channels
from zoo.backbones.pooling import POOLED_HEAD, PooledHead, add_pooled_head
from zoo.backbones.trace import trace
from zoo.domain.hierarchy import Hierarchy, InputSize
from zoo.domain.manifest import Manifest, Preprocessing
from zoo.domain.surgery import AS_IT_IS, BuildOptions
from zoo.errors import UnknownName
from zoo_torch import networks, registered

__all__ = ["TorchBackbone"]


class TorchBackbone:
    """Implements `zoo.contracts.Backbone`. Architectures are the names that were registered, and
    import paths (``acme.nets:make_net``).
    """

    def architectures(self) -> Sequence[str]:
        """The names that were registered, sorted. Import paths cannot be listed."""
        return registered.names()

    def build(self, architecture: str, options: BuildOptions = AS_IT_IS) -> nn.Module:
        """What the factory of that name makes. There are no tags."""
        if options.tag is not None:
            raise UnknownName("pretrained tag", f"{architecture}.{options.tag}", [architecture])
        return networks.build(architecture, options)

    def hierarchy(
        self, architecture: str, module: nn.Module, *, input_size: InputSize | None = None
    ) -> Hierarchy:
        """The units of ``module``, traced at ``input_size`` or its native one."""
        size = input_size or self.preprocessing(module).input_size
        return trace(architecture, module, input_size=size, head=self.head_modules(module))

    def head_modules(self, module: nn.Module) -> tuple[str, ...]:
        """Path of the head; empty for an encoder."""
        if hasattr(module, POOLED_HEAD):
            return (POOLED_HEAD,)
        head = networks.built(module).head
        return () if head is None else (head,)

    def replace_head(
        self, module: nn.Module, num_outputs: int, build: Callable[[int], nn.Module]
    ) -> None:
        """Put ``build(num_features)`` in the place of the head, or behind an encoder."""
        del num_outputs  # nothing but the head knows of them
        known = networks.built(module)
        new = build(known.num_features)
        if known.head is None and type(module).forward is nn.Sequential.forward:
            # It runs all of its children in turn, so the head is the last of them.
            module.add_module(POOLED_HEAD, PooledHead(known.num_features, new))
        elif known.head is None:
            add_pooled_head(module, known.num_features, lambda _: new)
        elif len(known.features) == 4:  # a convolution's place: maps come in, and go out
            flat = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), new, networks.Map())
            module.set_submodule(known.head, flat)
        else:
            module.set_submodule(known.head, new)

    def preprocessing(self, module: nn.Module) -> Preprocessing:
        """How images become input, as it was registered."""
        return networks.built(module).preprocessing

    def classes(self, module: nn.Module) -> tuple[str, ...]:
        """None are known: a checkpoint that is trained here has its own."""
        del module
        return ()

    def convert(self, module: nn.Module, names: Collection[str]) -> Mapping[str, str]:
        """Every key is the network's own."""
        del module
        return {name: name for name in names}

    def fit_weights(self, module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``state`` fitted to the channels of ``module``."""
        return adapt_channels(module, state)

    def export_config(self, module: nn.Module, manifest: Manifest) -> dict[str, object]:
        """``config.json``: what the factory is to be given, and how images become input."""
        built = networks.built(module)
        return {
            "network": built.name,
            "options": built.options,
            "head": list(self.head_modules(module)),
            "num_features": built.num_features,
            "num_classes": manifest.head.num_classes,
            "preprocessing": asdict(manifest.preprocessing),
            "classes": list(manifest.classes),
        }
