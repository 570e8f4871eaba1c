"""What each device has to do of a step that several share: its part of the work, and what it sends to the others."""

from __future__ import annotations

from typing import NamedTuple

from ..dit.config import DiTConfig
from .layout import bytes_sent, has_ring, split, teams


class SharedStep(NamedTuple):
    """A step on the device that has most to do.

    Attributes:
        devices: how many share it.
        team: how many share a pass.
        passes: that a device takes part in.
        work: its part of all operations of the step; 1 / devices at best.
        sent_bytes: by it to the others.
    """

    devices: int
    team: int
    passes: int
    work: float
    sent_bytes: int

    def efficiency(self, flops: float, flops_per_s: float, bytes_per_s: float) -> float:
        """The speed of all devices beside as many times that of one: 1 at best.

        What is sent counts as if nothing were computed meanwhile.

        Args:
            flops: of the whole step.
            flops_per_s, bytes_per_s: what each of them computes and sends.
        """
        alone = flops / flops_per_s
        each = alone * self.work + self.sent_bytes / bytes_per_s
        return alone / (self.devices * each)


def shared_step(config: DiTConfig, length: int, passes: int, devices: int, itemsize: int) -> SharedStep:
    """How `devices` share a step of so many passes over `length` tokens.

    Args:
        itemsize: bytes of a number of the tokens.
    """
    groups = teams(devices, passes)
    team, own = len(groups[0].ranks), len(groups[0].passes)
    tokens, heads = split(length, team), split(config.heads, team)
    attention = 4 * length * length * config.dim
    matrices = config.block_flops(length) - attention
    looks = tokens.counts[0] / length if has_ring(config.heads, team) else heads.counts[0] / config.heads
    most = matrices * tokens.counts[0] / length + attention * looks
    work = own * most / (passes * (matrices + attention))
    sent = bytes_sent(tokens, heads, 0, width=config.dim, blocks=config.layers, itemsize=itemsize)
    whole = tokens.counts[0] * config.dim * itemsize * (devices - 1)  # what becomes of the tokens goes to everybody
    return SharedStep(devices, team, own, work, own * (sent.attention + whole))
