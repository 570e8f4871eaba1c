"""The reference picture of Wan S2V: who speaks, as tokens at a later time than those of the video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ....common.errors import PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ....common.shapes import size_text
from ...config import DiTConfig
from ...context import Context
from ...rope import rope_at
from ..branch import Branch, PassShape, Shapes, Steered, Trunk
from .beside import STILL, clean_before, role

_TIME = 30
"""Where the picture stands in time."""
_AFTER = 9
"""Frames at least that lie between a longer video's end and the picture, as between the trained 21 and it."""


@record
class StillBranch(Branch[DiTConfig]):
    """Tokens of a picture's latent, and the table that says what a token is of: the video, this, or the past.

    Source: Wan-Video/Wan2.2 wan/modules/s2v/model_s2v.py, WanModel_S2V (`trainable_cond_mask`); for longer videos
        ComfyUI v0.33.0, comfy/ldm/wan/model.py.
    """

    name = "s2v_still"
    roots = ("trainable_cond_mask",)
    words = "the reference picture of S2V"
    adds_tokens = True

    @classmethod
    def read(cls, tensors: Shapes) -> StillBranch | None:
        """See `Branch.read`."""
        return cls() if tensors.has("trainable_cond_mask.weight") else None

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} is no speech-to-video model and takes no picture of who speaks. Remove the picture, or "
            "choose ", *names.file("speech", "a Wan S2V model"), ".",
        )  # fmt: skip

    def tokens_before(self, shape: PassShape, given: int) -> int:
        """See `Branch.tokens_before`."""
        return shape.rows * shape.columns if given else 0

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"trainable_cond_mask": operations.Embedding(3, config.dim)}

    def check(self, given: Sequence[StillInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(
                f"There are {len(given)} reference pictures, and the model takes one. Leave one of them."
            )
        for each in given:
            found, expected = each.latent.shape[1:], (latent.shape[1], 1, *latent.shape[-2:])
            if found != expected or len(each.latent) not in (1, len(latent)):
                raise PairingError(
                    f"The reference picture was prepared for a latent of {size_text(each.latent)}, but the latent to "
                    f"sample has {size_text(latent)}. Prepare it for a video of the same size."
                )

    def embed(self, trunk: Trunk, given: Sequence[StillInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        latent, frames = given[-1]
        picture = trunk.tokens_of(trunk.get_submodule("patch_embedding"), latent)  # [1 or B, h' * w', D]
        rows, columns = (-(-side // 2) for side in latent.shape[-2:])
        time = torch.tensor([float(max(_TIME, frames + _AFTER))])
        rope = rope_at(2 * context.rope.shape[-1], (time, torch.arange(rows), torch.arange(columns)), tokens.device)
        return clean_before(trunk, tokens, context, picture + role(trunk, STILL).to(picture.dtype), rope)

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        return 3 * config.dim

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`; of a latent of one frame, which nothing tells here, more frames are counted."""
        return 4 * pixels * given * 16


class StillInput(NamedTuple):
    """A picture of who speaks: its normalised `latent` [1 or B, C, 1, h, w], and the latent frames of the video."""

    latent: Tensor
    frames: int

    @property
    def branch(self) -> type[StillBranch]:
        """The kind of branch it steers."""
        return StillBranch
