"""The transformer as a plain function of a dict of weights, arranged for fast training on a CPU.

The same arithmetic as `wan_director.dit` (a test compares them). What differs concerns time: matrices in bfloat16
over a float32 residual stream, one matrix product for query, key and value, and the zero rows that pad the prompt
to 512 tokens taken once: n equal keys weigh as much as one key whose logit is raised by log n.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from wan_director.dit.config import PATCH, DiTConfig
from wan_director.dit.layers import timestep_signal
from wan_director.dit.rope import make_rope, rotate

Weights = Mapping[str, Tensor]


class Prompt(NamedTuple):
    """Embedded prompts: `embedding` [B, n, text_dim] with at least one zero row at each end, `bias` [B, n].

    The bias is 0 for real tokens, log(number of padding rows) for the first row after them, -inf behind it.
    """

    embedding: Tensor
    bias: Tensor


def make_prompt(embedding: Tensor, mask: Tensor, lengths: Tensor) -> Prompt:
    """Prompts that act as if padded to `lengths` [B]; embedding [B, n, text_dim], mask [B, n] 1 = real token."""
    embedding = F.pad(embedding * mask.unsqueeze(-1), (0, 0, 0, 1))
    real = mask.sum(1)
    place = torch.arange(embedding.shape[1])[None]
    bias = torch.full(embedding.shape[:2], float("-inf"))
    bias[place < real[:, None]] = 0.0
    padding = (lengths - real).clamp(min=0).float().log()  # log 0 = -inf: no padding
    return Prompt(embedding, torch.where(place == real[:, None], padding[:, None], bias))


def velocity(
    weights: Weights,
    config: DiTConfig,
    latent: Tensor,
    timestep: Tensor,
    prompt: Prompt,
    clip_image: Tensor | None = None,
) -> Tensor:
    """Velocity [B, out_channels, T, h, w], float32.

    Args:
        weights: all weights in the dtype of the matrix products.
        latent: [B, in_channels, T, h, w], image conditioning included.
        timestep: [B], 0..1000.
        clip_image: [b, tokens, clip width] features of the first b <= B samples; the others have none.
    """
    dtype = weights["patch_embedding.weight"].dtype
    x, grid = _patches(weights, latent.to(dtype))
    rope = make_rope(config.head_dim, grid)
    time = _mlp(weights, "time_embedding", timestep_signal(timestep, config.freq_dim).to(dtype), F.silu)
    shifts = _linear(weights, "time_projection.1", F.silu(time)).float().unflatten(1, (6, -1))
    text = _mlp(weights, "text_embedding", prompt.embedding.to(dtype), _gelu)
    image = None if clip_image is None else _clip_tokens(weights, clip_image.to(dtype))
    for index in range(config.layers):
        name = f"blocks.{index}"
        modulation = (weights[f"{name}.modulation"].float() + shifts).chunk(6, dim=1)
        y = _self_attention(weights, f"{name}.self_attn", _modulated(x, *modulation[:2], dtype), config.heads, rope)
        x = torch.addcmul(x, y.float(), modulation[2])
        y = F.layer_norm(
            x, x.shape[-1:], weights[f"{name}.norm3.weight"].float(), weights[f"{name}.norm3.bias"].float()
        )
        x = x + _cross_attention(weights, f"{name}.cross_attn", y.to(dtype), config.heads, text, prompt.bias, image)
        y = _mlp(weights, f"{name}.ffn", _modulated(x, *modulation[3:5], dtype), _gelu)
        x = torch.addcmul(x, y.float(), modulation[5])
    shift, scale = (weights["head.modulation"].float() + time.float().unsqueeze(1)).chunk(2, dim=1)
    values = _linear(weights, "head.head", _modulated(x, shift, scale, dtype)).float()
    values = values.unflatten(1, grid).unflatten(-1, (*PATCH, -1)).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return values.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def _patches(weights: Weights, latent: Tensor) -> tuple[Tensor, tuple[int, int, int]]:
    batch, channels, frames, height, width = latent.shape
    grid = (frames, height // 2, width // 2)
    cells = latent.view(batch, channels, frames, grid[1], 2, grid[2], 2).permute(0, 2, 3, 5, 1, 4, 6)
    tokens = F.linear(
        cells.reshape(batch, -1, channels * 4),
        weights["patch_embedding.weight"].flatten(1),
        weights["patch_embedding.bias"],
    )
    return tokens.float(), grid


def _linear(weights: Weights, name: str, x: Tensor) -> Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def _gelu(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


def _mlp(weights: Weights, name: str, x: Tensor, activation) -> Tensor:
    return _linear(weights, f"{name}.2", activation(_linear(weights, f"{name}.0", x)))


def _modulated(x: Tensor, shift: Tensor, scale: Tensor, dtype: torch.dtype) -> Tensor:
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale).to(dtype)


def _fused(weights: Weights, name: str, parts: tuple[str, ...], x: Tensor) -> list[Tensor]:
    weight = torch.cat([weights[f"{name}.{part}.weight"] for part in parts])
    bias = torch.cat([weights[f"{name}.{part}.bias"] for part in parts])
    return list(F.linear(x, weight, bias).chunk(len(parts), dim=-1))


class _RMSNorm(torch.autograd.Function):
    """F.rms_norm in float32 with a gradient of six passes over the data, where the built-in one takes about twenty."""

    @staticmethod
    def forward(context, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        x = x.float()
        inverse = ((torch.linalg.vector_norm(x, dim=-1, keepdim=True).square() / x.shape[-1]) + eps).rsqrt()
        normed = x * inverse
        context.save_for_backward(normed, inverse, weight)
        return normed * weight

    @staticmethod
    def backward(context, gradient: Tensor):
        normed, inverse, weight = context.saved_tensors
        product = gradient * normed
        mean = (product @ weight).unsqueeze(-1) / normed.shape[-1]
        for_x = torch.addcmul(gradient * weight, normed, mean, value=-1).mul_(inverse)
        return for_x, product.flatten(0, -2).sum(0), None


def _rms(weights: Weights, name: str, x: Tensor) -> Tensor:
    return _RMSNorm.apply(x, weights[f"{name}.weight"].float(), 1e-6)


def _self_attention(weights: Weights, name: str, x: Tensor, heads: int, rope: Tensor) -> Tensor:
    q, k, v = _fused(weights, name, ("q", "k", "v"), x)
    q = rotate(_rms(weights, f"{name}.norm_q", q).unflatten(-1, (heads, -1)), rope).to(x.dtype)
    k = rotate(_rms(weights, f"{name}.norm_k", k).unflatten(-1, (heads, -1)), rope).to(x.dtype)
    return _linear(weights, f"{name}.o", _attend(q, k, v.unflatten(-1, (heads, -1))))


def _cross_attention(
    weights: Weights, name: str, x: Tensor, heads: int, text: Tensor, bias: Tensor, image: Tensor | None
) -> Tensor:
    q = _rms(weights, f"{name}.norm_q", _linear(weights, f"{name}.q", x)).to(x.dtype).unflatten(-1, (heads, -1))
    k, v = _fused(weights, name, ("k", "v"), text)
    k = _rms(weights, f"{name}.norm_k", k).to(x.dtype)
    out = _attend(q, k.unflatten(-1, (heads, -1)), v.unflatten(-1, (heads, -1)), bias[:, None, None])
    if image is not None:
        k, v = _fused(weights, name, ("k_img", "v_img"), image)
        k = _rms(weights, f"{name}.norm_k_img", k).to(x.dtype)
        count = len(image)
        looked = _attend(q[:count], k.unflatten(-1, (heads, -1)), v.unflatten(-1, (heads, -1)))
        out = torch.cat([out[:count] + looked, out[count:]])
    return _linear(weights, f"{name}.o", out)


def _attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None = None) -> Tensor:
    """Written out: at these lengths the fused kernel's backward pass takes three times as long on a CPU."""
    q, k, v = (part.transpose(1, 2) for part in (q * q.shape[-1] ** -0.5, k, v))
    logits = (q @ k.transpose(-1, -2)).float()
    if bias is not None:
        logits = logits + bias
    return (logits.softmax(-1).to(v.dtype) @ v).transpose(1, 2).flatten(2)


def _clip_tokens(weights: Weights, features: Tensor) -> Tensor:
    x = F.layer_norm(features, features.shape[-1:], weights["img_emb.proj.0.weight"], weights["img_emb.proj.0.bias"])
    x = _linear(weights, "img_emb.proj.3", F.gelu(_linear(weights, "img_emb.proj.1", x)))
    return F.layer_norm(x, x.shape[-1:], weights["img_emb.proj.4.weight"], weights["img_emb.proj.4.bias"])
