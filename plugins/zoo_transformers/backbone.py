"""transformers' image networks as a backbone plugin."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, cast

from torch import Tensor, nn

from zoo.backbones.pooling import POOLED_HEAD, add_pooled_head
from zoo.backbones.trace import trace
from zoo.domain.hierarchy import Hierarchy, InputSize
from zoo.domain.manifest import Manifest, Preprocessing
from zoo.domain.network import PROCESSOR, Config, Network
from zoo.domain.plain import Json
from zoo.domain.surgery import AS_IT_IS, BuildOptions
from zoo.errors import UnknownName
from zoo_transformers import networks
from zoo_transformers import processor as processors
from zoo_transformers.architectures import ARCHITECTURES, find
from zoo_transformers.config import checked, with_arguments
from zoo_transformers.config import read as read_config
from zoo_transformers.names import own_names

__all__ = ["TransformersBackbone"]


class TransformersBackbone:
    """Implements `zoo.contracts.Backbone`, and `zoo.contracts.SupportsConfigFiles`.

    Architectures have the names of published repositories, without their owners'. They are listed
    without transformers too, which is asked for when one is built.

    Args:
        arguments: Configuration values for each network that it builds (`zoo_transformers.config`).
    """

    def __init__(self, arguments: Config | None = None) -> None:
        self._arguments = dict(arguments or {})

    def architectures(self) -> Sequence[str]:
        """All names that `build` takes, sorted."""
        return list(ARCHITECTURES)

    def build(self, architecture: str, options: BuildOptions = AS_IT_IS) -> nn.Module:
        """The network with untrained weights. There are no tags: each recipe has its own name.

        An encoder that transformers has no classifier for heeds no ``num_classes``.
        """
        network = with_arguments(find(architecture), self._arguments)
        if options.tag is not None:
            raise UnknownName("pretrained tag", f"{architecture}.{options.tag}", [architecture])
        return networks.build(network, options)

    def hierarchy(
        self, architecture: str, module: nn.Module, *, input_size: InputSize | None = None
    ) -> Hierarchy:
        """The units of ``module``, traced at ``input_size`` or its native one."""
        size = input_size or self.preprocessing(module).input_size
        for child in module.modules():
            # BEiT's index of places: else the first layer makes it for all, and so owns it.
            if hasattr(child, "generate_relative_position_index"):
                places = networks.grid(module, size[1:])
                cast(Any, child).generate_relative_position_index(places)
        from transformers import PreTrainedModel

        # Models inside hand on all that they know, not what is needed alone.
        models = {type(each) for each in module.modules() if isinstance(each, PreTrainedModel)}
        return trace(
            architecture,
            module,
            input_size=size,
            head=self.head_modules(module),
            containers=models,
        )

    def head_modules(self, module: nn.Module) -> tuple[str, ...]:
        """Paths of the layers that give the classes; empty where transformers has none."""
        if hasattr(module, POOLED_HEAD):
            return (POOLED_HEAD,)
        return networks.built(module).architecture.family.heads

    def replace_head(
        self, module: nn.Module, num_outputs: int, build: Callable[[int], nn.Module]
    ) -> None:
        """Put ``build(num_features)`` in the place of each layer that gives the classes."""
        known = networks.built(module)
        if not known.architecture.family.heads:
            add_pooled_head(module, known.num_features, build)
            return
        for path in known.architecture.family.heads:
            module.set_submodule(path, build(known.num_features))
        model = cast(Any, module)
        model.num_labels = model.config.num_labels = num_outputs

    def preprocessing(self, module: nn.Module) -> Preprocessing:
        """How images become input, as its published processor does it."""
        return networks.built(module).preprocessing

    def classes(self, module: nn.Module) -> tuple[str, ...]:
        """Class names of the published classifier, ImageNet's; empty for an encoder."""
        if not networks.built(module).architecture.num_classes:
            return ()
        from timm.data import ImageNetInfo  # takes a second, which building need not

        info = ImageNetInfo()
        return tuple(info.index_to_description(index) for index in range(info.num_classes()))

    def convert(self, module: nn.Module, names: Collection[str]) -> Mapping[str, str]:
        """The installed transformers' key for each key in ``names`` (`zoo_transformers.names`)."""
        return own_names(module.state_dict().keys(), names)

    def fit_weights(self, module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``state`` fitted to the size and channels of ``module`` (`zoo_transformers.networks`)."""
        return networks.fit_weights(module, state, self.preprocessing(module).input_size[1:])

    def read_config(self, config: Config, processor: Config, names: Sequence[str]) -> Network:
        """The network that transformers' files describe (`zoo_transformers.config`)."""
        return read_config(config, processor, names)

    def configured(self, arguments: Config) -> TransformersBackbone:
        """This plugin, building each network with these configuration values."""
        return type(self)(checked(arguments))

    def companions(self, module: nn.Module, manifest: Manifest) -> dict[str, Json]:
        """``preprocessor_config.json``, which pipelines of transformers ask for."""
        bgr, preprocessing = networks.built(module).architecture.family.bgr, manifest.preprocessing
        if preprocessing.crop_mode == "border":  # no processor of theirs does that
            return {}
        return {PROCESSOR: processors.write(preprocessing, bgr=bgr)}

    def export_config(self, module: nn.Module, manifest: Manifest) -> Json:
        """``config.json`` with which ``from_pretrained`` loads the exported folder.

        A head of more than one layer is not described: transformers builds its own, one layer.
        """
        classes = manifest.classes or [f"LABEL_{i}" for i in range(manifest.head.num_classes)]
        config = cast(Any, module).config.to_diff_dict()
        return {
            **config,
            "architectures": [type(module).__name__],
            "id2label": {str(index): name for index, name in enumerate(classes)},
            "label2id": {name: index for index, name in enumerate(classes)},
        }
