"""Work with checkpoints: import, export, adapt, load, predict, features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zoo.domain.description import only_zoo_builds
from zoo.domain.digest import Digest
from zoo.domain.manifest import Head
from zoo.domain.reference import Reference
from zoo.domain.surgery import Surgery
from zoo.domain.task import Task
from zoo.facade.trusting import Trusting

if TYPE_CHECKING:
    from torch import nn

    from zoo.backbones.predict import Prediction
    from zoo.errors import InvalidImage
    from zoo.exchange.adapt import Adapted
    from zoo.finetune.features.write import Features

__all__ = ["Working"]


class Working(Trusting):
    """What reads or writes weights."""

    def import_file(
        self,
        path: Path | str,
        name: str,
        *,
        architecture: str,
        backbone: str = "timm",
        license: str | None = None,  # noqa: A002 - the field's word
        files: Iterable[Path | str] = (),
    ) -> tuple[Reference, Digest]:
        """Store a ``.safetensors`` or weights-only ``.pth`` file (`zoo.exchange.folders`).

        ``architecture`` may have a pretrained tag (``resnet50.a1_in1k``): then its outputs are the
        classes of these weights. One that is an import path is trusted in this zoo from then on.
        """
        from zoo.exchange.folders import import_weights
        from zoo.exchange.importing import Origin, tagged
        from zoo.exchange.reindexing import keep_hierarchy

        ref = Reference.parse(name)
        self.workspace.check_free(ref)
        known, tag = tagged(backbone, architecture)
        origin = Origin(
            plugin=backbone,
            architecture=known,
            tag=tag,
            license=license,
            provenance={"source": "file"},
        )
        with self._named_by_user(architecture):
            digest = import_weights(
                self.workspace, Path(path), ref, origin, files=[Path(file) for file in files],
                progress=self.progress,
            )  # fmt: skip
        keep_hierarchy(self.workspace, digest)
        return ref, digest

    def import_folder(
        self,
        folder: Path | str,
        name: str,
        *,
        license: str | None = None,  # noqa: A002 - the field's word
        files: Iterable[Path | str] = (),
    ) -> tuple[Reference, Digest]:
        """Store what `export`, or another library, wrote (`zoo.exchange.folders`)."""
        from zoo.exchange.folders import import_folder
        from zoo.exchange.reindexing import keep_hierarchy

        ref = Reference.parse(name)
        self.workspace.check_free(ref)
        digest = import_folder(
            self.workspace, Path(folder), ref, license=license,
            files=[Path(file) for file in files], progress=self.progress,
        )  # fmt: skip
        keep_hierarchy(self.workspace, digest)
        return ref, digest

    def nan_tensors(self, name: str) -> list[str]:
        """Names of the tensors of a checkpoint that hold NaN (`zoo.backbones.numbers`)."""
        from zoo.backbones.numbers import nan_tensors

        return nan_tensors(self.workspace.store, self.workspace.resolve(name)[1])

    def export(self, name: str, folder: Path | str, *, all_files: bool = False) -> list[Path]:
        """Write a checkpoint as a folder that its own library loads (`zoo.exchange.exporting`).

        With ``all_files``, those that `left_out` lists, too.
        """
        from zoo.exchange.exporting import export

        _, digest = self.workspace.resolve(name)
        return export(self.workspace, digest, Path(folder), all_files=all_files)

    def left_out(self, name: str) -> dict[str, str]:
        """The files of a checkpoint that `export` does not write unasked, and why."""
        from zoo.exchange.exporting import left_out

        _, digest = self.workspace.resolve(name)
        return left_out(self.workspace.store.manifest(digest))

    def only_zoo_builds(self, name: str) -> str | None:
        """Why a checkpoint's own library does not load what `export` writes; None if it does."""
        _, digest = self.workspace.resolve(name)
        return only_zoo_builds(self.workspace.store.manifest(digest))

    def adapt(
        self, name: str, save: str, *, classes: int | None = None, head: str = "linear", **how: Any
    ) -> Adapted:
        """A checkpoint's weights in another network (`zoo.exchange.adapt.adapt`).

        ``how`` are fields of `zoo.domain.surgery.Surgery`: ``truncate="blocks.3"``,
        ``image_size=(320, 320)``, ``channels``, ``without``, ``convolutional``; ``classes`` is for
        a new head of the kind ``head``.
        """
        from zoo.exchange.adapt import adapt

        new = Head(kind=head, num_classes=classes) if classes is not None else None
        return adapt(
            self.workspace, name, Reference.parse(save), Surgery(**how), head=new,
            progress=self.progress,
        )  # fmt: skip

    def load(self, name: str, *, device: str = "cpu") -> nn.Module:
        """A checkpoint as a module in eval mode, with its `Card` as ``module.zoo``.

        Raises:
            UnknownName: No such checkpoint here.
            Corrupt: A part of it is damaged.
        """
        from zoo.backbones.load import load

        _, digest = self.workspace.resolve(name)
        return load(self.workspace.store, digest, device=device)

    def predict(
        self, name: str, images: Iterable[Path | str] | Path | str, *, top: int = 5
    ) -> list[Prediction]:
        """The likeliest classes of each image, and all logits; of folders, all images in them."""
        paths = [images] if isinstance(images, Path | str) else images
        return list(self.predictions(name, paths, top=top))

    def predictions(
        self, name: str, images: Iterable[Path | str], *, top: int = 5,
        bad: list[InvalidImage] | None = None,
    ) -> Iterator[Prediction]:  # fmt: skip
        """As `predict`, one after the other (`zoo.backbones.predict.predict`)."""
        from zoo.backbones.predict import predict

        return predict(self.load(name), images, top=top, bad=bad)

    def features(
        self, name: str, data: Path | str, out: Path | str, *, at: str = "head",
        task: Task | None = None, skip_bad: bool = False, batch_size: int = 32,
        device: str = "auto", force: bool = False,
    ) -> Features:  # fmt: skip
        """Write the codes of all images in ``data`` at a unit (`zoo.finetune.features.write`)."""
        from zoo.finetune.features.write import write_features

        return write_features(
            self.workspace, name, str(data), Path(out), at=at, task=task, skip_bad=skip_bad,
            batch_size=batch_size, device=device, force=force, progress=self.progress,
        )  # fmt: skip
