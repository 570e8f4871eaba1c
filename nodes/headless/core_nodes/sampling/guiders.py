"""Nodes that put a model and its prompts together for a custom run."""

from __future__ import annotations

from typing import Any

from .....sampling.validation import MAX_CFG, check_cfg
from .... import standin as io
from ....sockets.native_model import NativeModel, native_model
from ..dynamic_inputs import Model
from .parts import GuidedBy, Guider


def cfg_input() -> Any:
    """The widget of the guidance scale."""
    return io.Float.Input(
        "cfg",
        default=8.0,
        min=0.0,
        max=MAX_CFG,
        step=0.1,
        round=0.01,
        tooltip="How strongly the prompt counts; at 1 the negative prompt is off.",
    )


class CFGGuider(io.ComfyNode):
    """Two prompts and how strongly they count."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="CFGGuider",
            display_name="CFG Guider",
            category="model/sampling/guiders",
            inputs=[
                Model.Input("model"),
                io.Conditioning.Input("positive", tooltip="What the video should show."),
                io.Conditioning.Input("negative", tooltip="What it should not show; not used at cfg 1."),
                cfg_input(),
            ],
            outputs=[Guider.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, positive: list, negative: list, cfg: float) -> Any:
        check_cfg(cfg)
        return io.NodeOutput(GuidedBy(native_model(model), positive, negative, cfg))


class BasicGuider(io.ComfyNode):
    """One prompt, at cfg 1."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="BasicGuider",
            display_name="Basic Guider",
            category="model/sampling/guiders",
            inputs=[Model.Input("model"), io.Conditioning.Input("conditioning", tooltip="What the video should show.")],
            outputs=[Guider.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, conditioning: list) -> Any:
        return io.NodeOutput(GuidedBy(native_model(model), conditioning, conditioning, 1.0))
