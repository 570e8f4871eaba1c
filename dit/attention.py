"""Attention kernels by name. Each takes q, k, v [B, L, N, D] (k and v may have another L) and gives q's shape."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..common.errors import InvalidInputError, MissingPackageError

Attention = Callable[[Tensor, Tensor, Tensor], Tensor]


def sdpa_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """PyTorch's own scaled dot product attention, which picks the fastest exact kernel of the device."""
    out = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2))
    return out.transpose(1, 2)


def load_sdpa() -> Attention:
    """PyTorch's attention; always there."""
    return sdpa_attention


def load_sage() -> Attention:
    """SageAttention: 8-bit queries and keys, faster and approximate."""
    try:
        from sageattention import sageattn  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing("sageattention") from error
    return without_gradient(lambda q, k, v: sageattn(q, k, v, tensor_layout="NHD"), "sage")


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


def load_flash() -> Attention:
    """FlashAttention 2 from the flash_attn package; exact, 16 bit only."""
    try:
        from flash_attn import flash_attn_func  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise _missing("flash_attn") from error
    return flash_attn_func


ATTENTION: dict[str, Callable[[], Attention]] = {
    "auto": load_sdpa,
    "sdpa": load_sdpa,
    "sage": load_sage,
    "flash": load_flash,
}


def resolve_attention(name: str) -> Attention:
    """The kernel called `name`; optional packages are imported here, when chosen.

    Raises:
        InvalidInputError: no kernel has this name.
        MissingPackageError: its package is not installed.
    """
    if name not in ATTENTION:
        raise InvalidInputError(f"Attention '{name}' is unknown. Choose one of {', '.join(ATTENTION)}.")
    return ATTENTION[name]()


def _missing(module: str) -> MissingPackageError:
    return MissingPackageError(f"{module} is not installed. Install it, or choose attention 'sdpa'.")
