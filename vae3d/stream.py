"""Running a causal network on a clip piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, cast

from torch import Tensor, nn

from ..common.records import record


class FrameStream:
    """The past frames that each layer still needs; one stream lives for one pass over one clip.

    A layer is given the frames of a clip in order, some at a time, and finds here those it has to see again. Any way
    of cutting a clip gives the same result; a fresh stream given the whole clip at once computes the plain
    full-sequence network.
    """

    def __init__(self) -> None:
        self._past: dict[nn.Module, tuple[Tensor, ...]] = {}
        self._kernels: dict[tuple[nn.Module, Callable[[Tensor], Tensor]], Tensor] = {}  # shared by all copies

    def has_begun(self, layer: nn.Module) -> bool:
        """True from the second call of `extend` for this layer on."""
        return layer in self._past

    def count(self, layer: nn.Module) -> int:
        """Number of past frames kept for `layer`."""
        return len(self._past.get(layer, ()))

    def extend(self, layer: nn.Module, frames: Tensor, *, keep: int) -> tuple[Tensor, ...]:
        """The frames kept for `layer`, one by one, then `frames` [B, C, T, H, W]; the last `keep` of them stay kept."""
        past = self._past.get(layer, ())
        count = frames.shape[2]
        if count > keep:  # a copy, or all of them would stay in memory
            self._past[layer] = frames[:, :, count - keep :].clone().split(1, dim=2) if keep else ()
        elif count:
            self._past[layer] = (*past, *frames.split(1, dim=2))[-keep:]
        else:
            self._past[layer] = past
        return (*past, frames)

    def keep(self, layer: nn.Module, frames: Sequence[Tensor]) -> None:
        """Keeps these frames [B, C, 1, H, W] for `layer`, instead of those kept so far."""
        self._past[layer] = tuple(frames)

    def kernel(self, layer: nn.Conv2d | nn.Conv3d, make: Callable[[Tensor], Tensor]) -> Tensor:
        """What `make` makes of a layer's weights; on a CPU, which has the memory, it is made once."""
        if layer.weight.device.type != "cpu":
            return make(layer.weight)
        if (layer, make) not in self._kernels:
            self._kernels[layer, make] = make(layer.weight)
        return self._kernels[layer, make]

    def mapped(self, change: Callable[[nn.Module, int, Tensor], Tensor]) -> FrameStream:
        """A new stream of what `change` makes of each layer's n-th kept frame [B, C, 1, H, W]."""
        result = FrameStream()
        result._kernels = self._kernels
        result._past = {
            layer: tuple(change(layer, number, frame) for number, frame in enumerate(past))
            for layer, past in self._past.items()
        }
        return result

    def copy(self) -> FrameStream:
        """A stream of the same frames, which goes its own way."""
        return self.mapped(lambda _layer, _number, frame: frame)

    def all_past(self) -> Iterator[Tensor]:
        """The frames kept for all layers, in the order in which they first ran."""
        for kept in self._past.values():
            yield from kept

    def past(self, layer: nn.Module) -> tuple[Tensor, ...]:
        """The frames kept for `layer`."""
        return self._past[layer]


@record
class Step:
    """One station on the way of frames through a network: `step(frames, stream)` gives the frames that are done.

    Attributes:
        run: [B, C, T, H, W] and the past -> the frames after this station, perhaps none.
        above, below: the outermost rows of the result that are wrong when the frames are cut from taller ones at that
            side, because the station needs the rows beyond the cut.
        up, down: `up` rows of the result for every `down` rows given.
    """

    run: Callable[[Tensor, FrameStream], Tensor]
    above: int = 0
    below: int = 0
    up: int = 1
    down: int = 1

    def __call__(self, frames: Tensor, stream: FrameStream) -> Tensor:
        return self.run(frames, stream)


class Stepped(Protocol):
    """A layer that is one station or several."""

    def steps(self) -> tuple[Step, ...]:
        """Its stations in order."""
        ...


def steps_of(layers: Iterable[nn.Module]) -> tuple[Step, ...]:
    """The stations of layers, each of which is a `Stepped`, one after the other."""
    return tuple(step for layer in layers for step in cast(Stepped, layer).steps())


def as_one(module: Callable[[Tensor, FrameStream], Tensor], steps: Sequence[Step]) -> Step:
    """A module whose forward takes these steps one after the other, as a single step."""
    above = below = 0
    up = down = 1
    for step in steps:
        above, below = (-(-rows * step.up // step.down) for rows in (above, below))
        above, below, up, down = above + step.above, below + step.below, up * step.up, down * step.down
    return Step(module, above, below, up, down)


def run(steps: Sequence[Step], frames: Tensor, stream: FrameStream) -> Tensor:
    """Passes all `frames` [B, C, T, H, W] through one step after the other."""
    for step in steps:
        frames = step(frames, stream)
    return frames


# On a CPU convolutions take less time for four or two frames together than for one after the other (see `winograd`).
# Where frames are larger than 416 x 240 pixels with 96 channels, that would take more memory than all the past.
_TOGETHER = (4, 2)
_ELEMENTS_TOGETHER = 2**26


class Passage:
    """Frames on their way through steps, each as far as it can go before the next one starts.

    So what is in memory is one frame per step and the past, whatever the length of the clip; on a CPU up to four
    frames, where they are small. A step that fails (for want of memory, or because `check` raises) leaves the passage
    as it was before: it can go on from there.

    Attributes:
        steps: the way.
        streams: the past of each step.
        waiting: (number of the next step, frames [B, C, T, H, W]) on their way; the last ones go first.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        streams: Sequence[FrameStream] = (),
        waiting: Sequence[tuple[int, Tensor]] = (),
        *,
        check: Callable[[], None] | None = None,
    ) -> None:
        self.steps = steps
        self.streams = list(streams) or [FrameStream() for _ in steps]
        self.waiting = list(waiting)
        self._check = check

    def enter(self, frames: Tensor) -> None:
        """Lines up more frames [B, C, T, H, W] behind those on their way, of which none may have begun."""
        self.waiting[:0] = [(0, piece) for piece in reversed(_pieces(frames))]

    def frames(self) -> Iterator[Tensor]:
        """The frames [B, C', 1, H', W'] as they are done, until none is on its way."""
        while self.waiting:
            number, frames = self.waiting[-1]
            if number == len(self.steps):
                self.waiting.pop()
                yield from frames.split(1, dim=2)
                continue
            if self._check is not None:
                self._check()
            result = self._take(number, frames)
            self.waiting.pop()
            self.waiting += [(number + 1, piece) for piece in reversed(_pieces(result))]

    def _take(self, number: int, frames: Tensor) -> Tensor:
        stream = self.streams[number].copy()
        result = self.steps[number](frames, stream)
        self.streams[number] = stream
        return result


def _pieces(frames: Tensor) -> tuple[Tensor, ...]:
    """What goes through a step together of frames [B, C, T, H, W], which may be none."""
    if not frames.shape[2]:
        return ()
    elements = frames[:, :, 0].numel()
    fitting = [count for count in _TOGETHER if count * elements <= _ELEMENTS_TOGETHER]
    return frames.split(fitting[0] if fitting and frames.device.type == "cpu" else 1, dim=2)
