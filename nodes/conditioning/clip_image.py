"""CLIP features of the start and end picture, as native conditioning values."""

from __future__ import annotations

from typing import Any

import torch

from ...text_encoder.clip_vision import ClipVisionOutput


def joined_clip_vision(start: Any | None, end: Any | None) -> dict[str, Any]:
    """The conditioning value of the start and end pictures' features, one after the other; none without them."""
    outputs = [output for output in (start, end) if output is not None]
    if not outputs:
        return {}
    if len(outputs) == 1:
        return {"clip_vision_output": outputs[0]}
    parts = ("penultimate_hidden_states", "last_hidden_state", "image_embeds")
    joined = (torch.cat([getattr(output, part) for output in outputs], dim=-2) for part in parts)
    return {"clip_vision_output": ClipVisionOutput(*joined, made_by=getattr(start, "made_by", None))}
