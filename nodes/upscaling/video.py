"""The node that makes a clip larger."""

from __future__ import annotations

from typing import Any

from ...common.shapes import MAX_SIDE
from ...engine.memory import MemorySettings
from ...engine.sampling.settings import SamplerSettings
from ..api import io, one_sentence
from ..loaders import WanModelType
from ..options.memory import memory_input
from ..options.tiles import ByPixels, tile_inputs
from ..sampler import cfg_input, seed_input, shift_input, solver_inputs, steps_input
from .checks import Tools
from .picture_model import UPSCALE_MODEL
from .target import Target
from .upscaled import upscaled

UpscaleModel = io.Custom(UPSCALE_MODEL)


def _size_inputs() -> list[Any]:
    """How large the clip becomes."""
    return [
        io.Float.Input(
            "factor",
            default=2.0,
            min=1.0,
            max=8.0,
            step=0.05,
            round=0.001,
            tooltip="How many times as wide and high. Sides become the nearest multiples of 16 (of 32 for TI2V-5B).",
        ),
        io.Int.Input(
            "width",
            default=0,
            min=0,
            max=MAX_SIDE,
            step=16,
            tooltip="Width in pixels, in place of factor. 0: it follows from the height, or from factor.",
        ),
        io.Int.Input(
            "height",
            default=0,
            min=0,
            max=MAX_SIDE,
            step=16,
            tooltip="Height in pixels, in place of factor. 0: it follows from the width, or from factor. Where the "
            "shape is another one, the middle is taken.",
        ),
    ]


def _step_inputs() -> list[Any]:
    """How many steps, how each is guided, and how much they change."""
    return [
        seed_input("The noise that is put into the enlarged clip; the same seed and settings give the same video."),
        steps_input("Steps that are made, each in all tiles: 4 to 10.", default=8),
        cfg_input(
            "How strongly the prompt counts: 1 to 5. At 1 the negative prompt is off and it takes half the time."
        ),
        shift_input(
            "How much noise a denoise puts in: 0.25 begins at noise level 0.62 with shift 5, at 0.5 with shift 3, at "
            "0.25 with shift 1."
        ),
        *solver_inputs(),
        io.Float.Input(
            "denoise",
            default=0.25,
            min=0.0,
            max=1.0,
            step=0.01,
            tooltip="How much is drawn anew. 0.15 to 0.3 adds detail; more invents, and tiles draw things of their "
            "own. 0 enlarges alone.",
        ),
    ]


class WanDirectorUpscaleVideo(io.ComfyNode):
    """Makes a clip larger and draws its details anew."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorUpscaleVideo",
            display_name="Wan Upscale Video",
            category="Wan Director/sampling",
            description="Makes a finished clip larger: enlarges its frames, and lets the model draw details in tiles "
            "that overlap, so that 1280 x 2048 takes the memory of 480p. Wan Decode To Video then writes frame by "
            "frame.",
            search_aliases=[
                "upscale video",
                "super resolution",
                "ultimate sd upscale",
                "hires fix",
                "tiled upscale",
                "enhance",
                "4k",
                "ImageUpscaleWithModel",
            ],
            inputs=[
                WanModelType.Input(
                    "model",
                    tooltip="A text-to-video model: 1.3B, 14B, TI2V-5B, or the low-noise expert of A14B. An "
                    "image-to-video model needs Wan Image To Video in the new size. With Wan Windows, its windows "
                    "count; without, longer clips than the model was trained for are seen in parts.",
                ),
                io.Conditioning.Input("positive", tooltip="What the clip shows, all of it, in general words."),
                io.Conditioning.Input("negative", tooltip="What it should not show; not used at cfg 1."),
                io.Vae.Input("vae", tooltip="The VAE that belongs to the model."),
                io.Image.Input("images", tooltip="The clip: 1 + 4k frames of any size."),
                *_size_inputs(),
                *_step_inputs(),
                *tile_inputs("tile_"),
                UpscaleModel.Input(
                    "upscale_model",
                    optional=True,
                    tooltip="From Load Upscale Model: enlarges each frame first. Without one, by bicubic.",
                ),
                memory_input("How much of the GPU to use, how many blocks to swap, and how many strips."),
            ],
            outputs=[
                io.Latent.Output(
                    display_name="LATENT",
                    tooltip="The large clip, for Wan Decode To Video, which holds a few frames at a time.",
                )
            ],
        )

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: Any,
        positive: list,
        negative: list,
        vae: Any,
        images: Any,
        factor: float,
        width: int,
        height: int,
        seed: int,
        steps: int,
        cfg: float,
        shift: float,
        solver: str,
        schedule: str,
        denoise: float,
        tile_width: int,
        tile_height: int,
        tile_overlap: int,
        upscale_model: Any = None,
        memory: MemorySettings | None = None,
    ) -> Any:
        tools, tiles = Tools(vae, (positive, negative), upscale_model), ByPixels(tile_width, tile_height, tile_overlap)
        settings = SamplerSettings(seed, steps, cfg, shift, solver, schedule, denoise)
        made = upscaled(model, tools, images, Target(factor, width, height), tiles, settings, memory)
        return io.NodeOutput(made)
