"""The room that a model of a run has for poses."""

from __future__ import annotations

from ...dit.config import DiTConfig
from ..sampling.sights import Size, Steps
from .counting import needed_bytes, stream_size
from .keeping import PoseRoom


def pose_room(steps: Steps, config: DiTConfig, size: Size, itemsize: int) -> PoseRoom:
    """The room for the poses of a latent of this size; `itemsize`: bytes of a number of the tokens."""
    keeping = steps.policies.poses
    if not steps.poses:
        return PoseRoom(keeping)
    of_steps = (
        needed_bytes(config, cuts, steps.poses, itemsize, in_8_bit=keeping.in_8_bit) for cuts in steps.seen(size)
    )
    tokens = max(
        stream_size(config, cut, steps.poses, itemsize).plain_bytes for cuts in steps.seen(size) for cut in cuts
    )
    return PoseRoom(keeping, max(of_steps), tokens)
