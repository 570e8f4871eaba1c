"""The transformer on one rank of several, which all run the same sampler and share each pass of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from ..dit.execution import Execution
from ..dit.inputs import DitInputs
from ..dit.model import Embedded
from .attention import shared_attention
from .exchange import Group
from .layout import Shares, split_tokens, teams

Trunk = Callable[[Sequence[Embedded], Execution], list[Tensor]]
"""All blocks, as `dit.model.WanDiT.trunk`."""


class Blocks(NamedTuple):
    """What of a model is not shared: how a pass begins and ends; and the blocks, which are."""

    embed: Callable[[DitInputs], Embedded]
    trunk: Trunk
    unembed: Callable[[Tensor, Embedded], Tensor]


@dataclass(frozen=True, slots=True)
class SharedDiT:
    """A model whose passes the ranks of a group share: first pass by pass, then the tokens of each.

    Every rank is given the same inputs and gets the same answers, so all that is decided by them, in solvers,
    guidance and caches, is decided alike.
    """

    blocks: Blocks
    execution: Execution
    group: Group

    def embed(self, inputs: DitInputs) -> Embedded:
        """See `WanDiT.embed`; on every rank."""
        return self.blocks.embed(inputs)

    def trunk(self, passes: Sequence[Embedded]) -> list[Tensor]:
        """The tokens [B, L, D] of each pass after the last block, whole on every rank."""
        shared = teams(self.group.size, len(passes))
        mine = next(team for team in shared if self.group.rank in team.ranks)
        own = self.group.team(mine.ranks)
        shares = [split_tokens(each.tokens.shape[1], each.groups, len(mine.ranks)) for each in passes]
        parts = dict(zip(mine.passes, self._own(own, [(passes[number], shares[number]) for number in mine.passes])))
        return [
            self._gathered(parts.get(number), passes[number], shares[number], team.ranks)
            for number in range(len(passes))
            for team in shared
            if number in team.passes
        ]

    def unembed(self, tokens: Tensor, embedded: Embedded) -> Tensor:
        """See `WanDiT.unembed`; on every rank."""
        return self.blocks.unembed(tokens, embedded)

    def _own(self, own: Group, passes: Sequence[tuple[Embedded, Shares]]) -> list[Tensor]:
        """What the own part of each pass becomes; passes of one length go block by block."""
        if own.size == 1:
            return self.blocks.trunk([embedded for embedded, _ in passes], self.execution)
        done: list[Tensor] = []
        while len(done) < len(passes):
            shares = passes[len(done)][1]
            together = [embedded for embedded, other in passes[len(done) :] if other == shares]
            if len(together) < len(passes) - len(done):
                together = together[:1]
            execution = replace(self.execution, shared=shared_attention(own, shares))
            done += self.blocks.trunk([each.part(shares.slice(own.rank)) for each in together], execution)
        return done

    def _gathered(self, part: Tensor | None, embedded: Embedded, shares: Shares, ranks: Sequence[int]) -> Tensor:
        """The whole tokens of a pass that some ranks have made; `part`: the own one, if this is one of them."""
        batch, _, width = embedded.tokens.shape
        if part is None:
            part = embedded.tokens[:, :0]
        elif len(ranks) == self.group.size == 1:
            return part
        made = dict(zip(ranks, shares.counts))
        shapes = [(batch, made.get(rank, 0), width) for rank in range(self.group.size)]
        parts = self.group.swap([part] * self.group.size, shapes)
        whole = [parts[rank] for rank in ranks]
        return torch.cat(whole, dim=1)
