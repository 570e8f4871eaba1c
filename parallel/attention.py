"""Attention over the tokens of all ranks: each trades its tokens of all heads for all tokens of its heads.

Suffixes: B batch, L tokens, l those of a rank, N heads, n those of a rank, D head width.

Source: Jacobs et al., "DeepSpeed Ulysses", arXiv 2309.14509, section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor

from ..dit.attention import Attention, sdpa_attention
from ..dit.execution import SharedAttention
from .exchange import Group
from .layout import Shares, has_ring, split
from .ring import ring_attention


def shared_attention(group: Group, tokens: Shares) -> SharedAttention:
    """Makes of a kernel one that sees the tokens of all ranks.

    Tokens and heads may be shared unevenly. Nothing is padded, so every kernel gives to the bit what it gives for all
    heads at once, as far as it computes them one by one. Where there are fewer heads than ranks, keys and values go
    around instead, if the kernel is PyTorch's: what the parts of others weigh is not known, and some ranks only wait.

    Args:
        tokens: of the sequence, on each rank.
    """

    def shared(kernel: Callable[..., Tensor], *beside: Tensor) -> Attention:
        return partial(_attend, kernel, group, tokens, beside)

    return shared


def _attend(
    kernel: Callable[..., Tensor],
    group: Group,
    tokens: Shares,
    beside: Sequence[Tensor],
    q: Tensor,
    k: Tensor,
    v: Tensor,
) -> Tensor:
    """q, k, v [B, l, N, D] -> [B, l, N, D]."""
    if kernel is sdpa_attention and has_ring(q.shape[2], group.size):
        return ring_attention(q, k, v, group, tokens)
    heads = split(q.shape[2], group.size)
    q, k, v = (_all_tokens(part, group, tokens, heads) for part in (q, k, v))
    own = heads.slice(group.rank)
    out = kernel(q, k, v, *(each[:, :, own] for each in beside)) if heads.counts[group.rank] else torch.empty_like(q)
    del q, k, v
    return _own_tokens(out, group, tokens, heads)


def _all_tokens(x_BlND: Tensor, group: Group, tokens: Shares, heads: Shares) -> Tensor:
    """[B, l, N, D] -> [B, L, n, D]."""
    batch, width, own = x_BlND.shape[0], x_BlND.shape[3], heads.counts[group.rank]
    parts = x_BlND.split(heads.counts, dim=2)
    return torch.cat(group.swap(parts, [(batch, count, own, width) for count in tokens.counts]), dim=1)


def _own_tokens(x_BLnD: Tensor, group: Group, tokens: Shares, heads: Shares) -> Tensor:
    """[B, L, n, D] -> [B, l, N, D]."""
    batch, width, own = x_BLnD.shape[0], x_BLnD.shape[3], tokens.counts[group.rank]
    parts = x_BLnD.split(tokens.counts, dim=1)
    return torch.cat(group.swap(parts, [(batch, own, count, width) for count in heads.counts]), dim=2)
