"""ComfyUI's node for HuMo: a video of somebody with a sound.

The picture is cut in the middle and resized without antialiasing, as ComfyUI does.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .... import standin as io
from ....conditioning.entries import with_values
from ....talking.scene import scene_values
from ..wan_videos import blank, fitted, video_schema


class WanHuMoImageToVideo(io.ComfyNode):
    """A video of somebody with a sound."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [
            io.AudioEncoderOutput.Input("audio_encoder_output", optional=True),
            io.Image.Input("ref_image", optional=True, tooltip="Who is seen; of several the first."),
        ]
        return video_schema("WanHuMoImageToVideo", inputs, folder="/humo", length=97)

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
        audio_encoder_output: Any = None,
        ref_image: Tensor | None = None,
    ) -> Any:
        latent = blank(vae, width, height, length, batch_size)
        picture = None if ref_image is None else vae.encode(fitted(ref_image[:1], width, height))
        prompts = {"positive": positive, "negative": negative}
        given = scene_values(latent["samples"], audio_encoder_output, picture)
        return io.NodeOutput(*(with_values(prompts[side], values, side) for side, values in given), latent)
