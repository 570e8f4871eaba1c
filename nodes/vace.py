"""The node that lets a video follow a control video, keep parts of it, and show reference pictures (VACE)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..common.log import logger
from ..common.shapes import VideoShape
from ..dit.conditioning.vace import mask_channels, split_by_mask
from ..media.pictures import clean_clip, clean_masks, fit_pictures
from .api import io, one_sentence
from .conditioning.vace import with_vace
from .image import batch_input, prompt_inputs, size_inputs
from .sockets.latents import check_video_size, empty_latent, family_of, with_references

MAX_STRENGTH = 10.0


class WanDirectorVace(io.ComfyNode):
    """The conditioning and latent of a video that follows another one."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorVace",
            display_name="Wan VACE",
            category="Wan Director/latent",
            description="Prepares a video that follows a control video (depth, pose, lines, ...), changes a masked "
            "part of one, or shows given things and people. Needs a VACE model or module. Chain several to combine.",
            search_aliases=[
                "vace",
                "WanVaceToVideo",
                "control",
                "controlnet",
                "inpaint",
                "outpaint",
                "reference to video",
                "wanvideo vace encode",
            ],
            inputs=[
                *prompt_inputs(),
                *size_inputs(),
                batch_input(),
                io.Float.Input(
                    "strength",
                    default=1.0,
                    min=0.0,
                    max=MAX_STRENGTH,
                    step=0.01,
                    tooltip="How strongly the control video counts: 1 as trained, 0 not at all.",
                ),
                io.Image.Input(
                    "control_video",
                    optional=True,
                    tooltip="The video to follow or to change. Frames beyond its end are made freely.",
                ),
                io.Mask.Input(
                    "control_masks",
                    optional=True,
                    tooltip="Where to change the control video: white is made anew, black is kept as it is. One mask "
                    "serves all frames. Without masks the whole video is only followed.",
                ),
                io.Image.Input(
                    "reference_image",
                    optional=True,
                    tooltip="Things or people to show, on a plain background; several pictures in one batch.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with the control video."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the control video."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this size, for the Wan Sampler."),
                io.Int.Output(
                    display_name="trim_latent",
                    tooltip="How many latent frames of references stand before the video. Wan Decode Video leaves them "
                    "out by itself; ComfyUI's own nodes need Trim Video Latent with this number.",
                ),
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
        strength: float,
        control_video: Any = None,
        control_masks: Any = None,
        reference_image: Any = None,
    ) -> Any:
        latent = empty_latent(vae, width, height, frames, batch_size)
        shape = VideoShape(frames, height, width)
        video, mask = control_clip(control_video, control_masks, shape)
        references = encode_references(vae, reference_image, shape)
        control = torch.cat([vae.encode(part) for part in split_by_mask(video, mask)], dim=1)
        control = torch.cat([*references, control], dim=2)
        stride = vae.spacial_compression_encode()
        channels = mask_channels(mask, len(references), stride)
        sides = [with_vace(vae, side, control, channels, strength) for side in (positive, negative)]
        return io.NodeOutput(*sides, with_references(latent, len(references)), len(references))


def control_clip(control: Tensor | None, masks: Tensor | None, shape: VideoShape) -> tuple[Tensor, Tensor]:
    """The control video [F, H, W, 3] in 0..1 and its mask [F, H, W], 1 = change, at the video's size and length.

    What is not given is grey and made anew. One mask serves all frames of the control video.

    Raises:
        InvalidInputError: pictures or masks that are none.
    """
    frames, height, width = shape
    video = torch.full((frames, height, width, 3), 0.5, dtype=torch.float32)
    mask = torch.ones(frames, height, width, dtype=torch.float32)
    given = 0
    if control is not None:
        clip = fit_pictures(
            _first(clean_clip(control, "control_video"), frames, "control_video"), width, height, "crop"
        )
        given = len(clip)
        video[:given] = clip
    if masks is not None:
        fitted = fit_pictures(
            _first(clean_masks(masks, "control_masks"), frames, "control_masks"), width, height, "crop"
        )[..., 0]
        last = given if len(fitted) == 1 and given else len(fitted)
        mask[:last] = fitted
    return video, mask


def encode_references(vae: Any, pictures: Tensor | None, shape: VideoShape) -> list[Tensor]:
    """Raw latents [1, 32, 1, h, w] of reference pictures, whole on a white ground: 16 channels of each, and nothing.

    Source: Wan-Video/Wan2.1 wan/vace.py, prepare_source and vace_encode_frames.
    """
    if pictures is None:
        return []
    fitted = fit_pictures(
        clean_clip(pictures, "reference_image", ground=1.0), shape.width, shape.height, "pad", bars=1.0
    )
    latents = [vae.encode(picture[None]) for picture in fitted]
    return [torch.cat([each, family_of(vae).denormalize(torch.zeros_like(each))], dim=1) for each in latents]


def _first(clip: Tensor, frames: int, name: str) -> Tensor:
    if len(clip) > frames:
        logger.info("%s has %d frames; the first %d are used.", name, len(clip), frames)
    return clip[:frames]
