"""Who has what of a pass, as numbers alone: the tokens and heads of each rank, and the ranks of each pass."""

from __future__ import annotations

from itertools import accumulate
from typing import NamedTuple

from ..common.errors import InvalidInputError


class Shares(NamedTuple):
    """How much of a sequence each rank has, in the order of the ranks; the parts follow one another."""

    counts: tuple[int, ...]

    @property
    def total(self) -> int:
        """Of all ranks."""
        return sum(self.counts)

    def slice(self, rank: int) -> slice:
        """The part of one rank."""
        ends = list(accumulate(self.counts, initial=0))
        return slice(ends[rank], ends[rank + 1])


def split(count: int, ranks: int) -> Shares:
    """`count` things over so many ranks, as evenly as it goes and the first ones with one more; some may get none."""
    return Shares(tuple(count // ranks + (rank < count % ranks) for rank in range(ranks)))


def split_tokens(length: int, ranks: int) -> Shares:
    """The tokens of a pass.

    Raises:
        InvalidInputError: a rank would have none.
    """
    shares = split(length, ranks)
    if not shares.counts[-1]:
        raise InvalidInputError(f"{length} tokens cannot be shared among {ranks} devices. Use fewer devices.")
    return shares


def has_ring(heads: int, ranks: int) -> bool:
    """Whether keys and values go around the ranks of a team, each of which keeps all heads of its tokens: where not
    each would get a head."""
    return heads < ranks


class Team(NamedTuple):
    """Some ranks of a group, by number, which share the passes of these numbers."""

    ranks: tuple[int, ...]
    passes: tuple[int, ...]


def teams(ranks: int, passes: int) -> tuple[Team, ...]:
    """The ranks of a group as equal teams for the passes of a step: as many as divide both, so that all work alike.

    Passes that share nothing need no exchange but of their results, which makes them the first thing to share out.
    """
    count = max(number for number in range(1, passes + 1) if ranks % number == 0 and passes % number == 0)
    size = ranks // count
    return tuple(
        Team(tuple(range(number * size, (number + 1) * size)), tuple(range(number, passes, count)))
        for number in range(count)
    )


class Exchanged(NamedTuple):
    """Bytes that one rank sends in a pass: `attention`, in all blocks; `results`, the tokens behind the last one."""

    attention: int
    results: int


def bytes_sent(tokens: Shares, heads: Shares, rank: int, *, width: int, blocks: int, itemsize: int = 2) -> Exchanged:
    """Of one pass that a team shares: each rank sends q, k and v of the heads of others, and what attention made of
    the tokens of others with its heads; at last its tokens, in float32 or as the model has them, to each of the others.
    Around a ring it sends k and v of all tokens but those that the next rank begins with.

    Args:
        width: of a token, all heads together.
        itemsize: bytes of a number.
    """
    own, head = tokens.counts[rank], width // heads.total
    results = own * width * itemsize * (len(tokens.counts) - 1)
    if has_ring(heads.total, len(heads.counts)):
        following = tokens.counts[(rank + 1) % len(tokens.counts)]
        return Exchanged(blocks * 2 * (tokens.total - following) * width * itemsize, results)
    there = 3 * own * (heads.total - heads.counts[rank])
    back = (tokens.total - own) * heads.counts[rank]
    return Exchanged(blocks * (there + back) * head * itemsize, results)
