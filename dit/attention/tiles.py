"""Which tokens of a video look at which, by tiles of its grid: sliding tiles, and radial attention."""

from __future__ import annotations

from functools import cached_property, lru_cache
from itertools import product
from math import prod

import torch
from torch import Tensor

from ...common.records import record

Grid = tuple[int, int, int]
"""Tokens of a video along its frames, rows and columns."""

TILE: Grid = (6, 8, 8)
"""The most tokens of a sliding tile, as in the paper."""

WINDOW: Grid = (3, 5, 7)
"""Tiles that a tile looks at along frames, rows and columns. At 81 frames of 1280 x 720 these are 43 % of all, about
what the paper keeps of a model that was not trained for it (42 %)."""

RUN = 256
"""The most tokens of a tile of radial attention, which is a run of a frame."""

_REMEMBERED = 4


@record(eq=False, slots=False)
class Tiles:
    """The tokens of a video in tiles, and which tiles look at which.

    Attributes:
        tokens: the numbers of each tile's tokens, int64; every token of the grid is in one tile.
        seen: [tiles, tiles], bool on the CPU: whether the tokens of a tile (row) look at those of another (column).
    """

    tokens: tuple[Tensor, ...]
    seen: Tensor

    @property
    def length(self) -> int:
        """Tokens in all."""
        return sum(len(each) for each in self.tokens)

    @cached_property
    def groups(self) -> list[tuple[list[int], list[int]]]:
        """Tiles that look at the same ones, and these."""
        rows, numbers = torch.unique(self.seen, dim=0, return_inverse=True)
        return [(_where(numbers == number), _where(row)) for number, row in enumerate(rows)]

    @property
    def density(self) -> float:
        """Which share of all pairs of tokens look at each other."""
        sizes = torch.tensor([float(len(each)) for each in self.tokens], dtype=torch.float64)
        return float(sizes @ self.seen.double() @ sizes) / self.length**2


@lru_cache(maxsize=_REMEMBERED)
def sliding_tiles(grid: Grid, tile: Grid = TILE, window: Grid = WINDOW) -> Tiles:
    """Boxes of tokens; each looks at a window of boxes around it.

    Along each axis the tokens are cut into runs as equal as they can be, none longer than the tile. A window that would
    reach over an edge is moved inside, so that it always has its full size, or all there is.

    Args:
        window: odd numbers.

    Source: Zhang et al., "Fast Video Generation with Sliding Tile Attention", arXiv 2502.04507, section 3.
    """
    axes = [_runs(size, longest) for size, longest in zip(grid, tile)]
    numbers = torch.arange(prod(grid)).view(grid)
    boxes = (numbers[t.start : t.stop, y.start : y.stop, x.start : x.stop] for t, y, x in product(*axes))
    frames, rows, columns = (_slid(len(runs), width).int() for runs, width in zip(axes, window))
    seen = torch.kron(torch.kron(frames, rows), columns).bool()
    return Tiles(tuple(box.flatten() for box in boxes), seen)


@lru_cache(maxsize=_REMEMBERED)
def radial_tiles(grid: Grid, run: int = RUN) -> Tiles:
    """Runs of each frame's tokens; the further two frames are apart, the nearer their places have to be.

    With s tokens in a frame, tokens at places k and l of frames that are d apart look at each other where
    (|k - l| + 1) * w <= s, or where k = l and d is a multiple of ceil(w / s); w is the largest power of two that is no
    larger than d, or 1. All look at the first frame. Tiles do where any two of their tokens do.

    Source: Li et al., "Radial Attention: O(n log n) Sparse Attention with Energy Decay for Long Video Generation",
    arXiv 2506.19852, section 4.
    """
    frames, places = grid[0], grid[1] * grid[2]
    runs = _runs(places, run)
    starts, stops = (torch.tensor([getattr(each, end) for each in runs]) for end in ("start", "stop"))
    between = starts[None] - stops[:, None] + 1
    nearest = torch.maximum(between, between.T).clamp(min=0)  # [runs, runs], the least |k - l|
    apart = [[abs(i - j) for j in range(frames)] for i in range(frames)]
    widths = torch.tensor([[1 << max(d.bit_length() - 1, 0) for d in row] for row in apart])  # w, [frames, frames]
    aligned = torch.tensor(apart) % -(-widths // places) == 0
    near = (nearest[None, :, None] + 1) * widths[:, None, :, None] <= places
    same = torch.eye(len(runs), dtype=torch.bool)[None, :, None] & aligned[:, None, :, None]
    first = (torch.arange(frames) == 0)[None, None, :, None]
    seen = (near | same | first).reshape(frames * len(runs), -1)
    tokens = (torch.arange(each.start, each.stop) + frame * places for frame in range(frames) for each in runs)
    return Tiles(tuple(tokens), seen)


def _where(chosen: Tensor) -> list[int]:
    return torch.nonzero(chosen).flatten().tolist()


def _runs(size: int, longest: int) -> list[range]:
    """So many tokens in as few runs as there can be, as equal as they can be."""
    count = -(-size // longest)
    bounds = [number * size // count for number in range(count + 1)]
    return [range(start, stop) for start, stop in zip(bounds, bounds[1:])]


def _slid(count: int, width: int) -> Tensor:
    """[count, count], bool: the window of each of so many tiles along an axis."""
    if count <= width:
        return torch.ones(count, count, dtype=torch.bool)
    tiles, half = torch.arange(count), width // 2
    middles = tiles.clamp(half, count - 1 - half)
    return (middles[:, None] - tiles[None]).abs() <= half
