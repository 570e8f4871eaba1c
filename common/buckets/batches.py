"""Which clips make a batch, and in which order batches come: the same for a seed, to go on with from any of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

from ..errors import InvalidInputError

Key = TypeVar("Key", bound=Hashable)


class Batch(NamedTuple, Generic[Key]):
    """Clips of one bucket, by their numbers."""

    bucket: Key
    members: tuple[int, ...]


def batch_size(tokens: int, budget: int) -> int:
    """How many clips of so many tokens go into a batch, 1 at least, so that all batches take about the same time."""
    if tokens < 1:
        raise InvalidInputError(f"A clip has 1 token or more, got {tokens}.")
    return max(1, budget // tokens)


def batches(
    buckets: Sequence[Key], size_of: Callable[[Key], int], seed: int | None = None, epoch: int = 0, start: int = 0
) -> tuple[Batch[Key], ...]:
    """Each clip once, in batches of its bucket; the last batch of a bucket may be smaller.

    Args:
        buckets: that of each clip.
        size_of: how many clips a batch of a bucket has at most.
        seed: of the order of clips and of batches; None keeps that of the clips, batches by their first one.
        epoch: another order of the same seed.
        start: number of the first batch that is given: a run that was broken off after so many goes on with it.

    Raises:
        InvalidInputError: a batch is to have no clips, or `start` is negative.
    """
    if start < 0:
        raise InvalidInputError(f"Batches are numbered from 0, got {start}.")
    groups: dict[Key, list[int]] = {}
    for number, bucket in enumerate(buckets):
        groups.setdefault(bucket, []).append(number)
    generator = None if seed is None else random.Random(f"{seed} {epoch}")
    made = []
    for bucket, members in groups.items():
        count = size_of(bucket)
        if count < 1:
            raise InvalidInputError(f"A batch has 1 clip or more, got {count}.")
        if generator is not None:
            generator.shuffle(members)
        made += [Batch(bucket, tuple(members[at : at + count])) for at in range(0, len(members), count)]
    if generator is None:
        made.sort(key=lambda batch: batch.members[0])
    else:
        generator.shuffle(made)
    return tuple(made[start:])
