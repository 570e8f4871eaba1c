"""ComfyUI's node that puts pictures beside one another."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .....common.checking import choice_of, has_values
from .....common.memory.free_ram import require_ram
from .... import standin as io
from ..scaling import scaled

_DIRECTIONS = ("right", "down", "left", "up")
_COLOURS = {"white": (1, 1, 1), "black": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}
_GREY = ("white", "black")


class ImageStitch(io.ComfyNode):
    """A second clip beside, above or below the first one."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="ImageStitch",
            display_name="Stitch Images",
            category="image/transform",
            inputs=[
                io.Image.Input("image1"),
                io.Combo.Input("direction", options=list(_DIRECTIONS), default="right"),
                io.Boolean.Input("match_image_size", default=True, tooltip="The second in the height of the first."),
                io.Int.Input("spacing_width", default=0, min=0, max=1024, step=2, advanced=True),
                io.Combo.Input("spacing_color", options=list(_COLOURS), default="white", advanced=True),
                io.Image.Input("image2", optional=True),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls,
        image1: Tensor,
        direction: str,
        match_image_size: bool,
        spacing_width: int,
        spacing_color: str,
        image2: Tensor | None = None,
    ) -> Any:
        choice_of(direction, _DIRECTIONS, "direction")
        colour = choice_of(spacing_color, tuple(_COLOURS), "spacing_color")
        if image2 is None:
            return io.NodeOutput(image1)
        across = 2 if direction in ("left", "right") else 1
        pair = [_held(each, max(len(image1), len(image2))) for each in (image1, image2)]
        ground = float(_COLOURS[colour][0]) if colour in _GREY else 0.0  # a bar of another colour lies on black there
        pair = (
            [pair[0], _matched(*pair, across)]
            if match_image_size
            else [_filled(each, pair, across, ground) for each in pair]
        )
        channels = max(each.shape[-1] for each in pair)
        pair = [F.pad(each, (0, channels - each.shape[-1]), value=1.0) for each in pair]
        if has_values(pair[0]):
            wanted = 4 * sum(each.numel() for each in pair)
            require_ram(wanted, f"{len(pair[0])} pictures beside one another", "Make the clips shorter or smaller.")
        parts = pair if direction in ("right", "down") else pair[::-1]
        if spacing_width > 0:
            parts.insert(1, _bar(pair, across, spacing_width + spacing_width % 2, colour))
        return io.NodeOutput(torch.cat(parts, dim=across))


def _held(clip: Tensor, frames: int) -> Tensor:
    """A clip whose last picture stands still up to so many frames."""
    return torch.cat([clip, clip[-1:].expand(frames - len(clip), -1, -1, -1)])


def _matched(first: Tensor, second: Tensor, across: int) -> Tensor:
    """The second clip in the height of the first, or in its width where they stand below one another."""
    height, width = first.shape[1:3]
    shape = second.shape[2] / second.shape[1]
    size = (int(height * shape), height) if across == 2 else (width, int(width / shape))
    return scaled(second, *size, "lanczos")


def _filled(clip: Tensor, pair: list[Tensor], across: int, ground: float) -> Tensor:
    """A clip with bars on both sides, as high (or wide) as the larger one."""
    along = 1 if across == 2 else 2
    missing = max(each.shape[along] for each in pair) - clip.shape[along]
    before, after = missing // 2, missing - missing // 2
    return F.pad(clip, (0, 0, 0, 0, before, after) if along == 1 else (0, 0, before, after), value=ground)


def _bar(pair: list[Tensor], across: int, width: int, colour: str) -> Tensor:
    """What stands between them."""
    sizes = [max(each.shape[dim] for each in pair) for dim in range(4)]
    sizes[across] = width
    values = torch.tensor([*_COLOURS[colour], 1.0], dtype=torch.float32)
    return values[: sizes[3]].expand(sizes).clone()
