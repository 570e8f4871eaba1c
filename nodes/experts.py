"""The node that joins the two experts of Wan 2.2 A14B into one model."""

from __future__ import annotations

from typing import Any

from ..common.errors import InvalidInputError, PairingError
from ..engine.models import with_low_noise
from ..sampling.cache import RatioRecorder
from ..sampling.validation import MAX_CFG, MAX_STEPS
from .api import io, one_sentence
from .loaders import CATEGORY, WanModelType
from .sockets.models import WanModel


class WanDirectorExperts(io.ComfyNode):
    """Two models, of which the one makes the noisy steps and the other the rest."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorExperts",
            display_name="Wan Two Experts",
            category=CATEGORY,
            description="Joins the two files of a Wan 2.2 14B model: the high-noise expert lays out the video in the "
            "first steps, the low-noise expert draws it in the rest. One sampler then runs both, and changes over by "
            "itself where the model was trained to.",
            search_aliases=[
                "wan 2.2",
                "wan two experts",
                "a14b",
                "high noise",
                "low noise",
                "moe",
                "ksampler advanced",
                "KSamplerAdvanced",
            ],
            inputs=[
                WanModelType.Input("high_noise", tooltip="The file with high_noise in its name."),
                WanModelType.Input("low_noise", tooltip="The file with low_noise in its name."),
                io.Float.Input(
                    "low_noise_cfg",
                    default=0.0,
                    min=0.0,
                    max=MAX_CFG,
                    step=0.1,
                    round=0.01,
                    tooltip="cfg of the low-noise expert; the sampler's cfg is the high-noise expert's. 0: the same. "
                    "Official: 3 beside 4 for text to video, 3.5 for both with a picture.",
                ),
                io.Int.Input(
                    "high_noise_steps",
                    default=0,
                    min=0,
                    max=MAX_STEPS,
                    tooltip="How many of the sampler's steps the high-noise expert makes. 0: as trained, which depends "
                    "on shift and schedule. LoRAs for few steps often say a number.",
                ),
            ],
            outputs=[
                WanModelType.Output(
                    display_name="model",
                    tooltip="Both as one model, for the sampler. A Wan LoRA behind it works on both.",
                )
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, high_noise: WanModel, low_noise: WanModel, low_noise_cfg: float, high_noise_steps: int) -> Any:
        for name, model in (("high_noise", high_noise), ("low_noise", low_noise)):
            if model.low_noise is not None:
                raise PairingError(
                    f"What is connected as {name} is a pair of experts already ({model.file} and "
                    f"{model.low_noise.model.file}). Connect one model, from Load Wan Model or Wan LoRA."
                )
            if isinstance(model.policies.cache, RatioRecorder):
                raise InvalidInputError(
                    f"Wan Step Cache with the method record stands before Wan Two Experts, as {name}, and would see "
                    "the steps of one alone. Put it behind Wan Two Experts."
                )
        return io.NodeOutput(with_low_noise(high_noise, low_noise, low_noise_cfg or None, high_noise_steps))
