"""Given frames: pictures at places of a video, as native conditioning values, inside a latent, or for the model."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from ...common.checking import is_finite, tensor_of
from ...common.errors import InvalidInputError, PairingError
from ...common.records import record
from ...common.shapes import TEMPORAL_STRIDE, VideoShape, size_text
from ...dit.conditioning.control_video import ControlVideo
from ...dit.conditioning.source_video import SourceVideo
from ...dit.conditioning.start_image import KeyframeImages, keyframe_mask, keyframe_video
from ...media.pictures import Fit, clean_clip, fit_pictures
from ..sockets.latents import family_of, made_by, video_samples
from ..sockets.models import WanModel
from ..sockets.noise_masks import latent_mask

SOURCE_TAG = "wan_director_source"
"""That the given frames are a clip to edit."""


@record(eq=False)
class Keyframe:
    """A picture [1, H, W, 3] in 0..1 at a frame; negative frames count from the end.

    `edit_rate` is how much of it may change, 0..1: the part of the noise of all other frames that it is sampled from.
    """

    frame: int
    image: Tensor
    edit_rate: float = 0.0


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


def edit_rates(frames: int, keyframes: tuple[Keyframe, ...]) -> dict[int, float]:
    """How much of given frames may change, where that is anything: frame 0..frames-1 -> above 0 to 1."""
    return {keyframe.frame % frames: keyframe.edit_rate for keyframe in keyframes if keyframe.edit_rate}


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
    vae: Any,
    given: dict[int, Tensor],
    fit: Fit,
    shape: VideoShape,
    latent: dict[str, Any],
    rates: Mapping[int, float] = MappingProxyType({}),
) -> dict[str, Any]:
    """The blank LATENT with the given first frames in it, for models that take them there (TI2V-5B).

    Args:
        rates: see `edit_rates`: the noise mask of a latent frame is the highest of its frames.

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
    for frame, rate in rates.items():
        place = (frame + TEMPORAL_STRIDE - 1) // TEMPORAL_STRIDE
        mask[:, :, place] = mask[:, :, place].clamp(min=rate)
    return {**latent, "samples": samples, "noise_mask": mask}


