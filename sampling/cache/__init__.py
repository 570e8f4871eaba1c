"""What may stand in for a forward pass of the model."""

from .no_cache import NoCache

__all__ = ["NoCache"]
