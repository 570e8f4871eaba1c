"""ComfyUI's nodes for the Fun-Camera models: a camera's path, and a video that is seen from it."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .....common.errors import InvalidInputError
from .....common.shapes import VideoShape, check_bounds
from .....dit.conditioning.camera import Lens, camera_rays
from .....dit.conditioning.camera_moves import MOVES, move_poses
from .... import standin as io
from ....conditioning.clip_image import joined_clip_vision
from ....conditioning.entries import with_values
from ....sockets.latents import made_by
from ..scaling import MAX_SIDE
from ..wan_videos import blank, video_schema
from .fun_control import placed

_POSES = {
    "Static": "static",
    "Pan Up": "pan up",
    "Pan Down": "pan down",
    "Pan Left": "pan left",
    "Pan Right": "pan right",
    "Zoom In": "zoom in",
    "Zoom Out": "zoom out",
    "Anti Clockwise (ACW)": "roll left",
    "ClockWise (CW)": "roll right",
}
_CameraEmbedding = io.Custom("WAN_CAMERA_EMBEDDING")


class WanCameraEmbedding(io.ComfyNode):
    """The rays of a camera that moves evenly."""

    @classmethod
    def define_schema(cls) -> Any:
        focal = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.000000001, "optional": True, "advanced": True}
        center = {"default": 0.5, "min": 0.0, "max": 1.0, "step": 0.01, "optional": True, "advanced": True}
        return io.Schema(
            node_id="WanCameraEmbedding",
            category="model/conditioning/wan/camera",
            inputs=[
                io.Combo.Input("camera_pose", options=list(_POSES), default="Static"),
                io.Int.Input("width", default=832, min=16, max=MAX_SIDE, step=16),
                io.Int.Input("height", default=480, min=16, max=MAX_SIDE, step=16),
                io.Int.Input("length", default=81, min=1, max=MAX_SIDE, step=4, tooltip="Frames: 1 + 4k."),
                io.Float.Input("speed", default=1.0, min=0.0, max=10.0, step=0.1, optional=True),
                *(io.Float.Input(name, **focal) for name in ("fx", "fy")),
                *(io.Float.Input(name, **center) for name in ("cx", "cy")),
            ],
            outputs=[
                _CameraEmbedding.Output(display_name="camera_embedding"),
                io.Int.Output(display_name="width"),
                io.Int.Output(display_name="height"),
                io.Int.Output(display_name="length"),
            ],
        )

    @classmethod
    def execute(cls, camera_pose: str, width: int, height: int, length: int, speed: float = 1.0, **lens: float) -> Any:
        check_bounds(width, height, length)
        through = Lens(**lens)
        if not through.fx or not through.fy:
            raise InvalidInputError(f"A lens has a focal length above 0, got fx {through.fx} and fy {through.fy}.")
        poses = move_poses(MOVES[_POSES[camera_pose]], length, speed)
        rays = camera_rays(poses, [through], VideoShape(length, height, width))
        return io.NodeOutput(rays, width, height, length)


class WanCameraImageToVideo(io.ComfyNode):
    """A video with a start image and a camera's path."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.ClipVisionOutput.Input("clip_vision_output", optional=True),
            io.Image.Input("start_image", optional=True, tooltip="The first frame, or the first frames in a batch."),
            _CameraEmbedding.Input("camera_conditions", optional=True),
        ]
        return video_schema("WanCameraImageToVideo", inputs, folder="/camera")

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
        clip_vision_output: Any = None,
        start_image: Tensor | None = None,
        camera_conditions: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        values = joined_clip_vision(clip_vision_output, None)
        if start_image is not None:
            frames, *size = latent["samples"].shape[2:]
            mask = torch.ones(1, 1, 4 * frames, *size)
            mask[:, :, : len(start_image) + 3] = 0.0  # the first frame is four of the mask
            values["concat_latent_image"] = placed(vae, start_image, latent, length)
            values["concat_mask"] = mask.view(1, frames, 4, *size).transpose(1, 2)
            values |= made_by(vae)
        if camera_conditions is not None:
            values["camera_conditions"] = camera_conditions
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)
