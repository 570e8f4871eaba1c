"""Running a causal network on a clip piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from torch import Tensor, nn


class FrameStream:
    """The past frames that each layer still needs; one stream lives for one pass over one clip.

    A layer is given the frames of a clip in order, some at a time, and finds here those it has to see again. Any way
    of cutting a clip gives the same result; a fresh stream given the whole clip at once computes the plain
    full-sequence network.
    """

    def __init__(self) -> None:
        self._past: dict[nn.Module, tuple[Tensor, ...]] = {}

    def has_begun(self, layer: nn.Module) -> bool:
        """True from the second call of `extend` for this layer on."""
        return layer in self._past

    def count(self, layer: nn.Module) -> int:
        """Number of past frames kept for `layer`."""
        return len(self._past.get(layer, ()))

    def extend(self, layer: nn.Module, frames: Tensor, *, keep: int) -> tuple[Tensor, ...]:
        """The frames kept for `layer`, one by one, then `frames` [B, C, T, H, W]; the last `keep` of them stay kept."""
        past = self._past.get(layer, ())
        if frames.shape[2]:
            self._past[layer] = (*past, *frames.split(1, dim=2))[-keep:] if keep else ()
        else:
            self._past[layer] = past
        return (*past, frames)


Step = Callable[[Tensor, FrameStream], Tensor]


def run(steps: Sequence[Step], frames: Tensor, stream: FrameStream) -> Tensor:
    """Passes all `frames` [B, C, T, H, W] through one step after the other."""
    for step in steps:
        frames = step(frames, stream)
    return frames


def run_depth_first(steps: Sequence[Step], frames: Tensor, stream: FrameStream) -> Iterator[Tensor]:
    """As `run`, giving single frames [B, C, 1, H, W] as they are done.

    Each frame goes as far as it can before the next one starts, so that what is in memory is one frame per step and
    the past, whatever the length of the clip.
    """
    for index, step in enumerate(steps):
        if frames.shape[2] != 1:
            for frame in frames.split(1, dim=2) if frames.shape[2] else ():
                yield from run_depth_first(steps[index:], frame, stream)
            return
        frames = step(frames, stream)
    yield from frames.split(1, dim=2) if frames.shape[2] else ()
