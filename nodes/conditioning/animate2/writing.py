"""Poses written into a native CONDITIONING, as ComfyUI's own node for Wan-Animate-2 writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ....common.errors import InvalidInputError
from ....common.shapes import TEMPORAL_STRIDE
from ...sockets.latents import made_by
from ..clip_image import joined_clip_vision
from ..entries import with_values
from ..keys import OnlyOurs
from ..reading import in_form
from .reading import LATENT, OPTIONS_KEY, PICTURE, REFERENCE, STRENGTH, TEXT, PoseOptions


class Percents(NamedTuple):
    """The part of a run, 0..1 of it, in which poses are shown."""

    start: float = 0.0
    end: float = 1.0


class Adherence(NamedTuple):
    """How strongly poses and the reference picture are followed, when, and with which options of our own."""

    strength: float = 1.0
    reference_strength: float = 1.0
    percents: Percents = Percents()
    options: PoseOptions = PoseOptions()


class PromptSides(NamedTuple):
    """Native CONDITIONINGs; `of_poses`: the prompt of the pose video, None for the positive one."""

    positive: list
    negative: list
    of_poses: list | None = None


class ClipPictures(NamedTuple):
    """Outputs of CLIP vision, of the reference picture and of the pose video's first one; None for none.

    Where that of the poses is not there, it is the other one.
    """

    reference: Any = None
    poses: Any = None


class Animated(NamedTuple):
    """What a video is animated by.

    `given`: see `given_values`; `poses`: the raw latent of the pose video, None without one.
    """

    given: dict[str, Any]
    poses: Tensor | None
    followed: Adherence = Adherence()


def animated_sides(prompts: PromptSides, animated: Animated, pictures: ClipPictures) -> tuple[list, list]:
    """Both prompts with all that a video is animated by.

    The pose video's text is the same in both: it never sees a negative one.

    Raises:
        InvalidInputError: what is there is no conditioning, or no output of CLIP vision.
    """
    followed = animated.followed
    values = animated.given | joined_clip_vision(pictures.reference, None)
    if followed.reference_strength != 1.0:
        values |= {REFERENCE: followed.reference_strength}
    (embedding, _), *_ = in_form(prompts.positive if prompts.of_poses is None else prompts.of_poses)
    shown: dict[str, Any] = {TEXT: embedding}
    of_poses = pictures.reference if pictures.poses is None else pictures.poses
    shown |= {} if animated.poses is None else {LATENT: animated.poses}
    shown |= {} if of_poses is None else {PICTURE: of_poses}
    shown |= {} if followed.strength == 1.0 else {STRENGTH: followed.strength}
    first, second = (
        shown_during(with_options(with_values(side, values), options), shown, followed.percents)
        for side, options in (
            (prompts.positive, followed.options._replace(is_weak=False)),
            (prompts.negative, followed.options),
        )
    )
    return first, second


def given_values(vae: Any, reference: Tensor, continued: Tensor | None, frames: int) -> dict[str, Any]:
    """The values of the picture that stands before a video, and of the frames that it begins with.

    Args:
        reference: [1, H, W, 3] in 0..1, of the video's size.
        continued: [n, H, W, 3], the first frames; None for none.
        frames: of the video, 1 + 4k.
    """
    picture = vae.encode(reference)
    clip = torch.full((frames, *reference.shape[1:]), 0.5, dtype=torch.float32, device=reference.device)
    known = picture.shape[2]
    if continued is not None:
        clip[: len(continued)] = continued
        known += -(-(len(continued) - 1) // TEMPORAL_STRIDE) + 1
    latent = torch.cat([picture, vae.encode(clip)], dim=2)
    mask = torch.ones(1, 1, *latent.shape[2:])
    mask[:, :, :known] = 0
    return {"concat_latent_image": latent, "concat_mask": mask} | made_by(vae)


def shown_during(side: list, poses: Mapping[str, Any], percents: Percents) -> list:
    """A native CONDITIONING that shows poses in a part of the run; before and after it, its entries stand without.

    An entry that has a part of its own keeps to it.

    Raises:
        InvalidInputError: the part ends before it begins, or it has bounds that none has.
    """
    if not 0.0 <= percents.start <= percents.end <= 1.0:
        raise InvalidInputError(
            f"Poses are shown from pose_start_percent to pose_end_percent, 0 <= start <= end <= 1, got "
            f"{percents.start:g} and {percents.end:g}. Use 0 and 1 for the whole run."
        )
    if percents == Percents():
        return with_values(side, dict(poses))
    start, end = percents
    ranges: tuple[tuple[float, float, Mapping[str, Any]], ...] = ((start, end, poses), (0.0, start, {}), (end, 1.0, {}))
    return [part for begin, stop, shown in ranges for part in _in_part(side, shown, begin, stop)]


def _in_part(side: list, shown: Mapping[str, Any], start: float, end: float) -> list[list]:
    """The entries of a native CONDITIONING that count in a part of the run, for as long as both do."""
    return [
        [embedding, {**values, **shown, "start_percent": begin, "end_percent": stop}]
        for embedding, values in in_form(side)
        if (begin := max(start, values.get("start_percent", 0.0))) < (stop := min(end, values.get("end_percent", 1.0)))
    ]


def with_options(side: list, options: PoseOptions) -> list:
    """A native CONDITIONING with options that only our sampler follows; as it is where they are usual."""
    if options == PoseOptions():
        return side
    return with_values(side, {OPTIONS_KEY: options, "control": _ONLY_OURS})


_ONLY_OURS = OnlyOurs(
    "first_frame_bias or weak_negative of Wan Animate 2 is set, and only Wan Sampler follows that. Use Wan Sampler (a "
    "native MODEL comes there by Wan From Native), or leave both as they come."
)
