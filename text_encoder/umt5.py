"""The UMT5 encoder that turns prompt tokens into the text embedding of the Wan models."""

from __future__ import annotations

import math
from typing import cast

import torch
from einops import rearrange
from torch import Tensor, nn

from ..common.initial import scaled_normal
from ..common.records import record
from ..common.streaming import BlockStream, check_backward
from ..weights.layers import Multiplication
from ..weights.multiplication import MatrixSequence, multiply


@record
class UMT5Config:
    """Size of an encoder. `attention_dim`: heads x head width. `buckets`, `max_distance`: form of the position bias."""

    vocab: int
    dim: int
    attention_dim: int
    ffn_dim: int
    heads: int
    layers: int
    buckets: int = 32
    max_distance: int = 128
    eps: float = 1e-6


UMT5_XXL = UMT5Config(vocab=256384, dim=4096, attention_dim=4096, ffn_dim=10240, heads=64, layers=24)


class UMT5Encoder(nn.Module):
    """Encodes token ids; attribute names are the keys of the official `models_t5_umt5-xxl-enc-bf16.pth`.

    Linear layers compute in the dtype of the token embedding; norms, attention and the residual stream in float32,
    which keeps float16 files within range and brings bfloat16 closer to the float32 result.

    Source: Wan-Video/Wan2.1 wan/modules/t5.py (9737cba); Chung et al., UniMax, 2023 (one position bias per layer).
    """

    def __init__(self, config: UMT5Config, operations=nn):
        super().__init__()
        self.config = config
        self.token_embedding = _embedding(config.vocab, config.dim, operations)
        self.blocks = nn.ModuleList(UMT5Block(config, operations) for _ in range(config.layers))
        self.norm = UMT5Norm(config.dim, config.eps)

    @property
    def device(self) -> torch.device:
        """Where its tokens are looked up, and so where ids are wanted."""
        return cast(Tensor, self.token_embedding.weight).device

    @property
    def streamed_blocks(self) -> list[nn.Module]:
        """The blocks that a residency policy may bring in, in order."""
        return list(self.blocks)

    def forward(
        self, ids: Tensor, mask: Tensor | None = None, *, stream: BlockStream = iter, how: Multiplication = "dense"
    ) -> Tensor:
        """Embeds tokens in their context.

        Args:
            ids: [B, L], int64.
            mask: [B, L], true or non-zero for real tokens; None when all are real. Rows of padding come out as
                meaningless numbers: zero them.
            stream: brings the blocks, see `memory.policy`.
            how: to multiply matrices that may be multiplied in fp8.

        Returns:
            [B, L, dim], float32.
        """
        x = self.token_embedding(ids)
        dtype, x = x.dtype, x.float()
        buckets = distance_buckets(ids.shape[1], self.config.buckets, self.config.max_distance).to(x.device)
        padding = None if mask is None else (mask == 0)[:, None, None, :]  # [B, 1, 1, L]
        for block in stream(self.blocks):
            x = block(x, buckets, padding, dtype, how)
            check_backward(stream, (x,))
        return self.norm(x)


class UMT5Block(nn.Module):
    """Self-attention and gated feed-forward, each behind a norm and added to the float32 residual stream."""

    def __init__(self, config: UMT5Config, operations):
        super().__init__()
        self.norm1 = UMT5Norm(config.dim, config.eps)
        self.attn = UMT5Attention(config, operations)
        self.norm2 = UMT5Norm(config.dim, config.eps)
        self.ffn = FeedForward(config, operations)
        self.pos_embedding = PositionBias(config, operations)

    def forward(
        self, x: Tensor, buckets: Tensor, padding: Tensor | None, dtype: torch.dtype, how: Multiplication
    ) -> Tensor:
        x = x + self.attn(self.norm1(x).to(dtype), self.pos_embedding(buckets), padding, how).float()
        return x + self.ffn(self.norm2(x).to(dtype), how).float()


