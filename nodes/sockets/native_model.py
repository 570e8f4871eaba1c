"""What a native MODEL is to our nodes: a video model of ours, and the shift of its schedules."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Protocol

from torch import Tensor

from ...common.checking import instance_of
from ...common.errors import InvalidInputError
from ...common.records import record
from ...dit.branches.pose import PoseBranch
from ...dit.inputs import ConditioningItem
from ...engine.models import with_policies
from ...model_loading.recognition.variants import is_causal
from ...sampling.causal.order import Order
from .models import WanModel

NATIVE_SHIFT = 8.0
"""Of every Wan model that no ModelSamplingSD3 comes after, but for causal ones.

Source: ComfyUI v0.33.0, comfy/supported_models.py, WAN21_T2V and WAN21_CausalAR_T2V.
"""
CAUSAL_SHIFT = 5.0


ANIMATE_2_SHIFT = 5.0
"""The same of Wan-Animate-2 (class WAN_Animate2 there)."""


class Follows(Protocol):
    """What a model follows by a node that patches it, until a sampler knows the latent.

    `does` says it, with the node; `instead` what to use of ours.
    """

    @property
    def does(self) -> str: ...

    @property
    def instead(self) -> str: ...

    def item(self, samples: Tensor) -> ConditioningItem:
        """It for a latent [B, C, T, h, w]."""
        ...


@record
class NativeModel:
    """A video model with its LoRAs, and what in ComfyUI belongs to the MODEL: the shift of its schedules, and what it
    follows.

    On the command line this is what travels as MODEL.
    """

    model: WanModel
    shift: float = NATIVE_SHIFT
    follows: tuple[Follows, ...] = ()

    @classmethod
    def of(cls, model: WanModel) -> NativeModel:
        """A model with the shift that ComfyUI gives it."""
        if model.spec.config.branch(PoseBranch) is not None:
            return cls(model, ANIMATE_2_SHIFT)
        return cls(model, CAUSAL_SHIFT if is_causal(model.spec.notes) else NATIVE_SHIFT)

    def in_order(self, order: Order) -> NativeModel:
        """The same weights, with the frames of a video in another order."""
        changed = with_policies(self.model, lambda policies: replace(policies, order=order))
        return self if order == self.model.policies.order else replace(self, model=changed)

    def following(self, followed: Follows) -> NativeModel:
        """The same, which follows one thing more."""
        return replace(self, follows=(*self.follows, followed))

    def with_attention(self, kernel: str) -> NativeModel:
        """The same weights, with another attention kernel."""
        return replace(self, model=replace(self.model, recipe=replace(self.model.recipe, attention=kernel)))


def native_model(value: Any) -> NativeModel:
    """What came over a wire of the type MODEL on the command line.

    Raises:
        InvalidInputError: it is none.
    """
    instance_of(value, NativeModel, "model", "the model of Load Diffusion Model")
    return value


def native_model_alone(value: Any) -> NativeModel:
    """As `native_model`, where only the model goes on.

    Raises:
        InvalidInputError: it follows something, which would be left behind.
    """
    native = native_model(value)
    if native.follows:
        followed = native.follows[0]
        raise InvalidInputError(
            f"The model {followed.does}, which Wan From Native cannot take along. {followed.instead}"
        )
    return native
