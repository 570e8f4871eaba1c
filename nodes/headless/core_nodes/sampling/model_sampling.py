"""The shift of a model's schedules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .....sampling.validation import check_shift
from .... import standin as io
from ....sockets.native_model import NativeModel, native_model
from ..dynamic_inputs import Model


class ModelSamplingSD3(io.ComfyNode):
    """The shift of a model's schedules."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ModelSamplingSD3",
            category="model/patch/stable diffusion",
            inputs=[
                Model.Input("model"),
                io.Float.Input(
                    "shift",
                    default=3.0,
                    min=0.0,
                    max=100.0,
                    step=0.01,
                    tooltip="How much time is spent at high noise, where motion and layout arise: 3 to 16.",
                ),
            ],
            outputs=[Model.Output()],
        )

    @classmethod
    def execute(cls, model: NativeModel, shift: float) -> Any:
        check_shift(shift)
        return io.NodeOutput(replace(native_model(model), shift=shift))
