"""When the two experts of Wan 2.2 A14B change over: one makes the noisy steps, the other the rest."""

from __future__ import annotations

from .config import DiTConfig

_TEXT_BOUNDARY, _IMAGE_BOUNDARY = 875.0, 900.0


def expert_boundary(config: DiTConfig) -> float:
    """The timestep, 0..1000, from which upwards the high-noise expert is asked.

    Source: Wan-Video/Wan2.2 wan/configs/wan_t2v_A14B.py and wan_i2v_A14B.py, `boundary` * 1000.
    """
    return _IMAGE_BOUNDARY if config.image_channels else _TEXT_BOUNDARY
