"""Checking IMAGE inputs, and bringing pictures to the video's size.

An IMAGE is [F, H, W, C], float, in 0..1, with one (grey), three or four channels (the fourth is opacity).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.checking import has_values, is_finite, tensor_of
from ..common.errors import InvalidInputError
from ..common.log import logger
from ..common.shapes import PictureSize

Fit = Literal["crop", "pad", "stretch"]
FITS: tuple[Fit, ...] = ("crop", "pad", "stretch")


def clean_clip(images: Tensor, name: str, ground: float | None = 0.0) -> Tensor:
    """Pictures as [F, H, W, 3], float32, in 0..1: grey is expanded, transparent parts lie over a ground.

    Args:
        images: an IMAGE.
        name: the input, for messages.
        ground: 0 black, 1 white; None leaves pictures of four channels as they are: [F, H, W, 4].

    Raises:
        InvalidInputError: no pictures, an unknown number of channels, or values that are NaN or infinite.
    """
    images = tensor_of(images, name, "pictures [frames, height, width, channels]", "Connect an image.")
    if images.ndim != 4 or 0 in images.shape:
        raise InvalidInputError(
            f"{name} must be pictures [frames, height, width, channels], got {list(images.shape)}. Connect an image."
        )
    images = images.detach().cpu().float()
    return _rgb(_in_range(images, name) if has_values(images) else images, name, ground)


def clean_image(image: Tensor, name: str) -> Tensor:
    """As `clean_clip`, for one picture [1, H, W, 3]; of several the first is used, and the log says so."""
    image = tensor_of(image, name, "pictures [frames, height, width, channels]", "Connect an image.")
    if image.ndim == 4 and len(image) > 1:
        logger.info("%s holds %d pictures; the first is used.", name, len(image))
    return clean_clip(image[:1], name)


def clean_masks(masks: Tensor, name: str) -> Tensor:
    """A MASK [F, H, W] or [H, W] as pictures [F, H, W, 1], float32, in 0..1.

    Raises:
        InvalidInputError: it is none, or holds NaN or infinity.
    """
    masks = tensor_of(masks, name, "masks [frames, height, width]", "Connect a mask.")
    masks = masks[None] if masks.ndim == 2 else masks
    if masks.ndim != 3 or 0 in masks.shape or not is_finite(masks):
        raise InvalidInputError(
            f"{name} must be masks [frames, height, width] of finite numbers, got {list(masks.shape)}. Connect a mask."
        )
    masks = masks.detach().cpu().float().unsqueeze(-1)
    low, high = (float(masks.min()), float(masks.max())) if has_values(masks) else (0.0, 1.0)
    if low < 0 or high > 1:
        logger.info("%s has values from %.3g to %.3g; they are cut to 0..1.", name, low, high)
    return masks.clamp(0, 1)


def fit_pictures(pictures: Tensor, width: int, height: int, fit: Fit, bars: float = 0.0) -> Tensor:
    """Pictures [F, H, W, C] at another size: [F, height, width, C].

    crop cuts the centred part that has the new shape, pad resizes the whole picture and adds bars (0 black, 1 white),
    stretch distorts. Resizing is bicubic and antialiased, in float32; overshoot is cut to 0..1. Pictures that already
    have the size are returned as they are.
    """
    return _fit(pictures, PictureSize(width, height), fit, bars, _resize)


def fit_colours(masks: Tensor, width: int, height: int, fit: Fit, ground: float = 0.0) -> Tensor:
    """As `fit_pictures`, for masks in plain colours: each pixel has that of the nearest one, and bars the ground's."""
    return _fit(masks, PictureSize(width, height), fit, ground, _nearest)


def _fit(
    pictures: Tensor, size: PictureSize, fit: Fit, bars: float, resize: Callable[[Tensor, int, int], Tensor]
) -> Tensor:
    width, height = size
    have_height, have_width = pictures.shape[1:3]
    if (have_width, have_height) == (width, height):
        return pictures
    if fit == "crop":
        cut_width = min(have_width, max(1, round(have_height * width / height)))
        cut_height = min(have_height, max(1, round(have_width * height / width)))
        top, left = (have_height - cut_height) // 2, (have_width - cut_width) // 2
        pictures = pictures[:, top : top + cut_height, left : left + cut_width]
    if fit != "pad":
        return resize(pictures, width, height)
    scale = min(width / have_width, height / have_height)
    inner_width, inner_height = max(1, round(have_width * scale)), max(1, round(have_height * scale))
    top, left = (height - inner_height) // 2, (width - inner_width) // 2
    inner = resize(pictures, inner_width, inner_height)
    return F.pad(inner, (0, 0, left, width - inner_width - left, top, height - inner_height - top), value=bars)


def cut_share(have: PictureSize, size: PictureSize) -> float:
    """Which part of a picture crop cuts off to bring it to another size: 0..1."""
    ratio = have.width * size.height / (have.height * size.width)
    return 1 - min(ratio, 1 / ratio)


def _in_range(images: Tensor, name: str) -> Tensor:
    bad = int((~torch.isfinite(images)).sum())
    if bad:
        raise InvalidInputError(
            f"{name} holds {bad} values that are NaN or infinite, where a picture has values from 0 to 1. Check the "
            "node that made it."
        )
    low, high = float(images.min()), float(images.max())
    if low >= 0 and high <= 1:
        return images
    logger.info("%s has values from %.3g to %.3g; they are cut to 0..1.", name, low, high)
    return images.clamp(0, 1)


def _resize(pictures: Tensor, width: int, height: int) -> Tensor:
    if pictures.shape[1:3] == (height, width):
        return pictures
    resized = F.interpolate(pictures.movedim(-1, 1), (height, width), mode="bicubic", antialias=True)
    return resized.clamp(0, 1).movedim(1, -1)


def _nearest(pictures: Tensor, width: int, height: int) -> Tensor:
    if pictures.shape[1:3] == (height, width):
        return pictures
    return F.interpolate(pictures.movedim(-1, 1), (height, width), mode="nearest-exact").movedim(1, -1)


def _rgb(images: Tensor, name: str, ground: float | None) -> Tensor:
    channels = images.shape[-1]
    if channels == 3 or (channels == 4 and ground is None):
        return images
    if channels == 1:
        return images.expand(-1, -1, -1, 3)
    if channels == 4:
        opacity = images[..., 3:]
        if has_values(opacity) and bool((opacity < 1).any()):
            logger.info("%s has transparent parts; they lie over %s.", name, "white" if ground else "black")
        over = images[..., :3] * opacity
        return over + ground * (1 - opacity) if ground else over
    raise InvalidInputError(f"{name} has {channels} channels; a picture has 1 (grey), 3 (RGB) or 4 (RGBA).")


def to_bytes(picture: Tensor) -> np.ndarray:
    """A picture [H, W, C] in 0..1 in 8 bits, as files have it."""
    return np.ascontiguousarray((picture.numpy() * 255).round().astype(np.uint8))


def from_bytes(pixels: np.ndarray) -> Tensor:
    """A picture of 8 bits in 0..1, float32; `to_bytes` gives the same bits again."""
    return torch.from_numpy(pixels.astype(np.float32)) / 255
