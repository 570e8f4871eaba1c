"""Commands that train."""

from .training import train

__all__ = ["train"]
