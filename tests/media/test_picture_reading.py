"""Pictures of every kind of number give their pixels in 0..1; what is none is refused in one sentence."""

from __future__ import annotations

import logging
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from wan_director.common.errors import InvalidInputError, MissingFileError, OutOfMemory
from wan_director.media import picture_reading
from wan_director.media.picture_reading import check_pictures, read_pictures

RAMP = np.linspace(0, 1, 24).reshape(4, 6)


def saved(path: Path, numbers: np.ndarray, **options) -> Path:
    Image.fromarray(numbers).save(path, **options)
    return path


def png(path: Path, colour_type: int, pixels: bytes, size: tuple[int, int], *chunks: tuple[bytes, bytes]) -> Path:
    """A PNG of 16 bits per channel, written by hand, as Pillow writes only some of them."""
    width, height = size
    row = len(pixels) // height
    lines = b"".join(b"\0" + pixels[row * y : row * (y + 1)] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IDAT", zlib.compress(lines)), (b"IEND", b"")]
    data = b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    return path


def grey(path: Path) -> np.ndarray:
    pixels, opacity = read_pictures(path)
    assert pixels.dtype == torch.float32 and pixels.shape == (1, 4, 6, 3) and opacity is None
    assert torch.equal(pixels[..., 0], pixels[..., 1]) and torch.equal(pixels[..., 0], pixels[..., 2])
    return pixels[0, ..., 0].numpy()


def test_a_16_bit_png_is_scaled_by_its_largest_number(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "wan_director"):
        read = grey(saved(tmp_path / "depth.png", (RAMP * 65535).astype(np.uint16)))
    assert np.abs(read - RAMP).max() < 1 / 65535
    assert "depth.png: its numbers from 0 to 65535 become 0 to 1" in caplog.text


def test_a_16_bit_png_opened_as_32_bit_numbers_is_scaled_the_same(tmp_path):
    """As Pillow did before 11.3."""
    picture = Image.fromarray((RAMP * 65535).astype(np.int32))
    read, _ = picture_reading._deep(picture, tmp_path / "depth.png")
    assert np.abs(read.numpy() - RAMP).max() < 1 / 65535


@pytest.mark.parametrize(
    ("kind", "largest"),
    [(np.uint16, 2**16 - 1), (">u2", 2**16 - 1), (np.int32, 2**31 - 1)],
    ids=["16 bit", "16 bit, big-endian", "32 bit, signed"],
)
def test_whole_numbers_of_a_tiff_are_scaled_by_the_largest_of_their_kind(tmp_path, kind, largest):
    read = grey(saved(tmp_path / "x.tif", (RAMP * largest).astype(kind)))
    assert np.abs(read - RAMP).max() < 2 / 65535


def test_unsigned_32_bit_numbers_reach_beyond_the_signed_ones(tmp_path):
    # Pillow writes signed ones only: the same bytes, with another mark.
    signed, unsigned = (struct.pack("<HHIHH", 339, 3, 1, mark, 0) for mark in (2, 1))
    numbers = (RAMP * (2**32 - 1)).astype(np.uint32)
    path = saved(tmp_path / "x.tif", numbers.view(np.int32))
    assert path.read_bytes().count(signed) == 1
    path.write_bytes(path.read_bytes().replace(signed, unsigned))
    assert np.abs(grey(path) - RAMP).max() < 2 / 65535


def test_floats_in_0_to_1_are_taken_as_they_are(tmp_path):
    assert np.abs(grey(saved(tmp_path / "x.tif", RAMP.astype(np.float32))) - RAMP).max() < 1e-7


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (np.nan, r"x.tif holds 1 numbers that are NaN or infinite, where .* Save it again without them"),
        (np.inf, "NaN or infinite"),
        (3.5, r"x.tif holds floating point numbers from 0 to 3.5, where .* 0 to 1. Scale it"),
        (-1.0, "from -1 to 1"),
    ],
)
def test_floats_that_are_no_picture_are_refused(tmp_path, number, words):
    numbers = RAMP.astype(np.float32)
    numbers[1, 1] = number
    with pytest.raises(InvalidInputError, match=words):
        read_pictures(saved(tmp_path / "x.tif", numbers))


