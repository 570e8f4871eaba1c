"""Prompt and picture features: tokenizer, UMT5 text encoder, CLIP vision encoder, prompt emphasis."""

from .clip_vision import CLIP_VIT_H
from .umt5 import UMT5_XXL

__all__ = ["CLIP_VIT_H", "UMT5_XXL"]
