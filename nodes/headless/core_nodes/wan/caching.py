"""ComfyUI's node that spares steps."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .....common.errors import InvalidInputError
from .....common.records import record
from .....engine.models import with_policies
from .....sampling.cache import NO_CACHE, OutputChange, StepCache, TransformationRate
from .....sampling.prompts import sigma_of_percent
from .....sampling.step import NoiseLevel
from .... import standin as io
from ....sockets.native_model import NativeModel, native_model

_STRIDE = 8
"""Rows and columns of the latent between those that count there."""


@record
class _Active:
    """The steps that begin at a sigma of at most `highest` and of more than `above`, as there."""

    highest: float
    above: float

    def holds(self, level: NoiseLevel) -> bool:
        """See `guidance.parts.Part`."""
        return self.above < level.sigma <= self.highest


class EasyCache(io.ComfyNode):
    """Steps in which the answer changes little are made from the last one."""

    @classmethod
    def define_schema(cls) -> Any:
        part = {"min": 0.0, "max": 1.0, "step": 0.01, "advanced": True}
        return io.Schema(
            node_id="EasyCache",
            category="advanced/debug",
            inputs=[
                io.Model.Input("model"),
                io.Float.Input(
                    "reuse_threshold",
                    default=0.2,
                    min=0.0,
                    max=3.0,
                    step=0.01,
                    advanced=True,
                    tooltip="How far answers may drift; 0 is off.",
                ),
                io.Float.Input("start_percent", default=0.15, **part, tooltip="From this part of the noise on."),
                io.Float.Input("end_percent", default=0.95, **part, tooltip="Up to this part of the noise."),
                io.Boolean.Input(
                    "verbose", default=False, advanced=True, tooltip="The log says what was spared in any case."
                ),
            ],
            outputs=[io.Model.Output()],
        )

    @classmethod
    def execute(
        cls, model: NativeModel, reuse_threshold: float, start_percent: float, end_percent: float, verbose: bool
    ) -> Any:
        model = native_model(model)
        if model.model.policies.cache != NO_CACHE:
            raise InvalidInputError("The model has a step cache already, and a run has one. Take one EasyCache away.")
        active = _Active(*(sigma_of_percent(percent, model.shift) for percent in (start_percent, end_percent)))
        cache = StepCache(TransformationRate(_STRIDE), OutputChange(), reuse_threshold, active, fewest_steps=0)
        video = with_policies(model.model, lambda policies: replace(policies, cache=cache))
        return io.NodeOutput(replace(model, model=video))