def test_negative_whole_numbers_are_refused(tmp_path):
    with pytest.raises(InvalidInputError, match=r"whole numbers from -7 to 9, where a picture has none below 0. Scale"):
        read_pictures(saved(tmp_path / "x.tif", np.array([[-7, 9]], np.int32)))


@pytest.mark.parametrize(
    ("mode", "colour", "expected", "opacity"),
    [
        ("1", 1, (1, 1, 1), None),
        ("L", 51, (0.2, 0.2, 0.2), None),
        ("LA", (51, 102), (0.2, 0.2, 0.2), 0.4),
        ("RGB", (51, 0, 255), (0.2, 0, 1), None),
        ("RGBA", (51, 0, 255, 102), (0.2, 0, 1), 0.4),
        ("CMYK", (204, 255, 0, 0), (0.2, 0, 1), None),
        ("YCbCr", (51, 128, 128), (0.2, 0.2, 0.2), None),
    ],
)
def test_every_mode_gives_its_colours(tmp_path, mode, colour, expected, opacity):
    path = tmp_path / "x.tif"
    Image.new(mode, (6, 4), colour).save(path)
    pixels, read_opacity = read_pictures(path)
    assert pixels.shape == (1, 4, 6, 3) and pixels[0, 2, 3].tolist() == pytest.approx(expected, abs=0.005)
    assert read_opacity is None if opacity is None else read_opacity[0, 2, 3].item() == pytest.approx(opacity)


@pytest.mark.parametrize("mark", [1, b"\xff\x66"], ids=["one colour", "each colour"])
def test_a_palette_with_transparency_gives_both(tmp_path, mark):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 255, 0])
    picture.putdata([0, 1])
    picture.save(tmp_path / "x.png", transparency=mark)
    pixels, opacity = read_pictures(tmp_path / "x.png")
    assert pixels[0, 0].tolist() == [[1, 0, 0], [0, 1, 0]]
    assert opacity[0, 0].tolist() == pytest.approx([1, 0 if mark == 1 else 0.4])


def test_a_palette_with_an_opacity_channel_gives_both():
    picture = Image.new("PA", (1, 1), (0, 102))
    picture.putpalette([255, 0, 0])
    frame = picture_reading._Frame.of(picture, Path("x.tif"))
    assert frame.pixels.tolist() == [[[1, 0, 0]]] and frame.opacity.item() == pytest.approx(0.4)


def test_16_bit_opacity_is_read(tmp_path):
    pixels = np.array([[[0x3333, 0x6666], [0xFFFF, 0xFFFF]]], ">u2").tobytes()
    read, opacity = read_pictures(png(tmp_path / "la.png", 4, pixels, (2, 1)))
    assert read[0, 0, :, 0].tolist() == pytest.approx([0.2, 1]) and opacity[0, 0].tolist() == pytest.approx([0.4, 1])
    pixels = np.array([[[0x3333, 0, 0xFFFF, 0x6666]]], ">u2").tobytes()
    read, opacity = read_pictures(png(tmp_path / "rgba.png", 6, pixels, (1, 1)))
    assert read[0, 0, 0].tolist() == pytest.approx([0.2, 0, 1]) and opacity.item() == pytest.approx(0.4)


def test_the_transparent_number_of_a_16_bit_png_is_read(tmp_path):
    pixels = np.array([[1000, 0xFFFF]], ">u2").tobytes()
    path = png(tmp_path / "x.png", 0, pixels, (2, 1), (b"tRNS", struct.pack(">H", 1000)))
    read, opacity = read_pictures(path)
    assert read[0, 0, :, 0].tolist() == pytest.approx([1000 / 65535, 1]) and opacity[0, 0].tolist() == [0, 1]


