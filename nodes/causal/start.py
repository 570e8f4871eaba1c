"""The node that makes a latent that begins with given frames."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...common.checking import choice_of
from ...common.errors import InvalidInputError
from ...common.shapes import TEMPORAL_STRIDE
from ...engine.memory import MemorySettings
from ...media.pictures import FITS, clean_clip, fit_pictures
from ..api import io, one_sentence
from ..image import CATEGORY, batch_input, size_inputs
from ..options.memory import memory_input, with_memory
from ..sockets.latents import begun_latent, check_video_size, empty_latent


class WanDirectorCausalStart(io.ComfyNode):
    """A latent whose first frames are there already."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorCausalStart",
            display_name="Wan Causal Start",
            category=CATEGORY,
            description="Image to video, and the continuation of a clip, with a causal model: the latent begins with "
            "the given frames, which the model looks at before it makes the others.",
            search_aliases=[
                "ARVideoI2V", "EmptyARVideoLatent", "causal forcing", "self forcing", "start image", "image to video",
                "i2v", "continue", "wan causal start",
            ],
            inputs=[
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE, which encodes the pictures and will decode the video."),
                io.Image.Input(
                    "start_image",
                    tooltip="The first frame; or a clip, whose last 1 + 4k frames the video begins with.",
                ),
                *size_inputs(),
                batch_input(),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How pictures of another shape come to the video's size: crop cuts off what stands over "
                    "(centred), pad adds black bars, stretch distorts.",
                ),
                memory_input("How much of the GPU to use, and how many strips."),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="LATENT", tooltip="The latent with its given frames, for the Wan Sampler."
                )
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        check_video_size(width, height, frames)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        vae: Any,
        start_image: Any,
        width: int,
        height: int,
        frames: int,
        batch_size: int,
        fit: str,
        memory: MemorySettings | None = None,
    ) -> Any:
        blank = empty_latent(vae, width, height, frames, batch_size)
        clip = _whole_latents(clean_clip(start_image, "start_image"), frames)
        shown = fit_pictures(clip, width, height, choice_of(fit, FITS, "fit"))
        return io.NodeOutput(begun_latent(blank, with_memory(vae, memory).encode(shown)))


def _whole_latents(clip: Tensor, frames: int) -> Tensor:
    """The last frames of a clip that are whole latent frames, fewer than the video has.

    Raises:
        InvalidInputError: they leave nothing to make.
    """
    usable = len(clip) - (len(clip) - 1) % TEMPORAL_STRIDE
    if usable >= frames:
        raise InvalidInputError(
            f"start_image is a clip of {len(clip)} frames, and a video of {frames} has none to make after it. Make the "
            "video longer, or give fewer."
        )
    return clip[-usable:]
