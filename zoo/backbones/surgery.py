"""A backbone plugin with a surgery: what a manifest's options ask for beyond ``build``."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache

from torch import Tensor, nn

from zoo import plugins
from zoo.backbones.adapt import misfits
from zoo.backbones.dense import make_convolutional, replace_dense_head
from zoo.backbones.describe import unit_named
from zoo.backbones.pooling import POOLED_HEAD, add_pooled_head
from zoo.backbones.taps import HEAD
from zoo.backbones.truncate import End, find_end, truncate, truncated_hierarchy
from zoo.backbones.untrained import on_meta
from zoo.backbones.without import check_removable, exact_unit, take_out
from zoo.contracts import Backbone, SupportsConfigFiles
from zoo.domain.hierarchy import Hierarchy, InputSize, Unit
from zoo.domain.manifest import Manifest, Preprocessing
from zoo.domain.plain import Json
from zoo.domain.preprocessing import check_preprocessing
from zoo.domain.surgery import AS_IT_IS, BuildOptions, Surgery
from zoo.errors import Unsupported

__all__ = ["SurgeryBackbone", "backbone_of", "configured"]


def backbone_of(manifest: Manifest) -> Backbone:
    """The plugin that builds a checkpoint's network, with its surgery. Raises as
    `zoo.plugins.load` does.

    Raises:
        Unsupported: Its surgery or preprocessing cannot be done.
    """
    check_preprocessing(manifest.preprocessing)
    plugin = plugins.backbone(manifest.backbone.plugin)
    surgery = Surgery.parse(manifest.backbone.options)
    backbone = configured(plugin, surgery)
    if not surgery.after_build:
        return backbone
    version = plugins.backbone_version(manifest.backbone.plugin)
    return SurgeryBackbone(backbone, surgery, manifest.backbone.architecture, version)


def configured(backbone: Backbone, surgery: Surgery) -> Backbone:
    """The plugin, configured with the arguments that the network was built with.

    Raises:
        Unsupported: It takes no arguments, or not these.
    """
    if not surgery.arguments:
        return backbone
    if not isinstance(backbone, SupportsConfigFiles):
        raise Unsupported(
            f"the network was built with '{surgery.arguments[0][0]}', and "
            f"{type(backbone).__name__} takes no such arguments"
        )
    return backbone.configured(dict(surgery.arguments))


class SurgeryBackbone:
    """Implements `zoo.contracts.Backbone` for the network that a surgery leaves of an
    ``architecture``, whose units it names. What running a network showed is cached for this
    ``version`` of the plugin.

    Raises:
        UnknownName: It has no unit of a name that the surgery needs.
        InvalidOption: A stage is to be removed.
        Unsupported: The surgery cannot be done; the message says why.
    """

    def __init__(
        self, inner: Backbone, surgery: Surgery, architecture: str, version: str = ""
    ) -> None:
        self.inner = inner
        self.surgery = surgery
        self._architecture = architecture
        self._cache_key = (type(inner), version)
        # Here, because `build` may be called where tensors are made on the meta device and left
        # unfilled: networks that ran there would prove nothing.
        self._removed = _removed_units(*self._cache_key, architecture, surgery)
        self._end = _end(*self._cache_key, architecture, surgery, None) if surgery.ends else None

    @property
    def parts(self) -> tuple[int, ...]:
        """How many features the head gets of each tap; empty where nothing was ended."""
        return tuple(tap.features for tap in self._end.taps) if self._end else ()

    def architectures(self) -> Sequence[str]:
        """The only one."""
        return (self._architecture,)

    def build(self, architecture: str, options: BuildOptions = AS_IT_IS) -> nn.Module:
        """The plugin's network after surgery; sizes not given are those of the surgery.

        Raises:
            Unsupported: It is not built for that size, or has no layers to make convolutions of.
        """
        # Sizes that are asked for here win: a network is traced at sizes other than its own.
        own = self.surgery.to_build()
        asked = {key: value for key, value in asdict(options).items() if value is not None}
        module = self.inner.build(architecture, replace(own, **asked))
        # In this order: where to end was found on a network without the removed units, and what is
        # made convolutions is behind any end.
        for unit in self._removed:
            take_out(module, unit)
        if self._end:
            truncate(module, self._end)
        if self.surgery.convolutional:
            make_convolutional(module)
        return module

    def hierarchy(
        self, architecture: str, module: nn.Module, *, input_size: InputSize | None = None
    ) -> Hierarchy:
        """The units that are left, at ``input_size`` or the native one."""
        if not self.surgery.ends:
            return self.inner.hierarchy(architecture, module, input_size=input_size)
        end = _end(*self._cache_key, architecture, self.surgery, input_size)
        return truncated_hierarchy(end, module, POOLED_HEAD)

    def head_modules(self, module: nn.Module) -> tuple[str, ...]:
        """Where the head is, or the pooled head of a network that was ended elsewhere."""
        return (POOLED_HEAD,) if self.surgery.ends else self.inner.head_modules(module)

    def replace_head(
        self, module: nn.Module, num_outputs: int, build: Callable[[int], nn.Module]
    ) -> None:
        """Put ``build(num_features)`` in the place of the head."""
        if self.surgery.ends:
            pooled = module.get_submodule(POOLED_HEAD)
            add_pooled_head(module, pooled.num_features, build, pooled.dimension)  # type: ignore[arg-type]
        elif self.surgery.convolutional:
            (path, *_) = self.inner.head_modules(module)
            replace_dense_head(module, path, build)
        else:
            self.inner.replace_head(module, num_outputs, build)

    def preprocessing(self, module: nn.Module) -> Preprocessing:
        """As the plugin says."""
        return self.inner.preprocessing(module)

    def classes(self, module: nn.Module) -> tuple[str, ...]:
        """Those of the published weights; empty where its head is another."""
        return () if self.surgery.ends else self.inner.classes(module)

    def convert(self, module: nn.Module, names: Collection[str]) -> Mapping[str, str]:
        """As the plugin does."""
        return self.inner.convert(module, names)

    def fit_weights(self, module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``state`` without what was cut off, in the shapes of ``module``, fitted by the plugin."""
        own = module.state_dict()
        fitting = {name: tensor for name, tensor in state.items() if name in own}
        if self.surgery.convolutional:
            # The same values in another shape: a fully connected layer as a convolution.
            for name in misfits(module, fitting):
                if own[name].numel() == fitting[name].numel():
                    fitting[name] = fitting[name].reshape(own[name].shape)
        return self.inner.fit_weights(module, fitting)

    def export_config(self, module: nn.Module, manifest: Manifest) -> Json:
        """Nothing: its own library does not build it."""
        del module, manifest
        return {}


