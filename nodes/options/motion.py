"""The node that says how much a video moves."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

from ...common.errors import InvalidInputError
from ...engine.models import VideoModel, with_policies
from ...engine.sampling.policies import StepPolicies
from ...sampling.ask import OtherText
from ...sampling.guidance import PartOfSteps, SliderSettings
from ..api import ADVANCED, io, one_sentence
from ..loaders import WanModelType
from ..text import encoded_prompts

METHODS = ("time", "words", "both")
CALM, LIVELY = "static shot, still, barely moving", "dynamic motion, fast movement"


class WanDirectorMotion(io.ComfyNode):
    """How much the videos of a model move."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorMotion",
            display_name="Wan Motion",
            category="Wan Director/options",
            description="More or less motion, with the same subject and scene. At 0 it changes nothing.",
            search_aliases=["motion amount", "motion bucket", "speed", "slow motion", "scale rope", "painter"],
            inputs=[
                WanModelType.Input("model", tooltip="From Load Wan Model, Wan LoRA or Wan Two Experts."),
                io.Float.Input(
                    "amount",
                    default=0.0,
                    min=-1.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="-1 is calm, 0 as the model does it, 1 lively.",
                ),
                io.Combo.Input(
                    "method",
                    options=list(METHODS),
                    default="time",
                    tooltip="time: the model sees the frames closer together or further apart, at no cost. words: "
                    "towards lively or calm words, for two passes more in its steps. both adds up.",
                ),
                io.Float.Input(
                    "words_end",
                    default=0.5,
                    min=0.0,
                    max=1.0,
                    step=0.05,
                    round=0.001,
                    tooltip="Up to which part of the steps the words count; motion is made in the first half.",
                    **ADVANCED,
                ),
                io.String.Input("calm_words", default=CALM, tooltip="Put behind the prompt for less.", **ADVANCED),
                io.String.Input(
                    "lively_words", default=LIVELY, tooltip="Put behind the prompt for more.", **ADVANCED
                ),
                io.Clip.Input(
                    "text_encoder", optional=True, tooltip="From Load Wan Text Encoder; needed for words and both."
                ),
                io.String.Input(
                    "prompt",
                    optional=True,
                    multiline=True,
                    default="",
                    tooltip="The positive prompt again, for words and both.",
                ),
            ],
            outputs=[
                WanModelType.Output(display_name="model", tooltip="The model, for the sampler or another option.")
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls,
        model: VideoModel,
        amount: float,
        method: str,
        words_end: float,
        calm_words: str,
        lively_words: str,
        text_encoder: Any = None,
        prompt: str = "",
    ) -> Any:
        if not amount:
            return io.NodeOutput(model)
        if method != "words":
            model = with_policies(model, partial(_in_time, amount=amount))
        if method != "time":
            lively, calm = (_text(text_encoder, prompt, words) for words in (lively_words, calm_words))
            part = PartOfSteps(0.0, words_end)
            slider = partial(SliderSettings, lively, calm, amount, part)
            model = with_policies(model, lambda policies: replace(policies, guidance=slider(policies.guidance)))
        return io.NodeOutput(model)


def _in_time(policies: StepPolicies, amount: float) -> StepPolicies:
    """Frames 2^amount times as far apart as they were."""
    frames, *others = policies.places.scale
    places = policies.places._replace(scale=(frames * 2.0**amount, *others))
    return replace(policies, places=places)


def _text(text_encoder: Any, prompt: str, words: str) -> OtherText:
    if text_encoder is None:
        raise InvalidInputError(
            "Motion by words needs a text encoder and the prompt, and no encoder is connected. Connect Load Wan Text "
            "Encoder and write the prompt again, or choose the method time."
        )
    both = ", ".join(part for part in (prompt.strip(), words.strip()) if part)
    (encoded,) = encoded_prompts(text_encoder, (both,))
    return OtherText(encoded[0][0])
