"""Tracks of points through a video, and start images moved along them in latent space."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.errors import InvalidInputError
from ...common.shapes import TEMPORAL_STRIDE


class Tracks(NamedTuple):
    """Points that move through a video.

    Attributes:
        places: [F, N, 2], float32: x and y of each point in pixels.
        visible: [F, N], bool; one that is not seen in a frame steers nothing there.
    """

    places: Tensor
    visible: Tensor


def moved_features(clip: Tensor, tracks: Tensor, visible: Tensor, stride: int, strength: float = 1.0) -> Tensor:
    """The latent of a given clip, in which the features under each point of its first frame are put along its way.

    Args:
        clip: [B, C, T, h, w], any latent of given frames; not written to.
        tracks: [F, N, 2], x and y in pixels; every fourth frame from the first on counts.
        visible: [F, N] or [F, 1], bool. A point that is outside or not visible in the first frame moves nothing.
        stride: pixels to a latent row.
        strength: 1 puts the features in place of what is there, less mixes.

    Source: ali-vilab/Wan-Move wan/modules/trajectory.py, replace_feature and create_pos_embeddings. Where points meet,
    the last one counts.
    """
    _, _, frames, rows, columns = clip.shape
    moved, source = clip.clone(), clip[:, :, 0]
    cells = (tracks[::TEMPORAL_STRIDE] / stride).floor().long()[:frames]  # [T, N, 2]
    inside = (tracks[::TEMPORAL_STRIDE] >= 0).all(-1)[:frames] & (cells < cells.new_tensor([columns, rows])).all(-1)
    seen = inside & visible[::TEMPORAL_STRIDE].expand(-1, tracks.shape[1])[: len(inside)]
    for frame in range(1, len(cells)):
        for point in torch.nonzero(seen[frame] & seen[0]).flatten().tolist():
            (x, y), (from_x, from_y) = cells[frame, point].tolist(), cells[0, point].tolist()
            there = clip[:, :, frame, y, x]
            moved[:, :, frame, y, x] = there + strength * (source[:, :, from_y, from_x] - there)
    return moved


TRAINED_FRAMES = 121
"""Frames, at 24 a second, of the tracks that ATI was trained with."""


def resampled(tracks: Tracks, frames: int) -> Tracks:
    """Tracks of 121 frames as those of a video of `frames`: of each later frame, the nearest one before.

    Raises:
        InvalidInputError: no video has this number of frames.
    """
    steps = frames - 1
    if steps <= 0 or steps % TEMPORAL_STRIDE:
        raise InvalidInputError(f"A video moved along tracks has 5, 9, 13 ... frames, got {frames}.")
    common = math.gcd(TRAINED_FRAMES - 1, steps)
    every, times = (TRAINED_FRAMES - 1) // common, steps // common
    first = min(1, every - 1)
    later = [1 + (first + every * step) // times for step in range(steps)]
    at = torch.tensor([0, *later])
    return Tracks(tracks.places[at], tracks.visible[at])


def steered_along(
    clip: Tensor, tracks: Tracks, width: int, height: int, *, temperature: float = 220.0, nearest: int = 2
) -> tuple[Tensor, Tensor]:
    """A start image whose features are spread around each track: the mask [1, 1, T, h, w], and the latent like `clip`.

    Args:
        clip: [1, C, T, h, w], the normalised latent of the start image and grey frames.
        tracks: of 1 + 4 (T - 1) frames.
        width, height: pixels of the video.
        temperature: how narrow the features are around a track.
        nearest: how many tracks count at a place.

    Returns:
        mask: how much each place is given: 1 in the first latent frame, later the weights of the tracks there summed.

    Source: bytedance/ATI wan/modules/motion_patch.py; ComfyUI v0.33.0, comfy_extras/nodes_wan.py, WanTrackToVideo.
    """
    _, _, frames, rows, columns = clip.shape
    short = min(width, height)
    places = (tracks.places - torch.tensor([width, height]) / 2) / short * 2  # 1 at half of it
    seen = tracks.visible[..., None].float()
    # Latent frames after the first are the mean of four frames where a point is seen.
    groups = (each[1:].unflatten(0, (frames - 1, TEMPORAL_STRIDE)).sum(1) for each in (places * seen, seen))
    sums, counts = groups
    centres = sums / (counts + 1e-5)  # [T - 1, N, 2]
    extent = torch.tensor([columns, rows]) / min(columns, rows)
    axes = (torch.linspace(-float(end), float(end), count) for end, count in zip(extent, (columns, rows)))
    grid = torch.stack(torch.meshgrid(*axes, indexing="xy"), dim=-1)  # [h, w, 2]
    distances = (centres[:, None, None] - grid[None, :, :, None]).square().sum(-1)  # [T - 1, h, w, N]
    weights = (-distances * temperature).exp() * counts.clamp(0, 1)[:, None, None, :, 0]
    strongest, which = (each.to(clip.device) for each in weights.topk(min(nearest, weights.shape[-1]), dim=-1))
    at = (places[:1] / extent).clamp(-1, 1)[None]  # [1, 1, N, 2]
    features = F.grid_sample(clip[:, :, 0], at.to(clip), align_corners=False)[0, :, 0]  # [C, N]
    spread = torch.einsum("cthwk,thwk->cthw", features[:, which], strongest)
    total = strongest.sum(-1)  # [T - 1, h, w]
    steered = torch.cat((clip[0, :, :1], spread + clip[0, :, 1:] * (1 - total.clamp(0, 1))), dim=1)
    mask = torch.cat((torch.ones_like(total[:1]), total))
    return mask[None, None], steered[None]
