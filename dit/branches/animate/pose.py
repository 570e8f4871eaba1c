"""Poses of a video, added to the tokens of the frames that are to show them (Wan-Animate)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from types import ModuleType
from typing import NamedTuple

from torch import Tensor, nn

from ....common.errors import FileFault, PairingError
from ....common.model_names import THIS_MODEL, ModelNames
from ....common.records import record
from ....common.shapes import size_text
from ...config import PATCH, DiTConfig
from ...context import Context
from ..branch import Branch, Shapes, Steered, Trunk

REFERENCE_FRAMES = 1
"""Latent frames of the reference picture, before those of the video."""


@record
class AnimatePoseBranch(Branch[DiTConfig]):
    """What the latent of a video of drawn poses adds to the tokens.

    Attributes:
        channels: of the latent.

    Source: Wan-Video/Wan2.2 wan/modules/animate/model_animate.py, WanAnimateModel.after_patch_embedding.
    """

    name = "animate"
    roots = ("pose_patch_embedding",)
    words = "poses"
    title = "Wan-Animate"
    expected = "was trained with poses, and none are connected: the person moves freely"

    channels: int = 16

    @classmethod
    def read(cls, tensors: Shapes) -> AnimatePoseBranch | None:
        """See `Branch.read`."""
        if not tensors.has("pose_patch_embedding.weight"):
            return None
        if not tensors.has("face_adapter.fuser_blocks.0.linear1_q.weight"):
            raise FileFault(
                "has the poses of Wan-Animate but no layers that look at a face", "it is incomplete; download it again"
            )
        return cls(tensors.size("pose_patch_embedding.weight", 1))

    @classmethod
    def lacking(cls, names: ModelNames = THIS_MODEL) -> PairingError:
        """See `Branch.lacking`."""
        return PairingError(
            f"{names.subject} cannot follow poses. Remove the pose video, or choose ",
            *names.file("animate", "a Wan-Animate model"), ".",
        )  # fmt: skip

    def build(self, config: DiTConfig, operations: ModuleType) -> Mapping[str, nn.Module]:
        """See `Branch.build`."""
        return {"pose_patch_embedding": operations.Conv3d(self.channels, config.dim, kernel_size=PATCH, stride=PATCH)}

    def check(self, given: Sequence[AnimatePoseInput], latent: Tensor) -> None:
        """See `Branch.check`."""
        if len(given) > 1:
            raise PairingError(f"There are {len(given)} pose videos, and the model follows one. Leave one of them.")
        for each in given:
            poses, frames = each.latent, latent.shape[2] - REFERENCE_FRAMES
            fits = poses.shape[1] == self.channels and poses.shape[3:] == latent.shape[3:] and poses.shape[2] <= frames
            if not fits or len(poses) not in (1, len(latent)):
                raise PairingError(
                    f"The pose video was prepared for a latent of {size_text(poses)}, but the latent to sample has "
                    f"{size_text(latent)}, the first of them for the reference picture. "
                    "Prepare it for a video of the same size and length, and connect the LATENT of the same node."
                )

    def embed(self, trunk: Trunk, given: Sequence[AnimatePoseInput], tokens: Tensor, context: Context) -> Steered:
        """See `Branch.embed`. A latent frame at a time, so that little is held beside the tokens."""
        embedding, poses = trunk.get_submodule("pose_patch_embedding"), given[-1].latent
        of_frame = prod(-(-side // patch) for side, patch in zip(poses.shape[3:], PATCH[1:]))
        moved = tokens.clone()
        for frame in range(poses.shape[2]):
            start = (frame + REFERENCE_FRAMES) * of_frame
            moved[:, start : start + of_frame] += trunk.tokens_of(embedding, poses[:, :, frame : frame + 1])
        return Steered(moved, context)

    def other_weights(self, config: DiTConfig) -> int:
        """See `Branch.other_weights`."""
        return (self.channels * prod(PATCH) + 1) * config.dim

    def input_bytes(self, pixels: int, passes: int, given: int) -> int:
        """See `Branch.input_bytes`."""
        return 4 * pixels * given * self.channels


class AnimatePoseInput(NamedTuple):
    """Poses: the normalised `latent` [1 or B, C, n, h, w] of the first n latent frames behind the reference's."""

    latent: Tensor

    @property
    def branch(self) -> type[AnimatePoseBranch]:
        """The kind of branch it steers."""
        return AnimatePoseBranch
