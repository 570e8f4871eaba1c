"""How much moves in a clip, and how much of that is the camera, by the optical flow between its frames."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....common.records import record
from ..packages import opencv

SHORTER_SIDE = 144
"""The flow is computed in pictures of this size: motion is told in parts of it, whatever the size of the video."""
STILL = "still"
_EDGE = 1 / 9
"""What comes in at the edges has no place in the frame before."""
_GRID = 8
_STILL_PX = 0.05
"""Two frames that differ by less are the same."""
_SLOW = 1.0
"""A camera that goes less, in percent of the shorter side per second, stands."""
_AGREEING = 0.5
"""The part of a camera's way that leads into one direction; with less it shakes."""
_INLIER_PX = 1.0


@record
class Motion:
    """All in percent of the shorter side per second, but for `still`, a part, and `camera`, a word.

    Attributes:
        mean, fastest: how far things move on average, and between the two frames with the most.
        still: the part of the frames that are as the one before.
        object: what is left of the motion without the camera's.
        camera: still, pan left, pan right, tilt up, tilt down, zoom in, zoom out, roll, shake.
    """

    mean: float
    fastest: float
    still: float
    object: float
    camera: str


def motion_of(frames: Sequence[np.ndarray], fps: float) -> Motion:
    """The motion of a clip.

    Args:
        frames: each [h, w], uint8, grey; two or more.
        fps: frames per second.
    """
    cv2 = opencv()
    # A new one for each clip: what it has computed of a smaller size changes its later results.
    flow = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    height, width = frames[0].shape
    top, left = round(height * _EDGE), round(width * _EDGE)
    lengths, residuals, ways = [], [], []
    for before, after in zip(frames, frames[1:]):
        inside = flow.calc(before, after, None)[top : height - top, left : width - left]
        own = _camera_flow(inside)
        lengths.append(float(np.hypot(inside[..., 0], inside[..., 1]).mean()))
        residuals.append(float(np.hypot(*np.moveaxis(inside - own.field, -1, 0)).mean()))
        ways.append((own.right, own.down, own.outward, own.turned))
    scale = 100 * fps / min(height, width)
    return Motion(
        mean=float(np.mean(lengths)) * scale,
        fastest=max(lengths) * scale,
        still=sum(length < _STILL_PX for length in lengths) / len(lengths),
        object=float(np.mean(residuals)) * scale,
        camera=_camera_word(np.asarray(ways) * scale),
    )


@record
class _CameraFlow:
    """How the picture as a whole moves; in pixels, the last two at the mean distance from the middle."""

    field: np.ndarray
    right: float
    down: float
    outward: float
    turned: float


def _camera_flow(flow: np.ndarray) -> _CameraFlow:
    """The similarity (shift, zoom, turn) that most of a flow [h, w, 2] follows."""
    cv2 = opencv()
    height, width = flow.shape[:2]
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    places = np.stack([columns - (width - 1) / 2, rows - (height - 1) / 2], -1)
    some = places[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 2)
    moved = some + flow[_GRID // 2 :: _GRID, _GRID // 2 :: _GRID].reshape(-1, 2)
    cv2.setRNGSeed(0)
    matrix, _ = cv2.estimateAffinePartial2D(some, moved, method=cv2.RANSAC, ransacReprojThreshold=_INLIER_PX)
    if matrix is None:
        matrix = np.eye(2, 3)
    field = (places @ matrix[:, :2].T + matrix[:, 2] - places).astype(np.float32)
    radius = float(np.hypot(places[..., 0], places[..., 1]).mean())
    zoom = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    turn = float(np.arctan2(matrix[1, 0], matrix[0, 0]))
    return _CameraFlow(field, float(matrix[0, 2]), float(matrix[1, 2]), (zoom - 1) * radius, turn * radius)


def _camera_word(ways: np.ndarray) -> str:
    """What the camera does in a clip, from how the picture moves in each pair of frames: [F - 1, 4]."""
    directed, undirected = ways.mean(0), np.abs(ways).mean(0)
    most = int(np.abs(directed).argmax())
    if undirected.max() < _SLOW:
        return STILL
    if abs(directed[most]) < _SLOW or abs(directed[most]) < _AGREEING * undirected.max():
        return "shake"
    # The picture moves against the camera.
    words = (("pan left", "pan right"), ("tilt up", "tilt down"), ("zoom in", "zoom out"), ("roll", "roll"))
    return words[most][0 if directed[most] > 0 else 1]
