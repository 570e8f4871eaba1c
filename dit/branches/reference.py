"""A reference picture (Wan Fun-Control): a frame of tokens before those of the video, which nothing is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...common.errors import PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.records import record
from ...common.shapes import size_text
from ..config import PATCH, DiTConfig
from ..context import Context
from .branch import Branch, Shapes, Steered, Trunk


@record
class ReferenceBranch(Branch[DiTConfig]):
    """Tokens of a picture's latent, at the time before the video's first frame.

    Attributes:
        channels: of the latent.

    Source: comfyanonymous/ComfyUI comfy/ldm/wan/model.py, WanModel.forward_orig (`ref_conv`); aigc-apps/VideoX-Fun
        (`full_ref`).
    """

    name = "reference"
    roots = ("ref_conv",)
    words = "the reference picture"

    channels: int

    @classmethod
    def read(cls, tensors: Shapes) -> ReferenceBranch | None:
        """See `Branch.read`."""
        is_dancer = tensors.has("music_projection.weight")  # which has such a layer and leaves it alone
        return cls(tensors.size("ref_conv.weight", 1)) if tensors.has("ref_conv.weight") and not is_dancer else None

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} takes no reference picture. Remove the picture, or choose ",
            *names.file("reference", "a Fun-Control model of 1.1 or of Wan 2.2"), ".",
        )  # fmt: skip

    def frames_before(self, given: int) -> int:
        """See `Branch.frames_before`."""
        return 1 if given else 0

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"ref_conv": FrameConv(self.channels, config.dim)}

    def check(self, given: Sequence[ReferenceInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(
                f"There are {len(given)} reference pictures, and the model takes one. Leave one of them."
            )
        for each in given:
            expected = (self.channels, 1, *latent.shape[-2:])
            if each.latent.shape[1:] != expected or len(each.latent) not in (1, len(latent)):
                raise PairingError(
                    f"The reference picture was prepared for a latent of {size_text(each.latent)}, but the latent to "
                    f"sample has {size_text(latent)}. Prepare it for a video of the same size."
                )

    def embed(self, trunk: Trunk, given: Sequence[ReferenceInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`."""
        picture = trunk.tokens_of(trunk.get_submodule("ref_conv"), given[-1].latent)  # [1 or B, h' * w', D]
        modulation = context.modulation
        if modulation.shape[1] > 1:  # a timestep for each frame: the picture has that of the frames that are made last
            modulation = torch.cat([modulation[:, -1:], modulation], dim=1)
        longer = torch.cat([picture.expand(len(tokens), -1, -1), tokens], dim=1)
        return Steered(longer, context._replace(modulation=modulation))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        return (self.channels * PATCH[1] * PATCH[2] + 1) * config.dim

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`; of a latent of one frame, which nothing tells here, more frames are counted."""
        return 4 * pixels * given * self.channels


class ReferenceInput(NamedTuple):
    """A reference picture: its normalised `latent` [1 or B, C, 1, h, w]."""

    latent: Tensor

    @property
    def branch(self) -> type[ReferenceBranch]:
        """The kind of branch it steers."""
        return ReferenceBranch


class FrameConv(nn.Conv2d):
    """A convolution over the patches of the only frame of a latent."""

    def __init__(self, channels: int, dim: int) -> None:
        super().__init__(channels, dim, kernel_size=PATCH[1:], stride=PATCH[1:])

    def forward(self, input: Tensor) -> Tensor:
        """[B, C, 1, h, w] -> [B, D, 1, h / 2, w / 2]."""
        return super().forward(input.squeeze(2)).unsqueeze(2)
