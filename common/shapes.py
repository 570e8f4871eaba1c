"""Sizes of videos and latents, and the rules that tie them together."""

from __future__ import annotations

from typing import NamedTuple

from .errors import InvalidInputError

TEMPORAL_STRIDE = 4


class VideoShape(NamedTuple):
    """Size of a clip in pixels."""

    frames: int
    height: int
    width: int


class LatentShape(NamedTuple):
    """Size of a latent video; `frames` counts latent frames."""

    channels: int
    frames: int
    height: int
    width: int


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


def check_size(width: int, height: int, multiple: int = 16, minimum: int = 32) -> None:
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
