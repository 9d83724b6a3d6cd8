"""timm's architectures as a backbone plugin."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import timm
from timm.data import ImageNetInfo, infer_imagenet_subset, resolve_data_config
from torch import Tensor, nn

from zoo.backbones.trace import trace
from zoo.backbones.untrained import on_meta
from zoo.domain.hierarchy import Hierarchy, InputSize
from zoo.domain.manifest import Manifest, Preprocessing
from zoo.domain.near import near_names
from zoo.domain.network import Config, Network
from zoo.domain.plain import Json
from zoo.domain.surgery import AS_IT_IS, BuildOptions, adapted_preprocessing
from zoo.errors import UnknownName
from zoo_timm import heads, sizes
from zoo_timm.config import RESET_POOL, checked
from zoo_timm.config import read as read_config
from zoo_timm.names import own_names

__all__ = ["TimmBackbone", "resolved"]


class TimmBackbone:
    """Implements `zoo.contracts.Backbone`, and `zoo.contracts.SupportsConfigFiles`.

    Args:
        arguments: Keyword arguments for each network that it builds (`zoo_timm.config`).
    """

    def __init__(self, arguments: Config | None = None) -> None:
        self._arguments = dict(arguments or {})

    def architectures(self) -> Sequence[str]:
        """All names that `build` takes, sorted."""
        return sorted(timm.list_models())

    def build(self, architecture: str, options: BuildOptions = AS_IT_IS) -> nn.Module:
        """The network with untrained weights (`zoo_timm.sizes` decides on sizes and channels)."""
        if not timm.is_model(architecture):
            near = near_names(architecture, timm.list_models())
            raise UnknownName("timm architecture", architecture, near)
        name = f"{architecture}.{options.tag}" if options.tag else architecture
        try:
            return sizes.build(name, self._arguments, options)
        except RuntimeError as error:
            if "Invalid pretrained tag" not in str(error):
                raise
            raise UnknownName(
                "pretrained tag", name, timm.list_pretrained(f"{architecture}.*")
            ) from error

    def hierarchy(
        self, architecture: str, module: nn.Module, *, input_size: InputSize | None = None
    ) -> Hierarchy:
        """The units of ``module``, traced at ``input_size`` or its native one."""
        size = input_size or self.preprocessing(module).input_size
        return trace(architecture, module, input_size=size, head=self.head_modules(module))

    def head_modules(self, module: nn.Module) -> tuple[str, ...]:
        """Paths of the classifier's modules; empty for an encoder."""
        return heads.head_modules(module)

    def replace_head(
        self, module: nn.Module, num_outputs: int, build: Callable[[int], nn.Module]
    ) -> None:
        """Put ``build(num_features)`` in the place of each classifier (`zoo_timm.heads`)."""
        heads.replace_head(module, num_outputs, build)

    def preprocessing(self, module: nn.Module) -> Preprocessing:
        """How images become input of these weights, after timm's own resolution of its configs."""
        return resolved(_config(module))

    def classes(self, module: nn.Module) -> tuple[str, ...]:
        """Class names of the published weights in index order; empty where timm has none."""
        config = _config(module)
        if names := config.get("label_names"):
            described = config.get("label_descriptions") or {}
            return tuple(described.get(name, name) for name in names)
        subset = infer_imagenet_subset(module)
        if subset is None:
            return ()
        info = ImageNetInfo(subset)
        count = cast(Any, module).num_classes
        return tuple(info.index_to_description(index) for index in range(count))

    def convert(self, module: nn.Module, names: Collection[str]) -> Mapping[str, str]:
        """Timm's own key for each key in ``names`` (rules: `zoo_timm.names`)."""
        return own_names(module.state_dict().keys(), names)

    def fit_weights(self, module: nn.Module, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``state`` fitted to the size and channels of ``module`` by timm's own rules."""
        return sizes.fit_weights(module, state)

    def read_config(self, config: Config, processor: Config, names: Sequence[str]) -> Network:
        """The network that ``config.json`` describes (`zoo_timm.config`)."""
        del processor, names  # of transformers
        network = read_config(config)
        arguments = dict(network.surgery.arguments)
        if "global_pool" in arguments and timm.is_model(network.architecture):
            with on_meta():
                own = heads.pool_of(timm.create_model(network.architecture))
            if arguments["global_pool"] == own:  # timm always says it
                del arguments["global_pool"]
        surgery = replace(network.surgery, arguments=tuple(arguments.items()))
        return replace(network, surgery=surgery)

    def configured(self, arguments: Config) -> TimmBackbone:
        """This plugin, building each network with these keyword arguments."""
        return type(self)(checked(arguments))

    def companions(self, module: nn.Module, manifest: Manifest) -> dict[str, Json]:
        """None: timm reads ``config.json`` alone."""
        del module, manifest
        return {}

    def export_config(self, module: nn.Module, manifest: Manifest) -> Json:
        """``config.json`` as ``timm.create_model("local-dir:…")`` and the HF Hub read it."""
        preprocessing, config = manifest.preprocessing, _config(module)
        exported: Json = {
            "architecture": manifest.backbone.architecture,
            "num_classes": manifest.head.num_classes,
            "num_features": cast(Any, module).num_features,
            "pretrained_cfg": {
                "tag": "zoo",
                "custom_load": False,
                "input_size": list(preprocessing.input_size),
                "fixed_input_size": bool(config.get("fixed_input_size", False)),
                "interpolation": preprocessing.interpolation,
                "crop_pct": preprocessing.crop_pct,
                "crop_mode": preprocessing.crop_mode,
                "mean": list(preprocessing.mean),
                "std": list(preprocessing.std),
                "num_classes": manifest.head.num_classes,
                "pool_size": config.get("pool_size"),
                # timm would fit weights of three channels to other networks, which these are not.
                "first_conv": config.get("first_conv")
                if preprocessing.input_size[0] == 3
                else None,
                "classifier": config.get("classifier"),
                "license": manifest.license,
            },
        }
        if self._arguments:
            exported["model_args"] = _model_args(module, self._arguments)
        if manifest.classes:
            exported["label_names"] = list(manifest.classes)
        return exported


def resolved(pretrained_cfg: Config) -> Preprocessing:
    """How images become input, after timm's own resolution of its configs."""
    config = resolve_data_config(pretrained_cfg=dict(pretrained_cfg))
    channels, *image_size = config["input_size"]
    preprocessing = Preprocessing(
        input_size=(len(config["mean"]), *image_size),
        mean=tuple(map(float, config["mean"])),
        std=tuple(map(float, config["std"])),
        interpolation=config["interpolation"],
        crop_pct=float(config["crop_pct"]),
        crop_mode=config["crop_mode"],
    )
    return adapted_preprocessing(preprocessing, None, channels)


def _config(module: nn.Module) -> Json:
    config = getattr(module, "pretrained_cfg", None) or {}
    return dict(config)


def _model_args(module: nn.Module, arguments: Config) -> dict[str, object]:
    """As timm reads them; for a pooling that was reset, those that come to the same."""
    model_args = {name: list(v) if isinstance(v, tuple) else v for name, v in arguments.items()}
    if (pool := model_args.pop(RESET_POOL, None)) is not None:
        known = inspect.signature(type(module).__init__).parameters
        model_args |= {name: False for name in ("fc_norm", "use_fc_norm") if name in known}
        model_args["global_pool"] = pool
    return model_args
