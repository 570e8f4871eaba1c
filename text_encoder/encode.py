"""From a prompt to the zero-padded text embedding that the Wan transformer reads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..common.log import logger
from ..common.streaming import BlockStream
from ..weights.layers import Multiplication
from .cleaning import clean_prompt
from .tokenizer import Tokenizer
from .umt5 import UMT5Encoder
from .weighting import Segment, parse_weights

MAX_TOKENS = 512


class PromptTokens(NamedTuple):
    """Token ids of a prompt, `</s>` last, and the emphasis of each (1.0 is none); never longer than asked for."""

    ids: tuple[int, ...]
    weights: tuple[float, ...]


def tokenize_prompt(tokenizer: Tokenizer, prompt: str, *, max_tokens: int = MAX_TOKENS) -> PromptTokens:
    """Cleans and tokenises a prompt; parentheses are plain text, as in the official code.

    A prompt of more than `max_tokens` tokens keeps its beginning; the log says how many were dropped.
    """
    return _tokenize(tokenizer, [Segment(prompt, 1.0)], max_tokens)


def tokenize_weighted_prompt(tokenizer: Tokenizer, prompt: str, *, max_tokens: int = MAX_TOKENS) -> PromptTokens:
    """Like `tokenize_prompt`, with emphasis as in ComfyUI: see `parse_weights`."""
    return _tokenize(tokenizer, parse_weights(prompt), max_tokens)


def passes(tokens: PromptTokens) -> int:
    """How many passes of the encoder `encode_tokens` takes: another one for emphasis."""
    return 2 if any(weight != 1.0 for weight in tokens.weights) else 1


@torch.no_grad()
def encode_tokens(
    encoder: UMT5Encoder,
    tokens: PromptTokens,
    *,
    max_tokens: int = MAX_TOKENS,
    stream: BlockStream = iter,
    how: Multiplication = "dense",
) -> Tensor:
    """Encodes tokens and pads the embedding with zeros: [1, max_tokens, dim], float32, on the encoder's device.

    Only the real tokens run through the encoder, which gives what encoding them padded and masked gives.
    A weight w scales the embedding of its own token away from that of the empty prompt at the same place:
    (embedding - empty) * w + empty. The empty prompt is `</s>` and zeros, so this is embedding * w behind the
    first token. ComfyUI applies the same rule.

    Args:
        stream, how: see `UMT5Encoder.forward`.
    """
    device = encoder.device
    embedding = encoder(torch.tensor([tokens.ids], device=device), stream=stream, how=how)
    if passes(tokens) > 1:
        weights = embedding.new_tensor(tokens.weights)[None, :, None]
        empty = torch.zeros_like(embedding)
        empty[:, :1] = encoder(torch.tensor([tokens.ids[-1:]], device=device), stream=stream, how=how)
        embedding = torch.where(weights == 1.0, embedding, (embedding - empty) * weights + empty)
    return F.pad(embedding, (0, 0, 0, max_tokens - len(tokens.ids)))


def encode_prompt(encoder: UMT5Encoder, tokenizer: Tokenizer, prompt: str, *, max_tokens: int = MAX_TOKENS) -> Tensor:
    """The text embedding of a prompt, parentheses being plain text: [1, max_tokens, dim], float32, zero-padded.

    Any string is a prompt, the empty one too (its embedding is that of `</s>`).

    Source: Wan-Video/Wan2.1 (9737cba) wan/modules/t5.py, `T5EncoderModel`; padding with zeros: wan/modules/model.py.
    """
    return encode_tokens(encoder, tokenize_prompt(tokenizer, prompt, max_tokens=max_tokens), max_tokens=max_tokens)


def _tokenize(tokenizer: Tokenizer, segments: list[Segment], max_tokens: int) -> PromptTokens:
    ids: list[int] = []
    weights: list[float] = []
    for segment in segments:
        piece_ids = tokenizer.encode(clean_prompt(segment.text))[:-1]
        ids += piece_ids
        weights += [segment.weight] * len(piece_ids)
    kept = min(len(ids), max_tokens - 1)
    if kept < len(ids):
        logger.warning(
            "The prompt has %d tokens, the model reads %d: the last %d are left out. Shorten the prompt.",
            len(ids) + 1,
            max_tokens,
            len(ids) - kept,
        )
    return PromptTokens((*ids[:kept], tokenizer.end_id), (*weights[:kept], 1.0))
