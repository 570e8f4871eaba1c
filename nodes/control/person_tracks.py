"""Tracks of ComfyUI's SAM3 nodes as masks of persons.

A track is {"packed_masks": [F, N, h, w / 8] uint8, a bit for each pixel with the lowest first, or None where nobody was
found, "orig_size": (height, width) of the video, "n_frames": F}; N persons.

Source: ComfyUI v0.33.0, comfy/ldm/sam3/tracker.py, pack_masks, and comfy_extras/nodes_scail.py.
"""

from __future__ import annotations

import re
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.checking import check_string, kind_of
from ...common.errors import InvalidInputError

Sorting = Literal["left to right", "area", "none"]
SORTINGS: tuple[Sorting, ...] = ("left to right", "area", "none")
_ADVICE = "Connect the track_data of a SAM3 video track node, or masks."


class PersonTracks(NamedTuple):
    """Who is where in a video or on pictures: `masks` [F, N, h, w], bool, of any size, for pictures of `size`.

    `size` is height and width.
    """

    masks: Tensor
    size: tuple[int, int]

    def person(self, number: int) -> Tensor:
        """The mask [F, height, width], bool, of one."""
        if self.masks.shape[-2:] == self.size:
            return self.masks[:, number]
        return F.interpolate(self.masks[:, number : number + 1].float(), size=self.size, mode="nearest")[:, 0] > 0.5


def person_tracks(track: Any, name: str) -> PersonTracks:
    """A track as the SAM3 nodes give it.

    Raises:
        InvalidInputError: it is none.
    """
    if not isinstance(track, dict) or "packed_masks" not in track or "orig_size" not in track:
        got = "a table without masks" if isinstance(track, dict) else kind_of(track)
        raise InvalidInputError(f"{name} must be a track of SAM3, got {got}. {_ADVICE}")
    packed, size = track["packed_masks"], tuple(int(side) for side in track["orig_size"])
    if len(size) != 2 or min(size) < 1:
        raise InvalidInputError(f"{name} is of a video of the size {size}. {_ADVICE}")
    height, width = size
    if packed is None:
        frames = int(track.get("n_frames", 1))
        return PersonTracks(torch.zeros(max(1, frames), 0, height, width, dtype=torch.bool), (height, width))
    if not isinstance(packed, Tensor) or packed.ndim != 4 or packed.dtype != torch.uint8 or not len(packed):
        got = f"{packed.dtype} {list(packed.shape)}" if isinstance(packed, Tensor) else kind_of(packed)
        raise InvalidInputError(
            f"The masks of {name} must be bits [frames, persons, height, width / 8] in uint8, got {got}. {_ADVICE}"
        )
    bits = torch.tensor([1 << bit for bit in range(8)], dtype=torch.uint8)
    return PersonTracks((packed.cpu()[..., None] & bits).bool().flatten(-2), (height, width))


def chosen(tracks: PersonTracks, sorting: Sorting, persons: str) -> PersonTracks:
    """Persons in the order in which they get their colours, and of them those that are wanted.

    Who appears earlier comes first; of those who appear together the leftmost, or the largest, by that frame.

    Args:
        persons: numbers of that order from 0 on, such as "0, 2"; empty for all.

    Raises:
        InvalidInputError: it names somebody who is not there.
    """
    masks = tracks.masks
    if sorting != "none" and masks.shape[1]:
        masks = masks[:, _order(masks, sorting)]
    wanted = _numbers(persons)
    if not wanted:
        return tracks._replace(masks=masks)
    missing = [number for number in wanted if number >= masks.shape[1]]
    if missing:
        raise InvalidInputError(
            f"persons names number {missing[0]}, but there are {masks.shape[1]}, counted from 0. Use their numbers, "
            "such as 0, 1, or leave it empty for all."
        )
    return tracks._replace(masks=masks[:, wanted])


def _order(masks: Tensor, sorting: Sorting) -> list[int]:
    keys = []
    for number in range(masks.shape[1]):
        mask = masks[:, number].float()
        areas = mask.sum(dim=(-1, -2))  # [F]
        seen = torch.nonzero(areas)
        first = int(seen[0]) if len(seen) else len(areas)
        area, picture = float(areas[min(first, len(areas) - 1)]), mask[min(first, len(areas) - 1)]
        middle = float((picture.sum(dim=0) * torch.arange(picture.shape[1])).sum()) / max(area, 1.0)
        keys.append((first, middle if sorting == "left to right" else -area))
    return sorted(range(len(keys)), key=lambda number: keys[number])


def _numbers(persons: str) -> list[int]:
    check_string(persons, "persons")
    words = [word for word in re.split(r"[\s,;]+", persons) if word]
    if not all(word.isdecimal() for word in words):
        raise InvalidInputError(
            f"persons must be numbers from 0 on, such as 0, 2, or empty for all, got {persons[:40]!r}."
        )
    return list(dict.fromkeys(int(word) for word in words))
