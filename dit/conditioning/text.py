"""The prompt's embedding in the length the transformer was trained with."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ...common.errors import PairingError


def pad_text(text: Tensor, tokens: int = 512) -> Tensor:
    """text [B, n <= tokens, text_dim] -> [B, tokens, text_dim] with zero rows after it.

    The zero rows take part in the cross-attention as in training; leaving them out changes the result.

    Raises:
        PairingError: the embedding is longer than `tokens`.
    """
    if text.shape[1] > tokens:
        raise PairingError(
            f"The text embedding has {text.shape[1]} tokens, the model takes {tokens}. Shorten the prompt, or "
            "encode it with the Wan text encoder, which truncates."
        )
    return F.pad(text, (0, 0, 0, tokens - text.shape[1]))
