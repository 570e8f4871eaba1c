"""What a video for SCAIL is prepared of, as native values: references, poses, masks and the frames before it."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...common.checking import check_count, check_number, has_values
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import TEMPORAL_STRIDE, VideoShape, latent_frames
from ...dit.conditioning.characters.scail import colour_channels
from ...media.pictures import Fit, clean_clip, fit_colours, fit_pictures
from ..conditioning.clip_image import joined_clip_vision
from ..conditioning.entries import with_values, with_values_in_range
from ..conditioning.families.scail import ANIMATES, POSE, POSE_MASK, REFERENCE_MASK, REFERENCES, SCAIL_KEYS
from ..conditioning.reading import Side, check_fresh
from ..sockets.latents import check_video_size, check_wan_2_1, empty_latent, family_of, made_by
from .colours import BLACK, WHITE, has_persons

STEP = 32
"""Pixels: half of the video is whole tokens, too."""
USUAL_PREVIOUS = 5
MOST_STRENGTH = 10.0
"""Of the poses."""
IS_SOMEBODY = 0.1
"""Above this a colour of a mask is no black."""


class ScailVideo(NamedTuple):
    """The video to make: its VAE, size, how pictures come to that, and whether it replaces persons of another."""

    vae: Any
    shape: VideoShape
    fit: Fit
    replaces: bool

    @property
    def ground_of_poses(self) -> float:
        """The colour of a mask of poses where nobody is."""
        return WHITE if self.replaces else BLACK

    @property
    def ground_of_references(self) -> float:
        """The same of a mask of references."""
        return BLACK if self.replaces else WHITE

    @property
    def stride(self) -> int:
        """Pixels to a latent pixel."""
        return self.vae.spacial_compression_encode()

    def fitted(self, pictures: Tensor) -> Tensor:
        """Pictures at its size."""
        return fit_pictures(pictures, self.shape.width, self.shape.height, self.fit)

    def fitted_colours(self, masks: Tensor, ground: float) -> Tensor:
        """Coloured masks at its size."""
        return fit_colours(masks, self.shape.width, self.shape.height, self.fit, ground)


class ShownPersons(NamedTuple):
    """Reference pictures, their coloured masks, and the first in CLIP vision, as they came; None for what did not."""

    pictures: Any
    masks: Any
    clip_vision: Any


class FollowedPoses(NamedTuple):
    """A pose video and its coloured masks as they came, how much the poses count, and in which part of the run."""

    pictures: Any
    masks: Any
    strength: float
    start: float
    end: float


class Before(NamedTuple):
    """The frames of the part before as they came, how many of them at most begin this one, and where it begins."""

    frames: Any
    most: int
    offset: int


class Begun(NamedTuple):
    """The latent of a part, and how many of its first frames are those of the part before."""

    latent: dict[str, Any]
    frames: int


def check_size(width: int | None, height: int | None, frames: int | None) -> None:
    """Refuses sizes that SCAIL cannot make; None stands for a value that is not known yet.

    Raises:
        InvalidInputError: a side is no multiple of 32, or see `check_video_size`.
    """
    check_video_size(width, height, frames)
    if any(side is not None and side % STEP for side in (width, height)):
        wide, high = ("?" if side is None else side for side in (width, height))
        raise InvalidInputError(
            f"Width and height of a SCAIL video are multiples of {STEP}, since its poses have half of them; got "
            f"{wide} x {high}. Use 512 x 896, 896 x 512 or another such size."
        )


def prepared(
    video: ScailVideo,
    batch_size: int,
    sides: tuple[list, list],
    shown: ShownPersons,
    followed: FollowedPoses,
    before: Before,
) -> tuple[list, list, dict[str, Any], int]:
    """The positive and negative CONDITIONING and the LATENT of a part of a video, and where the next part begins.

    Raises:
        InvalidInputError: something that cannot be.
    """
    frames, height, width = video.shape
    check_size(width, height, frames)
    positive, negative = sides
    check_fresh(positive, negative, SCAIL_KEYS, "references or poses")
    _check_given(video.vae, followed.pictures, shown.pictures, before.frames)
    _check_pairs(shown, followed)
    check_count(before.offset, "video_frame_offset", "The first part begins at 0.")
    part = _part_of_run(followed)
    started = _begun(video, empty_latent(video.vae, width, height, frames, batch_size), before)
    offset = max(0, before.offset - started.frames)
    values = _references(video, shown) | joined_clip_vision(shown.clip_vision, None)
    moved = _poses(video, followed, offset)
    positive = _conditioned(positive, values, moved, part, "positive")
    negative = _conditioned(negative, values, moved, part, "negative")
    return positive, negative, started.latent, offset + frames


def _check_given(vae: Any, *given: Any) -> None:
    """Refuses nothing at all, and the VAE of TI2V-5B, for which there is no SCAIL.

    Raises:
        InvalidInputError: it is so.
    """
    if all(each is None for each in given):
        raise InvalidInputError(
            "Nothing is given. Connect pose_video and reference_image, or use Wan Empty Latent and a text-to-video "
            "model."
        )
    check_wan_2_1(vae, "SCAIL")


def _check_pairs(shown: ShownPersons, followed: FollowedPoses) -> None:
    """Refuses masks of what is not there, and a strength that is none."""
    if shown.pictures is None and shown.masks is not None:
        raise InvalidInputError(
            "There is a reference_image_mask and no reference_image. Connect the picture it is of, or remove it."
        )
    if followed.pictures is None and followed.masks is not None:
        raise InvalidInputError(
            "There is a pose_video_mask and no pose_video. Connect the video it is of, or remove it."
        )
    check_number(followed.strength, "pose_strength")
    if not 0.0 <= followed.strength <= MOST_STRENGTH:
        raise InvalidInputError(
            f"pose_strength is from 0 to {MOST_STRENGTH:g}, got {followed.strength:g}. 1 is as trained."
        )


def _references(video: ScailVideo, shown: ShownPersons) -> dict[str, Any]:
    """The values of reference pictures, the first of which is the main one, and of the mode."""
    found: dict[str, Any] = {ANIMATES: not video.replaces} | made_by(video.vae)
    if shown.pictures is None:
        return found
    clip = video.fitted(clean_clip(shown.pictures, "reference_image"))
    if shown.masks is not None:
        masks = _as_many(clean_clip(shown.masks, "reference_image_mask"), len(clip))
        masks = video.fitted_colours(masks, video.ground_of_references)
        if video.replaces:
            clip = clip * (masks.amax(dim=-1, keepdim=True) > IS_SOMEBODY)
        found[REFERENCE_MASK] = reference_channels(masks, latent_frames(video.shape.frames), video.stride)
        _tell_of_nobody(masks, "reference_image_mask")
    # One by one: together they would be a video.
    return {**found, REFERENCES: [video.vae.encode(clip[index : index + 1]) for index in range(len(clip))]}


def _poses(video: ScailVideo, followed: FollowedPoses, offset: int) -> dict[str, Any]:
    """The values of poses and of their mask from a frame on; none without, or where they have ended before."""
    if followed.pictures is None:
        return {}
    clip = clean_clip(followed.pictures, "pose_video")
    masks = None if followed.masks is None else clean_clip(followed.masks, "pose_video_mask")
    if masks is None and video.replaces:
        logger.warning("replacement_mode is on without a pose_video_mask: SCAIL-2 cannot tell whose place to take.")
    count = _common_length(clip, masks) - offset
    if count <= 0:
        logger.warning("pose_video has ended at frame %d, before this part of the video begins.", offset)
        return {}
    if count < video.shape.frames:
        logger.info("The poses end after %d of %d frames; what comes after is made freely.", count, video.shape.frames)
    stop = offset + min(count, video.shape.frames)
    half = _half(video.fitted(_whole(clip[offset:stop])))
    found: dict[str, Any] = {POSE: video.vae.encode(half) * followed.strength}
    if masks is not None:
        colours = _half(video.fitted_colours(_whole(masks[offset:stop]), video.ground_of_poses))
        found[POSE_MASK] = mask_channels(colours, video.stride)
        _tell_of_nobody(colours, "pose_video_mask")
    return found


def _begun(video: ScailVideo, latent: dict[str, Any], before: Before) -> Begun:
    """The latent that begins with the last frames of the part before."""
    if before.frames is None:
        return Begun(latent, 0)
    clip, frames = clean_clip(before.frames, "previous_frames"), video.shape.frames
    check_number(before.most, "previous_frame_count")
    used = min(before.most, len(clip))
    if used < 1 or used % TEMPORAL_STRIDE != 1 or used >= frames:
        raise InvalidInputError(
            f"A part begins with 1 + 4k frames of the part before, fewer than its own {frames}; got {used} "
            f"(previous_frame_count {before.most}, previous_frames {len(clip)}). Use {USUAL_PREVIOUS}, on which "
            "SCAIL-2 was trained."
        )
    encoded = video.vae.encode(video.fitted(clip[-used:]))
    blank = latent["samples"]
    samples = family_of(video.vae).denormalize(torch.zeros_like(blank))  # see `keyframes.given_in_latent`
    samples[:, :, : encoded.shape[2]] = encoded
    mask = torch.ones_like(blank[:1, :1])
    mask[:, :, : encoded.shape[2]] = 0
    return Begun({**latent, "samples": samples, "noise_mask": mask}, used)


def _part_of_run(followed: FollowedPoses) -> tuple[float, float]:
    """The part of the run in which poses count."""
    for value, name in ((followed.start, "pose_start_percent"), (followed.end, "pose_end_percent")):
        check_number(value, name)
    if followed.start < 0.0 or followed.end > 1.0:
        raise InvalidInputError(
            f"pose_start_percent and pose_end_percent are parts of the run from 0 to 1, got {followed.start:g} and "
            f"{followed.end:g}. Use 0 and 1 for the whole run."
        )
    if followed.start >= followed.end:
        raise InvalidInputError(
            f"The poses would count from {followed.start:g} to {followed.end:g} of the run, which is nowhere. Set "
            "pose_end_percent above pose_start_percent, or leave pose_video out."
        )
    return followed.start, followed.end


def _conditioned(
    conditioning: list, values: dict[str, Any], moved: dict[str, Any], part: tuple[float, float], side: Side
) -> list:
    """A native CONDITIONING with all of a video; the poses count in their part of the run, their mask in all of it.

    Args:
        values: of references, the mode and features of CLIP.
        moved: of `_poses`.
        part: see `_part_of_run`.

    """
    always = {key: value for key, value in moved.items() if key != POSE}
    conditioning = with_values(conditioning, values | always, side)
    return with_values_in_range(conditioning, {POSE: moved[POSE]}, *part, side) if POSE in moved else conditioning


def _common_length(clip: Tensor, masks: Tensor | None) -> int:
    if masks is None or len(masks) == len(clip):
        return len(clip)
    logger.warning(
        "pose_video has %d frames and pose_video_mask %d; the first %d of both are used.",
        len(clip), len(masks), min(len(clip), len(masks)),
    )  # fmt: skip
    return min(len(clip), len(masks))


def _whole(clip: Tensor) -> Tensor:
    """Whole latent frames: the last picture stands still to the end of its own."""
    return torch.cat([clip, clip[-1:].expand(-(len(clip) - 1) % TEMPORAL_STRIDE, -1, -1, -1)])


def _half(pictures: Tensor) -> Tensor:
    """Pictures [F, H, W, C] of even sides at half of both, each pixel the mean of four."""
    return torch.nn.functional.avg_pool2d(pictures.movedim(-1, 1), 2).movedim(1, -1)


def _as_many(masks: Tensor, count: int) -> Tensor:
    """A mask for each of so many pictures; the last one serves those that have none."""
    if len(masks) > count:
        logger.info("reference_image_mask has %d pictures; the first %d are used.", len(masks), count)
    return torch.cat([masks[:count], masks[-1:].expand(max(0, count - len(masks)), -1, -1, -1)])


def reference_channels(masks: Tensor, frames: int, stride: int) -> Tensor:
    """Masks [N, H, W, 3] of references, the main one's last, and zeros for T latent frames: [1, N + T, 28, h, w]."""
    ordered = torch.cat([masks[1:], masks[:1]])
    each = torch.cat([mask_channels(ordered[index : index + 1], stride) for index in range(len(ordered))], dim=1)
    return torch.cat([each, each.new_zeros(1, frames, *each.shape[2:])], dim=1)


def mask_channels(masks: Tensor, stride: int) -> Tensor:
    """Coloured masks [F, H, W, 3] as native nodes write them: [1, T, 28, h, w], `stride` pixels to a latent pixel."""
    rows, columns = (-(-side // stride) for side in masks.shape[1:3])
    return colour_channels(masks, rows, columns).movedim(1, 2)


def _tell_of_nobody(masks: Tensor, name: str) -> None:
    """Warns of masks without a person, such as white ones on black."""
    if has_values(masks) and not has_persons(masks):
        logger.warning(
            "%s has none of the colours of persons (blue, red, green, magenta, cyan, yellow), so that it shows nobody. "
            "Make it with Wan Coloured Masks.", name,
        )  # fmt: skip
