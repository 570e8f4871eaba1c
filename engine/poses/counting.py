"""The pose videos of a run, and what of their way through the blocks a step can use again."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from ...dit.branches.pose_memory import StreamSize
from ...dit.conditioning.characters.pose import PoseVideo
from ...dit.config import PATCH, DiTConfig
from ...dit.inputs import Conditioning


def pose_videos(prompts: Iterable[Conditioning]) -> int:
    """How many pose videos go through the blocks beside those of a batch: one for all, or one for each; 0 for none."""
    items = (item for prompt in prompts for item in prompt.items if isinstance(item, PoseVideo))
    return max((len(item.latent) for item in items if item.latent is not None), default=0)


def needed_bytes(
    config: DiTConfig, windows: Iterable[tuple[int, int, int]], poses: int, itemsize: int, *, in_8_bit: bool
) -> int:
    """What a step can use again.

    Args:
        windows: that it sees, of latent frames, rows and columns; the reference picture's frame is among them.
        poses: how many videos, see `pose_videos`.
        itemsize: bytes of a number of the tokens.
    """
    sizes = (stream_size(config, window, poses, itemsize) for window in windows)
    return sum(size.most_blocks * size.kept_bytes(in_8_bit=in_8_bit) for size in sizes)


def stream_size(config: DiTConfig, window: tuple[int, int, int], poses: int, itemsize: int) -> StreamSize:
    """Of the poses that are seen in a window, see `needed_bytes`."""
    frames, height, width = window
    tokens = prod(-(-length // patch) for length, patch in zip((frames - 1, height, width), PATCH))
    return StreamSize(poses * tokens, config.dim, itemsize, config.layers)
