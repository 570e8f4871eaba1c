"""CLIP features of the start and end picture, as native conditioning values."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...common.checking import is_finite, kind_of
from ...common.errors import InvalidInputError
from ...dit.branches.branch import Branch
from ...dit.branches.clip import ClipBranch
from ...dit.conditioning.clip_image import ClipImage
from ...dit.config import DiTConfig
from ...text_encoder.clip_vision import ClipVisionOutput


def joined_clip_vision(start: Any | None, end: Any | None) -> dict[str, Any]:
    """The conditioning value of the start and end pictures' features, one after the other; none without them."""
    outputs = [output for output in (start, end) if output is not None]
    for output in outputs:
        _hidden_states(output, "The CLIP vision output")
    if not outputs:
        return {}
    if len(outputs) == 1:
        return {"clip_vision_output": outputs[0]}
    parts = ("penultimate_hidden_states", "last_hidden_state", "image_embeds")
    joined = (torch.cat([getattr(output, part) for output in outputs], dim=-2) for part in parts)
    return {"clip_vision_output": ClipVisionOutput(*joined, made_by=getattr(start, "made_by", None))}


def looks_at_both(config: DiTConfig) -> bool:
    """Whether a model was trained on the features of both the first and the last picture (FLF2V)."""
    branch = config.branch(ClipBranch)
    return branch is not None and branch.positions is not None


def clip_features(values: dict[str, Any], side: str, key: str = "clip_vision_output") -> Tensor | None:
    """The features [1 or B, tokens, width] among the values of an entry, if there are any.

    Args:
        key: of the value; that of the start picture if not given.

    Raises:
        InvalidInputError: what is there is no output of CLIP vision.
    """
    output = values.get(key)
    return None if output is None else _hidden_states(output, f"The CLIP vision output of the {side} conditioning")


def clip_items(features: Tensor | None) -> tuple[ClipImage, ...]:
    """The features for the model."""
    return () if features is None else (ClipImage(features.float()),)


def clip_width(features: Tensor | None) -> dict[type[Branch[DiTConfig]], int | None]:
    """The features as what steers a model, see `check_inputs`."""
    return {} if features is None else {ClipBranch: features.shape[-1]}


def _hidden_states(output: Any, name: str) -> Tensor:
    states = getattr(output, "penultimate_hidden_states", None)
    if not isinstance(states, Tensor) or states.ndim != 3 or not is_finite(states):
        got = kind_of(output if states is None else states)
        raise InvalidInputError(
            f"{name} must have finite features [batch, tokens, width], got {got}. Connect Wan CLIP Vision Encode or "
            "CLIP Vision Encode."
        )
    return states
