"""How the velocities of the positive and the negative prompt become one."""

from .cfg import CFG
from .guidance import Guidance, most_asks

__all__ = ["CFG", "Guidance", "most_asks"]
