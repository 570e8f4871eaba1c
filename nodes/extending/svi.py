"""The node that prepares a clip for the LoRAs of Stable Video Infinity 2 Pro."""

from __future__ import annotations

from typing import Any

from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import MAX_FRAMES, TEMPORAL_STRIDE, check_frames
from ..api import io, one_sentence
from ..conditioning.entries import with_values
from ..conditioning.svi import continued_from
from ..image import CATEGORY

MOST_MOTION_LATENTS = 128


class WanDirectorSVI(io.ComfyNode):
    """The conditioning and latent of a clip for the LoRAs of Stable Video Infinity 2 Pro."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorSVI",
            display_name="Wan SVI Conditioning",
            category=CATEGORY,
            description="Prepares a clip of a long video for the LoRAs SVI 2 Pro on Wan 2.2 I2V A14B: an anchor "
            "picture that all clips keep to, and the end of the clip before, as latents that were never decoded.",
            search_aliases=[
                "svi", "stable video infinity", "svi 2 pro", "WanImageToVideoSVIPro", "infinite video", "long video",
                "WanVideoSVIProEmbeds", "wan svi conditioning",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded positive prompt of this clip."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Latent.Input(
                    "anchor_samples",
                    tooltip="The picture that all clips keep to, from Wan Encode Video. Its size is the video's.",
                ),
                io.Int.Input(
                    "frames",
                    default=81,
                    min=5,
                    max=MAX_FRAMES,
                    step=TEMPORAL_STRIDE,
                    tooltip="Length of the clip: 1 + 4k. The LoRAs were trained with 81.",
                ),
                io.Int.Input(
                    "motion_latents",
                    default=1,
                    min=1,
                    max=MOST_MOTION_LATENTS,
                    tooltip="How many of the last latent frames of the clip before are shown, 4 frames each. The LoRAs "
                    "were trained with 1.",
                ),
                io.Latent.Input(
                    "prev_samples",
                    optional=True,
                    tooltip="The clip before, as Wan Sampler made it. Leave open for the first clip.",
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with anchor and motion."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with anchor and motion."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of this size, for the Wan Sampler."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, frames: int | None = None) -> bool:
        if frames is not None:
            check_frames(frames)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        positive: list,
        negative: list,
        anchor_samples: dict[str, Any],
        frames: int,
        motion_latents: int,
        prev_samples: dict[str, Any] | None = None,
    ) -> Any:
        if motion_latents < 1:
            raise InvalidInputError(f"At least 1 motion latent is shown, got {motion_latents}. Use 1.")
        values, latent = continued_from(anchor_samples, prev_samples, frames, motion_latents)
        if prev_samples is None:
            logger.info("Wan SVI Conditioning without prev_samples: the first clip of a video, from the anchor alone.")
        return io.NodeOutput(with_values(positive, values), with_values(negative, values), latent)
