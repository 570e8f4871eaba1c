"""What people are told of a run: before it begins, and of what a cache spared in it."""

from .run import warn_of_run
from .spared import tell_spared, tell_tally, with_useful_cache

__all__ = ["tell_spared", "tell_tally", "warn_of_run", "with_useful_cache"]
