"""How the velocities of the positive and the negative prompt become one."""

from .cfg import CFG

__all__ = ["CFG"]
