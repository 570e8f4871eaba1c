"""Windows of one length that follow one another in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import torch
from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.records import record
from ...dit.conditioning.cut import Cut
from ..step import NoiseLevel
from .blending import Blend, Edges, pyramid
from .placing import Placing, WindowRow, static_starts
from .repeated_noise import fresh_noise, repeated_noise
from .windows import ClipShape, whole_cut

Noising = Callable[[Tensor, WindowRow, int], Tensor]
"""(noise [B, C, T, h, w], the row of windows, seed) -> noise for these windows."""

NOISES: Mapping[str, Noising] = MappingProxyType({"repeated": repeated_noise, "fresh": fresh_noise})


@record
class SlidingWindows:
    """Windows in time; a clip that is no longer than one is seen as a whole.

    Attributes:
        size, overlap: latent frames of a window, and of them those that the next one shows, too.
        placing: where windows stand in each step.
        blend: how much their frames count.
        noising: what the noise of a run becomes.
        from_sigma: above this noise level the whole clip is seen at once; at 1 it never is.
        sees_one_before: whether a window that does not begin the clip sees the frame before it, too: the first latent
            frame of a clip holds one frame, and the model was trained on that.
        keeps_first: see `Cut.keeps_first`.

    Raises:
        InvalidInputError: sizes that no windows have.
    """

    size: int
    overlap: int
    placing: Placing = static_starts
    blend: Blend = pyramid
    noising: Noising = repeated_noise
    from_sigma: float = 1.0
    sees_one_before: bool = False
    keeps_first: bool = False

    def __post_init__(self) -> None:
        if self.size < 1 or not 0 <= self.overlap < self.size:
            raise InvalidInputError(
                f"Windows of {self.size} latent frames cannot overlap in {self.overlap}. Make the overlap shorter than "
                "a window."
            )

    def cuts(self, clip: ClipShape, level: NoiseLevel) -> tuple[Cut, ...]:
        """See `Windows.cuts`."""
        row = self._row(clip.frames - clip.references)
        if row is None or level.sigma > self.from_sigma:
            return (whole_cut(clip),)
        return tuple(self._cut(start, clip) for start in self.placing(row, level.index))

    def weights(self, cut: Cut, clip: ClipShape) -> Tensor:
        """See `Windows.weights`; what is seen before the window counts nothing."""
        if cut.length == clip.frames and not cut.before:
            return torch.ones(cut.length, 1, 1, dtype=torch.float32)
        is_first = cut.start + cut.before == cut.references
        edges = Edges(self.size, is_first, cut.stop == cut.frames, self.overlap)
        parts = [torch.ones(cut.references), torch.zeros(cut.before), self.blend(edges).float()]
        return torch.cat(parts)[:, None, None]

    def noise(self, noise: Tensor, seed: int, references: int) -> Tensor:
        """See `Windows.noise`."""
        row = self._row(noise.shape[2] - references)
        if row is None:
            return noise
        video = self.noising(noise[:, :, references:], row, seed)
        return torch.cat([noise[:, :, :references], video], dim=2) if references else video

    def _row(self, frames: int) -> WindowRow | None:
        return WindowRow(frames, self.size, self.overlap) if frames > self.size else None

    def _cut(self, start: int, clip: ClipShape) -> Cut:
        before, first = int(self.sees_one_before and start > 0), clip.references + start
        stop = first + self.size
        return Cut(first - before, stop, clip.frames, clip.references, self.keeps_first, before=before)
