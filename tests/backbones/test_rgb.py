"""Images of every kind as RGB: all levels kept, upright, and nothing warned of."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from zoo.backbones.preprocess import Preprocess, read_image
from zoo.errors import InvalidImage

RAMP = np.arange(65536, dtype=np.uint16).reshape(256, 256)
TURNED: dict[int, Callable[[Any], Any]] = {
    1: lambda pixels: pixels,
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: lambda pixels: np.rot90(pixels, 1),
}
"""What a viewer does for each orientation."""


def pixels(path: Path) -> Any:
    image = read_image(path)
    assert image.mode == "RGB"
    return np.asarray(image)


def photo() -> Image.Image:
    noise = np.random.default_rng(3).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((56, 40))


def tiff(path: Path, bits: int, width: int, data: bytes, *, sign: int = 1, black: int = 1) -> None:
    """One row of gray in a plain TIFF file, as Pillow reads it, but does not write it."""
    entries = [(256, width), (257, 1), (258, bits), (259, 1), (262, black), (273, 8), (277, 1),
               (278, 1), (279, len(data)), (339, sign)]  # fmt: skip
    directory = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    head = struct.pack("<2sHI", b"II", 42, 8 + len(data))
    path.write_bytes(head + data + struct.pack("<H", len(entries)) + directory + bytes(4))


@pytest.mark.parametrize(
    ("name", "values"),
    [("ramp.png", "<u2"), ("ramp.tif", "<u2"), ("ramp.tiff", ">u2"), ("ramp.ppm", "<u2")],
)
def test_a_ramp_of_16_bits_keeps_all_levels(tmp_path: Path, name: str, values: str) -> None:
    Image.fromarray(RAMP.astype(values)).save(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        assert image.mode.startswith("I")
    found = pixels(tmp_path / name)
    assert np.array_equal(found, np.rint(RAMP / 257).astype(np.uint8)[..., None].repeat(3, 2))
    assert len(np.unique(found)) == 256


def test_a_ramp_of_12_bits_keeps_all_levels(tmp_path: Path) -> None:
    ramp = np.arange(4096)
    pairs = [(a << 12 | b).to_bytes(3, "big") for a, b in ramp.reshape(-1, 2).tolist()]
    tiff(tmp_path / "ramp.tif", 12, 4096, b"".join(pairs))
    assert np.array_equal(pixels(tmp_path / "ramp.tif")[0, :, 0], np.rint(ramp * 255 / 4095))


def test_white_may_be_zero(tmp_path: Path) -> None:
    tiff(tmp_path / "xray.tif", 16, 256, RAMP[0].tobytes(), black=0)
    assert np.array_equal(pixels(tmp_path / "xray.tif")[0, :, 0], 255 - np.rint(RAMP[0] / 257))


def test_an_opened_image_is_taken_as_its_file_is_and_stays_as_it_was(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    tiff(tmp_path / "12.tif", 12, 2, (5 << 12 | 4095).to_bytes(3, "big"))
    Image.fromarray(RAMP).save(tmp_path / "16.ppm")
    photo().save(tmp_path / "turned.jpg", exif=exif)
    preprocess = Preprocess(np.asarray)  # type: ignore[arg-type]
    for path in tmp_path.iterdir():
        with Image.open(path) as image:
            before = image.tobytes()
            for _ in range(2):
                assert np.array_equal(preprocess(image), pixels(path)), path
            assert image.tobytes() == before


@pytest.mark.parametrize(
    ("values", "what"), [("i4", "integers of 32 bits"), ("f4", "floats"), ("i2", "with a sign")]
)
def test_values_without_a_range_are_refused(tmp_path: Path, values: str, what: str) -> None:
    path = tmp_path / "depth.tif"
    if values == "i2":
        tiff(path, 16, 256, RAMP[0].tobytes(), sign=2)
    else:
        Image.fromarray(RAMP.astype(values)).save(path)
    with pytest.raises(InvalidImage, match=what) as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "save it with 8 or 16 bits" in str(caught.value)


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_images_are_turned_as_viewers_show_them(
    tmp_path: Path, orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    photo().save(tmp_path / f"plain.{suffix}")
    photo().save(tmp_path / f"tagged.{suffix}", exif=exif)
    expected = TURNED[orientation](pixels(tmp_path / f"plain.{suffix}"))
    assert np.array_equal(pixels(tmp_path / f"tagged.{suffix}"), expected)


def test_16_bits_are_turned_too(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "tagged.png", exif=exif)
    expected = np.rot90(np.rint(RAMP / 257), -1)
    assert np.array_equal(pixels(tmp_path / "tagged.png")[..., 0], expected)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp"])
def test_damaged_tags_cost_no_image(tmp_path: Path, suffix: str) -> None:
    plain, damaged = tmp_path / f"plain.{suffix}", tmp_path / f"damaged.{suffix}"
    photo().save(plain)
    photo().save(damaged, exif=b"Exif\0\0no tags at all")
    assert np.array_equal(pixels(damaged), pixels(plain))


def test_a_palette_with_transparency_is_read_in_silence(tmp_path: Path) -> None:
    image = photo().quantize(16)
    expected = np.asarray(image.convert("RGB"))
    image.save(tmp_path / "palette.png", transparency=bytes(range(0, 256, 16)))
    assert np.array_equal(pixels(tmp_path / "palette.png"), expected)


@pytest.mark.parametrize(
    ("mode", "suffix"),
    [("1", "png"), ("L", "png"), ("LA", "png"), ("P", "png"), ("RGB", "png"), ("RGBA", "png"),
     ("CMYK", "jpg"), ("RGBA", "webp"), ("LAB", "tif"), ("YCbCr", "tif")],
)  # fmt: skip
def test_other_modes_are_converted_by_pillow(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"image.{suffix}"
    image = Image.new(mode, (56, 40)) if mode == "LAB" else photo().convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.linear_gradient("L").resize((56, 40)))
    image.save(path)
    with Image.open(path) as image:
        try:
            expected = np.asarray(image.convert("RGB"))
        except OSError:
            pytest.skip(f"this Pillow cannot read a .{suffix} of {mode} that it writes")
    assert np.array_equal(pixels(path), expected)
