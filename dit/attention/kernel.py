"""What an attention kernel is, and PyTorch's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.errors import InvalidInputError

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Takes q, k, v [B, L, N, D] (k and v may have another L) and gives q's shape; it may not write into them."""


def sdpa_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's own scaled dot product attention, which picks the fastest exact kernel of the device."""
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2)


def load_sdpa() -> Attention:
    """PyTorch's attention; always there."""
    return sdpa_attention


def without_gradient(kernel: Attention, name: str) -> Attention:
    """A kernel that gives no gradient, as one that says so instead of cutting it off in silence."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if torch.is_grad_enabled() and any(each.requires_grad for each in (q, k, v)):
            raise InvalidInputError(
                f"Attention '{name}' has no gradient, but one is wanted. Choose attention 'sdpa' to train, or run "
                "under torch.no_grad()."
            )
        return kernel(q, k, v)

    return attend
