"""Persons painted into masks of SCAIL-2, each in a colour of its own."""

from __future__ import annotations

from typing import Any, NamedTuple

from torch import Tensor

from ...common.checking import has_values, is_finite, tensor_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...media.pictures import clean_clip
from .colours import WHITE, colours_in, ground_picture, next_colour, painted
from .person_tracks import PersonTracks, Sorting, chosen, person_tracks

NEXT = "next"
"""The first colour that nobody has yet."""


class PersonsIn(NamedTuple):
    """What is known of a video or of pictures: what is painted already, and who is to be; None for what did not come.

    `name`: of its inputs; `ground`: where nobody is.
    """

    name: str
    ground: float
    pictures: Any
    mask: Any
    tracks: Any

    @property
    def is_empty(self) -> bool:
        """Whether nothing came."""
        return self.pictures is None and self.mask is None and self.tracks is None


def coloured(shown: tuple[PersonsIn, PersonsIn], colour: str, sorting: Sorting, persons: str) -> list[Tensor]:
    """The coloured masks [F, H, W, 3] of a video and of pictures; one without anybody where nothing is known.

    Raises:
        InvalidInputError: nothing is given, something that cannot be, or more persons than colours.
    """
    if all(each.is_empty for each in shown):
        raise InvalidInputError(
            "Nobody is given. Connect pose_mask and reference_mask, or tracks of SAM3 for the video and the pictures."
        )
    if persons.strip() and all(each.tracks is None for each in shown):
        raise InvalidInputError(
            f"persons says who of tracks is taken ({persons.strip()[:40]!r}), and no tracks are connected. Connect "
            "tracks of SAM3, or leave it empty."
        )
    started = [_painted_before(each) for each in shown]
    used = [name for pictures in started if pictures is not None for name in _known_colours(pictures)]
    found = [_tracked(each, sorting, persons) for each in shown]
    count = max((each.masks.shape[1] for each in found if each is not None), default=0)
    _tell_of_surplus(found)
    of_tracks: list[str] = []
    for _ in range(count):
        of_tracks.append(next_colour([*used, *of_tracks]))
    masks = [_single_mask(each) for each in shown]
    has_single = any(mask is not None for mask in masks)
    own = next_colour([*used, *of_tracks]) if has_single and colour == NEXT else colour
    results: list[Tensor | None] = []
    for each, before, tracks, mask in zip(shown, started, found, masks):
        pictures = _with_tracks(each, before, tracks, of_tracks)
        results.append(pictures if mask is None else _with_mask(each, pictures, mask, own))
    height, width = next(pictures.shape for pictures in results if pictures is not None)[1:3]
    return [
        ground_picture(1, height, width, each.ground) if pictures is None else pictures
        for each, pictures in zip(shown, results)
    ]


def _tell_of_surplus(found: list[PersonTracks | None]) -> None:
    """Warns of persons who are in the video alone or on the pictures alone, where there are tracks of both."""
    if any(each is None for each in found):
        return
    moving, shown = (each.masks.shape[1] for each in found if each is not None)
    if moving != shown:
        more, fewer = ("tracks", "reference_tracks") if moving > shown else ("reference_tracks", "tracks")
        logger.warning(
            "tracks have %d persons and reference_tracks %d, in the order of sort_by: the last %d of %s have nobody in "
            "%s. Choose who is taken with persons, or track as many in both.",
            moving, shown, abs(moving - shown), more, fewer,
        )  # fmt: skip


def _painted_before(shown: PersonsIn) -> Tensor | None:
    if shown.pictures is None:
        return None
    name = "pose_video_mask" if shown.name == "pose" else "reference_image_mask"
    pictures = clean_clip(shown.pictures, name)
    if has_values(pictures) and _shows(pictures, 1 - shown.ground) and not _shows(pictures, shown.ground):
        wanted, other = ("white", "black") if shown.ground == WHITE else ("black", "white")
        raise InvalidInputError(
            f"{name} has a {other} ground, and with this replacement_mode it is {wanted}. Set replacement_mode alike "
            "in all Wan Coloured Masks."
        )
    return pictures


def _shows(pictures: Tensor, ground: float) -> bool:
    return bool((pictures == ground).all(dim=-1).any())


def _known_colours(pictures: Tensor) -> list[str]:
    return colours_in(pictures) if has_values(pictures) else []


def _tracked(shown: PersonsIn, sorting: Sorting, persons: str) -> PersonTracks | None:
    if shown.tracks is None:
        return None
    name = "tracks" if shown.name == "pose" else "reference_tracks"
    return chosen(person_tracks(shown.tracks, name), sorting, persons)


def _single_mask(shown: PersonsIn) -> Tensor | None:
    """The mask of one person [F, H, W], bool."""
    if shown.mask is None:
        return None
    name, advice = f"{shown.name}_mask", "Connect a MASK, one for each frame or picture."
    mask = tensor_of(shown.mask, name, "a mask [frames, height, width]", advice).detach().cpu().float()
    if not 2 <= mask.ndim <= 3 or 0 in mask.shape:
        raise InvalidInputError(f"{name} must be a mask [frames, height, width], got {list(mask.shape)}. {advice}")
    if not is_finite(mask):
        raise InvalidInputError(f"{name} holds NaN or infinity, which is neither inside nor outside. {advice}")
    return mask.reshape(-1, *mask.shape[-2:]) > 0.5


def _with_tracks(
    shown: PersonsIn, pictures: Tensor | None, tracks: PersonTracks | None, colours: list[str]
) -> Tensor | None:
    if tracks is None:
        return pictures
    frames, persons = tracks.masks.shape[:2]
    if pictures is None:
        pictures = ground_picture(frames, *tracks.size, shown.ground)
    _check_alike(shown, pictures, (frames, *tracks.size))
    for number in range(persons):
        pictures = painted(pictures, tracks.person(number), colours[number], shown.ground)
    return pictures


def _with_mask(shown: PersonsIn, pictures: Tensor | None, mask: Tensor, colour: str) -> Tensor:
    frames, height, width = mask.shape
    before = ground_picture(frames, height, width, shown.ground) if pictures is None else pictures
    if frames > 1 and len(before) == 1:
        before = before.expand(frames, -1, -1, -1)
    _check_alike(shown, before, (len(before) if frames == 1 else frames, height, width))
    return painted(before, mask.expand(len(before), -1, -1), colour, shown.ground)


def _check_alike(shown: PersonsIn, pictures: Tensor, size: tuple[int, int, int]) -> None:
    if tuple(pictures.shape[:3]) != size:
        have, own = (f"{frames} of {width} x {height}" for frames, height, width in (pictures.shape[:3], size))
        raise InvalidInputError(
            f"The masks of the {shown.name} do not go together: {have} pixels are painted already, and this person has "
            f"{own}. Make all from the same video or pictures."
        )
