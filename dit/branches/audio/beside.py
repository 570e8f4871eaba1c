"""Tokens of pictures before those of the video, at places of their own: without noise, or with as much as it has."""

from __future__ import annotations

import torch
from torch import Tensor

from ...context import Context
from ..branch import Steered, Trunk

VIDEO, STILL, PAST = range(3)
"""Rows of a talking model's table of what a token is of."""


def role(trunk: Trunk, number: int) -> Tensor:
    """What is added to the tokens of a kind: [D], float32."""
    table = trunk.get_submodule("trainable_cond_mask")
    device = next(iter((*table.parameters(), *table.buffers()))).device
    return table(torch.tensor([number], device=device))[0].float()


def clean_before(trunk: Trunk, tokens: Tensor, context: Context, added: Tensor, rope: Tensor) -> Steered:
    """The beginning of a pass with more tokens.

    Args:
        tokens: [B, L, D]; those of the video, perhaps with some of this kind before them.
        added: [1 or B, n, D].
        rope: [1, n, 1, P], their places.
    """
    count, batch = added.shape[1], len(tokens)
    modulation, runs = context.modulation, context.runs
    if runs is None:
        groups = modulation.shape[1]
        modulation = torch.cat([trunk.modulation_at(0.0).expand(batch, -1, -1, -1), modulation], dim=1)
        runs = (count, *[tokens.shape[1] // groups] * groups)
    else:
        runs = (count + runs[0], *runs[1:])
    longer = torch.cat([added.to(tokens.dtype).expand(batch, -1, -1), tokens], dim=1)
    context = context._replace(modulation=modulation, runs=runs, rope=torch.cat([rope, context.rope], dim=1))
    return Steered(longer, context)


def seen_before(tokens: Tensor, context: Context, added: Tensor, rope: Tensor) -> Steered:
    """As `clean_before`, of tokens that have the timestep of the video; of several that of its last frame."""
    count, batch = added.shape[1], len(tokens)
    modulation, runs = context.modulation, context.runs
    groups = modulation.shape[1]
    if groups > 1:
        modulation = torch.cat([modulation[:, -1:], modulation], dim=1)
        runs = (count, *[tokens.shape[1] // groups] * groups)
    longer = torch.cat([added.to(tokens.dtype).expand(batch, -1, -1), tokens], dim=1)
    context = context._replace(modulation=modulation, runs=runs, rope=torch.cat([rope, context.rope], dim=1))
    return Steered(longer, context)
