"""ComfyUI's node that prepares a dance, or the plan of one.

Pictures are cut in the middle and resized without antialiasing, as ComfyUI does.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ......common.errors import InvalidInputError
from ..... import standin as io
from .....conditioning.entries import with_values
from .....dancing.places import blank_clip
from .....dancing.values import dance_values, given_values, latent_mask_of, music_of
from ...scaling import MAX_SIDE
from ...wan_videos import blank, fitted


class WanDancerVideo(io.ComfyNode):
    """A dance to music."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDancerVideo",
            category="model/conditioning/wan/dancer",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Vae.Input("vae"),
                io.Int.Input("width", default=480, min=16, max=MAX_SIDE, step=16),
                io.Int.Input("height", default=832, min=16, max=MAX_SIDE, step=16),
                io.Int.Input("length", default=149, min=1, max=MAX_SIDE, step=4, tooltip="Frames: 1 + 4k."),
                io.ClipVisionOutput.Input("clip_vision_output", optional=True, tooltip="Of the first frame."),
                io.ClipVisionOutput.Input("clip_vision_output_ref", optional=True, tooltip="Of who dances."),
                io.Image.Input("start_image", optional=True, tooltip="The frames from the first on."),
                io.Mask.Input("mask", optional=True, tooltip="Which of them are given: white is kept."),
                io.AudioEncoderOutput.Input("audio_encoder_output", optional=True),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
            ],
        )

    @classmethod
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        width: int,
        height: int,
        length: int,
        clip_vision_output: Any = None,
        clip_vision_output_ref: Any = None,
        start_image: Tensor | None = None,
        mask: Tensor | None = None,
        audio_encoder_output: Any = None,
    ) -> Any:
        latent = blank(vae, width, height, length, 1)
        music = None if audio_encoder_output is None else music_of(audio_encoder_output, "audio_encoder_output")
        reference = None if clip_vision_output is None else clip_vision_output_ref  # as there
        values = dance_values(music, clip_vision_output, reference)
        if start_image is not None:
            given, shape = fitted(start_image[:length], width, height), latent["samples"].shape[2:]
            values |= given_values(vae, blank_clip(given, length), _mask(mask, len(given), length, shape))
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)


def _mask(mask: Tensor | None, given: int, length: int, shape: torch.Size) -> Tensor:
    """[1, 1 or 4, T, h, w], 0 = given."""
    if mask is None:
        kept = torch.ones(1, 1, *shape)
        kept[:, :, : (given - 1) // 4 + 1] = 0.0
        return kept
    if len(mask) < length:
        raise InvalidInputError(
            f"mask has {len(mask)} frames, but the video has {length}. Make it with WanDancerPadKeyframes for as many."
        )
    return latent_mask_of(mask[:length].float(), *shape[1:])
