"""The usual moves of a camera, as the poses that `camera.camera_rays` takes."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

_WAY = 1.5
"""How far a camera goes in a clip at speed 1."""
_TURN = np.pi / 3
"""How far it turns."""


class Move(NamedTuple):
    """Where a camera goes (right, down, forward) and turns (about these axes), in parts of `_WAY` and `_TURN`."""

    way: tuple[float, float, float] = (0.0, 0.0, 0.0)
    turn: tuple[float, float, float] = (0.0, 0.0, 0.0)


MOVES: Mapping[str, Move] = MappingProxyType({
    "static": Move(),
    "pan up": Move(way=(0.0, -1.0, 0.0)),
    "pan down": Move(way=(0.0, 1.0, 0.0)),
    "pan left": Move(way=(-1.0, 0.0, 0.0)),
    "pan right": Move(way=(1.0, 0.0, 0.0)),
    "zoom in": Move(way=(0.0, 0.0, 2.0)),
    "zoom out": Move(way=(0.0, 0.0, -2.0)),
    "roll left": Move(turn=(0.0, 0.0, -1.0)),
    "roll right": Move(turn=(0.0, 0.0, 1.0)),
    "turn up": Move(turn=(1.0, 0.0, 0.0)),
    "turn down": Move(turn=(-1.0, 0.0, 0.0)),
    "turn left": Move(turn=(0.0, -1.0, 0.0)),
    "turn right": Move(turn=(0.0, 1.0, 0.0)),
})  # fmt: skip
"""By name. The first nine are those of comfyanonymous/ComfyUI comfy_extras/nodes_camera_trajectory.py; models were
trained on them. What they call pan and zoom moves the camera, as trucking, craning and dollying do."""


def move_poses(move: Move, frames: int, speed: float) -> np.ndarray:
    """Poses [frames, 4, 4] of an even move; at speed 1 it would be done one frame after the last.

    Source: comfyanonymous/ComfyUI comfy_extras/nodes_camera_trajectory.py, get_camera_motion.
    """
    done = np.arange(frames) / frames * speed
    return poses(done[:, None] * _WAY * np.array(move.way), done[:, None] * _TURN * np.array(move.turn))


def poses(ways: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Poses [F, 4, 4] at places [F, 3] and turned by [F, 3] radians about the axes right, down and forward in turn."""
    result = np.tile(np.eye(4), (len(ways), 1, 1))
    result[:, :3, :3] = _about(turns[:, 2], 0, 1) @ _about(turns[:, 1], 2, 0) @ _about(turns[:, 0], 1, 2)
    result[:, :3, 3] = ways
    return result


def _about(angles: np.ndarray, first: int, second: int) -> np.ndarray:
    """Rotations [F, 3, 3] by angles [F] that turn the first of two axes towards the second."""
    turns = np.tile(np.eye(3), (len(angles), 1, 1))
    turns[:, first, first] = turns[:, second, second] = np.cos(angles)
    turns[:, first, second], turns[:, second, first] = -np.sin(angles), np.sin(angles)
    return turns
