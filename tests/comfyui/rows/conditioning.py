"""Nodes that prepare a Wan video, and what they give each sampler."""

from __future__ import annotations

from typing import Any

from runs import SIZE, picture, sides


def given(w: Any, side: str, node: str, **more: Any) -> tuple[dict, dict[str, list]]:
    """The LATENT and both sides of the conditioning that a node makes with a VAE of one side."""
    start = {"start_image": picture()} if "start_image" not in more else {}
    made = w.call(node, vae=w.vae(side), **SIZE, **sides(w), **start, **more)
    return made[2], {"positive": made[0], "negative": made[1]}


ROWS: dict = {}
