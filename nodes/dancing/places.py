"""How a song is cut into the parts of a dance, and where pictures of its plan stand in them."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

FPS = 30
_REST_S = 0.2
"""A rest of a song that is no longer makes no part."""


class PartOfDance(NamedTuple):
    """Pictures [F, H, W, C] in their places, black between; mask [F, H, W], 1 where there is one; the sound of it."""

    pictures: Tensor
    mask: Tensor
    sound: Tensor


def parts_of_song(duration_s: float, length: int) -> int:
    """How many parts of so many frames a song has.

    Source: ComfyUI v0.33.0 comfy_extras/nodes_wandancer.py, WanDancerPadKeyframes.
    """
    return int((duration_s - _REST_S) / (length / FPS)) + 1 if duration_s > _REST_S else 0


def places_in_part(count: int, parts: int, length: int, part: int) -> list[tuple[int, int]]:
    """(frame, picture) for the pictures of a part, where `count` of them lie evenly in all parts.

    The last frame of a part has the first picture of the next one.

    Source: ComfyUI v0.33.0 comfy_extras/nodes_wandancer.py, WanDancerPadKeyframes.
    """
    if not count or not parts:
        return []
    apart, last = parts * length / count, length - 1
    own = max(0, math.ceil((last - apart) / apart))  # of each part, without that in its last frame
    places = [*(math.ceil(apart * number) for number in range(own)), last]
    return [(frame, picture) for picture, frame in enumerate(places, own * part) if picture < count]


def part_of_dance(pictures: Tensor, waveform: Tensor, sample_rate: int, length: int, part: int) -> PartOfDance:
    """A part of so many frames of a dance.

    Args:
        pictures: [N, H, W, C], of the plan.
        waveform: [..., samples], of the song.
        part: its number, from 0.
    """
    duration = waveform.shape[-1] / sample_rate
    places = places_in_part(len(pictures), parts_of_song(duration, length), length, part)
    placed = pictures.new_zeros(length, *pictures.shape[1:])
    mask = pictures.new_zeros(length, *pictures.shape[1:3])
    for frame, picture in places:
        placed[frame], mask[frame] = pictures[picture], 1.0
    start = part * length / FPS
    stop = min(start + length / FPS, duration)
    return PartOfDance(placed, mask, waveform[..., int(start * sample_rate) : int(stop * sample_rate)])


def native_part(part: PartOfDance, sample_rate: int) -> tuple[Tensor, Tensor, dict[str, Any]]:
    """As nodes give it: IMAGE, MASK and AUDIO."""
    return part.pictures, part.mask, {"waveform": part.sound, "sample_rate": sample_rate}


def frame_by_frame(vae: Any, samples: Tensor) -> Tensor:
    """A plan [1, C, T, h, w], decoded so that each latent frame is a picture: [T, H, W, 3]."""
    pictures = vae.decode(samples[0].transpose(0, 1).unsqueeze(2))  # [T, 1, H, W, 3]
    return pictures.reshape(-1, *pictures.shape[-3:])


def blank_clip(pictures: Tensor, frames: int) -> Tensor:
    """A clip of so many frames that begins with these pictures [N, H, W, 3] and goes on black."""
    height, width = pictures.shape[1:3]
    return torch.cat([pictures, pictures.new_zeros(frames - len(pictures), height, width, 3)])
