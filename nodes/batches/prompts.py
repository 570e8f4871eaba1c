"""The node that turns lines of prompts into batches of one shape."""

from __future__ import annotations

from typing import Any

from ...common.buckets import Batch, Bucket
from ...common.checking import check_string
from ...common.log import logger
from ...common.shapes import MAX_BATCH, VideoShape
from ...engine.memory import MemorySettings
from ..api import io, one_sentence
from ..conditioning.official_negative import OFFICIAL_NEGATIVE
from ..image import size_inputs
from ..options.memory import memory_input
from ..sockets.latents import check_video_size
from ..text import CATEGORY, encoded_prompts
from .grouping import batch_latent, grouped, joined
from .lines import read_lines
from .order import BatchOrder, BatchOrderType, listed


class WanDirectorBatchPrompts(io.ComfyNode):
    """Prompts of any sizes, in batches of equal ones."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorBatchPrompts",
            display_name="Wan Batch Prompts",
            category=CATEGORY,
            description="A video for each line of prompts, in batches of the same size and length. Wan Sampler behind "
            "it runs once for each batch; Wan Unbatch puts the videos back into the order of the lines.",
            search_aliases=["prompt list", "batch prompts", "multiple prompts", "prompts from text", "queue prompts"],
            inputs=[
                io.Clip.Input("text_encoder", tooltip="From Load Wan Text Encoder (or ComfyUI's Load CLIP, type wan)."),
                io.Vae.Input("vae", tooltip="The VAE that will decode the videos; it decides the latents' form."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="",
                    dynamic_prompts=True,
                    tooltip="A video for each line. A size (480x832) or a size and length (480x832x49), with a bar "
                    "behind it, may stand before a prompt. Lines that begin with # are left out.",
                ),
                io.String.Input(
                    "negative",
                    multiline=True,
                    default=OFFICIAL_NEGATIVE,
                    dynamic_prompts=True,
                    tooltip="What to avoid in all of them; the default is the official list. Not used at cfg 1.",
                ),
                *size_inputs(),
                io.Int.Input(
                    "batch_size",
                    default=4,
                    min=1,
                    max=MAX_BATCH,
                    tooltip="How many videos of this width, height and length are made at once at most: of larger or "
                    "longer ones fewer, of smaller ones more, so that a batch never has more tokens.",
                ),
                memory_input("Where to encode, and how much of the GPU to use."),
            ],
            outputs=[
                listed(io.Conditioning, "positive", "The prompts of each batch, for Wan Sampler."),
                io.Conditioning.Output(display_name="negative", tooltip="The encoded negative prompt, for all."),
                listed(io.Latent, "LATENT", "A blank latent for each batch, for Wan Sampler."),
                BatchOrderType.Output(display_name="order", tooltip="Which prompt is where, for Wan Unbatch."),
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
        text_encoder: Any,
        vae: Any,
        prompts: str,
        negative: str,
        width: int,
        height: int,
        frames: int,
        batch_size: int,
        memory: MemorySettings | None = None,
    ) -> Any:
        for name, text in (("prompts", prompts), ("negative", negative)):
            check_string(text, name)
        lines = read_lines(prompts)
        made = grouped(lines, vae, VideoShape(frames, height, width), batch_size)
        latents = [batch_latent(vae, batch) for batch in made]
        *each, avoided = encoded_prompts(text_encoder, [*(line.prompt for line in lines), negative], memory)
        positive = [joined([each[number] for number in batch.members]) for batch in made]
        order = BatchOrder(tuple(line.prompt for line in lines), tuple(batch.members for batch in made))
        _tell(made, len(lines))
        return io.NodeOutput(positive, avoided, latents, order)


def _tell(made: tuple[Batch[Bucket], ...], count: int) -> None:
    shapes = {batch.bucket for batch in made}
    logger.info("Wan Batch Prompts: %d videos of %d shapes in %d batches.", count, len(shapes), len(made))
