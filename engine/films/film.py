"""The frames of a film, clip after clip, each clip made or found; no more than one clip is in memory."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Generator
from typing import Any, Protocol

import torch
from torch import Tensor

from ...common.log import logger
from ...common.records import record
from ...media.lossless import FramePacker
from ..resuming.kept import KeptRuns
from ..runtime import Runtime, Work
from .kept import FinishedClip, KeptFilm
from .shape import FilmShape


class ClipMaker(Protocol):
    """Makes the clips of a film."""

    def decisive(self, clip: int) -> Any:
        """All that a clip depends on, beside the frames that it is given; see `resuming.digest`.

        Raises:
            NoDigest: it cannot be known.
        """
        ...

    def frames(self, clip: int, given: Tensor | None) -> Generator[Tensor, None, None]:
        """The frames of a clip one by one: [H, W, 3] in 0..1, float32, CPU.

        Args:
            given: the last frames of the clip before, [n, H, W, 3]; None for the first.
        """
        ...


@record(eq=False)
class FilmState:
    """Where a film stands between two clips.

    Attributes:
        clip: the number of the next.
        tail: what it is given, [n, H, W, 3]; None for the first.
        was_found: whether the clip before was there from an earlier run.
    """

    clip: int = 0
    tail: Tensor | None = None
    was_found: bool = False


def film_frames(shape: FilmShape, maker: ClipMaker, film: KeptFilm, runs: KeptRuns) -> Generator[Tensor, None, None]:
    """The frames of a film one by one: [H, W, 3] in 0..1, float32, CPU.

    Those of a clip that an earlier run has finished have 8 bits, which are the ones that a file would have anyway.

    Args:
        film: finished clips, kept until the film is in safety.
        runs: of the sampler: those of a clip go when it is kept.
    """
    state = FilmState()
    while state.clip < shape.clips:
        found = film.find(lambda now=state: _decisive(shape, maker, now))
        if found is not None:
            yield from found.frames.frames()
            state = FilmState(state.clip + 1, found.tail, was_found=True)
            continue
        if state.was_found:
            logger.info(
                "The film goes on after clip %d of %d, where an earlier run of it was broken off.",
                state.clip, shape.clips,
            )  # fmt: skip
        state = yield from _made(shape, maker, state, film, runs)
    if state.was_found:
        logger.info("An earlier run had made all %d clips of this film: they are used.", shape.clips)


def outline_film(shape: FilmShape, maker: ClipMaker, runtime: Runtime) -> None:
    """Notes what the clips of a film take, where a run is planned; does nothing where it is not."""

    def outlined(clip: int, given: Tensor | None) -> Tensor:
        return torch.stack([*deque(maker.frames(clip, given), maxlen=shape.overlap)])

    tail: Tensor | None = runtime.perform(Work(lambda: None, lambda: outlined(0, None), times=1))
    if shape.clips > 1:
        runtime.perform(Work(lambda: None, lambda: outlined(1, tail), times=shape.clips - 1))


def _made(
    shape: FilmShape, maker: ClipMaker, state: FilmState, film: KeptFilm, runs: KeptRuns
) -> Generator[Tensor, None, FilmState]:
    """The new frames of the next clip, which is kept when the last of them was taken."""
    before, packer = runs.ended, FramePacker()
    tail: deque[Tensor] = deque(maxlen=shape.overlap)
    with contextlib.closing(maker.frames(state.clip, state.tail)) as frames:
        for number, frame in enumerate(frames):
            tail.append(frame)
            if number < shape.given(state.clip):
                continue
            if film.keeps:
                packer.add(frame)
            yield frame
    given = torch.stack([*tail])
    if film.keeps and film.keep(FinishedClip(packer.packed(), given)):
        runs.forget_ended(before)
    return FilmState(state.clip + 1, given)


def _decisive(shape: FilmShape, maker: ClipMaker, state: FilmState) -> Any:
    """All that the next clip depends on: what makes it, what it is given, which of its frames count, and its tail."""
    return shape.given(state.clip), shape.overlap, state.tail, maker.decisive(state.clip)
