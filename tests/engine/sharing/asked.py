"""What other processes of a crew are asked for in tests, which they import."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from wan_director.dit.attention import sdpa_attention
from wan_director.dit.inputs import Conditioning
from wan_director.engine.models import VideoModel
from wan_director.engine.sampling import turn
from wan_director.engine.sampling.run import ReadyRun


def sides(model: VideoModel) -> tuple[Conditioning, Conditioning]:
    config, generator = model.spec.config, torch.Generator().manual_seed(1)
    shape = (1, config.text_tokens, config.text_dim)
    return Conditioning(torch.randn(shape, generator=generator)), Conditioning(torch.randn(shape, generator=generator))


@dataclass(frozen=True)
class WithoutMemory:
    """A run in which attention finds no memory at its call of this number, in the process that is asked for it."""

    ready: ReadyRun
    call: int

    def join(self) -> None:
        before, calls = turn._made_exact, [0]

        def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            calls[0] += 1
            if calls[0] == self.call:
                raise torch.OutOfMemoryError("CUDA out of memory.")
            return sdpa_attention(q, k, v)

        turn._made_exact = lambda execution, times: replace(before(execution, times), attention=attend)
        try:
            self.ready.join()
        finally:
            turn._made_exact = before


def without_memory(request: Callable[[], ReadyRun], call: int) -> WithoutMemory:
    return WithoutMemory(request(), call)


def not_ready(_request: Callable[[], ReadyRun]) -> ReadyRun:
    raise ValueError("not today")
