"""Two clips that show some frames twice become one: cut or cross-faded, the second in the colours of the first."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from ..common.checking import has_values
from ..common.errors import InvalidInputError
from ..common.memory.free_ram import require_ram
from .colours import UNCHANGED, ColourShift

Blend = Literal["cross-fade", "frames of a", "frames of b"]
BLENDS: tuple[Blend, ...] = ("cross-fade", "frames of a", "frames of b")


def join_clips(a: Tensor, b: Tensor, overlap: int, blend: Blend, colours: ColourShift = UNCHANGED) -> Tensor:
    """Two clips as one; beside both and the result it holds no more than a few frames.

    Args:
        a, b: [F, H, W, 3], float32, in 0..1.
        overlap: the last frames of a and the first of b that show the same; 0 puts b behind a.
        blend: what becomes of them: a cross-fade, in which neither clip is ever alone, or those of one clip.
        colours: of b.

    Returns:
        [frames of a + frames of b - overlap, H, W, 3].

    Raises:
        InvalidInputError: the sizes differ, or the overlap is longer than one of the clips.
        OutOfMemory: the result does not fit into RAM.
    """
    check_clips(a, b, overlap)
    frames, (height, width) = len(a) + len(b) - overlap, a.shape[1:3]
    if not has_values(a):
        return a.new_empty(frames, height, width, 3)
    what = f"The {frames} frames of {width} x {height} pixels of both clips"
    require_ram(frames * a[0].nbytes, what, "Save the clips one by one, or make them smaller.")
    joined = a.new_empty(frames, height, width, 3)
    joined[: len(a)] = a
    start = len(a) - overlap
    for index, frame in enumerate(b):
        if index >= overlap or blend == "frames of b":
            joined[start + index] = colours.of(frame)
        elif blend == "cross-fade":
            weight = (index + 1) / (overlap + 1)
            # lerp, not a * (1 - w) + b * w: what agrees stays the same to the bit.
            joined[start + index] = torch.lerp(a[start + index], colours.of(frame), weight)
    return joined


def check_clips(a: Tensor, b: Tensor, overlap: int) -> None:
    """Refuses clips that cannot be joined with this overlap.

    Raises:
        InvalidInputError: the message has the numbers.
    """
    if a.shape[1:3] != b.shape[1:3]:
        sizes = [f"{clip.shape[2]} x {clip.shape[1]}" for clip in (a, b)]
        raise InvalidInputError(
            f"clip_a is {sizes[0]} and clip_b {sizes[1]}, and one video has one size. Make both of one size, or scale "
            "one of them."
        )
    shorter = min(len(a), len(b))
    if not 0 <= overlap <= shorter:
        raise InvalidInputError(
            f"An overlap of {overlap} frames, but clip_a has {len(a)} and clip_b {len(b)}. Use 0 to {shorter}: the "
            "number of frames that both show."
        )
