"""Images without labels: a folder of them that has no class folders, one, or a pattern of paths.

Nothing can be learned from these, or measured on them; their features can be written.
"""

from __future__ import annotations

from pathlib import Path

from zoo.backbones.image_files import named_images
from zoo.domain.progress import Progress
from zoo.domain.words import plural
from zoo.errors import InvalidData
from zoo.finetune.dataset.dataset import Dataset, Sample, SkippedImage, content_digest, parts_digest
from zoo.finetune.dataset.images import FileImages, check_images

__all__ = ["open_unlabeled"]


def open_unlabeled(
    spec: str, max_pixels: int | None, skip_bad: bool, progress: Progress
) -> Dataset:
    """All images that ``spec`` names, none of a class, in the part ``test``; each is decoded once.

    Raises:
        InvalidData: There are none, or some cannot be read and ``skip_bad`` does not leave them
            out.
    """
    path = Path(spec).expanduser()
    inside = path.is_dir()
    images = FileImages(path if inside else Path())
    images.max_pixels = max_pixels
    files = dict.fromkeys(each for each in named_images([path]) if each.is_file())
    keys = [(each.relative_to(path) if inside else each).as_posix() for each in files]
    checked = check_images(images, keys, progress, None)
    bad = checked.problems
    problems = [] if skip_bad else [f"{key} {reason}" for key, reason in bad.items()]
    if len(keys) == len(bad) and not problems:
        problems = ["no images"]
    if problems:
        hint = f"--skip-bad leaves out {plural(len(bad), 'image')} that cannot be used"
        raise InvalidData(spec, problems, hint=hint if bad and not skip_bad else "")
    samples = tuple(Sample(key, 0) for key in sorted(keys) if key not in bad)
    return Dataset(
        spec=spec,
        task="classification",
        classes=(),
        train=(),
        validation=(),
        test=samples,
        digest=content_digest((), samples, checked.digests),
        split_digest=parts_digest(((), (), samples)),
        skipped=tuple(SkippedImage(key, reason) for key, reason in bad.items()),
        images=images,
        states=checked.states,
    )
