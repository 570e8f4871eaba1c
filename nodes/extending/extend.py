"""The node that prepares the clip which goes on where another one ends."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.checking import choice_of, tensor_of
from ...common.errors import InvalidInputError
from ...common.shapes import MAX_FRAMES, TEMPORAL_STRIDE, VideoShape, check_frames
from ...media.pictures import FITS
from ..api import io, one_sentence
from ..conditioning.clip_image import joined_clip_vision
from ..conditioning.entries import with_values
from ..conditioning.keyframes import given_frames, with_given
from ..image import CATEGORY
from ..sockets.latents import empty_latent


class WanDirectorExtend(io.ComfyNode):
    """The conditioning and latent of the clip that goes on where another one ends."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorExtend",
            display_name="Wan Extend Video",
            category=CATEGORY,
            description="Prepares the next clip of a video: it begins with the last frames of the clip so far, and so "
            "goes on with its motion. Join both with Wan Join Clips. Needs an image-to-video model, or TI2V-5B.",
            search_aliases=[
                "extend video", "continue video", "video continuation", "last frame", "long video", "longer video",
                "ImageBatchExtendWithOverlap", "wan extend video",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded positive prompt of the next clip."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The VAE that encodes the frames and will decode the next clip."),
                io.Image.Input("images", tooltip="The clip so far. The next one gets its size."),
                io.Int.Input(
                    "frames",
                    default=81,
                    min=5,
                    max=MAX_FRAMES,
                    step=TEMPORAL_STRIDE,
                    tooltip="Length of the next clip, the frames of the overlap among them: 1 + 4k.",
                ),
                overlap_input(
                    "How many of the last frames begin the next clip: 1 + 4k (1, 5, 9, 13, 17). 1 shows where things "
                    "are, 5 also where they go; models that know a first frame only may do better with 1.",
                    smallest=1,
                    step=TEMPORAL_STRIDE,
                ),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How an end_image of another shape comes to the clip's size: crop cuts off what stands "
                    "over (centred), pad adds black bars, stretch distorts.",
                ),
                io.Image.Input(
                    "end_image",
                    optional=True,
                    tooltip="What the next clip ends with: the last frame, or of n pictures the last n. Not for "
                    "TI2V-5B.",
                ),
                io.ClipVisionOutput.Input(
                    "clip_vision_output",
                    optional=True,
                    tooltip="Wan 2.1 only: the first frame of the overlap through CLIP vision.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with the given frames."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the given frames."),
                io.Latent.Output(display_name="LATENT", tooltip="The latent of the next clip, for the Wan Sampler."),
                io.Int.Output(display_name="overlap", tooltip="The frames that both clips show, for Wan Join Clips."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, frames: int | None = None, overlap: int | None = None) -> bool:
        check_overlap(frames, overlap)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        images: Any,
        frames: int,
        overlap: int,
        fit: str,
        end_image: Any = None,
        clip_vision_output: Any = None,
    ) -> Any:
        check_overlap(frames, overlap)
        start = last_frames(images, overlap)
        shape = VideoShape(frames, *start.shape[1:3])
        latent = empty_latent(vae, shape.width, shape.height, frames, 1)
        given = given_frames(frames, start, _fitting_end(end_image, frames, overlap), ())
        values, latent = with_given(vae, given, choice_of(fit, FITS, "fit"), shape, latent)
        values |= joined_clip_vision(clip_vision_output, None)
        return io.NodeOutput(with_values(positive, values), with_values(negative, values), latent, overlap)


def overlap_input(tooltip: str, *, smallest: int, step: int) -> Any:
    """The widget overlap."""
    return io.Int.Input("overlap", default=5, min=smallest, max=MAX_FRAMES, step=step, tooltip=tooltip)


def check_overlap(frames: int | None, overlap: int | None) -> None:
    """Refuses lengths that no clip can have; None stands for a value that is not known yet.

    Raises:
        InvalidInputError: the clip or the overlap is not 1 + 4k frames, or nothing new would be made.
    """
    if frames is not None:
        check_frames(frames)
    if overlap is None:
        return
    if overlap < 1 or overlap % TEMPORAL_STRIDE != 1:
        below = max(1, overlap - (overlap - 1) % TEMPORAL_STRIDE)
        raise InvalidInputError(
            f"An overlap is 1 + 4k frames, as many as latent frames stand for, got {overlap}. Use {below} or "
            f"{below + TEMPORAL_STRIDE}."
        )
    if frames is not None and overlap >= frames:
        raise InvalidInputError(
            f"An overlap of {overlap} frames leaves nothing new in a clip of {frames}. Use a smaller overlap or more "
            "frames."
        )


def last_frames(images: Any, count: int) -> Tensor:
    """The last `count` pictures of a clip, as they are.

    Raises:
        InvalidInputError: it has fewer, or is no clip.
    """
    images = tensor_of(images, "images", "pictures [frames, height, width, channels]", "Connect the clip so far.")
    if images.ndim == 4 and len(images) < count:
        raise InvalidInputError(
            f"An overlap of {count} frames was asked for, but the clip so far has {len(images)}. Use a smaller "
            "overlap, 1 for a single picture."
        )
    if images.ndim != 4 or 0 in images.shape:
        raise InvalidInputError(
            f"images must be pictures [frames, height, width, channels], got {list(images.shape)}. Connect the clip "
            "so far."
        )
    return images[-count:]


def _fitting_end(end: Any, frames: int, overlap: int) -> Any:
    """The end pictures, if they leave room between them and the overlap."""
    if isinstance(end, torch.Tensor) and end.ndim == 4 and len(end) + overlap > frames:
        raise InvalidInputError(
            f"The overlap of {overlap} frames and the end_image of {len(end)} are more than the {frames} frames of the "
            "clip. Use fewer of either, or more frames."
        )
    return end
