"""The node that gives a clip to a model made for editing by instruction."""

from __future__ import annotations

from typing import Any

from ...common.errors import InvalidInputError
from ...engine.memory import MemorySettings
from ...media.pictures import clean_clip
from ..api import io, one_sentence
from ..conditioning.entries import with_values
from ..conditioning.keyframes import SOURCE_TAG
from ..conditioning.reading import in_form
from ..image import CATEGORY
from ..options.memory import memory_input, with_memory
from ..sockets.latents import empty_latent, made_by


class WanDirectorSourceVideo(io.ComfyNode):
    """The conditioning and latent of a clip that a Lucy-Edit model edits."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorSourceVideo",
            display_name="Wan Source Video",
            category=CATEGORY,
            description="Gives a clip to a Lucy-Edit model, which edits it as the prompt tells: Change, Add, Replace, "
            "Remove or Transform.",
            search_aliases=["lucy edit", "edit video", "instruction editing", "video editing", "vid2vid", "v2v"],
            inputs=[
                io.Conditioning.Input(
                    "positive",
                    tooltip="The instruction. It begins with Change, Add, Replace, Remove or Transform, and says what "
                    "the result looks like.",
                ),
                io.Conditioning.Input("negative", tooltip="What to avoid; an empty text is usual."),
                io.Vae.Input("vae", tooltip="The VAE of TI2V-5B, which encodes the clip and decodes the result."),
                io.Image.Input(
                    "images",
                    tooltip="The clip: 1 + 4k frames, 81 at 24 frames a second; width and height multiples of 32.",
                ),
                memory_input("How much of the GPU to use, and how many strips."),
            ],
            outputs=[
                io.Conditioning.Output(display_name="positive", tooltip="The instruction with the clip."),
                io.Conditioning.Output(display_name="negative", tooltip="The negative prompt with the clip."),
                io.Latent.Output(display_name="LATENT", tooltip="A blank latent of the clip's size, for Wan Sampler."),
            ],
        )

    @classmethod
    @one_sentence
    def execute(
        cls, positive: list, negative: list, vae: Any, images: Any, memory: MemorySettings | None = None
    ) -> Any:
        if any(SOURCE_TAG in values for side in (positive, negative) for _embedding, values in in_form(side)):
            raise InvalidInputError(
                "The conditioning has a source clip already, which this would replace. Use one Wan Source Video."
            )
        vae = with_memory(vae, memory)
        clip = clean_clip(images, "images")
        latent = empty_latent(vae, clip.shape[2], clip.shape[1], clip.shape[0], 1)
        values = {"concat_latent_image": vae.encode(clip), SOURCE_TAG: True} | made_by(vae)
        return io.NodeOutput(with_values(positive, values), with_values(negative, values), latent)
