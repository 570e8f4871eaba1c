"""How much memory a run may take, and how fast the device is assumed to be."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from ..common.errors import InvalidInputError
from ..common.records import record

GB = 10**9
_UNITS = {"": GB, "G": GB, "GB": GB, "GIB": 2**30, "M": 10**6, "MB": 10**6, "MIB": 2**20}

BudgetKind = Literal["leave free", "use at most"]
KINDS: tuple[BudgetKind, ...] = ("leave free", "use at most")
LEAVE_FREE_BYTES = GB
"""For the screen, other programs, workspaces of kernels and what the allocator cannot use."""


class Card(NamedTuple):
    """A device as plans assume it: operations per second in 16 bit, and bytes per second from pinned memory."""

    name: str
    flops: float
    bus_bytes: float


CARDS = (
    (13 * GB, Card("an RTX 3060", 25.6e12, 12e9)),
    (40 * GB, Card("an RTX 4090", 165e12, 25e9)),
    (float("inf"), Card("an H200", 790e12, 50e9)),
)
"""Device memory up to which a card is taken as an example. Rates as measured with large matrices and copies."""

FLOPS_PER_BYTE = 16_000
"""What the fastest devices compute in bf16 while one byte of weights arrives (an H200: 790 TFLOP/s, 50 GB/s). Slower
ones compute less (a 4090: 6,600, a 3060: 2,100), so that copies weigh less for them."""

FILE_BYTES = 5e9
"""Bytes per second of blocks that are read from their file, when the system has it in memory."""


def example_card(device_bytes: int) -> Card:
    """A card like one with so much memory."""
    return next(card for limit, card in CARDS if device_bytes <= limit)


@record
class Budget:
    """Device memory that a run may take: at most so much, or all but so much of what is free."""

    kind: BudgetKind = "leave free"
    size_bytes: int = LEAVE_FREE_BYTES

    def limit(self, free_bytes: int) -> int:
        """Bytes to use where so many are free."""
        if self.kind == "use at most":
            return min(self.size_bytes, free_bytes)
        return max(0, free_bytes - self.size_bytes)


def parse_bytes(text: str) -> int:
    """'8GB', '7.5 GB', '12', '6000MB' or '8GiB' as bytes; without a unit GB are meant, 10^9 bytes.

    Raises:
        InvalidInputError: it is no amount of memory.
    """
    match = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{1,6})?)\s*([a-zA-Z]*)\s*", text)
    if match is None or match[2].upper() not in _UNITS:
        raise InvalidInputError(f"'{text}' is no amount of memory. Write it like 8GB, 7.5GB or 6000MB.")
    size_bytes = round(float(match[1]) * _UNITS[match[2].upper()])
    if not size_bytes:
        raise InvalidInputError(f"'{text}' is no memory at all. Write how much there is, like 8GB.")
    return size_bytes


def gigabytes(size_bytes: float) -> str:
    """'7.9 GB', or '79 MB' below a tenth of one."""
    return f"{size_bytes / GB:.1f} GB" if size_bytes >= 0.1 * GB else f"{size_bytes / 1e6:.3g} MB"
