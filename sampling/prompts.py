"""One side of the guidance made of several prompts: each for a part of the run, of the picture, or with a weight.

Where several count, their velocities are averaged by weight, which is the same as averaging their guesses of the clean
latent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field, replace

import numpy as np
import torch
from torch import Tensor

from ..common.checking import has_values
from ..common.errors import InvalidInputError
from ..common.records import record
from ..dit.conditioning.cut import Cut
from ..dit.inputs import Conditioning, DitInputs
from .ask import Ask
from .schedule import shift_sigmas
from .step import NoiseLevel

_ROUNDING = 2e-7
"""Tables of sigmas may have been computed in float32."""


@record(eq=False)
class PromptPart:
    """A prompt, and where it counts.

    Attributes:
        conditioning: the prompt.
        first_sigma, last_sigma: it counts at noise levels between these two, both included.
        weight: [1, 1, 1 or T, 1 or h, 1 or w], float32, at least 0: how much it counts beside others.
    """

    conditioning: Conditioning
    first_sigma: float = 1.0
    last_sigma: float = 0.0
    weight: Tensor = field(default_factory=lambda: torch.ones(1, 1, 1, 1, 1, dtype=torch.float32))

    def is_active(self, sigma: float) -> bool:
        """Whether it counts at this noise level."""
        return self.last_sigma - _ROUNDING <= sigma <= self.first_sigma + _ROUNDING

    def window(self, cut: Cut) -> PromptPart:
        """The prompt for some of the latent's frames."""
        return replace(self, conditioning=self.conditioning.window(cut), weight=cut.of_weights(self.weight))

    def to(self, device: torch.device) -> PromptPart:
        """This part with its tensors on a device."""
        return replace(self, conditioning=self.conditioning.to(device), weight=self.weight.to(device))


@record(eq=False)
class Prompts:
    """The prompts of one side; a single one that counts everywhere is that prompt, to the bit.

    Source of the average: comfyanonymous/ComfyUI comfy/samplers.py, calc_cond_batch, at commit 783545f.
    """

    parts: tuple[PromptPart, ...]

    def active(self, sigma: float) -> tuple[int, ...]:
        """The numbers of the parts that count at this noise level.

        Raises:
            InvalidInputError: there is none.
        """
        numbers = tuple(number for number, part in enumerate(self.parts) if part.is_active(sigma))
        if not numbers:
            raise InvalidInputError(
                f"No prompt counts at sigma {sigma:.4f}: the timestep ranges of its side leave that out, and the model "
                "needs a prompt at every step. Let the ranges meet, or combine them with a prompt without a range."
            )
        return numbers

    def counting(self, sigma: float, step_sigma: float) -> float:
        """The noise level by which parts count: `sigma`, or that of the step's beginning where too few count there.

        The beginnings of steps are checked before a run; a solver may ask in the midst of a step, between two ranges.
        """
        weights = [part.weight for part in self.parts if part.is_active(sigma)]
        return sigma if weights and (sigma == step_sigma or _sum(weights).min() > 0) else step_sigma

    def asks(self, ask: Ask, sigma: float) -> tuple[Ask, ...]:
        """The question to this side as one to each part that counts at this noise level."""
        return tuple(replace(ask, part=number) for number in self.active(sigma))

    def inputs(self, part: int, latent: Tensor, timesteps: Tensor) -> DitInputs:
        """What the model is asked about the part of this number; see `Conditioning.inputs`."""
        return self.parts[part].conditioning.inputs(latent, timesteps)

    def text(self, sigma: float) -> Tensor:
        """The text [1 or B, text_tokens, text_dim] of the one part that counts at this noise level.

        Raises:
            InvalidInputError: there are several, at once or in time.
        """
        numbers = self.active(sigma)
        if len(numbers) > 1:
            raise InvalidInputError(
                f"{len(numbers)} negative prompts count together at sigma {sigma:.4f}, and normalized attention "
                "guidance leads away from one. Use one negative prompt, or set its scale to 1."
            )
        conditioning = self.parts[next(iter(numbers))].conditioning
        if conditioning.travel is not None:
            raise InvalidInputError(
                f"The negative prompt is {len(conditioning.travel.texts)} texts that take turns in time, and "
                "normalized attention guidance leads away from one. Use one negative prompt, or set its scale to 1."
            )
        return conditioning.text

    def joined(self, velocities: Sequence[Tensor], sigma: float) -> Tensor:
        """The velocity [B, C, T, h, w] of this side, from those of its active parts in order."""
        if len(velocities) == 1:
            return velocities[0]
        weights = [self.parts[number].weight for number in self.active(sigma)]
        return _sum([velocity * weight for velocity, weight in zip(velocities, weights)]) / _sum(weights)

    def window(self, cut: Cut) -> Prompts:
        """The prompts for some of the latent's frames; one that has no weight there is not asked."""
        parts = tuple(part.window(cut) for part in self.parts)
        return Prompts(tuple(part for part in parts if part.weight.any()) if len(parts) > 1 else parts)

    def chunk(self, cut: Cut) -> Prompts:
        """As `window`, with all prompts: each remembers all frames."""
        return Prompts(tuple(part.window(cut) for part in self.parts))

    def changed(self, change: Callable[[Conditioning], Conditioning]) -> Prompts:
        """The prompts, each changed."""
        return Prompts(tuple(replace(part, conditioning=change(part.conditioning)) for part in self.parts))

    def to(self, device: torch.device) -> Prompts:
        """The prompts with their tensors on a device, so that no pass copies them again."""
        return Prompts(tuple(part.to(device) for part in self.parts))

    def check(self, name: str, levels: Sequence[NoiseLevel]) -> None:
        """Refuses prompts that leave a step, or a part of the picture in a step, without any.

        Args:
            name: of the side, for the message.
            levels: where the steps of the run begin.

        Raises:
            InvalidInputError: they do.
        """
        for level in levels:
            numbers = [number for number, part in enumerate(self.parts) if part.is_active(level.sigma)]
            if not numbers:
                raise InvalidInputError(
                    f"No {name} prompt counts in step {level.index + 1} of {level.steps} (sigma {level.sigma:.4f}): "
                    "the timestep ranges leave it out, and the model needs a prompt at every step. Let the ranges "
                    "meet, or combine them with a prompt without a range."
                )
            weight = _sum([self.parts[number].weight for number in numbers])
            if has_values(weight) and weight.min() <= 0:
                raise InvalidInputError(
                    f"The {name} prompts of step {level.index + 1} of {level.steps} leave a part of the picture "
                    "without any, by their masks or a strength of 0, and the model needs one everywhere. Combine them "
                    "with a prompt without a mask."
                )


def _sum(tensors: Sequence[Tensor]) -> Tensor:
    total = 0 + tensors[0]
    for tensor in tensors[1:]:
        total = total + tensor
    return total


OneSide = Conditioning | Prompts
"""A single prompt, or several that count together."""


def as_prompts(side: OneSide) -> Prompts:
    """A side of the guidance as prompts; a single one counts everywhere."""
    return side if isinstance(side, Prompts) else Prompts((PromptPart(side),))


def sigma_of_percent(percent: float, shift: float) -> float:
    """The noise level at a part of a shifted schedule, 0 its beginning and 1 its end.

    Source: comfyanonymous/ComfyUI comfy/model_sampling.py, ModelSamplingDiscreteFlow.percent_to_sigma.
    """
    return float(shift_sigmas(np.array(min(max(1.0 - percent, 0.0), 1.0)), shift))