def with_given(
    vae: Any,
    given: dict[int, Tensor],
    fit: Fit,
    shape: VideoShape,
    latent: dict[str, Any],
    rates: Mapping[int, float] = MappingProxyType({}),
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The conditioning values of given frames and the LATENT to sample, whichever of the two carries them.

    Args:
        vae: of the family that the video is made for.
        given: see `given_frames`.
        fit: how pictures come to the video's size.
        shape: of the video.
        latent: the blank LATENT of this shape.
        rates: see `edit_rates`.

    Raises:
        InvalidInputError: what is given, or how much of it may change, is nothing for the models of this VAE.
    """
    if family_of(vae).given_in_latent:
        return {}, given_in_latent(vae, given, fit, shape, latent, rates)
    if rates:
        frame, rate = next(iter(rates.items()))
        raise InvalidInputError(
            f"The keyframe at frame {frame} has the edit_rate {rate:g}, but image-to-video 14B models have one time "
            "for all frames and take given ones as they are. Set edit_rate to 0, or use TI2V-5B."
        )
    return keyframe_values(vae, given, shape, fit), latent


def given_latent(model: WanModel, values: dict[str, Any], side: str) -> Tensor | None:
    """The raw latent of given frames [1 or B, C, T, h, w] among the values of an entry, if there is one.

    Raises:
        InvalidInputError: it is none.
        PairingError: it is a clip to edit, or a control video is with it, and the model takes none.
    """
    if values.get("concat_latent_image") is None:
        return None
    _check_source(model, values, side)
    name, advice = f"The given frames of the {side} conditioning", "Make them with Wan Image To Video."
    given = tensor_of(values["concat_latent_image"], name, "a latent [batch, channels, frames, height, width]", advice)
    if given.ndim != 5 or 0 in given.shape or not is_finite(given):
        raise InvalidInputError(
            f"{name} must be a latent [batch, channels, frames, height, width] of finite numbers, got "
            f"{list(given.shape)}. {advice}"
        )
    channels = model.spec.family.latent_channels
    if given.shape[1] == 2 * channels and not model.spec.config.control_channels:
        raise PairingError(
            f"The {side} conditioning carries a control video and a start image for a Fun Control model "
            f"({2 * channels} channels, from WanFunControlToVideo), but {model.file} ({model.spec.title}) is none. "
            "Load a Fun-Control model, use Wan VACE to follow a control video, or Wan Image To Video for a start image."
        )
    return given


def keyframe_item(
    model: WanModel, given: Tensor, values: dict[str, Any], latent: dict[str, Any]
) -> KeyframeImages | ControlVideo | SourceVideo:
    """Given frames for the model, and the control video before them, if it takes one; or the clip to edit.

    Args:
        given: the `given_latent` of the values of an entry.
        latent: the LATENT to sample; its noise mask stands in for a missing `concat_mask`, as in ComfyUI.

    Raises:
        PairingError: they were prepared for a latent of another size, or their mask for another place.
    """
    samples, family, config = video_samples(latent), model.spec.family, model.spec.config
    start, control = _split(given, family.latent_channels)
    if start.shape[1:] != samples.shape[1:]:
        raise PairingError(
            f"The given frames were prepared for a latent of {size_text(start)}, but the latent to sample has "
            f"{size_text(samples)}. Connect the LATENT of the same node that prepared the frames."
        )
    frames = family.normalize(start.float())
    if config.source_channels:
        return SourceVideo(frames)
    if config.mask_channels:
        keyframes = KeyframeImages(frames, given_mask(start, values, latent))
    else:
        keyframes = KeyframeImages(_only_given(frames, values, latent), None)
    if not config.control_channels:
        return keyframes
    place = values.get("concat_mask_index")
    if place not in (None, 0, family.latent_channels):
        raise PairingError(
            f"'concat_mask_index' is {place}, but the mask of {model.file} stands after the {family.latent_channels} "
            "channels of its control video. Make both with Wan22FunControlToVideo or Wan Fun Control."
        )
    followed = torch.zeros_like(frames) if control is None else family.normalize(control.float())
    return ControlVideo(followed, keyframes)


def _check_source(model: WanModel, values: dict[str, Any], side: str) -> None:
    """Refuses a clip to edit for a model that edits none, and frames of a video to make for one that does."""
    if SOURCE_TAG in values and not model.spec.config.source_channels:
        raise PairingError(
            f"The {side} conditioning carries a clip to edit, from Wan Source Video, but {model.file} "
            f"({model.spec.title}) takes none. Load a Lucy-Edit model, or use Wan Edit Clip with a text-to-video model."
        )
    if model.spec.config.source_channels and values.get("concat_mask") is not None:
        raise PairingError(
            f"The {side} conditioning carries given frames of a video to make, but {model.file} ({model.spec.title}) "
            "edits a whole clip. Connect Wan Source Video in place of the node that gave them."
        )


def _split(given: Tensor, channels: int) -> tuple[Tensor, Tensor | None]:
    """The given frames, and the control video before them if there is one."""
    return given[:, -channels:], given[:, :channels] if given.shape[1] == 2 * channels else None


def _only_given(frames: Tensor, values: dict[str, Any], latent: dict[str, Any]) -> Tensor:
    """For a model without a mask: zeros, as it was trained, in latent frames that `concat_mask` calls not given."""
    if values.get("concat_mask") is None:
        return frames
    mask = given_mask(frames, values, latent)
    return frames * (mask > 0).any(dim=1, keepdim=True).flatten(3).any(dim=3)[..., None, None]


def given_mask(given: Tensor, values: dict[str, Any], latent: dict[str, Any]) -> Tensor:
    """Which of the given frames count: [1 or B, 4, T, h, w], 1 = given.

    Args:
        given: [1 or B, C, T, h, w], of their latent, of which only the size is read.
        values: of an entry; its `concat_mask` says it.
        latent: the LATENT to sample, whose noise mask says it where there is none.

    Raises:
        PairingError: the mask is of another size.
    """
    native = values.get("concat_mask")
    if native is None and latent.get("noise_mask") is None:
        return torch.zeros_like(given[:, :4], dtype=torch.float32)
    if native is None:
        native = latent_mask(latent["noise_mask"], latent["samples"]).mean(dim=1, keepdim=True)
    native = tensor_of(native, "The mask of the given frames", "a mask", "Make both with Wan Image To Video.")
    mask = 1 - native.float()
    if mask.ndim == 5 and mask.shape[1] == 1:
        mask = mask.expand(-1, 4, -1, -1, -1)
    if mask.shape[1:] != (4, *given.shape[2:]) or len(mask) not in (1, len(given), len(latent["samples"])):
        raise PairingError(
            f"The mask of the given frames has the shape {list(mask.shape)}, the frames have {list(given.shape)}. Make "
            "both with the same node."
        )
    return mask


def _clip_of_at_most(frames: int, images: Tensor, name: str) -> Tensor:
    clip = clean_clip(images, name)
    if len(clip) > frames:
        raise InvalidInputError(
            f"{name} is a clip of {len(clip)} frames, but the video has {frames}. Give fewer, or make the video longer."
        )
    return clip
