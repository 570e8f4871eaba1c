"""The node that edits a picture by an instruction."""

from __future__ import annotations

from typing import Any

from ...engine.memory import MemorySettings
from ...engine.sampling.settings import SamplerSettings
from ...media.pictures import clean_image
from ...sampling.validation import MAX_STEPS
from ..api import io, one_sentence
from ..loaders import WanModelType
from ..options.memory import memory_input
from ..sampler import cfg_input, seed_input, shift_input, solver_inputs, steps_input
from .picture_clip import Instruction, Picture
from .pictured import edited_picture


def _widgets() -> list[Any]:
    """How the steps are made."""
    return [
        seed_input("The noise to start from; the same seed and settings give the same picture."),
        steps_input("How often the model is asked: 20 to 50, or 8 with the LoRA for few steps."),
        cfg_input("How strongly the instruction counts: 4 to 5. With the LoRA for few steps 1."),
        shift_input("How much time is spent at high noise: 5. With the LoRA for few steps 2."),
        *solver_inputs(),
        io.Int.Input(
            "reasoning_steps",
            default=0,
            min=0,
            max=MAX_STEPS,
            tooltip="How many of the first steps make a clip of 29 frames from the picture to its edit, as the model "
            "thinks it through; 0 is off, a few are enough. Such a step takes at least four times as long.",
        ),
    ]


class WanDirectorEditPicture(io.ComfyNode):
    """Edits a picture by an instruction."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorEditPicture",
            display_name="Wan Edit Picture",
            category="Wan Director/sampling",
            description="Edits a picture by an instruction, with ChronoEdit: as the last frame of a short clip that "
            "begins with it, so that it stays the same scene.",
            search_aliases=["chronoedit", "chrono edit", "image edit", "instruct", "edit image", "inpaint by words"],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model: ChronoEdit, with or without a LoRA."),
                io.Conditioning.Input("positive", tooltip="The instruction, and what the edited picture shows."),
                io.Conditioning.Input("negative", tooltip="What to avoid; an empty text is usual."),
                io.Vae.Input("vae", tooltip="The VAE of Wan 2.1, which encodes the picture and decodes its edit."),
                io.Image.Input(
                    "image",
                    tooltip="The picture; of several the first. Its sides are multiples of 16: Wan Fit Size brings it "
                    "there.",
                ),
                *_widgets(),
                io.ClipVisionOutput.Input(
                    "clip_vision", optional=True, tooltip="The picture through CLIP vision, as the model was trained."
                ),
                memory_input("How much of the GPU to use, and how many blocks to swap."),
            ],
            outputs=[
                io.Image.Output(display_name="IMAGE", tooltip="The edited picture."),
                io.Latent.Output(
                    display_name="LATENT",
                    tooltip="The picture and its edit, a clip of 5 frames for Wan Decode Video.",
                ),
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
        image: Any,
        seed: int,
        steps: int,
        cfg: float,
        shift: float,
        solver: str,
        schedule: str,
        reasoning_steps: int,
        clip_vision: Any = None,
        memory: MemorySettings | None = None,
    ) -> Any:
        settings = SamplerSettings(seed, steps, cfg, shift, solver, schedule)
        picture = Picture(clean_image(image, "image"), vae, clip_vision)
        texts = Instruction(positive, negative, shift)
        return io.NodeOutput(*edited_picture(model, texts, picture, settings, reasoning_steps, memory))
