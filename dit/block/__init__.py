"""One transformer block, in two ways: the fastest, and one that keeps almost nothing beside its tokens."""

from .block import Block

__all__ = ["Block"]
