"""The node whose prompts take turns over a clip."""

from __future__ import annotations

import math
from typing import Any

from ...common.checking import check_number, check_string, choice_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...engine.memory import MemorySettings
from ...sampling.travel import PromptSchedule
from ..api import ADVANCED, io, one_sentence
from ..conditioning.travel import in_turns
from ..options.memory import memory_input
from ..text import CATEGORY, encoded_prompts
from .lines import read_lines

ATTENTION, PASSES = METHODS = ("attention", "passes")


class WanDirectorPromptTravel(io.ComfyNode):
    """One side of the guidance whose prompt changes over the clip."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorPromptTravel",
            display_name="Wan Prompt Travel",
            category=CATEGORY,
            description="Prompts that take turns over the clip, each from the frame, second or part of the clip in its "
            "line. For Wan Sampler.",
            search_aliases=["prompt schedule", "prompt travel", "BatchPromptSchedule", "prompt relay", "keyframes"],
            inputs=[
                io.Clip.Input("text_encoder", tooltip="From Load Wan Text Encoder (or ComfyUI's Load CLIP, type wan)."),
                io.String.Input(
                    "prompts",
                    multiline=True,
                    default="",
                    dynamic_prompts=True,
                    tooltip="A line for each: 0: a cat sits, 24: the cat jumps. Times are frames, seconds (1.5s) or "
                    "parts of the clip (50%); the first is 0.",
                ),
                io.String.Input(
                    "global_prompt",
                    multiline=True,
                    default="",
                    dynamic_prompts=True,
                    tooltip="Put before each prompt: what stays, as subject, place, light and style.",
                ),
                io.Int.Input(
                    "transition",
                    default=8,
                    min=0,
                    max=1000,
                    tooltip="Frames over which a prompt crosses over to the next; its time is the middle of them. 0 "
                    "is a cut, to the exactness of a latent frame (4 frames).",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default=ATTENTION,
                    tooltip="attention: each frame looks at its own prompt, in one pass of the model. passes: a pass "
                    "for each prompt in every step, mixed by frame; slower.",
                    **ADVANCED,
                ),
                memory_input("Where to encode, and how much of the GPU to use."),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="For positive (or negative), as of Wan Text Encode."
                )
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls,
        text_encoder: Any,
        prompts: str,
        global_prompt: str,
        transition: int,
        method: str,
        memory: MemorySettings | None = None,
    ) -> Any:
        for name, text in (("prompts", prompts), ("global_prompt", global_prompt)):
            check_string(text, name)
        check_number(transition, "transition")
        choice_of(method, METHODS, "method")
        if not 0 <= transition < math.inf:
            raise InvalidInputError(f"A transition takes 0 frames or more, got {transition}. Use 0 for a cut.")
        lines = read_lines(prompts, global_prompt)
        schedule = PromptSchedule(tuple(line.start for line in lines), transition)
        encoded = encoded_prompts(text_encoder, [line.prompt for line in lines], memory)
        if method == PASSES and len(lines) > 1:
            logger.info("Prompt travel by passes: %d passes of the model a step, one for each prompt.", len(lines))
        return io.NodeOutput(in_turns(encoded, schedule, in_one_pass=method == ATTENTION))
