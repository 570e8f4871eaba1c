"""CLIP features of a start picture, which the cross-attention of Wan 2.1's image-to-video models looks at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...common.errors import PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.records import record
from ..config import DiTConfig
from ..context import Context
from .branch import Branch, Shapes, Steered, Trunk

_PICTURE_TOKENS = 257
"""Of one picture: 16 x 16 patches and the class token."""


@record
class ClipBranch(Branch[DiTConfig]):
    """An image branch.

    The keys and values that blocks make of the picture are theirs; its tokens are made here.

    Attributes:
        dim: width of the features.
        positions: length of the position embedding added to them (514, of two pictures, in FLF2V); None for a model
            that has none, which then takes any number of them.
    """

    name = "clip"
    roots = ("img_emb",)
    words = "the CLIP image branch"
    in_blocks = ("k_img", "v_img", "norm_k_img")
    partner = "clip_vision"
    expected = "was trained with CLIP vision features of its image; without them results differ"

    dim: int
    positions: int | None = None

    @classmethod
    def read(cls, tensors: Shapes) -> ClipBranch | None:
        """See `Branch.read`."""
        if not tensors.has("img_emb.proj.1.weight"):
            return None
        positions = tensors.size("img_emb.emb_pos", 1) if tensors.has("img_emb.emb_pos") else None
        return cls(tensors.size("img_emb.proj.1.weight", 1), positions)

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        source = "" if names.source is None else f", but {names.source} gives some"
        return PairingError(
            f"{names.subject} takes no CLIP vision features{source}. Remove the CLIP vision input: only Wan 2.1 "
            "image-to-video models use it."
        )

    @property
    def image_tokens(self) -> int:
        """See `Branch.image_tokens`."""
        return self.positions or _PICTURE_TOKENS

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"img_emb": ClipProjection(self, config.dim, operations)}

    def check_width(self, width: int, names: ModelNames = THIS_MODEL) -> None:
        """See `Branch.check_width`."""
        if width != self.dim:
            source = "" if names.source is None else f" of {names.source}"
            raise PairingError(
                f"The CLIP vision features{source} have the width {width}, but {names.model} needs {self.dim}. Encode "
                "the image with ", *names.file("clip_vision", "the CLIP vision encoder that belongs to it"), ".",
            )  # fmt: skip

    def check(self, given: Sequence[ClipInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        for each in given:
            self.check_width(each.features.shape[-1])

    def embed(self, trunk: Trunk, given: Sequence[ClipInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        features = given[-1].features.to(trunk.dtype)
        return Steered(tokens, context._replace(image=trunk.get_submodule("img_emb")(features)))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        projections = (self.dim + 1) * self.dim + (self.dim + 1) * config.dim
        return projections + 2 * self.dim + 2 * config.dim + (self.positions or 0) * self.dim

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`."""
        return 4 * passes * self.image_tokens * self.dim


class ClipInput(NamedTuple):
    """What steers the image branch: `features` [B, tokens, clip width] of one picture, or of two in a row."""

    features: Tensor

    @property
    def branch(self) -> type[ClipBranch]:
        """The kind of branch it steers."""
        return ClipBranch


class ClipProjection(nn.Module):
    """CLIP image features -> tokens of the transformer's width. `emb_pos` only in first-last-frame models."""

    def __init__(self, branch: ClipBranch, dim: int, operations: ModuleType) -> None:
        super().__init__()
        width = branch.dim
        self.proj = nn.Sequential(
            operations.LayerNorm(width),
            operations.Linear(width, width),
            nn.GELU(),
            operations.Linear(width, dim),
            operations.LayerNorm(dim),
        )
        if branch.positions is not None:
            self.emb_pos = nn.Parameter(torch.zeros(1, branch.positions, width))
        else:
            self.emb_pos = None

    def forward(self, features: Tensor) -> Tensor:
        """[B, tokens, clip width] -> [B, tokens, D]."""
        if self.emb_pos is not None:
            features = features + self.emb_pos[:, : features.shape[1]].to(features.dtype)
        return self.proj(features)
