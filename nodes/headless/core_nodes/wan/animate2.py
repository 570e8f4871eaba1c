"""ComfyUI's nodes for Wan-Animate-2: poses of a video for someone in a picture, and what is kept of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .....common.errors import InvalidInputError
from .....common.shapes import video_frames
from .....engine.models import with_policies
from .....engine.poses.keeping import PoseKeeping
from .... import standin as io
from ....conditioning.animate2.writing import (
    Adherence,
    Animated,
    ClipPictures,
    Percents,
    PromptSides,
    animated_sides,
    given_values,
)
from ....sockets.native_model import NativeModel, native_model
from ..scaling import MAX_SIDE, scaled
from ..wan_videos import blank, latent_frames_of, size_inputs

_CARRIED = 1
"""Frames of the chunk before that a chunk begins with."""
_DEVICES = ("cpu", "gpu")
_FORMATS = ("default", "int8", "int4")


def _float(name: str, default: float, most: float, tooltip: str) -> Any:
    return io.Float.Input(name, default=default, min=0.0, max=most, step=0.01, tooltip=tooltip)


class WanAnimate2ToVideo(io.ComfyNode):
    """A video, or a chunk of one, of someone who moves as another video does."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanAnimate2ToVideo",
            category="model/conditioning/wan/animate",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Vae.Input("vae"),
                *size_inputs(832, 480, 81),
                io.Image.Input("reference_image", optional=True, tooltip="Who is to move."),
                io.Image.Input("pose_video", optional=True, tooltip="The video whose motion is taken over."),
                io.ClipVisionOutput.Input("clip_vision_output", optional=True, tooltip="Of the reference image."),
                io.Conditioning.Input("positive_pose", optional=True, tooltip="A prompt for the pose video."),
                io.ClipVisionOutput.Input(
                    "clip_vision_output_pose", optional=True, tooltip="Of the pose video's first frame."
                ),
                io.Image.Input("continue_motion", optional=True, tooltip="The chunk before."),
                io.Int.Input(
                    "video_frame_offset",
                    default=0,
                    min=0,
                    max=MAX_SIDE,
                    step=1,
                    tooltip="From which frame of the pose video on.",
                ),
                _float("pose_strength", 1.0, 10.0, "How strongly poses are followed."),
                _float("pose_start_percent", 0.0, 1.0, "From this part of the run on poses are seen."),
                _float("pose_end_percent", 1.0, 1.0, "Up to this part of the run."),
                _float("reference_image_strength", 1.0, 10.0, "How strongly the reference image is kept to."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive"),
                io.Conditioning.Output(display_name="negative"),
                io.Latent.Output(display_name="latent"),
                io.Int.Output(display_name="trim_latent"),
                io.Int.Output(display_name="trim_image"),
                io.Int.Output(display_name="video_frame_offset"),
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
        video_frame_offset: int,
        reference_image: Tensor | None = None,
        pose_video: Tensor | None = None,
        clip_vision_output: Any = None,
        positive_pose: list | None = None,
        clip_vision_output_pose: Any = None,
        continue_motion: Tensor | None = None,
        pose_strength: float = 1.0,
        pose_start_percent: float = 0.0,
        pose_end_percent: float = 1.0,
        reference_image_strength: float = 1.0,
    ) -> Any:
        # The templates scale to 482 x 854.
        latent = blank(vae, width, height, length, batch_size, more=1, any_size=True)

        def fitted(pictures: Tensor) -> Tensor:
            return scaled(pictures[..., :3].float(), width, height, "area", "center")

        reference = torch.zeros(1, height, width, 3) if reference_image is None else fitted(reference_image[:1])
        carried = None if continue_motion is None else fitted(continue_motion[-_CARRIED:])
        shared = 0 if carried is None else _CARRIED
        start, frames = max(0, video_frame_offset - shared), video_frames(latent_frames_of(length))
        poses = None if pose_video is None else vae.encode(_held(fitted(_rest(pose_video, start)[:frames]), frames))
        followed = Adherence(pose_strength, reference_image_strength, Percents(pose_start_percent, pose_end_percent))
        animated = Animated(given_values(vae, reference, carried, frames), poses, followed)
        pictures = ClipPictures(clip_vision_output, clip_vision_output_pose)
        sides = animated_sides(PromptSides(positive, negative, positive_pose or None), animated, pictures)
        return io.NodeOutput(*sides, latent, 1, shared, start + length)


def _rest(video: Tensor, start: int) -> Tensor:
    if len(video) <= start:
        raise InvalidInputError(
            f"pose_video has {len(video)} frames, and video_frame_offset is {start}: nothing is left. Make fewer."
        )
    return video[start:]


def _held(clip: Tensor, frames: int) -> Tensor:
    """A clip whose last frame stands still up to so many frames."""
    return torch.cat([clip, clip[-1:].expand(frames - len(clip), -1, -1, -1)])


class WanAnimate2Cache(io.ComfyNode):
    """What is kept of the poses' way through the blocks."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanAnimate2Cache",
            category="model/conditioning/wan/animate",
            inputs=[
                io.Model.Input("model"),
                io.Combo.Input("device", options=list(_DEVICES), default="cpu", tooltip="Where it is kept."),
                io.Combo.Input("dtype", options=list(_FORMATS), default="default", tooltip="How it is rounded."),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, device: str, dtype: str = "default") -> Any:
        if device not in _DEVICES or dtype not in _FORMATS:
            raise InvalidInputError(
                f"WanAnimate2Cache keeps poses on cpu or gpu, as default, int8 or int4, got {device!r} and {dtype!r}."
            )
        if dtype == "int4":
            raise InvalidInputError(
                "WanAnimate2Cache is to keep poses in int4, and here they are kept as they are or in int8. Choose int8."
            )
        model = native_model(model)
        keeping = PoseKeeping("device" if device == "gpu" else "RAM", in_8_bit=dtype == "int8")
        video = with_policies(model.model, lambda policies: replace(policies, poses=keeping))
        return io.NodeOutput(replace(model, model=video))
