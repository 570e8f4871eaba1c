"""Nodes that make noise levels: a scheduler of a model, or a formula."""

from __future__ import annotations

import math
from typing import Any

import torch

from .....common.errors import InvalidInputError
from .....sampling.prompts import sigma_of_percent
from .....sampling.schedule import make_schedule
from .... import standin as io
from ....api import answer
from ....sockets.native_model import NativeModel, native_model
from ..dynamic_inputs import Model
from .names import SCHEDULERS, check_names, schedule_named

MOST_STEPS = 10000
_TRAINED_LEVELS = 1000


class BasicScheduler(io.ComfyNode):
    """The noise levels of one of the schedulers of KSampler, for a model's shift."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="BasicScheduler",
            category="model/sampling/schedulers",
            inputs=[
                Model.Input("model", tooltip="Its shift counts, see ModelSamplingSD3."),
                io.Combo.Input("scheduler", options=SCHEDULERS, tooltip="Where the steps lie between noise and video."),
                io.Int.Input("steps", default=20, min=1, max=MOST_STEPS, tooltip="At most 1000 here."),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="Below 1, the last part of a longer schedule.",
                ),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def validate_inputs(cls, scheduler: str | None = None) -> bool | str:
        return answer(check_names, None, scheduler)

    @classmethod
    def execute(cls, model: NativeModel, scheduler: str, steps: int, denoise: float) -> Any:
        shift = native_model(model).shift
        if denoise <= 0.0:
            return io.NodeOutput(torch.zeros(0))
        return io.NodeOutput(make_schedule(schedule_named(scheduler), steps, shift, denoise).sigmas.float())


class KarrasScheduler(io.ComfyNode):
    """Levels evenly spaced in their root of order rho."""

    @classmethod
    def define_schema(cls) -> Any:
        rho = io.Float.Input("rho", default=7.0, min=0.0, max=100.0, step=0.01, round=False, advanced=True)
        return _formula("KarrasScheduler", rho)

    @classmethod
    def execute(cls, steps: int, sigma_max: float, sigma_min: float, rho: float) -> Any:
        _check_formula(sigma_max, sigma_min, rho)
        first, last = sigma_max ** (1 / rho), sigma_min ** (1 / rho)
        return io.NodeOutput(_to_zero((first + torch.linspace(0, 1, steps) * (last - first)) ** rho))


class ExponentialScheduler(io.ComfyNode):
    """Levels evenly spaced in their logarithm."""

    @classmethod
    def define_schema(cls) -> Any:
        return _formula("ExponentialScheduler")

    @classmethod
    def execute(cls, steps: int, sigma_max: float, sigma_min: float) -> Any:
        _check_formula(sigma_max, sigma_min)
        return io.NodeOutput(_to_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), steps).exp()))


class PolyexponentialScheduler(io.ComfyNode):
    """Levels whose logarithm is a power of the step."""

    @classmethod
    def define_schema(cls) -> Any:
        rho = io.Float.Input("rho", default=1.0, min=0.0, max=100.0, step=0.01, round=False, advanced=True)
        return _formula("PolyexponentialScheduler", rho)

    @classmethod
    def execute(cls, steps: int, sigma_max: float, sigma_min: float, rho: float) -> Any:
        _check_formula(sigma_max, sigma_min, rho)
        last = math.log(sigma_min)
        return io.NodeOutput(_to_zero((torch.linspace(1, 0, steps) ** rho * (math.log(sigma_max) - last) + last).exp()))


class SamplingPercentToSigma(io.ComfyNode):
    """The noise level at a part of a model's schedule."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SamplingPercentToSigma",
            category="model/sampling/sigmas",
            inputs=[
                Model.Input("model", tooltip="Its shift counts, see ModelSamplingSD3."),
                io.Float.Input("sampling_percent", default=0.0, min=0.0, max=1.0, step=0.0001),
                io.Boolean.Input(
                    "return_actual_sigma", default=False, tooltip="At 1, the lowest trained level instead of 0."
                ),
            ],
            outputs=[io.Float.Output(display_name="sigma_value")],
        )

    @classmethod
    def execute(cls, model: NativeModel, sampling_percent: float, return_actual_sigma: bool) -> Any:
        is_lowest = return_actual_sigma and sampling_percent == 1.0
        percent = 1.0 - 1.0 / _TRAINED_LEVELS if is_lowest else sampling_percent
        return io.NodeOutput(sigma_of_percent(percent, native_model(model).shift))


def _formula(name: str, *more: Any) -> Any:
    return io.Schema(
        node_id=name,
        category="model/sampling/schedulers",
        inputs=[
            io.Int.Input("steps", default=20, min=1, max=MOST_STEPS),
            _level_input("sigma_max", 14.614642, "The first level: at most 1 for Wan models."),
            _level_input("sigma_min", 0.0291675, "The last level before 0."),
            *more,
        ],
        outputs=[io.Sigmas.Output()],
    )


def _level_input(name: str, default: float, tooltip: str) -> Any:
    return io.Float.Input(
        name, default=default, min=0.0, max=5000.0, step=0.01, round=False, advanced=True, tooltip=tooltip
    )


def _check_formula(highest: float, lowest: float, rho: float = 1.0) -> None:
    if not (0.0 < lowest <= highest and rho > 0.0):
        raise InvalidInputError(
            f"Noise levels from {highest:g} down to {lowest:g} with rho {rho:g} cannot be spaced. sigma_min and rho "
            "are above 0, and sigma_max is not below sigma_min; for Wan models it is at most 1."
        )


def _to_zero(sigmas: torch.Tensor) -> torch.Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
