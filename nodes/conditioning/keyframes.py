"""Given frames: pictures at places of a video, as native conditioning values, inside a latent, or for the model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...common.errors import InvalidInputError, PairingError
from ...common.shapes import TEMPORAL_STRIDE, VideoShape
from ...dit.conditioning.start_image import KeyframeImages, keyframe_mask, keyframe_video
from ..models import WanModel
from ..pictures import Fit, clean_clip, fit_pictures
from ..sockets import family_of, made_by, size_text


@dataclass(frozen=True, slots=True, eq=False)
class Keyframe:
    """A picture [1, H, W, 3] in 0..1 at a frame; negative frames count from the end."""

    frame: int
    image: Tensor


def given_frames(
    frames: int, start_image: Tensor | None, end_image: Tensor | None, keyframes: tuple[Keyframe, ...]
) -> dict[int, Tensor]:
    """Which frames of a video are given: frame 0..frames-1 -> [1, H, W, 3] in 0..1.

    Raises:
        InvalidInputError: a frame outside the video or given twice, more pictures than frames, or a bad picture.
    """
    pairs: list[tuple[int, Tensor]] = []
    if start_image is not None:
        clip = _clip_of_at_most(frames, start_image, "start_image")
        pairs += [(index, clip[index : index + 1]) for index in range(len(clip))]
    if end_image is not None:
        clip = _clip_of_at_most(frames, end_image, "end_image")
        pairs += [(frames - len(clip) + index, clip[index : index + 1]) for index in range(len(clip))]
    for keyframe in keyframes:
        if not -frames <= keyframe.frame < frames:
            raise InvalidInputError(
                f"A keyframe stands at frame {keyframe.frame}, but the video has {frames} frames. Use 0 to "
                f"{frames - 1}, or -1 to -{frames} to count from the end."
            )
        pairs.append((keyframe.frame % frames, keyframe.image))
    given = dict(pairs)
    if len(given) < len(pairs):
        positions = [index for index, _ in pairs]
        twice = sorted({index for index in positions if positions.count(index) > 1})
        raise InvalidInputError(
            f"Frame {twice[0]} is given {positions.count(twice[0])} times. Give one picture for each frame, counting "
            "start_image, end_image and keyframes."
        )
    return given


def keyframe_values(vae: Any, given: dict[int, Tensor], shape: VideoShape, fit: Fit) -> dict[str, Any]:
    """The conditioning values of given frames (see `given_frames`); none when nothing is given."""
    if not given:
        return {}
    pictures = {index: fit_pictures(picture, shape.width, shape.height, fit) for index, picture in given.items()}
    video = keyframe_video(
        {index: picture[0].movedim(-1, 0) * 2 - 1 for index, picture in pictures.items()}, shape.frames
    )
    latent = vae.encode((video[0].movedim(0, -1) + 1) / 2)
    mask = 1 - keyframe_mask(tuple(given), shape.frames, *latent.shape[-2:])
    return {"concat_latent_image": latent, "concat_mask": mask} | made_by(vae)


def given_in_latent(
    vae: Any, given: dict[int, Tensor], fit: Fit, shape: VideoShape, latent: dict[str, Any]
) -> dict[str, Any]:
    """The blank LATENT with the given first frames in it, for models that take them there (TI2V-5B).

    Raises:
        InvalidInputError: given frames that are not the first 1 + 4k ones.
    """
    if not given:
        return latent
    family, count = family_of(vae), len(given)
    if sorted(given) != list(range(count)) or count % TEMPORAL_STRIDE != 1:
        raise InvalidInputError(
            f"{family.title} takes its first frame, or its first 1 + 4k frames, as given; got the frames "
            f"{', '.join(map(str, sorted(given)))}. Give a start_image only, or use an image-to-video 14B model."
        )
    pictures = torch.cat([fit_pictures(given[index], shape.width, shape.height, fit) for index in range(count)])
    encoded = vae.encode(pictures)
    samples = family.denormalize(torch.zeros_like(latent["samples"]))
    mask = torch.ones_like(samples[:, :1])
    samples[:, :, : encoded.shape[2]] = encoded
    mask[:, :, : encoded.shape[2]] = 0
    return {**latent, "samples": samples, "noise_mask": mask}


def keyframe_item(model: WanModel, given: Tensor, native_mask: Tensor | None, samples: Tensor) -> KeyframeImages:
    """Given frames for the model: `given` is the raw latent [1 or B, C, T, h, w], `native_mask` has 0 where it counts.

    Raises:
        PairingError: they were prepared for a latent of another size than `samples`.
    """
    if given.shape[1:] != samples.shape[1:]:
        raise PairingError(
            f"The given frames were prepared for a latent of {size_text(given)}, but the latent to sample has "
            f"{size_text(samples)}. Connect the LATENT of the same node that prepared the frames."
        )
    mask = torch.zeros_like(given[:, :4]) if native_mask is None else 1 - native_mask.float()
    if mask.shape[1] == 1:
        mask = mask.expand(-1, 4, -1, -1, -1)
    if mask.shape[1:] != (4, *given.shape[2:]):
        raise PairingError(
            f"The mask of the given frames has the shape {list(mask.shape)}, the frames have {list(given.shape)}. Make "
            "both with the same node."
        )
    return KeyframeImages(model.spec.family.normalize(given.float()), mask)


def _clip_of_at_most(frames: int, images: Tensor, name: str) -> Tensor:
    clip = clean_clip(images, name)
    if len(clip) > frames:
        raise InvalidInputError(
            f"{name} is a clip of {len(clip)} frames, but the video has {frames}. Give fewer, or make the video longer."
        )
    return clip
