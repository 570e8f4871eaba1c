"""Nodes that cut, turn and change noise levels, or take them as text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .....common.errors import InvalidInputError
from .... import standin as io
from .parts import sigmas_of

_TURNED_ZERO = 1e-4
"""What a table that began at 0 begins at, so that it can be walked."""


def _two_parts() -> list[Any]:
    return [io.Sigmas.Output(display_name="high_sigmas"), io.Sigmas.Output(display_name="low_sigmas")]


class SplitSigmas(io.ComfyNode):
    """The first steps, and the others; the level between them is in both."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SplitSigmas",
            category="model/sampling/sigmas",
            inputs=[
                io.Sigmas.Input("sigmas"),
                io.Int.Input("step", default=0, min=0, max=10000, tooltip="How many steps are in the first part."),
            ],
            outputs=_two_parts(),
        )

    @classmethod
    def execute(cls, sigmas: Tensor, step: int) -> Any:
        sigmas = sigmas_of(sigmas)
        return io.NodeOutput(sigmas[: step + 1], sigmas[step:])


class SplitSigmasDenoise(io.ComfyNode):
    """All but the last part of the steps, and that part."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SplitSigmasDenoise",
            category="model/sampling/sigmas",
            inputs=[
                io.Sigmas.Input("sigmas"),
                io.Float.Input(
                    "denoise",
                    default=1.0,
                    min=0.0,
                    max=1.0,
                    step=0.01,
                    tooltip="How much the last part is.",
                ),
            ],
            outputs=_two_parts(),
        )

    @classmethod
    def execute(cls, sigmas: Tensor, denoise: float) -> Any:
        sigmas = sigmas_of(sigmas)
        steps = round(max(len(sigmas) - 1, 0) * denoise)
        # As there, a last part of no step leaves the first one empty.
        return io.NodeOutput(sigmas[:-steps] if steps else sigmas[:0], sigmas[-(steps + 1) :])


class FlipSigmas(io.ComfyNode):
    """Levels from the last to the first."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="FlipSigmas",
            category="model/sampling/sigmas",
            inputs=[io.Sigmas.Input("sigmas")],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, sigmas: Tensor) -> Any:
        turned = sigmas_of(sigmas).flip(0)
        if len(turned) and turned[0] == 0:
            turned[0] = _TURNED_ZERO
        return io.NodeOutput(turned)


class SetFirstSigma(io.ComfyNode):
    """Levels with another first one."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SetFirstSigma",
            category="model/sampling/sigmas",
            inputs=[
                io.Sigmas.Input("sigmas"),
                io.Float.Input(
                    "sigma",
                    default=136.0,
                    min=0.0,
                    max=20000.0,
                    step=0.001,
                    round=False,
                    tooltip="At most 1 for Wan models.",
                ),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, sigmas: Tensor, sigma: float) -> Any:
        changed = sigmas_of(sigmas).clone()
        if len(changed) == 0:
            raise InvalidInputError("SetFirstSigma got no noise levels, so there is no first one. Give one or more.")
        changed[0] = sigma
        return io.NodeOutput(changed)


_SPACINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda place: place,
    "cosine": lambda place: torch.sin(place * math.pi / 2),
    "sine": lambda place: 1 - torch.cos(place * math.pi / 2),
}
"""Where the levels of a step lie between its ends, from those evenly spaced in 0..1."""


class ExtendIntermediateSigmas(io.ComfyNode):
    """Steps made of several: levels between those that are there."""

    @classmethod
    def define_schema(cls) -> Any:
        level = {"max": 20000.0, "step": 0.01, "round": False}
        return io.Schema(
            node_id="ExtendIntermediateSigmas",
            category="model/sampling/sigmas",
            inputs=[
                io.Sigmas.Input("sigmas"),
                io.Int.Input("steps", default=2, min=1, max=100, tooltip="How many a step becomes."),
                io.Float.Input(
                    "start_at_sigma",
                    default=-1.0,
                    min=-1.0,
                    **level,
                    tooltip="From this level on; -1: the first.",
                ),
                io.Float.Input("end_at_sigma", default=12.0, min=0.0, **level, tooltip="Down to this level."),
                io.Combo.Input("spacing", options=list(_SPACINGS)),
            ],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, sigmas: Tensor, steps: int, start_at_sigma: float, end_at_sigma: float, spacing: str) -> Any:
        highest = math.inf if start_at_sigma < 0 else start_at_sigma
        places = _SPACINGS[spacing](torch.linspace(0, 1, steps + 1)[1:-1]).tolist()
        levels = sigmas_of(sigmas).tolist()
        extended = []
        for level, following in pairwise(levels):
            between = places if end_at_sigma <= level <= highest else []
            extended += [level, *(level + place * (following - level) for place in between)]
        return io.NodeOutput(torch.tensor([*extended, *levels[-1:]], dtype=torch.float32))


class ManualSigmas(io.ComfyNode):
    """Levels as numbers in a text."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ManualSigmas",
            category="model/sampling/sigmas",
            inputs=[io.String.Input("sigmas", default="1, 0.5", tooltip="Falling from 1 to 0.")],
            outputs=[io.Sigmas.Output()],
        )

    @classmethod
    def execute(cls, sigmas: str) -> Any:
        # As there: what is no number is passed over, and a number with an exponent is read as two.
        numbers = [float(number) for number in re.findall(r"[-+]?(?:\d*\.*\d+)", sigmas)]
        return io.NodeOutput(torch.tensor(numbers, dtype=torch.float32))
