"""Sparse attention of a video to itself: exactly the pairs of tokens that a pattern of tiles keeps."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from .kernel import Attention, sdpa_attention
from .tiles import Grid, Tiles, radial_tiles, sliding_tiles

Pattern = Callable[[Grid, Tensor], Attention | None]
"""Gives the kernel of a video's attention to itself by the grid of its tokens and its timesteps [B, G], 0..1000; None
where every token looks at every other. Tokens before those of the grid are no part of the pattern."""

NOISIEST = 940.0
"""From this timestep on everything is looked at, since a video gets its layout there. At shift 5 that is the first
quarter of the steps, as the authors of both patterns have it for Wan (12 of 50)."""

GATHERED = 0.25
"""How much is gathered at once, as a part of the queries; of one head at least."""


def every_token(grid: Grid, timesteps: Tensor) -> Attention | None:
    """The default: every token looks at every other."""
    return None


def sliding_tile(grid: Grid, timesteps: Tensor) -> Attention | None:
    """Every token looks at a window of tiles around its own, see `sliding_tiles`."""
    return _sparse(sliding_tiles, grid, timesteps)


def radial(grid: Grid, timesteps: Tensor) -> Attention | None:
    """Every token looks at fewer places, the further a frame is, see `radial_tiles`."""
    return _sparse(radial_tiles, grid, timesteps)


def _sparse(tiles_of: Callable[[Grid], Tiles], grid: Grid, timesteps: Tensor) -> Attention | None:
    if float(timesteps.max()) >= NOISIEST:
        return None
    tiles = tiles_of(grid)
    return None if bool(tiles.seen.all()) else partial(attend_tiles, tiles)


def attend_tiles(tiles: Tiles, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention of q, k, v [B, L, N, D] -> [B, L, N, D], where tiles look at tiles.

    Tiles that look at the same ones go together, with the keys of these alone, so the result is that of a mask over all
    pairs but for rounding. Tokens before those of the tiles look at all and are looked at by all.
    """
    out, before = torch.empty_like(q), q.shape[1] - tiles.length
    if before:
        out[:, :before] = sdpa_attention(q[:, :before], k, v)
    for looking, seen_by_them in tiles.groups:
        queries = _tokens(tiles, looking, before).to(q.device)
        seen = torch.cat([torch.arange(before), _tokens(tiles, seen_by_them, before)]).to(q.device)
        for heads in _parts(q, len(queries) + len(seen)):
            out[:, queries, heads] = sdpa_attention(q[:, queries, heads], k[:, seen, heads], v[:, seen, heads])
    return out


def _parts(q: Tensor, gathered: int) -> Iterator[slice]:
    """So many heads at a time that what is gathered of as many tokens, and what is made of it, stay small beside q."""
    length, heads = q.shape[1:3]
    step = max(1, int(heads * length * GATHERED / (2 * gathered)))
    for start in range(0, heads, step):
        yield slice(start, start + step)


def _tokens(tiles: Tiles, chosen: Sequence[int], before: int) -> Tensor:
    """The numbers of the tokens of some tiles, behind so many others."""
    return torch.cat([tiles.tokens[number] for number in chosen]) + before
