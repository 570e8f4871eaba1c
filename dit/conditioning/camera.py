"""A camera's path as the rays of its pixels (Plücker coordinates), for Wan Fun-Camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...common.checking import is_finite
from ...common.errors import InvalidInputError
from ...common.records import record
from ...common.shapes import TEMPORAL_STRIDE, VideoShape, latent_frames
from ..branches.camera import CameraBranch, CameraInput
from ..inputs import DitInputs
from .cut import Cut

_ASPECT = 1280 / 720
"""Width by height of the pictures that a lens is given for."""


class Lens(NamedTuple):
    """A camera's intrinsics in parts of the picture: focal lengths and the point that it looks at."""

    fx: float = 0.5
    fy: float = 0.5
    cx: float = 0.5
    cy: float = 0.5


@record
class CameraPath:
    """A conditioning item: the camera goes a path.

    `rays` [1 or B, 24, T, 8 h, 8 w] of `camera_rays`. They stay on their device, since they are larger than all that a
    pass holds of a short video; a pass fetches them a latent frame at a time.
    """

    rays: Tensor

    @property
    def branch(self) -> type[CameraBranch]:
        """See `ConditioningItem.branch`."""
        return CameraBranch

    def apply(self, inputs: DitInputs) -> DitInputs:
        """Adds the path to what steers the model."""
        return replace(inputs, steering=(*inputs.steering, CameraInput(self.rays)))

    def window(self, cut: Cut) -> CameraPath:
        """The part of the path that goes with some of the latent's frames."""
        return CameraPath(cut.of(self.rays))

    def to(self, device: torch.device) -> CameraPath:
        """The item itself, see above."""
        return self


def camera_rays(poses: np.ndarray, lenses: Sequence[Lens], shape: VideoShape) -> Tensor:
    """The ray of every pixel of every frame: its moment (place x direction), then its direction of length 1.

    Args:
        poses: [F, 4, 4], float64, the camera's axes (right, down, forward) and its place, in the world of any of them;
            the first frame's camera becomes the origin.
        lenses: one for all frames, or one for each.
        shape: of the video; 1 + 4k frames.

    Returns:
        [1, 24, T, H, W], float32: the numbers of the four frames of a latent frame one after another, of each of the
        six. The first latent frame has its one frame four times.

    Raises:
        InvalidInputError: the length is not 1 + 4k.

    Source: comfyanonymous/ComfyUI comfy_extras/nodes_camera_trajectory.py; hehao13/CameraCtrl inference.py.
    """
    frames, height, width = shape
    relative = np.linalg.inv(poses[0]) @ poses
    relative[0] = np.eye(4)  # without the rounding of the inverse
    places = torch.from_numpy(relative.astype(np.float32))
    rays = torch.empty(1, 6, TEMPORAL_STRIDE, latent_frames(frames), height, width)
    directions = _directions(lenses[0], width, height)
    for index in range(frames):
        if index and len(lenses) > 1:
            directions = _directions(lenses[index], width, height)
        turned = directions @ places[index, :3, :3].T  # [H, W, 3]
        moment = torch.linalg.cross(places[index, :3, 3].expand_as(turned), turned)
        step, part = divmod(index + TEMPORAL_STRIDE - 1, TEMPORAL_STRIDE)
        parts = slice(None) if index == 0 else slice(part, part + 1)
        rays[0, :, parts, step] = torch.cat([moment, turned], dim=-1).movedim(-1, 0).unsqueeze(1)
    if not is_finite(rays):
        raise InvalidInputError(
            "The camera's path gives rays that are no numbers. Use a smaller speed, and lenses of a usual focal length "
            "(0.3 to 3 heights of the picture)."
        )
    return rays.flatten(1, 2)


def _directions(lens: Lens, width: int, height: int) -> Tensor:
    """[H, W, 3]: where the pixels look, at length 1; of a picture of another form than the lens is for, a part."""
    fx, fy, cx, cy = lens
    if width / height < _ASPECT:
        fx *= height * _ASPECT / width
    else:
        fy *= width / _ASPECT / height
    across = (torch.arange(width) + 0.5 - float(np.float32(cx * width))) / float(np.float32(fx * width))
    down = (torch.arange(height) + 0.5 - float(np.float32(cy * height))) / float(np.float32(fy * height))
    rows, columns = torch.meshgrid(down, across, indexing="ij")
    ahead = torch.stack([columns, rows, torch.ones_like(rows)], dim=-1)
    return ahead / ahead.norm(dim=-1, keepdim=True)
