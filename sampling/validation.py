"""Checks of what a user can choose for sampling; each refusal is one sentence."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from torch import Tensor

from ..common.errors import InvalidInputError, NumericalError

Choice = TypeVar("Choice")

MAX_STEPS = 1000
MAX_CFG = 100.0
MAX_SHIFT = 100.0
MAX_SEED = 2**64 - 1


def find_choice(table: Mapping[str, Choice], name: str, kind: str) -> Choice:
    """The entry `name` of a table of choices; `kind` is the word for it in the message.

    Raises:
        InvalidInputError: no such entry; the message lists the valid ones.
    """
    if name not in table:
        raise InvalidInputError(f"There is no {kind} '{name}'. Choose one of: {', '.join(table)}.")
    return table[name]


def check_steps(steps: int) -> None:
    """Refuses a number of steps outside 1..1000: a run without steps has a denoise of 0."""
    if not isinstance(steps, int) or not 1 <= steps <= MAX_STEPS:
        raise InvalidInputError(f"Steps must be a whole number from 1 to {MAX_STEPS}, got {steps}. Usual are 20 to 50.")


def check_shift(shift: float) -> None:
    """Refuses a shift that is not a positive number."""
    if not 0.0 < shift <= MAX_SHIFT:
        raise InvalidInputError(
            f"Shift must be above 0 and at most {MAX_SHIFT:g}, got {shift}. Usual are 3 to 12; 1 leaves the schedule "
            "unshifted."
        )


def check_part(start: int, end: int | None) -> None:
    """Refuses a part of a run's steps that begins or ends before the first one."""
    for number, name in ((start, "start"), (0 if end is None else end, "end")):
        if not isinstance(number, int) or number < 0:
            raise InvalidInputError(
                f"The {name} step must be a whole number from 0 on, got {number}. 0 is the first step of a run."
            )


def check_denoise(denoise: float) -> None:
    """Refuses a denoise outside 0..1."""
    if not 0.0 <= denoise <= 1.0:
        raise InvalidInputError(
            f"Denoise must be from 0 (keep the latent) to 1 (start from pure noise), got {denoise}."
        )


def check_schedule_length(steps: int, denoise: float, *, more: bool = False) -> None:
    """Refuses a denoise so small that the schedule whose last steps are walked exceeds the training timesteps.

    `more`: the schedule has a step more than are walked.
    """
    whole, most = steps / denoise + more, MAX_STEPS - more
    if whole < MAX_STEPS + 1:
        return
    end = "1 step is the end" if steps == 1 else f"{steps} steps are the end"
    length = int(whole) if whole < 1e6 else "more than a million"
    longest = int(most * denoise)
    ways = [f"at most {longest} {'step' if longest == 1 else 'steps'}"] if longest else []
    ways += [f"denoise {steps / most:g} or more"] if steps <= most else []
    raise InvalidInputError(
        f"At denoise {denoise:g} {end} of a schedule of {length} steps, and one has at most {MAX_STEPS}. "
        f"Use {', or '.join(ways)}."
    )


def check_cfg(scale: float) -> None:
    """Refuses a guidance scale outside 0..100."""
    if not 0.0 <= scale <= MAX_CFG:
        raise InvalidInputError(
            f"Cfg must be from 0 to {MAX_CFG:g}, got {scale}. Usual are 3 to 6; 1 switches the negative prompt off."
        )


def check_seed(seed: int) -> None:
    """Refuses a seed that is not a whole number of 64 bits."""
    if not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise InvalidInputError(f"The seed must be a whole number from 0 to 2^64 - 1, got {seed}.")


def check_sigmas(sigmas: Tensor) -> None:
    """Refuses a table of sigmas that no solver can walk down."""
    if sigmas.ndim != 1:
        raise InvalidInputError(f"The sigmas must be a list of numbers, got a tensor of shape {list(sigmas.shape)}.")
    if len(sigmas) == 0:
        return
    # Tables made in float32 may begin a rounding error above 1.
    if not torch.isfinite(sigmas).all() or sigmas.min() < 0 or sigmas.max() > 1 + 1e-6:
        raise InvalidInputError(
            "The sigmas of a flow model lie between 1 and 0, got "
            f"{float(sigmas.max()):.4g} to {float(sigmas.min()):.4g}. Use a scheduler meant for flow models."
        )
    rises = (sigmas.diff() >= 0).nonzero()
    if len(rises):
        first = int(rises[0])
        raise InvalidInputError(
            f"The sigmas must fall from step to step, but number {first + 1} is {float(sigmas[first]):.6g} and number "
            f"{first + 2} is {float(sigmas[first + 1]):.6g}. Use fewer steps, or sort the list."
        )


def check_latent(latent: Tensor) -> None:
    """Refuses a latent that is no video latent [B, C, T, h, w] of finite numbers."""
    if latent.ndim != 5:
        raise InvalidInputError(
            "A video latent has 5 dimensions [batch, channels, frames, height, width], got "
            f"{list(latent.shape)}. Use a latent made for a Wan model."
        )
    bad = _count_non_finite(latent)
    if bad:
        raise InvalidInputError(
            f"The latent holds {bad} values that are NaN or infinite, where only finite numbers can be sampled from. "
            "Check the images it was encoded from."
        )


def check_step_result(latent: Tensor, step: int, steps: int, sigma: float) -> None:
    """Stops a run whose latent is no longer made of finite numbers.

    Raises:
        NumericalError: the latent after a step holds NaN or infinity.
    """
    bad = _count_non_finite(latent)
    if bad:
        raise NumericalError(
            f"Step {step} of {steps} (sigma {sigma:.4f}) gave {bad} values that are NaN or infinite, where only finite "
            "ones make a picture. Choose precision bf16 or fp32 and attention 'sdpa', and check that the model file is "
            "complete."
        )


def _count_non_finite(tensor: Tensor) -> int:
    return int((~torch.isfinite(tensor)).sum())
