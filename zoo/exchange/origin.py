"""Origin: what is known of weights beside their bytes, and the manifest that comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from zoo.domain import manifest as m
from zoo.domain.surgery import Surgery
from zoo.exchange.layouts import Layout

__all__ = ["Origin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What is known of weights beside their bytes.

    Attributes:
        plugin: The backbone plugin.
        architecture: A name that it knows.
        tag: Pretrained tag, for the preprocessing and class names that belong to it.
        license: License id.
        provenance: Where they came from, as text.
        layout: How their publisher describes the network, where that is what counts.
        published: Whether they are the weights that the architecture was published with, so that
            their outputs are the classes of these.
    """

    plugin: str
    architecture: str
    tag: str | None = None
    license: str | None = None
    provenance: dict[str, str] = field(default_factory=dict)
    layout: Layout | None = None
    published: bool = False

    @property
    def surgery(self) -> Surgery:
        """How the network differs from the architecture, as far as its publisher says."""
        return self.layout.network.surgery if self.layout else Surgery()

    @property
    def are_published_classes(self) -> bool:
        """Whether its outputs are those that the architecture was published with. As many outputs
        as ImageNet has are no reason to take its names.
        """
        told = self.layout and self.layout.network.published_classes
        return bool(self.published or self.tag or told)

    def manifest(
        self, outputs: int, preprocessing: m.Preprocessing, classes: tuple[str, ...]
    ) -> m.Manifest:
        """The manifest of its network with so many outputs; without weights."""
        return m.Manifest(
            backbone=m.Backbone(
                plugin=self.plugin,
                architecture=self.architecture,
                options=replace(self.surgery, num_classes=outputs).to_options(),
            ),
            head=m.Head(kind="native", num_classes=outputs),
            preprocessing=preprocessing,
            classes=classes if len(classes) == outputs else (),
            weights=(),
            license=self.license,
        )
