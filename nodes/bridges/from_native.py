"""The node that gives a model that ComfyUI loaded to our sampler."""

from __future__ import annotations

from typing import Any

from ...dit.attention import ATTENTION, resolve_attention
from ..api import ADVANCED, io, one_sentence
from ..hosts.host import host
from ..loaders import ATTENTION_TIP, WanModelType

CATEGORY = "Wan Director/bridges"
MODEL = io.Custom("MODEL")


class WanDirectorFromNative(io.ComfyNode):
    """A native MODEL for our sampler, over the same weights."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorFromNative",
            display_name="Wan From Native",
            category=CATEGORY,
            description="Gives a Wan model of ComfyUI's own loaders to Wan Sampler. The weights are shared, not loaded "
            "again; LoRAs that lie on it come along. What else lies on it, such as guidance or attention patches, is "
            "refused by name. Native VAE and CLIP need no such node: our nodes take them as they are.",
            search_aliases=["convert model", "bridge", "native model", "unet loader", "load diffusion model"],
            inputs=[
                MODEL.Input(
                    "model",
                    tooltip="A Wan model of Load Diffusion Model or Load Checkpoint, with or without native LoRA "
                    "loaders and ModelSamplingSD3 in between.",
                ),
                io.Combo.Input(
                    "attention",
                    options=list(ATTENTION),
                    default="auto",
                    tooltip=f"The attention kernel of Wan Sampler. {ATTENTION_TIP}",
                    **ADVANCED,
                ),
            ],
            outputs=[
                WanModelType.Output(
                    display_name="model", tooltip="The model for Wan Sampler, Wan LoRA and Wan Two Experts."
                ),
                io.Float.Output(
                    display_name="shift",
                    tooltip="The shift of the MODEL: that of ModelSamplingSD3, or 8 without one. Wire it to the shift "
                    "of Wan Sampler for the steps that KSampler would make.",
                ),
            ],
        )

    @classmethod
    @one_sentence
    def execute(cls, model: Any, attention: str) -> Any:
        resolve_attention(attention)
        native = host().from_native(model).with_attention(attention)
        return io.NodeOutput(native.model, native.shift)
