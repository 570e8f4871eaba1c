"""ComfyUI's node for Bernini-R: a video beside those that it edits, or that show what is in it."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .....common.shapes import video_frames
from .... import standin as io
from ....conditioning.in_context import ClipRole, with_clips
from ..dynamic_inputs import Growing
from ..scaling import scaled
from ..wan_videos import MOST_VIDEOS, blank, latent_frames_of

MOST_REFERENCES = 8
LONGEST = 8192
_STRIDE = 16


class BerniniConditioning(io.ComfyNode):
    """A video with a source video, a reference video and reference pictures."""

    @classmethod
    def define_schema(cls) -> Any:
        picture = io.Image.Input("reference_image", tooltip="Someone or something that the video shows.")
        return io.Schema(
            node_id="BerniniConditioning",
            display_name="Bernini Conditioning",
            category="conditioning/video_models",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Vae.Input("vae"),
                *(_size_input(name, default) for name, default in (("width", 832), ("height", 480))),
                io.Int.Input("length", default=81, min=1, max=LONGEST, step=4, tooltip="Frames: 1 + 4k."),
                io.Int.Input("batch_size", default=1, min=1, max=MOST_VIDEOS),
                io.Image.Input("source_video", optional=True, tooltip="The video to edit."),
                io.Image.Input("reference_video", optional=True, tooltip="A video of what to put into it."),
                Growing(
                    "reference_images", picture, prefix="reference_image_", most=MOST_REFERENCES, least=0, optional=True
                ),
                io.Int.Input(
                    "ref_max_size",
                    default=848,
                    min=16,
                    max=LONGEST,
                    step=_STRIDE,
                    optional=True,
                    tooltip="The longer side of references is made no longer than this.",
                ),
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
        batch_size: int,
        source_video: Tensor | None = None,
        reference_video: Tensor | None = None,
        reference_images: dict[str, Tensor | None] | None = None,
        ref_max_size: int = 848,
    ) -> Any:
        # A template gives it the size of a picture, whatever that is.
        latent = blank(vae, width, height, length, batch_size, any_size=True)
        clips = (
            [] if source_video is None else [scaled(_colours(source_video[:length]), width, height, "area", "center")]
        )
        if reference_video is not None:
            clips.append(_shown(reference_video[:length], ref_max_size))
        given = reference_images or {}
        pictures = [given[name] for name in sorted(given)]
        clips += [_shown(each[None], ref_max_size) for pile in pictures if pile is not None for each in pile]
        if not clips:
            return io.NodeOutput(positive, negative, latent)
        latents = [vae.encode(clip[: video_frames(latent_frames_of(len(clip)))]) for clip in clips]
        roles = [ClipRole(number + 1.0, not number and source_video is not None) for number in range(len(latents))]
        return io.NodeOutput(*(with_clips(vae, side, latents, roles) for side in (positive, negative)), latent)


def _size_input(name: str, default: int) -> Any:
    return io.Int.Input(name, default=default, min=_STRIDE, max=LONGEST, step=_STRIDE)


def _colours(pictures: Tensor) -> Tensor:
    return pictures[..., :3].float()


def _shown(pictures: Tensor, longest: int) -> Tensor:
    """References [F, H, W, C] in their own shape, with sides that are multiples of 16."""
    sides = pictures.shape[1:3]
    factor = min(longest / max(sides), 1.0)
    height, width = (max(_STRIDE, round(side * factor / _STRIDE) * _STRIDE) for side in sides)
    return scaled(_colours(pictures), width, height, "area")
