"""Sizes of videos and latents, and the rules that tie them together."""

from __future__ import annotations

from fractions import Fraction
from math import isqrt
from typing import NamedTuple

from torch import Tensor

from .errors import InvalidInputError

TEMPORAL_STRIDE = 4

MIN_SIDE = 32
MAX_SIDE = 8192
MAX_FRAMES = 8193
MAX_BATCH = 64
MAX_LATENT_PIXELS = 2**26
"""Of a whole batch, latent frames times height times width: 45 times a minute of 480p."""


class VideoShape(NamedTuple):
    """Size of a clip in pixels."""

    frames: int
    height: int
    width: int


class PictureSize(NamedTuple):
    """Of a picture, in pixels."""

    width: int
    height: int


class LatentShape(NamedTuple):
    """Size of a latent video; `frames` counts latent frames."""

    channels: int
    frames: int
    height: int
    width: int


def size_text(latent: Tensor) -> str:
    """The size of a latent [B, C, T, h, w] in words; of a batch with its number."""
    batch, channels, frames, height, width = latent.shape
    size = f"{channels} channels, {frames} latent frames of {width} x {height}"
    return size if batch == 1 else f"{batch} videos of {size}"


def latent_frames(frames: int) -> int:
    """Number of latent frames of a clip of `frames` = 1 + 4k frames."""
    check_frames(frames)
    return 1 + (frames - 1) // TEMPORAL_STRIDE


def video_frames(latent_frame_count: int) -> int:
    """Number of video frames that `latent_frame_count` latent frames decode to."""
    return 1 + (latent_frame_count - 1) * TEMPORAL_STRIDE


def check_frames(frames: int) -> None:
    """Refuses a clip length that the causal VAE cannot represent.

    Raises:
        InvalidInputError: `frames` is not 1 + 4k.
    """
    if frames < 1:
        raise InvalidInputError(f"A clip has 1 + 4k frames, got {frames}. Use at least 1.")
    if (frames - 1) % TEMPORAL_STRIDE:
        below = frames - (frames - 1) % TEMPORAL_STRIDE
        raise InvalidInputError(f"A clip has 1 + 4k frames, got {frames}. Use {below} or {below + TEMPORAL_STRIDE}.")


def check_size(width: int, height: int, multiple: int = 16, minimum: int = MIN_SIDE) -> None:
    """Refuses a picture size that the VAE and the transformer's patches cannot tile.

    Raises:
        InvalidInputError: a side is too small or no multiple of `multiple` pixels.
    """
    for name, value in (("width", width), ("height", height)):
        if value < minimum:
            raise InvalidInputError(f"The {name} must be at least {minimum} pixels, got {value}.")
        if value % multiple:
            below = value - value % multiple
            raise InvalidInputError(
                f"The {name} must be a multiple of {multiple} pixels, got {value}. "
                f"Use {max(below, minimum)} or {below + multiple}."
            )


def check_bounds(width: int, height: int, frames: int, batch: int = 1) -> None:
    """Refuses a size that is no whole number, or beyond what any model could ever make.

    Raises:
        InvalidInputError: it is so.
    """
    limits = (
        ("width", width, MAX_SIDE, "pixels", "Make the video smaller, and upscale it afterwards"),
        ("height", height, MAX_SIDE, "pixels", "Make the video smaller, and upscale it afterwards"),
        ("length", frames, MAX_FRAMES, "frames", "Make the video in parts"),
        ("batch_size", batch, MAX_BATCH, "videos", "Make them in several runs"),
    )
    for name, value, most, unit, advice in limits:
        if not isinstance(value, int) or isinstance(value, bool):
            raise InvalidInputError(f"The {name} must be a whole number of {unit}, got {value!r}. Give one.")
        if value > most:
            raise InvalidInputError(f"The {name} must be at most {most} {unit}, got {value}. {advice}.")
    if batch < 1:
        raise InvalidInputError(f"The batch_size must be at least 1, got {batch}. Use 1 to make one video.")
    pixels = batch * (max(frames, 1) // TEMPORAL_STRIDE + 1) * (width // 8) * (height // 8)
    if pixels > MAX_LATENT_PIXELS:
        raise InvalidInputError(
            f"{batch} x {frames} frames of {width} x {height} pixels are {pixels / MAX_LATENT_PIXELS:.1f} times what "
            "any model could sample. Make the video smaller or shorter, or fewer at once."
        )


def size_of_area(picture: PictureSize, area: int, multiple: int = 16) -> PictureSize:
    """The size for a video of about so many pixels in the shape of a picture: each side cut to a multiple by itself.

    Counted in whole numbers: in floating point the rule cuts 832 x 480 in its own area to 832 x 464.

    Source: Wan-Video/Wan2.1 and Wan2.2, wan/image2video.py.

    Raises:
        InvalidInputError: so long a picture that one of the sides would be too small or too large.
    """
    width, height = _sides(picture, area, multiple)
    return _possible(PictureSize(width, height), picture, area)


def nearest_size_of_area(picture: PictureSize, area: int, multiple: int = 32) -> PictureSize:
    """The same, the other side then as large as the area allows: from the width or the height, as is nearer in shape.

    Source: Wan-Video/Wan2.2 wan/utils/utils.py, best_output_size.

    Raises:
        InvalidInputError: see `size_of_area`.
    """
    width, height = _possible(_sides(picture, area, multiple), picture, area)
    from_width = PictureSize(width, area // width // multiple * multiple)
    from_height = PictureSize(area // height // multiple * multiple, height)
    is_nearer = _distortion(picture, from_width) < _distortion(picture, from_height)
    return _possible(from_width if is_nearer else from_height, picture, area)


def _sides(picture: PictureSize, area: int, multiple: int) -> PictureSize:
    width = isqrt(area * picture.width // picture.height)
    height = isqrt(area * picture.height // picture.width)
    return PictureSize(width // multiple * multiple, height // multiple * multiple)


def _distortion(picture: PictureSize, size: PictureSize) -> Fraction:
    """How much longer or shorter a picture becomes by a size, 1 or more."""
    ratio = Fraction(picture.width * size.height, picture.height * size.width)
    return max(ratio, 1 / ratio)


def _possible(size: PictureSize, picture: PictureSize, area: int) -> PictureSize:
    if min(size) < MIN_SIDE or max(size) > MAX_SIDE:
        raise InvalidInputError(
            f"A picture of {picture.width} x {picture.height} pixels would become {size.width} x {size.height} in an "
            f"area of {area} pixels, and sides are {MIN_SIDE} to {MAX_SIDE}. Use a larger area, or cut the picture."
        )
    return size
