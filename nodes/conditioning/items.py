"""Conditioning that native nodes have no value for: our own items, as they are, inside a native CONDITIONING."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from typing import Any

from torch import Tensor

from ...dit.branches.branch import Branch
from ...dit.conditioning.rendered import RenderedVideo
from ...dit.config import DiTConfig
from ...dit.inputs import ConditioningItem, DitInputs
from ...sampling.prompts import sigma_of_percent

ITEMS_KEY = "wan_director_items"


def with_item(conditioning: list, item: ConditioningItem) -> list:
    """A native CONDITIONING with one more item in each entry; its tensors are in the units of the transformer."""
    return [[embedding, {**values, ITEMS_KEY: (*own_items(values), item)}] for embedding, values in conditioning]


def own_items(values: Mapping[str, Any]) -> tuple[ConditioningItem, ...]:
    """The items among the values of an entry."""
    return values.get(ITEMS_KEY, ())


def items_at_shift(values: Mapping[str, Any], shift: float) -> tuple[ConditioningItem, ...]:
    """The items for a run with this shift, whose schedule says which noise levels a part of it is."""
    return tuple(_placed(item, shift) if isinstance(item, RenderedVideo) else item for item in own_items(values))


def _placed(item: RenderedVideo, shift: float) -> RenderedVideo:
    first, last = (sigma_of_percent(part, shift) for part in (item.start, item.end))
    return replace(item, first_sigma=first, last_sigma=last)


def steered_by(values: Mapping[str, Any]) -> dict[type[Branch[DiTConfig]], int | None]:
    """The items as what steers a model, see `check_inputs`; their sizes are left to `check_items`."""
    return {item.branch: None for item in own_items(values) if item.branch is not None}


def check_items(config: DiTConfig, items: Sequence[ConditioningItem], samples: Tensor) -> None:
    """Refuses items that were not prepared for a latent of the size of `samples` [B, C, T, h, w].

    Raises:
        PairingError: the message has the numbers.
    """
    latent = samples.float()
    nothing = latent.new_zeros(len(latent), 0)
    inputs = reduce(lambda inputs, item: item.apply(inputs), items, DitInputs(latent, nothing, nothing))
    for each in {type(steering): steering for steering in inputs.steering}.values():
        branch = config.branch(each.branch)
        if branch is not None:
            branch.check(inputs.steering_of(branch), latent)
