"""Stitch Images puts pictures beside one another as ComfyUI's node does."""

from __future__ import annotations

import torch
from wan_director.nodes.headless.core_nodes import CORE_NODES


def stitched(**inputs) -> torch.Tensor:
    return CORE_NODES["ImageStitch"].execute(**inputs).args[0]


def test_pictures_are_put_beside_one_another_as_comfyui_does():
    """Compared with ComfyUI 0.33.0's class in 96 settings; here the rules by which that is so."""
    generator = torch.Generator().manual_seed(1)
    wide, high = torch.rand(3, 12, 20, 3, generator=generator), torch.rand(2, 9, 8, 4, generator=generator)
    settings = {"match_image_size": False, "spacing_width": 0, "spacing_color": "white"}
    right = stitched(image1=wide, image2=high, direction="right", **settings)
    assert right.shape == (3, 12, 28, 4)  # opaque where the other one has opacity
    assert torch.equal(right[..., :20, :3], wide) and bool((right[..., :20, 3] == 1).all())
    held = torch.cat([high, high[-1:]])  # the last picture stands still
    assert torch.equal(right[:, 1:10, 20:], held)
    assert bool((right[:, 0, 20:] == 1).all() and (right[:, 10:, 20:] == 1).all())  # in bars of the colour
    left = stitched(image1=wide, image2=high, direction="left", **{**settings, "spacing_width": 3})
    assert torch.equal(left[:, 1:10, :8], held) and torch.equal(left[..., 12:, :3], wide)  # 4 of space: even
    matched = stitched(image1=wide, image2=high, direction="down", **{**settings, "match_image_size": True})
    assert matched.shape == (3, 12 + int(20 / (8 / 9)), 20, 4)
    red = stitched(
        image1=wide, image2=wide, direction="up", match_image_size=True, spacing_width=2,
        spacing_color="red",
    )  # fmt: skip
    assert red[:, 12:14].unique().tolist() == [0, 1] and bool((red[:, 12:14, :, 0] == 1).all())
    assert stitched(image1=wide, direction="up", **settings) is wide