def test_of_two_eyes_the_first_is_read(tmp_path):
    left, right = (Image.new("RGB", (6, 4), colour) for colour in ("red", "blue"))
    left.save(tmp_path / "x.jpg", format="MPO", save_all=True, append_images=[right])
    pixels, _ = read_pictures(tmp_path / "x.jpg")
    assert pixels.shape == (1, 4, 6, 3) and pixels[0, 0, 0].tolist() == pytest.approx([1, 0, 0], abs=0.02)


def test_a_deep_picture_is_turned_as_the_camera_says(tmp_path):
    picture = Image.fromarray((RAMP * 65535).astype(np.uint16))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "x.png", exif=exif)
    pixels, _ = read_pictures(tmp_path / "x.png")
    assert np.abs(pixels[0, ..., 0].numpy() - np.rot90(RAMP, -1)).max() < 1e-4


def test_pages_of_another_size_are_left_out_with_a_note(tmp_path, caplog):
    pages = [Image.new("L", size) for size in ((6, 4), (3, 2), (6, 4))]
    pages[0].save(tmp_path / "x.tif", save_all=True, append_images=pages[1:])
    with caplog.at_level(logging.INFO, "wan_director"):
        assert len(read_pictures(tmp_path / "x.tif").pixels) == 2
    assert "x.tif: 1 of 3 pictures have another size than the first; they are left out" in caplog.text


def test_a_picture_that_claims_too_many_pixels_is_refused(tmp_path):
    path = png(tmp_path / "x.png", 0, b"\0\0", (1, 1))
    data = path.read_bytes()
    header = b"IHDR" + struct.pack(">IIBBBBB", 20_000, 20_000, 16, 0, 0, 0, 0)
    path.write_bytes(data[:12] + header + struct.pack(">I", zlib.crc32(header)) + data[33:])
    with pytest.raises(InvalidInputError, match=r"x.png has more than the 179 million pixels .* Make it smaller"):
        check_pictures(path)


def test_a_compressed_text_bomb_is_refused(tmp_path):
    bomb = b"Comment\0\0" + zlib.compress(bytes(20_000_000))
    path = png(tmp_path / "x.png", 0, b"\0\0", (1, 1), (b"zTXt", bomb))
    with pytest.raises(InvalidInputError, match=r"x.png cannot be read as a picture: it carries more text .* metadata"):
        check_pictures(path)


@pytest.mark.parametrize("ending", ["gif", "png", "webp", "tif", "jpg"])
def test_a_file_that_is_cut_off_anywhere_is_one_sentence_or_a_picture(tmp_path, ending):
    noise = np.random.default_rng(0).integers(0, 255, (3, 20, 20, 3), np.uint8)
    frames = [Image.fromarray(each) for each in noise]
    path = tmp_path / f"x.{ending}"
    several = {} if ending == "jpg" else {"save_all": True, "append_images": frames[1:]}
    frames[0].save(path, **several)
    data = path.read_bytes()
    refused = 0
    for length in range(1, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:length])
        try:
            read_pictures(path)
        except InvalidInputError as error:
            refused += 1
            assert "cannot be read as a picture" in str(error)
    assert refused > 10


def test_frames_that_would_not_fit_into_ram_are_refused_before_they_are_read(tmp_path, monkeypatch):
    frames = [Image.new("L", (64, 64), shade) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    monkeypatch.setattr("wan_director.common.memory.free_ram.free_ram_bytes", lambda: 3 * 64 * 64 * 12 - 1)
    with pytest.raises(OutOfMemory, match=r"The 3 pictures of x.gif take 0.0 GB of RAM, and .* free. Use a smaller"):
        read_pictures(tmp_path / "x.gif")


def test_what_is_no_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"There is no picture file .*nowhere.png. Check the name"):
        read_pictures(tmp_path / "nowhere.png")
    with pytest.raises(InvalidInputError, match="cannot be opened: "):
        read_pictures(tmp_path)
