"""Clean clips with what the model is told about them: what one step learns from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, cast

import torch
from torch import Tensor

from ..common.records import record
from ..dit.inputs import Conditioning, ConditioningItem
from ..sampling.given import NOTHING_GIVEN, GivenFrames


@record(eq=False)
class TrainingBatch:
    """Clips of one size and length.

    Attributes:
        latent: [B, C, T, h, w], normalised, without noise.
        told: the text [B, text_tokens, text_dim] and the items that go with the clips.
        given: [T], bool, the latent frames that stand without noise in the latent itself (TI2V-5B); None for none.
        weight: of these clips in the loss of a step; that of a prior is the user's.
    """

    latent: Tensor
    told: Conditioning
    given: Tensor | None = None
    weight: float = 1.0

    def to(self, device: torch.device) -> TrainingBatch:
        """The same on a device."""
        given = None if self.given is None else self.given.to(device)
        return replace(self, latent=self.latent.to(device), told=self.told.to(device), given=given)

    def shown(self, noisy: Tensor) -> GivenFrames | Any:
        """What of the noisy latent is given, see `sampling.given`."""
        return NOTHING_GIVEN if self.given is None else GivenFrames(self.latent, self.given)


def joined(batches: Sequence[TrainingBatch]) -> TrainingBatch:
    """Several batches of one size as one; all have the same kinds of items, and the same frames are given."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    text = torch.cat([batch.told.text for batch in batches])
    items = tuple(_joined_items(each) for each in zip(*(batch.told.items for batch in batches), strict=True))
    latent = torch.cat([batch.latent for batch in batches])
    return replace(first, latent=latent, told=replace(first.told, text=text, items=items))


def _joined_items(items: Sequence[ConditioningItem]) -> ConditioningItem:
    """Items of one kind, of a clip each, as that of a batch: their tensors side by side."""
    first: Any = items[0]
    tensors = {
        field.name: torch.cat([getattr(item, field.name) for item in items])
        for field in fields(first)
        if isinstance(getattr(first, field.name), Tensor)
    }
    return cast(ConditioningItem, replace(first, **tensors))
