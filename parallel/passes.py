"""The passes of a model on one rank of several, which all make the same run: shared out, then the tokens of each.

Every rank is given the same inputs and gets the same answers, so all that is decided by them, in solvers, guidance and
caches, is decided alike.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..common.errors import GivenUp
from ..dit.execution import Execution
from ..dit.model import Embedded
from ..dit.sharing import Trunk
from .attention import shared_attention
from .exchange import Group, agree, tell
from .layout import Shares, Team, split_tokens, teams


def run_shared(trunk: Trunk, passes: Sequence[Embedded], execution: Execution, group: Group) -> list[Tensor]:
    """The tokens [B, L, D] of each pass after the last block, whole on every rank.

    Args:
        trunk: the blocks, on this rank.

    A rank that fails tells the others, which wait for it in an exchange.

    Raises:
        InvalidInputError: there are fewer tokens than ranks.
        GivenUp: another rank has failed.
    """
    shared = teams(group.size, len(passes))
    mine = next(team for team in shared if group.rank in team.ranks)
    own = group.team(mine.ranks)
    shares = [split_tokens(each.tokens.shape[1], len(mine.ranks)) for each in passes]
    agree(group)
    with _telling(group, also=None if own is group else own):
        made = _own(trunk, [(passes[number], shares[number]) for number in mine.passes], execution, own)
        parts = dict(zip(mine.passes, made))
        agree(own)
    with _telling(group):
        return [
            _gathered(parts.get(number), passes[number], shares[number], _team_of(number, shared), group)
            for number in range(len(passes))
        ]


@contextlib.contextmanager
def _telling(group: Group, also: Group | None = None) -> Iterator[None]:
    """Inside, a fault is told to all ranks of a group, and first to those of a team of it, if there is `also` one.

    What a rank was told by its team it passes on; what it was told by the whole group all know.
    """
    try:
        yield
    except GivenUp as told:
        if also is not None:
            tell(group, told)
        raise
    except BaseException as error:  # a border: whatever it is, the others are not to wait for ever
        if also is not None:
            tell(also, error)
        tell(group, error)
        raise


def _own(trunk: Trunk, passes: Sequence[tuple[Embedded, Shares]], execution: Execution, own: Group) -> Iterator[Tensor]:
    """What the own part of each pass becomes; passes of one length go block by block."""
    if own.size == 1:
        yield from trunk([embedded for embedded, _ in passes], execution)
        return
    alike = all(shares == passes[0][1] for _, shares in passes)
    for together in [passes] if alike else [[each] for each in passes]:
        shares = together[0][1]
        parts = [embedded.part(shares.slice(own.rank)) for embedded, _ in together]
        yield from trunk(parts, replace(execution, shared=shared_attention(own, shares)))


def _team_of(number: int, shared: Sequence[Team]) -> Team:
    return next(team for team in shared if number in team.passes)


def _gathered(part: Tensor | None, embedded: Embedded, shares: Shares, team: Team, group: Group) -> Tensor:
    """The whole tokens of a pass that a team has made; `part`: the own one, if this rank is in it."""
    if group.size == 1:
        assert part is not None, "there is one team"
        return part
    batch, _, width = embedded.tokens.shape
    sent = embedded.tokens[:, :0] if part is None else part
    counts = dict(zip(team.ranks, shares.counts))
    values = group.gather(sent, [batch * counts.get(rank, 0) * width for rank in range(group.size)])
    if batch == 1:
        return values.view(1, shares.total, width)
    parts = values.split([batch * count * width for count in shares.counts])
    return torch.cat([part.view(batch, -1, width) for part in parts], dim=1)
