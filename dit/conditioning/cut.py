"""A part of a clip that the model sees by itself: some latent frames in a row, and a rectangle of them."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ...common.errors import PairingError
from ...common.records import record


class Span(NamedTuple):
    """Rows or columns of the latent, `start` to `stop` (without it), of so many in the `whole`."""

    start: int
    stop: int
    whole: int


@record
class Cut:
    """A part of a clip.

    Attributes:
        start, stop: its latent frames, `stop` not among them.
        frames: of the whole latent, pictures before the video included.
        references: latent frames of pictures before the video that come with it, which has none of them itself.
        keeps_first: whether what is given of the video's first frame stands at its own first frame, too.
        rows, columns: of a rectangle; None for all.
        before: how many of its first frames are there to be seen alone: what the model says of them does not count.
    """

    start: int
    stop: int
    frames: int
    references: int = 0
    keeps_first: bool = False
    rows: Span | None = None
    columns: Span | None = None
    before: int = 0

    @property
    def length(self) -> int:
        """Latent frames that the model sees."""
        return self.references + self.stop - self.start

    @property
    def name(self) -> str:
        """Another one for each part of a clip."""
        spans = [self.rows, self.columns] if self.rows or self.columns else []
        places = [f"{self.start}-{self.stop}", *(f"{each.start}-{each.stop}" if each else "all" for each in spans)]
        return "/".join(places)

    def size(self, height: int, width: int) -> tuple[int, int, int]:
        """Latent frames, rows and columns that the model sees of a latent of this size."""
        rows, columns = (
            whole if span is None else span.stop - span.start
            for span, whole in ((self.rows, height), (self.columns, width))
        )
        return self.length, rows, columns

    def of(self, tensor: Tensor) -> Tensor:
        """This part of `tensor` [B, C, T, h, w], or of one with n times the rows and columns; a view if it can be.

        Raises:
            PairingError: it is made for a clip of another length.
        """
        return self.of_times(self.of_picture(tensor), dim=2)

    def of_given(self, tensor: Tensor) -> Tensor:
        """As `of`, of what is given of a clip, see `keeps_first`."""
        part = self.of(tensor)
        if not self.keeps_first or self.start == self.references:
            return part
        first = self.of_picture(tensor).narrow(2, self.references, 1)
        before, after = part[:, :, : self.references], part[:, :, self.references + 1 :]
        return torch.cat([before, first, after], dim=2)

    def of_times(self, tensor: Tensor, dim: int) -> Tensor:
        """These latent frames of `tensor`, which lie along `dim`; a view if it can be.

        Raises:
            PairingError: it is made for a clip of another length.
        """
        if tensor.shape[dim] != self.frames:
            raise PairingError(
                f"The conditioning is made for {tensor.shape[dim]} latent frames, but the latent has {self.frames}. "
                "Prepare it for a video of the same length."
            )
        part = tensor.narrow(dim, self.start, self.stop - self.start)
        return torch.cat([tensor.narrow(dim, 0, self.references), part], dim) if self.references else part

    def of_picture(self, tensor: Tensor) -> Tensor:
        """This rectangle of pictures [..., h, w], or of ones with n times the rows and columns; a view.

        Raises:
            PairingError: they are of another size.
        """
        for dim, span in ((-2, self.rows), (-1, self.columns)):
            if span is not None:
                scale, rest = divmod(tensor.shape[dim], span.whole)
                if rest or not scale:
                    side = "rows" if dim == -2 else "columns"
                    raise PairingError(
                        f"The conditioning is made for {tensor.shape[dim]} {side}, but the latent has {span.whole}. "
                        "Prepare it for a video of the same size."
                    )
                tensor = tensor.narrow(dim, scale * span.start, scale * (span.stop - span.start))
        return tensor

    def of_weights(self, tensor: Tensor) -> Tensor:
        """As `of`, of numbers [B, C, T, h, w] that may be the same (a size of 1) along each side."""
        frames = tensor if tensor.shape[2] == 1 else self.of_times(tensor, dim=2)
        for dim, span in ((-2, self.rows), (-1, self.columns)):
            if span is not None and frames.shape[dim] > 1:
                frames = frames.narrow(dim, span.start, span.stop - span.start)
        return frames

    def add(self, total: Tensor, part: Tensor) -> None:
        """Adds this part [..., T of it, h, w] to where it belongs in `total` [..., T, h, w], which is written to."""
        place, before = self.of_picture(total), self.references
        if before:
            place.narrow(-3, 0, before).add_(part.narrow(-3, 0, before))
        place.narrow(-3, self.start, self.stop - self.start).add_(part.narrow(-3, before, self.stop - self.start))
