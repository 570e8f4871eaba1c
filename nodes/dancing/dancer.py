"""The node that prepares a dance to music, or the plan of one, for Wan-Dancer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.checking import choice_of
from ...common.errors import InvalidInputError
from ...media.pictures import FITS, Fit, clean_clip, clean_masks, fit_pictures
from ..api import io, one_sentence
from ..conditioning.entries import with_values
from ..conditioning.keys import IMAGE
from ..conditioning.reading import check_fresh
from ..image import batch_input, prompt_inputs, size_inputs
from ..sockets.latents import check_video_size, empty_latent
from ..talking.speech import fit_input
from .music import CATEGORY, frames_input
from .places import FPS, blank_clip
from .values import DANCE_KEYS, Music, dance_values, given_values, latent_mask_of, music_of


class WanDirectorDancer(io.ComfyNode):
    """The conditioning and latent of a dance, or of its plan."""

    @classmethod
    def define_schema(cls) -> Any:
        width, height, _ = size_inputs()
        return io.Schema(
            node_id="WanDirectorDancer",
            display_name="Wan Dancer",
            category=CATEGORY,
            description="Prepares a dance of somebody of a picture to music, for Wan-Dancer: first a plan of the whole "
            "song with the global model, then each part of the dance with the local one.",
            search_aliases=["wan dancer", "WanDancerVideo", "music to dance", "music driven", "choreography", "dance"],
            inputs=[
                *prompt_inputs(),
                width,
                height,
                frames_input(),
                batch_input(),
                fit_input(),
                io.AudioEncoderOutput.Input("music", tooltip="What is heard, from Wan Dance Music of as many frames."),
                io.Image.Input(
                    "start_image",
                    tooltip="Who dances, for a plan; for a part of the dance the keyframes of Wan Dance Part.",
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="Which frames of start_image are given (1), from Wan Dance Part; without it all are.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output", optional=True, tooltip="CLIP features of the first frame."
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output_ref", optional=True, tooltip="CLIP features of the picture of who dances."
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with all that is given."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this size, for the Wan Sampler."),
            ],
        )

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        check_video_size(width, height, frames)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        frames: int,
        batch_size: int,
        fit: str,
        music: Any,
        start_image: Any,
        mask: Any = None,
        clip_vision_output: Any = None,
        clip_vision_output_ref: Any = None,
    ) -> Any:
        check_fresh(positive, negative, (*DANCE_KEYS, IMAGE), "music or a picture")
        latent, heard = empty_latent(vae, width, height, frames, batch_size), _fitting(music_of(music, "music"), frames)
        fitting, size = choice_of(fit, FITS, "fit"), latent["samples"].shape[-2:]
        clip = fit_pictures(_checked(clean_clip(start_image, "start_image"), frames), width, height, fitting)
        kept = _kept(mask, clip, frames, fitting)
        values = dance_values(heard, clip_vision_output, clip_vision_output_ref)
        values |= given_values(vae, blank_clip(clip, frames), latent_mask_of(kept, *size))
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)


def _fitting(music: Music, frames: int) -> Music:
    """Music for a video of so many frames.

    Raises:
        InvalidInputError: it was prepared for one of another length.
    """
    apart = music.features.shape[1] / frames
    if abs(FPS / music.fps - int(apart + 0.5)) > 1e-3:
        raise InvalidInputError(
            f"The music was prepared for {music.fps:.4g} frames a second, but it lasts {apart:.2f} times as long as "
            f"{frames} frames at 30. Set frames of Wan Dance Music to {frames}."
        )
    return music


def _checked(clip: Tensor, frames: int) -> Tensor:
    if len(clip) > frames:
        raise InvalidInputError(
            f"start_image has {len(clip)} frames, but the video has {frames}. Give fewer, or make the video longer."
        )
    return clip


def _kept(mask: Any, clip: Tensor, frames: int, fit: Fit) -> Tensor:
    """Which frames are given, [frames, H, W], 1 = given; without a mask those of the clip.

    Raises:
        InvalidInputError: the mask has another number of frames.
    """
    height, width = clip.shape[1:3]
    if mask is None:
        return torch.cat([torch.ones(len(clip), height, width), torch.zeros(frames - len(clip), height, width)])
    masks = clean_masks(mask, "mask")
    if len(masks) != frames or len(clip) != frames:
        raise InvalidInputError(
            f"mask has {len(masks)} frames and start_image {len(clip)}, but the video has {frames}. Connect both from "
            "Wan Dance Part with as many frames, or no mask."
        )
    return fit_pictures(masks, width, height, fit)[..., 0]
