"""Characters that move as a pose video does (SCAIL, SCAIL-2).

References are frames of tokens before the video's, poses are tokens beside them, and masks say who is who.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ...common.errors import FileFault, PairingError
from ...common.model_names import THIS_MODEL, ModelNames
from ...common.records import record
from ...common.shapes import size_text
from ..config import PATCH, DiTConfig
from ..context import Context
from .branch import Branch, Shapes, Steered, Trunk

GIVEN_CHANNELS = 4
"""Beside a latent's: 1 where it is given, 0 where it is to be made."""


@record
class ScailBranch(Branch[DiTConfig]):
    """The embeddings of poses and of masks.

    References go through the embedding of the video's own tokens, as frames that are given. Poses are clips beside the
    video (`conditioning.scail.ScailPose`), which this branch has the layers for.

    Attributes:
        channels: of a pose, those of a latent and `GIVEN_CHANNELS`.
        mask_channels: of a mask (SCAIL-2): seven colours of the four frames that a latent frame covers; 0 without.

    Source: zai-org/SCAIL; ComfyUI v0.33.0, comfy/ldm/wan/model.py, SCAILWanModel and SCAIL2WanModel.
    """

    name = "scail"
    roots = ("patch_embedding_pose", "patch_embedding_mask")
    words = title = "SCAIL"
    expected = "was trained with a reference picture and a pose video, and none is connected: it makes what it likes"

    channels: int = 20
    mask_channels: int = 0

    @classmethod
    def read(cls, tensors: Shapes) -> ScailBranch | None:
        """See `Branch.read`."""
        has_masks = tensors.has("patch_embedding_mask.weight")
        if not tensors.has("patch_embedding_pose.weight"):
            if has_masks:
                raise FileFault(
                    "has an embedding of masks and none of poses, which no Wan model has",
                    "it is damaged; download it again",
                )
            return None
        masks = tensors.size("patch_embedding_mask.weight", 1) if has_masks else 0
        return cls(tensors.size("patch_embedding_pose.weight", 1), masks)

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} takes no reference pictures or poses of SCAIL. Remove them, or choose ",
            *names.file("scail", "a SCAIL-2 model"), ".",
        )  # fmt: skip

    def frames_before(self, given: int) -> int:
        """See `Branch.frames_before`; each reference is one."""
        return given

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {
            name: operations.Conv3d(channels, config.dim, kernel_size=PATCH, stride=PATCH)
            for name, channels in zip(self.roots, (self.channels, self.mask_channels))
            if channels
        }

    def check(self, given: Sequence[ScailReference], latent: Tensor) -> None:
        """See `Branch.check`."""
        with_masks = [each for each in given if each.mask is not None]
        if with_masks:
            self.check_masks()
        if len(with_masks) not in (0, len(given)):
            raise PairingError(
                f"{len(with_masks)} of {len(given)} reference pictures have a mask. Give a mask for each, or none."
            )
        for each in given:
            expected = (self.channels - GIVEN_CHANNELS, 1, *latent.shape[-2:])
            if each.latent.shape[1:] != expected or len(each.latent) not in (1, len(latent)):
                raise PairingError(
                    f"The reference picture was prepared for a latent of {size_text(each.latent)}, but the latent to "
                    f"sample has {size_text(latent)}. Prepare it for a video of the same size."
                )
        for each in with_masks:
            assert each.mask is not None
            if each.mask.shape[1:] != (self.mask_channels, *each.latent.shape[2:]) or len(each.mask) != 1:
                raise PairingError(
                    f"The mask of a reference picture has the shape {list(each.mask.shape)}, but the picture's latent "
                    f"{list(each.latent.shape)} needs {[1, self.mask_channels, *each.latent.shape[2:]]}. Make both "
                    "with the same node."
                )

    def check_masks(self) -> None:
        """Refuses masks for a model without an embedding of them.

        Raises:
            PairingError: it has none.
        """
        if not self.mask_channels:
            raise PairingError(
                "The conditioning has masks of SCAIL-2, and this model is the first SCAIL, which takes none. Remove "
                "the masks and set replacement_mode off, or choose a SCAIL-2 model."
            )

    def embed(self, trunk: Trunk, given: Sequence[ScailReference], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`.

        Where references have masks, the video's tokens have that of a mask which shows nobody.
        """
        latents = _in_time([each.latent for each in given])
        masks = [each.mask for each in given if each.mask is not None]
        shown = trunk.tokens_of(trunk.get_submodule("patch_embedding"), as_given(latents))
        if not masks:
            longer = torch.cat([shown.expand(len(tokens), -1, -1), tokens], dim=1)
        else:
            layer = trunk.get_submodule("patch_embedding_mask")
            shown = shown + trunk.tokens_of(layer, _in_time(masks))
            longer = torch.cat([shown.expand(len(tokens), -1, -1), tokens], dim=1)
            nobody = latents.new_zeros(1, self.mask_channels, *PATCH)
            longer[:, shown.shape[1] :] += trunk.tokens_of(layer, nobody)
        modulation = context.modulation
        if modulation.shape[1] > 1:  # a timestep for each frame: references have that of the frames that are made last
            modulation = torch.cat([modulation[:, -1:].expand(-1, len(given), -1, -1), modulation], dim=1)
        return Steered(longer, context._replace(modulation=modulation))

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        patch = PATCH[0] * PATCH[1] * PATCH[2]
        return sum((channels * patch + 1) * config.dim for channels in (self.channels, self.mask_channels) if channels)

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`; of latents of one frame, which nothing tells here, more frames are counted."""
        return 4 * pixels * given * (self.channels + self.mask_channels)


class ScailReference(NamedTuple):
    """A picture of somebody.

    `latent` [1 or B, C, 1, h, w], normalised; `mask` [1, mask_channels, 1, h, w] of who is where in it, or None.
    """

    latent: Tensor
    mask: Tensor | None = None

    @property
    def branch(self) -> type[ScailBranch]:
        """The kind of branch it steers."""
        return ScailBranch


def as_given(latent: Tensor) -> Tensor:
    """A latent [B, C, T, h, w] with the channels that say that all of it is given."""
    return torch.cat([latent, latent.new_ones(len(latent), GIVEN_CHANNELS, *latent.shape[2:])], dim=1)


def _in_time(parts: Sequence[Tensor]) -> Tensor:
    """Frames [1 or B, C, 1, h, w], one after the other, for as many videos as the most of them are for."""
    batch = max(len(part) for part in parts)
    return torch.cat([part.expand(batch, -1, -1, -1, -1) for part in parts], dim=2)