class UMT5Attention(nn.Module):
    """Multi-head attention without bias and without 1/sqrt(head width): T5 folds the scale into the weights."""

    def __init__(self, config: UMT5Config, operations):
        super().__init__()
        self.heads = config.heads
        self.q = operations.Linear(config.dim, config.attention_dim, bias=False)
        self.k = operations.Linear(config.dim, config.attention_dim, bias=False)
        self.v = operations.Linear(config.dim, config.attention_dim, bias=False)
        self.o = operations.Linear(config.attention_dim, config.dim, bias=False)

    def forward(self, x: Tensor, position_bias: Tensor, padding: Tensor | None, how: Multiplication) -> Tensor:
        # Written out in float32: unscaled logits are large, the learned bias needs a gradient, and next to the
        # linear layers the cost is below one percent at 128 tokens.
        q, k, v = (
            rearrange(multiply(linear, x, how).float(), "B L (N D) -> B N L D", N=self.heads)
            for linear in (self.q, self.k, self.v)
        )
        logits = q @ k.transpose(-1, -2) + position_bias  # [B, N, L, L]
        if padding is not None:
            logits = logits.masked_fill(padding, torch.finfo(logits.dtype).min)
        values = logits.softmax(-1) @ v
        return multiply(self.o, rearrange(values, "B N L D -> B L (N D)").to(x.dtype), how)


class FeedForward(nn.Module):
    """fc2(fc1(x) * gelu(gate(x)))."""

    def __init__(self, config: UMT5Config, operations):
        super().__init__()
        self.gate = MatrixSequence(
            operations.Linear(config.dim, config.ffn_dim, bias=False), nn.GELU(approximate="tanh")
        )
        self.fc1 = operations.Linear(config.dim, config.ffn_dim, bias=False)
        self.fc2 = operations.Linear(config.ffn_dim, config.dim, bias=False)

    def forward(self, x: Tensor, how: Multiplication) -> Tensor:
        if x.dtype != torch.float16:
            return multiply(self.fc2, multiply(self.fc1, x, how) * multiply(self.gate, x, how), how)
        # The product and the output of fc2 exceed float16 (65504) in the large T5 models: one factor per token,
        # taken out before fc2 and put back behind it, keeps both in range.
        hidden = multiply(self.fc1, x, how).float() * multiply(self.gate, x, how).float()
        scale = hidden.abs().amax(-1, keepdim=True).clamp(min=1)
        return multiply(self.fc2, (hidden / scale).to(x.dtype), how).float() * scale


class PositionBias(nn.Module):
    """The learned bias on attention logits by the distance between query and key."""

    def __init__(self, config: UMT5Config, operations):
        super().__init__()
        self.embedding = _embedding(config.buckets, config.heads, operations)

    def forward(self, buckets: Tensor) -> Tensor:
        """Buckets [2L - 1] of the distances 1 - L ... L - 1 -> bias [N, L (query), L (key)], float32."""
        length = (buckets.shape[0] + 1) // 2
        by_distance = self.embedding(buckets).float().T  # [N, 2L - 1]
        # Query i sees key j at distance j - i: its row is the window of L distances that starts at -i.
        return by_distance.unfold(-1, length, 1).flip(-2)


class UMT5Norm(nn.Module):
    """Root mean square norm, computed and returned in float32."""

    def __init__(self, dim: int, eps: float):
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim, dtype=torch.float32))

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight.float()


def distance_buckets(length: int, buckets: int, max_distance: int) -> Tensor:
    """Bucket of each distance key - query in 1 - length ... length - 1: [2 * length - 1], int64, on the CPU.

    Half of the buckets are for keys to the right. In each half the first half are exact distances, the rest grow
    logarithmically up to `max_distance`; what is farther shares the last one.

    Source: Raffel et al., T5, 2020, section 2.1; the float32 formula of wan/modules/t5.py, on the CPU so that a
    distance on a bucket's edge falls on the same side on every device.
    """
    distance = torch.arange(1 - length, length)
    half, exact = buckets // 2, buckets // 4
    side = (distance > 0).long() * half
    distance = distance.abs()
    growth = torch.log(distance.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    far = (exact + (growth * (half - exact)).long()).clamp(max=half - 1)
    return side + torch.where(distance < exact, distance, far)


def _embedding(rows: int, width: int, operations) -> nn.Module:
    return operations.Embedding(rows, width, _weight=scaled_normal(rows, width, width=1))
