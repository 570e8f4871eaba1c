"""The node of ComfyUI-KJNodes that prepares a clip for Stable Video Infinity 2 Pro."""

from __future__ import annotations

from typing import Any

from .....common.log import logger
from .....common.shapes import video_frames
from .... import standin as io
from ....conditioning.entries import with_values
from ....conditioning.svi import continued_from
from ....sockets.latents import video_samples
from ..scaling import MAX_SIDE
from ..wan_videos import latent_frames_of


class WanImageToVideoSVIPro(io.ComfyNode):
    """A clip from an anchor picture and the end of the clip before."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanImageToVideoSVIPro",
            category="conditioning/video_models",
            inputs=[
                io.Conditioning.Input("positive"),
                io.Conditioning.Input("negative"),
                io.Int.Input("length", default=81, min=1, max=MAX_SIDE, step=4, tooltip="Frames: 1 + 4k."),
                io.Latent.Input("anchor_samples", tooltip="The picture that all clips keep to."),
                io.Latent.Input("prev_samples", optional=True, tooltip="The clip before, as it was sampled."),
                io.Int.Input(
                    "motion_latent_count", default=1, min=0, max=128, step=1, tooltip="Of the clip before: its end."
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
        length: int,
        anchor_samples: dict[str, Any],
        motion_latent_count: int,
        prev_samples: dict[str, Any] | None = None,
    ) -> Any:
        frames = video_frames(latent_frames_of(length))
        if prev_samples is not None and motion_latent_count > video_samples(prev_samples).shape[2]:
            logger.warning("All of the clip before is shown: it has fewer than %d latent frames.", motion_latent_count)
            motion_latent_count = video_samples(prev_samples).shape[2]
        values, latent = continued_from(anchor_samples, prev_samples, frames, motion_latent_count)
        return io.NodeOutput(*(with_values(side, values) for side in (positive, negative)), latent)
