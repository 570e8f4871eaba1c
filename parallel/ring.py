"""Attention over the tokens of all ranks where there are fewer heads than ranks: keys and values go around.

Each rank keeps its queries, looks with them at the keys and values of one rank after the other, and weighs what it saw
by the sum of the exponentials that it came from. Suffixes as in `attention`.

Source: Liu et al., "Ring Attention with Blockwise Transformers for Near-Infinite Context", arXiv 2310.01889, section 3;
the merging by log-sum-exp: Dao et al., "FlashAttention", arXiv 2205.14135, section 3.1.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from .exchange import Group
from .layout import Shares

_SCORES = 2**25
"""Numbers of a matrix of scores that is made at a time, where no kernel of torch's does without."""


class Seen(NamedTuple):
    """What queries have seen of some keys, in float32.

    `out` [B, N, l, D]; `lse` [B, N, l]: the logarithm of the sum of the exponentials of their scores.
    """

    out: Tensor
    lse: Tensor

    def and_of(self, other: Seen) -> Seen:
        """What they have seen of the keys of both."""
        lse = torch.logaddexp(self.lse, other.lse)
        own, added = ((each.lse - lse).exp()[..., None] for each in (self, other))
        return Seen(self.out * own + other.out * added, lse)


def ring_attention(q: Tensor, k: Tensor, v: Tensor, group: Group, tokens: Shares) -> Tensor:
    """q, k, v [B, l, N, D] -> [B, l, N, D]: what one device gives for the tokens of all, within rounding.

    Args:
        tokens: of the sequence, on each rank.
    """
    batch, _, heads, width = q.shape
    queries = q.transpose(1, 2)
    following, before = (group.rank + 1) % group.size, (group.rank - 1) % group.size
    passing, seen = torch.stack((k, v)), None
    for turn in range(group.size):
        keys, values = (each.transpose(1, 2) for each in passing)
        part = look(queries, keys, values)
        seen = part if seen is None else seen.and_of(part)
        if turn == group.size - 1:
            break
        nothing = passing.new_empty(0)
        parts = [passing if rank == following else nothing for rank in range(group.size)]
        shapes: list[tuple[int, ...]] = [(0,)] * group.size
        shapes[before] = (2, batch, tokens.counts[(group.rank - turn - 1) % group.size], heads, width)
        passing = group.swap(parts, shapes)[before]
    assert seen is not None, "there is a rank"
    return seen.out.to(q.dtype).transpose(1, 2)


def look(q: Tensor, k: Tensor, v: Tensor) -> Seen:
    """What queries [B, N, l, D] see of keys and values [B, N, m, D].

    By the kernels of torch that tell the sums, where the device has one (torch 2.4 to 2.13).
    """
    if q.device.type == "cpu":
        out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v)[:2]
        return Seen(out.float(), lse.float())
    if q.device.type == "cuda":
        out, lse = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True)[:2]
        return Seen(out.float(), lse[..., : q.shape[2]].float())
    return plainly(q, k, v)


def plainly(q: Tensor, k: Tensor, v: Tensor) -> Seen:
    """As `look`, by the formula."""
    rows = max(1, _SCORES // (q.shape[0] * q.shape[1] * k.shape[2]))
    outs, sums = [], []
    for some in q.split(rows, dim=2):
        scores = some.float() @ k.float().mT * q.shape[3] ** -0.5
        lse = scores.logsumexp(dim=-1)
        outs.append((scores - lse[..., None]).exp_() @ v.float())
        sums.append(lse)
    return Seen(torch.cat(outs, dim=2), torch.cat(sums, dim=2))
