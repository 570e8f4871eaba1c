"""A native CONDITIONING taken apart: its entries, and their texts as the transformer reads them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

from torch import Tensor

from ...common.checking import is_finite, kind_of, tensor_of
from ...common.errors import InvalidInputError
from ...dit.conditioning.text import pad_text
from ..sockets.models import WanModel

Side = Literal["positive", "negative", "source", "source_negative"]

MAX_PROMPTS = 8
"""How many full prompts Conditioning (Concat) may join: the model was trained on one, and two or three still steer."""
_ADVICE = "Connect Wan Text Encode or CLIP Text Encode."


def in_form(conditioning: Any, side: Side | None = None) -> list[tuple[Any, dict[str, Any]]]:
    """The entries of a CONDITIONING, each an embedding and its values, whatever these are.

    Args:
        side: for messages; None where it is either.

    Raises:
        InvalidInputError: it is no list of them.
    """
    named, expected = "conditioning" if side is None else f"{side} conditioning", "a list of [embedding, values]"
    if not isinstance(conditioning, list | tuple) or not conditioning:
        got = "an empty list" if isinstance(conditioning, list | tuple) else kind_of(conditioning)
        raise InvalidInputError(f"The {named} must be {expected}, got {got}. {_ADVICE}")
    for entry in conditioning:
        if not isinstance(entry, list | tuple) or len(entry) != 2 or not isinstance(entry[1], dict):
            raise InvalidInputError(f"The {named} must be {expected}, got a list with {kind_of(entry)}. {_ADVICE}")
    return [(embedding, values) for embedding, values in conditioning]


def check_fresh(positive: Any, negative: Any, keys: Collection[str], what: str) -> None:
    """Refuses prompts that have values of a node already, which those of one more would replace, or stand among.

    Args:
        keys: of the values that the node writes.
        what: they are, for the message.

    Raises:
        InvalidInputError: it is so, or one is no conditioning.
    """
    sides: tuple[tuple[Side, Any], ...] = (("positive", positive), ("negative", negative))
    for side, conditioning in sides:
        for _embedding, values in in_form(conditioning, side):
            found = [key for key in keys if values.get(key) is not None]
            if found:
                raise InvalidInputError(
                    f"The {side} conditioning has {what} already ('{found[0]}'), which these would replace. Give all "
                    "to one node, and connect the text alone."
                )


def entries_of(conditioning: Any, side: Side) -> list[tuple[Tensor, dict[str, Any]]]:
    """The entries of a CONDITIONING, each an embedding [1 or B, L, width] and its values."""
    entries = in_form(conditioning, side)
    for entry in entries:
        embedding = tensor_of(entry[0], f"The text embedding of the {side} conditioning", "a tensor", _ADVICE)
        has_all = is_finite(embedding)
        if embedding.ndim != 3 or 0 in embedding.shape or not has_all:
            raise InvalidInputError(
                f"The text embedding of the {side} conditioning must be finite numbers [batch, tokens, width], got "
                f"{list(embedding.shape)}{'' if has_all else ' with NaN or infinity'}. {_ADVICE}"
            )
    return entries


def text_of(model: WanModel, embedding: Tensor, side: Side) -> Tensor:
    """The embedding as the transformer reads it: filled up to its length, or longer where prompts were joined."""
    tokens = model.spec.config.text_tokens
    if embedding.shape[1] <= tokens:
        return pad_text(embedding.float(), tokens)
    if embedding.shape[1] > MAX_PROMPTS * tokens:
        raise InvalidInputError(
            f"The text embedding of the {side} conditioning has {embedding.shape[1]} tokens, as of "
            f"{embedding.shape[1] // tokens} prompts that were joined, and at most {MAX_PROMPTS} can be. Use "
            "Conditioning (Combine), or one text."
        )
    return embedding.float()
