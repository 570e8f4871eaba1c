"""Ranks that share the rows of a video's frames make to the bit what one makes in as many strips.

The ranks are threads of this process here; as processes they are in tests/parallel.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from wan_director.vae3d import passes
from wan_director.vae3d.strips import Rows, edges, shared_rows
from wan_director.vae3d.vae import CausalVAE

from .test_vae_strips import CONFIGS, TOLERANCE, decoded, encoded, random_latent, random_video


class Threads:
    """What the ranks have in common."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=60)
        self.given: list[Any] = [None] * size

    def exchange(self, rank: int, values: Any) -> list[Any]:
        self.given[rank] = values
        self.barrier.wait()
        found = list(self.given)
        self.barrier.wait()
        return found


class ThreadRank:
    """See `common.ranks.Ranks`; counts the numbers that it sends to others."""

    def __init__(self, threads: Threads, rank: int) -> None:
        self.threads, self.rank, self.size = threads, rank, threads.size
        self.swapped = self.gathered = 0

    def swap(self, parts: Sequence[Tensor], shapes: Sequence[Sequence[int]]) -> list[Tensor]:
        self.swapped += sum(part.numel() for rank, part in enumerate(parts) if rank != self.rank)
        received = [parts[self.rank] for parts in self.threads.exchange(self.rank, parts)]
        return [part.reshape(*shape) for part, shape in zip(received, shapes, strict=True)]

    def gather(self, part: Tensor, sizes: Sequence[int]) -> Tensor:
        self.gathered += part.numel() * (self.size - 1)
        parts = self.threads.exchange(self.rank, part)
        assert [part.numel() for part in parts] == list(sizes)
        return torch.cat([part.reshape(-1) for part in parts])


def on_ranks(size: int, work: Callable[..., Tensor]) -> tuple[list[Tensor], list[ThreadRank]]:
    threads = Threads(size)
    ranks = [ThreadRank(threads, rank) for rank in range(size)]

    def run(rank: ThreadRank) -> Tensor:
        try:
            with torch.no_grad():
                return work(ranks=rank)
        except BaseException:
            threads.barrier.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(run, ranks)), ranks


@pytest.fixture(scope="module", params=["2.1", "other strides", "twice the size", "2.2"])
def vae(request, make_vae) -> CausalVAE:
    return make_vae(CONFIGS[request.param])


@pytest.fixture(autouse=True)
def few_frames_at_once(monkeypatch):
    monkeypatch.setattr(passes, "LATENT_FRAMES_AT_ONCE", 2)


@pytest.mark.parametrize("ranks", [2, 3])
def test_decoding_on_ranks_is_decoding_in_strips_to_the_bit(vae, ranks):
    latent = random_latent(4, height=5, width=2)
    found, _ = on_ranks(ranks, partial(decoded, vae, latent))
    assert all(torch.equal(each, decoded(vae, latent, ranks)) for each in found)
    whole = decoded(vae, latent)
    torch.testing.assert_close(found[0], whole, rtol=0, atol=TOLERANCE * float(whole.abs().max()))


@pytest.mark.parametrize("ranks", [2, 3])
def test_encoding_on_ranks_is_encoding_in_strips_to_the_bit(vae, ranks):
    video = random_video(13, 6 * vae.config.spatial_stride, vae.config.spatial_stride)
    found, _ = on_ranks(ranks, partial(encoded, vae, video))
    assert all(torch.equal(each, encoded(vae, video, ranks)) for each in found)
    whole = encoded(vae, video)
    torch.testing.assert_close(found[0], whole, rtol=0, atol=TOLERANCE * float(whole.abs().max()))


def test_more_strips_than_ranks_and_rows_that_do_not_divide(make_vae):
    vae, latent = make_vae(CONFIGS["2.1"]), random_latent(3, height=7, width=3, batch=2)
    whole = decoded(vae, latent)
    for strips in (4, 7):
        found, _ = on_ranks(3, partial(decoded, vae, latent, strips))
        assert torch.equal(found[0], found[2])
        torch.testing.assert_close(found[0], whole, rtol=0, atol=TOLERANCE * float(whole.abs().max()))


def test_what_is_sent_is_the_frames_and_the_rows_at_the_borders(make_vae):
    vae = make_vae(CONFIGS["2.1"])
    counts = {}
    for height in (8, 12):
        latent = random_latent(3, height=height, width=2)
        (frames, _), ranks = on_ranks(2, partial(decoded, vae, latent))
        assert sum(rank.gathered for rank in ranks) == frames.numel()  # each half once
        counts[height] = [rank.swapped for rank in ranks]
    assert counts[8] == counts[12] and len(set(counts[8])) == 1  # of the border, whatever lies behind it


@given(st.integers(1, 400), st.integers(1, 16), st.integers(1, 8))
def test_every_row_is_somebodys_and_the_rows_beside_ones_own_come_from_who_has_them(units, ranks, halo):
    if units < ranks:
        return
    shares = shared_rows(units, ranks)
    assert [row for share in shares for row in range(*share)] == list(range(units))
    assert all(share.end > share.start for share in shares)
    for rank, share in enumerate(shares):
        got = [row for other in range(ranks) for part in edges(shares, other, rank, halo) for row in range(*part)]
        near = [*range(max(0, share.start - halo), share.start), *range(share.end, min(units, share.end + halo))]
        assert sorted(got) == near
    assert edges(shares, 0, 0, halo) == [] and shares[0] == Rows(0, shares[0].end)
