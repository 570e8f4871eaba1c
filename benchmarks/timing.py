"""Two implementations timed in turn, so that a busy machine disturbs both alike."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median

import torch


@dataclass(frozen=True, slots=True)
class Timing:
    """Process CPU-seconds of each run, in the order they were made (warm-up left out)."""

    ours_s: tuple[float, ...]
    peer_s: tuple[float, ...]

    @property
    def speedup(self) -> float:
        """How many times faster ours is: ratio of the medians."""
        return median(self.peer_s) / median(self.ours_s)


def time_in_turn(ours: Callable[[], object], peer: Callable[[], object], repeats: int) -> Timing:
    """Runs both once to warm up, then `repeats` times each in turn."""
    samples: dict[Callable[[], object], list[float]] = {ours: [], peer: []}
    with torch.no_grad():
        for run in samples:
            run()
        for _ in range(repeats):
            for run, seconds in samples.items():
                seconds.append(_process_seconds(run))
    return Timing(tuple(samples[ours]), tuple(samples[peer]))


def _process_seconds(run: Callable[[], object]) -> float:
    gc.collect()
    before = time.process_time()
    run()
    return time.process_time() - before