# What is found by running a network is the same each time; loading builds it twice.


@lru_cache(maxsize=8)
def _removed_units(
    plugin: type[Backbone], version: str, architecture: str, surgery: Surgery
) -> tuple[Unit, ...]:
    """The units that ``surgery`` removes, each checked to be removable."""
    if not surgery.without:
        return ()
    whole = replace(surgery, without=(), truncate=None, taps=(), convolutional=False)
    backbone = configured(plugin(), surgery)
    module = _built(plugin, version, architecture, whole)
    size = backbone.preprocessing(module).input_size
    hierarchy = backbone.hierarchy(architecture, module, input_size=size)
    units = [exact_unit(hierarchy, name) for name in surgery.without]
    for unit in units:
        check_removable(module, unit, size)
    return tuple(units)


@lru_cache(maxsize=8)
def _end(
    plugin: type[Backbone],
    version: str,
    architecture: str,
    surgery: Surgery,
    input_size: InputSize | None,
) -> End:
    """Where ``surgery`` ends the network, with shapes at ``input_size`` or the native one."""
    backbone = configured(plugin(), surgery)
    before = replace(surgery, truncate=None, taps=())
    module = _built(plugin, version, architecture, before)
    size = input_size or backbone.preprocessing(module).input_size
    hierarchy = backbone.hierarchy(architecture, module, input_size=size)
    last = len(hierarchy.units)
    return find_end(
        module,
        hierarchy,
        [last if name == HEAD else unit_named(hierarchy, name) for name in surgery.ends],
        size,
        lambda image: _built(plugin, version, architecture, replace(before, image_size=image)),
    )


def _built(plugin: type[Backbone], version: str, architecture: str, surgery: Surgery) -> nn.Module:
    """The network on the meta device, with all of ``surgery`` done that its fields ask for."""
    backbone = SurgeryBackbone(configured(plugin(), surgery), surgery, architecture, version)
    with on_meta():
        return backbone.build(architecture)
