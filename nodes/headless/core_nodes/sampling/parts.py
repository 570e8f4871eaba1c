"""What travels between the nodes of a custom run: noise, sampler, guider, noise levels."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from .....common.checking import instance_of, tensor_of
from .....common.records import record
from .....sampling.causal.order import AT_ONCE, Order
from ....sockets.native_model import NativeModel
from ....standin import Custom

Noise = Custom("NOISE")
Sampler = Custom("SAMPLER")
Guider = Custom("GUIDER")


@record
class StartingNoise:
    """A NOISE: that of a seed, or none; the seed is that of stochastic samplers, too."""

    seed: int = 0
    is_added: bool = True


@record
class NamedSampler:
    """A SAMPLER: the name of one of our solvers, and the order in which frames are made."""

    solver: str
    order: Order = AT_ONCE


@record(eq=False)
class GuidedBy:
    """A GUIDER: the model, both sides of its guidance, and the scale."""

    model: NativeModel
    positive: list[Any]
    negative: list[Any]
    cfg: float


def noise_of(value: Any) -> StartingNoise:
    """What came over a wire of the type NOISE.

    Raises:
        InvalidInputError: it is none.
    """
    instance_of(value, StartingNoise, "noise", "the noise of RandomNoise or DisableNoise")
    return value


def sampler_of(value: Any) -> NamedSampler:
    """What came over a wire of the type SAMPLER.

    Raises:
        InvalidInputError: it is none.
    """
    instance_of(value, NamedSampler, "sampler", "the sampler of KSamplerSelect")
    return value


def guider_of(value: Any) -> GuidedBy:
    """What came over a wire of the type GUIDER.

    Raises:
        InvalidInputError: it is none.
    """
    instance_of(value, GuidedBy, "guider", "the guider of CFGGuider or BasicGuider")
    return value


def sigmas_of(value: Any) -> Tensor:
    """The noise levels [steps + 1] that came over a wire of the type SIGMAS; their values are for others to check.

    Raises:
        InvalidInputError: they are none.
    """
    return tensor_of(value, "sigmas", "a list of noise levels", "Connect BasicScheduler.")
