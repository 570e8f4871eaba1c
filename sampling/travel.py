"""Prompt travel: which of several prompts counts when in a clip, and how they cross over."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from ..common.errors import InvalidInputError
from ..common.records import record
from ..common.shapes import TEMPORAL_STRIDE, video_frames

Unit = Literal["frame", "second", "percent"]


class Moment(NamedTuple):
    """A time in a clip, 0 its beginning."""

    value: float
    unit: Unit = "frame"

    def frame(self, frames: int, fps: float) -> float:
        """The frame that begins then, or a part of one, in a clip of so many."""
        return self.value * {"frame": 1.0, "second": fps, "percent": frames / 100}[self.unit]

    def of_video(self, frames: int, fps: float) -> str:
        """In words, with the frame where it is said in another unit."""
        return str(self) if self.unit == "frame" else f"{self} (frame {self.frame(frames, fps):g})"

    def __str__(self) -> str:
        return {"frame": f"frame {self.value:g}", "second": f"{self.value:g} s", "percent": f"{self.value:g} %"}[
            self.unit
        ]


@record(eq=False)
class PromptSchedule:
    """When each of some prompts begins; it counts until the next one does.

    Attributes:
        starts: of each prompt, in order.
        transition: frames over which one crosses over to the next, the middle of them where that one begins; 0 for a
            cut.
    """

    starts: tuple[Moment, ...]
    transition: float = 0.0

    def shares(self, latent_frames: int, fps: float) -> Tensor:
        """How much each prompt counts in each latent frame: [prompts, T], float32, with a sum of 1 in each.

        A latent frame counts as the mean of the frames that it covers: the first one frame, each other four.

        Args:
            fps: by which seconds count.

        Raises:
            InvalidInputError: a prompt is for no latent frame, or the first frames have none.
        """
        frames = video_frames(latent_frames)
        starts = [start.frame(frames, fps) for start in self.starts]
        self._check(starts, frames, fps)
        middles = torch.arange(frames, dtype=torch.float64) + 0.5
        begun = [torch.ones_like(middles), *(self._begun(middles - start) for start in starts[1:])]
        shares = torch.stack([one - following for one, following in pairwise([*begun, torch.zeros_like(middles)])])
        later = shares[:, 1:].unflatten(1, (-1, TEMPORAL_STRIDE)).mean(2) if frames > 1 else shares[:, :0]
        shares = torch.cat([shares[:, :1], later], dim=1)
        for number, most in enumerate((shares >= shares.amax(0) - 1e-6).any(1).tolist()):
            if not most:
                raise InvalidInputError(
                    f"The prompt at {self.starts[number]} leads in none of the {latent_frames} latent frames: they are "
                    f"{TEMPORAL_STRIDE} frames long, and a transition takes {self.transition:g}. Leave more frames "
                    "between it and its neighbours, or make the transition shorter."
                )
        return shares.float()

    def _begun(self, since: Tensor) -> Tensor:
        """From 0 to 1 over a transition, without an edge; `since`: frames after its middle."""
        if not self.transition:
            return (since > 0).to(since)
        part = (since / self.transition + 0.5).clamp(0, 1)
        return part * part * (3 - 2 * part)

    def _check(self, starts: Sequence[float], frames: int, fps: float) -> None:
        if starts[0] > 0:
            raise InvalidInputError(
                f"The first prompt begins at {self.starts[0]}, and the frames before it have none. Let it begin at 0."
            )
        for (one, following), (start, later) in zip(pairwise(self.starts), pairwise(starts)):
            if later <= start:
                raise InvalidInputError(
                    f"The prompt at {following.of_video(frames, fps)} does not come after the one at "
                    f"{one.of_video(frames, fps)}. Write them in the order of their times."
                )
        if starts[-1] >= frames:
            raise InvalidInputError(
                f"The prompt at {self.starts[-1].of_video(frames, fps)} begins after the end of the video, which has "
                f"{frames} frames. Let it begin earlier, or make the video longer."
            )
