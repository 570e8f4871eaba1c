"""What may stand in for the blocks of the model."""

from .cache import NOTHING_KEPT, Cache, CacheRun, Kept, RunTrunk
from .no_cache import NO_CACHE, NoCache

__all__ = ["NOTHING_KEPT", "NO_CACHE", "Cache", "CacheRun", "Kept", "NoCache", "RunTrunk"]
