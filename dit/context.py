"""What all blocks of one pass see beside the tokens."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class Context(NamedTuple):
    """What every block of one forward pass sees beside the tokens.

    text [B, text_tokens, D] and image [B, image tokens, D] or None are in the compute dtype;
    modulation [B, G, 6, D] float32 comes from the timesteps, one for each of G equal runs of tokens (G is 1, or the
    number of latent frames); rope [1, L, 1, head_dim / 2] comes from the tokens' places.
    """

    modulation: Tensor
    rope: Tensor
    text: Tensor
    image: Tensor | None
