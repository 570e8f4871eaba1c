"""The node that prepares a video of somebody with a sound, for HuMo."""

from __future__ import annotations

from typing import Any

from ...common.checking import choice_of
from ...common.shapes import VideoShape
from ...media.pictures import FITS, clean_image
from ..api import io, one_sentence
from ..conditioning.reading import check_fresh
from ..image import batch_input, prompt_inputs, size_inputs
from ..sockets.latents import check_video_size, check_wan_2_1, empty_latent
from .encoder import CATEGORY
from .heard import humo_sides
from .scene import HUMO_KEYS
from .speech import ShapedPictures, fit_input

USUAL_FRAMES = 97
"""As the model was trained."""


class WanDirectorHumo(io.ComfyNode):
    """The conditioning and latent of a video of somebody with a sound."""

    @classmethod
    def define_schema(cls) -> Any:
        width, height, _ = size_inputs()
        return io.Schema(
            node_id="WanDirectorHumo",
            display_name="Wan HuMo",
            category=CATEGORY,
            description="Prepares a video of somebody of a picture who speaks, sings or moves to a sound as the prompt "
            "says, for HuMo. 25 frames a second.",
            search_aliases=["humo", "WanHuMoImageToVideo", "talking head", "lip sync", "audio driven", "human motion"],
            inputs=[
                *prompt_inputs(),
                width,
                height,
                io.Int.Input(
                    "frames",
                    default=USUAL_FRAMES,
                    min=1,
                    max=1021,
                    step=4,
                    tooltip="Length of the video: 1 + 4k frames, 25 a second. HuMo was trained on 97.",
                ),
                batch_input(),
                fit_input(),
                io.AudioEncoderOutput.Input(
                    "audio",
                    optional=True,
                    tooltip="What is heard, from Wan Audio Encode with whisper large v3; nothing is silence.",
                ),
                io.Image.Input(
                    "reference_image", optional=True, tooltip="Who or what is seen; of several pictures the first."
                ),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
                io.Conditioning.Output(
                    display_name="negative", tooltip="The negative prompt, with silence and an empty picture."
                ),
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
        audio: Any = None,
        reference_image: Any = None,
    ) -> Any:
        check_fresh(positive, negative, HUMO_KEYS, "a sound or a picture")
        check_wan_2_1(vae, "HuMo")
        latent = empty_latent(vae, width, height, frames, batch_size)
        picture = None
        if reference_image is not None:
            pictures = ShapedPictures(vae, VideoShape(frames, height, width), choice_of(fit, FITS, "fit"))
            picture = pictures.encoded(clean_image(reference_image, "reference_image"))
        return io.NodeOutput(*humo_sides(positive, negative, latent["samples"], audio, picture), latent)
