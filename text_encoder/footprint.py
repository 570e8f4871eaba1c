"""How many bytes the text encoder takes: its weights, and what encoding a prompt holds beside them. Arithmetic."""

from __future__ import annotations

from .encode import MAX_TOKENS
from .umt5 import UMT5Config


def block_elements(config: UMT5Config) -> int:
    """Numbers in the weights of one block."""
    attention = 4 * config.dim * config.attention_dim
    return attention + 3 * config.dim * config.ffn_dim + 2 * config.dim + config.buckets * config.heads


def other_elements(config: UMT5Config) -> int:
    """Numbers outside the blocks: the table of tokens and the last norm."""
    return config.vocab * config.dim + config.dim


def encode_bytes(config: UMT5Config, *, tokens: int = MAX_TOKENS, itemsize: int = 2, is_unpacked: bool = False) -> int:
    """The most that encoding a prompt of so many tokens holds at once beside the weights.

    Args:
        itemsize: bytes of a number of the dtype of computation.
        is_unpacked: whether matrices are stored quantised, and made whole for each use.
    """
    stream = 3 * tokens * config.dim * 4  # the residual stream, its norm, and what is added to it
    bias = config.heads * tokens**2 * 4
    heads = 3 * tokens * config.attention_dim * 4
    matrix = config.dim * config.ffn_dim * itemsize if is_unpacked else 0
    feed_forward = 3 * tokens * config.ffn_dim * itemsize + matrix
    return stream + max(3 * bias + heads, feed_forward)
